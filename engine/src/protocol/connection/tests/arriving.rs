//! How a frame arrives.

use super::*;
use crate::protocol::ReadPlan;

/// Received so much of a signal whose frame has `len` bytes, and returns the rest.
fn begun(it: &mut Alone, len: usize, first: usize) -> Vec<u8> {
    let mut bytes = frame(OpCode::Signal, 0, &vec![7; len - Header::LEN]);
    let rest = bytes.split_off(first);
    it.act(|it, context| it.receive(&bytes, context));
    rest
}

fn goes_on(it: &mut Alone, bytes: &[u8]) {
    let used = it.act(|it, context| it.receive(bytes, context));
    assert_eq!(used, bytes.len());
}

/// Whether a peer is fast enough that sends so much of a frame of 1,600 bytes in each timeout.
fn is_fast_enough(per_timeout: usize) -> bool {
    let mut it = Alone::new();
    let mut rest = begun(&mut it, 1600, Header::LEN);
    let timeout = it.options.frame_timeout;
    for part in [2, 4, 8] {
        it.later(timeout / part);
        let bytes: Vec<u8> = rest.drain(..per_timeout).collect();
        goes_on(&mut it, &bytes);
        it.later(timeout - timeout / part);
    }
    !it.connection.has_ended()
}

#[test]
fn an_eighth_of_a_frame_in_each_timeout_is_just_fast_enough() {
    assert!(is_fast_enough(200));
    assert!(!is_fast_enough(199));
}

#[test]
fn what_lacks_16_kib_is_read_to_where_it_stays_and_what_lacks_less_is_not() {
    let mut it = Alone::new();
    let rest = begun(&mut it, Header::LEN + 16 * 1024 + 10, Header::LEN + 10);
    assert!(matches!(it.connection.read_plan(false), ReadPlan::Into(to) if to.len() == rest.len()));
    goes_on(&mut it, &rest[..1]);
    assert!(matches!(it.connection.read_plan(false), ReadPlan::Shared));
    let held_by_another = it.connection.read_plan(true);
    assert!(matches!(held_by_another, ReadPlan::Into(to) if to.len() == rest.len() - 1));
}
