//! What the backend takes for granted of the kernel, asked of every kernel there is: of the simulated
//! one, which so keeps to the facts, and of the system's own.
//!
//! A fact answers what it has seen, or what it could not ask; it asserts nothing, so that users can ask their
//! systems. The tests ask the same, and assert.
//!
//! - `polls.rs`, `files.rs`, `cancels.rs` and `stress.rs` have the facts, `lab.rs` asks them;
//! - `ground.rs` and `winsock.rs` are the kernels that are asked;
//! - `diary.rs` writes down what is called and answered, in the words of `trace.rs`; `replay.rs` says whether the
//!   simulated kernel could have answered so.

mod cancels;
mod diary;
mod files;
mod ground;
mod lab;
mod polls;
mod replay;
mod stress;
mod trace;
#[cfg(windows)]
mod winsock;

use std::fmt::Debug;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use self::diary::{Diary, Volume};
pub(crate) use self::ground::Ground;
#[cfg(test)]
pub(crate) use self::ground::Simulated;
use super::Status;

pub(crate) use self::replay::replay;
pub(crate) use self::trace::Line;

/// What this system's kernel is: the system's own, or else the simulated one.
#[cfg(windows)]
pub(crate) type Here = winsock::Winsock;
#[cfg(not(windows))]
pub(crate) type Here = ground::Simulated;

/// Why a fact was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something else was.
    Differs(String),
    /// It could not be asked.
    NotAsked(String),
}

/// What a fact has come to: what was seen, if that is more than what was expected.
pub(crate) type Answer = Result<String, Trouble>;

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::NotAsked(error.to_string())
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Trouble::NotAsked(format!("a call has answered {status:?}"))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what a fact returns")]
fn as_expected() -> Answer {
    Ok(String::new())
}

/// Compares what was seen with what was expected.
fn expect<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Result<(), Trouble> {
    match seen == expected {
        true => Ok(()),
        false => Err(Trouble::Differs(format!(
            "{what}: {seen:?}, not {expected:?}"
        ))),
    }
}

/// How a fact is asked.
#[derive(Clone)]
pub(crate) struct Setting {
    /// How long something that is due is waited for.
    pub(crate) patience: Duration,
    /// How often what may go either way is tried.
    pub(crate) rounds: u32,
    /// How long that may take.
    pub(crate) within: Duration,
    /// Of how many polls the time is taken, and of ten times as many.
    pub(crate) polls: usize,
    /// Where calls are written down, and under which title.
    trace: Option<Volume>,
    title: &'static str,
    /// In what way the simulated kernel is wrong, if it is.
    #[cfg(test)]
    spoils: Option<fn(&mut super::sim::Mood)>,
}

impl Setting {
    /// As users ask.
    pub(crate) fn of_users() -> Setting {
        Setting {
            patience: Duration::from_secs(5),
            rounds: 1_000,
            within: Duration::from_secs(3),
            polls: 1_000,
            trace: None,
            title: "",
            #[cfg(test)]
            spoils: None,
        }
    }

    /// Of a simulated kernel that is wrong in some way, and is not asked for long.
    #[cfg(test)]
    pub(crate) fn spoilt(spoils: fn(&mut super::sim::Mood)) -> Setting {
        let mut setting = Setting::of_users();
        (setting.rounds, setting.polls) = (4, 3);
        setting.spoils = Some(spoils);
        setting
    }

    fn diary(&self) -> Diary {
        let trace = self.trace.as_ref();
        trace.map_or(Diary::default(), |trace| trace.section(self.title))
    }

    fn without_trace(&self) -> Setting {
        let mut setting = self.clone();
        setting.trace = None;
        setting
    }
}

/// One question.
#[derive(Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) expected: &'static str,
    ask: fn(&Setting) -> Answer,
}

impl Fact {
    /// Asks, on a thread of its own: what a kernel does not answer in time is left to itself.
    pub(crate) fn ask(self, setting: &Setting) -> Answer {
        const LIMIT: Duration = Duration::from_secs(20);
        let (done, outcome) = mpsc::channel();
        let mut setting = setting.clone();
        setting.title = self.name;
        let asked = thread::Builder::new().spawn(move || {
            // Nobody waits any more if it took too long.
            let _ = done.send((self.ask)(&setting));
        })?;
        match outcome.recv_timeout(LIMIT) {
            Ok(answer) => {
                let _ = asked.join();
                answer
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(Trouble::NotAsked(format!("no end within {LIMIT:?}")))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let panic = asked.join().err();
                let text = panic.and_then(|panic| match panic.downcast::<String>() {
                    Ok(text) => Some(*text),
                    Err(panic) => panic.downcast_ref().map(|text: &&str| (*text).to_owned()),
                });
                Err(Trouble::NotAsked(
                    text.unwrap_or_else(|| "it has panicked".to_owned()),
                ))
            }
        }
    }
}

/// Names each fact once.
macro_rules! facts {
    ($($module:ident :: $fact:ident: $expected:literal,)*) => {
        /// All facts, to be asked of one kernel.
        pub(crate) fn facts<G: Ground>() -> Vec<Fact> {
            vec![$(Fact {
                name: stringify!($fact),
                expected: $expected,
                ask: $module::$fact::<G>,
            }),*]
        }

        /// The same as tests.
        #[cfg(test)]
        macro_rules! for_each_fact {
            ($callback:ident) => { $callback! { $($fact)* } };
        }
    };
}

facts! {
    polls::a_poll_waits_and_ends_with_one_packet: "pending, then one packet with RECEIVE",
    polls::what_is_ready_is_answered_at_once: "success at once, with SEND",
    polls::an_answer_at_once_queues_a_packet_unless_the_file_skips_it: "one packet, then none",
    polls::a_cancel_ends_a_poll_with_one_packet: "one packet, with STATUS_CANCELLED",
    polls::a_cancel_of_what_has_ended_finds_nothing_and_its_packet_comes: "STATUS_NOT_FOUND, and the answer",
    files::a_socket_that_is_closed_ends_its_polls: "success, with LOCAL_CLOSE",
    files::a_duplicate_keeps_the_polls_of_a_handle_that_is_closed: "nothing; LOCAL_CLOSE with the last handle",
    files::a_socket_that_another_process_keeps_has_its_polls_cancelled_where_it_is_closed: "STATUS_CANCELLED, unasked",
    files::a_socket_that_another_process_keeps_is_polled_on_by_a_helper: "nothing; it can be cancelled",
    files::a_helper_that_is_closed_leaves_its_polls_or_ends_them: "either: nothing depends on which",
    files::a_thread_that_ends_leaves_its_polls: "its polls go on",
    polls::what_happens_to_a_socket_has_its_flag: "RECEIVE, DISCONNECT, ABORT, ACCEPT, CONNECT_FAIL in turn",
    polls::a_socket_without_room_is_not_ready_to_be_written: "pending until there is room",
    polls::a_full_socket_that_is_reset_is_reported_to_who_would_write: "ABORT",
    files::the_handles_of_a_socket_are_counted_wherever_they_are: "1, 2, 1, and 2 with another process",
    files::handles_of_one_socket_are_told_from_others: "yes, and no",
    polls::a_poll_with_a_time_limit_ends_with_it: "STATUS_TIMEOUT, with nothing",
    polls::polls_of_several_sockets_share_a_helper: "each has its own packet",
    polls::a_poll_of_what_is_not_open_is_refused_and_queues_nothing: "an error, and no packet",
    files::a_file_has_one_port_until_it_is_taken_off: "STATUS_INVALID_PARAMETER for a second one",
    files::a_file_with_a_poll_is_taken_off_its_port_or_not: "either: nothing depends on which",
    files::an_address_is_bound_again_while_a_connection_of_its_last_listener_lives: "either: nothing depends on which",
    files::a_handle_that_is_accepted_can_be_inherited_or_not: "either: the next call forbids it",
    files::posted_packets_come_whole_in_their_order_and_in_batches: "four of five, then one",
    polls::a_socket_that_is_not_overlapped_is_polled_by_a_helper: "as others are",
    polls::somebody_else_s_poll_of_the_same_socket_takes_nothing_away: "both are answered",
    polls::the_poll_that_data_is_for_is_the_one_that_is_answered: "of two of one socket, the one for data",
    stress::two_polls_of_one_socket_are_told_apart: "none lost, none with the other's flags",
    stress::two_threads_that_poll_one_socket_do_not_disturb_each_other: "none lost, none with the other's flags",
    cancels::a_cancel_that_finds_nothing_harms_nothing: "the poller reports all that happens",
    cancels::a_cancel_that_succeeds_too_late_harms_nothing: "the poller reports all that happens",
    stress::polls_of_what_is_ready: "how long that takes",
    stress::a_thousand_polls_on_helpers: "how long that takes",
    stress::ten_thousand_polls_on_helpers: "how long that takes",
    stress::a_thousand_polls_on_sockets: "how long that takes",
    stress::ten_thousand_polls_on_sockets: "how long that takes",
}

/// One fact, and what came of it.
pub(crate) struct Asked {
    pub(crate) fact: Fact,
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

/// Asks all facts of a kernel, until it is over. If it is wanted, everything that is called is written down.
pub(crate) fn ask_all<G: Ground>(
    setting: &Setting,
    is_over: impl Fn() -> bool,
    is_traced: bool,
) -> (Vec<Asked>, Vec<Line>) {
    let volume = Volume::default();
    let mut setting = setting.clone();
    setting.trace = is_traced.then(|| volume.clone());
    let ask = |fact: Fact| {
        let begun = Instant::now();
        let answer = match is_over() {
            true => Err(Trouble::NotAsked("there was no time left".to_owned())),
            false => fact.ask(&setting),
        };
        Asked {
            fact,
            answer,
            took: begun.elapsed(),
        }
    };
    let asked = facts::<G>().into_iter().map(ask).collect();
    (asked, volume.lines())
}

/// Where a known system is known to differ, and how.
pub(crate) fn known<G: Ground>(fact: &str) -> Option<&'static str> {
    if G::IS_SIMULATED || !crate::platform::is_wine() {
        return None;
    }
    match fact {
        "a_file_has_one_port_until_it_is_taken_off" => Some("Wine takes no file off its port"),
        "a_socket_that_another_process_keeps_has_its_polls_cancelled_where_it_is_closed" => {
            Some("Wine leaves the polls of a socket that another process keeps")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
