//! What `ampe recv` answers and tells; the sender is made by hand.

use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Event, Post};
use serde_json::Value;

use crate::common::peer::{Peer, header};
use crate::common::{self, Place, content, run, sha256};

const TCP: &str = "tcp://127.0.0.1:0";

/// A Request with these headers and this body.
fn request(sender: &Peer, headers: &[(&str, &str)], body: &[u8]) -> Post {
    let message = headers
        .iter()
        .fold(sender.group.message(), |message, (name, value)| {
            message.with_header(name, value).unwrap()
        });
    message.with_body(body).unwrap().request(sender.channel)
}

/// The request for a short file, which is said to have this hash.
fn put(sender: &Peer, name: &str, bytes: &[u8], hash: &str) -> Post {
    let len = name.len().to_string();
    let headers = [("Do", "put"), ("Path", &len), ("SHA-256", hash)];
    request(sender, &headers, &[name.as_bytes(), bytes].concat())
}

#[test]
fn a_short_file_that_arrives_damaged_is_not_stored() {
    let place = Place::new();
    let (receiver, to) = place.receiver(TCP, &["--once"]);
    let mut sender = Peer::sender(&to);
    let other = sha256(&place.file("other", 11));
    let id = sender.post(put(&sender, "file", &content(10), &other));
    assert_eq!(sender.answer(id).0, "failed");
    sender.bye();
    receiver.finish().assert_fails(1, &["file", "damaged"]);
    assert!(place.out_entries().is_empty());
}

#[test]
fn all_answers_come_before_that_to_the_goodbye() {
    let place = Place::new();
    let (receiver, to) = place.receiver(TCP, &["--once"]);
    let mut sender = Peer::sender(&to);
    let hash = sha256(&place.file("file", 10));
    let mut posts: std::collections::VecDeque<Post> = (0..50)
        .map(|at| put(&sender, &format!("file-{at}"), &content(10), &hash))
        .collect();
    posts.push_back(sender.group.message().bye(sender.channel));
    let mut posted = Vec::new();
    sender.group.post_many(&mut posts, &mut posted).unwrap();
    for _ in 0..50 {
        assert_eq!(header(&sender.response(), "Answer").unwrap(), "stored");
    }
    sender.closed();
    receiver.finish().assert_succeeds();
    assert_eq!(place.out_entries().len(), 50);
}

#[test]
fn what_was_stored_where_is_told_at_the_end() {
    let place = Place::new();
    let top = place.path().join("top");
    fs::create_dir(&top).unwrap();
    for (name, content) in [("one", "1"), ("other", "mine"), ("two", "22"), ("zero", "")] {
        fs::write(top.join(name), content).unwrap();
    }
    let links = u64::from(cfg!(unix));
    #[cfg(unix)]
    std::os::unix::fs::symlink("one", top.join("link")).unwrap();
    let file = place.file("file", 10);
    fs::create_dir(place.out().join("top")).unwrap();
    fs::write(place.out().join("top/other"), "there").unwrap();
    let (receiver, to) = place.receiver_in_json(&["--once"]);
    let files = [&top, &file].map(|path| path.to_str().unwrap());
    let sent = run(&[&["send", "--preserve", "--links", "--to", &to], &files[..]].concat());
    sent.assert_fails_among(&["top/other was refused"]);
    let received = receiver.finish();
    let closed: Value = serde_json::from_str(received.stdout.last().unwrap()).unwrap();
    let stored = closed["stored"].as_array().unwrap();
    assert_eq!(stored.len(), 2, "{closed}");
    for (of, (name, counts)) in stored
        .iter()
        .zip([("file", [1, 10, 0, 0, 0]), ("top", [3, 3, 1, links, 1])])
    {
        let path = place.out().join(name);
        assert_eq!(of["name"], name, "{closed}");
        assert_eq!(of["path"], path.to_str().unwrap(), "{closed}");
        let told = ["files", "bytes", "directories", "links", "failed"].map(|what| &of[what]);
        assert_eq!(
            told.map(|count| count.as_u64().unwrap()),
            counts,
            "{closed}"
        );
    }
}

#[test]
fn a_sender_is_told_now_and_then_how_far_a_file_has_come() {
    let place = Place::new();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 1 << 30);
    // Neither of a few bytes,
    for _ in 0..3 {
        sender.content(id, b"few");
        thread::sleep(Duration::from_millis(120));
    }
    assert!(sender.inbox.try_recv().unwrap().is_none());
    // nor more often than ten times a second.
    let started = Instant::now();
    let mut told = 0;
    for _ in 0..300 {
        let part = || {
            let message = sender.group.message().with_body(&[7; 60_000]).unwrap();
            message.signal(sender.channel).with_id(id).more()
        };
        // Until there is room for it.
        while sender.group.post(part()).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        while let Ok(Some(event)) = sender.inbox.try_recv() {
            told += u128::from(matches!(event, Event::Signal(_)));
        }
    }
    let most = started.elapsed().as_millis() / 100 + 1;
    assert!(told <= most, "{told} of {most}");
}

#[test]
fn a_sender_is_not_told_again_for_a_few_bytes() {
    let place = Place::new();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 1 << 30);
    for _ in 0..5 {
        sender.content(id, &[7; 60_000]);
    }
    thread::sleep(Duration::from_millis(120));
    sender.content(id, b"few");
    let told = sender.event();
    assert!(matches!(told, Event::Signal(_)), "{told:?}");
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(120));
        sender.content(id, b"few");
    }
    // The answer to this comes behind all that: no Signal is in between.
    assert_eq!(sender.offer(b"other", 1).1, "accepted");
}

#[test]
fn a_sender_is_told_that_what_is_there_is_being_hashed() {
    // Which takes longer than a tenth of a second.
    const LEN: u64 = 1 << 30;
    let place = Place::new();
    File::create(place.out().join("file"))
        .unwrap()
        .set_len(LEN)
        .unwrap();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let size = LEN.to_string();
    let offer = request(&sender, &[("Do", "offer"), ("Size", &size)], b"file");
    let id = sender.post(offer);
    let accepted = sender.response();
    assert_eq!(header(&accepted, "From"), Some(size));
    let hash = sha256(&place.file("other", 1));
    let resume = request(&sender, &[("Do", "resume"), ("SHA-256", &hash)], b"");
    let started = Instant::now();
    sender.post(resume.with_id(id));
    let mut told = 0;
    let answer = loop {
        match sender.event() {
            Event::Signal(_) => told += 1,
            Event::Response(answer) => break answer,
            event => panic!("{event:?}"),
        }
    };
    let most = started.elapsed().as_millis() / 100;
    assert!((1..=most).contains(&told), "{told} of {most}");
    assert_eq!(header(&answer, "Answer").as_deref(), Some("failed"));
}

#[test]
fn what_cannot_fit_is_refused_when_it_is_offered_too() {
    let place = Place::new();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let (_, answer, reason) = sender.offer(b"file", 1 << 50);
    assert_eq!(answer, "refused");
    assert!(reason.contains("do not fit"), "{reason}");
}

#[test]
fn what_exists_is_what_was_asked_for_or_is_refused() {
    let place = Place::new();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    fs::write(place.out().join("file"), "x").unwrap();
    let mut ask = |headers: &[(&str, &str)], body: &[u8]| {
        let id = sender.post(request(&sender, headers, body));
        sender.answer(id).0
    };
    assert_eq!(ask(&[("Do", "directory")], b"file"), "refused");
    for _ in 0..2 {
        assert_eq!(ask(&[("Do", "directory")], b"top"), "made");
    }
    if cfg!(unix) {
        let link = [("Do", "link"), ("Path", "8")];
        for (target, answer) in [("one", "made"), ("one", "made"), ("two", "refused")] {
            assert_eq!(ask(&link, format!("top/link{target}").as_bytes()), answer);
        }
        assert_eq!(
            fs::read_link(place.out().join("top/link"))
                .unwrap()
                .to_str(),
            Some("one")
        );
    }
}

/// Nor is what comes taken for what is there.
#[test]
fn content_does_not_go_into_a_file_that_exists() {
    let place = Place::new();
    fs::write(place.out().join("file"), content(100)).unwrap();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let (id, answer, _) = sender.offer(b"file", 100);
    assert_eq!(answer, "accepted");
    sender.content(id, &[7; 100]);
    let other = place.path().join("other");
    fs::write(&other, [7; 100]).unwrap();
    let (answer, reason) = sender.store(id, &sha256(&other));
    assert_eq!(answer, "failed");
    assert!(reason.contains("exists"), "{reason}");
    assert_eq!(fs::read(place.out().join("file")).unwrap(), content(100));
}

/// Nor is that a sender still works, as it says while it hashes what is there.
#[test]
fn that_a_sender_still_works_is_no_content() {
    let place = Place::new();
    fs::write(place.out().join("file"), content(100)).unwrap();
    let hash = sha256(&place.out().join("file"));
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let (id, answer, _) = sender.offer(b"file", 100);
    assert_eq!(answer, "accepted");
    let alive = sender.group.message().with_header("Do", "wait").unwrap();
    sender.post(alive.signal(sender.channel).with_id(id));
    let resume = request(&sender, &[("Do", "resume"), ("SHA-256", &hash)], b"");
    sender.post(resume.with_id(id));
    let answer = sender.response();
    let said = ["Answer", "From"].map(|name| header(&answer, name));
    assert_eq!(said, ["accepted", "100"].map(|word| Some(word.to_owned())));
    assert_eq!(sender.store(id, &hash).0, "stored");
}

/// A measurement of the round trip is no other request, which would give the file up.
#[test]
fn a_file_goes_on_behind_an_echo() {
    let place = Place::new();
    let (_receiver, to) = place.receiver(TCP, &[]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 3);
    sender.content(id, &content(3)[..1]);
    let asked = sender.post(request(&sender, &[("Do", "echo")], b"round"));
    let answer = sender.response();
    assert_eq!((answer.id(), answer.body()), (asked, &b"round"[..]));
    sender.content(id, &content(3)[1..]);
    let hash = sha256(&place.file("three", 3));
    assert_eq!(sender.store(id, &hash).0, "stored");
}

#[test]
fn strangers_are_told_once() {
    let place = Place::new();
    let (receiver, to) = place.receiver(TCP, &[]);
    for _ in 0..2 {
        common::peer::RawPeer::connect(&to).write(b"GET / HTTP/1.1\r\n\r\n");
        // They are looked for every other second.
        thread::sleep(Duration::from_millis(2300));
    }
    if !receiver.interrupt() {
        return;
    }
    let received = receiver.finish();
    let told = received.stderr.matches("did not say hello").count();
    assert_eq!(told, 1, "{received:?}");
}

/// Both what is in a file and which names a directory has.
#[cfg(target_os = "linux")]
#[test]
fn what_is_flushed_to_the_disk_is_file_and_directory() {
    let place = Place::new();
    let log = place.path().join("trace");
    let traced = std::process::Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    if !traced.is_ok_and(|output| output.status.success()) {
        common::skip("flushes: there is no program `strace` that may trace here");
        return;
    }
    let prelude = format!(
        "exec strace -f -qq -y -o '{}' -e trace=fsync,fdatasync \"$0\" \"$@\"",
        log.display()
    );
    let (receiver, to) = place.receiver_after(&prelude, &["--once", "--sync"]);
    let files = [place.file("short", 10), place.file("long", 100_000)];
    let files = files.each_ref().map(|file| file.to_str().unwrap());
    run(&[&["send", "--to", &to], &files[..]].concat()).assert_succeeds();
    receiver.finish().assert_succeeds();
    let mut text = String::new();
    common::until("all was flushed", || {
        text = fs::read_to_string(&log).unwrap();
        text.matches("/out>").count() >= 3
    });
    // The directory is, at the start too.
    assert_eq!(text.matches("/out>").count(), 3, "{text}");
    assert_eq!(text.matches(".ampe-partial-").count(), 2, "{text}");
}

#[test]
fn a_sender_that_sends_a_little_now_and_then_is_not_silent() {
    let place = Place::new();
    let (_receiver, to) = place.receiver(TCP, &["--timeout", "1"]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 25);
    for part in content(25).chunks(1) {
        sender.content(id, part);
        thread::sleep(Duration::from_millis(100));
    }
    let hash = sha256(&place.file("other", 25));
    assert_eq!(sender.store(id, &hash).0, "stored");
}
