//! Attempts to connect of which nothing says how they ended.

use std::sync::atomic::Ordering;

use super::*;
use crate::driver::world::World;

/// An attempt that failed, and whose error somebody has taken: for the system it is over, so that
/// it is reported as ready for ever, and nothing says how it ended. Windows tells of a failed attempt
/// as often as it is asked.
fn undecided(options: Options) -> (Bench, RecordKey) {
    let mut bench = Bench::with(options);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    bench.connect(port);
    bench.pass_until("an attempt", |bench| !bench.sockets.keys().is_empty());
    let key = bench.only_socket();
    let Some(Socket::Connecting(stream)) = bench.sockets.get(key) else {
        panic!("not connecting")
    };
    let deadline = Instant::now() + PATIENCE;
    while stream.take_error().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the attempt does not fail");
    }
    (bench, key)
}

#[test]
fn an_attempt_that_is_reported_and_undecided_rests() {
    let (mut bench, key) = undecided(Options::default());
    bench.pass_until("a report", |bench| bench.rests.next().is_some());
    let world = &mut bench.sockets.world;
    world.wait(Some(Instant::now())).unwrap();
    assert!(world.next_report().is_none(), "the reactor is kept awake");
    // It is looked at again, as often as it takes.
    for _ in 0..3 {
        let until = bench.rests.next();
        bench.pass_until("another look", |bench| bench.rests.next() > until);
        assert!(is_connecting(&bench, key));
    }
}

#[test]
fn an_attempt_that_stays_undecided_ends_in_time() {
    let (mut bench, _) = undecided(Options {
        connect_timeout: Duration::from_millis(100),
        ..Options::default()
    });
    assert!(matches!(bench.event(), Event::Returned(_)));
    let Event::Closed(closed) = bench.event() else {
        panic!("not closed")
    };
    assert_eq!(closed.reason(), Reason::ConnectTimedOut);
    let passes = bench.shared.counters.passes.load(Ordering::Relaxed);
    assert!(passes < 100, "{passes} passes");
}
