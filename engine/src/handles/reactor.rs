//! The reactor as those see it who take its [seat], and how they do that.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::between::mailbox::{Mailbox, Taken};
use crate::between::seat::{self, Duty, NOBODY, Need, ReceiverId, Rest, Sitter};
use crate::error::Ended;
use crate::storage::give_back_dropped;
use crate::sync::lock;

use super::group_shared::{GroupShared, Served};
use super::reactor_thread;
use super::shared::Shared;

/// What makes passes, in whatever thread sits.
pub(crate) trait Reactor: Send {
    /// Sleeps until there is something to do, until `deadline` at the latest.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()>;

    /// Whether the last pass that read may have left something that is ready.
    #[cfg_attr(not(unix), allow(dead_code, reason = "only a task asks"))]
    fn leaves_ready(&self) -> bool;

    /// Does what there is to do, without waiting. Returns whether that was the last time.
    fn work(&mut self, reads: Reads) -> bool;

    /// Who else waits than receivers.
    fn need(&self) -> Need;

    /// How it rests where nobody sits. It is left to whoever comes.
    fn rest(&mut self) -> Rest;

    /// Says to everybody that the reactor has ended.
    fn end(&mut self, why: Ended);
}

/// How long the reactor waits at most for what tasks post that it has woken, before it writes what they have posted.
const PATIENCE: Duration = Duration::from_micros(100);

/// Whether waits end so soon: others count milliseconds, or ticks of the system's clock.
pub(super) const HAS_FINE_CLOCK: bool = cfg!(target_os = "linux");

/// Whether a pass reads from sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reads {
    Yes,
    /// It does, in the thread that receives for this group, or for this call.
    For(ReceiverId),
    /// It writes what was posted: what is readable is left to the next.
    No,
}

pub(crate) type Seat = seat::Seat<Occupant>;

/// The reactor with the reason for which it has ended, if it has.
pub(crate) struct Occupant {
    reactor: Box<dyn Reactor>,
    why_ended: Option<Ended>,
}

impl Occupant {
    pub(crate) fn new(reactor: impl Reactor + 'static) -> Box<Self> {
        Box::new(Occupant {
            reactor: Box::new(reactor),
            why_ended: None,
        })
    }

    /// Lets `act` use the reactor, which ends by an error or a panic in it, or with its last pass, of which
    /// nothing comes. A defect of ours ends this engine, not the process.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut dyn Reactor) -> io::Result<Option<T>>,
    ) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(|| act(&mut *self.reactor)));
        let why = match outcome {
            Ok(Ok(Some(result))) => return Some(result),
            Ok(Ok(None)) => Ended::EngineStopped,
            Ok(Err(_)) | Err(_) => Ended::EngineFailed,
        };
        self.why_ended = Some(why);
        None
    }
}

thread_local! {
    /// This thread, among those that sit.
    static SITTER: Cell<Sitter> = const { Cell::new(NOBODY) };
    /// The engine of which this thread has received the last event that there was, and posted nothing
    /// since then.
    static HAS_RECEIVED: Cell<usize> = const { Cell::new(0) };
}

/// This thread's number.
pub(crate) fn this_sitter() -> Sitter {
    static NEXT: AtomicU64 = AtomicU64::new(NOBODY + 1);
    if SITTER.get() == NOBODY {
        SITTER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    SITTER.get()
}

impl Shared {
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// This thread has received an event, and holds no other that it has not seen.
    pub(crate) fn note_received(&self) {
        HAS_RECEIVED.set(self.identity());
    }

    /// Whether this thread has received, and not posted since then. It has posted from here on.
    pub(crate) fn take_received(&self) -> bool {
        HAS_RECEIVED.get() == self.identity() && HAS_RECEIVED.replace(0) != 0
    }

    /// Takes what a mailbox has into `into`, waiting until `deadline` for the first. A thread that
    /// would sleep takes the reactor's seat if it is free, and makes its passes meanwhile.
    pub(crate) fn receive<T: Send + 'static>(
        &self,
        id: ReceiverId,
        mailbox: &Arc<Mailbox<T, Ended>>,
        into: &mut VecDeque<T>,
        deadline: Option<Instant>,
    ) -> Taken<Ended> {
        give_back_dropped(); // of a batch that this thread has not finished
        self.seat
            .receive(id, mailbox, into, deadline, |occupant, into| {
                self.make_passes(occupant, id, mailbox, into, deadline)
            })
    }

    /// Makes passes until there is something in the mailbox, or nothing will come.
    fn make_passes<T>(
        &self,
        mut occupant: Box<Occupant>,
        id: ReceiverId,
        mailbox: &Mailbox<T, Ended>,
        into: &mut VecDeque<T>,
        deadline: Option<Instant>,
    ) -> Taken<Ended> {
        let taken = occupant.attempt(|reactor| {
            loop {
                // Also before the first: whoever sat before may have delivered at the last moment.
                if let Some(taken) = mailbox.take_or_pass(into) {
                    return Ok(Some(taken));
                }
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    mailbox.pass_no_more();
                    return Ok(Some(Taken::Nothing));
                }
                reactor.wait(deadline)?;
                if self.work(reactor, Reads::For(id)) {
                    return Ok(None);
                }
                self.call_for_tasks();
            }
        });
        self.leave(occupant, this_sitter());
        // Where the reactor has ended, the group will: that is waited for.
        taken.unwrap_or(Taken::Offer)
    }

    /// Has what was posted written by this thread, if nobody sits. Returns whether that was so. `sitter`: who is expected
    /// back.
    pub(crate) fn write_posted(&self, sitter: Sitter) -> bool {
        let Some(mut occupant) = self.seat.try_sit_to_write() else {
            return false;
        };
        occupant.attempt(|reactor| {
            let is_over = self.work(reactor, Reads::No);
            self.call_for_tasks();
            Ok((!is_over).then_some(()))
        });
        self.leave(occupant, sitter);
        true
    }

    /// Makes a pass, which finds all that somebody called for. Returns whether it was the last.
    fn work(&self, reactor: &mut dyn Reactor, reads: Reads) -> bool {
        self.seat.begin_pass();
        reactor.work(reads)
    }

    /// A task receives: from now on the stand-in makes passes without delay.
    pub(crate) fn serve_task(&self) {
        self.seat.serve_task();
        self.queue.wake(); // whoever sits may have to leave
    }

    /// The tasks of a group call: the same, until its inbox goes.
    pub(crate) fn serve_calls(&self, group: &GroupShared) {
        if group.has_served_calls.load(Ordering::Relaxed) {
            return;
        }
        let mut served = lock(&group.calls_in_tasks);
        group.has_served_calls.store(true, Ordering::Relaxed);
        if *served == Served::NotYet {
            *served = Served::Yes;
            self.seat.serve_task();
            drop(served);
            self.queue.wake(); // whoever sits may have to leave
        }
    }

    /// They do so no more.
    pub(crate) fn leave_calls(&self, group: &GroupShared) {
        let mut served = lock(&group.calls_in_tasks);
        if std::mem::replace(&mut *served, Served::NoMore) == Served::Yes {
            self.seat.leave_task();
        }
    }

    fn leave(&self, mut occupant: Box<Occupant>, sitter: Sitter) {
        let left = occupant
            .why_ended
            .is_none()
            .then(|| occupant.attempt(|reactor| Ok(Some((reactor.need(), reactor.rest())))));
        match left.flatten() {
            Some((need, rest)) => self.seat.leave(occupant, sitter, need, rest),
            None => self.seat.end(occupant),
        }
    }

    /// Wakers are the application's code. They are not called here, where the application may hold its
    /// own locks, but by the stand-in.
    fn call_for_tasks(&self) {
        if self.queue.has_told() {
            self.seat.call_for_tasks();
        }
    }

    /// What the engine's own thread does, from the start to the end: makes passes when nobody else
    /// does, and wakes tasks.
    pub(crate) fn stand_in(&self) {
        reactor_thread::enter();
        loop {
            match self.seat.stand_in() {
                Duty::WakeTasks => self.queue.wake_tasks(),
                Duty::Sit(occupant) => self.sit_in(occupant, Sleeps::Here),
                Duty::Pass(occupant) => self.sit_in(occupant, Sleeps::Elsewhere),
                Duty::End(mut occupant) => {
                    let why = occupant.why_ended.unwrap_or(Ended::EngineFailed);
                    let end = || occupant.reactor.end(why);
                    if catch_unwind(AssertUnwindSafe(end)).is_err() {
                        self.end(why);
                    }
                    return;
                }
            }
        }
    }

    /// Makes passes until a receiver wants to, or just one.
    fn sit_in(&self, mut occupant: Box<Occupant>, sleeps: Sleeps) {
        let mut waits_for_posts = false;
        occupant.attempt(|reactor| {
            loop {
                let is_needed = self.seat.is_needed(reactor.need());
                let at_once = !is_needed && sleeps == Sleeps::Elsewhere;
                let patience = match (waits_for_posts, at_once) {
                    (true, _) => Some(PATIENCE),
                    (false, true) => Some(Duration::ZERO),
                    (false, false) => None,
                };
                let deadline = patience.map(|patience| Instant::now() + patience);
                reactor.wait(deadline)?;
                if waits_for_posts && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    self.queue.expect_no_more();
                }
                if self.work(reactor, Reads::Yes) {
                    return Ok(None);
                }
                // What several tasks post is written together, in a pass that waits for it.
                waits_for_posts = HAS_FINE_CLOCK
                    && self.queue.told() > 1
                    && !self.seat.is_wanted_by_receiver()
                    && self.queue.expect_posts();
                let is_wanted = sleeps == Sleeps::Elsewhere || self.seat.is_wanted();
                if is_wanted && !waits_for_posts && !self.seat.is_needed(reactor.need()) {
                    return Ok(Some(()));
                }
                if self.queue.has_told() {
                    self.queue.wake_tasks();
                }
            }
        });
        self.leave(occupant, NOBODY);
        // Tasks are woken when the seat is free: what they post they may write.
        if self.queue.has_told() {
            self.queue.wake_tasks();
        }
    }
}

/// Where the stand-in sleeps that has taken the seat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleeps {
    /// In the passes.
    Here,
    /// Having left the seat.
    Elsewhere,
}

#[cfg(unix)]
pub(crate) mod in_task;
#[cfg(test)]
mod tests;
