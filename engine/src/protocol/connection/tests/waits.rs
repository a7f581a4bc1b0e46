//! Which option says how long what is waited for.

use super::*;
use crate::protocol::budget::Asking;

/// Options of which no two are the same.
fn connected() -> Alone {
    let mut it = Alone::new();
    it.options.connect_timeout = Duration::from_secs(5);
    it.options.hello_timeout = Duration::from_secs(6);
    it.options.bye_timeout = Duration::from_secs(7);
    it.options.linger_timeout = Duration::from_secs(8);
    it.options.frame_timeout = Duration::from_secs(9);
    it.options.send_timeout = Duration::from_secs(10);
    it
}

#[test]
fn a_goodbye_has_the_bye_timeout_to_be_answered() {
    let mut it = connected();
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    assert_eq!(it.wait_for_end(), it.options.bye_timeout);
}

#[test]
fn who_closed_its_side_behind_a_goodbye_waits_for_the_bye_timeout() {
    let mut it = connected();
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    assert_eq!(it.wait_for_end(), it.options.bye_timeout);
}

#[test]
fn while_it_reads_on_it_waits_for_another_bye_timeout() {
    let mut it = connected();
    it.post(OpCode::Response, 3, &[1; 1000]);
    it.write(10);
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    it.later(it.options.bye_timeout);
    assert_eq!(
        it.connection.due(),
        Some(it.now + Duration::from_secs(3)),
        "sending is looked at"
    );
    it.act(|it, _| it.handle_writable());
    it.write(usize::MAX);
    assert_eq!(it.wait_for_end(), it.options.bye_timeout);
}

#[test]
fn behind_the_last_word_the_peer_has_the_linger_timeout_to_close() {
    let mut it = connected();
    it.receive(OpCode::ByeRequest, 4, b"");
    it.post(OpCode::ByeResponse, 4, b"");
    it.write(usize::MAX);
    assert_eq!(it.wait_for_end(), it.options.linger_timeout);
}

#[test]
fn behind_a_failed_write_what_comes_has_the_linger_timeout() {
    let mut it = connected();
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    assert_eq!(it.wait_for_end(), it.options.linger_timeout);
}

#[test]
fn a_frame_that_was_begun_has_the_frame_timeout_to_go_on() {
    let mut it = connected();
    let part = &frame(OpCode::Signal, 0, b"broken off")[..20];
    it.act(|it, context| it.receive(part, context));
    assert_eq!(it.wait_for_end(), it.options.frame_timeout);
}

#[test]
fn what_is_queued_has_the_send_timeout_to_be_taken() {
    for (most, seconds) in [(0, 10), (10, 10), (0, 1), (10, 1)] {
        let mut it = connected();
        it.options.send_timeout = Duration::from_secs(seconds);
        it.post(OpCode::Signal, 0, &[1; 1000]);
        it.write(most);
        assert_eq!(it.wait_for_end(), it.options.send_timeout);
    }
}

/// A frame that goes on is measured over a whole timeout since it began, though the one before was looked at.
#[test]
fn a_slow_frame_is_looked_at_one_timeout_after_its_beginning() {
    let mut it = connected();
    let whole = frame(OpCode::Signal, 0, &[1; 800]);
    it.act(|it, context| it.receive(&whole[..20], context));
    it.later(Duration::from_secs(3));
    let rest = [&whole[20..], &whole[..20]].concat();
    it.act(|it, context| it.receive(&rest, context));
    it.later(Duration::from_secs(5));
    it.act(|it, context| it.receive(&whole[20..21], context));
    it.later(Duration::from_secs(1));
    assert!(!it.connection.has_ended(), "that was for the one before");
    assert_eq!(it.wait_for_end(), Duration::from_secs(3));
}

/// The reactor would do nothing else.
#[test]
fn however_short_the_frame_timeout_who_waits_for_budget_is_seldom_looked_at() {
    let mut it = connected();
    it.options.frame_timeout = Duration::ZERO;
    it.budget = Budget::new(0, 1 << 20);
    it.connection.budget_key = it.budget.open(0);
    let mut other = 0;
    let asking = Asking {
        key: RecordKey {
            index: 2,
            generation: 2,
        },
        budget_key: it.connection.budget_key,
        held: &mut other,
    };
    it.budget.charge(asking, 1500).unwrap();
    it.receive(OpCode::Signal, 0, b"late");
    assert!(it.connection.is_starved());
    it.later(Duration::ZERO);
    let again = it.now + Duration::from_secs(1);
    assert_eq!(it.connection.due(), Some(again));
}
