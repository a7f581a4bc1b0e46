//! Senders that are wrong, mad or malicious: nothing leaves the directory, nothing stays in it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ampe::wire::OpCode;
use ampe::{Event, Reason};

use crate::common::peer::{Peer, Raw, RawPeer, raw_hello};
use crate::common::{self, Place, Running, has_partial, run, sha256, until};

const TCP: &str = "tcp://127.0.0.1:0";

fn receiver(place: &Place, options: &[&str]) -> (Running, String) {
    place.receiver(TCP, options)
}

#[test]
fn unsafe_names_are_refused_by_the_receiver() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--overwrite", "--once"]);
    let mut sender = Peer::sender(&to);
    let everywhere: [&[u8]; 10] = [
        b"",
        b".",
        b"..",
        b"/etc/passwd",
        b"../escaped",
        b"a/../../escaped",
        b"a/b",
        b"a\0b",
        b".ampe-partial-x",
        &[b'x'; 256],
    ];
    let on_windows: [&[u8]; 15] = [
        b"..\\escaped",
        b"C:escaped",
        b"a:b",
        b"a:$DATA",
        b"nul",
        b"CON",
        b"com1.txt",
        b"LPT9",
        b"aux.tar.gz",
        b"a ",
        b"a.",
        b"a\nb",
        b"\x1b[2J",
        b"why?",
        b"\xff",
    ];
    let mut names = everywhere.to_vec();
    if cfg!(windows) {
        names.extend(on_windows);
    }
    for name in &names {
        let (_, answer, reason) = sender.offer(name, 3);
        assert_eq!(answer, "refused", "{}", name.escape_ascii());
        assert!(reason.contains("--as"), "{reason}");
    }
    sender.bye();
    let finished = receiver.finish();
    assert_eq!(finished.code, Some(1));
    assert!(!finished.stderr.contains('\u{1b}'), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), names.len());
    assert!(place.out_entries().is_empty());
    assert_eq!(common::entries(place.path()), ["out"]);
}

#[cfg(unix)] // elsewhere making links takes privileges
#[test]
fn links_in_the_directory_lead_nowhere() {
    let place = Place::new();
    let victim = place.file("victim", 100);
    let before = fs::read(&victim).unwrap();
    for name in ["link", "dangling"] {
        let target = if name == "link" {
            victim.clone()
        } else {
            place.path().join("created")
        };
        std::os::unix::fs::symlink(target, place.out().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(place.path(), place.out().join("up")).unwrap();
    let (_strict, to) = receiver(&place, &[]);
    let mut sender = Peer::sender(&to);
    for name in [&b"link"[..], b"dangling", b"up", b"up/escaped"] {
        assert_eq!(sender.offer(name, 3).1, "refused");
    }
    let (_replacing, to) = receiver(&place, &["--overwrite"]);
    let mut sender = Peer::sender(&to);
    let hash = sha256(&place.file("three", 3));
    for name in ["link", "dangling", "up"] {
        let (id, answer, _) = sender.offer(name.as_bytes(), 3);
        assert_eq!(answer, "accepted");
        sender.content(id, &common::content(3));
        assert_eq!(sender.store(id, &hash).0, "stored");
        let found = fs::symlink_metadata(place.out().join(name)).unwrap();
        assert!(found.is_file(), "{name} is a file of its own now");
    }
    assert_eq!(fs::read(&victim).unwrap(), before);
    assert!(!place.path().join("created").exists());
    assert_eq!(common::entries(place.path()), ["out", "three", "victim"]);
}

#[test]
fn more_less_or_other_content_than_announced_is_not_stored() {
    let place = Place::new();
    let (_receiver, to) = receiver(&place, &[]);
    let hash = sha256(&place.file("three", 3));
    let mut sender = Peer::sender(&to);

    let (id, ..) = sender.offer(b"more", 3);
    sender.content(id, b"four");
    let (answer, reason) = sender.answer(id);
    assert_eq!(answer, "failed");
    assert!(reason.contains("more than it announced"), "{reason}");

    let (id, ..) = sender.offer(b"less", 3);
    sender.content(id, b"ab");
    let (answer, reason) = sender.store(id, &hash);
    assert_eq!(answer, "failed");
    assert!(reason.contains("only 2 of 3 bytes"), "{reason}");

    let (id, ..) = sender.offer(b"other", 3);
    sender.content(id, b"abc");
    let (answer, reason) = sender.store(id, &hash);
    assert_eq!(answer, "failed");
    assert!(reason.contains("damaged"), "{reason}");

    // Each part is within what was announced, and all together are not.
    let (id, ..) = sender.offer(b"parts", 3);
    sender.content(id, b"ab");
    sender.content(id, b"cd");
    let (answer, reason) = sender.answer(id);
    assert_eq!(answer, "failed");
    assert!(reason.contains("more than it announced"), "{reason}");
    assert!(place.out_entries().is_empty());

    let (id, ..) = sender.offer(b"right", 3);
    sender.content(id, &common::content(3));
    assert_eq!(sender.store(id, &hash).0, "stored");
    assert_eq!(place.out_entries(), ["right"]);
}

#[test]
fn nonsense_is_answered_and_content_of_nothing_is_ignored() {
    let place = Place::new();
    let (_receiver, to) = receiver(&place, &[]);
    let mut sender = Peer::sender(&to);
    sender.content(42, b"of no file");
    let message = sender.group.message().with_header("Do", "dance").unwrap();
    let id = sender.post(message.request(sender.channel));
    assert_eq!(sender.answer(id).0, "refused");
    let id = sender.post(sender.group.message().request(sender.channel));
    assert_eq!(sender.answer(id).0, "refused");
    let account = sender.bye();
    assert_eq!(account.posted, account.confirmed);
    assert!(place.out_entries().is_empty());
}

#[test]
fn what_is_of_another_file_is_ignored() {
    let place = Place::new();
    let (_receiver, to) = receiver(&place, &[]);
    let hash = sha256(&place.file("three", 3));
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 3);
    let other = id + 1000;
    sender.content(id, &common::content(3)[..1]);
    sender.content(other, b"xx");
    for (what, header, value) in [
        ("store", "SHA-256", &hash[..]),
        ("cancel", "Reason", "another"),
    ] {
        let message = sender.group.message().with_header("Do", what).unwrap();
        let message = message.with_header(header, value).unwrap();
        sender.post(message.request(sender.channel).with_id(other));
    }
    sender.content(id, &common::content(3)[1..]);
    assert_eq!(sender.store(id, &hash).0, "stored");
    let received = fs::read(place.out().join("file")).unwrap();
    assert_eq!(received, common::content(3));
}

#[test]
fn a_goodbye_in_the_middle_of_a_file_gives_it_up_before_it_is_answered() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once"]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 3);
    sender.content(id, b"a");
    sender.bye();
    assert!(place.out_entries().is_empty());
    let parts = ["file from", "after 1 of 3 bytes", "ended the conversation"];
    receiver.finish().assert_fails(1, &parts);
}

#[test]
fn another_offer_gives_the_file_before_up() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once"]);
    let hash = sha256(&place.file("three", 3));
    let mut sender = Peer::sender(&to);
    let (first, ..) = sender.offer(b"first", 3);
    sender.content(first, b"a");
    let (second, answer, _) = sender.offer(b"second", 3);
    assert_eq!(answer, "accepted");
    sender.content(second, &common::content(3));
    assert_eq!(sender.store(second, &hash).0, "stored");
    sender.bye();
    assert_eq!(place.out_entries(), ["second"]);
    receiver.finish().assert_fails_among(&[
        "first from",
        "after 1 of 3 bytes",
        "began another file",
    ]);
}

#[test]
fn garbage_as_the_first_bytes_harms_nobody() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once"]);
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0xff; 4096],
        &[0; 15],
    ] {
        let mut peer = RawPeer::connect(&to);
        peer.write(garbage);
        peer.end_writing();
        assert_eq!(peer.read(), None);
    }
    let file = place.file("file", 1000);
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
    receiver.finish().assert_succeeds();
}

#[test]
fn garbage_in_the_middle_of_a_file_is_said_and_removed() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once"]);
    let mut peer = RawPeer::connect(&to);
    peer.write(&raw_hello().bytes());
    assert_eq!(peer.read().unwrap().op_code, OpCode::HelloResponse);
    let offer = Raw {
        op_code: OpCode::Request,
        more: false,
        id: 2,
        headers: b"Do:offer\r\nSize:1000000\r\n".to_vec(),
        body: b"file".to_vec(),
    };
    peer.write(&offer.bytes());
    assert_eq!(peer.read().unwrap().headers, b"Answer:accepted\r\n");
    peer.write(&[0xff; 4096]);
    let finished = receiver.finish();
    finished.assert_fails(
        1,
        &[
            "file from",
            "broken off after 0 of 1000000",
            "broke the protocol",
        ],
    );
    assert!(place.out_entries().is_empty());
}

#[test]
fn a_frame_cut_short_is_a_broken_transfer() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once"]);
    let mut peer = RawPeer::connect(&to);
    let mut bytes = raw_hello().bytes();
    bytes.extend([0, 1, 0, 0]);
    peer.write(&bytes);
    assert_eq!(peer.read().unwrap().op_code, OpCode::HelloResponse);
    peer.end_writing();
    receiver.finish().assert_fails(1, &["the connection broke"]);
}

#[test]
fn who_speaks_of_something_else_is_refused_with_a_reason() {
    let place = Place::new();
    let (_receiver, to) = receiver(&place, &[]);
    let newer = [
        ("Application", "ampe-file"),
        ("Version", "2"),
        ("Role", "sender"),
    ];
    for (headers, said) in [(&[][..], "ampe send"), (&newer, "same version")] {
        let mut peer = Peer::connect(&to, headers);
        let Event::ByeResponse(refusal) = peer.event() else {
            panic!("no refusal");
        };
        let reason = common::peer::header(&refusal, "Reason").unwrap();
        assert!(reason.contains(said), "{reason}");
        assert_eq!(peer.closed().reason(), Reason::Refused);
    }
    run(&["ping", "--to", &to]).assert_fails(1, &["receiver of files", "ampe send"]);
}

#[test]
fn a_stranger_does_not_use_up_a_receiver_of_one() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once"]);
    let mut stranger = Peer::connect(&to, &[("Application", "chess")]);
    assert_eq!(stranger.closed().reason(), Reason::Refused);
    let file = place.file("file", 10);
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
    receiver.finish().assert_succeeds();
}

/// However many there are; they are told of once.
#[test]
fn strangers_who_say_nothing_keep_nobody_out() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once", "--timeout", "3"]);
    let mut strangers: Vec<_> = (0..100).map(|_| RawPeer::connect(&to)).collect();
    let mut sender = Peer::sender(&to);
    for stranger in &mut strangers {
        stranger.end_writing();
        assert_eq!(stranger.read(), None, "it is disconnected");
    }
    let (_, answer, _) = sender.offer(b"file", 0);
    assert_eq!(answer, "accepted");
    thread::sleep(Duration::from_millis(2100)); // so that the receiver has looked twice
    sender.bye();
    let finished = receiver.finish();
    let told = finished.stderr.matches("did not say hello").count();
    assert_eq!(told, 1, "{finished:?}");
}

#[test]
fn a_sender_for_whom_there_is_no_place_waits_for_one() {
    let place = Place::new();
    let (_receiver, to) = receiver(&place, &[]);
    let connect = || {
        let mut peer = RawPeer::connect(&to);
        peer.write(&raw_hello().bytes());
        peer
    };
    let mut served: Vec<_> = (0..64).map(|_| connect()).collect();
    for peer in &mut served {
        assert_eq!(peer.read().unwrap().op_code, OpCode::HelloResponse);
    }
    let (mut gone, mut waiting) = (connect(), vec![connect(), connect()]);
    assert!(gone.is_silent());
    // Who has gone meanwhile takes no place.
    drop(gone);
    while !waiting.is_empty() {
        assert!(waiting.iter_mut().all(RawPeer::is_silent));
        drop(served.pop());
        // And one that becomes free is a place for one.
        let mut next = None;
        until("one of them is served", || {
            next = waiting.iter_mut().position(|peer| !peer.is_silent());
            next.is_some()
        });
        let mut next = waiting.swap_remove(next.unwrap());
        assert_eq!(next.read().unwrap().op_code, OpCode::HelloResponse);
        served.insert(0, next);
    }
}

#[test]
fn who_reads_no_answers_is_let_go() {
    let requests: [(&[u8], usize); 2] = [(b"Do:echo\r\n", 60_000), (b"Do:dance\r\n", 0)];
    for (headers, body_len) in requests {
        let place = Place::new();
        let (_receiver, to) = receiver(&place, &[]);
        let mut peer = RawPeer::connect(&to);
        peer.write(&raw_hello().bytes());
        let request = Raw {
            op_code: OpCode::Request,
            more: false,
            id: 2,
            headers: headers.to_vec(),
            body: vec![0; body_len],
        };
        let bytes = request.bytes();
        let many = bytes.repeat(120_000 / bytes.len());
        // Far more than the two systems and the receiver hold.
        let is_let_go = (0..2000).any(|_| peer.try_write(&many).is_err());
        assert!(is_let_go, "{}", headers.escape_ascii());
    }
}

#[test]
fn a_silent_sender_is_disconnected() {
    let place = Place::new();
    let (receiver, to) = receiver(&place, &["--once", "--timeout", "0.2"]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 100);
    sender.content(id, b"half");
    assert_ne!(sender.closed().reason(), Reason::Bye);
    let finished = receiver.finish();
    finished.assert_fails(1, &["broken off after 4 of 100 bytes", "silent"]);
    assert!(place.out_entries().is_empty());
}

/// It measures round trips, perhaps for long.
#[test]
fn a_sender_that_has_its_messages_echoed_is_not_silent() {
    let place = Place::new();
    let (_receiver, to) = receiver(&place, &["--timeout", "1"]);
    let mut sender = Peer::sender(&to);
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        let echo = sender.group.message().with_header("Do", "echo").unwrap();
        sender.post(echo.request(sender.channel));
        sender.response();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sender.offer(b"file", 0).1, "accepted");
}

#[test]
fn a_receiver_of_one_gives_up_when_none_comes() {
    let place = Place::new();
    let started = Instant::now();
    let (receiver, _) = receiver(&place, &["--once", "--timeout", "0.2"]);
    receiver.finish().assert_fails(1, &["no sender came"]);
    assert!(started.elapsed().as_secs_f64() >= 0.2);
}

#[test]
fn a_leftover_is_removed_and_what_another_receiver_writes_is_not() {
    let place = Place::new();
    fs::write(place.out().join(".ampe-partial-leftover"), "half").unwrap();
    let (_first, to) = receiver(&place, &[]);
    assert!(place.out_entries().is_empty());
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 3);
    sender.content(id, &common::content(2));
    until("it is being received", || has_partial(&place.out()));
    let (_second, _) = receiver(&place, &[]);
    assert!(has_partial(&place.out()));
    assert!(!place.out().join("file").exists(), "not before it is whole");
    sender.content(id, &common::content(3)[2..]);
    let hash = sha256(&place.file("three", 3));
    assert_eq!(sender.store(id, &hash).0, "stored");
    assert_eq!(place.out_entries(), ["file"]);
}
