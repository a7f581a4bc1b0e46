//! A peer that sends a message of the largest size a little at a time.

use std::time::Duration;

use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::super::checks::PASS;
use super::super::world::least_options;
use super::peer::Peer;
use super::{connect, finish, peer_of, plain, post_signal, reason, received, until};

const TRICKLED: usize = 0;
const HONEST: usize = 1;

/// Sends `chunk` bytes each time, keeping within the frame timeout. An honest peer sends beside it.
/// Returns how many frame timeouts it lasted.
fn trickle(chunk: usize) -> f64 {
    let options = least_options();
    let most = options.frame_timeout;
    let (mut world, address) = plain(vec![options.clone(), options], 200_000);
    let honest = connect(&mut world, HONEST, &address);
    let theirs = peer_of(&world, HONEST, honest);
    let peer = Peer::greet(&mut world, &address);
    let largest = frame(OpCode::Signal, 2, &[0xA5; 65_535]);
    // All but the last byte, at its own speed.
    let mut left = &largest[..largest.len() - 1];
    let begin = world.now;
    let mut expected = received(&world, TRICKLED, theirs);
    let mut longest = Duration::ZERO;
    while reason(&world, TRICKLED, peer.channel).is_none() {
        let part = left.len().min(chunk);
        left = &left[peer.write(&mut world, &left[..part])..];
        let posted_at = world.now;
        for _ in 0..3 {
            assert!(post_signal(&mut world, HONEST, honest, 60_000));
            expected += 1;
            until(&mut world, |world| {
                received(world, TRICKLED, theirs) == expected
            });
        }
        longest = longest.max(world.now - posted_at);
        world.pass_until(posted_at + most.mul_f64(0.98));
        world.with_member(TRICKLED, |member, context| member.receive(context, 100));
        assert!(
            world.now <= begin + most * 9 + PASS,
            "P3: it holds its part of the budget for more than nine frame timeouts"
        );
    }
    let ended = reason(&world, TRICKLED, peer.channel);
    assert_eq!(ended, Some(Reason::ReceiveTimedOut));
    assert!(longest < most, "P6: the honest one waits {longest:?}");
    let lasted = (world.now - begin).as_secs_f64() / most.as_secs_f64();
    println!(
        "{chunk} bytes at a time last {lasted:.2} frame timeouts, {expected} others came, within {longest:?}"
    );
    println!("{}", finish(world));
    lasted
}

#[test]
fn who_sends_a_byte_now_and_then_ends_and_others_are_served() {
    assert!(trickle(1) <= 2.0);
}

#[test]
fn who_sends_just_fast_enough_ends_within_nine_frame_timeouts() {
    let lasted = trickle(65_551_usize.div_ceil(8));
    assert!(
        lasted > 7.0,
        "as slow as it was, it had {lasted} frame timeouts"
    );
}
