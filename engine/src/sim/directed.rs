//! Single scenarios over the reactor's loop, without chance in what matters.

mod accepting;
mod away;
mod closing;
mod deaf;
mod decrypted;
mod failing;
mod goodbye;
mod parting;
mod peer;
mod serving;
mod shaking;
mod stalling;
mod trickle;
mod wakers;

use std::time::Duration;

use crate::address::Address;
use crate::channel::Channel;
use crate::driver::{LIMITS, Limits};
use crate::options::Options;
use crate::post::Post;
use crate::reason::Reason;

use super::ledger::Totals;
use super::net::SILENT_PORT;
use super::rng::Rng;
use super::temper::{CALM, Temper};
use super::world::World;

const DIALS: usize = 0;
const LISTENS: usize = 1;

/// Two engines with a connection between them, and its channel on either side.
fn connected() -> (World, [Channel; 2]) {
    connected_at("tcp://127.0.0.1:0")
}

fn connected_at(any: &str) -> (World, [Channel; 2]) {
    let options = || Options {
        connect_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let mut world = World::with(vec![options(), options()], CALM, Rng::new(1));
    for node in [DIALS, LISTENS] {
        world.nodes[node].limit(LIMITS);
        world.add_member(node);
        world.members[node].greed = 0;
        world.members[node].is_plain = true;
    }
    let any = any.parse().expect("an address");
    world.with_member(LISTENS, |member, context| {
        let message = member.posting.message();
        member.post(context, Post::welcome(&any, message));
    });
    until(&mut world, |world| {
        !world.members[LISTENS].listening.is_empty()
    });
    let address = world.members[LISTENS].listening[0].clone();
    world.with_member(DIALS, |member, context| member.connect(context, &address));
    until(&mut world, |world| {
        !world.members[LISTENS].channels.is_empty()
    });
    // The answer to the hello arrives, and both rest.
    until(&mut world, |world| !world.step());
    let channels = [DIALS, LISTENS].map(|node| world.members[node].channels[0]);
    (world, channels)
}

/// Steps, with applications that take what comes, until that is so.
fn until(world: &mut World, mut is_so: impl FnMut(&mut World) -> bool) {
    for _ in 0..10_000 {
        if is_so(world) {
            return;
        }
        world.step();
        for member in 0..world.members.len() {
            world.with_member(member, |member, context| member.receive(context, 100));
        }
    }
    panic!("waited in vain");
}

fn received(world: &World, node: usize, channel: Channel) -> u64 {
    world.ledger.accounts[&(node, channel)].received
}

fn signal(world: &mut World, node: usize, channel: Channel) {
    world.with_member(node, |member, context| {
        let message = member.message(context.rng, 100);
        member.post(context, message.signal(channel));
    });
}

/// Every application lets go of what it has, and every engine stops.
fn finish(mut world: World) -> Totals {
    for member in &mut world.members {
        member.is_winding_down = true;
    }
    for node in 0..world.nodes.len() {
        world.stop(node, Duration::from_secs(1));
    }
    world.settle();
    world.check_end()
}

/// Engines that do nothing by chance, each with an application and the first with a listener.
fn plain(options: Vec<Options>, capacity: usize) -> (World, Address) {
    plain_at("tcp://127.0.0.1:0", options, capacity)
}

fn plain_at(any: &str, options: Vec<Options>, capacity: usize) -> (World, Address) {
    let count = options.len();
    let temper = Temper { capacity, ..CALM };
    let mut world = World::with(options, temper, Rng::new(1));
    for node in 0..count {
        world.nodes[node].limit(LIMITS);
        world.add_member(node);
        world.members[node].greed = 0;
        world.members[node].is_plain = true;
    }
    let any = any.parse().expect("an address");
    world.with_member(0, |member, context| {
        let message = member.posting.message();
        member.post(context, Post::welcome(&any, message));
    });
    until(&mut world, |world| !world.members[0].listening.is_empty());
    let address = world.members[0].listening[0].clone();
    (world, address)
}

/// Connects an application to that address. Returns its channel, once the other side has accepted.
fn connect(world: &mut World, member: usize, address: &Address) -> Channel {
    world.with_member(member, |member, context| member.connect(context, address));
    let ours = *world.members[member].channels.last().expect("connecting");
    until(world, |world| received(world, member, ours) > 0);
    ours
}

fn peer_of(world: &World, node: usize, channel: Channel) -> Channel {
    let peer = world.ledger.accounts[&(node, channel)].peer;
    peer.expect("an engine at the other end").1
}

fn reason(world: &World, node: usize, channel: Channel) -> Option<Reason> {
    let closed = world.ledger.accounts[&(node, channel)].closed.as_ref();
    closed.map(crate::event::Closed::reason)
}

/// Posts a signal with a body of so many bytes. Returns whether it was accepted.
fn post_signal(world: &mut World, member: usize, channel: Channel, len: usize) -> bool {
    world.with_member(member, |member, context| {
        let message = member.message(context.rng, len);
        member.post(context, message.signal(channel)).is_some()
    })
}

#[test]
fn ten_thousand_attempts_do_not_keep_a_bystander_waiting() {
    let (mut world, [ours, theirs]) = connected();
    let before = received(&world, DIALS, ours);
    let silent = Address::tcp("127.0.0.1", SILENT_PORT).expect("an address");
    world.with_member(DIALS, |member, context| {
        for _ in 0..10_000 {
            member.connect(context, &silent);
        }
    });
    signal(&mut world, LISTENS, theirs);
    let attempts = |world: &World| world.nodes[DIALS].sockets() - 1;
    until(&mut world, |world| received(world, DIALS, ours) > before);
    let made = attempts(&world);
    assert!(
        made <= 4 * LIMITS.openings_per_pass,
        "{made} attempts were made first"
    );
    until(&mut world, |world| attempts(world) == 10_000);
    finish(world);
}

#[test]
fn a_pass_reads_so_much_and_then_looks_up() {
    let (mut world, [_, theirs]) = connected();
    let address = world.members[LISTENS].listening[0].clone();
    for count in 2..=4 {
        world.with_member(DIALS, |member, context| member.connect(context, &address));
        until(&mut world, |world| {
            world.members[LISTENS].channels.len() == count
        });
    }
    until(&mut world, |world| !world.step());
    world.nodes[LISTENS].limit(Limits {
        bytes_per_pass: 1,
        messages_per_pass: usize::MAX,
        ..LIMITS
    });
    // All that were posted to are readable at once, and each has its pass.
    for channel in world.members[DIALS].channels.clone() {
        signal(&mut world, DIALS, channel);
    }
    let now = world.now;
    world.nodes[DIALS].tick(now);
    world.nodes[DIALS].pass(now);
    let passes = |world: &World| world.nodes[LISTENS].passes();
    let (first, before) = (passes(&world), received(&world, LISTENS, theirs));
    for pass in 1..=4 {
        world.nodes[LISTENS].tick(now);
        assert!(
            world.nodes[LISTENS].is_ready(now),
            "pass {pass} comes at once"
        );
        world.nodes[LISTENS].pass(now);
        let most = passes(&world) - first;
        world.with_member(LISTENS, |member, context| member.receive(context, 100));
        let all = world.members[LISTENS].channels.clone();
        let total: u64 = all.iter().map(|&it| received(&world, LISTENS, it)).sum();
        assert_eq!(total, 4 * before + most, "one read in each pass");
    }
    finish(world);
}

#[test]
fn a_connection_that_cannot_be_polled_for_a_while_goes_on() {
    let (mut world, [ours, theirs]) = connected();
    world.net.borrow_mut().temper.refusals = 100;
    world.nodes[LISTENS].declare_anew();
    let start = world.now;
    let before = received(&world, LISTENS, theirs);
    signal(&mut world, DIALS, ours);
    // Meanwhile it is read from now and then.
    until(&mut world, |world| {
        received(world, LISTENS, theirs) > before
    });
    assert!(world.now < start + Duration::from_millis(900));
    world.net.borrow_mut().temper.refusals = 0;
    // Polled again, it may stay so for as long as it likes.
    until(&mut world, |world| {
        world.now > start + Duration::from_millis(150) || !world.step()
    });
    signal(&mut world, DIALS, ours);
    until(&mut world, |world| {
        received(world, LISTENS, theirs) > before + 1
    });
    assert!(world.ledger.accounts[&(LISTENS, theirs)].closed.is_none());
    finish(world);
}

#[test]
fn a_connection_that_cannot_be_polled_for_long_ends() {
    let (mut world, [_, theirs]) = connected();
    world.net.borrow_mut().temper.refusals = 100;
    world.nodes[LISTENS].declare_anew();
    let start = world.now;
    let line = (LISTENS, theirs);
    until(&mut world, |world| {
        world.ledger.accounts[&line].closed.is_some()
    });
    let closed = world.ledger.accounts[&line].closed.as_ref();
    assert_eq!(closed.map(|it| it.reason()), Some(Reason::ConnectionLost));
    let after = world.now - start;
    assert!(after >= Duration::from_secs(1), "after {after:?}");
    world.net.borrow_mut().temper.refusals = 0;
    finish(world);
}

#[test]
fn what_cannot_be_sent_for_want_of_memory_is_sent_later() {
    for any in ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"] {
        let (mut world, [ours, theirs]) = connected_at(any);
        world.net.borrow_mut().temper.shortages = 100;
        let (start, before) = (world.now, received(&world, LISTENS, theirs));
        signal(&mut world, DIALS, ours);
        until(&mut world, |world| {
            world.now > start + Duration::from_millis(50)
        });
        assert_eq!(received(&world, LISTENS, theirs), before);
        let passes = world.nodes[DIALS].passes();
        assert!(passes < 50, "it keeps the reactor awake: {passes} passes");
        world.net.borrow_mut().temper.shortages = 0;
        until(&mut world, |world| {
            received(world, LISTENS, theirs) > before
        });
        finish(world);
    }
}
