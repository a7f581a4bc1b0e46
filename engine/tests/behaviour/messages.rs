//! Messages and posts as an application handles them, before and after they travel.

use ampe::Event;

use crate::common::{self, Transport, connected, next};

/// What an application is lent for writing shows nothing of what another peer said: a read that is
/// shorter than was asked for would send it on.
#[test]
fn a_grown_body_shows_nothing_of_earlier_messages() {
    let mut it = connected(Transport::Tcp);
    let secret = [0x5E; 200];
    let message = it.client.0.message().with_body(&secret).unwrap();
    it.client.0.post(message.signal(it.to_server)).unwrap();
    assert!(matches!(
        next(&mut it.server.1, "the secret"),
        Event::Signal(_)
    ));
    // Dropped: its storage is used again by one of the next messages.
    for _ in 0..400 {
        let mut message = it.server.0.message();
        assert_eq!(message.resize_body(200).unwrap(), [0; 200]);
    }
    let mut message = it.server.0.message();
    message.resize_body(4).unwrap().copy_from_slice(b"abcd");
    message.resize_body(2).unwrap();
    assert_eq!(
        message.resize_body(5).unwrap(),
        b"ab\0\0\0",
        "cut off for good"
    );
    message.resize_body(1000).unwrap();
    assert_eq!(message.body()[..2], *b"ab", "kept in larger storage too");
    assert_eq!(message.body()[2..], [0; 998]);
}

/// The form that saves the setting leaves what was there, which is what its name says.
#[test]
fn a_body_resized_dirty_keeps_its_old_part() {
    let engine = common::engine();
    let mut message = engine.message().with_body(b"abcd").unwrap();
    message.resize_body_dirty(2).unwrap();
    assert_eq!(message.resize_body_dirty(4).unwrap(), b"abcd");
    assert!(message.resize_body_dirty(65_536).is_err());
    assert_eq!(message.body(), b"abcd", "unchanged");
}
