//! How a connection ends.

use crate::between::registry::ReturnedCost;

use super::*;

fn is_finishing(it: &Alone) -> bool {
    let finishes = |action: &Action| matches!(action, Action::FinishSending { .. });
    it.actions.closing.iter().any(finishes)
}

#[test]
fn who_is_closed_behind_its_goodbye_keeps_its_side_open_until_that_is_answered() {
    let mut it = Alone::new();
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert!(!is_finishing(&it), "the peer may ask for a last word still");
    it.receive(OpCode::ByeResponse, 5, b"");
    assert_eq!(it.settle(), []);
    let (reason, account) = it.closed();
    assert_eq!((reason, account.confirmed), (Reason::Bye, 2));
}

#[test]
fn nothing_comes_back_while_more_may_be_admitted() {
    let creditor = Nobody.shared();
    for fail in [
        Connection::handle_write_error,
        Connection::handle_read_error,
    ] {
        let mut it = Alone::new();
        it.post(OpCode::Signal, 0, b"first");
        it.act(|it, context| fail(it, &broken_pipe(), context));
        assert!(!it.connection.is_unsendable());
        let cost = it.act(|it, context| it.return_unsendable(&creditor, context));
        assert_eq!((cost, it.events.len()), (ReturnedCost::default(), 0));
        it.post(OpCode::Signal, 0, b"admitted before it was closed to posts");
        assert_eq!(it.settle().len(), 2);
    }
}

#[test]
fn who_breaks_off_a_frame_behind_our_own_end_changes_nothing_of_its_reason() {
    let mut it = Alone::new();
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    let part = &frame(OpCode::Signal, 0, b"broken off")[..20];
    it.act(|it, context| it.receive(part, context));
    it.act(|it, context| it.handle_read_error(&broken_pipe(), context));
    it.settle();
    assert_eq!(it.closed().0, Reason::GroupClosed);
}

/// What the application let be received before does not count.
#[test]
fn a_goodbye_is_waited_for_no_longer_where_nothing_more_is_let_be_received() {
    let mut it = Alone::new();
    it.receive(OpCode::HelloResponse, 1, b"");
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    it.later(it.options.bye_timeout - Duration::from_millis(1));
    it.now += Duration::from_millis(1);
    it.act(|it, context| it.handle_time(true, context));
    it.settle();
    assert_eq!(it.closed().0, Reason::ByeTimedOut);
}

#[test]
fn who_cannot_be_written_to_and_is_closed_ends_for_that_by_its_deadline() {
    let mut it = Alone::new();
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    let deadline = it.now + Duration::from_secs(1);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    it.receive(OpCode::Signal, 0, b"one more was received");
    assert_eq!(it.connection.due(), Some(deadline));
    it.now = deadline;
    it.act(|it, context| it.handle_time(true, context));
    it.settle();
    assert_eq!(it.closed().0, Reason::GroupClosed);
}

#[test]
fn where_writing_has_failed_nothing_is_waited_for_in_sending() {
    let mut it = Alone::new();
    it.options.linger_timeout = Duration::from_secs(60);
    it.post(OpCode::Signal, 0, b"unsent");
    it.write(0);
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    it.settle();
    assert_eq!(it.wait_for_end(), Duration::from_secs(60));
}

#[test]
fn where_the_peer_has_closed_its_side_a_failed_write_ends_it_at_once() {
    let mut it = Alone::new();
    it.post(OpCode::Response, 3, &[1; 1000]);
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    assert!(!it.connection.has_ended());
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    assert!(it.connection.has_ended());
}

#[test]
fn a_system_that_takes_nothing_from_the_beginning_is_waited_for_as_long() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, b"unsent");
    it.write(0);
    assert_eq!(it.wait_for_end(), it.options.send_timeout);
}

#[test]
fn who_took_less_than_was_offered_says_first_that_it_takes_more() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, &[1; 1000]);
    it.write(10);
    assert!(it.connection.wanted(false).writable && !it.connection.may_transmit());
    it.act(|it, _| it.handle_writable());
    assert!(!it.connection.wanted(false).writable && it.connection.may_transmit());
}

#[test]
fn a_goodbye_that_is_said_again_is_no_other() {
    let mut it = Alone::new();
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    it.receive(OpCode::ByeRequest, 6, b"");
    it.post(OpCode::ByeResponse, 6, b"");
    it.write(usize::MAX);
    it.receive(OpCode::ByeRequest, 7, b"");
    it.receive(OpCode::ByeResponse, 5, b"");
    it.settle();
    assert_eq!(it.closed().0, Reason::Bye);
}

#[test]
fn what_a_peer_says_as_it_aborts_is_no_message_of_its_account() {
    let mut it = Alone::new();
    it.receive(OpCode::Signal, 0, b"before");
    it.receive(OpCode::ByeSignal, 0, b"why");
    assert!(matches!(it.events.pop_back(), Some(Event::ByeSignal(_))));
    it.settle();
    let (reason, account) = it.closed();
    assert_eq!((reason, account.received), (Reason::PeerAborted, 1));
}

#[test]
fn a_failed_write_is_waited_behind_no_longer_where_nothing_more_is_let_be_received() {
    let mut it = Alone::new();
    it.receive(OpCode::HelloResponse, 1, b"");
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    it.now += it.options.linger_timeout;
    it.act(|it, context| it.handle_time(true, context));
    assert!(it.connection.has_ended());
}

/// It listens for as long as it is told something, and not longer.
#[test]
fn who_has_got_all_that_it_was_owed_but_the_last_word_is_not_waited_with_for_ever() {
    let mut it = Alone::new();
    it.post(OpCode::Response, 3, &[1; 1000]);
    it.write(10);
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    it.options.send_timeout = 3 * it.options.bye_timeout;
    it.later(it.options.bye_timeout);
    assert!(!it.connection.has_ended(), "there is more for it");
    it.act(|it, _| it.handle_writable());
    it.write(usize::MAX);
    assert_eq!(it.wait_for_end(), it.options.bye_timeout);
}

#[derive(Default)]
struct Credit(std::sync::Mutex<usize>);

impl Creditor for Arc<Credit> {
    fn release(&self, cost: usize) {
        *self.0.lock().unwrap() += cost;
    }

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

#[test]
fn what_comes_back_holds_its_credit_until_it_is_dropped() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, b"unsent");
    it.act(|it, context| it.handle_read_error(&broken_pipe(), context));
    it.connection.set_closed_to_posts();
    let credit = Arc::new(Credit::default());
    let creditor = Arc::clone(&credit).shared();
    let cost = it.act(|it, context| it.return_unsendable(&creditor, context));
    assert_eq!(cost, ReturnedCost::unchanged(1000));
    assert_eq!(*credit.0.lock().unwrap(), 0);
    assert!(matches!(it.events.pop_front(), Some(Event::Returned(_))));
    assert_eq!(*credit.0.lock().unwrap(), 1000);
}

/// As by a peer that has closed both its sides, in order.
#[test]
fn where_the_peer_has_closed_its_side_a_broken_pipe_is_its_end_and_another_error_is_a_break() {
    for (kind, reason) in [
        (ErrorKind::BrokenPipe, Reason::PeerDisconnected),
        (ErrorKind::ConnectionReset, Reason::ConnectionLost),
    ] {
        let mut it = Alone::new();
        it.post(OpCode::Response, 3, &[1; 1000]);
        it.receive(OpCode::ByeRequest, 4, b"");
        it.act(|it, context| it.handle_end_of_stream(context));
        it.act(|it, context| it.handle_write_error(&kind.into(), context));
        it.settle();
        assert_eq!(it.closed().0, reason);
    }
}

#[test]
fn who_is_closed_behind_its_goodbye_waits_no_longer_for_that() {
    let mut it = Alone::new();
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    let deadline = it.now + 2 * it.options.bye_timeout;
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert_eq!(it.wait_for_end(), it.options.bye_timeout);
}

/// Once closed it has until its deadline, and not longer because it went on receiving.
#[test]
fn the_end_of_who_is_closed_is_not_put_off() {
    let mut it = Alone::new();
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    it.receive(OpCode::Signal, 0, b"one more was received");
    it.now = deadline;
    it.act(|it, context| it.handle_time(true, context));
    assert!(it.connection.has_ended());
}

fn withdraw(it: &mut Alone, id: u64) -> Option<ReturnedCost> {
    let creditor = Nobody.shared();
    it.act(|it, context| it.withdraw(id, Withdrawn::RequestOrSignal, &creditor, context))
}

#[test]
fn who_is_closed_and_takes_back_the_last_that_is_queued_has_nothing_left_to_send() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 5, b"unsent");
    it.write(0);
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert!(!is_finishing(&it));
    assert!(withdraw(&mut it, 5).is_some());
    assert!(is_finishing(&it));
}

#[test]
fn where_nothing_waits_to_be_sent_any_more_nobody_is_late_in_taking_it() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 5, b"unsent");
    it.write(0);
    assert!(withdraw(&mut it, 5).is_some());
    assert_eq!(it.connection.due(), None);
}

#[test]
fn what_can_never_be_sent_comes_back_for_that_though_it_is_taken_back() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 5, b"unsent");
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    it.connection.set_closed_to_posts();
    assert!(withdraw(&mut it, 5).is_none());
    let creditor = Nobody.shared();
    it.act(|it, context| it.return_unsendable(&creditor, context));
    let Some(Event::Returned(returned)) = it.events.pop_front() else {
        panic!("it comes back");
    };
    assert_eq!(returned.reason(), Reason::ConnectionLost);
}

/// What is queued was lost to the connection, and the channel ends for what ended it before.
#[test]
fn who_is_closed_and_then_cannot_be_written_to_ends_as_it_would_have() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, b"unsent");
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    assert_eq!(it.settle(), [Reason::ConnectionLost]);
    it.act(|it, context| it.handle_end_of_stream(context));
    assert_eq!(it.closed().0, Reason::GroupClosed);
}

#[test]
fn who_breaks_off_a_frame_behind_its_goodbye_has_lost_the_connection() {
    let mut it = Alone::new();
    it.post(OpCode::Response, 3, &[1; 1000]);
    it.receive(OpCode::ByeRequest, 4, b"");
    let part = &frame(OpCode::Signal, 0, b"broken off")[..20];
    it.act(|it, context| it.receive(part, context));
    it.act(|it, context| it.handle_end_of_stream(context));
    assert!(it.connection.has_ended());
    assert_eq!(it.settle(), [Reason::ConnectionLost]);
    assert_eq!(it.closed().0, Reason::ConnectionLost);
}

/// It is owed a last word, which cannot be sent any more.
#[test]
fn where_nothing_can_be_sent_a_peer_that_closes_its_side_is_not_waited_for() {
    let mut it = Alone::new();
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    it.act(|it, context| it.handle_end_of_stream(context));
    assert!(it.connection.has_ended());

    let mut it = Alone::new();
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    assert!(it.connection.has_ended());
}

/// As who accepts a connection may do that has said goodbye on it already.
#[test]
fn who_refuses_behind_its_own_goodbye_has_said_goodbye() {
    let mut it = Alone::new();
    it.post(OpCode::ByeRequest, 5, b"");
    it.post(OpCode::ByeResponse, 6, b"");
    it.write(usize::MAX);
    it.act(|it, context| it.handle_end_of_stream(context));
    it.settle();
    assert_eq!(it.closed().0, Reason::Bye);
}

/// The words would come in the middle of what the system has not taken yet.
#[test]
fn an_abort_behind_what_is_on_its_way_below_is_without_words() {
    let mut it = Alone::new();
    let message = Message::new(&it.pool).with_body(b"why").unwrap();
    let post = Post::to(Channel::new(7, 7), OpCode::ByeSignal, 0, message);
    it.connection.set_staged(1);
    it.act(|it, context| it.abort(post, context));
    let close = it.actions.closing.pop_back();
    assert!(matches!(close, Some(Action::Close { how, .. }) if matches!(how, Closing::Abortive)));
}

#[test]
fn what_comes_back_is_one_of_several_parts_still() {
    let mut it = Alone::new();
    let message = Message::new(&it.pool).with_body(b"part").unwrap();
    let post = Post::to(Channel::new(7, 7), OpCode::Signal, 5, message).more();
    it.act(|it, context| it.enqueue(post, 1000, context));
    assert!(withdraw(&mut it, 5).is_some());
    let Some(Event::Returned(returned)) = it.events.pop_front() else {
        panic!("it comes back");
    };
    assert!(returned.has_more());
}
