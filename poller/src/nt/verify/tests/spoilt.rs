//! Kernels that are wrong in one way each: every fact is one that can be missed, and what a trace tells of such a
//! kernel is told or refused.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{PATIENCE, Setting, Simulated, facts, named, replay, trace};
use crate::nt::Status;
use crate::nt::sim::{LastClose, Mood};
use crate::nt::verify::Trouble;

type Spoils = fn(&mut Mood);

/// With a kernel that is wrong so, of which this is to be said. What will not come is not waited for for long.
fn spoilt(spoils: Spoils, words: &str) -> Setting {
    let mut setting = Setting::spoilt(spoils);
    setting.patience = match [NOTHING_COMES, NOTHING_IS_TOLD, IS_DUE].contains(&words) {
        true => Duration::from_millis(100),
        false => PATIENCE,
    };
    setting
}

const NOTHING_COMES: &str = "no packet within";
const NOTHING_IS_TOLD: &str = "of an idle connection: NONE";
const IS_DUE: &str = "is due";

const ANSWERS_NOTHING: Spoils = |mood| mood.answers_nothing = true;
const CANCELS_NOTHING: Spoils = |mood| mood.ignores_cancels = true;
const CANCELS_TWICE: Spoils = |mood| mood.cancel_answers = Some(Status::SUCCESS);
const CANCELS_LAST_CLOSE: Spoils = |mood| mood.last_close = LastClose::Cancels;
const CHANGES_KEYS: Spoils = |mood| mood.changes_keys = true;
const COUNTS_MORE: Spoils = |mood| mood.further_handles = 1;
const COUNTS_ONE: Spoils = |mood| mood.counts_one = true;
const ENDS_UNASKED: Spoils = |mood| mood.ends_in_vain = Some(Status::CANCELLED);
const ENDS_WITH_NOTHING: Spoils = |mood| mood.ends_in_vain = Some(Status::SUCCESS);
const ENDS_WITH_TIME: Spoils = |mood| mood.ends_in_vain = Some(Status::TIMEOUT);
const FAILS: Spoils = |mood| mood.ends_in_vain = Some(Status::INSUFFICIENT_RESOURCES);
const FINDS_MORE: Spoils = |mood| mood.further_flags = 0x200;
const HIDES_OBJECTS: Spoils = |mood| mood.hides_objects = true;
const KEEPS_ASSOCIATION: Spoils = |mood| mood.keeps_association = true;
const KEEPS_PACKETS: Spoils = |mood| mood.keeps_packets = true;
const LEAVES_LAST_CLOSE: Spoils = |mood| mood.last_close = LastClose::Leaves;
const LEAVES_SHARED: Spoils = |mood| mood.leaves_shared = true;
const MIXES_UP: Spoils = |mood| mood.mixes_up = true;
const QUEUES_ANSWERS: Spoils = |mood| mood.queues_answers = true;
const REFUSES_A_POLL: Spoils = |mood| mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
const REFUSES_POSTS: Spoils = |mood| mood.refuses_post = Some(Status::INSUFFICIENT_RESOURCES);
const TAKES_LAST: Spoils = |mood| mood.takes_last = true;
const TELLS_CHANGES: Spoils = |mood| mood.tells_changes_only = true;
const TAKES_ONE: Spoils = |mood| mood.batch = 1;

/// A fact, the kernels where it is not so, and what is said of each.
const MISSED: &[(&str, &[(Spoils, &str)])] = &[
    (
        "a_poll_waits_and_ends_with_one_packet",
        &[
            (ANSWERS_NOTHING, "answer to a poll"),
            (ENDS_UNASKED, "a packet is queued"),
            (FINDS_MORE, "its answer: 0x201"),
            (REFUSES_POSTS, "the answer to a post"),
            (CHANGES_KEYS, "the key of a packet"),
        ],
    ),
    (
        "what_is_ready_is_answered_at_once",
        &[
            (TELLS_CHANGES, "answer to a poll"),
            (QUEUES_ANSWERS, "a second packet"),
            (FINDS_MORE, "what it has found: 0x204"),
        ],
    ),
    (
        "an_answer_at_once_queues_a_packet_unless_the_file_skips_it",
        &[
            (QUEUES_ANSWERS, "a second packet"),
            (TELLS_CHANGES, "answer to a poll"),
        ],
    ),
    (
        "a_cancel_ends_a_poll_with_one_packet",
        &[
            (CANCELS_NOTHING, "to a second cancel"),
            (CANCELS_TWICE, "to a second cancel"),
        ],
    ),
    (
        "a_cancel_of_what_has_ended_finds_nothing_and_its_packet_comes",
        &[(CANCELS_TWICE, "the answer to a cancel")],
    ),
    (
        "a_socket_that_is_closed_ends_its_polls",
        &[
            (CANCELS_LAST_CLOSE, "the end of a poll"),
            (LEAVES_LAST_CLOSE, NOTHING_COMES),
        ],
    ),
    (
        "a_duplicate_keeps_the_polls_of_a_handle_that_is_closed",
        &[
            (ENDS_UNASKED, "a packet is queued"),
            (CANCELS_LAST_CLOSE, "the end of a poll"),
        ],
    ),
    (
        "a_socket_that_another_process_keeps_has_its_polls_cancelled_where_it_is_closed",
        &[(LEAVES_SHARED, "how it ends")],
    ),
    (
        "a_socket_that_another_process_keeps_is_polled_on_by_a_helper",
        &[
            (ENDS_UNASKED, "a packet is queued"),
            (CANCELS_NOTHING, NOTHING_COMES),
        ],
    ),
    (
        "a_helper_that_is_closed_leaves_its_polls_or_ends_them",
        &[(FINDS_MORE, "its answer")],
    ),
    (
        "a_thread_that_ends_leaves_its_polls",
        &[(ENDS_UNASKED, "a packet is queued")],
    ),
    (
        "what_happens_to_a_socket_has_its_flag",
        &[
            (FINDS_MORE, "of an idle connection"),
            (ENDS_UNASKED, "the end of a poll"),
        ],
    ),
    (
        "a_socket_without_room_is_not_ready_to_be_written",
        &[
            (FINDS_MORE, "what it has found"),
            (ANSWERS_NOTHING, "answer to a poll"),
        ],
    ),
    (
        "a_full_socket_that_is_reset_is_reported_to_who_would_write",
        &[
            (ENDS_UNASKED, "the end of a poll"),
            (ENDS_WITH_NOTHING, "whether ABORT is told"),
        ],
    ),
    (
        "the_handles_of_a_socket_are_counted_wherever_they_are",
        &[(COUNTS_MORE, "of a new socket"), (COUNTS_ONE, "of two")],
    ),
    (
        "handles_of_one_socket_are_told_from_others",
        &[(HIDES_OBJECTS, "one handle")],
    ),
    (
        "a_poll_with_a_time_limit_ends_with_it",
        &[(ENDS_UNASKED, "the end of a poll")],
    ),
    (
        "polls_of_several_sockets_share_a_helper",
        &[(CANCELS_NOTHING, NOTHING_COMES)],
    ),
    (
        "a_file_has_one_port_until_it_is_taken_off",
        &[(KEEPS_ASSOCIATION, "taking it off")],
    ),
    (
        "posted_packets_come_whole_in_their_order_and_in_batches",
        &[
            (TAKES_LAST, "the first four"),
            (TAKES_ONE, "the first four"),
        ],
    ),
    (
        "the_poll_that_data_is_for_is_the_one_that_is_answered",
        &[(MIXES_UP, "whether the one for data")],
    ),
    (
        "two_polls_of_one_socket_are_told_apart",
        &[(MIXES_UP, "4 lost")],
    ),
    (
        "two_threads_that_poll_one_socket_do_not_disturb_each_other",
        &[(ENDS_WITH_NOTHING, "4 lost")],
    ),
    (
        "a_cancel_that_finds_nothing_harms_nothing",
        &[
            (CANCELS_NOTHING, NOTHING_IS_TOLD),
            (CANCELS_TWICE, "came too late"),
        ],
    ),
    (
        "a_cancel_that_succeeds_too_late_harms_nothing",
        &[(CANCELS_NOTHING, NOTHING_IS_TOLD)],
    ),
    (
        "polls_of_what_is_ready",
        &[(FINDS_MORE, "what it has found")],
    ),
    (
        "a_thousand_polls_on_helpers",
        &[(CANCELS_NOTHING, NOTHING_COMES)],
    ),
    (
        "ten_thousand_polls_on_helpers",
        &[(CANCELS_NOTHING, NOTHING_COMES)],
    ),
    (
        "a_thousand_polls_on_sockets",
        &[(CANCELS_NOTHING, NOTHING_COMES)],
    ),
    (
        "ten_thousand_polls_on_sockets",
        &[(CANCELS_NOTHING, NOTHING_COMES)],
    ),
];

#[test]
fn each_fact_is_missed_where_a_kernel_is_wrong() {
    let mut wrong = Vec::new();
    for (name, kernels) in MISSED {
        for (spoils, words) in *kernels {
            let answer = named::<Simulated>(name).ask(&spoilt(*spoils, words));
            let is_seen = matches!(&answer, Err(Trouble::Differs(seen)) if seen.contains(words));
            if !is_seen {
                wrong.push(format!("{name}, {words}: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What the list lacks cannot be asked here, is refused by any kernel, or is so either way.
    let listed: BTreeSet<&str> = MISSED.iter().map(|(name, ..)| *name).collect();
    let facts = facts::<Simulated>();
    let missing = facts.iter().map(|fact| fact.name);
    let missing: Vec<&str> = missing.filter(|name| !listed.contains(name)).collect();
    let expected = [
        "a_poll_of_what_is_not_open_is_refused_and_queues_nothing",
        "a_file_with_a_poll_is_taken_off_its_port_or_not",
        "an_address_is_bound_again_while_a_connection_of_its_last_listener_lives",
        "a_handle_that_is_accepted_can_be_inherited_or_not",
        "a_socket_that_is_not_overlapped_is_polled_by_a_helper",
        "somebody_else_s_poll_of_the_same_socket_takes_nothing_away",
    ];
    assert_eq!(missing, expected);
}

/// A fact, the kernel that is asked for it, and what its trace shows.
type Shown = (&'static str, Spoils, &'static str);

const WAITS: &str = "a_poll_waits_and_ends_with_one_packet";
const READY: &str = "what_is_ready_is_answered_at_once";
const SHARED: &str = "a_socket_that_another_process_keeps_is_polled_on_by_a_helper";
const COUNT: &str = "the_handles_of_a_socket_are_counted_wherever_they_are";
const PORT: &str = "a_file_has_one_port_until_it_is_taken_off";
const POSTED: &str = "posted_packets_come_whole_in_their_order_and_in_batches";

/// What a kernel may do and rarely does is told, and is no reason to refuse a trace.
#[test]
fn what_a_kernel_may_choose_is_told() {
    const CHOICES: &[Shown] = &[
        (WAITS, ENDS_UNASKED, "polls cancelled unasked"),
        (WAITS, ENDS_WITH_NOTHING, "polls that end with nothing"),
        (WAITS, ENDS_WITH_TIME, "ends of a time that was not limited"),
        (WAITS, FAILS, "polls that end with an error"),
        (WAITS, FINDS_MORE, "flags that nobody knows"),
        (READY, FINDS_MORE, "flags that nobody knows"),
        (WAITS, REFUSES_A_POLL, "polls refused"),
        (
            WAITS,
            ANSWERS_NOTHING,
            "polls answered at once with nothing",
        ),
        (COUNT, COUNTS_MORE, "handles counted that are not there"),
        (PORT, KEEPS_ASSOCIATION, "files not taken off their port"),
        (
            "two_polls_of_one_socket_are_told_apart",
            MIXES_UP,
            "answers with another poll's flags",
        ),
    ];
    for (name, spoils, choice) in CHOICES {
        let replay = replay(&trace::<Simulated>(name, spoilt(*spoils, choice)));
        assert_eq!(replay.refusals, [], "{choice}");
        let told: Vec<&str> = replay.choices.keys().copied().collect();
        assert_eq!(told, [*choice]);
    }
    // Neither do these tell of anything, nor is there anything to refuse.
    for (name, spoils) in [(WAITS, KEEPS_PACKETS), (POSTED, REFUSES_POSTS)] {
        let replay = replay(&trace::<Simulated>(name, spoilt(spoils, "")));
        assert_eq!((replay.refusals, replay.choices.len()), (vec![], 0));
    }
}

/// What no kernel may do.
#[test]
fn what_a_kernel_may_not_do_is_refused() {
    const REFUSALS: &[Shown] = &[
        (READY, QUEUES_ANSWERS, "no such packet"),
        (WAITS, CHANGES_KEYS, "but here it is"),
        (SHARED, CANCELS_NOTHING, IS_DUE),
        (COUNT, COUNTS_ONE, "where there are 2"),
        (POSTED, TAKES_LAST, "no such packet"),
    ];
    for (name, spoils, why) in REFUSALS {
        let refusals = replay(&trace::<Simulated>(name, spoilt(*spoils, why))).refusals;
        assert_eq!(refusals.len(), 1, "{name}, {why}");
        assert!(refusals[0].1.contains(why), "{name}, {why}: {refusals:?}");
    }
}
