//! Handshakes over a network that takes little at once, and what comes behind one before it is admitted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::address::Address;
use crate::options::{Admission, ListenOptions};
use crate::post::Post;
use crate::reason::Reason;
use crate::tls::fake;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::super::checks::PASS;
use super::super::world::{World, least_options};
use super::peer::Peer;
use super::{connect, finish, plain_at, until};

/// Another listener, which has the application asked whom to admit.
fn ask(world: &mut World) -> Address {
    let any = "tls://127.0.0.1:0".parse().expect("an address");
    let options = ListenOptions {
        admission: Admission::Ask,
        ..ListenOptions::default()
    };
    world.with_member(0, |member, context| {
        let post = Post::welcome(&any, member.posting.message()).listening_with(&options);
        let listener = member.post(context, post);
        member.asking.extend(listener);
    });
    until(world, |world| world.members[0].listening.len() == 2);
    world.members[0].listening[1].clone()
}

#[test]
fn a_handshake_of_which_the_system_takes_little_at_once_is_finished() {
    for asks in [false, true] {
        // Less than what either end has to say.
        let options = vec![least_options(), least_options()];
        let (mut world, address) = plain_at("tls://127.0.0.1:0", options, 30);
        let address = match asks {
            true => ask(&mut world),
            false => address,
        };
        connect(&mut world, 1, &address);
        finish(world);
    }
}

/// Nobody has decided about this one, which says what it has to say.
fn undecided(says: &[u8]) -> (World, Peer) {
    let (mut world, _) = plain_at("tls://127.0.0.1:0", vec![least_options()], 200_000);
    let address = ask(&mut world);
    let peer = Peer::dial(&mut world, &address);
    a_while(&mut world);
    assert_eq!(peer.write(&mut world, says), says.len());
    a_while(&mut world);
    (world, peer)
}

/// The application receives nothing meanwhile.
fn a_while(world: &mut World) {
    let soon = world.now + PASS;
    world.pass_until(soon);
}

/// The application admits who has come.
fn decide(world: &mut World) {
    assert!(world.with_member(0, |member, context| member.receive(context, 1)));
}

#[test]
fn who_speaks_before_it_is_admitted_keeps_nobody_awake_and_is_heard_then() {
    // More than is read with the handshake: there is something to be read all the time.
    let hello = frame(OpCode::HelloRequest, 1, &[7; 5000]);
    let (mut world, peer) = undecided(&fake::client_says(&hello));
    let before = world.nodes[0].passes();
    let later = world.now + Duration::from_millis(150);
    world.pass_until(later);
    assert!(world.nodes[0].passes() - before < 5);
    decide(&mut world);
    until(&mut world, |world| world.members[0].channels.len() == 1);
    peer.close(&mut world, true);
    finish(world);
}

fn ended_before_hello(world: &World) -> u64 {
    let counters = &world.nodes[0].shared.counters;
    counters.ended_before_hello.load(Ordering::Relaxed)
}

#[test]
fn who_leaves_before_it_is_admitted_is_seen_to_leave() {
    let all = fake::client_says(b"");
    for is_abortive in [false, true] {
        let (mut world, mut peer) = undecided(&all);
        peer.take(&mut world); // else its system ends it by a reset
        assert_eq!(ended_before_hello(&world), 0);
        peer.close(&mut world, is_abortive);
        a_while(&mut world);
        assert_eq!(ended_before_hello(&world), 1);
        finish(world);
    }
}

#[test]
fn who_has_spoken_and_leaves_in_order_before_it_is_admitted_is_heard() {
    let all = [
        frame(OpCode::HelloRequest, 1, b""),
        frame(OpCode::Signal, 2, b""),
    ];
    let all = [fake::client_says(&all.concat()), fake::end()].concat();
    let (mut world, mut peer) = undecided(&all);
    peer.take(&mut world);
    peer.close(&mut world, false);
    a_while(&mut world);
    assert_eq!(ended_before_hello(&world), 0);
    decide(&mut world);
    let closed = |world: &World| {
        let mut accounts = world.ledger.accounts.values();
        accounts.find_map(|it| Some((it.received, it.closed.as_ref()?.reason())))
    };
    until(&mut world, |world| closed(world).is_some());
    assert_eq!(closed(&world), Some((2, Reason::PeerDisconnected)));
    finish(world);
}

/// Neither of who connects, nor of who is connected to, before it is admitted or not.
#[test]
fn a_handshake_for_which_there_is_no_memory_goes_on_once_there_is() {
    for (dials, asks) in [(true, false), (false, false), (false, true)] {
        let options = vec![least_options(), least_options()];
        let (mut world, address) = plain_at("tls://127.0.0.1:0", options, 200_000);
        let address = match asks {
            true => ask(&mut world),
            false => address,
        };
        world.net.borrow_mut().temper.shortages = 100;
        let peer = if dials {
            world.with_member(1, |member, context| member.connect(context, &address));
            None
        } else {
            let peer = Peer::dial(&mut world, &address);
            a_while(&mut world);
            let hello = fake::client_says(&frame(OpCode::HelloRequest, 1, b""));
            let (first, rest) = hello.split_at(44); // a record
            assert_eq!(peer.write(&mut world, first), first.len());
            Some((peer, rest.to_vec()))
        };
        let later = world.now + Duration::from_millis(50);
        world.pass_until(later);
        let peer = peer.map(|(peer, rest)| {
            // It lies there unread meanwhile.
            assert_eq!(peer.write(&mut world, &rest), rest.len());
            peer
        });
        let later = world.now + Duration::from_millis(50);
        world.pass_until(later);
        let passes = [0, 1].map(|node| world.nodes[node].passes());
        assert!(passes.iter().all(|&passes| passes < 50), "{passes:?}");
        world.net.borrow_mut().temper.shortages = 0;
        until(&mut world, |world| world.members[0].channels.len() == 1);
        if let Some(peer) = peer {
            peer.close(&mut world, true);
        }
        finish(world);
    }
}
