//! Secured connections whose peers have no room for the orderly end.

use std::time::Duration;

use crate::address::Address;
use crate::options::Options;
use crate::reason::Reason;
use crate::tls::fake;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::super::checks::PASS;
use super::super::world::{World, least_options};
use super::peer::Peer;
use super::{finish, plain_at, reason, until};

const SERVES: usize = 0;

fn served(options: Options) -> (World, Address) {
    plain_at("tls://127.0.0.1:0", vec![options], 200_000)
}

/// A peer that was greeted, and has read nothing.
fn greeted(world: &mut World, address: &Address) -> Peer {
    let mut peer = Peer::connect(world, address);
    let before = world.members[SERVES].channels.len();
    let hello = fake::client_says(&frame(OpCode::HelloRequest, 1, b""));
    assert_eq!(peer.write(world, &hello), hello.len());
    until(world, |world| world.members[SERVES].channels.len() > before);
    until(world, |world| !world.step());
    peer.channel = world.members[SERVES].channels[before];
    peer
}

/// From now on nobody takes more than these have to read.
fn fill(world: &mut World, peers: &[&Peer]) {
    let unread = peers.iter().map(|peer| peer.unread(world));
    let capacity = unread.min().expect("peers");
    assert!(capacity > 0);
    world.net.borrow_mut().temper.capacity = capacity;
}

/// What has to happen now happens.
fn a_while(world: &mut World) {
    let soon = world.now + PASS;
    world.pass_until(soon);
    world.with_member(SERVES, |member, context| member.receive(context, 1000));
}

/// The peer ends the connection, and the engine finds no room to do the same.
fn part(world: &mut World, peer: &Peer) {
    let end = fake::end();
    assert_eq!(peer.write(world, &end), end.len());
    a_while(world);
    let reason = reason(world, SERVES, peer.channel);
    assert_eq!(reason, Some(Reason::PeerDisconnected));
}

/// Reads all that there is. Whether it is over, and in order.
fn ends_in_order(world: &mut World, peer: &mut Peer) -> (bool, bool) {
    let mut all = peer.take(world);
    a_while(world);
    all.extend(peer.take(world));
    (peer.saw_end, all.ends_with(&fake::end()))
}

#[test]
fn who_reads_within_the_linger_timeout_is_told_the_end_in_order_and_who_reads_later_is_not() {
    let minute = Duration::from_secs(60);
    // Nobody is waited for longer than a minute.
    for (linger, stays) in [
        (Duration::from_millis(400), Duration::from_millis(400)),
        (60 * minute, minute),
    ] {
        for is_late in [false, true] {
            let (mut world, address) = served(Options {
                linger_timeout: linger,
                ..least_options()
            });
            let mut peer = greeted(&mut world, &address);
            fill(&mut world, &[&peer]);
            let begin = world.now;
            part(&mut world, &peer);
            let until = match is_late {
                true => begin + stays + 2 * PASS,
                false => begin + stays - PASS,
            };
            world.pass_until(until);
            assert_eq!(ends_in_order(&mut world, &mut peer), (true, !is_late));
            finish(world);
        }
    }
}

#[test]
fn of_too_many_that_part_the_one_that_has_stayed_longest_is_cut() {
    let (mut world, address) = served(least_options());
    let mut peers: Vec<_> = (0..65).map(|_| greeted(&mut world, &address)).collect();
    fill(&mut world, &peers.iter().collect::<Vec<_>>());
    for peer in &peers {
        part(&mut world, peer);
    }
    assert_eq!(world.nodes[SERVES].sockets(), 1, "that of the listener");
    for (index, peer) in peers.iter_mut().enumerate() {
        assert_eq!(ends_in_order(&mut world, peer), (true, index > 0));
    }
    finish(world);
}

/// Of what is not polled nobody hears that there is room.
#[test]
fn who_parts_and_cannot_be_polled_is_cut_at_once() {
    let (mut world, address) = served(least_options());
    let mut peer = greeted(&mut world, &address);
    fill(&mut world, &[&peer]);
    world.net.borrow_mut().temper.refusals = 100;
    part(&mut world, &peer);
    world.net.borrow_mut().temper.refusals = 0;
    assert_eq!(ends_in_order(&mut world, &mut peer), (true, false));
    finish(world);
}

#[test]
fn an_engine_that_stops_waits_for_those_that_part_as_long_as_it_has_time() {
    for is_late in [false, true] {
        let (mut world, address) = served(Options {
            linger_timeout: Duration::from_secs(50),
            ..least_options()
        });
        let mut peer = greeted(&mut world, &address);
        fill(&mut world, &[&peer]);
        part(&mut world, &peer);
        let stops = world.now + Duration::from_secs(10);
        world.stop(SERVES, Duration::from_secs(10));
        world.pass_until(if is_late {
            stops + PASS
        } else {
            stops - 3 * PASS
        });
        assert_eq!(world.nodes[SERVES].is_running(), !is_late);
        assert_eq!(ends_in_order(&mut world, &mut peer), (true, !is_late));
        a_while(&mut world);
        assert!(!world.nodes[SERVES].is_running(), "nothing is left to do");
        finish(world);
    }
}

/// As peers do that wait for the end of the stream below, and not for the word of it.
#[test]
fn behind_the_orderly_end_the_sending_side_is_closed_whether_there_was_room_or_not() {
    for is_full in [false, true] {
        let (mut world, address) = served(Options {
            linger_timeout: Duration::from_secs(50),
            ..least_options()
        });
        let mut peer = greeted(&mut world, &address);
        if is_full {
            fill(&mut world, &[&peer]);
        }
        let within = world.now + Duration::from_secs(100);
        world.with_member(SERVES, |member, context| {
            member.close(context.node, within);
        });
        a_while(&mut world);
        assert_eq!(ends_in_order(&mut world, &mut peer), (true, true));
        assert_eq!(
            reason(&world, SERVES, peer.channel),
            None,
            "it still listens"
        );
        peer.close(&mut world, false);
        finish(world);
    }
}

/// It is not read any more.
#[test]
fn what_a_peer_sends_behind_its_end_while_the_other_end_is_said_keeps_nobody_awake() {
    let (mut world, address) = served(Options {
        linger_timeout: Duration::from_secs(50),
        ..least_options()
    });
    let peer = greeted(&mut world, &address);
    fill(&mut world, &[&peer]);
    part(&mut world, &peer);
    assert_eq!(peer.write(&mut world, b"more"), 4);
    let before = world.nodes[SERVES].passes();
    let later = world.now + Duration::from_secs(10);
    world.pass_until(later);
    assert!(world.nodes[SERVES].passes() - before < 5);
    finish(world);
}

/// Whether the connection goes on to receive meanwhile, or not.
#[test]
fn an_end_for_which_there_is_no_memory_is_said_once_there_is() {
    for is_over in [false, true] {
        let (mut world, address) = served(Options {
            linger_timeout: Duration::from_secs(50),
            ..least_options()
        });
        let mut peer = greeted(&mut world, &address);
        fill(&mut world, &[&peer]);
        if is_over {
            part(&mut world, &peer);
        } else {
            let within = world.now + Duration::from_secs(100);
            world.with_member(SERVES, |member, context| {
                member.close(context.node, within);
            });
            a_while(&mut world);
        }
        world.net.borrow_mut().temper.shortages = 100;
        assert_eq!(ends_in_order(&mut world, &mut peer), (false, false));
        let before = world.nodes[SERVES].passes();
        let later = world.now + Duration::from_secs(1);
        world.pass_until(later);
        let passes = world.nodes[SERVES].passes() - before;
        assert!((10..250).contains(&passes), "{passes} passes");
        world.net.borrow_mut().temper.shortages = 0;
        let later = world.now + Duration::from_millis(20);
        world.pass_until(later);
        assert_eq!(ends_in_order(&mut world, &mut peer), (true, true));
        peer.close(&mut world, false);
        finish(world);
    }
}
