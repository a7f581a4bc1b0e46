//! Calls before a reactor that the test plays by hand.

use std::pin::pin;
use std::task::Waker;

use crate::between::registry::{Kind, Role};
use crate::between::wake::Wake;
use crate::error::{Budget, Ended};
use crate::group;
use crate::handles::{Batch, BegunCall, GroupShared, Shared};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST};
use crate::wire::OpCode;

use super::*;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

const CREDIT: usize = 2 * MESSAGE_COST_MAX;

struct Bench {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
    channel: Channel,
    posting: ChannelGroup,
    _inbox: Inbox,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Options {
            outbound_bytes_per_channel: CREDIT,
            ..Options::default()
        })
    }

    fn with(options: Options) -> Bench {
        let shared = Shared::new(options, |_| Box::new(Nobody));
        let group = Arc::new(GroupShared::new(1, 0, 0));
        let channel = shared.queue.with_registry(|registry| {
            registry.open_group(1, 0);
            registry.open(1, Kind::Connection).unwrap()
        });
        let (posting, inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
        Bench {
            shared,
            group,
            channel,
            posting,
            _inbox: inbox,
        }
    }

    fn admit(&self, role: Role, cost: usize) {
        let queue = &self.shared.queue;
        let admitted = queue.with_registry(|it| it.admit(self.channel, 1, role, cost, None));
        admitted.unwrap();
    }

    fn call(&self) -> Call {
        let message = self.posting.message();
        self.posting.call(self.channel, message, Instant::now())
    }

    /// What the reactor is told of calls: those that begin, and the ids of those that nobody waits for.
    fn exchange(&self) -> (Vec<BegunCall>, Vec<(u64, bool)>) {
        let mut batch = Batch::default();
        self.shared.queue.exchange(&mut batch, |_| ());
        let begun = batch.take_calls().collect();
        let abandoned = batch.take().0.filter_map(|it| match it {
            Submission::AbandonCall(it) => Some((it.id, it.is_posted)),
            _ => None,
        });
        (begun, abandoned.collect())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.group.mailbox.end(Ended::GroupClosed); // as the reactor would: the inbox waits for that
        self.shared.pool.close();
    }
}

/// Also where it waited for room, and the reactor cannot know whether it was posted.
#[test]
fn the_parts_that_have_come_are_told_when_the_time_is_over() {
    for waits_for_room in [false, true] {
        let bench = Bench::new();
        if waits_for_room {
            bench.admit(Role::Data, CREDIT);
        }
        let mut call = pin!(bench.call());
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(call.has_waited, waits_for_room);
        let channel = bench.channel;
        if waits_for_room {
            let queue = &bench.shared.queue;
            queue.with_registry(|registry| registry.release(channel, CREDIT));
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        let begun = bench.exchange().0.pop().expect("the call");
        let part = Received {
            channel,
            op_code: OpCode::Response,
            more: true,
            status: 0,
            id: begun.id,
            message: Message::empty(),
        };
        begun.line.deliver(CallEvent::Response(part));
        assert!(call.as_mut().poll(&mut context).is_pending());
        begun.line.deliver_last(CallEvent::TimedOut);
        match call.as_mut().poll(&mut context) {
            Poll::Ready(Err(CallError::Unknown(Unanswered { why, parts }))) => {
                assert_eq!((why, parts.len()), (WhyUnanswered::Late, 1));
            }
            other => panic!("waited: {waits_for_room}, {other:?}"),
        }
    }
}

/// It would keep a call for which nobody waits until its time is over, which may be never.
#[test]
fn the_reactor_is_told_of_a_call_that_waited_for_room_however_that_ends() {
    type End = fn(&Bench, &BegunCall);
    let late: End = |_, begun| {
        begun.line.deliver(CallEvent::TimedOut);
    };
    let full = Some(PostError::Full(Budget::Channel));
    let ends: [(&str, End, Option<PostError>); 4] = [
        ("dropped", |_, _| (), None),
        (
            "refused",
            |bench, _| bench.admit(Role::ByeRequest, SMALLEST_COST),
            Some(PostError::ByePosted),
        ),
        ("late", late, full),
        (
            "lost",
            |_, begun| {
                let lost = CallEvent::Lost(Reason::PeerDisconnected);
                begun.line.deliver(lost);
            },
            Some(PostError::ChannelClosed),
        ),
    ];
    let waits = ends.map(|(end, make, why)| (end, make, why, false));
    for (end, make, why, is_posted) in waits.into_iter().chain([("late", late, None, true)]) {
        let bench = Bench::new();
        bench.admit(Role::Data, CREDIT);
        let mut call = Box::pin(bench.call());
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        let (begun, abandoned) = bench.exchange();
        assert_eq!((begun.len(), &abandoned[..]), (1, &[][..]));
        if is_posted {
            let queue = &bench.shared.queue;
            queue.with_registry(|registry| registry.release(bench.channel, CREDIT));
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        make(&bench, &begun[0]);
        if end == "dropped" {
            drop(call);
        } else {
            let Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else {
                panic!("it is over: {end}");
            };
            let refused = match error {
                CallError::NotSent(NotSent {
                    why: WhyNotSent::NotPosted(why),
                    ..
                }) => Some(why),
                _ => None,
            };
            assert_eq!(refused, why, "{end}");
        }
        assert_eq!(bench.exchange().1, [(begun[0].id, is_posted)], "{end}");
    }
}

#[test]
fn who_waits_in_vain_for_room_is_told_which_budget_had_none() {
    for (of_channel, of_engine, budget) in [
        (CREDIT, 2 * CREDIT, Budget::Channel),
        (2 * CREDIT, CREDIT, Budget::Engine),
    ] {
        let bench = Bench::with(Options {
            outbound_bytes_per_channel: of_channel,
            outbound_bytes: of_engine,
            ..Options::default()
        });
        bench.admit(Role::Data, CREDIT);
        let signal = bench.posting.message().signal(bench.channel);
        let refused = bench.posting.post_wait(signal, Instant::now());
        assert_eq!(refused.unwrap_err().why, PostError::Full(budget));
    }
}
