//! Processes that are killed or interrupted in the middle, and disks that fill up.

use std::fs;
use std::thread;
use std::time::Duration;

use ampe::Reason;
use serde_json::Value;

use crate::common::peer::Peer;
use crate::common::receiving::Receiving;
#[cfg(unix)]
use crate::common::small_disk::SmallDisk;
use crate::common::{
    self, Finished, Killed, Place, Running, has_partial, on_each_transport, start, until,
};

/// A sender and a receiver in the middle of a file, and the address between them.
fn in_the_middle(place: &Place, listen: &str) -> (Running, Running, String) {
    let file = place.endless_file();
    let (receiver, to) = place.receiver(listen, &["--once"]);
    let sender = start(&["send", "--to", &to, file.to_str().unwrap()]);
    until("it is being received", || has_partial(&place.out()));
    (sender, receiver, to)
}

#[test]
fn a_killed_receiver_is_noticed_and_its_leftover_removed_by_the_next() {
    on_each_transport(|place, listen| {
        let (sender, receiver, address) = in_the_middle(place, listen);
        receiver.kill();
        if let Some(sent) = sender.finish_alone(&address, Killed::Receiver) {
            sent.assert_fails(1, &["broke", "try again"]);
        }
        assert!(has_partial(&place.out()));
        // A socket that nobody answers at is replaced.
        let (_next, _) = place.receiver(listen, &[]);
        assert!(common::has_no_file(&place.out()));
    });
}

#[test]
fn a_killed_sender_is_noticed_and_nothing_is_left() {
    on_each_transport(|place, listen| {
        let (sender, receiver, address) = in_the_middle(place, listen);
        sender.kill();
        if let Some(received) = receiver.finish_alone(&address, Killed::Sender) {
            received.assert_fails(1, &["endless from", "broken off after", "send it again"]);
            assert!(common::has_no_file(&place.out()));
        }
    });
}

/// Whoever reads JSON learns from it what became of each file; people read the line on stderr.
#[test]
fn a_broken_transfer_is_told_in_json_by_whoever_is_left() {
    for killed in [Killed::Receiver, Killed::Sender] {
        let place = Place::new();
        let (first, last) = (place.file("first", 5000), place.file("last", 10));
        let endless = place.endless_file();
        let out = place.out();
        let listen = ["recv", "--json", "--once", "--listen", "tcp://127.0.0.1:0"];
        let mut receiver = start(&[&listen[..], &["--out", out.to_str().unwrap()]].concat());
        let listening: Value = serde_json::from_str(&receiver.line()).unwrap();
        let to = listening["address"].as_str().unwrap();
        let files = [&first, &endless, &last].map(|file| file.to_str().unwrap());
        let sender = start(&[&["send", "--json", "--to", to], &files[..]].concat());
        assert!(receiver.line().contains("received"), "the first file");
        until("it is being received", || has_partial(&place.out()));
        let (dies, lives) = match killed {
            Killed::Receiver => (receiver, sender),
            Killed::Sender => (sender, receiver),
        };
        dies.kill();
        match (lives.finish_alone(to, killed), killed) {
            (Some(sent), Killed::Receiver) => check_sent(&sent),
            (Some(received), Killed::Sender) => check_received(&received),
            (None, _) => {}
        }
    }
}

fn check_sent(sent: &Finished) {
    assert_eq!(sent.code, Some(1), "{sent:?}");
    assert_eq!(sent.stdout.len(), 1, "one document: {sent:?}");
    let document: Value = serde_json::from_str(&sent.stdout[0]).unwrap();
    let why = document["error"].as_str().unwrap();
    assert!(why.contains("broke"), "{why}");
    assert!(sent.stderr.ends_with(&format!("ampe: {why}\n")), "{sent:?}");
    assert!(balanced(&document["account"]).posted >= 3, "{sent:?}");
    let files = document["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["first", "endless", "last"]);
    assert_eq!(
        (&files[0]["bytes"], &files[0]["error"]),
        (&5000.into(), &Value::Null)
    );
    for file in &files[1..] {
        assert_eq!(
            (&file["error"], &file["sha256"]),
            (&why.into(), &Value::Null)
        );
    }
}

struct Account {
    posted: u64,
    received: u64,
}

/// The figures of an account in JSON, which has to balance.
#[track_caller]
fn balanced(account: &Value) -> Account {
    let figure = |name| account[name].as_u64().expect(name);
    let (posted, sent, returned) = (figure("posted"), figure("sent"), figure("returned"));
    assert_eq!(posted, sent + returned, "{account}");
    assert!(figure("confirmed") <= sent, "{account}");
    Account {
        posted,
        received: figure("received"),
    }
}

fn check_received(received: &Finished) {
    received.assert_fails_among(&["endless from", "broken off after", "send it again"]);
    let lines = received.stdout[1..].iter();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{received:?}");
    assert_eq!(lines[2]["event"], "closed", "{received:?}");
    balanced(&lines[2]["account"]);
    assert_eq!(
        (&lines[0]["event"], &lines[0]["bytes"]),
        (&"received".into(), &5000.into())
    );
    let failed = &lines[1];
    assert_eq!(
        (&failed["event"], &failed["name"]),
        (&"failed".into(), &"endless".into())
    );
    let (came, size) = (
        failed["received"].as_u64().unwrap(),
        failed["bytes"].as_u64(),
    );
    assert_eq!(size, Some(common::ENDLESS));
    let account = balanced(&failed["account"]);
    // The Hello, that the first file was stored, an answer to the offer of the second, and perhaps how far
    // it had come.
    assert!(account.posted >= 3, "{failed}");
    assert!(account.received > account.posted, "{failed}");
    let why = failed["error"].as_str().unwrap();
    assert!(
        came > 0 && why.contains(&format!("after {came} of ")),
        "{failed}"
    );
}

#[test]
fn an_interrupted_receiver_leaves_nothing_and_its_sender_says_so() {
    on_each_transport(|place, listen| {
        let (sender, receiver, _) = in_the_middle(place, listen);
        if !receiver.interrupt() {
            return;
        }
        receiver.finish().assert_fails(130, &["interrupted"]);
        sender.finish().assert_fails(1, &["try again"]);
        assert!(common::has_no_file(&place.out()));
        assert_eq!(common::entries(place.path()), ["endless", "out"]);
    });
}

#[test]
fn an_interrupted_sender_is_noticed() {
    let place = Place::new();
    let file = place.endless_file();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let sender = start(&["send", "--json", "--to", &to, file.to_str().unwrap()]);
    until("it is being received", || has_partial(&place.out()));
    if !sender.interrupt() {
        return;
    }
    let sent = sender.finish();
    sent.assert_fails(130, &["interrupted"]);
    assert_eq!(sent.stdout.len(), 1, "{sent:?}");
    let document: Value = serde_json::from_str(&sent.stdout[0]).unwrap();
    assert_eq!(document["error"], "interrupted");
    assert!(balanced(&document["account"]).posted >= 2, "{sent:?}");
    receiver.finish().assert_fails(1, &["broken off after"]);
    assert!(common::has_no_file(&place.out()));
}

#[cfg(unix)] // elsewhere no process can be stopped
#[test]
fn a_receiver_that_hangs_is_given_up() {
    let place = Place::new();
    let file = place.endless_file();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let file = file.to_str().unwrap();
    let sender = start(&["send", "--timeout", "0.5", "--to", &to, file]);
    until("it is being received", || has_partial(&place.out()));
    receiver.signal("STOP");
    sender
        .finish()
        .assert_fails(1, &["said nothing for 0.5 s", "--timeout"]);
}

#[test]
fn a_sender_that_stops_in_the_middle_and_ends_its_engine() {
    let place = Place::new();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 1000);
    sender.content(id, &[7; 400]);
    until("it is being received", || has_partial(&place.out()));
    drop(sender);
    receiver
        .finish()
        .assert_fails(1, &["broken off after 400 of 1000 bytes"]);
    assert!(common::has_no_file(&place.out()));
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_given_up_by_both() {
    for (len, said) in [(0, "became shorter"), (20_000_001, "became longer")] {
        let place = Place::new();
        // A receiver made by hand accepts and reads nothing, so the sender stops in the middle.
        let mut receiving = Receiving::small();
        let file = place.file("file", 20_000_000);
        let to = &receiving.address;
        let sender = start(&["send", "--to", to, file.to_str().unwrap()]);
        receiving.accept();
        let changed = fs::File::options().write(true).open(&file).unwrap();
        changed.set_len(len).unwrap();
        let request = receiving.request(|_| {});
        assert_eq!(request.text_headers().get("Do").unwrap(), b"cancel");
        let gave_up = [("Answer", "failed"), ("Reason", "the sender gave up")];
        receiving.answer(&request, &gave_up);
        assert_eq!(receiving.closed().reason(), Reason::Bye);
        sender.finish().assert_fails(1, &["was not sent", said]);
    }
}

/// It arrives as it was when it was opened.
#[cfg(unix)] // elsewhere a file that is open is not replaced
#[test]
fn a_file_that_is_replaced_or_removed_while_it_is_sent_arrives_as_it_was() {
    for replaced in [true, false] {
        let place = Place::new();
        let mut receiving = Receiving::small();
        let file = place.file("file", 20_000_000);
        let hash = common::sha256(&file);
        let to = &receiving.address;
        let sender = start(&["send", "--to", to, file.to_str().unwrap()]);
        receiving.accept();
        match replaced {
            true => fs::rename(place.file("other", 30_000_000), &file).unwrap(),
            false => fs::remove_file(&file).unwrap(),
        }
        let store = receiving.request(|_| {});
        assert_eq!(
            store.text_headers().get("SHA-256").unwrap(),
            hash.as_bytes()
        );
        let stored = [("Answer", "stored"), ("SHA-256", &hash)];
        receiving.answer(&store, &stored);
        receiving.closed();
        sender.finish().assert_succeeds();
    }
}

#[test]
fn a_receiver_that_stored_something_else_is_told_of() {
    let place = Place::new();
    let file = place.file("file", 100_000);
    let other = common::sha256(&place.file("other", 999));
    let mut receiving = Receiving::small();
    let to = &receiving.address;
    let sender = start(&["send", "--to", to, file.to_str().unwrap()]);
    receiving.accept();
    let store = receiving.request(|_| {});
    receiving.answer(&store, &[("Answer", "stored"), ("SHA-256", &other)]);
    receiving.closed();
    let sent = sender.finish();
    sent.assert_fails(1, &["file arrived with another content than was sent"]);
    assert!(sent.stdout.is_empty(), "{sent:?}");
}

/// All of it takes several times as long as the time limit; so does what the two systems hold when the
/// last byte was posted.
#[test]
fn a_slow_receiver_is_waited_for_while_content_moves() {
    let place = Place::new();
    let file = place.file("file", 12_000_000);
    let mut receiving = Receiving::small();
    let to = &receiving.address;
    let send = ["send", "--timeout", "1", "--to", to];
    let sender = start(&[&send[..], &[file.to_str().unwrap()]].concat());
    receiving.accept();
    let group = receiving.group.clone();
    let mut received = 0;
    let store = receiving.request(|content| {
        thread::sleep(Duration::from_millis(20));
        received += content.body().len();
        let progress = group
            .message()
            .with_header("Received", received.to_string());
        let progress = progress.unwrap().signal(content.channel());
        group.post(progress.with_id(content.id())).unwrap();
    });
    let hash = common::sha256(&file);
    receiving.answer(&store, &[("Answer", "stored"), ("SHA-256", &hash)]);
    receiving.closed();
    sender.finish().assert_succeeds();
}

/// Which is how it knows that a line is slow and not dead.
#[test]
fn a_sender_is_told_how_far_a_file_has_come() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 1 << 30);
    let told = loop {
        for _ in 0..20 {
            sender.content(id, &[7; 60_000]);
        }
        thread::sleep(Duration::from_millis(100));
        if let Ok(Some(ampe::Event::Signal(told))) = sender.inbox.try_recv() {
            break told;
        }
    };
    assert_eq!(told.id(), id);
    let received = common::peer::header(&told, "Received").unwrap();
    assert!(received.parse::<u64>().unwrap() >= 240_000, "{received}");
}

/// What came while it was stopped came in time.
#[cfg(unix)] // elsewhere no process can be stopped
#[test]
fn a_receiver_that_was_stopped_goes_on() {
    let place = Place::new();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once", "--timeout", "2"]);
    let mut sender = Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 3);
    sender.content(id, &common::content(2));
    until("it is being received", || has_partial(&place.out()));
    receiver.signal("STOP");
    thread::sleep(Duration::from_millis(2500));
    receiver.signal("CONT");
    // Later than it is awake, sooner than it may give up.
    thread::sleep(Duration::from_millis(500));
    sender.content(id, &common::content(3)[2..]);
    let hash = common::sha256(&place.file("three", 3));
    assert_eq!(sender.store(id, &hash).0, "stored");
    sender.bye();
    receiver.finish().assert_succeeds();
}

#[cfg(unix)] // elsewhere no process can be stopped
#[test]
fn a_sender_that_was_stopped_goes_on() {
    let place = Place::new();
    let file = place.file("file", 100_000);
    let mut receiving = Receiving::small();
    let to = &receiving.address;
    let send = ["send", "--timeout", "0.8", "--to", to];
    let sender = start(&[&send[..], &[file.to_str().unwrap()]].concat());
    receiving.accept();
    let store = receiving.request(|_| {});
    sender.signal("STOP");
    let hash = common::sha256(&file);
    receiving.answer(&store, &[("Answer", "stored"), ("SHA-256", &hash)]);
    thread::sleep(Duration::from_secs(1));
    sender.signal("CONT");
    receiving.closed();
    sender.finish().assert_succeeds();
}

#[cfg(target_os = "linux")] // elsewhere it cannot be asked what is ignored
#[test]
fn signals_that_it_was_started_to_ignore_stay_ignored() {
    for name in ["HUP", "INT", "TERM"] {
        let place = Place::new();
        let file = place.file("file", 10);
        let ignoring = format!("trap '' {name}");
        let (receiver, to) = place.receiver_after(&ignoring, &["--once"]);
        receiver.signal(name);
        common::run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
        receiver.finish().assert_succeeds();
    }
}

#[cfg(unix)] // elsewhere there is no such limit
#[test]
fn a_file_larger_than_files_may_be_is_told_by_both_and_the_next_is_taken() {
    let place = Place::new();
    let (large, small) = (place.file("large", 2_000_000), place.file("small", 10));
    let (receiver, to) = place.receiver_after("ulimit -f 500", &["--once"]);
    let files = [&large, &small].map(|file| file.to_str().unwrap());
    let sent = common::run(&[&["send", "--quiet", "--to", &to], &files[..]].concat());
    sent.assert_fails(1, &["large was not stored there", "ulimit -f"]);
    receiver
        .finish()
        .assert_fails_among(&["large", "ulimit -f"]);
    assert_eq!(place.out_entries(), ["small"]);
}

#[cfg(unix)] // elsewhere no small disk can be made
#[test]
fn a_full_disk_is_said_by_both_and_nothing_is_left() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(place.out(), 1 << 20) else {
        return;
    };
    let file = place.file("file", 5_000_000);
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let sender = start(&["send", "--to", &to, file.to_str().unwrap()]);
    let (sent, received) = (sender.finish(), receiver.finish());
    let left = place.out_entries();
    disk.unmount();
    sent.assert_fails(1, &["nothing was sent", "do not fit", "free space"]);
    received.assert_fails(1, &["do not fit", "free space"]);
    assert!(left.is_empty());
}

/// That the sender says meanwhile that it is there is no progress.
#[test]
fn a_receiver_that_never_answers_is_given_up() {
    for accepts in [true, false] {
        let place = Place::new();
        let file = place.file("file", 100_000);
        let mut receiving = Receiving::small();
        let send = ["send", "--timeout", "1", "--to", &receiving.address];
        let sender = start(&[&send[..], &[file.to_str().unwrap()]].concat());
        let reading = thread::spawn(move || {
            match accepts {
                true => drop(receiving.accept()),
                false => drop(receiving.greet()),
            }
            receiving.closed();
        });
        sender.finish().assert_fails(1, &["said nothing for 1 s"]);
        reading.join().unwrap();
    }
}
