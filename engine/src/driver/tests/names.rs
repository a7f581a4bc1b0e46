//! Names that take their time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::channel::Channel;
use crate::driver::resolver::{Resolver, THREADS_MAX, WAITING_MAX, loopback};
use crate::post::Post;
use crate::sync::lock;

use super::*;

/// A resolver that answers at once that some names are those of 127.0.0.1, and of any other, when
/// the test lets it, that nobody knows it.
#[derive(Default)]
struct Slow {
    state: Mutex<SlowState>,
    may_answer: Condvar,
}

#[derive(Default)]
struct SlowState {
    is_open: bool,
    /// What it was asked for.
    asked: Vec<String>,
}

impl Slow {
    fn look_up(&self, host: &str) -> Vec<SocketAddr> {
        let mut state = lock(&self.state);
        state.asked.push(host.to_owned());
        if host.starts_with("quick") {
            return vec![([127, 0, 0, 1], 9).into()];
        }
        while !state.is_open {
            let woken = self.may_answer.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        Vec::new()
    }

    fn asked(&self) -> usize {
        lock(&self.state).asked.len()
    }

    /// Waits until it was asked for so many names. Nothing tells the reactor that.
    #[track_caller]
    fn await_asked(&self, names: usize) {
        wait_until("questions", || self.asked() >= names);
        assert_eq!(self.asked(), names);
    }

    fn open(&self) {
        lock(&self.state).is_open = true;
        self.may_answer.notify_all();
    }
}

fn resolver(bench: &mut Bench) -> &mut Resolver {
    &mut bench.driver.sockets.world.resolver
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

fn with_slow_resolver(idle: Duration) -> (Bench, Arc<Slow>) {
    let mut bench = Bench::new();
    let slow = Arc::new(Slow::default());
    let (lookup, shared) = (Arc::clone(&slow), Arc::clone(&bench.shared));
    let lookup = Arc::new(move |host: &str| lookup.look_up(host));
    *resolver(&mut bench) = Resolver::with_lookup(&shared, lookup, idle);
    (bench, slow)
}

/// An engine whose resolver is busy with so many names.
fn busy_with(names: usize) -> (Bench, Arc<Slow>, Vec<Channel>) {
    let (mut bench, slow) = with_slow_resolver(PATIENCE);
    let channels = (0..names)
        .map(|index| dial(&bench, &format!("busy{index}.example")))
        .collect();
    bench.pass().unwrap();
    slow.await_asked(names);
    (bench, slow, channels)
}

/// An engine whose resolver is busy with as many names as it can be.
fn busy() -> (Bench, Arc<Slow>, Vec<Channel>) {
    busy_with(THREADS_MAX)
}

fn listen_on(bench: &Bench, host: &str) -> Channel {
    let address = Address::tcp(host, 0).unwrap();
    bench.posting.listen(&address).unwrap()
}

/// The address of the listener that listens next.
#[track_caller]
fn listening(bench: &mut Bench) -> SocketAddr {
    match bench.event() {
        Event::Listening(it) => it.address().socket_addr().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn dial(bench: &Bench, host: &str) -> Channel {
    let address = Address::tcp(host, 7000).unwrap();
    bench.posting.connect(&address).unwrap()
}

/// The channel that ends next, its messages before it.
#[track_caller]
fn ended(bench: &mut Bench) -> (Channel, Reason) {
    loop {
        match bench.event() {
            Event::Closed(closed) => return (closed.channel(), closed.reason()),
            Event::Returned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_name_that_hangs_delays_only_itself() {
    let (mut bench, slow, _) = busy_with(20);
    for names in 0..3 {
        listen_on(&bench, &format!("quick{names}.example"));
        assert_eq!(listening(&mut bench).ip(), Ipv4Addr::LOCALHOST);
    }
    slow.open();
}

#[test]
fn a_name_that_hangs_is_looked_up_once_for_all_who_ask() {
    let (mut bench, slow, mut channels) = busy_with(1);
    channels.extend((0..THREADS_MAX).map(|_| dial(&bench, "busy0.example")));
    bench.pass().unwrap();
    assert_eq!(resolver(&mut bench).waiting(), THREADS_MAX + 1);
    assert_eq!(resolver(&mut bench).threads(), 1);
    slow.open();
    let mut failed: Vec<_> = channels.iter().map(|_| ended(&mut bench).0).collect();
    failed.sort_by_key(|it| it.number());
    channels.sort_by_key(|it| it.number());
    assert_eq!(failed, channels);
    assert_eq!(slow.asked(), 1);
    // And once more when it is asked for again.
    let again = dial(&bench, "busy0.example");
    assert_eq!(ended(&mut bench), (again, Reason::NameNotResolved));
    assert_eq!(slow.asked(), 2);
}

/// Who tries again and again would have every thread hang at the same name.
#[test]
fn a_name_that_hangs_is_looked_up_once_though_who_asked_gave_up_and_asks_again() {
    let (mut bench, slow, channels) = busy_with(1);
    bench.posting.post(Post::abort(channels[0])).unwrap();
    assert_eq!(ended(&mut bench), (channels[0], Reason::Aborted));
    let again = dial(&bench, "busy0.example");
    bench.pass().unwrap();
    assert_eq!(resolver(&mut bench).waiting(), 1);
    assert_eq!(resolver(&mut bench).threads(), 1);
    slow.open();
    assert_eq!(ended(&mut bench), (again, Reason::NameNotResolved));
    assert_eq!(slow.asked(), 1);
}

#[test]
fn where_the_system_starts_no_thread_no_name_is_known_and_nobody_waits() {
    let mut bench = Bench::new();
    resolver(&mut bench).is_refused_threads = true;
    for _ in 0..3 {
        let channel = dial(&bench, "some.example");
        assert_eq!(ended(&mut bench), (channel, Reason::NameNotResolved));
        assert_eq!(resolver(&mut bench).waiting(), 0);
    }
}

#[test]
fn each_who_asks_for_a_name_has_their_own_port() {
    let (mut bench, _slow) = with_slow_resolver(PATIENCE);
    let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    for server in &servers {
        let port = server.local_addr().unwrap().port();
        let address = Address::tcp("quick.example", port).unwrap();
        bench.posting.connect(&address).unwrap();
    }
    for server in servers {
        server.set_nonblocking(true).unwrap();
        bench.pass_until("a connection", |_| server.accept().is_ok());
    }
}

#[test]
fn nobody_is_asked_for_localhost() {
    let (mut bench, slow, _) = busy();
    for host in ["localhost", "LOCALHOST.", "app.localhost"] {
        listen_on(&bench, host);
        assert!(listening(&mut bench).ip().is_loopback());
    }
    assert_eq!(slow.asked(), THREADS_MAX);
    let both = ["[::1]:0", "127.0.0.1:0"].map(|it| it.parse().unwrap());
    assert_eq!(loopback(), both);
    slow.open();
}

/// No network is asked for that: the host is an address already.
#[cfg(target_os = "linux")]
#[test]
fn the_system_knows_the_number_of_a_zone_by_its_name() {
    use crate::driver::resolver::look_up;

    let Ok(number) = std::fs::read_to_string("/sys/class/net/lo/ifindex") else {
        println!("skipped: no interface named lo");
        return;
    };
    let expected: SocketAddr = format!("[fe80::1%{}]:0", number.trim()).parse().unwrap();
    assert_eq!(look_up("fe80::1%lo").first(), Some(&expected));
    assert_eq!(look_up("fe80::1%no-such-zone"), []);
}

#[test]
fn threads_without_work_end_and_others_start() {
    let (mut bench, slow) = with_slow_resolver(Duration::from_millis(1));
    slow.open();
    for name in 0..3 {
        let channel = dial(&bench, &format!("unknown{name}.example"));
        assert_eq!(ended(&mut bench), (channel, Reason::NameNotResolved));
        wait_until("its end", || resolver(&mut bench).threads() == 0);
    }
}

#[test]
fn a_thread_that_waits_takes_the_next_name_and_no_other_starts() {
    let (mut bench, slow) = with_slow_resolver(PATIENCE);
    for name in 1..=3 {
        listen_on(&bench, &format!("quick{name}.example"));
        listening(&mut bench);
        wait_until("its work", || resolver(&mut bench).idle() == 1);
        assert_eq!((slow.asked(), resolver(&mut bench).threads()), (name, 1));
    }
}

/// Whoever has a name does not wait for one any more.
#[test]
fn behind_a_name_that_hangs_another_thread_starts_though_the_first_had_waited() {
    let (mut bench, slow) = with_slow_resolver(PATIENCE);
    listen_on(&bench, "quick.example");
    listening(&mut bench);
    wait_until("its work", || resolver(&mut bench).idle() == 1);
    for names in 2..=4 {
        dial(&bench, &format!("busy{names}.example"));
        bench.pass().unwrap();
        slow.await_asked(names);
        assert_eq!(resolver(&mut bench).threads(), names - 1);
    }
    slow.open();
}

#[test]
fn names_that_nobody_waits_for_are_not_looked_up() {
    let (mut bench, slow, busy) = busy();
    let given_up = dial(&bench, "given-up.example");
    let wanted = dial(&bench, "wanted.example");
    bench.pass().unwrap();
    assert_eq!(resolver(&mut bench).waiting(), THREADS_MAX + 2);
    // Also of those whose turn has come nobody waits for the answer.
    for channel in [given_up, busy[0]] {
        bench.posting.post(Post::abort(channel)).unwrap();
        assert_eq!(ended(&mut bench), (channel, Reason::Aborted));
    }
    assert_eq!(resolver(&mut bench).waiting(), THREADS_MAX);
    slow.open();
    let mut unresolved = Vec::new();
    for _ in 0..THREADS_MAX {
        let (channel, reason) = ended(&mut bench);
        assert_eq!(reason, Reason::NameNotResolved);
        unresolved.push(channel);
    }
    assert!(unresolved.contains(&wanted) && !unresolved.contains(&busy[0]));
    let asked = lock(&slow.state).asked.clone();
    assert_eq!(asked.len(), THREADS_MAX + 1);
    assert_eq!(asked[THREADS_MAX], "wanted.example");
}

#[test]
fn so_many_wait_for_names_and_one_more_fails() {
    let (mut bench, slow, _) = busy();
    let mut waiting: Vec<_> = (THREADS_MAX..WAITING_MAX)
        .map(|index| dial(&bench, &format!("host{index}.example")))
        .collect();
    bench.pass_until("all to wait", |bench| {
        resolver(bench).waiting() == WAITING_MAX
    });
    let one_more = dial(&bench, "one-more.example");
    assert_eq!(ended(&mut bench), (one_more, Reason::NameNotResolved));

    // The place of one that is given up is free.
    let given_up = waiting.pop().unwrap();
    bench.posting.post(Post::abort(given_up)).unwrap();
    assert_eq!(ended(&mut bench), (given_up, Reason::Aborted));
    let last = dial(&bench, "last.example");
    bench.pass().unwrap();
    assert_eq!(resolver(&mut bench).waiting(), WAITING_MAX);
    assert_eq!(resolver(&mut bench).threads(), THREADS_MAX);
    slow.open();
    while ended(&mut bench).0 != last {}
    while resolver(&mut bench).waiting() > 0 {
        ended(&mut bench);
    }
    assert!(lock(&slow.state).asked.contains(&"last.example".to_owned()));
}

#[track_caller]
fn await_end(slow: &Arc<Slow>) {
    wait_until("the end of its threads", || Arc::strong_count(slow) == 1);
}

#[test]
fn a_resolver_that_is_busy_ends_with_its_reactor() {
    let (mut bench, slow, _) = busy();
    dial(&bench, "never.example");
    bench.pass().unwrap();
    drop(bench);
    slow.open();
    await_end(&slow);
    assert_eq!(slow.asked(), THREADS_MAX);
}

#[test]
fn a_resolver_that_is_idle_ends_with_its_reactor() {
    let (mut bench, slow, _) = busy();
    slow.open();
    for _ in 0..THREADS_MAX {
        ended(&mut bench);
    }
    drop(bench);
    await_end(&slow);
}
