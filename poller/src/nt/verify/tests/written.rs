//! Traces written by hand: how each line is judged by those before it.

use super::replay;
use crate::nt::verify::trace::Line;

/// A socket whose polls' packets go to the first of two ports, and one such poll that was cancelled.
const CANCELLED: &[&str] = &[
    "# a section",
    "opened socket1",
    "create port1",
    "create port2",
    "associate socket1 port1 5 0x0",
    "skip socket1 0x0",
    "submit poll1 socket1 socket1 0x001 9223372036854775807 0x103 -",
    "cancel poll1 socket1 0x0",
];
const ITS_PACKET: &[&str] = &["dequeue port1 1 - 0x0 1", "packet poll1 5 0xc0000120 0 -"];
const TWO_POSTS: &[&str] = &[
    "create port1",
    "post port1 mark1 2 0x7 3 0x0",
    "post port1 mark2 2 0x7 3 0x0",
    "dequeue port1 4 0 0x0 2",
];

/// The line that is refused, if one is, and why.
fn refusal(lines: &[&[&str]]) -> Option<(usize, String)> {
    let lines = lines.concat();
    let parsed = lines.iter().map(|line| Line::parse(line).expect(line));
    let mut refusals = replay(&parsed.collect::<Vec<_>>()).refusals;
    assert!(refusals.len() <= 1);
    refusals.pop()
}

#[track_caller]
fn refuses(lines: &[&[&str]], why: &str) {
    let last = lines.iter().map(|lines| lines.len()).sum();
    let refusal = refusal(lines);
    let is_so = refusal
        .as_ref()
        .is_some_and(|(at, said)| *at == last && said.contains(why));
    assert!(is_so, "{why}: {refusal:?}");
}

#[test]
fn what_was_told_to_end_is_due_at_its_own_port_once_that_was_waited_for() {
    assert_eq!(refusal(&[CANCELLED, ITS_PACKET]), None);
    for nothing in [
        "dequeue port1 1 0 0x0 0",
        "dequeue port1 1 9999 0x0 0",
        "dequeue port2 1 - 0x0 0",
        "dequeue port2 1 10000 0x0 0",
        "dequeue port1 1 - 0xc0000017 -",
    ] {
        assert_eq!(
            refusal(&[CANCELLED, &[nothing], ITS_PACKET]),
            None,
            "{nothing}"
        );
    }
    for nothing in ["dequeue port1 1 - 0x0 0", "dequeue port1 1 10000 0x0 0"] {
        refuses(&[CANCELLED, &[nothing]], "the packet of poll1 is due");
    }
}

#[test]
fn what_was_posted_comes_in_its_order() {
    let (first, second) = ("packet mark1 2 0x7 3 -", "packet mark2 2 0x7 3 -");
    assert_eq!(refusal(&[TWO_POSTS, &[first, second]]), None);
    refuses(&[TWO_POSTS, &[second]], "no such packet");
    refuses(&[TWO_POSTS, &[first, first]], "no such packet");
}

#[test]
fn a_name_is_given_once() {
    for opened in [
        "opened socket1",
        "duplicated socket1 socket1",
        "create port1",
        "open helper1",
    ] {
        let before = ["opened socket1", "create port1", "open helper1"];
        refuses(&[&before, &[opened]], "is open already");
    }
    refuses(&[&["duplicated socket2 socket1"]], "socket1 is not open");
    refuses(&[&["shared socket1"]], "socket1 is not open");
}

/// A socket that is not for overlapped operations is taken on by no port, and one that has a port by no other.
#[test]
fn that_a_file_is_taken_on_by_no_port_is_told_unless_it_has_one() {
    let choices = |lines: &[&str]| {
        let parsed = lines.iter().map(|line| Line::parse(line).expect(line));
        let replay = replay(&parsed.collect::<Vec<_>>());
        assert_eq!(replay.refusals, []);
        replay.choices.into_iter().collect::<Vec<_>>()
    };
    let refused = "associate socket1 port1 5 0xc000000d";
    let lines = ["opened socket1", "create port1", refused];
    assert_eq!(choices(&lines), [("files not taken on by a port", 1)]);
    let taken = "associate socket1 port1 5 0x0";
    assert_eq!(
        choices(&["opened socket1", "create port1", taken, refused]),
        []
    );
}

#[test]
fn a_poll_of_what_is_not_open_is_refused_by_any_kernel() {
    let poll = |status: &str| {
        format!("submit poll1 helper1 nothing1 0x001 9223372036854775807 {status} -")
    };
    let helper = [
        "create port1",
        "open helper1",
        "associate helper1 port1 5 0x0",
    ];
    for error in ["0xc0000008", "0xc000000d"] {
        assert_eq!(refusal(&[&helper, &[&poll(error)]]), None);
    }
    for taken in ["0x103", "0x0"] {
        refuses(&[&helper, &[&poll(taken)]], "a poll is refused here");
    }
}
