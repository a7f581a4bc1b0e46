//! Whether the reactor has to be woken: one word, shared with every waker.
//!
//! The word alone decides; the signal that a waker sends on top of it only gets the reactor out of
//! the system. A signal that comes late is therefore harmless, and none is sent to a reactor that
//! will look at the word anyway before it sleeps.

use std::marker::PhantomData;

use super::sync::{AtomicBool, AtomicU8, Ordering};

/// The reactor will look at the word before it sleeps.
const AWAKE: u8 = 0;
/// The reactor sleeps, or is about to: only a signal reaches it.
const ASLEEP: u8 = 1;
/// There was a wake since the reactor last looked.
const NOTIFIED: u8 = 2;

/// Defects to plant, so that the models show that they would notice. None in production.
pub(crate) trait Defects {
    /// The sleeper overwrites the word instead of looking at it first.
    const SLEEP_UNSEEN: bool = false;
    /// A refused signal leaves the word as if it had been sent.
    const KEEP_REFUSED: bool = false;
    /// The wake does not publish what was written before it.
    const WAKE_RELAXED: bool = false;
    /// That a signal was refused is noted once the word says again that the reactor sleeps.
    const NOTES_REFUSAL_LATE: bool = false;
}

#[derive(Debug)]
pub(crate) struct Sound;

impl Defects for Sound {}

#[derive(Debug)]
pub(crate) struct WakeWord<D = Sound> {
    state: AtomicU8,
    /// A signal was refused at some time: no sleep is to be long from here on.
    has_been_refused: AtomicBool,
    defects: PhantomData<D>,
}

impl<D: Defects> WakeWord<D> {
    pub(crate) fn new() -> Self {
        WakeWord {
            state: AtomicU8::new(AWAKE),
            has_been_refused: AtomicBool::new(false),
            defects: PhantomData,
        }
    }

    /// Records a wake. `true` obliges the caller to send the signal, or to call
    /// [`refused`](Self::refused).
    ///
    /// Always a swap, never a look first: only the latest value tells that the reactor has yet to
    /// look, and only by overwriting it is what the caller wrote before published to that look.
    pub(crate) fn notify(&self) -> bool {
        let order = if D::WAKE_RELAXED {
            Ordering::Relaxed
        } else {
            Ordering::AcqRel
        };
        self.state.swap(NOTIFIED, order) == ASLEEP
    }

    /// The signal could not be sent: the next wake has to try again.
    ///
    /// If the reactor has looked meanwhile this may mark a reactor that is awake as asleep, over a
    /// newer wake. [`fall_asleep`](Self::fall_asleep) takes that for a wake, so none is lost.
    pub(crate) fn refused(&self) {
        if !D::NOTES_REFUSAL_LATE {
            // Before the word is restored: whoever sleeps again must know.
            self.has_been_refused.store(true, Ordering::Release);
        }
        if D::KEEP_REFUSED {
            return;
        }
        // A failure means that the reactor has seen this wake, or that another one restored it.
        let _ = self
            .state
            .compare_exchange(NOTIFIED, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if D::NOTES_REFUSAL_LATE {
            self.has_been_refused.store(true, Ordering::Release);
        }
    }

    /// Whether a signal was ever refused.
    pub(crate) fn has_been_refused(&self) -> bool {
        self.has_been_refused.load(Ordering::Acquire)
    }

    /// The reactor wants to sleep. `false` if there was a wake: then it must not sleep, and
    /// [`get_up`](Self::get_up) takes the wake.
    pub(crate) fn fall_asleep(&self) -> bool {
        if D::SLEEP_UNSEEN {
            self.state.store(ASLEEP, Ordering::Release);
            return true;
        }
        self.state
            .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The reactor is up. `true` if there was a wake, which is thereby taken.
    pub(crate) fn get_up(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }
}
