//! A reactor that did not run for a while, as in a process that was stopped.

use crate::driver::{LIMITS, Limits};
use crate::tls::fake;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::super::world::{World, least_options};
use super::peer::Peer;
use super::{finish, plain, plain_at, reason, received, until};

const PEERS: usize = 20;
const AWAY: usize = 0;
const ATTEMPTS: usize = 5;

/// One read a pass: whose bytes wait for their turn is not late for it.
const FEW: Limits = Limits {
    bytes_per_pass: 1,
    messages_per_pass: usize::MAX,
    ..LIMITS
};

/// Time passes, and the engine does nothing.
fn away(world: &mut World, time: std::time::Duration) {
    world.now += time;
    world.net.borrow_mut().now = world.now;
}

#[test]
fn nobody_is_late_whose_bytes_came_while_the_reactor_was_away() {
    let options = least_options();
    let timeout = options.frame_timeout;
    let (mut world, address) = plain(vec![options], 200_000);
    world.nodes[AWAY].limit(FEW);
    let peers: Vec<Peer> = (0..PEERS)
        .map(|_| Peer::greet(&mut world, &address))
        .collect();
    let signal = frame(OpCode::Signal, 2, &[0xA5; 1000]);
    let (begin, rest) = signal.split_at(500);
    for peer in &peers {
        assert_eq!(peer.write(&mut world, begin), begin.len());
    }
    let soon = world.now + timeout / 10;
    world.pass_until(soon);
    away(&mut world, timeout / 2);
    for peer in &peers {
        assert_eq!(peer.write(&mut world, rest), rest.len());
    }
    away(&mut world, timeout);
    until(&mut world, |world| {
        let mut channels = peers.iter().map(|peer| peer.channel);
        channels.all(|it| {
            assert_eq!(reason(world, AWAY, it), None, "P2: {it:?} is called late");
            received(world, AWAY, it) == 2
        })
    });
    for peer in &peers {
        peer.close(&mut world, false);
    }
    finish(world);
}

/// Though a pass goes on with few handshakes.
#[test]
fn nobody_is_late_whose_handshake_came_while_the_reactor_was_away() {
    let options = least_options();
    let timeout = options.hello_timeout;
    let (mut world, address) = plain_at("tls://127.0.0.1:0", vec![options], 200_000);
    world.nodes[AWAY].limit(Limits {
        handshakes_per_pass: 1,
        ..LIMITS
    });
    let peers: Vec<Peer> = (0..3)
        .map(|_| Peer::connect(&mut world, &address))
        .collect();
    let soon = world.now + timeout / 10;
    world.pass_until(soon);
    let hello = fake::client_says(&frame(OpCode::HelloRequest, 1, b""));
    for peer in &peers {
        assert_eq!(peer.write(&mut world, &hello), hello.len());
    }
    away(&mut world, timeout);
    until(&mut world, |world| {
        world.members[AWAY].channels.len() == peers.len()
    });
    for peer in &peers {
        peer.close(&mut world, true);
    }
    finish(world);
}

/// That an attempt has succeeded is told with so much else that its turn comes behind its time.
#[test]
fn nobody_is_late_who_was_connected_while_the_reactor_was_away() {
    let options = least_options();
    let timeout = options.connect_timeout;
    let (mut world, address) = plain(vec![options], 200_000);
    world.nodes[AWAY].limit(FEW);
    let peers: Vec<Peer> = (0..PEERS)
        .map(|_| Peer::greet(&mut world, &address))
        .collect();
    let sockets = world.nodes[AWAY].sockets();
    for _ in 0..ATTEMPTS {
        world.with_member(AWAY, |member, context| member.connect(context, &address));
    }
    until(&mut world, |world| {
        world.nodes[AWAY].sockets() == sockets + ATTEMPTS
    });
    let signal = frame(OpCode::Signal, 2, &[0xA5; 1000]);
    for peer in &peers {
        assert_eq!(peer.write(&mut world, &signal), signal.len());
    }
    away(&mut world, timeout);
    let channels = world.members[AWAY].channels[PEERS..].to_vec();
    assert_eq!(channels.len(), ATTEMPTS);
    until(&mut world, |world| {
        channels.iter().all(|&it| {
            assert_eq!(reason(world, AWAY, it), None, "{it:?} is called late");
            received(world, AWAY, it) == 1
        })
    });
    for peer in &peers {
        peer.close(&mut world, false);
    }
    finish(world);
}
