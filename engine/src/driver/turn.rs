//! The order in which a core is asked, once what is readable was read.

use std::time::Instant;

use crate::between::key::RecordKey;
use crate::handles::{Batch, Submission};
use crate::protocol::Core;

/// Who carries out what a core asks for: the driver, or a test that plays the system by hand.
pub(crate) trait Hands {
    fn core(&mut self) -> &mut Core;
    fn now(&self) -> Instant;
    /// Does what [`Core::poll_closing`] and [`Core::poll_opening`] ask for.
    fn act(&mut self, now: Instant);
    /// Writes what [`Core::transmit`] has to write.
    fn transmit(&mut self, now: Instant);
    /// Tells the core what the system has to say now of a connection for which it is time. Returns false where
    /// this pass has no time to ask the system: then the connection is not late yet.
    fn look(&mut self, key: RecordKey, now: Instant) -> bool;
}

/// For so many it may be time in one pass; the others have their turn in the next.
const DUE_MOST: usize = 256;

/// So many submissions are fetched together, before they are handled.
const AHEAD: usize = 64;

/// Takes in what was posted, acts, writes, looks at the time, and delivers.
/// `batch` is empty before and after.
pub(crate) fn turn(hands: &mut impl Hands, batch: &mut Batch, now: Instant) {
    hands.core().exchange(batch);
    // What time it is by now tells whether a call was late when it was posted.
    let taken_at = if batch.has_calls() { hands.now() } else { now };
    submit(hands.core(), batch, taken_at);
    hands.act(now);
    hands.transmit(now);
    let mut put_off = Vec::new();
    for _ in 0..DUE_MOST {
        let Some(key) = hands.core().poll_due(now) else {
            break;
        };
        match hands.look(key, now) {
            true => hands.core().handle_due(key, now),
            false => put_off.push(key),
        }
    }
    for key in put_off {
        hands.core().put_off(key, now);
    }
    hands.act(now);
    hands.core().settle(now);
    hands.core().deliver();
}

/// Hands everything over that a batch holds.
pub(crate) fn submit(core: &mut Core, batch: &mut Batch, now: Instant) {
    for call in batch.take_calls() {
        core.begin_call(call, now);
    }
    let (mut submissions, mut stretches) = batch.take();
    while !submissions.as_slice().is_empty() {
        let ahead = submissions.as_slice().iter().take(AHEAD);
        ahead.for_each(Submission::fetch);
        for submission in submissions.by_ref().take(AHEAD) {
            core.handle_submission(submission, &mut stretches, now);
        }
    }
    core.give_up_late_calls(now);
    assert!(stretches.as_slice().is_empty(), "each has its mixed frames");
    drop((submissions, stretches));
    batch.shrink();
}
