//! What lies decrypted, of which no socket tells.

use std::time::Duration;

use crate::driver::{LIMITS, Limits};
use crate::protocol::Core;
use crate::tls::fake;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::super::checks::PASS;
use super::super::world::least_options;
use super::peer::Peer;
use super::{finish, plain_at, received, until};

/// One read takes less than what comes at once.
const LITTLE: Limits = Limits {
    bytes_per_read: 48,
    ..LIMITS
};

const SIGNALS: u64 = 50;

/// More than the budget has room for.
const MANY: u64 = 1000;

/// However much a pass reads, and though others have more to be read as well.
#[test]
fn what_came_at_once_and_is_read_little_by_little_is_all_received() {
    let most = (LIMITS.bytes_per_pass, LIMITS.messages_per_pass);
    for (bytes_per_pass, messages_per_pass) in [most, (1, most.1), (most.0, 3)] {
        let (mut world, address) = plain_at("tls://127.0.0.1:0", vec![least_options()], 200_000);
        world.nodes[0].limit(Limits {
            bytes_per_pass,
            messages_per_pass,
            ..LITTLE
        });
        let signals = frame(OpCode::Signal, 2, b"").repeat(SIGNALS as usize);
        // The first reads bring no message, and so are many in one pass.
        let all = [frame(OpCode::HelloRequest, 1, &[7; 200]), signals].concat();
        let all = fake::client_says(&all);
        let peers: Vec<_> = (0..3)
            .map(|_| Peer::connect(&mut world, &address))
            .collect();
        for peer in &peers {
            assert_eq!(peer.write(&mut world, &all), all.len());
        }
        let begin = world.now;
        until(&mut world, |world| {
            let channels = world.members[0].channels.iter();
            let counts = channels.map(|&it| received(world, 0, it));
            counts.eq([1 + SIGNALS; 3])
        });
        assert!(world.now - begin <= PASS, "a timeout brought it about");
        for peer in &peers {
            peer.close(&mut world, true);
        }
        finish(world);
    }
}

/// Nothing else happens to the connection, and all that it was sent was read below.
#[test]
fn what_lies_decrypted_is_read_once_there_is_budget() {
    let options = vec![least_options()];
    let (mut world, address) = plain_at("tls://127.0.0.1:0", options, 200_000);
    world.nodes[0].limit(LITTLE);
    world.members[0].greed = 100;
    let peers = [(MANY, 1), (SIGNALS, 2)].map(|(signals, starving)| {
        let signals = frame(OpCode::Signal, 2, b"").repeat(signals as usize);
        let all = [frame(OpCode::HelloRequest, 1, b""), signals].concat();
        let all = fake::client_says(&all);
        let peer = Peer::connect(&mut world, &address);
        assert_eq!(peer.write(&mut world, &all), all.len());
        until(&mut world, |world| {
            let audit = world.nodes[0].core().map(Core::audit);
            audit.unwrap().starving == starving
        });
        peer
    });
    assert_eq!(
        world.members[0].channels.len(),
        1,
        "there is budget for all"
    );
    world.members[0].greed = 0;
    let dropped_at = world.now;
    world.with_member(0, |member, context| member.let_go(context));
    until(&mut world, |world| {
        let channels = world.members[0].channels.iter();
        let counts = channels.map(|&it| received(world, 0, it));
        counts.eq([1 + MANY, 1 + SIGNALS])
    });
    let waited = world.now - dropped_at;
    assert!(
        waited < Duration::from_millis(100),
        "a timeout brought it about"
    );
    for peer in &peers {
        peer.close(&mut world, true);
    }
    finish(world);
}
