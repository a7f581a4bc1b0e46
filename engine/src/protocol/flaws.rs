//! Defects that tests plant into the core, to see that the simulator notices each of them.

/// A defect that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// A message counts as sent with its first byte.
    FirstByteCountsAsSent,
    /// What was not sent is dropped, and does not come back.
    UnsentIsDropped,
    /// `Closed` overtakes the events before it.
    ClosedOvertakes,
    /// What was sent counts as confirmed.
    SentCountsAsConfirmed,
    /// An orderly end behind our last words counts as a confirmation.
    EndConfirms,
    /// A blocked connection is never written to again.
    BlockedStaysSo,
    /// An orderly end counts as a failure.
    OrderlyEndFails,
    /// What was received does not keep the reactor from sleeping.
    ReceivedMayWait,
    /// A connection that was served is not read from again.
    ServedIsNotRead,
    /// A closing connection has no deadline.
    ClosingHasNoDeadline,
    /// A place is free before its socket was to be closed.
    PlaceIsFreeEarly,
    /// A late drop meets the next connection in its place.
    LateDropMeetsNext,
    /// The last to wait for budget is the first to be served.
    LastIsServedFirst,
    /// An ended connection keeps the shared buffer.
    EndedKeepsBuffer,
    /// A frame that waits for budget counts as one that the peer does not finish.
    StarvedTimesOut,
    /// A channel whose writing failed goes on taking posts.
    FailedTakesPosts,
    /// A connection that cannot be written to is kept as long as it waits for budget.
    FailedLivesOn,
    /// Room is not told.
    RoomIsNotTold,
    /// Who is to go on is asked, and acted on a pass later.
    #[cfg(test)]
    ResumeIsStale,
}

/// Whether a test has planted this defect. Outside tests it never is, and the line that asks is
/// compiled as if it did not.
#[cfg(not(test))]
pub(super) const fn planted(_flaw: Flaw) -> bool {
    false
}

#[cfg(test)]
pub(crate) use testing::{plant, planted};

#[cfg(test)]
mod testing {
    use std::cell::Cell;

    use super::Flaw;

    thread_local! {
        static PLANTED: Cell<Option<Flaw>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(flaw: Flaw) -> bool {
        PLANTED.get() == Some(flaw)
    }

    /// Keeps a defect planted in this thread until it is dropped.
    pub(crate) struct Plant(());

    pub(crate) fn plant(flaw: Flaw) -> Plant {
        PLANTED.set(Some(flaw));
        Plant(())
    }

    impl Drop for Plant {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
}
