//! Peers that are waited for no longer, and those whose lateness is our own.

use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::event::Event;
use crate::options::Options;
use crate::reason::Reason;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

use super::bench::{Bench, reset};
use super::starving::{fill, least, signal};

const SECOND: Duration = Duration::from_secs(1);
const SHORTLY: Duration = Duration::from_millis(1);

/// A bench whose inbound budget is used up, with what uses it, and nobody waits yet.
fn full() -> (Bench, RecordKey, Vec<Event>) {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (glutton, hello) = bench.greet(listener);
    let mut held = fill(&mut bench, glutton);
    bench.post(crate::Post::abort(hello.channel()));
    bench.rest();
    bench.closed();
    held.push(Event::Hello(hello));
    (bench, listener, held)
}

fn due(bench: &Bench) -> Option<Instant> {
    bench.core.poll_timeout(bench.now)
}

#[test]
fn a_hello_that_waits_for_budget_is_not_late() {
    let (mut bench, listener, held) = full();
    let key = bench.accept(listener);
    bench.feed(key, &frame(OpCode::HelloRequest, 8, b""));
    bench.rest();
    let timeout = bench.shared.options.hello_timeout;
    assert_eq!(due(&bench), Some(bench.now + timeout));
    bench.later(timeout);
    for _ in 0..100 {
        bench.rest();
        assert_eq!(bench.closing(key), None);
        assert_eq!(due(&bench), Some(bench.now + SECOND), "seldom looked at");
        bench.later(SECOND);
    }
    drop(held);
    bench.rest();
    assert!(matches!(bench.event(), Event::Hello(it) if it.id() == 8));
    assert_eq!(due(&bench), None);
}

#[test]
fn a_hello_that_was_served_late_and_does_not_go_on_is_late() {
    let (mut bench, listener, held) = full();
    let key = bench.accept(listener);
    bench.feed(key, &frame(OpCode::HelloRequest, 8, b"body")[..Header::LEN]);
    bench.later(bench.shared.options.hello_timeout);
    bench.rest();
    drop(held);
    bench.rest();
    assert_eq!(bench.closing(key), None, "its body may be on the way");
    bench.later(SECOND);
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
}

/// A connection that waits for budget, and whose writing failed just now, with so many signals more to
/// be read.
fn failed_and_starving(bench: &mut Bench) -> RecordKey {
    let (_, key) = bench.connect();
    bench.feed(key, &signal(b"").repeat(300));
    let broken = std::io::Error::from_raw_os_error(32);
    bench.core.handle_write_error(key, &broken, bench.now);
    bench.rest();
    let linger = bench.shared.options.linger_timeout;
    assert_eq!(due(bench), Some(bench.now + linger));
    key
}

fn is_broken_pipe(closed: &crate::event::Closed) -> bool {
    let os_error = closed.os_error().and_then(|error| error.raw_os_error());
    closed.reason() == Reason::ConnectionLost && os_error == Some(32)
}

#[test]
fn after_a_failed_write_what_came_before_is_heard_although_it_waits_for_budget() {
    let (mut bench, _, held) = full();
    let key = failed_and_starving(&mut bench);
    bench.later(bench.shared.options.linger_timeout - SHORTLY);
    bench.rest();
    drop(held);
    bench.rest();
    let mut received = 0;
    while received < 300 {
        received += bench.events().len();
        bench.rest();
    }
    assert_eq!(bench.closing(key), None, "more may have come");
    bench.later(SHORTLY);
    bench.rest();
    assert!(is_broken_pipe(&bench.closed()));
}

/// A connection that waits for budget, has said goodbye, and the answer lies behind so many signals.
/// Something was received before.
fn goodbye_that_starves(bench: &mut Bench, held: &mut Vec<Event>, signals: usize) -> RecordKey {
    let (channel, key) = bench.connect();
    drop(held.remove(held.len() - 2)); // the last is another's hello
    bench.rest();
    bench.feed(key, &signal(b""));
    bench.rest();
    held.splice(0..0, bench.events());
    let id = bench.post(bench.posting.message().bye(channel));
    bench.rest();
    let answer = frame(OpCode::ByeResponse, id, b"");
    bench.feed(key, &[signal(b"").repeat(signals), answer].concat());
    bench.rest();
    assert!(bench.is_starving());
    key
}

#[test]
fn an_answer_to_our_goodbye_that_waits_for_budget_is_waited_for() {
    let (mut bench, _, mut held) = full();
    let bye_timeout = bench.shared.options.bye_timeout;
    let key = goodbye_that_starves(&mut bench, &mut held, 300);
    drop(held.remove(held.len() - 2));
    bench.rest();
    assert!(!bench.events().is_empty());
    bench.later(bye_timeout);
    bench.rest();
    assert_eq!(bench.closing(key), None, "it went on");
    bench.later(bench.shared.options.linger_timeout - SHORTLY);
    drop(held);
    let closed = loop {
        bench.rest();
        if let Some(Event::Closed(closed)) = bench.events().pop() {
            break closed;
        }
    };
    assert_eq!(closed.reason(), Reason::Bye);
    assert_eq!(closed.account().confirmed, closed.account().sent);
}

/// A write that fails meanwhile begins nothing anew: the bound is one for both.
#[test]
fn the_end_behind_a_goodbye_is_put_off_eleven_times_in_all() {
    let (mut bench, _, mut held) = full();
    let key = goodbye_that_starves(&mut bench, &mut held, 300);
    let linger = bench.shared.options.linger_timeout;
    let mut wait = bench.shared.options.bye_timeout;
    for times in 0..=11 {
        drop(held.remove(held.len() - 2)); // the last is another's hello
        bench.rest();
        held.splice(0..0, bench.events());
        bench.later(wait);
        wait = linger;
        bench.rest();
        let is_put_off = bench.closing(key).is_none();
        assert_eq!(is_put_off, times < 11, "{times}");
        if times == 5 {
            let broken = std::io::Error::from_raw_os_error(32);
            bench.core.handle_write_error(key, &broken, bench.now);
            bench.rest();
        }
    }
}

#[test]
fn an_answer_to_our_goodbye_that_nothing_is_received_of_is_not_waited_for() {
    let (mut bench, _, mut held) = full();
    let key = goodbye_that_starves(&mut bench, &mut held, 300);
    bench.later(bench.shared.options.bye_timeout);
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert_eq!(bench.closed().reason(), Reason::ByeTimedOut);
    drop(held);
}

/// Whichever comes first, the failed write or the close.
#[test]
fn after_a_failed_write_a_close_has_its_deadline_though_something_is_received_all_the_time() {
    for closes_first in [true, false] {
        let (mut bench, _, mut held) = full();
        let (_, key) = bench.connect();
        bench.feed(key, &signal(b"").repeat(300));
        let broken = std::io::Error::from_raw_os_error(32);
        if !closes_first {
            bench.core.handle_write_error(key, &broken, bench.now);
            bench.rest();
        }
        bench.close_group(SECOND);
        bench.pass();
        if closes_first {
            bench.core.handle_write_error(key, &broken, bench.now);
        }
        bench.rest();
        drop(held.remove(held.len() - 2)); // the last is another's hello
        bench.rest();
        bench.later(SECOND);
        bench.rest();
        assert_eq!(bench.closing(key), Some(false));
        drop(held);
    }
}

#[test]
fn after_a_failed_write_who_is_let_receive_nothing_ends_in_time() {
    let (mut bench, _, held) = full();
    let key = failed_and_starving(&mut bench);
    bench.later(bench.shared.options.linger_timeout);
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert!(is_broken_pipe(&bench.closed()));
    drop(held);
}

#[test]
fn after_a_failed_write_who_is_let_receive_a_little_again_and_again_ends_in_time_too() {
    let (mut bench, _, mut held) = full();
    let key = failed_and_starving(&mut bench);
    let linger = bench.shared.options.linger_timeout;
    for _ in 0..11 {
        drop(held.remove(held.len() - 2)); // the last is another's hello
        bench.rest();
        held.splice(0..0, bench.events());
        assert!(bench.is_starving());
        bench.later(linger);
        bench.rest();
        assert_eq!(bench.closing(key), None, "it went on");
        assert_eq!(due(&bench), Some(bench.now + linger));
    }
    drop(held.remove(held.len() - 2));
    bench.rest();
    held.splice(0..0, bench.events());
    bench.later(linger);
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert!(is_broken_pipe(&bench.closed()));
}

/// A connection in the middle of a frame, after so many of its bytes, and all of them.
fn begun(bench: &mut Bench, len: usize) -> (RecordKey, Vec<u8>) {
    let (_, key) = bench.connect();
    let frame = signal(&[6; 20_000]);
    assert!(bench.feed(key, &frame[..len]).is_empty());
    bench.rest();
    (key, frame)
}

#[test]
fn a_frame_that_was_begun_and_comes_no_further_ends_its_channel() {
    // Within the header, behind it, and where the rest is read straight into its message.
    for len in [1, Header::LEN - 1, Header::LEN, 2000, 19_999] {
        let mut bench = Bench::new();
        let (key, _) = begun(&mut bench, len);
        let timeout = bench.shared.options.frame_timeout;
        assert_eq!(due(&bench), Some(bench.now + timeout));
        bench.later(timeout - SHORTLY);
        bench.rest();
        assert_eq!(bench.closing(key), None);
        bench.later(SHORTLY);
        bench.rest();
        let closed = bench.closed();
        assert_eq!(closed.reason(), Reason::ReceiveTimedOut, "{len}");
        assert_eq!(closed.account().received, 0);
        assert_eq!(bench.closing(key), Some(false), "what was sent may arrive");
        bench.rest();
        assert_eq!(bench.core.audit().inbound_used, 0, "for others now");
        assert_eq!(due(&bench), None);
    }
}

#[test]
fn a_frame_of_which_bytes_trickle_in_ends_its_channel() {
    // Within the header, and behind it.
    for len in [0, Header::LEN, 2000] {
        let mut bench = Bench::new();
        let (key, frame) = begun(&mut bench, len);
        let timeout = bench.shared.options.frame_timeout;
        let begin = bench.now;
        for byte in &frame[len..] {
            bench.feed(key, std::slice::from_ref(byte));
            bench.later(timeout / 2);
            bench.rest();
            if bench.closing(key).is_some() {
                break;
            }
        }
        assert_eq!(bench.closed().reason(), Reason::ReceiveTimedOut, "{len}");
        assert!(bench.now - begin <= 9 * timeout, "{len}");
    }
}

#[test]
fn a_frame_that_comes_slowly_enough_has_its_time() {
    let mut bench = Bench::new();
    let (key, frame) = begun(&mut bench, 0);
    let timeout = bench.shared.options.frame_timeout;
    assert_eq!(due(&bench), None, "nothing was begun");
    let (last, most) = (frame.len() - 1, frame.len() / 8 + 1);
    for part in frame[..last].chunks(most) {
        bench.feed(key, part);
        bench.later(timeout - SHORTLY);
        bench.rest();
    }
    assert_eq!(bench.closing(key), None);
    bench.feed(key, &frame[last..]);
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
    // What remains of the wait is one look, which finds nothing, and none behind it.
    bench.later(timeout);
    bench.rest();
    assert_eq!(due(&bench), None);
    bench.later(Duration::from_secs(3600));
    bench.rest();
    assert_eq!(bench.closing(key), None, "between frames it may be silent");
}

#[test]
fn the_time_of_a_frame_is_not_that_of_the_one_before() {
    let mut bench = Bench::new();
    let (key, frame) = begun(&mut bench, 100);
    let timeout = bench.shared.options.frame_timeout;
    bench.later(timeout - SHORTLY);
    let mut rest = frame[100..].to_vec();
    rest.push(0); // the first byte of the next
    bench.feed(key, &rest);
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
    bench.later(timeout - SHORTLY);
    bench.rest();
    assert_eq!(bench.closing(key), None);
    bench.later(SHORTLY);
    bench.rest();
    assert_eq!(bench.closed().reason(), Reason::ReceiveTimedOut);
}

#[test]
fn a_frame_that_waits_for_budget_has_all_its_time_behind_the_wait() {
    let (mut bench, _, held) = full();
    let timeout = bench.shared.options.frame_timeout;
    let (_, key) = bench.connect();
    let frame = signal(b"body");
    bench.feed(key, &frame[..3]); // a look is arranged, and then the rest has to wait
    bench.rest();
    bench.feed(key, &frame[3..Header::LEN]);
    for _ in 0..10 {
        bench.later(timeout);
        bench.rest();
        assert_eq!(bench.closing(key), None);
    }
    let look = Some(bench.now + timeout);
    assert_eq!(due(&bench), look, "the connection may break meanwhile");
    drop(held);
    bench.rest();
    assert_eq!(due(&bench), Some(bench.now + timeout));
    bench.later(timeout - SHORTLY);
    bench.rest();
    assert_eq!(bench.closing(key), None);
    bench.feed(key, b"bo");
    bench.feed(key, b"dy");
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(it) if it.body() == b"body"));
}

#[test]
fn a_frame_that_is_served_and_comes_no_further_ends_its_channel() {
    let (mut bench, _, held) = full();
    let timeout = bench.shared.options.frame_timeout;
    let (channel, key) = bench.connect();
    bench.feed(key, &signal(b"body")[..Header::LEN]);
    drop(held);
    bench.rest();
    bench.later(timeout);
    bench.rest();
    let closed = bench.closed();
    assert_eq!(closed.channel(), channel);
    assert_eq!(closed.reason(), Reason::ReceiveTimedOut);
}

#[test]
fn a_closing_channel_keeps_its_reason_when_its_peer_stalls() {
    let mut bench = Bench::new();
    let (key, _) = begun(&mut bench, 100);
    bench.close_group(Duration::from_secs(3600));
    bench.rest();
    bench.later(bench.shared.options.frame_timeout);
    bench.rest();
    assert_eq!(bench.closing(key), Some(false));
    assert_eq!(bench.closed().reason(), Reason::GroupClosed);
}

#[test]
fn a_failed_write_is_the_reason_also_where_the_peer_s_last_words_break_off() {
    let mut bench = Bench::new();
    let (key, _) = begun(&mut bench, 100);
    bench.later(bench.shared.options.frame_timeout - SHORTLY);
    let broken = std::io::Error::from_raw_os_error(32);
    bench.core.handle_write_error(key, &broken, bench.now);
    bench.later(SHORTLY);
    bench.rest();
    let closed = bench.closed();
    assert_eq!(closed.reason(), Reason::ConnectionLost);
    let os_error = closed.os_error().and_then(|error| error.raw_os_error());
    assert_eq!(os_error, Some(32));
}

#[test]
fn a_channel_that_ends_within_a_frame_leaves_no_timer() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        let (key, _) = begun(&mut bench, 100);
        bench.core.handle_read_error(key, &reset(), bench.now);
        bench.rest();
        assert_eq!(bench.closed().reason(), Reason::ConnectionLost);
        assert_eq!(due(&bench), None);
    }
}

#[test]
fn a_frame_may_take_for_ever_where_that_is_wanted() {
    let mut bench = Bench::with(Options {
        frame_timeout: Duration::MAX,
        ..Options::default()
    });
    let (key, frame) = begun(&mut bench, 100);
    bench.later(Duration::from_secs(365 * 24 * 3600));
    bench.rest();
    bench.feed(key, &frame[100..]);
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
}
