//! Peers that do not read, beside one that does.

use std::time::{Duration, Instant};

use crate::options::Options;
use crate::reason::Reason;

use super::super::checks::PASS;
use super::super::world::{World, least_options};
use super::peer::Peer;
use super::{connect, finish, peer_of, plain, post_signal, reason, received, until};

const DEAF: usize = 20;
const ROUNDS: usize = 500;
/// The engine that others connect to, and the one with the peer that reads.
const SERVES: usize = 0;
const READS: usize = 1;

/// Twenty peers that never read, each with as much queued as is accepted.
fn deafen(world: &mut World, peers: &[Peer]) -> Instant {
    for peer in peers {
        while post_signal(world, SERVES, peer.channel, 5000) {}
        // Small ones fill what is reserved for it.
        while post_signal(world, SERVES, peer.channel, 0) {}
    }
    let soon = world.now + Duration::from_millis(1);
    world.pass_until(soon);
    for peer in peers {
        while post_signal(world, SERVES, peer.channel, 0) {}
    }
    world.now
}

#[test]
fn who_reads_is_served_beside_twenty_who_do_not() {
    let options = || Options {
        connections_per_listener: 50,
        ..least_options()
    };
    let (mut world, address) = plain(vec![options(), options()], 9000);
    let good = connect(&mut world, READS, &address);
    let to_good = peer_of(&world, READS, good);
    let peers: Vec<Peer> = (0..DEAF)
        .map(|_| Peer::greet(&mut world, &address))
        .collect();
    let deaf_since = deafen(&mut world, &peers);

    // Beside them, every post to who reads is accepted and arrives.
    for round in 1..=ROUNDS {
        let accepted = post_signal(&mut world, SERVES, to_good, 1000);
        assert!(
            accepted,
            "P6: post {round} is refused for what others do not read"
        );
        until(&mut world, |world| {
            // One is its hello's answer.
            received(world, READS, good) > round as u64
        });
    }
    // Others connect, and are answered; and the engine itself connects to others.
    let second = connect(&mut world, READS, &address);
    let own = connect(&mut world, SERVES, &address);
    let took = world.now - deaf_since;
    assert!(took < options().send_timeout, "P6: it took {took:?}");
    for channel in [peer_of(&world, READS, second), own] {
        assert!(post_signal(&mut world, SERVES, channel, 1000));
    }

    let mut ends = Vec::new();
    for peer in &peers {
        until(&mut world, |world| {
            reason(world, SERVES, peer.channel).is_some()
        });
        ends.push(world.now - deaf_since);
        let closed = reason(&world, SERVES, peer.channel);
        assert_eq!(closed, Some(Reason::SendTimedOut));
        let account = &world.ledger.accounts[&(SERVES, peer.channel)];
        let (posted, returned) = (account.posted.len(), account.returned.len());
        assert!(returned > 0, "{posted} posted, {returned} returned");
    }
    let last = ends.iter().max().expect("twenty of them");
    let most = options().send_timeout + PASS;
    assert!(*last <= most, "P3: a deaf peer is waited for {last:?}");
    let returned = |peer: &Peer| {
        world.ledger.accounts[&(SERVES, peer.channel)]
            .returned
            .len()
    };
    let returned: usize = peers.iter().map(returned).sum();
    println!("{ROUNDS} arrived in {took:?}; {returned} returned, the last after {last:?}");
    assert!(reason(&world, SERVES, to_good).is_none());
    println!("{}", finish(world));
}
