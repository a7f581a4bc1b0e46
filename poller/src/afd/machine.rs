//! The life of one registration and of its one operation, as a pure function.
//!
//! A registration has at most one poll in flight. What the kernel was given for it comes back only
//! with the packet of that poll, so the life has two sides: whether the source is still there, and
//! what the kernel holds. The table names the lifecycle of each pair; every cell has a test of its
//! name below, and every pair of a state and an input that has no cell is refused by assertion.
//!
//! | registration | no slot yet | idle | submitting, in flight | cancelling |
//! |---|---|---|---|---|
//! | live | UNINITIALIZED: the first interest takes a slot; removal is free | ACTIVE: wanted -> submit; removed -> the slot is freed | ACTIVE: packet -> idle, report; wanted for more -> cancel; wanted for less or nothing -> stays; taken back -> cancel, ZOMBIE; closed -> ZOMBIE that closes | CANCEL_PENDING: any packet -> idle, report; removed -> ZOMBIE, no second cancel |
//! | parked | the system refused: nothing until interest is declared again | the same; removed -> the slot is freed | never | never |
//! | removed | DEAD | DEAD: the slot is freed | ZOMBIE: packet -> DEAD; overdue -> cancel | ZOMBIE: packet -> DEAD |
//!
//! What a cancel answers is no input: whether it found the operation, came too late or was refused,
//! only the dequeued packet ends an operation.

use crate::sys::Fate;

/// Whether the source is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Registration {
    Live,
    /// The system refused to poll it, which was reported; it waits for a new declaration.
    Parked,
    /// The slot names a source that is no longer there.
    Removed,
}

/// What the kernel holds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Operation {
    /// No slot has been taken.
    None,
    /// There is a slot, and it is ours alone.
    Idle,
    /// The kernel may have it from here on, though it has not answered yet.
    Submitting,
    InFlight,
    /// In flight, and told to end.
    Cancelling,
}

impl Operation {
    /// Whether the kernel may write to the slot.
    pub(crate) const fn is_in_flight(self) -> bool {
        matches!(
            self,
            Operation::Submitting | Operation::InFlight | Operation::Cancelling
        )
    }
}

/// A registration with its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) registration: Registration,
    pub(crate) operation: Operation,
}

/// The names that the lifecycle has in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lifecycle {
    Uninitialized,
    Active,
    CancelPending,
    Zombie,
    Dead,
}

impl State {
    #[cfg_attr(not(test), allow(dead_code, reason = "names states for tests"))]
    pub(crate) const fn lifecycle(self) -> Lifecycle {
        match (self.registration, self.operation) {
            (Registration::Removed, Operation::None | Operation::Idle) => Lifecycle::Dead,
            (Registration::Removed, _) => Lifecycle::Zombie,
            (_, Operation::None) => Lifecycle::Uninitialized,
            (_, Operation::Cancelling) => Lifecycle::CancelPending,
            (_, Operation::Idle | Operation::Submitting | Operation::InFlight) => Lifecycle::Active,
        }
    }
}

/// What is wanted, compared with what is polled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    /// Nothing is wanted.
    Nothing,
    /// All that is wanted is polled for already.
    Covered,
    /// Something is wanted that is not polled for.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// Interest was declared.
    Declare,
    /// The pass before a wait looks at what is needed.
    Look(Need),
    /// The kernel keeps the operation: its packet will come.
    Accepted,
    /// The kernel has answered at once. There will be no packet.
    Answered,
    /// There is no operation: the kernel, or something that it needs, was refused.
    Refused,
    /// The operation's packet was dequeued, whatever its status.
    Packet,
    /// Its packet was dequeued, and says that the system failed to poll.
    Failure,
    /// The source goes. It counts as kept too if its poll could not be cancelled once its handle is
    /// closed.
    Remove(Fate),
    /// The packet of a poll that was left to the closing of its source has not come.
    Overdue,
}

/// What the caller has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Nothing,
    /// Take a slot, and look again.
    TakeSlot,
    /// Give the slot to the kernel, for what is wanted now.
    Submit,
    Cancel,
    /// Leave it to the closing of the source to end the poll, and say if its packet is overdue.
    AwaitClose,
    /// Report what was found, as far as it is wanted, and look again in the next pass.
    Report,
    /// Report the error.
    ReportError,
    /// The slot is ours alone, and nobody needs it.
    Free,
}

/// The next state, and what to do.
///
/// # Panics
///
/// The input is impossible in this state: a mistake of the caller's.
#[must_use]
pub(crate) fn next(state: State, input: Input) -> (State, Action) {
    use Operation::{Cancelling, Idle, InFlight, None, Submitting};
    use Registration::{Live, Parked, Removed};

    let (registration, operation, action) = match (state.registration, state.operation, input) {
        // A new declaration is a new attempt. What is in flight is looked at before the next wait.
        (Live, operation @ (None | Idle | InFlight | Cancelling), Input::Declare) => {
            (Live, operation, Action::Nothing)
        }
        (Parked, operation @ (None | Idle), Input::Declare) => (Live, operation, Action::Nothing),

        (Live, None, Input::Look(Need::More)) => (Live, Idle, Action::TakeSlot),
        (Live, Idle, Input::Look(Need::More)) => (Live, Submitting, Action::Submit),
        // The kernel has one mask and cannot be told another: this poll has to end first.
        (Live, InFlight, Input::Look(Need::More)) => (Live, Cancelling, Action::Cancel),
        // Less is covered too: one completion that nobody wants is cheaper than a cancel.
        (Live, InFlight, Input::Look(Need::Covered | Need::Nothing)) => {
            (Live, InFlight, Action::Nothing)
        }
        (Live, Cancelling, Input::Look(_)) => (Live, Cancelling, Action::Nothing),
        (Live, operation @ (None | Idle), Input::Look(Need::Nothing)) => {
            (Live, operation, Action::Nothing)
        }
        (Parked, operation @ (None | Idle), Input::Look(_)) => (Parked, operation, Action::Nothing),

        (Live, Submitting, Input::Accepted) => (Live, InFlight, Action::Nothing),
        (Live, Submitting, Input::Answered) => (Live, Idle, Action::Report),
        (Live, Submitting, Input::Refused) => (Parked, Idle, Action::ReportError),
        // There was no memory for a slot.
        (Live, None, Input::Refused) => (Parked, None, Action::ReportError),

        (Live, InFlight | Cancelling, Input::Packet) => (Live, Idle, Action::Report),
        (Live, InFlight, Input::Failure) => (Parked, Idle, Action::ReportError),
        // It failed at what is no longer wanted; what is wanted now gets its own attempt.
        (Live, Cancelling, Input::Failure) => (Live, Idle, Action::Report),
        (Removed, InFlight | Cancelling, Input::Packet | Input::Failure) => {
            (Removed, Idle, Action::Free)
        }

        (Live | Parked, None, Input::Remove(_)) => (Removed, None, Action::Nothing),
        (Live | Parked, Idle, Input::Remove(_)) => (Removed, Idle, Action::Free),
        (Live, InFlight, Input::Remove(Fate::Kept)) => (Removed, Cancelling, Action::Cancel),
        // Closing the last handle brings the packet. If this was not the last one, none comes.
        (Live, InFlight, Input::Remove(Fate::Closed)) => (Removed, InFlight, Action::AwaitClose),
        (Removed, InFlight, Input::Overdue) => (Removed, Cancelling, Action::Cancel),
        (Live, Cancelling, Input::Remove(_)) => (Removed, Cancelling, Action::Nothing),

        (registration, operation, input) => {
            panic!("{input:?} cannot happen to a source that is {registration:?} and {operation:?}")
        }
    };
    let state = State {
        registration,
        operation,
    };
    (state, action)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::Operation::{Cancelling, Idle, InFlight, None, Submitting};
    use super::Registration::{Live, Parked, Removed};
    use super::*;

    const INPUTS: [Input; 12] = [
        Input::Declare,
        Input::Look(Need::Nothing),
        Input::Look(Need::Covered),
        Input::Look(Need::More),
        Input::Accepted,
        Input::Answered,
        Input::Refused,
        Input::Packet,
        Input::Failure,
        Input::Remove(Fate::Kept),
        Input::Remove(Fate::Closed),
        Input::Overdue,
    ];

    /// The cells: a name, a state with its lifecycle, an input, and what comes of it.
    macro_rules! cells {
        ($($name:ident: $registration:ident $operation:ident $lifecycle:ident, $input:expr => $next:ident $becomes:ident $after:ident, $action:ident;)*) => {
            const CELLS: &[(Registration, Operation, Input)] =
                &[$(($registration, $operation, $input)),*];

            $(#[test]
            fn $name() {
                let state = State { registration: $registration, operation: $operation };
                assert_eq!(state.lifecycle(), Lifecycle::$lifecycle);
                let after = State { registration: $next, operation: $becomes };
                assert_eq!(next(state, $input), (after, Action::$action));
                assert_eq!(after.lifecycle(), Lifecycle::$after);
            })*
        };
    }

    cells! {
        uninitialized_declared_makes_no_call: Live None Uninitialized, Input::Declare => Live None Uninitialized, Nothing;
        uninitialized_wanted_for_nothing_takes_no_slot: Live None Uninitialized, Input::Look(Need::Nothing) => Live None Uninitialized, Nothing;
        uninitialized_first_interest_takes_a_slot: Live None Uninitialized, Input::Look(Need::More) => Live Idle Active, TakeSlot;
        uninitialized_without_memory_is_parked: Live None Uninitialized, Input::Refused => Parked None Uninitialized, ReportError;
        uninitialized_removed_is_free: Live None Uninitialized, Input::Remove(Fate::Kept) => Removed None Dead, Nothing;
        uninitialized_closed_is_free: Live None Uninitialized, Input::Remove(Fate::Closed) => Removed None Dead, Nothing;

        idle_declared_waits_for_the_pass: Live Idle Active, Input::Declare => Live Idle Active, Nothing;
        idle_wanted_for_nothing_is_not_armed: Live Idle Active, Input::Look(Need::Nothing) => Live Idle Active, Nothing;
        idle_wanted_is_submitted: Live Idle Active, Input::Look(Need::More) => Live Submitting Active, Submit;
        idle_removed_frees_its_slot: Live Idle Active, Input::Remove(Fate::Kept) => Removed Idle Dead, Free;
        idle_closed_frees_its_slot: Live Idle Active, Input::Remove(Fate::Closed) => Removed Idle Dead, Free;

        submitting_accepted_is_in_flight: Live Submitting Active, Input::Accepted => Live InFlight Active, Nothing;
        submitting_answered_reports_and_is_idle: Live Submitting Active, Input::Answered => Live Idle Active, Report;
        submitting_refused_reports_once_and_is_parked: Live Submitting Active, Input::Refused => Parked Idle Active, ReportError;

        in_flight_declared_waits_for_the_pass: Live InFlight Active, Input::Declare => Live InFlight Active, Nothing;
        in_flight_wanted_for_nothing_is_left_alone: Live InFlight Active, Input::Look(Need::Nothing) => Live InFlight Active, Nothing;
        in_flight_covered_is_left_alone: Live InFlight Active, Input::Look(Need::Covered) => Live InFlight Active, Nothing;
        in_flight_wanted_for_more_is_cancelled: Live InFlight Active, Input::Look(Need::More) => Live Cancelling CancelPending, Cancel;
        in_flight_packet_reports_and_is_idle: Live InFlight Active, Input::Packet => Live Idle Active, Report;
        in_flight_failure_reports_once_and_is_parked: Live InFlight Active, Input::Failure => Parked Idle Active, ReportError;
        in_flight_removed_is_cancelled_and_a_zombie: Live InFlight Active, Input::Remove(Fate::Kept) => Removed Cancelling Zombie, Cancel;
        in_flight_closed_is_a_closing_zombie: Live InFlight Active, Input::Remove(Fate::Closed) => Removed InFlight Zombie, AwaitClose;

        cancel_pending_declared_waits_for_the_packet: Live Cancelling CancelPending, Input::Declare => Live Cancelling CancelPending, Nothing;
        cancel_pending_wanted_for_nothing_waits_for_the_packet: Live Cancelling CancelPending, Input::Look(Need::Nothing) => Live Cancelling CancelPending, Nothing;
        cancel_pending_covered_waits_for_the_packet: Live Cancelling CancelPending, Input::Look(Need::Covered) => Live Cancelling CancelPending, Nothing;
        cancel_pending_wanted_for_more_is_not_cancelled_twice: Live Cancelling CancelPending, Input::Look(Need::More) => Live Cancelling CancelPending, Nothing;
        cancel_pending_packet_is_idle_to_be_armed_again: Live Cancelling CancelPending, Input::Packet => Live Idle Active, Report;
        cancel_pending_failure_is_idle_to_be_armed_again: Live Cancelling CancelPending, Input::Failure => Live Idle Active, Report;
        cancel_pending_removed_is_a_zombie_without_a_second_cancel: Live Cancelling CancelPending, Input::Remove(Fate::Kept) => Removed Cancelling Zombie, Nothing;
        cancel_pending_closed_is_a_zombie_without_a_second_cancel: Live Cancelling CancelPending, Input::Remove(Fate::Closed) => Removed Cancelling Zombie, Nothing;

        parked_declared_is_tried_again: Parked Idle Active, Input::Declare => Live Idle Active, Nothing;
        parked_without_a_slot_declared_is_tried_again: Parked None Uninitialized, Input::Declare => Live None Uninitialized, Nothing;
        parked_wanted_for_more_is_not_armed: Parked Idle Active, Input::Look(Need::More) => Parked Idle Active, Nothing;
        parked_covered_is_not_armed: Parked Idle Active, Input::Look(Need::Covered) => Parked Idle Active, Nothing;
        parked_wanted_for_nothing_is_not_armed: Parked Idle Active, Input::Look(Need::Nothing) => Parked Idle Active, Nothing;
        parked_without_a_slot_takes_none: Parked None Uninitialized, Input::Look(Need::More) => Parked None Uninitialized, Nothing;
        parked_without_a_slot_covered_takes_none: Parked None Uninitialized, Input::Look(Need::Covered) => Parked None Uninitialized, Nothing;
        parked_without_a_slot_wanted_for_nothing_takes_none: Parked None Uninitialized, Input::Look(Need::Nothing) => Parked None Uninitialized, Nothing;
        parked_removed_frees_its_slot: Parked Idle Active, Input::Remove(Fate::Kept) => Removed Idle Dead, Free;
        parked_closed_frees_its_slot: Parked Idle Active, Input::Remove(Fate::Closed) => Removed Idle Dead, Free;
        parked_without_a_slot_removed_is_free: Parked None Uninitialized, Input::Remove(Fate::Kept) => Removed None Dead, Nothing;
        parked_without_a_slot_closed_is_free: Parked None Uninitialized, Input::Remove(Fate::Closed) => Removed None Dead, Nothing;

        zombie_packet_is_dead: Removed InFlight Zombie, Input::Packet => Removed Idle Dead, Free;
        zombie_whose_packet_is_overdue_is_cancelled: Removed InFlight Zombie, Input::Overdue => Removed Cancelling Zombie, Cancel;
        zombie_failure_is_dead: Removed InFlight Zombie, Input::Failure => Removed Idle Dead, Free;
        zombie_cancelled_packet_is_dead: Removed Cancelling Zombie, Input::Packet => Removed Idle Dead, Free;
        zombie_cancelled_failure_is_dead: Removed Cancelling Zombie, Input::Failure => Removed Idle Dead, Free;
    }

    #[test]
    fn whatever_has_no_cell_is_refused() {
        let mut refused = 0;
        for registration in [Live, Parked, Removed] {
            for operation in [None, Idle, Submitting, InFlight, Cancelling] {
                for input in INPUTS {
                    let state = State {
                        registration,
                        operation,
                    };
                    let has_cell = CELLS.contains(&(registration, operation, input));
                    let outcome = catch_unwind(|| next(state, input));
                    assert_eq!(outcome.is_ok(), has_cell, "{state:?} {input:?}");
                    refused += usize::from(!has_cell);
                }
            }
        }
        assert_eq!(CELLS.len() + refused, 3 * 5 * INPUTS.len());
    }

    #[test]
    fn only_what_is_in_flight_is_the_kernels() {
        for (operation, expected) in [
            (None, false),
            (Idle, false),
            (Submitting, true),
            (InFlight, true),
            (Cancelling, true),
        ] {
            assert_eq!(operation.is_in_flight(), expected);
        }
    }
}
