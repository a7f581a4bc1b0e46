//! What budgets count is what the process holds.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ampe::{Engine, Event, Options, Post, PostError};

use crate::common::{PATIENCE, group};

const BUDGET: usize = 8 << 20;

/// What is allocated beside the messages: the reactor's free storage, and containers on their way
/// from one size to the next.
const BESIDE: usize = 2 << 20;

/// A channel is filled up whose peer does not read, with messages of one length: just above the
/// sizes of storage, where most of it is wasted, and at the sizes that people use. And with bodies that could be
/// shared, of which nobody else has one.
#[test]
fn messages_hold_no_more_than_they_are_charged_whatever_their_length() {
    let _alone = crate::alone();
    let mut options = Options::default();
    options.outbound_bytes = BUDGET;
    options.outbound_bytes_per_channel = BUDGET;
    options.pool_bytes = 0;
    let engine = Engine::start(options).unwrap();
    let lens = [
        0, 64, 240, 241, 1025, 4080, 4096, 4097, 8177, 8192, 8193, 16_384, 32_769, 65_535,
    ];
    let alone = lens.map(|len| (len, false));
    let sharing = [240, 369, 1025, 4096, 8177, 65_535].map(|len| (len, true));
    for (len, shares) in alone.into_iter().chain(sharing) {
        let (group, mut inbox) = group(&engine);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let channel = group.connect(&address.parse().unwrap()).unwrap();
        let _deaf = listener.accept().unwrap();
        let region = crate::region();
        let is_small = 16 + len <= if shares { 384 } else { 8208 };
        let apart = if shares && !is_small { 768 } else { 0 };
        let records = if is_small { 384 } else { 896 };
        let cost = 16 + len + records + apart;
        let mut posted = 0;
        // The system's buffers take their part before the budget is used up for good.
        loop {
            let mut message = group.message();
            message.resize_body(len).unwrap();
            if shares {
                message.share_body();
            }
            match group.post(message.signal(channel)) {
                Ok(_) => posted += 1,
                Err(refused) => {
                    assert!(matches!(refused.why, PostError::Full(_)));
                    // The HelloRequest may still be charged.
                    assert!(posted + 2 >= BUDGET / cost, "{posted} of {len} bytes");
                    let soon = Instant::now() + Duration::from_millis(100);
                    match inbox.recv_until(soon).unwrap() {
                        Some(Event::Opened(_) | Event::Room(_)) => {}
                        None => break,
                        other => panic!("unexpected {other:?}"),
                    }
                }
            }
        }
        let held = crate::held(&region);
        println!("{posted} messages of {len} bytes: {held} bytes are held");
        let most = BUDGET / 16 * 17 + BESIDE;
        assert!(held <= most, "{len} bytes: {held} held, {most} said");
        group.post(Post::abort(channel)).unwrap();
        let report = inbox.close(PATIENCE);
        let queued = report.returned.len();
        // What was queued in a run has a record by now, and is charged for it.
        let held = crate::held(&region);
        println!("{queued} of them were returned: {held} bytes are held");
        let most = most + BUDGET / 3 * 4;
        assert!(held <= most, "{len} bytes: {held} held, {most} said");
        assert!(queued * cost <= BUDGET + cost, "{queued} of {len} bytes");
    }
}
