//! Runs in which one engine starves: several peers send more than its budget takes, it writes to peers
//! that read little, its application lets go of one message at a time, and the system refuses to
//! poll a socket now and then.

use crate::options::Options;
use crate::post::Post;

use super::ledger::Totals;
use super::random::finish;
use super::rng::Rng;
use super::seeds::{Family, Trial};
use super::temper::draw_temper;
use super::world::{World, least_options};

pub(super) const STARVING: Family = Family {
    test: "sim::starving",
    runs: 40,
    run,
};

const OPERATIONS: usize = 400;

const CHANNELS: usize = 5;

/// The starving engine and its application; the sending one and its.
const STARVED: usize = 0;
const SENDING: usize = 1;

fn run(trial: &mut Trial) -> Totals {
    let mut rng = Rng::new(trial.seed);
    let mut temper = draw_temper(&mut rng);
    temper.capacity = [2000, 9000][rng.below(2)];
    (temper.refusals, temper.rearms, temper.hidden) = (5, false, 0);
    temper.slow_micros = 1000;
    let options = least_options();
    let generous = Options {
        inbound_bytes: 16 << 20,
        inbound_bytes_per_channel: 16 << 20,
        outbound_bytes: 16 << 20,
        outbound_bytes_per_channel: 16 << 20,
        connections_per_listener: 50,
        ..options.clone()
    };
    let starving = Options {
        connections_per_listener: 50,
        outbound_bytes: 16 << 20,
        ..options
    };
    let mut world = World::with(vec![starving, generous], temper, rng);
    trial.note(&world);
    for node in [STARVED, SENDING] {
        world.add_member(node);
        world.members[node].greed = 95;
    }
    while trial.goes_on(OPERATIONS) {
        operate(&mut world);
        for _ in 0..world.rng.below(4) {
            world.step();
        }
    }
    finish(world)
}

fn operate(world: &mut World) {
    match world.rng.below(20) {
        0..=1 => open(world),
        2..=7 => post(world, SENDING),
        8..=10 => post(world, STARVED),
        11..=15 => {
            let most = world.rng.between(1, 8);
            world.with_member(STARVED, |member, context| member.receive(context, most));
        }
        16..=18 => world.with_member(STARVED, |member, context| member.drop_one(context)),
        _ => drop(world.with_member(SENDING, |member, context| member.receive(context, 2))),
    }
}

/// Keeps a few channels open, by a listener at the starving engine.
fn open(world: &mut World) {
    if world.members[STARVED].listeners.is_empty() {
        let any = "tcp://127.0.0.1:0".parse().expect("an address");
        world.with_member(STARVED, |member, context| {
            let message = member.posting.message();
            member.post(context, Post::welcome(&any, message));
        });
    }
    let address = world.members[STARVED].listening.last().cloned();
    if let Some(address) = address.filter(|_| world.members[SENDING].channels.len() < CHANNELS) {
        world.with_member(SENDING, |member, context| member.connect(context, &address));
    }
}

/// Posts a few signals, often small ones: several come with one read.
fn post(world: &mut World, member: usize) {
    world.with_member(member, |member, context| {
        let Some(index) = context.rng.index(member.channels.len()) else {
            return;
        };
        let channel = member.channels[index];
        let (count, len) = match context.rng.below(4) {
            0 => (1, context.rng.between(30_000, 65_000)),
            _ => (context.rng.between(5, 30), context.rng.between(0, 200)),
        };
        let posts = (0..count).map(|_| member.message(context.rng, len).signal(channel));
        let posts = posts.collect();
        member.post_many(context, posts);
    });
}

#[test]
fn promises_hold_in_runs_in_which_an_engine_starves() {
    let totals = STARVING.each();
    if totals.runs >= STARVING.runs {
        assert!(totals.starved > 0 && totals.faults.refused > 0);
    }
}
