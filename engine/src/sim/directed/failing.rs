//! A connection that can be written to no more while it waits for budget.

use std::time::{Duration, Instant};

use crate::channel::Channel;
use crate::protocol::Core;
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::super::checks::{FAILED_LINGERS_MAX, PASS};
use super::super::world::{World, least_options};
use super::peer::Peer;
use super::{finish, plain, post_signal, reason, received, until};

const SENT_BY_PEER: u64 = 6;
const POSTED: usize = 5;

/// A peer sent more than the budget and reset the connection; what is posted then comes back.
fn failed_while_starved() -> (World, Channel, Instant) {
    let (mut world, address) = plain(vec![least_options()], 1 << 20);
    world.members[0].greed = 100;
    let peer = Peer::greet(&mut world, &address);
    let channel = peer.channel;
    for id in 0..SENT_BY_PEER {
        let frame = frame(OpCode::Signal, 2 + id, &[0xA5; 65_535]);
        assert_eq!(peer.write(&mut world, &frame), frame.len());
    }
    let starving = |world: &World| world.nodes[0].core().map(Core::audit).unwrap().starving;
    until(&mut world, |world| !world.step() || starving(world) == 1);
    peer.close(&mut world, true);
    for _ in 0..POSTED {
        assert!(post_signal(&mut world, 0, channel, 100));
    }
    let returned = |world: &World| world.ledger.accounts[&(0, channel)].returned.len();
    until(&mut world, |world| returned(world) == POSTED);
    assert_eq!(starving(&world), 1, "it waits for budget still");
    let failed_at = world.now;
    (world, channel, failed_at)
}

#[test]
fn who_fails_while_starved_ends_though_nothing_is_let_go_of() {
    let (mut world, channel, failed_at) = failed_while_starved();
    until(&mut world, |world| reason(world, 0, channel).is_some());
    let (after, got) = (world.now - failed_at, received(&world, 0, channel));
    println!(
        "ended after {after:?} with {got} messages of {}",
        SENT_BY_PEER + 1
    );
    assert_eq!(reason(&world, 0, channel), Some(Reason::ConnectionLost));
    let most = least_options().linger_timeout * FAILED_LINGERS_MAX + PASS;
    assert!(after <= most, "P3: it lived on for {after:?}");
    assert!(world.nodes[0].watch.failures > 0);
    println!("{}", finish(world));
}

/// It is not read from, and nothing is written to it: that it broke is asked for.
#[test]
fn who_fails_while_starved_and_has_nothing_to_send_ends_too() {
    let (mut world, address) = plain(vec![least_options()], 1 << 20);
    world.members[0].greed = 100;
    let peer = Peer::greet(&mut world, &address);
    for id in 0..SENT_BY_PEER {
        let frame = frame(OpCode::Signal, 2 + id, &[0xA5; 65_535]);
        assert_eq!(peer.write(&mut world, &frame), frame.len());
    }
    let starving = |world: &World| world.nodes[0].core().map(Core::audit).unwrap().starving;
    until(&mut world, |world| starving(world) == 1);
    peer.close(&mut world, true);
    until(&mut world, |world| reason(world, 0, peer.channel).is_some());
    let reason = reason(&world, 0, peer.channel);
    assert_eq!(reason, Some(Reason::ConnectionLost));
    finish(world);
}

#[test]
fn who_fails_while_starved_gets_what_had_come_once_there_is_budget() {
    let (mut world, channel, failed_at) = failed_while_starved();
    world.pass_until(failed_at + Duration::from_millis(300));
    // One message after the other is let go of, each well within a linger timeout.
    for _ in 0..SENT_BY_PEER {
        let until = world.now + Duration::from_millis(300);
        world.with_member(0, |member, context| {
            member.drop_one(context);
            member.receive(context, 100)
        });
        world.pass_until(until);
    }
    until(&mut world, |world| reason(world, 0, channel).is_some());
    let got = received(&world, 0, channel);
    println!(
        "ended after {:?} with {got} messages",
        world.now - failed_at
    );
    assert_eq!(got, SENT_BY_PEER + 1, "P2: what had come is lost");
    println!("{}", finish(world));
}
