//! Decisions on which a promise hangs, each a line with a name. The simulator's canaries put a wrong
//! answer in the place of one at a time, to see that a run notices.

use std::time::Instant;

use crate::event::Event;

use super::budget::Ticket;
use super::connection::Posts;

macro_rules! decisions {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty { $right:expr }
        else $flaw:ident { $wrong:expr }
    )+) => {
        $(
            $(#[$doc])*
            #[inline]
            pub(super) fn $name($($argument: $kind),*) -> $answer {
                #[cfg(test)]
                if planted(Flaw::$flaw) {
                    return $wrong;
                }
                $right
            }
        )+

        /// A wrong decision that a test can plant.
        #[cfg(test)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Flaw {
            $($flaw,)+
            /// Decided by a simulated world: who held the shared buffer a pass ago is offered its bytes.
            ResumeIsStale,
        }
    };
}

decisions! {
    /// Whether a frame of which `rest` bytes were unsent is sent, now that the system took `bytes`.
    fn is_wholly_sent(bytes: usize, rest: usize) -> bool { bytes >= rest }
    else FirstByteCountsAsSent { true }

    /// Whether what was not sent comes back.
    fn is_returned_unsent() -> bool { true }
    else UnsentIsDropped { false }

    /// Whether an event overtakes those before it.
    fn overtakes(_event: &Event) -> bool { false }
    else ClosedOvertakes { matches!(_event, Event::Closed(_)) }

    /// How many messages are confirmed, of so many sent, by answers and by goodbyes.
    fn confirmed(answers: u64, goodbyes: u64, _sent: u64) -> u64 { answers.max(goodbyes) }
    else SentCountsAsConfirmed { _sent }

    /// How many messages an orderly end behind our last words confirms, where `before` were confirmed.
    fn confirmed_by_end(before: u64, _sent: u64) -> u64 { before }
    else EndConfirms { _sent }

    /// Whether an answer confirms something: only one to a question that has none yet.
    fn is_answer(answers: u64, questions: u64) -> bool { answers < questions }
    else StrangeAnswerConfirms { true }

    /// Whether a connection is to be told when it is writable.
    fn wants_writable(is_blocked: bool, may_send: bool) -> bool { is_blocked && may_send }
    else BlockedStaysSo { false }

    /// Whether a peer that closed its side broke off.
    fn is_broken_off(is_mid_frame: bool) -> bool { is_mid_frame }
    else OrderlyEndFails { true }

    /// Whether a pass has to follow at once for events that no inbox has got.
    fn keeps_awake(has_events: bool) -> bool { has_events }
    else ReceivedMayWait { false }

    /// Whether the driver hears of a connection whose frame was served from the line.
    fn is_read_again_when_served() -> bool { true }
    else ServedIsNotRead { false }

    /// Until when a closing connection may take.
    fn deadline_of_close(deadline: Instant) -> Option<Instant> { Some(deadline) }
    else ClosingHasNoDeadline { None }

    /// Whether a place's occupant is the one that a key means.
    fn is_meant(occupant: u64, key: u64) -> bool { occupant == key }
    else LateDropMeetsNext { true }

    /// The place in line of who comes as number `ticket`.
    fn place_in_line(ticket: Ticket) -> Ticket { ticket }
    else LastIsServedFirst { Ticket::new(u64::MAX - ticket.get()).expect("less than all") }

    /// Whether the shared buffer is free of a connection's bytes once that has ended.
    fn lets_go_of_buffer(has_ended: bool) -> bool { has_ended }
    else EndedKeepsBuffer { false }

    /// Whether a frame in part waits for its peer, rather than for budget here.
    fn is_up_to_peer(is_in_part: bool, waits_here: bool) -> bool { is_in_part && !waits_here }
    else StarvedTimesOut { is_in_part || waits_here }

    /// How far the closing to posts has come of a channel whose writing failed just now.
    fn posts_after_failure() -> Posts { Posts::Closing }
    else FailedTakesPosts { Posts::Admitted }

    /// Whether the end is put off once more of a connection that cannot be written to, or waits for the
    /// answer to its goodbye.
    fn is_put_off(times: u32, most: u32, went_on: bool) -> bool { times < most && went_on }
    else FailedLivesOn { true }

    /// Whether the other attempts to connect are closed, once one has succeeded.
    fn are_losers_closed() -> bool { true }
    else LosersStay { false }

    /// Whether what a connection says is read.
    fn may_speak(is_admitted: bool) -> bool { is_admitted }
    else UndecidedIsRead { true }

    /// Whether the application's decision lets a connection in.
    fn is_let_in(is_admitted: bool) -> bool { is_admitted }
    else RefusedIsAdmitted { true }

    /// Whether who was promised room is told.
    fn is_room_told() -> bool { true }
    else RoomIsNotTold { false }
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
