//! Connections that the system refuses to poll.

use super::refused::refuse;
use super::*;
use crate::driver::Limits;
use crate::driver::rests::{Rest, Rests};
use crate::driver::world::World;
use crate::protocol::Wanted;

#[test]
fn refusals_are_one_trouble_while_they_come_within_a_second() {
    let mut bench = Bench::new();
    let (key, _peer) = connected(&mut bench);
    let (start, patience) = (Instant::now(), Duration::from_secs(10));
    let mut rests_at = |millis| {
        let at = start + Duration::from_millis(millis);
        bench.sockets.rest_polling(key, at, patience)
    };
    for millis in (0..10_000).step_by(999) {
        assert!(rests_at(millis));
    }
    assert!(!rests_at(10_000), "it was refused for as long as that");
}

#[test]
fn a_refusal_a_second_after_the_last_is_another_trouble() {
    let mut bench = Bench::new();
    let (key, _peer) = connected(&mut bench);
    let (start, patience) = (Instant::now(), Duration::from_secs(2));
    for seconds in 0..10 {
        let at = start + Duration::from_secs(seconds);
        assert!(bench.sockets.rest_polling(key, at, patience));
    }
}

#[test]
fn of_what_has_arrived_where_it_cannot_be_polled_so_many_reads_are_made() {
    let mut bench = Bench::new();
    let (key, mut peer) = connected(&mut bench);
    let bytes = frame(OpCode::Signal, 0, &[7; 84]);
    bench.driver.limit(Limits {
        bytes_per_read: bytes.len(),
        ..LIMITS
    });
    peer.write_all(&bytes.repeat(40)).unwrap();
    refuse(&mut bench, key);
    let readable = Wanted {
        readable: true,
        writable: false,
    };
    bench.sockets.declare(key, readable);
    let mut received = 0;
    while matches!(bench.event(), Event::Signal(_)) {
        received += 1;
    }
    assert_eq!(received, 16);
}

/// Whatever is declared meanwhile: asking again at once would be in vain.
#[test]
fn who_rests_is_not_polled_before_its_rest_is_over() {
    let mut bench = Bench::new();
    let (key, _peer) = connected(&mut bench);
    refuse(&mut bench, key);
    let wanted = Wanted {
        readable: true,
        writable: false,
    };
    assert!(bench.sockets.rest_polling(key, Instant::now(), PATIENCE));
    bench.sockets.declare(key, wanted);
    bench.sockets.world.wait(Some(Instant::now())).unwrap();
    assert!(bench.sockets.world.next_report().is_none());
    bench.sockets.go_on_polling(key);
    bench.sockets.world.wait(Some(Instant::now())).unwrap();
    assert!(
        bench
            .sockets
            .world
            .next_report()
            .is_some_and(|report| report.refusal.is_some())
    );
}

#[test]
fn a_rest_is_over_when_its_time_has_passed_and_not_before() {
    let (mut rests, now) = (Rests::default(), Instant::now());
    let key = RecordKey {
        index: 1,
        generation: 1,
    };
    rests.begin(key, Rest::Sending, now);
    let over = rests.next().unwrap();
    assert!(over > now);
    assert_eq!(rests.pop_due(over - Duration::from_nanos(1)), None);
    assert_eq!(rests.pop_due(over), Some((key, Rest::Sending)));
    assert_eq!(rests.next(), None);
}

/// It is not late whose bytes are here.
#[test]
fn for_whom_it_is_time_so_many_reads_are_made_and_three_in_any_case() {
    for (bytes_left, reads) in [(1 << 20, 16), (250, 3), (350, 4), (0, 3)] {
        let mut bench = Bench::new();
        let (key, mut peer) = connected(&mut bench);
        let bytes = frame(OpCode::Signal, 0, &[7; 84]);
        bench.driver.limit(Limits {
            bytes_per_read: bytes.len(),
            ..LIMITS
        });
        peer.write_all(&bytes.repeat(20)).unwrap();
        await_arrived(&bench, key, 20 * bytes.len());
        bench.bytes_left = bytes_left;
        bench.read_what_came(key, Instant::now());
        let frames = bench.core.audit().connections[0].frames_started;
        assert_eq!(frames, reads, "{bytes_left} bytes left");
    }
}
