//! Passes that a task makes.

use std::task::Waker;
use std::time::Instant;

use super::{Reactor, Reads, Shared, reactor_thread};
use crate::between::seat::{Rest, TASK, Turn};

/// What a pass in a task has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passed {
    /// What was ready, if it was to read.
    All,
    /// It may have left some of that. The task was woken.
    LeavesReady,
    /// Somebody else sits, and will wake the task when they leave.
    Later,
    /// The reactor has ended.
    Over,
}

impl Shared {
    /// A task makes passes from now on, until it [leaves](Shared::end_task). Returns whether none did.
    pub(crate) fn begin_task(&self) -> bool {
        let is_first = self.seat.begin_task();
        self.queue.wake(); // whoever sits may have to leave
        is_first
    }

    pub(crate) fn end_task(&self) {
        self.seat.end_task();
    }

    /// Makes a pass in a task, which is woken when there is something for another.
    pub(crate) fn pass_in_task(&self, waker: &Waker, reads: Reads) -> Passed {
        let mut occupant = match self.seat.take_turn(waker) {
            Turn::Sit(occupant) => occupant,
            Turn::Later => return Passed::Later,
            Turn::Over => return Passed::Over,
        };
        let leaves_ready = occupant.attempt(|reactor| {
            if reads == Reads::Yes {
                reactor.wait(Some(Instant::now()))?;
            }
            self.queue.expect_no_more(); // the tasks that were told before this have run
            let is_over = self.work(reactor, reads);
            Ok((!is_over).then(|| leaves_ready(reactor)))
        });
        // What several tasks post is written together, by a pass behind them all. One writes for itself.
        let told = self.queue.told();
        let expects_posts = told > 1 && self.queue.expect_posts();
        let comes_again = expects_posts || leaves_ready == Some(true);
        if comes_again {
            self.seat.come_again();
        }
        self.leave(occupant, TASK);
        if told > 0 {
            // What they do must not wait for a reactor: others would be woken late.
            reactor_thread::stay(|| self.queue.wake_tasks());
        }
        if comes_again {
            waker.wake_by_ref();
        }
        match leaves_ready {
            Some(true) => Passed::LeavesReady,
            Some(false) => Passed::All,
            None => Passed::Over,
        }
    }
}

/// Whether there may be something for a pass that reads, of which nobody will tell.
fn leaves_ready(reactor: &mut dyn Reactor) -> bool {
    let is_due = match reactor.rest() {
        Rest::Until(Some(until)) => until <= Instant::now(),
        Rest::Until(None) | Rest::Unseen => false,
    };
    is_due || reactor.leaves_ready()
}
