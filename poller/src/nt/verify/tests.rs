//! The facts as tests: of the simulated kernel on every system, of the system's own on Windows. Then the answers
//! of kernels that are wrong, and traces that were tampered with: each has to be noticed.

use std::time::Duration;

use super::ground::{Ground, Simulated};
use super::trace::Line;
use super::{Fact, Setting, Trouble, facts, known, replay};

mod spoilt;
mod written;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(15);

fn setting() -> Setting {
    let mut setting = Setting::of_users();
    (setting.patience, setting.polls) = (PATIENCE, 200);
    setting
}

fn named<G: Ground>(name: &str) -> Fact {
    let mut facts = facts::<G>().into_iter();
    facts.find(|fact| fact.name == name).unwrap()
}

/// What is expected is seen, but for what is known to differ, and for what this kernel cannot be asked.
#[track_caller]
fn holds<G: Ground>(name: &str) {
    let fact = named::<G>(name);
    match (fact.ask(&setting()), known::<G>(name)) {
        (Ok(seen), known) => {
            println!("{name}: {seen}");
            assert_eq!(known, None, "it does not differ any more");
        }
        (Err(Trouble::Differs(_)), Some(reason)) => crate::conformance::skip(reason),
        (Err(Trouble::NotAsked(reason)), _) if reason.contains("has no such thing") => {
            println!("{name}: {reason}");
        }
        (Err(trouble), _) => panic!("expected: {}; {trouble:?}", fact.expected),
    }
}

macro_rules! tests {
    ($($fact:ident)*) => {
        mod simulated {
            $(#[test]
            fn $fact() {
                super::holds::<super::Simulated>(stringify!($fact));
            })*
        }

        #[cfg(windows)]
        mod windows {
            $(#[test]
            fn $fact() {
                super::holds::<crate::nt::verify::winsock::Winsock>(stringify!($fact));
            })*
        }
    };
}

for_each_fact!(tests);

/// A fact that comes to no end, or fails, is one that could not be asked.
#[test]
fn a_fact_that_panics_is_not_asked() {
    let fact = Fact {
        name: "panics",
        expected: "nothing",
        ask: |_| panic!("on purpose: {}", 7),
    };
    let answer = fact.ask(&setting());
    assert_eq!(answer, Err(Trouble::NotAsked("on purpose: 7".to_owned())));
}

/// What a kernel has answered when it was asked for one fact.
fn trace<G: Ground>(name: &str, mut setting: Setting) -> Vec<Line> {
    let volume = super::Volume::default();
    (setting.rounds, setting.trace) = (4, Some(volume.clone()));
    let _ = named::<G>(name).ask(&setting);
    volume.lines()
}

/// Text of a trace, of which one line was exchanged for others.
fn tampered(name: &str, is_it: fn(&str) -> bool, make: fn(&str) -> Vec<String>) -> Vec<Line> {
    let lines = trace::<Simulated>(name, setting());
    assert_eq!(replay(&lines).refusals, [], "{name}");
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let at = text.iter().position(|line| is_it(line)).unwrap();
    let mut text = text.clone();
    let made = make(&text[at]);
    text.splice(at..=at, made);
    let parsed = text.iter().map(|line| Line::parse(line).unwrap());
    parsed.collect()
}

/// Of which fact's trace a line is exchanged, which line, for what, and why that is refused.
type Change = (
    &'static str,
    fn(&str) -> bool,
    fn(&str) -> Vec<String>,
    &'static str,
);

const WAITS: &str = "a_poll_waits_and_ends_with_one_packet";
const DEQUEUE: &str = "dequeue port1 1 0 0x0 1";

fn is_packet(line: &str) -> bool {
    line.starts_with("packet poll")
}

fn is_dequeue(line: &str) -> bool {
    line.starts_with("dequeue")
}

fn is_submit(line: &str) -> bool {
    line.starts_with("submit")
}

fn is_posted(line: &str) -> bool {
    line.starts_with("packet mark1")
}

/// One line, in which something is exchanged.
fn with(line: &str, from: &str, to: &str) -> Vec<String> {
    assert!(line.contains(from), "{line}");
    vec![line.replacen(from, to, 1)]
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn refuses(changes: &[Change]) {
    for (name, is_it, make, why) in changes {
        let refusals = replay(&tampered(name, *is_it, *make)).refusals;
        assert_eq!(refusals.len(), 1, "{name}, {why}");
        assert!(refusals[0].1.contains(why), "{name}, {why}: {refusals:?}");
    }
}

#[test]
fn a_trace_with_wrong_packets_is_refused() {
    const READY: &str = "what_is_ready_is_answered_at_once";
    let twice = |line: &str| lines(&[line, DEQUEUE, line]);
    let at_once = |line: &str| lines(&[line, DEQUEUE, "packet poll1 5 0x0 32 0x004"]);
    let elsewhere = |line: &str| lines(&["create port2", &line.replacen("port1", "port2", 1)]);
    refuses(&[
        (WAITS, is_packet, twice, "not in flight"),
        (
            WAITS,
            is_packet,
            |line| with(line, "poll1", "poll9"),
            "not in flight",
        ),
        (READY, is_submit, at_once, "not in flight"),
        (
            WAITS,
            is_packet,
            |line| with(line, " 5 ", " 6 "),
            "but here it is",
        ),
        (WAITS, is_dequeue, elsewhere, "due at port2"),
        (
            WAITS,
            is_dequeue,
            |line| with(line, "0x0 1", "0x0 2"),
            "room for",
        ),
        (WAITS, is_packet, |_| vec![], "missing"),
    ]);
}

/// The packets of a dequeue follow it at once.
#[test]
fn a_trace_that_lacks_packets_is_refused_wherever_they_are_missed() {
    let lines = trace::<Simulated>(WAITS, setting());
    let is_told = |line: &Line| is_packet(&line.to_string());
    let at = lines.iter().position(is_told).unwrap();
    let mut later = lines.clone();
    later.swap(at, at + 1);
    let refusals = replay(&later).refusals;
    assert!(refusals[0].1.contains("missing"), "{refusals:?}");
    for then in [None, Some(Line::Section("next".to_owned()))] {
        let cut: Vec<Line> = lines[..at].iter().cloned().chain(then).collect();
        let refusals = replay(&cut).refusals;
        assert_eq!((refusals.len(), refusals[0].0), (1, at), "{refusals:?}");
        assert!(refusals[0].1.contains("missing"), "{refusals:?}");
    }
}

#[test]
fn a_trace_with_wrong_answers_is_refused() {
    const READY: &str = "what_is_ready_is_answered_at_once";
    refuses(&[
        // What another poll would have asked for; another socket; a close of a socket that is open.
        (
            WAITS,
            is_packet,
            |line| with(line, "0x001", "0x004"),
            "was asked for",
        ),
        (
            READY,
            is_submit,
            |line| with(line, " 0x004", " 0x004!"),
            "other sockets",
        ),
        (
            WAITS,
            is_packet,
            |line| with(line, "0x001", "0x020"),
            "was asked for",
        ),
        (
            WAITS,
            is_packet,
            |line| with(line, "0x0 32", "0x102 32"),
            "was over",
        ),
        (
            WAITS,
            is_packet,
            |line| with(line, "0x0 32", "0x103 32"),
            "no poll ends",
        ),
    ]);
}

#[test]
fn a_trace_with_wrong_cancels_is_refused() {
    const CANCEL: &str = "a_cancel_ends_a_poll_with_one_packet";
    let is_cancel = |line: &str| line.starts_with("cancel");
    let ends_nothing = |line: &str| lines(&[line, "dequeue port1 1 - 0x0 0"]);
    let finds_it = |line: &str| lines(&[line, "cancel poll1 socket1 0x0"]);
    refuses(&[
        (CANCEL, is_cancel, ends_nothing, "is due"),
        (CANCEL, is_packet, finds_it, "not in flight"),
    ]);
}

#[test]
fn a_trace_with_wrong_files_is_refused() {
    const COUNT: &str = "the_handles_of_a_socket_are_counted_wherever_they_are";
    const SAME: &str = "handles_of_one_socket_are_told_from_others";
    const PORT: &str = "a_file_has_one_port_until_it_is_taken_off";
    let two = |line: &str| line.starts_with("count") && line.ends_with(" 2");
    let others = |line: &str| line.starts_with("same socket1 socket2");
    let same = |line: &str| line.starts_with("same socket1 socket3");
    let second = |line: &str| line.starts_with("associate") && !line.ends_with(" 0x0");
    let closes = |line: &str| line.starts_with("closed socket1");
    refuses(&[
        (
            COUNT,
            two,
            |line| with(line, "0x0 2", "0x0 1"),
            "where there are 2",
        ),
        (
            SAME,
            others,
            |line| with(line, "0x0 0", "0x0 1"),
            "of one file",
        ),
        (
            SAME,
            same,
            |line| with(line, "0x0 1", "0x0 0"),
            "of one file",
        ),
        (
            PORT,
            second,
            |line| with(line, "0xc000000d", "0x0"),
            "is refused here",
        ),
        (WAITS, closes, |line| lines(&[line, line]), "is not open"),
    ]);
}

#[test]
fn a_trace_with_wrong_posts_is_refused() {
    const POSTED: &str = "posted_packets_come_whole_in_their_order_and_in_batches";
    let is_second = |line: &str| line.starts_with("packet mark2");
    let other_first = |line: &str| with(line, "mark1 2 0x7 3", "mark2 4 0x7 6");
    let not_yet = |line: &str| lines(&["dequeue port1 4 - 0x0 0", line]);
    refuses(&[
        (
            POSTED,
            is_posted,
            |line| with(line, " 3 ", " 4 "),
            "but here it is",
        ),
        (
            POSTED,
            is_second,
            |line| with(line, "mark2", "mark1"),
            "no such packet",
        ),
        (POSTED, is_posted, other_first, "no such packet"),
        (POSTED, is_dequeue, not_yet, "is due"),
    ]);
}

/// A trace that somebody has sent: `AMPE_TRACE=file`.
#[test]
fn a_trace_from_elsewhere_is_checked() {
    let Some(path) = std::env::var_os("AMPE_TRACE") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let trace = crate::verify::Trace::parse(&text).unwrap();
    println!("{:#?}", trace.check());
}
