//! Subscribers that are behind.

use super::*;

#[test]
fn who_is_behind_for_a_while_gets_all_in_order() {
    const COUNT: u64 = 500;
    let mut options = PublisherOptions::default();
    options.waiting_bytes = 64 << 20;
    let mut publishing = Publishing::start(tight(), &local(), options);
    let subscribers = [(); 3].map(|()| subscribe(publishing.address.clone(), &["*"]));
    publishing.until(|it| it.publisher.subscribers().count() == 3);
    let mut waited = 0;
    for number in 0..COUNT {
        let counts = publishing.publish("news", number, 5_000);
        assert_eq!((counts.wanted, counts.dropped), (3, 0));
        waited += counts.waiting;
    }
    assert!(waited > 0, "there is not room for all at once");
    publishing.say_goodbye();
    for subscriber in subscribers {
        let (got, missed) = subscriber.join().unwrap();
        assert!(got.iter().map(|it| it.1).eq(0..COUNT), "{}", got.len());
        assert_eq!(missed, 0);
    }
}

/// One that does not receive for a while, beside one that does. Returns what each got, how many it missed, and what the
/// publisher says of each.
fn slow_and_fast(when_full: WhenFull) -> (Got, Got, Vec<Gone>) {
    const COUNT: u64 = 400;
    let mut options = PublisherOptions::default();
    options.waiting_bytes = 200_000;
    options.when_full = when_full;
    let mut publishing = Publishing::start(tight(), &local(), options);
    let (progress, fast_got) = mpsc::channel();
    let fast = subscribe_and_tell(publishing.address.clone(), &["*"], progress);
    let address = publishing.address.clone();
    let (resume, resumed) = mpsc::channel::<()>();
    let slow = thread::spawn(move || {
        let engine = tight();
        let (group, mut inbox) = group(&engine);
        let mut subscriber = Subscriber::new(group, address).with_pauses(SHORT);
        subscriber.subscribe("*").unwrap();
        while !matches!(subscriber.recv(&mut inbox).unwrap(), Subscribed::Up(_)) {}
        resumed.recv().unwrap();
        let mut got = Vec::new();
        loop {
            match subscriber.recv(&mut inbox).unwrap() {
                Subscribed::Publication(it) => {
                    got.push((String::new(), number(&it.message().body()[..8])));
                }
                Subscribed::Down(_) => return (got, subscriber.missed()),
                _ => {}
            }
        }
    });
    publishing.until(|it| it.publisher.subscribers().count() == 2);
    for number in 0..COUNT {
        publishing.publish("news", number, 10_000);
        assert_eq!(fast_got.recv_timeout(PATIENCE), Ok(number));
    }
    resume.send(()).unwrap();
    publishing.say_goodbye();
    (slow.join().unwrap(), fast.join().unwrap(), publishing.gone)
}

fn check_fast((got, missed): Got) {
    assert_eq!((got.len(), missed), (400, 0));
}

/// Who is slow knows exactly what it missed, and has the others in order.
fn check_slow(got: &[(String, u64)], missed: u64, gone: &[Gone]) {
    assert_eq!(got.len() as u64 + missed, 400);
    assert!(missed > 100, "{missed}");
    assert!(
        gone.iter().any(|gone| gone.account.dropped == missed),
        "{gone:?}"
    );
    assert!(got.is_sorted_by(|a, b| a.1 < b.1));
}

#[test]
fn who_is_slow_misses_the_newest_and_knows_how_many() {
    let ((got, missed), fast, gone) = slow_and_fast(WhenFull::DropNewest);
    check_fast(fast);
    check_slow(&got, missed, &gone);
    // The first came without a gap. Behind the first gap there may be room for some now and then.
    assert!(got.iter().map(|it| it.1).take(20).eq(0..20));
}

#[test]
fn who_is_slow_misses_older_ones_where_the_newest_matter() {
    let ((got, missed), fast, gone) = slow_and_fast(WhenFull::DropOldest);
    check_fast(fast);
    check_slow(&got, missed, &gone);
    assert_eq!(got.last().unwrap().1, 399);
}

#[test]
fn who_is_slow_is_let_go_where_that_is_wanted_and_no_other() {
    let ((got, _), fast, gone) = slow_and_fast(WhenFull::Close);
    check_fast(fast);
    assert!(got.len() < 300, "{}", got.len());
    assert_eq!(gone.len(), 2);
    let let_go: Vec<_> = gone.iter().filter_map(|it| it.let_go).collect();
    assert_eq!(let_go, ["you do not keep up"]);
    assert_eq!(gone[0].closed.reason(), Reason::Aborted);
    let account = gone[0].account;
    assert!(account.returned > 0 && account.dropped > 0, "{account}");
}
