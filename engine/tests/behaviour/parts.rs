//! Content of any length: written in parts, and put together again.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ampe::wire::OpCode;
use ampe::{Assembled, Assembler, Event, PartWriter, Post, PostError, Unfinished, WhyUnfinished};

use crate::common::peer::Dice;
use crate::common::*;

fn content(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + at / 251 + seed) as u8)
        .collect()
}

/// What comes out of an assembler until a channel has ended.
#[derive(Default)]
struct Outcome {
    wholes: BTreeMap<u64, (OpCode, Vec<u8>)>,
    unfinished: Vec<Unfinished>,
    parts: usize,
}

fn assemble(inbox: &mut ampe::Inbox, assembler: &mut Assembler) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        match assembler.take(next(inbox, "a part")) {
            Assembled::Whole(it) => {
                let before = outcome
                    .wholes
                    .insert(it.id(), (it.op_code(), it.body().to_vec()));
                assert!(before.is_none(), "a whole comes once");
            }
            Assembled::Part { .. } => outcome.parts += 1,
            Assembled::Unfinished(it) => outcome.unfinished.push(it),
            Assembled::Closed(_, unfinished) => {
                outcome.unfinished.extend(unfinished);
                return outcome;
            }
            _ => {}
        }
    }
}

/// Polls a future once.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        std::task::Poll::Ready(it) => Some(it),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn wholes_of_several_writers_on_one_channel_arrive_as_they_were_written() {
    let mut dice = Dice::new();
    for transport in transports() {
        let it = connected(transport);
        let (mut server, client, channel) = (it.server, it.client, it.to_server);
        let lens: Vec<_> = (0..4)
            .map(|_| [0, 1, 59_999, 60_000, 60_001, 120_000, dice.below(500_000)])
            .collect();
        let written = thread::scope(|scope| {
            let writers = lens.iter().enumerate().map(|(seed, lens)| {
                let group = client.0.clone();
                scope.spawn(move || {
                    let write = |len: usize| {
                        let head = group.message().with_header("Length", len.to_string());
                        let head = head.unwrap();
                        let mut writer = match len % 2 {
                            0 => PartWriter::request(&group, channel, head),
                            _ => PartWriter::signal(&group, channel, head),
                        };
                        let content = content(len, seed);
                        // Pieces of all sizes.
                        for piece in content.chunks(7_001 + 11_000 * seed) {
                            writer.write_all(piece).unwrap();
                        }
                        assert_eq!(writer.progress().written, len as u64);
                        (writer.finish().unwrap().id, content)
                    };
                    lens.map(write)
                })
            });
            let writers: Vec<_> = writers.collect();
            let server = &mut server.1;
            let reader = scope.spawn(move || {
                let mut assembler = Assembler::new(1 << 20, 64 << 20);
                let outcome = assemble(server, &mut assembler);
                assert_eq!(assembler.held(), 0);
                outcome
            });
            let written = writers.into_iter().flat_map(|it| it.join().unwrap());
            let written: BTreeMap<u64, Vec<u8>> = written.collect();
            client.0.post(client.0.message().bye(channel)).unwrap();
            let outcome = reader.join().unwrap();
            assert_eq!(outcome.unfinished, []);
            assert_eq!(outcome.wholes.len(), written.len());
            for (id, (op_code, body)) in &outcome.wholes {
                assert!(*body == written[id], "{id}");
                let is_request = *op_code == OpCode::Request;
                assert_eq!(is_request, body.len() % 2 == 0);
            }
            written
        });
        assert_eq!(written.len(), 28);
    }
}

#[test]
fn progress_says_what_was_sent_and_no_more() {
    let it = connected_with(Transport::Tcp, tight());
    let (mut server, client) = (it.server, it.client);
    let head = client.0.message();
    let mut writer = PartWriter::signal(&client.0, it.to_server, head).patience(Duration::ZERO);
    // The peer's application receives nothing: in the end nothing more is taken.
    let content = content(8 << 20, 0);
    let mut at = 0;
    let stuck = loop {
        match writer.write(&content[at..]) {
            Ok(taken) => at += taken,
            Err(stuck) if writer.progress().sent > 0 && at > 400_000 => break stuck,
            Err(_) => thread::yield_now(),
        }
    };
    assert_eq!(stuck.kind(), ErrorKind::TimedOut);
    let progress = writer.progress();
    assert_eq!(progress.written, at as u64);
    assert!(progress.sent <= progress.posted && progress.posted <= progress.written);
    assert!(progress.sent < progress.written, "{progress:?}");
    // What could not be written is written later, and nothing was lost.
    let mut writer = writer.patience(PATIENCE);
    let mut assembler = Assembler::new(16 << 20, 64 << 20);
    let reader = thread::spawn(move || assemble(&mut server.1, &mut assembler));
    writer.write_all(&content[at..]).unwrap();
    wait_until("all but the last part to be sent", || {
        let progress = writer.progress();
        progress.sent == progress.posted && progress.written - progress.posted <= 2 * 60_000
    });
    let id = writer.finish().unwrap().id;
    client.0.post(client.0.message().bye(it.to_server)).unwrap();
    let outcome = reader.join().unwrap();
    assert!(outcome.wholes[&id].1 == content);
}

#[test]
fn what_is_broken_off_or_cut_off_is_told_as_such() {
    let it = connected(Transport::Tcp);
    let (mut server, client, channel) = (it.server, it.client, it.to_server);
    // One of which nothing was posted is nothing.
    let mut small = PartWriter::request(&client.0, channel, client.0.message());
    small.write_all(b"a little").unwrap();
    drop(small);
    let mut ids = Vec::new();
    for end in ["dropped", "broken off", "cut"] {
        let mut writer = PartWriter::request(&client.0, channel, client.0.message());
        writer.write_all(&content(150_000, 3)).unwrap();
        ids.push(writer.id());
        match end {
            "dropped" => drop(writer),
            "broken off" => writer.break_off("the disk is full").unwrap(),
            _ => {
                client.0.post(client.0.message().bye(channel)).unwrap();
                assert_eq!(writer.finish(), Err(PostError::ByePosted));
            }
        }
    }
    let outcome = assemble(&mut server.1, &mut Assembler::new(1 << 20, 1 << 24));
    assert!(outcome.wholes.is_empty());
    let whys: Vec<_> = outcome
        .unfinished
        .iter()
        .map(|it| (it.id, it.bytes, &it.why))
        .collect();
    let broken_off = |why: &str| WhyUnfinished::BrokenOff(why.to_owned());
    assert_eq!(
        whys,
        [
            (ids[0], 120_000, &broken_off("the writer was dropped")),
            (ids[1], 120_000, &broken_off("the disk is full")),
            (ids[2], 120_000, &WhyUnfinished::ChannelClosed),
        ]
    );
}

#[test]
fn what_is_too_long_is_told_once_and_what_follows_it_is_whole() {
    let it = connected(Transport::Tcp);
    let (mut server, client, channel) = (it.server, it.client, it.to_server);
    let mut long = PartWriter::signal(&client.0, channel, client.0.message());
    long.write_all(&content(600_000, 1)).unwrap();
    let long = long.finish().unwrap().id;
    let mut short = PartWriter::signal(&client.0, channel, client.0.message());
    short.write_all(&content(100_000, 2)).unwrap();
    let short = short.finish().unwrap().id;
    client.0.post(client.0.message().bye(channel)).unwrap();
    let mut assembler = Assembler::new(100_000, 1 << 20);
    let outcome = assemble(&mut server.1, &mut assembler);
    let too_long = |it: &Unfinished| it.id == long && it.why == WhyUnfinished::TooLong(100_000);
    assert!(
        outcome.unfinished.iter().all(too_long),
        "{:?}",
        outcome.unfinished
    );
    assert_eq!(outcome.unfinished.len(), 1, "when it is known");
    assert_eq!(outcome.unfinished[0].bytes, 120_000);
    assert_eq!(outcome.wholes.len(), 1);
    assert!(outcome.wholes[&short].1 == content(100_000, 2));
    assert_eq!(assembler.held(), 0);
}

/// What was told before is not told again.
#[test]
fn what_the_end_of_a_channel_cuts_off_is_told_in_the_order_of_ids() {
    let it = connected(Transport::Tcp);
    let (mut server, client, channel) = (it.server, it.client, it.to_server);
    let begin = |id: u64, len: usize| {
        let message = client.0.message().with_body(&content(len, 1)).unwrap();
        let post = message.signal(channel).with_id(id).more();
        client.0.post(post).unwrap();
    };
    let too_long = 50;
    begin(too_long, 1001);
    for id in [90, 20, 70, 40, 10, 80, 30, 60] {
        begin(id, 1000);
    }
    client.0.post(client.0.message().bye(channel)).unwrap();
    let outcome = assemble(&mut server.1, &mut Assembler::new(1000, 1 << 20));
    let told: Vec<_> = outcome
        .unfinished
        .iter()
        .map(|it| (it.id, it.bytes))
        .collect();
    let cut_off = [10, 20, 30, 40, 60, 70, 80, 90].map(|id| (id, 1000));
    assert_eq!(told[0], (too_long, 1001));
    assert_eq!(told[1..], cut_off);
}

/// Whether it comes in one message or in several.
#[test]
fn one_message_is_too_long_as_well() {
    let it = connected(Transport::Tcp);
    let (mut server, client, channel) = (it.server, it.client, it.to_server);
    for len in [1000, 1001] {
        let message = client.0.message().with_body(&content(len, 1)).unwrap();
        client.0.post(message.signal(channel)).unwrap();
    }
    client.0.post(client.0.message().bye(channel)).unwrap();
    let outcome = assemble(&mut server.1, &mut Assembler::new(1000, 1 << 20));
    assert_eq!((outcome.wholes.len(), outcome.unfinished.len()), (1, 1));
    let too_long = &outcome.unfinished[0];
    assert_eq!(
        (too_long.bytes, &too_long.why),
        (1001, &WhyUnfinished::TooLong(1000))
    );
}

/// A peer that begins and begins fills no more memory than the assembler has, whatever it sends.
#[test]
fn who_begins_too_much_is_ignored_and_others_are_served() {
    let it = connected(Transport::Tcp);
    let (mut server, client, channel) = (it.server, it.client, it.to_server);
    for id in 1..=200 {
        let post = client.0.message().request(channel).with_id(id).more();
        client.0.post(post).unwrap();
    }
    client
        .0
        .post(client.0.message().request(channel).with_id(7))
        .unwrap();
    client.0.post(client.0.message().bye(channel)).unwrap();
    let mut assembler = Assembler::new(1 << 20, 100 * 1024);
    let outcome = assemble(&mut server.1, &mut assembler);
    assert_eq!((outcome.wholes.len(), outcome.parts), (0, 100));
    assert_eq!(outcome.unfinished.len(), 101, "all that came behind");
    let is_too_much = |it: &Unfinished| it.why == WhyUnfinished::TooMuch(100 * 1024);
    assert!(outcome.unfinished.iter().all(is_too_much));
    assert_eq!(assembler.held(), 0);
    // On another channel all is well, and on the next that has the number.
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    let (_, address) = listen(&server.0, &mut server.1, &any);
    let other = client.0.connect(&address).unwrap();
    let mut writer = PartWriter::request(&client.0, other, client.0.message());
    writer.write_all(&content(70_000, 5)).unwrap();
    let id = writer.finish().unwrap().id;
    client.0.post(client.0.message().bye(other)).unwrap();
    let outcome = assemble(&mut server.1, &mut assembler);
    assert!(outcome.wholes[&id].1 == content(70_000, 5));
}

#[test]
fn a_reply_in_parts_has_the_id_of_its_request_and_the_headers_of_its_head() {
    let it = connected(Transport::Tcp);
    let (mut server, mut client) = (it.server, it.client);
    let request = client.0.message().request(it.to_server);
    let asked = client.0.post(request).unwrap().id;
    let request = expect!(server.1, Request);
    let head = server.0.message().with_header("Kind", "letters").unwrap();
    let head = head.with_body(&content(65_535, 9)).unwrap(); // more than a part takes
    let mut writer = PartWriter::reply(&server.0, &request, head);
    writer.write_all(&content(200_000, 8)).unwrap();
    assert_eq!(writer.finish().unwrap().id, asked);
    let mut assembler = Assembler::new(1 << 20, 1 << 24);
    loop {
        match assembler.take(next(&mut client.1, "the reply")) {
            Assembled::Part { id, .. } => assert_eq!(id, asked),
            Assembled::Whole(whole) => {
                assert_eq!((whole.id(), whole.op_code()), (asked, OpCode::Response));
                assert_eq!(whole.text_headers().get("Kind"), Some(&b"letters"[..]));
                assert!(whole.body() == [content(65_535, 9), content(200_000, 8)].concat());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every future is dropped at its await, now and then: what it had not taken is written again.
#[test]
fn a_write_that_is_dropped_has_taken_nothing() {
    let it = connected_with(Transport::Tcp, tight());
    let (mut server, client, channel) = (it.server, it.client, it.to_server);
    let content = content(3 << 20, 0);
    let mut assembler = Assembler::new(16 << 20, 64 << 20);
    let reader = thread::spawn(move || assemble(&mut server.1, &mut assembler));
    let mut writer = PartWriter::request(&client.0, channel, client.0.message());
    let (mut at, mut dropped) = (0, 0);
    while at < content.len() {
        let end = content.len().min(at + 50_000);
        match poll_once(writer.write_async(&content[at..end])) {
            Some(taken) => at += taken.unwrap(),
            None => {
                dropped += 1;
                thread::yield_now();
            }
        }
    }
    println!("{dropped} futures were dropped");
    let id = smol::block_on(writer.finish_async()).unwrap().id;
    client.0.post(client.0.message().bye(channel)).unwrap();
    assert!(reader.join().unwrap().wholes[&id].1 == content);
}

#[test]
fn a_writer_on_a_channel_that_has_gone_says_so() {
    let it = connected(Transport::Tcp);
    let mut client = it.client;
    let mut writer = PartWriter::signal(&client.0, it.to_server, client.0.message());
    client.0.post(Post::abort(it.to_server)).unwrap();
    while !matches!(next(&mut client.1, "the end"), Event::Closed(_)) {}
    writer.write_all(&content(60_000, 0)).unwrap(); // the first waits until it is full
    let gone = writer.write_all(&[1]).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
    assert_eq!(writer.finish(), Err(PostError::ChannelClosed));
}

/// What a dropped future has begun to post goes first, whichever way the writer goes on.
#[test]
fn a_writer_goes_from_a_task_to_a_thread_with_what_waits_for_room() {
    let it = connected_with(Transport::Tcp, tight());
    let (mut server, client) = (it.server, it.client);
    let head = client.0.message().with_body(b"head: ").unwrap();
    let mut writer = PartWriter::signal(&client.0, it.to_server, head).patience(PATIENCE);
    assert_eq!(writer.progress().written, 6);
    let content = content(12 << 20, 0);
    let mut at = 0;
    // The peer's application receives nothing.
    while let Some(taken) = poll_once(writer.write_async(&content[at..])) {
        at += taken.unwrap();
        assert!(at < content.len(), "it has to wait somewhere");
    }
    let reader =
        thread::spawn(move || assemble(&mut server.1, &mut Assembler::new(16 << 20, 64 << 20)));
    writer.write_all(&content[at..]).unwrap();
    assert_eq!(writer.progress().written, 6 + content.len() as u64);
    let id = writer.finish().unwrap().id;
    client.0.post(client.0.message().bye(it.to_server)).unwrap();
    let outcome = reader.join().unwrap();
    assert!(outcome.wholes[&id].1 == [b"head: ", &content[..]].concat());
}

#[test]
fn progress_does_not_wait_for_what_was_withdrawn() {
    let it = connected_with(Transport::Tcp, tight());
    let (mut server, mut client, channel) = (it.server, it.client, it.to_server);
    let mut last = None;
    let large = || client.0.message().with_body(&content(60_000, 1)).unwrap();
    while let Ok(posted) = {
        let soon = Instant::now() + Duration::from_millis(50);
        client.0.post_wait(large().signal(channel), soon)
    } {
        last = Some(posted.id); // nobody receives them
    }
    client.0.withdraw(channel, last.unwrap()).unwrap();
    loop {
        match next(&mut client.1, "what was withdrawn") {
            Event::Returned(returned) => break assert_eq!(Some(returned.id()), last),
            Event::Room(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    let head = client.0.message();
    let mut writer = PartWriter::request(&client.0, channel, head).patience(PATIENCE);
    let reader =
        thread::spawn(move || assemble(&mut server.1, &mut Assembler::new(1 << 20, 1 << 24)));
    writer.write_all(&content(130_000, 2)).unwrap();
    wait_until("both parts to be sent", || {
        let progress = writer.progress();
        progress.sent == progress.posted && progress.posted >= 60_000
    });
    writer.finish().unwrap();
    client.0.post(client.0.message().bye(channel)).unwrap();
    reader.join().unwrap();
}
