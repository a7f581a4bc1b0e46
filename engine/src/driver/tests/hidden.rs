//! A poller that takes no source in, as below a layered service provider that hides what is polled.

use std::io::ErrorKind;

use super::*;

const WORDS: &str = "\"Layer\" hides the socket below it: remove it";

/// A bench whose poller refuses what is inserted from now on.
fn refuse(bench: &mut Bench) {
    bench.sockets.world.refuse(ErrorKind::Unsupported, WORDS);
}

#[track_caller]
fn assert_told(bench: &mut Bench) {
    let Event::Closed(closed) = bench.event() else {
        panic!("not closed")
    };
    let error = closed.os_error().map(|error| error.to_string());
    let told = (closed.reason(), error.as_deref());
    assert_eq!(told, (Reason::CannotPoll, Some(WORDS)));
    assert!(bench.sockets.keys().is_empty());
}

/// One of each transport that this system has.
fn addresses(place: &tempfile::TempDir) -> Vec<Address> {
    let mut addresses = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    if crate::platform::has_unix_sockets() {
        addresses.push(Address::uds(place.path().join("socket")).unwrap());
    }
    addresses
}

#[test]
fn a_listener_ends_with_the_words() {
    let place = tempfile::tempdir().unwrap();
    for address in addresses(&place) {
        let mut bench = Bench::new();
        refuse(&mut bench);
        bench.posting.listen(&address).unwrap();
        assert_told(&mut bench);
        if cfg!(unix) {
            // Elsewhere nothing removes the file.
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn an_attempt_ends_with_the_words() {
    let place = tempfile::tempdir().unwrap();
    for address in addresses(&place) {
        let mut there = Bench::new();
        there.posting.listen(&address).unwrap();
        let Event::Listening(listening) = there.event() else {
            panic!("not listening")
        };
        let mut bench = Bench::new();
        refuse(&mut bench);
        bench.posting.connect(listening.address()).unwrap();
        assert!(matches!(bench.event(), Event::Returned(it) if it.reason() == Reason::CannotPoll));
        assert_told(&mut bench);
    }
}

/// The poller is not asked a second time: not by a connection that came of an attempt.
#[test]
fn a_stream_that_has_connected_stays_the_source_that_it_was() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.connect(listener.local_addr().unwrap().port());
    bench.pass_until("an attempt", |bench| !bench.sockets.keys().is_empty());
    let attempt = bench.sockets.keys()[0];
    let place = bench.sockets.place(attempt);
    assert!(place.is_some() && is_connecting(&bench, attempt));
    refuse(&mut bench);
    bench.pass_until("a connection", |bench| {
        let keys = bench.sockets.keys();
        keys.first().is_some_and(|&key| !is_connecting(bench, key))
    });
    let connection = bench.sockets.keys()[0];
    assert_eq!(bench.sockets.place(connection), place);
}

#[test]
fn what_is_accepted_and_cannot_be_polled_is_closed() {
    use std::io::Read;

    // So long that only the refusal can end it.
    let mut bench = Bench::with(Options {
        hello_timeout: Duration::from_secs(3600),
        ..Options::default()
    });
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    bench.posting.listen(&any).unwrap();
    let Event::Listening(listening) = bench.event() else {
        panic!("not listening")
    };
    refuse(&mut bench);
    let mut peer = TcpStream::connect(listening.address().socket_addr().unwrap()).unwrap();
    let ended = |bench: &mut Bench| {
        bench
            .shared
            .counters
            .ended_before_hello
            .load(Ordering::Relaxed)
    };
    bench.pass_until("its end", |bench| ended(bench) == 1);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert!(
        matches!(bench.inbox.try_recv(), Ok(None)),
        "it had no channel"
    );
}
