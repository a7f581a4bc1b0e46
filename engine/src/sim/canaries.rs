//! Planted defects: the very runs that find nothing in the core as it is must find each of these.

use crate::protocol::decisions::{Flaw, plant};

use super::random::{failure, run};
use super::{ledger::Totals, starving};

/// So many runs at most, until a planted defect is noticed.
const RUNS: u64 = 1000;

/// Plants a defect, and expects that the first run that fails names the promise it breaks.
fn is_caught(flaw: Flaw, run: fn(u64) -> Totals, promises: &[&str]) {
    let _planted = plant(flaw);
    let caught = (1..=RUNS).find_map(|seed| Some((seed, failure(run, seed)?)));
    let (seed, text) = caught.unwrap_or_else(|| panic!("no run notices {flaw:?}"));
    println!("{flaw:?}: caught by seed {seed}: {text}");
    let is_named = promises.iter().any(|promise| text.contains(promise));
    assert!(is_named, "{promises:?} was to be named: {text}");
}

/// A test for each defect; a defect without one does not compile.
macro_rules! canaries {
    ($($test:ident: $flaw:ident breaks [$($promise:literal),+] in $run:expr;)+) => {
        $(
            #[test]
            fn $test() {
                is_caught(Flaw::$flaw, $run, &[$($promise),+]);
            }
        )+

        const _: fn(Flaw) = |flaw| match flaw {
            $(Flaw::$flaw => {})+
        };
    };
}

canaries! {
    a_message_that_counts_as_sent_too_early: FirstByteCountsAsSent breaks ["P1:"] in run;
    unsent_messages_that_are_dropped: UnsentIsDropped breaks ["P1:"] in run;
    a_closed_that_overtakes: ClosedOvertakes breaks ["P4:", "P1:"] in run;
    a_confirmation_that_nobody_gave: SentCountsAsConfirmed breaks ["P1:"] in run;
    a_strange_answer_that_confirms: StrangeAnswerConfirms breaks ["P1:"] in run;
    an_end_that_counts_as_a_confirmation: EndConfirms breaks ["P1:"] in run;
    a_blocked_connection_that_is_never_written_to_again: BlockedStaysSo breaks ["P1:", "P2:"] in run;
    an_orderly_end_that_counts_as_a_failure: OrderlyEndFails breaks ["P2:"] in run;
    a_message_that_is_received_and_left_lying: ReceivedMayWait breaks ["P2:"] in run;
    a_served_connection_that_is_not_read_from_again: ServedIsNotRead breaks ["P2:", "P1:"] in run;
    a_close_without_a_deadline: ClosingHasNoDeadline breaks ["P3:"] in run;
    a_late_drop_that_meets_the_next_in_its_place: LateDropMeetsNext
        breaks ["no more is released than"] in run;
    a_line_that_is_not_first_come_first_served: LastIsServedFirst breaks ["P6:"] in run;
    a_shared_buffer_that_is_kept_after_the_end: EndedKeepsBuffer breaks ["P6:"] in run;
    a_wait_for_budget_that_is_held_against_the_peer: StarvedTimesOut breaks ["P2:"] in run;
    a_failed_channel_that_takes_posts: FailedTakesPosts breaks ["P3:", "P1:"] in run;
    a_failed_channel_that_lives_on: FailedLivesOn breaks ["P3:"] in starving::run;
    an_attempt_that_outlives_the_one_that_won: LosersStay breaks ["P6:"] in run;
    room_that_nobody_is_told_of: RoomIsNotTold breaks ["Room:"] in run;
    bytes_that_are_offered_to_who_held_the_buffer_before: ResumeIsStale breaks ["P5:", "P2:"]
        in starving::run;
}
