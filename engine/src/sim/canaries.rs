//! Planted defects: the very runs that find nothing in the core as it is must find each of these.

use crate::protocol::decisions::{Flaw, plant};

use super::random::RANDOM;
use super::seeds::{Failure, Family};
use super::starving::STARVING;

/// So many runs at most, until a planted defect is noticed.
const RUNS: u64 = 1000;

/// Plants a defect, and expects that the first run that fails names the promise it breaks.
fn is_caught(flaw: Flaw, family: &Family, promises: &[&str], from: u64) {
    let _planted = plant(flaw);
    let Failure { seed, text, .. } = first_failure(flaw, family, from);
    println!("{flaw:?}: caught by seed {seed}: {text}");
    let is_named = promises.iter().any(|promise| text.contains(promise));
    assert!(is_named, "{promises:?} was to be named: {text}");
}

fn first_failure(flaw: Flaw, family: &Family, from: u64) -> Failure {
    let mut runs = (from..from + RUNS).map(|seed| family.failure(seed, usize::MAX));
    let failed = runs.find_map(Result::err);
    failed.unwrap_or_else(|| panic!("no run notices {flaw:?}"))
}

/// A test for each defect; a defect without one does not compile. One that few runs notice begins with a run shortly
/// before one that did.
macro_rules! canaries {
    ($($test:ident: $flaw:ident breaks [$($promise:literal),+] in $family:ident $(from $from:literal)?;)+) => {
        $(
            #[test]
            fn $test() {
                let from = [$($from,)? 1][0];
                is_caught(Flaw::$flaw, &$family, &[$($promise),+], from);
            }
        )+

        const _: fn(Flaw) = |flaw| match flaw {
            $(Flaw::$flaw => {})+
            // So rare by chance that `directed::serving` has a scenario of its own.
            Flaw::ServedIsNotRead => {}
        };
    };
}

canaries! {
    a_message_that_counts_as_sent_too_early: FirstByteCountsAsSent breaks ["P1:"] in RANDOM;
    unsent_messages_that_are_dropped: UnsentIsDropped breaks ["P1:"] in RANDOM;
    a_closed_that_overtakes: ClosedOvertakes breaks ["P4:", "P1:"] in RANDOM;
    a_confirmation_that_nobody_gave: SentCountsAsConfirmed breaks ["P1:"] in RANDOM;
    a_strange_answer_that_confirms: StrangeAnswerConfirms breaks ["P1:"] in RANDOM;
    an_end_that_counts_as_a_confirmation: EndConfirms breaks ["P1:"] in RANDOM;
    a_blocked_connection_that_is_never_written_to_again: BlockedStaysSo breaks ["P1:", "P2:"] in RANDOM;
    an_orderly_end_that_counts_as_a_failure: OrderlyEndFails breaks ["P2:"] in RANDOM;
    a_message_that_is_received_and_left_lying: ReceivedMayWait breaks ["P2:"] in RANDOM;
    a_close_without_a_deadline: ClosingHasNoDeadline breaks ["P3:"] in RANDOM;
    a_late_drop_that_meets_the_next_in_its_place: LateDropMeetsNext
        breaks ["no more is released than", "no more budget is released than"] in RANDOM;
    a_line_that_is_not_first_come_first_served: LastIsServedFirst breaks ["P6:"] in RANDOM;
    a_shared_buffer_that_is_kept_after_the_end: EndedKeepsBuffer breaks ["P6:"] in RANDOM from 450;
    a_wait_for_budget_that_is_held_against_the_peer: StarvedTimesOut breaks ["P2:"] in RANDOM from 380;
    a_failed_channel_that_takes_posts: FailedTakesPosts breaks ["P3:", "P1:"] in RANDOM;
    a_failed_channel_that_lives_on: FailedLivesOn breaks ["P3:"] in STARVING;
    an_attempt_that_outlives_the_one_that_won: LosersStay breaks ["P6:"] in RANDOM;
    a_connection_that_is_read_from_before_it_is_admitted: UndecidedIsRead breaks ["Admission:"] in RANDOM;
    a_refused_connection_that_is_let_in: RefusedIsAdmitted breaks ["Admission:"] in RANDOM;
    room_that_nobody_is_told_of: RoomIsNotTold breaks ["Room:"] in RANDOM;
    bytes_that_are_offered_to_who_held_the_buffer_before: ResumeIsStale breaks ["P5:", "P2:"]
        in STARVING;
}

/// A failure's text without the generations in it, which go on from run to run.
fn comparable(failure: &Failure) -> String {
    let mut parts = failure.text.split("generation ");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        text + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

#[test]
fn a_run_that_fails_says_what_it_was_made_with_and_how_to_repeat_the_shortest() {
    for (flaw, family) in [
        (Flaw::UnsentIsDropped, RANDOM),
        (Flaw::StrangeAnswerConfirms, RANDOM),
        (Flaw::FailedLivesOn, STARVING),
    ] {
        let planted = plant(flaw);
        let failed = first_failure(flaw, &family, 1);
        let shortest = family.shorten(&failed);
        let report = family.report(&failed, shortest.as_ref());
        println!("{flaw:?}: {report}");
        for part in [
            "latency_most:",
            "inbound_bytes_per_channel:",
            "bytes_per_read",
        ] {
            assert!(report.contains(part), "the report has no {part}");
        }
        let again = family.failure(failed.seed, usize::MAX).err();
        assert_eq!(again.as_ref().map(comparable), Some(comparable(&failed)));
        let replayed = shortest.as_ref().unwrap_or(&failed);
        assert_eq!(replayed.promise(), failed.promise());
        assert!(report.contains(&family.replay(replayed)));
        let again = family.failure(failed.seed, replayed.operations).err();
        assert_eq!(again.as_ref().map(comparable), Some(comparable(replayed)));
        // The defect is what fails: without it neither run does.
        drop(planted);
        assert!(family.failure(failed.seed, usize::MAX).is_ok());
        assert!(family.failure(failed.seed, replayed.operations).is_ok());
    }
}
