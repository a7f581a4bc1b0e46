//! The checker is shown to fail: ledgers with one fault each, which it has to name.

use super::book::{self, Line};
use super::checker::{self, Fault, Kind, Ledger};

/// Of three processes: the first accepts, the second connects to it twice, and the third was killed
/// in the middle of a post.
const ACCEPTS: &str = "\
listen 1/1
listening 1/1 tcp://127.0.0.1:7
received 2/2 hello 1.0.1 5
intent 0 0.0.1 accept 2/2
posted 0 0.0.1 2/2 5
received 2/2 request 1.0.2 6
received 2/2 signal 1.1.1 7
intent 0 0.0.2 response 2/2
posted 0 0.0.2 2/2 6
received 2/2 signal 1.0.3 8
received 2/2 bye 1.0.4 9
left 2/2
closed 2/2 Bye 3 3 0 0 5
received 3/3 hello 1.0.5 10
received 3/3 signal 1.0.6 11
closed 3/3 ConnectionLost 0 0 0 0 2
received 4/4 hello 2.0.1 3
received 4/4 signal 2.0.2 4
received 4/4 signal 2.0.3 5
closed 4/4 PeerDisconnected 0 0 0 0 3
ending
closed 1/1 GroupClosed 0 0 0 0 0
ended
";

const CONNECTS: &str = "\
intent 0 1.0.1 hello -
posted 0 1.0.1 2/2 5
intent 0 1.0.2 request 2/2
posted 0 1.0.2 2/2 6
intent 0 1.0.3 signal 2/2
intent 1 1.1.1 signal 2/2
posted 1 1.1.1 2/2 7
posted 0 1.0.3 2/2 8
intent 0 1.0.4 bye 2/2
posted 0 1.0.4 2/2 9
received 2/2 accept 0.0.1 5
received 2/2 response 0.0.2 6
received 2/2 bye-response - 9
closed 2/2 Bye 5 5 0 5 3
intent 0 1.0.5 hello -
posted 0 1.0.5 3/3 10
intent 0 1.0.6 signal 3/3
posted 0 1.0.6 3/3 11
intent 0 1.0.7 signal 3/3
posted 0 1.0.7 3/3 12
intent 0 1.0.8 signal 3/3
posted 0 1.0.8 3/3 13
intent 0 1.0.9 signal 3/3
posted 0 1.0.9 3/3 14
returned 3/3 signal 1.0.8 13 ConnectionLost
returned 3/3 signal 1.0.9 14 ConnectionLost
closed 3/3 ConnectionLost 5 3 2 0 0
intent 0 1.0.8 signal 2/2
refused 0 1.0.8 ChannelClosed
ending
ended
";

const IS_KILLED: &str = "\
intent 0 2.0.1 hello -
posted 0 2.0.1 2/2 3
intent 0 2.0.2 signal 2/2
posted 0 2.0.2 2/2 4
intent 0 2.0.3 signal 2/2
";

const TEXTS: [&str; 3] = [ACCEPTS, CONNECTS, IS_KILLED];

fn check(texts: &[String]) -> Vec<Fault> {
    let ledger = |text: &String| {
        let lines = book::parse(text).expect("a ledger");
        let survived = lines.last() == Some(&Line::Ended);
        Ledger { lines, survived }
    };
    let ledgers: Vec<Ledger> = texts.iter().map(ledger).collect();
    checker::check(&ledgers).0
}

fn healthy() -> Vec<String> {
    TEXTS.iter().map(|text| (*text).to_owned()).collect()
}

/// The faults when `old` is `new` in the ledger of a process.
#[track_caller]
fn faults_with(process: usize, old: &str, new: &str) -> Vec<Fault> {
    let mut texts = healthy();
    let count = texts[process].matches(old).count();
    assert_eq!(count, 1, "the place is meant: {old}");
    texts[process] = texts[process].replace(old, new);
    check(&texts)
}

#[track_caller]
fn names(kind: Kind, process: usize, old: &str, new: &str) {
    let faults = faults_with(process, old, new);
    let is_named = faults.iter().any(|fault| fault.kind == kind);
    assert!(is_named, "{kind:?} is not among {faults:#?}");
}

#[test]
fn what_adds_up_has_no_fault() {
    assert_eq!(check(&healthy()), []);
    for line in TEXTS.iter().flat_map(|text| text.lines()) {
        let read: Line = line.parse().expect("a line");
        assert_eq!(read.to_string(), line, "is read as it was written");
    }
}

#[test]
fn a_line_that_a_kill_cut_off_counts_for_nothing() {
    let cut = "intent 0 2.0.3 signal 2/2\nposted 0 2.0";
    assert_eq!(faults_with(2, "intent 0 2.0.3 signal 2/2\n", cut), []);
}

#[test]
fn what_a_killed_process_was_posting_may_come_or_not() {
    let never_came = faults_with(
        0,
        "received 4/4 signal 2.0.3 5\nclosed 4/4 PeerDisconnected 0 0 0 0 3",
        "closed 4/4 PeerDisconnected 0 0 0 0 2",
    );
    assert_eq!(never_came, []);
    names(Kind::NeverPosted, 2, "intent 0 2.0.3 signal 2/2\n", "");
    // It was to go elsewhere.
    names(
        Kind::NeverPosted,
        2,
        "intent 0 2.0.3 signal 2/2",
        "intent 0 2.0.3 signal 3/3",
    );
}

#[test]
fn lost() {
    names(Kind::Lost, 0, "received 2/2 request 1.0.2 6\n", "");
    names(Kind::Lost, 0, "received 4/4 signal 2.0.2 4\n", "");
    if ampe::platform::is_wine() {
        return; // where a reset may look like an orderly end
    }
    // The stream ended in order, and not everything that was sent had come.
    names(
        Kind::Lost,
        0,
        "closed 3/3 ConnectionLost",
        "closed 3/3 PeerDisconnected",
    );
}

#[test]
fn received_twice() {
    let line = "received 2/2 signal 1.0.3 8\n";
    names(Kind::ReceivedTwice, 0, line, &line.repeat(2));
    let elsewhere = "closed 3/3 ConnectionLost 0 0 0 0 2";
    names(
        Kind::ReceivedTwice,
        0,
        elsewhere,
        &format!("received 3/3 signal 1.0.3 8\n{elsewhere}"),
    );
}

#[test]
fn out_of_order() {
    let (first, second) = (
        "received 3/3 hello 1.0.5 10\n",
        "received 3/3 signal 1.0.6 11\n",
    );
    let (straight, swapped) = ([first, second].concat(), [second, first].concat());
    names(Kind::OutOfOrder, 0, &straight, &swapped);
    // Between two threads there is no order.
    let (one, other) = (
        "received 2/2 request 1.0.2 6\n",
        "received 2/2 signal 1.1.1 7\n",
    );
    let (straight, swapped) = ([one, other].concat(), [other, one].concat());
    assert_eq!(faults_with(0, &straight, &swapped), []);
}

#[test]
fn received_and_never_posted() {
    let closed = "closed 3/3 ConnectionLost 0 0 0 0 2";
    names(
        Kind::NeverPosted,
        0,
        closed,
        &format!("received 3/3 signal 1.0.10 15\n{closed}"),
    );
    // Nor was what was refused.
    let mut texts = healthy();
    let refused = "intent 0 1.0.10 signal 3/3\nrefused 0 1.0.10 Full\nending";
    texts[1] = texts[1].replace("ending", refused);
    assert_eq!(check(&texts), []);
    texts[0] = texts[0].replace(closed, &format!("received 3/3 signal 1.0.10 15\n{closed}"));
    assert!(
        check(&texts)
            .iter()
            .any(|fault| fault.kind == Kind::NeverPosted)
    );
}

#[test]
fn received_on_another_channel() {
    names(
        Kind::WrongChannel,
        0,
        "received 3/3 signal 1.0.6 11",
        "received 4/4 signal 1.0.6 11",
    );
    // From a channel that never came about there.
    names(Kind::WrongChannel, 0, "received 3/3 hello 1.0.5 10\n", "");
}

#[test]
fn received_as_something_else() {
    names(
        Kind::Altered,
        0,
        "received 3/3 signal 1.0.6 11",
        "received 3/3 signal 1.0.6 12",
    );
    names(
        Kind::Altered,
        0,
        "received 3/3 signal 1.0.6 11",
        "received 3/3 request 1.0.6 11",
    );
}

#[test]
fn returned_and_received() {
    let closed = "closed 3/3 ConnectionLost 0 0 0 0 2";
    let came = format!("received 3/3 signal 1.0.7 12\nreceived 3/3 signal 1.0.8 13\n{closed}");
    names(Kind::ReturnedAndReceived, 0, closed, &came);
}

#[test]
fn returned_and_posted_again_is_received_once() {
    let mut texts = healthy();
    let refused = "refused 0 1.0.8 ChannelClosed";
    let again = "intent 0 1.0.10 hello -\nposted 0 1.0.10 5/5 20\n\
        intent 0 1.0.8 signal 5/5\nposted 0 1.0.8 5/5 13\nclosed 5/5 Aborted 2 2 0 0 0";
    texts[1] = texts[1].replace(refused, &format!("{refused}\n{again}"));
    let came = "received 5/5 hello 1.0.10 20\nreceived 5/5 signal 1.0.8 13\n\
        closed 5/5 ConnectionLost 0 0 0 0 2\nending";
    texts[0] = texts[0].replace("ending", came);
    assert_eq!(check(&texts), []);
    // The attempt that had come back arrived all the same.
    let closed = "closed 3/3 ConnectionLost 0 0 0 0 2";
    texts[0] = texts[0].replace(closed, &format!("received 3/3 signal 1.0.8 13\n{closed}"));
    let faults = check(&texts);
    for kind in [Kind::ReceivedTwice, Kind::ReturnedAndReceived] {
        assert!(faults.iter().any(|fault| fault.kind == kind), "{faults:#?}");
    }
}

#[test]
fn returned_wrongly() {
    let (first, second) = (
        "returned 3/3 signal 1.0.8 13 ConnectionLost\n",
        "returned 3/3 signal 1.0.9 14 ConnectionLost\n",
    );
    names(Kind::ReturnedUnposted, 1, second, &second.repeat(2));
    names(
        Kind::ReturnedUnposted,
        1,
        second,
        "returned 2/2 signal 1.0.9 14 ConnectionLost\n",
    );
    names(
        Kind::ReturnedUnposted,
        1,
        second,
        "returned 3/3 request 1.0.9 14 ConnectionLost\n",
    );
    let (straight, swapped) = ([first, second].concat(), [second, first].concat());
    names(Kind::ReturnedOutOfOrder, 1, &straight, &swapped);
    // One behind it was sent.
    names(
        Kind::ReturnedOutOfOrder,
        1,
        first,
        "returned 3/3 signal 1.0.7 12 ConnectionLost\n",
    );
}

#[test]
fn confirmed_and_not_received() {
    let closed = "closed 3/3 ConnectionLost 5 3 2 0 0";
    names(
        Kind::ConfirmedNotReceived,
        1,
        closed,
        "closed 3/3 ConnectionLost 5 3 2 3 0",
    );
    names(
        Kind::ConfirmedNotReceived,
        0,
        "received 2/2 bye 1.0.4 9\n",
        "",
    );
    let nobody = "ending\nclosed 5/5 ConnectionLost 1 1 0 1 0";
    let nobody = format!("intent 0 1.0.10 hello -\nposted 0 1.0.10 5/5 15\n{nobody}");
    names(Kind::ConfirmedNotReceived, 1, "ending", &nobody);
}

#[test]
fn answered_and_not_confirmed() {
    names(
        Kind::AnsweredNotConfirmed,
        1,
        "Bye 5 5 0 5 3",
        "Bye 5 5 0 4 3",
    );
}

#[test]
fn received_more_than_sent() {
    let closed = "closed 3/3 ConnectionLost 5 3 2 0 0";
    names(
        Kind::ReceivedMoreThanSent,
        1,
        closed,
        "closed 3/3 ConnectionLost 5 1 4 0 0",
    );
}

#[test]
fn closed_wrongly() {
    let closed = "closed 2/2 Bye 5 5 0 5 3\n";
    names(Kind::ClosedTwice, 1, closed, &closed.repeat(2));
    names(Kind::NotClosed, 1, closed, "");
    names(Kind::NotClosed, 0, "closed 1/1 GroupClosed 0 0 0 0 0\n", "");
    let late = "received 2/2 bye-response - 9\n";
    names(
        Kind::AfterClosed,
        1,
        &[late, closed].concat(),
        &[closed, late].concat(),
    );
}

#[test]
fn counted_wrongly() {
    let closed = "closed 3/3 ConnectionLost 5 3 2 0 0";
    names(
        Kind::Unbalanced,
        1,
        closed,
        "closed 3/3 ConnectionLost 5 4 2 0 0",
    );
    names(
        Kind::Unbalanced,
        1,
        closed,
        "closed 3/3 ConnectionLost 5 3 2 4 0",
    );
    names(
        Kind::PostedMiscounted,
        1,
        closed,
        "closed 3/3 ConnectionLost 6 4 2 0 0",
    );
    names(
        Kind::PostedMiscounted,
        1,
        closed,
        "closed 3/3 ConnectionLost 4 2 2 0 0",
    );
    names(Kind::PostedMiscounted, 0, "left 2/2\n", "");
    names(
        Kind::ReturnedMiscounted,
        1,
        closed,
        "closed 3/3 ConnectionLost 5 4 1 0 0",
    );
    names(
        Kind::ReceivedMiscounted,
        1,
        closed,
        "closed 3/3 ConnectionLost 5 3 2 0 1",
    );
}

#[test]
fn reported_by_the_process() {
    names(
        Kind::Reported,
        1,
        "ending",
        "fault 1.0.1 has other content\nending",
    );
}

#[test]
fn no_line_can_be_missing_or_be_there_twice() {
    // Those that say what no other line depends on; and a Bye left twice is only more uncertain.
    let is_free = |line: &str, is_doubled: bool| {
        let word = line.split(' ').next().expect("a word");
        ["listen", "listening", "ending", "ended"].contains(&word) || (is_doubled && word == "left")
    };
    for process in 0..TEXTS.len() {
        let lines: Vec<&str> = TEXTS[process].lines().collect();
        for at in 0..lines.len() {
            for is_doubled in [false, true] {
                if is_free(lines[at], is_doubled) {
                    continue;
                }
                let mut changed = lines.clone();
                match is_doubled {
                    true => changed.insert(at, lines[at]),
                    false => drop(changed.remove(at)),
                }
                let mut texts = healthy();
                texts[process] = changed.join("\n") + "\n";
                let faults = check(&texts);
                let what = if is_doubled { "twice" } else { "missing" };
                assert_ne!(faults, [], "process {process}, {what}: {}", lines[at]);
            }
        }
    }
}
