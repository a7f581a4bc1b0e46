//! How a frame arrives.

use proptest::prelude::*;

use super::*;
use crate::event::Received;
use crate::protocol::ReadPlan;
use crate::protocol::budget::Starved;
use crate::wire::test_frames::header;

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

/// Whether a peer is fast enough that sends so much of a frame of `len` bytes in each timeout.
fn is_fast_enough(mut it: Alone, len: usize, per_timeout: usize) -> bool {
    let mut rest = begun(&mut it, len, Header::LEN);
    let timeout = it.options.frame_timeout;
    for part in [2, 4] {
        it.later(timeout / part);
        let bytes: Vec<u8> = rest.drain(..per_timeout).collect();
        goes_on(&mut it, &bytes);
        it.later(timeout - timeout / part);
    }
    !it.connection.has_ended()
}

/// One for which large frames are charged once their first part is here.
fn short_of_budget() -> Alone {
    let mut it = Alone::new();
    it.budget = Budget::new(20_000, 1 << 20);
    it.budget.open(0);
    it
}

#[test]
fn an_eighth_of_a_frame_in_each_timeout_is_just_fast_enough() {
    assert!(is_fast_enough(Alone::new(), 1600, 200));
    assert!(!is_fast_enough(Alone::new(), 1600, 199));
}

#[test]
fn it_is_just_fast_enough_too_where_the_frame_is_not_charged_yet() {
    assert!(is_fast_enough(short_of_budget(), 64_000, 8_000));
    assert!(!is_fast_enough(short_of_budget(), 64_000, 7_999));
}

#[test]
fn silence_is_measured_from_when_something_was_heard_last() {
    let mut it = Alone::new();
    let timeout = it.options.frame_timeout;
    let rest = begun(&mut it, 1600, Header::LEN);
    it.later(timeout / 2);
    goes_on(&mut it, &rest[..800]);
    assert_eq!(it.wait_for_end(), timeout);
}

#[test]
fn where_the_budget_runs_short_a_large_frame_is_charged_with_its_first_16_kib() {
    let mut it = short_of_budget();
    let rest = begun(&mut it, 60_000, Header::LEN + 16 * 1024 - 1);
    assert_eq!(it.budget.used(), 0);
    goes_on(&mut it, &rest[..1]);
    assert!(it.budget.used() > 0);
    let mut it = short_of_budget();
    begun(&mut it, 60_000, Header::LEN + 16 * 1024);
    assert!(it.budget.used() > 0, "all at once");
}

#[test]
fn who_waits_for_its_own_share_waits_until_that_allows_its_frame() {
    let mut it = Alone::new();
    it.budget = Budget::new(1 << 20, 5000);
    it.budget.open(0);
    for _ in 0..3 {
        it.receive(OpCode::Signal, 0, &[7; 500]);
    }
    it.receive(OpCode::Signal, 0, &[7; 1500]);
    assert_eq!(it.connection.inbound().starved(), Some(Starved::ByShare));
    it.act(|it, context| it.release(1000, context));
    assert_eq!(it.connection.inbound().starved(), Some(Starved::ByShare));
    it.act(|it, context| it.release(1000, context));
    assert!(matches!(
        it.connection.inbound().starved(),
        Some(Starved::InLine(_))
    ));
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

/// How long a frame took before it waited here is not held against the peer.
#[test]
fn a_frame_that_was_served_is_measured_from_then_on() {
    let mut it = Alone::new();
    let timeout = it.options.frame_timeout;
    it.budget = Budget::new(1500, 1 << 20);
    let budget_key = it.budget.open(0);
    let asking = crate::protocol::budget::Asking {
        key: RecordKey {
            index: 2,
            generation: 2,
        },
        budget_key,
        held: &mut 0,
    };
    it.budget.charge(asking, 1500).unwrap();
    let rest = begun(&mut it, 500, 5);
    it.later(Duration::from_secs(1));
    goes_on(&mut it, &rest[..Header::LEN - 5]);
    assert!(it.connection.is_starved());
    it.later(timeout - Duration::from_secs(2));
    it.budget.release(budget_key, 1500);
    let (_, cost) = it.budget.serve_next().unwrap();
    it.act(|it, context| it.serve(cost, context));
    assert_eq!(it.wait_for_end(), timeout);
}

type Said = (OpCode, u64, bool, u8, Vec<u8>, Vec<u8>);

/// What an event says of a message.
fn said(event: &Event) -> Said {
    let received = match event {
        Event::Signal(signal) => &**signal,
        Event::Request(request) => &**request,
        Event::Response(received) => received,
        other => panic!("unexpected {other:?}"),
    };
    let text_headers = received.text_headers().as_bytes().to_vec();
    let body = received.body().to_vec();
    let Received {
        op_code, id, more, ..
    } = *received;
    (op_code, id, more, received.status(), text_headers, body)
}

#[derive(Debug, PartialEq)]
struct Arrived {
    messages: Vec<Said>,
    held: usize,
    charged: usize,
    received: u64,
    confirmed: u64,
    reason: Option<Reason>,
    used: Vec<usize>,
}

/// Has `bytes` arrive in pieces, where the budget is `budget`, for a receiver in this thread or in another.
fn arrive(bytes: &[u8], pieces: &[usize], budget: usize, is_received_here: bool) -> Arrived {
    let mut it = Alone::new();
    it.is_received_here = is_received_here;
    it.budget = Budget::new(budget, budget);
    it.budget.open(0);
    for id in 2..10 {
        it.post(OpCode::Request, id, b"");
    }
    it.write(usize::MAX);
    let (mut rest, mut used) = (bytes, Vec::new());
    for &piece in pieces {
        let piece = &rest[..piece.min(rest.len())];
        let count = it.act(|it, context| it.receive(piece, context));
        used.push(count);
        rest = &rest[count..];
    }
    let (held, charged) = (it.connection.inbound.held(), it.budget.used());
    let events: Vec<Event> = it.events.drain().collect();
    let account = it.connection.account();
    let is_closed = it.connection.has_ended();
    let messages = events.iter().map(said).collect();
    drop(events);
    let mut released = Vec::new();
    it.pool.take_released(&mut released, None);
    let sum: usize = released.iter().map(|(_, cost)| cost).sum();
    assert!(sum <= held, "no more is given back than was charged");
    if !it.connection.inbound.is_in_content() {
        let waits = it.connection.inbound.is_mid_frame();
        assert!(
            waits || sum == held,
            "all is given back where nothing waits"
        );
    }
    Arrived {
        messages,
        held,
        charged,
        received: account.received,
        confirmed: account.confirmed,
        reason: is_closed.then(|| it.connection.closed().reason()),
        used,
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let op_code = prop_oneof![
        5 => Just(OpCode::Signal),
        5 => Just(OpCode::Request),
        5 => Just(OpCode::Response),
    ];
    let len = prop_oneof![8 => 0..300usize, 1 => 1000..1100usize, 1 => 15_000..40_000usize];
    let headers = prop_oneof![Just(&b""[..]), Just(&b"Name:value\r\n"[..])];
    (op_code, any::<bool>(), 0..12u64, len, headers, 0..400u32).prop_map(
        |(op_code, more, id, len, headers, odd)| {
            let mut header = header(op_code, id.max(1), len);
            header.more = more;
            header.text_headers_len = headers.len().try_into().unwrap();
            let mut bytes = header.encode().to_vec();
            bytes.extend_from_slice(headers);
            bytes.extend((0..len).map(|at| at as u8 ^ id as u8));
            if odd == 0 {
                bytes[2] = 0xFF; // no operation has this number
            }
            bytes
        },
    )
}

proptest! {
    /// Frames that are handed over together say, count, charge and give back what they do one by one.
    #[test]
    fn together_is_as_one_by_one(
        frames in prop::collection::vec(any_frame(), 1..60),
        pieces in prop::collection::vec(prop_oneof![1..40usize, 1..70_000usize], 1..40),
        budget in prop_oneof![Just(1usize << 24), 10_000..200_000usize],
    ) {
        let bytes = frames.concat();
        let together = arrive(&bytes, &pieces, budget, false);
        prop_assert_eq!(together, arrive(&bytes, &pieces, budget, true));
    }
}
