//! Peers that begin a frame and do not finish it, and those whose frames wait for us.

use std::time::Duration;

use ampe::{Event, Options, Reason};

use super::{announcing, target_with};
use crate::common::next;
use crate::common::peer::{REQUEST, SIGNAL, frame, raw_transports};

/// What two of the largest messages cost, and nothing beside them.
const LEAST: usize = 2 * (131_088 + 896);

fn hasty() -> Options {
    let mut options = Options::default();
    options.inbound_bytes = LEAST;
    options.inbound_bytes_per_channel = LEAST;
    options.frame_timeout = Duration::from_millis(200);
    options
}

#[test]
fn announced_frames_that_do_not_come_hold_the_budget_for_a_while_only() {
    for transport in raw_transports() {
        let mut it = target_with(transport, hasty());
        let (mut served, to_served) = it.greeted();
        let mut stalling = [(); 2].map(|()| it.greeted());
        for (peer, _) in &mut stalling {
            let announced = announcing(&frame(SIGNAL, 2));
            peer.send(&[frame(SIGNAL, 1).bytes(), announced].concat());
            expect!(it.server.1, Signal);
        }
        served.send_frame(&frame(REQUEST, 7));
        // An end makes room for what waits, and may be told of behind it.
        let (mut ended, mut request) = (Vec::new(), None);
        while ended.len() < 2 || request.is_none() {
            match next(&mut it.server.1, "two ends and the request") {
                Event::Closed(closed) => ended.push(closed),
                Event::Request(came) => request = Some(came),
                other => panic!("unexpected {other:?}"),
            }
        }
        for closed in ended {
            assert_eq!(closed.reason(), Reason::ReceiveTimedOut, "{transport:?}");
            assert!(stalling.iter().any(|(_, it)| *it == closed.channel()));
        }
        let request = request.unwrap();
        assert_eq!(request.channel(), to_served);
        it.server.0.post(request.echo()).unwrap();
        assert_eq!(served.receive().id, 7);
        for (peer, _) in &mut stalling {
            peer.end();
        }
        drop(served);
        assert_eq!(it.closed(to_served), Reason::PeerDisconnected);
        it.serves_well();
    }
}

#[test]
fn a_peer_whose_frames_are_not_taken_here_does_not_stall() {
    for transport in raw_transports() {
        let mut it = target_with(transport, hasty());
        let (mut clock, to_clock) = it.greeted();
        let (mut patient, to_patient) = it.greeted();
        let large = frame(SIGNAL, 1).with_body(vec![9; 65_535]);
        patient.send(&large.bytes().repeat(5));
        let mut held: Vec<_> = (0..3).map(|_| expect!(it.server.1, Signal)).collect();
        // The fourth waits for budget, and for longer than this one, which is waited for.
        clock.send(&frame(SIGNAL, 2).bytes()[..3]);
        let closed = expect!(it.server.1, Closed);
        assert_eq!(
            (closed.channel(), closed.reason()),
            (to_clock, Reason::ReceiveTimedOut),
            "{transport:?}"
        );
        held.clear();
        for _ in 3..5 {
            let signal = expect!(it.server.1, Signal);
            assert_eq!(
                (signal.channel(), signal.body().len()),
                (to_patient, 65_535)
            );
        }
        drop(patient);
        assert_eq!(it.closed(to_patient), Reason::PeerDisconnected);
        it.serves_well();
    }
}
