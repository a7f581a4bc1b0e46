//! Closing a group while its inbox is full.

use std::time::Duration;

use super::super::checks::PASS;
use super::super::world::{World, least_options};
use super::peer::Peer;
use super::{finish, plain, post_signal, reason, until};
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

/// Three times as much as the budget holds.
const SENT_BY_PEER: u64 = 12;
const POSTED: usize = 40;
const WITHIN: Duration = Duration::from_secs(10);

/// All happens that is not a matter of timeouts: a connection that waits for budget looks for ever
/// whether it has broken.
fn a_while(world: &mut World) {
    let soon = world.now + Duration::from_millis(10);
    world.pass_until(soon);
}

/// Of a last word that is cut short nothing is left to read but that there was an end.
#[test]
fn an_abort_whose_words_the_system_takes_in_part_is_a_reset() {
    for (capacity, is_told) in [(9000, true), (600, false)] {
        let (mut world, address) = plain(vec![least_options()], capacity);
        let mut peer = Peer::greet(&mut world, &address);
        until(&mut world, |world| !world.step());
        peer.read(&mut world, 10_000);
        let channel = peer.channel;
        world.with_member(0, |member, context| {
            let words = member.message(context.rng, 900);
            member.post(context, words.abort(channel));
        });
        until(&mut world, |world| !world.step());
        let before = peer.frames.len();
        assert_eq!(peer.was_reset(&mut world), !is_told);
        if is_told {
            assert_eq!(peer.frames[before..], [OpCode::ByeSignal]);
        }
        assert_eq!(reason(&world, 0, channel), Some(Reason::Aborted));
        finish(world);
    }
}

#[test]
fn closing_hands_over_all_that_a_peer_sent_before_its_orderly_end() {
    let (mut world, address) = plain(vec![least_options()], 1 << 20);
    let mut peer = Peer::greet(&mut world, &address);
    let channel = peer.channel;
    for id in 0..SENT_BY_PEER {
        let frame = frame(OpCode::Signal, 2 + id, &[0xA5; 65_535]);
        assert_eq!(peer.write(&mut world, &frame), frame.len());
    }
    a_while(&mut world);
    peer.read(&mut world, 1000); // the answer to its hello
    peer.close(&mut world, false);
    a_while(&mut world);
    let begin = world.now;
    world.with_member(0, |member, context| {
        member.close(context.node, begin + WITHIN);
    });
    until(&mut world, |world| world.members[0].ended.is_some());
    let got = world.ledger.accounts[&(0, channel)].received;
    let took = world.now - begin;
    println!("{got} messages were reported, {took:?} after the close");
    assert_eq!(got, SENT_BY_PEER + 1, "P2: the report has not all");
    assert!(
        took <= PASS,
        "P3: nothing was left to wait for, and it took {took:?}"
    );
    println!("{}", finish(world));
}

#[test]
fn closing_ends_as_soon_as_nothing_is_left_to_send() {
    let (mut world, address) = plain(vec![least_options()], 9000);
    let mut peer = Peer::greet(&mut world, &address);
    let channel = peer.channel;
    let mut to_send = Vec::new();
    for id in 0..SENT_BY_PEER {
        to_send.extend(frame(OpCode::Signal, 2 + id, &[0xA5; 65_535]));
    }
    for _ in 0..POSTED {
        assert!(post_signal(&mut world, 0, channel, 1000));
    }
    // The inbox fills, as nothing is received.
    let mut sent = 0;
    loop {
        let soon = world.now + Duration::from_millis(1);
        world.pass_until(soon);
        match peer.write(&mut world, &to_send[sent..]) {
            0 => break,
            len => sent += len,
        }
    }
    assert!(sent < to_send.len(), "the budget holds all {sent} bytes");
    let begin = world.now;
    world.with_member(0, |member, context| {
        member.close(context.node, begin + WITHIN);
    });
    let mut read_all_at = None;
    while world.members[0].ended.is_none() {
        let soon = world.now + Duration::from_millis(1);
        peer.read(&mut world, 500);
        if sent < to_send.len() {
            sent += peer.write(&mut world, &to_send[sent..]);
        }
        if peer.saw_end && read_all_at.is_none() && sent == to_send.len() {
            read_all_at = Some(world.now);
            peer.close(&mut world, false);
        }
        world.pass_until(soon);
        world.with_member(0, |member, context| member.receive(context, 100));
    }
    let read_all_at = read_all_at.expect("P3: closing ended before the peer had");
    let (took, behind) = (world.now - begin, world.now - read_all_at);
    let account = &world.ledger.accounts[&(0, channel)];
    let (got, returned) = (account.received, account.returned.len());
    println!(
        "{got} messages were reported; closed after {took:?}, {behind:?} behind the peer's end"
    );
    assert_eq!((got, returned), (SENT_BY_PEER + 1, 0));
    assert_eq!(
        peer.frames.len(),
        POSTED + 1,
        "P1: the peer read too little"
    );
    assert!(behind <= PASS, "P3: it goes on for {behind:?}");
    assert_eq!(reason(&world, 0, channel), Some(Reason::GroupClosed));
    println!("{}", finish(world));
}
