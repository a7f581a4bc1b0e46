//! Back-pressure: who may receive, who waits, and what nobody may forget meanwhile.

use crate::event::Event;
use crate::options::Options;
use crate::pool::MESSAGE_COST_MAX;
use crate::wire::OpCode;

use super::bench::{Bench, frame};

/// As much as the largest messages cost, twice: the least that an engine works with.
fn least() -> Options {
    Options {
        inbound_bytes: 2 * MESSAGE_COST_MAX,
        inbound_bytes_per_channel: 2 * MESSAGE_COST_MAX,
        ..Options::default()
    }
}

/// A body so long that the least budget takes three such messages, and not four.
const LARGE: usize = 65_000;

fn signal(body: &[u8]) -> Vec<u8> {
    frame(OpCode::Signal, 5, body)
}

/// Fills the inbound budget from one connection, up to less than a small message.
fn fill(bench: &mut Bench, key: crate::key::Key) -> Vec<Event> {
    let mut held = Vec::new();
    for len in [LARGE, LARGE, LARGE, 16_000, 16_000, 16_000] {
        assert!(bench.feed(key, &signal(&vec![7; len])).is_empty());
        bench.rest();
        held.extend(bench.events());
    }
    while !bench.is_starving() {
        bench.feed(key, &signal(b""));
        bench.rest();
        held.extend(bench.events());
    }
    held
}

#[test]
fn a_frame_without_content_that_waited_for_budget_is_delivered_at_once() {
    let mut bench = Bench::with(least());
    let (_, listener) = bench.listen();
    let (key, hello) = bench.greet(listener);
    let mut held = fill(&mut bench, key);
    bench.is_awake();
    drop(held.pop());
    assert!(bench.is_awake(), "a drop wakes a core that starves");
    bench.wait(); // serves the frame: nothing more has to arrive for it
    assert!(bench.is_awake(), "what was received is to be delivered");
    bench.rest();
    assert!(matches!(bench.event(), Event::Signal(_)));
    drop((hello, held));
}
