//! What one pass does for a connection, and what it leaves for the next.

use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::Bench;

#[test]
fn what_follows_a_hello_in_one_read_is_taken_with_it() {
    let mut bench = Bench::new();
    let (_, listener) = bench.listen();
    let key = bench.accept(listener);
    let mut bytes = frame(OpCode::HelloRequest, 1, b"hi");
    bytes.extend(frame(OpCode::Signal, 0, b"and more"));
    bench.feed(key, &bytes);
    assert!(bench.held.is_empty());
}

/// However often it was touched meanwhile: the others have their turn.
#[test]
fn who_has_much_to_send_writes_once_a_pass() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    for _ in 0..12 {
        let message = bench.posting.message().with_body(&[1; 60_000]).unwrap();
        bench.post(message.signal(channel));
    }
    bench.pass();
    let first = bench.frames(key).len();
    assert!((1..12).contains(&first), "one write takes no more");
    bench.pass();
    assert_eq!(first + bench.frames(key).len(), 12);
}
