//! What `ampe send` says to a receiver, which is made by hand here.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ampe::{Event, Reason, Request};

use crate::common::receiving::Receiving;
use crate::common::{self, Place, content, sha256, start, start_with};

/// What fits into one message: a path and a file.
const FITS: usize = 61_440;

fn asks(request: &Request) -> String {
    let what = request.text_headers().get("Do").unwrap();
    String::from_utf8(what.to_owned()).unwrap()
}

fn stored(receiving: &Receiving, request: &Request) {
    let hash = request.text_headers().get_text("SHA-256").unwrap();
    receiving.answer(request, &[("Answer", "stored"), ("SHA-256", hash)]);
}

#[test]
fn no_more_than_256_files_wait_for_their_answers() {
    let place = Place::new();
    let top = place.path().join("many");
    std::fs::create_dir(&top).unwrap();
    for number in 0..400 {
        std::fs::write(top.join(number.to_string()), "x").unwrap();
    }
    let mut receiving = Receiving::small();
    let to = &receiving.address;
    let sender = start(&["send", "--quiet", "--to", to, top.to_str().unwrap()]);
    // The requests themselves are dropped, so that there is room for all.
    let known = |request: Request| {
        let hash = request.text_headers().get_text("SHA-256");
        (request.id(), hash.map(str::to_owned))
    };
    let first = receiving.greet();
    let channel = first.channel();
    let mut waiting = vec![known(first)];
    while waiting.len() < 256 {
        waiting.push(known(receiving.request(|_| {})));
    }
    let moment = Instant::now() + Duration::from_millis(200);
    let more = receiving.inbox.recv_until(moment).unwrap();
    assert!(more.is_none(), "{more:?}");
    for _ in 0..401 {
        let (id, hash) = match waiting.pop() {
            Some(known) => known,
            None => known(receiving.request(|_| {})),
        };
        let answer = match &hash {
            Some(hash) => receiving.message(&[("Answer", "stored"), ("SHA-256", hash)]),
            None => receiving.message(&[("Answer", "made")]),
        };
        receiving.group.post(answer.response(channel, id)).unwrap();
    }
    assert_eq!(receiving.closed().reason(), Reason::Bye);
    sender.finish().assert_succeeds();
}

#[test]
fn what_fits_into_a_message_is_sent_in_one() {
    for (len, expected) in [(FITS - 4, "put"), (FITS - 3, "offer")] {
        let place = Place::new();
        let file = place.file("file", len);
        let mut receiving = Receiving::small();
        let _sender = start(&["send", "--to", &receiving.address, file.to_str().unwrap()]);
        assert_eq!(asks(&receiving.greet()), expected, "{len}");
    }
}

#[test]
fn content_goes_on_where_this_file_is_and_no_other() {
    let place = Place::new();
    let files = ["one", "two"].map(|name| place.file(name, 100_000));
    let files = files.each_ref().map(|file| file.to_str().unwrap());
    let mut receiving = Receiving::small();
    let sender = start(&[&["send", "--to", &receiving.address], &files[..]].concat());
    let first = receiving.accept();
    let store = receiving.request(|_| {});
    stored(&receiving, &store);
    let second = receiving.request(|_| {});
    // Of the file that has arrived.
    let (channel, id) = (first.channel(), first.id());
    let late = receiving.message(&[("Answer", "accepted"), ("From", "5")]);
    receiving.group.post(late.response(channel, id)).unwrap();
    receiving.answer(&second, &[("Answer", "accepted")]);
    let store = receiving.request(|_| {});
    assert_eq!(asks(&store), "store", "and not resumed");
    stored(&receiving, &store);
    assert_eq!(receiving.closed().reason(), Reason::Bye);
    sender.finish().assert_succeeds();
}

#[test]
fn that_something_was_made_is_no_answer_to_a_file() {
    let place = Place::new();
    let file = place.file("file", 10);
    let mut receiving = Receiving::small();
    let sender = start(&["send", "--to", &receiving.address, file.to_str().unwrap()]);
    let put = receiving.greet();
    receiving.answer(&put, &[("Answer", "made")]);
    receiving.closed();
    sender.finish().assert_fails(1, &["use the same version"]);
}

#[test]
fn an_answer_to_what_was_not_sent_is_told() {
    let place = Place::new();
    let file = place.file("file", 10);
    // To the request behind the last one, and to none that it could ever send.
    for other in [|id: u64| id + 1, |_| 7] {
        let mut receiving = Receiving::small();
        let sender = start(&["send", "--to", &receiving.address, file.to_str().unwrap()]);
        let put = receiving.greet();
        let answer = receiving.message(&[("Answer", "refused"), ("Reason", "full")]);
        let answer = answer.response(put.channel(), other(put.id()));
        receiving.group.post(answer).unwrap();
        receiving.closed();
        sender.finish().assert_fails(1, &["use the same version"]);
    }
}

/// All of them take several times as long as the time limit.
#[test]
fn answers_are_waited_for_while_they_come() {
    let place = Place::new();
    let top = place.path().join("many");
    std::fs::create_dir(&top).unwrap();
    for number in 0..40 {
        std::fs::write(top.join(number.to_string()), "x").unwrap();
    }
    let mut receiving = Receiving::small();
    let send = [
        "send",
        "--quiet",
        "--timeout",
        "1",
        "--to",
        &receiving.address,
    ];
    let sender = start(&[&send[..], &[top.to_str().unwrap()]].concat());
    let made = receiving.greet();
    receiving.answer(&made, &[("Answer", "made")]);
    for _ in 0..40 {
        let put = receiving.request(|_| {});
        std::thread::sleep(Duration::from_millis(60));
        stored(&receiving, &put);
    }
    assert_eq!(receiving.closed().reason(), Reason::Bye);
    sender.finish().assert_succeeds();
}

/// As one does that is far from having enough to tell of: what is posted takes several times as long as
/// the time limit to go out.
#[test]
fn a_receiver_that_takes_content_slowly_and_tells_nothing_is_waited_for() {
    if !common::has_unix_sockets() {
        return; // others hold so much in the system that it would take minutes
    }
    let place = Place::new();
    let file = place.file("file", 6_000_000);
    let mut receiving = Receiving::small_at(&place.uds("socket"));
    let send = ["send", "--timeout", "1", "--to", &receiving.address];
    let sender = start(&[&send[..], &[file.to_str().unwrap()]].concat());
    receiving.accept();
    let store = receiving.request(|_| std::thread::sleep(Duration::from_millis(40)));
    stored(&receiving, &store);
    assert_eq!(receiving.closed().reason(), Reason::Bye);
    sender.finish().assert_succeeds();
}

#[cfg(target_os = "linux")] // elsewhere it is not told so easily
#[test]
fn a_sender_sleeps_while_there_is_no_room() {
    let place = Place::new();
    let file = place.file("file", 30_000_000);
    let mut receiving = Receiving::small();
    let sender = start(&["send", "--to", &receiving.address, file.to_str().unwrap()]);
    receiving.accept();
    let content = receiving.next();
    assert!(matches!(content, Event::Signal(_)), "{content:?}");
    // It posts as much as the two systems and the engines hold, and then nothing more.
    common::until("it sleeps", || {
        (0..20).all(|_| {
            std::thread::sleep(Duration::from_millis(10));
            common::states(sender.id(), "ampe-source") == ["S"]
        })
    });
    let store = receiving.request(|_| {});
    stored(&receiving, &store);
    assert_eq!(receiving.closed().reason(), Reason::Bye);
    sender.finish().assert_succeeds();
}

#[test]
fn nothing_more_is_sent_of_a_file_that_has_failed() {
    const LEN: usize = 40_000_000;
    let place = Place::new();
    let files = [place.file("file", LEN), place.file("next", 10)];
    let files = files.each_ref().map(|file| file.to_str().unwrap());
    let mut receiving = Receiving::small();
    let sender = start(&[&["send", "--to", &receiving.address], &files[..]].concat());
    let offer = receiving.accept();
    receiving.answer(&offer, &[("Answer", "failed"), ("Reason", "full")]);
    let mut came = 0;
    let next = receiving.request(|content| came += content.body().len());
    assert_eq!(asks(&next), "put", "of the next file");
    assert!(came < LEN, "all of it came");
    stored(&receiving, &next);
    assert_eq!(receiving.closed().reason(), Reason::Bye);
    let sent = sender.finish();
    sent.assert_fails_among(&["file was not stored there", "full"]);
}

#[test]
fn how_much_comes_is_said_in_the_hello_if_it_is_known() {
    let place = Place::new();
    let file = place.file("file", 10);
    let stdin = ["--as", "log", "-"];
    for (what, size) in [(&[file.to_str().unwrap()][..], Some("10")), (&stdin, None)] {
        let mut receiving = Receiving::small();
        let _sender = start(&[&["send", "--to", &receiving.address], what].concat());
        let Event::Hello(hello) = receiving.next() else {
            panic!("no Hello");
        };
        assert_eq!(hello.text_headers().get_text("Size"), size);
    }
}

/// It would be waited for until somebody writes to it.
#[cfg(unix)]
#[test]
fn a_pipe_with_a_name_is_not_opened() {
    let place = Place::new();
    let pipe = place.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let send = [
        "send",
        "--timeout",
        "5",
        "--to",
        "7099",
        pipe.to_str().unwrap(),
    ];
    start(&send).finish().assert_fails(1, &["no regular file"]);
}

/// Which may be all that comes for a long time.
#[test]
fn what_comes_from_a_pipe_is_sent_at_once() {
    let mut receiving = Receiving::small();
    let send = ["send", "--to", &receiving.address, "--as", "log", "-"];
    let mut sender = start_with(&send, |command| {
        command.stdin(Stdio::piped());
    });
    let mut stdin = sender.stdin();
    receiving.accept();
    for line in ["one\n", "two\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let started = Instant::now();
        let came = loop {
            match receiving.next() {
                // That it waits.
                Event::Signal(content)
                    if content.body().is_empty() && started.elapsed() < common::WATCHDOG / 2 => {}
                event => break event,
            }
        };
        let Event::Signal(came) = came else {
            panic!("no content but {came:?}");
        };
        assert_eq!(came.body(), line.as_bytes());
    }
    drop(stdin);
    let store = receiving.request(|_| {});
    stored(&receiving, &store);
    receiving.closed();
    sender.finish().assert_succeeds();
}

/// Neither in many short files nor behind a pause.
#[test]
fn a_limit_holds_for_whatever_is_sent() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let limited = ["send", "--limit", "40kB", "--to", &to];
    let files: Vec<_> = (0..7)
        .map(|at| place.file(&format!("file-{at}"), 10_000))
        .collect();
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let started = Instant::now();
    start(&[&limited[..], &files].concat())
        .finish()
        .assert_succeeds();
    // No measurement: sooner it would be faster than it may be.
    assert!(started.elapsed() >= Duration::from_millis(1200));
    let mut sender = start_with(&[&limited[..], &["--as", "log", "-"]].concat(), |command| {
        command.stdin(Stdio::piped());
    });
    let mut stdin = sender.stdin();
    stdin.write_all(b"a").unwrap();
    std::thread::sleep(Duration::from_millis(1000));
    let started = Instant::now();
    stdin.write_all(&content(30_000)).unwrap();
    drop(stdin);
    sender.finish().assert_succeeds();
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(
        sha256(&place.out().join("file-6")),
        sha256(&place.path().join("file-6"))
    );
}

/// All of a short file would go out in one message, and nothing before and behind it for so long.
#[test]
fn a_limit_makes_nobody_silent() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--timeout", "1"]);
    let send = ["send", "--quiet", "--timeout", "1", "--to", &to];
    let files = ["one", "two"].map(|name| place.file(name, 40_000));
    let files = files.each_ref().map(|file| file.to_str().unwrap());
    start(&[&send[..], &["--limit", "20kB"], &files].concat())
        .finish()
        .assert_succeeds();
}
