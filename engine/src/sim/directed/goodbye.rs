//! A peer that closes its sending side behind its goodbye, and goes on reading.

use std::time::Duration;

use super::super::world::least_options;
use super::peer::Peer;
use super::{finish, plain, post_signal, reason, until};
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

const BEFORE: usize = 60;
const BEHIND: usize = 5;

#[test]
fn who_closes_its_side_behind_its_goodbye_gets_all_that_it_is_owed() {
    let (mut world, address) = plain(vec![least_options()], 9000);
    let mut peer = Peer::greet(&mut world, &address);
    let channel = peer.channel;
    for _ in 0..BEFORE {
        assert!(post_signal(&mut world, 0, channel, 2000));
    }
    let goodbye = frame(OpCode::ByeRequest, 2, b"");
    assert_eq!(peer.write(&mut world, &goodbye), goodbye.len());
    peer.shut(&mut world);
    until(&mut world, |world| world.members[0].has_bye());
    // The application takes its time, and has more to say.
    let begin = world.now;
    let later = world.now + Duration::from_millis(1500);
    world.pass_until(later);
    for _ in 0..BEHIND {
        assert!(post_signal(&mut world, 0, channel, 2000));
    }
    world.with_member(0, |member, context| member.answer_byes(context));
    while !peer.saw_end {
        let soon = world.now + Duration::from_millis(10);
        peer.read(&mut world, 1500);
        world.pass_until(soon);
        world.with_member(0, |member, context| member.receive(context, 100));
    }
    peer.close(&mut world, false);
    until(&mut world, |world| reason(world, 0, channel).is_some());
    let took = world.now - begin;
    println!(
        "{} frames were read; ended after {took:?}",
        peer.frames.len()
    );
    assert_eq!(reason(&world, 0, channel), Some(Reason::Bye));
    // Two more: the answers to its hello and to its goodbye, which is the last.
    assert_eq!(
        peer.frames.len(),
        BEFORE + BEHIND + 2,
        "P2: it was owed more"
    );
    assert_eq!(peer.frames.last(), Some(&OpCode::ByeResponse));
    assert!(world.ledger.accounts[&(0, channel)].returned.is_empty());
    println!("{}", finish(world));
}
