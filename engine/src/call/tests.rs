//! Calls before a reactor that the test plays by hand.

use std::pin::pin;
use std::task::Waker;

use crate::between::registry::{Kind, Role};
use crate::between::wake::Wake;
use crate::error::Ended;
use crate::group;
use crate::handles::{Batch, GroupShared, Shared};
use crate::options::Options;
use crate::storage::MESSAGE_COST_MAX;
use crate::wire::OpCode;

use super::*;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// Also where it waited for room, and the reactor cannot know whether it was posted.
#[test]
fn the_parts_that_have_come_are_told_when_the_time_is_over() {
    let credit = 2 * MESSAGE_COST_MAX;
    for waits_for_room in [false, true] {
        let options = Options {
            outbound_bytes_per_channel: credit,
            ..Options::default()
        };
        let shared = Shared::new(options, |_| Box::new(Nobody));
        let group = Arc::new(GroupShared::new(1, 0, 0));
        let channel = shared.queue.with_registry(|registry| {
            registry.open_group(1, 0);
            registry.open(1, Kind::Connection).unwrap()
        });
        let (posting, _inbox) = group::pair(Arc::clone(&shared), Arc::clone(&group));
        let queue = &shared.queue;
        if waits_for_room {
            let fill = queue.with_registry(|it| it.admit(channel, 1, Role::Data, credit, None));
            fill.unwrap();
        }
        let mut call = pin!(posting.call(channel, posting.message(), Instant::now()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(call.has_waited, waits_for_room);
        if waits_for_room {
            queue.with_registry(|registry| registry.release(channel, credit));
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        let mut batch = Batch::default();
        queue.exchange(&mut batch, |_| ());
        let begun = batch.take_calls().next().expect("the call");
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
        group.mailbox.end(Ended::GroupClosed); // as the reactor would: the inbox waits for that
        shared.pool.close();
    }
}
