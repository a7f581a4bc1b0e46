//! Calls whose time is over, and what they are told.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::call::{CallError, WhyNotSent};
use crate::channel::Channel;
use crate::driver::turn::turn;
use crate::event::Event;
use crate::handles::{Batch, BegunCall, CallEvent, CallLine, CallMailbox};
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, reset};

/// So many calls are given up in one pass.
const MOST: usize = 256;

const SECOND: Duration = Duration::from_secs(1);

fn begin(bench: &mut Bench, channel: Channel, id: u64, deadline: Instant) -> Arc<CallMailbox> {
    let mailbox = Arc::new(CallMailbox::new());
    let call = BegunCall {
        channel,
        id,
        line: CallLine::new(&mailbox),
        deadline: Some(deadline),
    };
    bench.core.begin_call(call, bench.now);
    mailbox
}

fn request(bench: &mut Bench, channel: Channel) -> u64 {
    let message = bench.posting.message();
    bench.post(message.request(channel))
}

/// What a call was told since this was asked last, in a word each.
fn told(mailbox: &CallMailbox) -> Vec<&'static str> {
    let mut told = VecDeque::new();
    mailbox.take_more(&mut told);
    let words = told.iter().map(|event| match event {
        CallEvent::Response(_) => "answered",
        CallEvent::Returned(it) if it.reason() == Reason::Withdrawn => "withdrawn",
        CallEvent::Returned(_) => "returned",
        CallEvent::Lost(_) => "lost",
        CallEvent::TimedOut => "timed out",
    });
    words.collect()
}

/// Gives up what is due, as the driver does before it takes in what was posted.
fn give_up(bench: &mut Bench) {
    bench.core.calls_due(bench.now);
    bench.core.handle_calls_due(bench.now);
}

#[test]
fn an_answer_that_came_in_the_pass_in_which_its_time_is_over_is_in_time() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let id = request(&mut bench, channel);
    let deadline = bench.now + SECOND;
    let call = begin(&mut bench, channel, id, deadline);
    bench.rest();
    bench.later(SECOND);
    assert_eq!(bench.core.calls_due(bench.now), [key]);
    bench.feed(key, &frame(OpCode::Response, id, b""));
    bench.core.handle_calls_due(bench.now);
    assert_eq!(told(&call), ["answered"]);
}

/// The channel has ended by the time at which the request comes to the reactor.
#[test]
fn what_can_never_be_sent_comes_back_to_its_call_though_it_is_late() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let id = request(&mut bench, channel);
    let now = bench.now;
    let call = begin(&mut bench, channel, id, now);
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    assert_eq!(told(&call), ["returned"]);
    assert_eq!(bench.closed().channel(), channel);
}

#[test]
fn what_is_asked_at_its_deadline_is_not_sent() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let id = request(&mut bench, channel);
    let now = bench.now;
    let call = begin(&mut bench, channel, id, now);
    bench.pass();
    assert_eq!(bench.frames(key), []);
    assert_eq!(told(&call), ["withdrawn"]);
}

/// It counts what time it is when the reactor takes it in, and not when the pass began.
#[test]
fn what_is_asked_in_the_course_of_a_pass_behind_its_deadline_is_not_sent() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let begun = bench.now;
    bench.later(2 * SECOND);
    let message = bench.posting.message();
    let mut call = bench.posting.call(channel, message, begun + SECOND);
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut call).poll(&mut context).is_pending());
    turn(&mut bench, &mut Batch::default(), begun);
    assert_eq!(bench.frames(key), []);
    let Poll::Ready(Err(CallError::NotSent(outcome))) = Pin::new(&mut call).poll(&mut context)
    else {
        panic!("it was sent")
    };
    assert_eq!(outcome.why, WhyNotSent::Returned(Reason::Withdrawn));
}

/// To take one back is to look through its channel's queue.
#[test]
fn of_those_that_are_late_when_they_begin_so_many_are_taken_back_in_a_pass_and_others_are_sent() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let now = bench.now;
    let calls: Vec<_> = (0..MOST + 44)
        .map(|_| {
            let id = request(&mut bench, channel);
            begin(&mut bench, channel, id, now)
        })
        .collect();
    bench.pass();
    assert_eq!(bench.frames(key).len(), 44);
    give_up(&mut bench);
    let (first, others) = calls.split_at(MOST);
    assert!(first.iter().all(|call| told(call) == ["withdrawn"]));
    assert!(others.iter().all(|call| told(call) == ["timed out"]));
}

#[test]
fn so_many_calls_are_given_up_in_a_pass_and_the_others_in_the_next() {
    let mut bench = Bench::new();
    let (channel, _) = bench.connect();
    let deadline = bench.now + SECOND;
    let calls: Vec<_> = (0..MOST + 44)
        .map(|_| {
            let id = request(&mut bench, channel);
            begin(&mut bench, channel, id, deadline)
        })
        .collect();
    bench.rest();
    bench.later(SECOND);
    for count in [MOST, 44, 0] {
        give_up(&mut bench);
        let told = calls.iter().flat_map(|call| told(call));
        assert_eq!(told.collect::<Vec<_>>(), vec!["timed out"; count]);
    }
}

/// Answers go by the ids that the peer has chosen, which may be those of calls.
#[test]
fn a_response_that_comes_back_is_not_taken_for_the_request_of_a_call() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let id = request(&mut bench, channel);
    let deadline = bench.now + SECOND;
    let call = begin(&mut bench, channel, id, deadline);
    bench.rest();
    bench.accepts.insert(key, 0);
    let message = bench.posting.message();
    bench.post(message.response(channel, id));
    bench.rest();
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    assert_eq!(told(&call), ["lost"]);
    assert!(matches!(bench.event(), Event::Returned(it) if it.op_code() == OpCode::Response));
    assert_eq!(bench.closed().channel(), channel);
}

/// A message of the same logical whole has the same id.
#[test]
fn a_signal_is_not_taken_back_for_the_request_of_a_call() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.accepts.insert(key, 0);
    let next = request(&mut bench, channel) + 1;
    let signal = bench.posting.message().signal(channel);
    bench.post(signal.with_id(next));
    assert_eq!(request(&mut bench, channel), next);
    let deadline = bench.now + SECOND;
    let call = begin(&mut bench, channel, next, deadline);
    bench.rest();
    bench.later(SECOND);
    give_up(&mut bench);
    bench.accepts.clear();
    bench.core.handle_writable(key, bench.now);
    bench.rest();
    assert_eq!(told(&call), ["withdrawn"]);
    let sent = bench.frames(key).into_iter().map(|it| it.op_code);
    assert!(sent.eq([OpCode::Request, OpCode::Signal]));
}

/// Notes that it was woken, behind those before it.
struct Task {
    id: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push(self.id);
    }
}

/// Has a task wait for the call.
fn wait(call: &CallMailbox, id: u64, woken: &Arc<Mutex<Vec<u64>>>) {
    let woken = Arc::clone(woken);
    let waker = Waker::from(Arc::new(Task { id, woken }));
    let polled = call.poll_take(&mut VecDeque::new(), &mut Some(waker));
    assert!(polled.is_pending());
}

#[test]
fn a_task_whose_call_waits_for_room_is_woken_where_its_time_was_over_from_the_beginning() {
    let mut bench = Bench::new();
    let (channel, _) = bench.connect();
    let woken = Arc::default();
    let now = bench.now;
    let call = begin(&mut bench, channel, 9, now);
    wait(&call, 9, &woken);
    bench.pass();
    bench.shared.queue.wake_tasks();
    assert_eq!(*woken.lock().unwrap(), [9]);
    assert_eq!(told(&call), ["timed out"]);
}

#[test]
fn the_tasks_of_a_channel_that_ends_are_woken_in_the_order_of_their_calls() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    let woken = Arc::default();
    let deadline = bench.now + SECOND;
    let ids: Vec<u64> = (0..20).map(|_| request(&mut bench, channel)).collect();
    let calls: Vec<_> = ids
        .iter()
        .map(|&id| begin(&mut bench, channel, id, deadline))
        .collect();
    for (call, &id) in calls.iter().zip(&ids) {
        wait(call, id, &woken);
    }
    bench.rest();
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    bench.shared.queue.wake_tasks();
    assert_eq!(*woken.lock().unwrap(), ids);
    assert!(calls.iter().all(|call| told(call) == ["lost"]));
}
