//! Back-pressure: who may receive, who waits, and what nobody may forget meanwhile.

use std::io;

use crate::between::key::RecordKey;
use crate::event::Event;
use crate::options::Options;
use crate::reason::Reason;
use crate::storage::MESSAGE_COST_MAX;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

use super::bench::Bench;

/// As much as the largest messages cost, twice: the least that an engine works with.
pub(super) fn least() -> Options {
    Options {
        inbound_bytes: 2 * MESSAGE_COST_MAX,
        inbound_bytes_per_channel: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    }
}

/// A body so long that the least budget takes three such messages, and not four.
const LARGE: usize = 65_000;

pub(super) fn signal(body: &[u8]) -> Vec<u8> {
    frame(OpCode::Signal, 5, body)
}

/// Fills the inbound budget from one connection, up to less than a small message.
pub(super) fn fill(bench: &mut Bench, key: crate::between::key::RecordKey) -> Vec<Event> {
    let mut held = Vec::new();
    for len in [LARGE, LARGE, LARGE, 16_000, 16_000, 16_000] {
        assert!(bench.feed(key, &signal(&vec![7; len])).is_empty());
        bench.rest();
        held.extend(bench.events());
    }
    while !bench.is_starving() {
        bench.feed(key, &signal(b""));
        bench.rest();
        held.extend(bench.events());
    }
    held
}

#[test]
fn a_frame_without_content_that_waited_for_budget_is_delivered_at_once() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    let mut held = fill(&mut bench, key);
    bench.is_awake();
    drop(held.pop());
    assert!(bench.is_awake(), "a drop wakes a core that starves");
    bench.wait(); // serves the frame: nothing more has to arrive for it
    assert!(bench.is_awake(), "what was received is to be delivered");
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
    drop((hello, held));
}

/// Where an application drops one message after the other, the reactor is not woken for each.
#[test]
fn while_there_are_drops_all_the_time_more_of_them_are_waited_for() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    bench.feed(key, &signal(b"").repeat(700));
    bench.rest();
    let mut held = bench.events();
    assert!(bench.is_starving() && held.len() > 200);
    bench.is_awake();
    drop(held.pop());
    assert!(bench.is_awake(), "the first is not waited with");
    bench.rest();
    drop(held.pop());
    bench.rest();
    let due = bench.core.poll_timeout(bench.now);
    assert_eq!(due, Some(bench.now + std::time::Duration::from_millis(1)));
    bench.is_awake();
    let mut drops = 0;
    while !bench.is_awake() {
        assert!(drops < 100, "not woken though it is worth it");
        held.pop();
        drops += 1;
    }
    assert!(drops > 10, "woken for each");
    bench.rest();
    let received = bench.events();
    held.truncate(held.len() - 5);
    assert!(!bench.is_awake());
    bench.now = due.unwrap();
    bench.rest();
    assert!(
        !bench.events().is_empty(),
        "looked at after a while all the same"
    );
    assert!(received.len() > 10);
    drop((hello, held));
}

#[test]
fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (glutton, _first) = bench.greet(listener);
    let others: Vec<_> = (0..3).map(|_| bench.greet(listener)).collect();
    let mut held = fill(&mut bench, glutton);
    for (key, _) in others.iter().rev() {
        bench.feed(*key, &signal(b""));
        bench.rest();
        assert!(
            !bench.wanted[key].readable,
            "a connection that starves is not read from"
        );
    }
    assert!(bench.events().is_empty());
    // The first in line is the one that filled the budget, then the others, last one first.
    let mut served = Vec::new();
    while served.len() < 4 {
        held.pop(); // one small message: room for one small message
        bench.rest();
        let mut events = bench.events();
        assert!(events.len() <= 1, "one drop serves one");
        served.extend(events.iter().filter_map(Event::channel));
        held.splice(0..0, events.drain(..)); // kept, so that it frees nothing
    }
    let channel = |index: usize| others[index].1.channel();
    assert_eq!(served[1..], [channel(2), channel(1), channel(0)]);
    assert!(!bench.is_starving());
    assert!(others.iter().all(|(key, _)| bench.wanted[key].readable));
}

#[test]
fn no_connection_holds_more_than_its_share_and_others_go_on() {
    let options = Options {
        inbound_bytes: 8 * MESSAGE_COST_MAX,
        ..least()
    };
    let mut bench = Bench::with(options);
    let (_, listener) = bench.listen();
    let (glutton, _one) = bench.greet(listener);
    let (other, _two) = bench.greet(listener);
    let mut held = fill(&mut bench, glutton);
    assert!(!bench.wanted[&glutton].readable);
    assert!(bench.feed(other, &signal(b"on time")).is_empty());
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(it) if it.body() == b"on time"));
    bench.feed(other, &signal(b"dropped at once"));
    bench.rest();
    drop(bench.events());
    bench.rest();
    assert!(bench.is_starving(), "what others drop is not its share");
    drop(held.pop());
    bench.rest();
    assert!(!bench.is_starving());
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn while_one_holds_the_shared_buffer_others_read_what_their_frames_lack() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (holder, _one) = bench.greet(listener);
    let (other, _two) = bench.greet(listener);
    let mut held = fill(&mut bench, holder);
    // The first in line is served, and finds behind its frame another that has to wait: the rest
    // stays in the shared buffer.
    let small = held.pop();
    drop(small);
    bench.rest();
    held.extend(bench.events());
    assert_eq!(bench.planned(holder), Some(0), "as many bytes as there are");
    let mut burst = signal(b"one");
    burst.extend(signal(b"two"));
    bench.feed(holder, &burst);
    assert_eq!(bench.held.len(), burst.len() - Header::LEN);
    assert_eq!(bench.planned(holder), None);
    assert!(!bench.wanted[&holder].readable || bench.is_starving());

    assert_eq!(bench.planned(other), Some(Header::LEN));
    let frame = signal(&[3; 100]);
    bench.feed(other, &frame[..5]);
    assert_eq!(bench.planned(other), Some(Header::LEN - 5));
    bench.feed(other, &frame[5..Header::LEN]);
    assert_eq!(bench.planned(other), None, "it waits behind the holder");

    held.truncate(held.len() - 2); // room for both
    bench.rest(); // the holder goes on from the buffer, to its second frame
    let events = bench.events();
    assert!(
        matches!(&events[0], Event::Signal(it) if it.body() == b"one"),
        "{events:?}"
    );
    assert_eq!(
        bench.planned(other),
        Some(100),
        "and no byte beyond the frame"
    );
    held.pop();
    drop(events);
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(it) if it.body() == b"two"));
    assert!(bench.held.is_empty());
    assert_eq!(bench.planned(other), Some(0), "the buffer is free again");
    bench.feed(other, &frame[Header::LEN..]);
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(it) if it.body() == [3; 100]));
}

#[test]
fn a_large_body_is_read_into_its_message() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let (key, _hello) = bench.greet(listener);
    let frame = signal(&[5; 40_000]);
    bench.feed(key, &frame[..Header::LEN + 10_000]);
    assert_eq!(bench.planned(key), Some(30_000));
    bench.feed(key, &frame[Header::LEN + 10_000..Header::LEN + 39_000]);
    assert_eq!(
        bench.planned(key),
        Some(0),
        "the little that is left comes with what follows"
    );
}

#[test]
fn a_starved_peer_that_ends_is_heard_to_the_end() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (key, _hello) = bench.greet(listener);
    let held = fill(&mut bench, key);
    assert_eq!(
        bench.planned(key),
        None,
        "its end is not seen before its last message"
    );
    drop(held);
    bench.rest();
    bench.core.handle_end_of_stream(key, bench.now);
    bench.rest();
    let events = bench.events();
    let [Event::Signal(_), Event::Closed(closed)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(closed.reason(), crate::Reason::PeerDisconnected);
}

#[test]
fn a_starved_connection_that_is_aborted_leaves_the_line_to_others() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (glutton, hello) = bench.greet(listener);
    let (other, _two) = bench.greet(listener);
    let mut held = fill(&mut bench, glutton);
    bench.feed(other, &signal(b"behind"));
    bench.rest();
    bench.post(crate::Post::abort(hello.channel()));
    bench.rest();
    assert!(matches!(bench.event(), Event::Closed(_)));
    held.pop();
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(it) if it.body() == b"behind"));
    assert!(!bench.is_starving());
}

#[test]
fn a_line_that_does_not_move_does_not_grow_by_those_who_come_and_go() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (glutton, hello) = bench.greet(listener);
    let mut held = fill(&mut bench, glutton);
    let wait_in_line = |bench: &mut Bench| {
        let (channel, key) = bench.connect();
        bench.feed(key, &signal(b""));
        channel
    };
    let first = wait_in_line(&mut bench);
    let second = wait_in_line(&mut bench);
    for _ in 0..1000 {
        let channel = wait_in_line(&mut bench);
        bench.post(crate::Post::abort(channel));
        bench.rest();
        assert_eq!(bench.closed().channel(), channel);
        let audit = bench.core.audit();
        assert_eq!(audit.starving, 3);
        assert!(audit.waiting.len() <= 2 * audit.starving);
    }
    let third = wait_in_line(&mut bench);
    let mut served = Vec::new();
    while served.len() < 4 {
        held.pop();
        bench.rest();
        let mut events = bench.events();
        served.extend(events.iter().filter_map(Event::channel));
        held.splice(0..0, events.drain(..));
    }
    // The glutton waited for its own share, and has lined up behind the others.
    assert_eq!(served, [first, second, third, hello.channel()]);
    assert!(bench.core.audit().waiting.is_empty());
}

#[test]
fn the_holder_of_the_shared_buffer_that_ends_gives_it_back() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    let (other, _two) = bench.greet(listener);
    let mut held = fill(&mut bench, key);
    held.pop();
    bench.rest();
    held.extend(bench.events());
    let mut burst = signal(b"one");
    burst.extend(signal(b"two"));
    bench.feed(key, &burst);
    assert_eq!(bench.planned(other), Some(Header::LEN));
    bench.post(crate::Post::abort(hello.channel()));
    bench.rest();
    assert_eq!(bench.planned(other), Some(0));
    let late = held.len();
    drop(held);
    bench.rest();
    assert!(
        late > 0 && bench.core.audit().inbound_used > 0,
        "the hellos are still held"
    );
}

#[test]
fn who_held_the_buffer_and_ended_takes_nothing_of_who_holds_it_now() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (first, hello_of_first) = bench.greet(listener);
    let (second, hello) = bench.greet(listener);
    let mut held = fill(&mut bench, first);
    let waiting: Vec<u8> = (0..64).flat_map(|_| signal(b"")).collect();
    assert_eq!(bench.core.audit().holder, None);
    held.push(Event::Hello(hello_of_first));
    drop(held.remove(6)); // a small one: the next of the first connection begins, and one after it
    bench.wait();
    bench.feed(first, &waiting);
    assert_eq!(bench.core.audit().holder, Some(first));
    drop(held.pop());
    bench.wait(); // the first is served
    let no_memory = io::Error::from(io::ErrorKind::Unsupported);
    bench.core.handle_unpollable(first, &no_memory, bench.now);
    let of_second: Vec<u8> = (0..64).flat_map(|n| signal(&[n])).collect();
    bench.feed(second, &of_second);
    assert_eq!(bench.core.audit().holder, Some(second));
    drop(held);
    let mut received = Vec::new();
    while received.len() < 64 {
        bench.rest();
        let events = bench.events();
        assert!(!events.is_empty(), "{} of 64 arrived", received.len());
        for event in events {
            if let Event::Signal(it) = event
                && it.channel() == hello.channel()
            {
                received.push(it.body()[0]);
            }
        }
    }
    assert_eq!(received, (0..64).collect::<Vec<u8>>());
}

/// A frame of the largest size that says at each place where in it that is.
fn largest() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..131_086_u32).map(|at| (at % 251) as u8).collect();
    let header = Header {
        channel_number: 1,
        op_code: OpCode::Signal,
        more: false,
        status: 0,
        message_id: 5,
        text_headers_len: 65_535,
        body_len: 65_535,
    };
    bytes[..Header::LEN].copy_from_slice(&header.encode());
    bytes
}

/// Announcing a frame costs a peer 16 bytes.
#[test]
fn peers_that_only_announce_frames_leave_the_others_half_of_the_budget() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let announcers: Vec<_> = (0..20).map(|_| bench.greet(listener)).collect();
    for (key, _) in &announcers {
        bench.feed(*key, &largest()[..Header::LEN]);
        bench.feed(*key, &largest()[Header::LEN..10_000]);
    }
    bench.rest();
    drop(bench.events());
    let (honest, _hello) = bench.greet(listener);
    for body in [vec![1; 5], vec![2; LARGE], vec![3; 5]] {
        bench.feed(honest, &signal(&body));
        bench.rest();
        assert!(matches!(bench.event(), Event::Signal(it) if it.body() == body));
    }
}

/// A bench whose budget is used up by what came on the first of two connections, and is kept.
fn short() -> (Bench, [RecordKey; 2], Vec<Event>) {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (glutton, hello) = bench.greet(listener);
    let (key, own) = bench.greet(listener);
    let mut held = fill(&mut bench, glutton);
    held.extend([Event::Hello(hello), Event::Hello(own)]);
    (bench, [glutton, key], held)
}

/// Small ones too: all of such a frame is here before the budget is asked for it.
#[test]
fn what_is_announced_while_the_budget_is_used_up_waits_in_no_line_until_it_is_here() {
    for len in [1025, 16_384, 65_535] {
        let (mut bench, [_, key], _held) = short();
        let starving = bench.core.audit().starving;
        let whole = signal(&vec![7; len]);
        let first = Header::LEN + len.min(16 * 1024);
        bench.feed(key, &whole[..first - 1]);
        bench.rest();
        assert_eq!(bench.core.audit().starving, starving);
        assert!(bench.wanted[&key].readable);
        bench.feed(key, &whole[first - 1..first]);
        bench.rest();
        assert_eq!(bench.core.audit().starving, starving + 1);
        assert!(!bench.wanted[&key].readable);
    }
    // Of the smallest the header is most of what they cost.
    let (mut bench, [_, key], _held) = short();
    let starving = bench.core.audit().starving;
    bench.feed(key, &signal(&[7; 1024])[..Header::LEN]);
    bench.rest();
    assert_eq!(bench.core.audit().starving, starving + 1);
}

#[test]
fn a_frame_that_stalls_or_breaks_off_in_its_first_part_is_told() {
    for is_end in [true, false] {
        let (mut bench, [_, key], held) = short();
        bench.feed(key, &signal(&[7; 5000])[..100]);
        bench.rest();
        let reason = if is_end {
            bench.core.handle_end_of_stream(key, bench.now);
            Reason::ConnectionLost
        } else {
            bench.later(bench.shared.options.frame_timeout);
            Reason::ReceiveTimedOut
        };
        bench.rest();
        assert_eq!(bench.closed().reason(), reason);
        drop(held);
    }
}

/// The shared buffer is another's then, and exactly what the first part lacks is read.
#[test]
fn a_first_part_is_read_though_the_shared_buffer_is_held() {
    let (mut bench, [glutton, key], mut held) = short();
    bench.feed(key, &signal(&[7; 5000])[..Header::LEN + 100]);
    drop(held.remove(held.len() - 3)); // a small one: the next of the first connection begins, and one after it
    bench.wait();
    bench.feed(glutton, &signal(b"").repeat(64));
    assert_eq!(bench.core.audit().holder, Some(glutton));
    assert_eq!(bench.planned(key), Some(4900));
    drop(held);
}

/// Whoever waits for the rest of its frame holds nothing that another waits for.
#[test]
fn frames_whose_first_parts_are_here_all_come_whole_however_many_wait() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (glutton, _first) = bench.greet(listener);
    let others: Vec<_> = (0..12).map(|_| bench.greet(listener)).collect();
    let mut held = fill(&mut bench, glutton);
    let mut sent: Vec<_> = others.iter().map(|(key, _)| (*key, 0)).collect();
    let frame = largest();
    let mut whole = 0;
    for round in 0.. {
        assert!(round < 2000, "{whole} frames of 12 came");
        for (index, (key, sent)) in sent.iter_mut().enumerate() {
            // In pieces of many sizes, as they come.
            let until = (*sent + 700 + 991 * index).min(frame.len());
            if bench.wanted[key].readable {
                let rest = bench.feed(*key, &frame[*sent..until]).len();
                *sent = until - rest;
            }
            bench.rest();
        }
        held.pop();
        for event in bench.events() {
            match event {
                Event::Signal(it) if !it.body().is_empty() => {
                    let (headers, body) = frame[Header::LEN..].split_at(65_535);
                    let message = it.into_message();
                    assert_eq!(message.text_headers().as_bytes(), headers);
                    assert_eq!(message.body(), body);
                    whole += 1;
                }
                other => held.push(other),
            }
        }
        if whole == sent.len() {
            break;
        }
    }
}

/// Else two peers that flood each other would wait for each other.
#[test]
fn what_is_passed_on_takes_none_of_the_inbound_budget_however_long_it_is_queued() {
    for (is_shared, has_header) in [(false, false), (true, false), (true, true)] {
        let mut bench = Bench::new();
        let (channel, key) = bench.connect();
        bench.accepts.insert(key, 0);
        bench.feed(key, &signal(&[7; LARGE]));
        bench.rest();
        let Event::Signal(received) = bench.event() else {
            panic!("it was received");
        };
        let mut message = received.into_message();
        if is_shared {
            drop(message.share_body());
        }
        if has_header {
            message.add_header("Name", "value").unwrap();
        }
        assert!(bench.core.audit().inbound_used > 0);
        bench.post(message.signal(channel));
        bench.rest();
        assert_eq!(bench.core.audit().inbound_used, 0);
        bench.accepts.remove(&key);
        bench.core.handle_writable(key, bench.now);
        bench.rest();
        assert_eq!(bench.frames(key)[0].body, [7; LARGE]);
    }
}
