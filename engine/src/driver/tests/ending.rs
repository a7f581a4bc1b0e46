//! What comes while the reactor ends.

use super::*;
use crate::driver::turn::turn;
use crate::handles::{Batch, Submission};

#[test]
fn what_is_posted_behind_the_last_exchange_is_answered_all_the_same() {
    let mut bench = Bench::new();
    let stop = Submission::Stop {
        deadline: Instant::now(),
    };
    let queue = &bench.shared.queue;
    queue.submit(|_, items| items.push(stop)).unwrap();
    let now = Instant::now();
    while !bench.core.is_finished() {
        turn(&mut bench.driver, &mut Batch::default(), now);
    }
    // Another thread comes between the last exchange and the end.
    let group = Arc::new(GroupShared::new(2, 0, 0));
    bench.shared.open_group(&group).unwrap();
    let (posting, mut inbox) = group::pair(Arc::clone(&bench.shared), group);
    posting
        .connect(&Address::tcp("127.0.0.1", 9).unwrap())
        .unwrap();
    assert!(!bench.driver.is_over(now), "they are answered first");
    while !bench.pass().unwrap() {}
    let returned = inbox.try_recv();
    assert!(
        matches!(returned, Ok(Some(Event::Returned(_)))),
        "{returned:?}"
    );
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Closed(_)))));
    assert_eq!(inbox.try_recv().unwrap_err(), Ended::EngineStopped);
}

#[test]
fn an_abort_that_says_why_ends_in_order_behind_its_words() {
    let mut bench = Bench::new();
    let (key, mut peer) = connected(&mut bench);
    let audit = bench.core.audit();
    let seen = audit.connections.iter().find(|it| it.key == key).unwrap();
    let channel = seen.channel.unwrap();
    let why = bench.posting.message().with_body(b"why").unwrap();
    bench.posting.post(why.abort(channel)).unwrap();
    assert!(matches!(bench.event(), Event::Closed(it) if it.reason() == Reason::Aborted));
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut peer, &mut bytes).unwrap();
    assert!(bytes.ends_with(b"why"));
}
