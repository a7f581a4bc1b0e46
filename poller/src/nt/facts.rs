//! What the backend takes for granted of the kernel, asked of every kernel there is: of the simulated
//! one, which so keeps to the facts, and of the system's own. What Wine does otherwise is expected by
//! name, and nothing else may differ.
//!
//! `cancels.rs` makes cancels meet the end of their polls; `questions.rs` asks what only real Windows can
//! answer.

mod cancels;
mod grounds;
mod lab;
#[cfg(windows)]
mod questions;

use self::cancels::{
    a_cancel_that_finds_nothing_harms_nothing, a_cancel_that_succeeds_too_late_harms_nothing,
};
use self::lab::{Ground, Issued, Lab};
use super::{Handle, Nt, Packet, Status, flag, timeout};
use crate::poller::Source;

/// All that the backend ever polls for.
const ALL: u32 =
    flag::RECEIVE | flag::SEND | flag::DISCONNECT | flag::ABORT | flag::ACCEPT | flag::CONNECT_FAIL;

fn a_poll_waits_and_ends_with_one_packet<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        lab.assert_nothing_is_queued();
        lab.ground.write(&theirs, 1);
        lab.assert_ends(poll, Status::SUCCESS, flag::RECEIVE);
        lab.assert_nothing_is_queued();
    }
}

fn what_is_ready_is_answered_at_once<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, _theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        let (status, poll) = lab.ask(control, ours.handle(), ALL);
        assert_eq!(status, Status::SUCCESS);
        assert_eq!(lab.answer(poll), flag::SEND);
        lab.assert_nothing_is_queued();
    }
}

fn an_answer_at_once_queues_a_packet_unless_the_file_skips_it<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let (ours, _theirs) = lab.ground.pair();
    let control = ours.handle();
    lab.nt.associate(control, lab.port, lab::KEY).unwrap();
    lab.skips_packets = false;
    let (status, poll) = lab.ask(control, control, ALL);
    assert_eq!(status, Status::SUCCESS);
    lab.assert_ends(poll, Status::SUCCESS, flag::SEND);
    lab.nt.skip_packets_on_success(control).unwrap();
    lab.skips_packets = true;
    let (status, _) = lab.ask(control, control, ALL);
    assert_eq!(status, Status::SUCCESS);
    lab.assert_nothing_is_queued();
}

fn a_cancel_ends_a_poll_with_one_packet<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        assert_eq!(lab.cancel(control, poll), Status::SUCCESS);
        assert_eq!(lab.cancel(control, poll), Status::NOT_FOUND);
        lab.ground.write(&theirs, 1);
        lab.assert_ends(poll, Status::CANCELLED, 0);
        lab.assert_nothing_is_queued();
    }
}

fn a_cancel_of_what_has_ended_finds_nothing_and_its_packet_comes<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        // Another one, which the same event ends, and whose packet can be taken first.
        let elsewhere = lab.nt.create_port().unwrap();
        let helper = lab.helper_of(elsewhere);
        let other = lab.wait_for(helper, ours.handle(), flag::RECEIVE);
        lab.ground.write(&theirs, 1);
        assert_eq!(lab.next_packet_of(elsewhere), (other, Status::SUCCESS));
        assert_eq!(lab.cancel(control, poll), Status::NOT_FOUND);
        lab.assert_ends(poll, Status::SUCCESS, flag::RECEIVE);
        lab.nt.close(elsewhere);
    }
}

fn a_socket_that_is_closed_ends_its_polls<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, _theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        drop(ours);
        lab.assert_ends(poll, Status::SUCCESS, flag::LOCAL_CLOSE);
        lab.assert_nothing_is_queued();
    }
}

fn a_duplicate_keeps_the_polls_of_a_handle_that_is_closed<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, _theirs) = lab.ground.pair();
        let duplicate = lab.ground.duplicate(&ours);
        let control = lab.control(&ours, issued);
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        drop(ours);
        lab.assert_nothing_is_queued();
        drop(duplicate);
        lab.assert_ends(poll, Status::SUCCESS, flag::LOCAL_CLOSE);
    }
}

/// Issued on the socket, a poll goes with the last handle of its process.
fn a_socket_that_another_process_keeps_has_its_polls_cancelled_where_it_is_closed<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let (ours, _theirs) = lab.ground.pair();
    let control = lab.control(&ours, Issued::OnTheSocket);
    let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
    let _keeper = lab.ground.share(&ours);
    drop(ours);
    match lab.ground.keeps_polls_of_shared_sockets() {
        Some(reason) => {
            lab.assert_nothing_is_queued();
            lab::expect(reason);
        }
        None => lab.assert_ends(poll, Status::CANCELLED, 0),
    }
}

fn a_socket_that_another_process_keeps_is_polled_on_by_a_helper<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let (ours, _theirs) = lab.ground.pair();
    let control = lab.control(&ours, Issued::OnAHelper);
    let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
    let _keeper = lab.ground.share(&ours);
    drop(ours);
    lab.assert_nothing_is_queued();
    assert_eq!(lab.cancel(control, poll), Status::SUCCESS);
    lab.assert_ends(poll, Status::CANCELLED, 0);
}

/// Or it ends them with an error: nothing depends on which.
fn a_helper_that_is_closed_leaves_its_polls<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let (ours, theirs) = lab.ground.pair();
    let helper = lab.helper();
    let poll = lab.wait_for(helper, ours.handle(), flag::RECEIVE);
    lab.close_helper(helper);
    lab.ground.write(&theirs, 1);
    match lab.next_packet() {
        (ended, Status::SUCCESS) => assert_eq!((ended, lab.answer(poll)), (poll, flag::RECEIVE)),
        (ended, status) => {
            assert_eq!(ended, poll);
            assert!(status.is_error());
            lab::expect("the polls of a helper that is closed end with it");
        }
    }
    lab.ground.forgive();
}

fn a_thread_that_ends_leaves_its_polls<G: Ground>()
where
    Lab<G>: Send,
    G::Socket: Sync,
{
    let mut lab = Lab::<G>::new();
    let (ours, theirs) = lab.ground.pair();
    let control = lab.control(&ours, Issued::OnTheSocket);
    let poll = std::thread::scope(|scope| {
        let (lab, ours) = (&mut lab, &ours);
        let thread = scope.spawn(move || lab.wait_for(control, ours.handle(), flag::RECEIVE));
        thread.join().unwrap()
    });
    lab.assert_nothing_is_queued();
    lab.ground.write(&theirs, 1);
    lab.assert_ends(poll, Status::SUCCESS, flag::RECEIVE);
}

/// By what AFD tells of each of the things that can happen to a socket.
fn what_happens_to_a_socket_has_its_flag<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        assert_eq!(lab.find(control, &ours, ALL), flag::SEND);
        lab.ground.write(&theirs, 1);
        let asked = flag::RECEIVE | flag::DISCONNECT | flag::ABORT;
        assert_eq!(lab.find(control, &ours, asked), flag::RECEIVE);
        lab.ground.read(&ours, 1);
        lab.ground.shutdown(&theirs);
        assert_eq!(lab.find(control, &ours, asked), flag::DISCONNECT);

        let (ours, theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        lab.ground.reset(&ours, theirs);
        assert_ne!(lab.find(control, &ours, asked) & flag::ABORT, 0);

        let listener = lab.ground.listen();
        let control = lab.control(&listener, issued);
        let poll = lab.wait_for(control, listener.handle(), ALL);
        let _client = lab.ground.connect(&listener);
        lab.assert_ends(poll, Status::SUCCESS, flag::ACCEPT);

        // Some systems refuse already when the attempt is started.
        if let Some(refused) = lab.ground.refuse() {
            let control = lab.control(&refused, issued);
            assert_eq!(lab.find(control, &refused, ALL), flag::CONNECT_FAIL);
        }
    }
}

fn a_socket_without_room_is_not_ready_to_be_written<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let (ours, theirs) = lab.ground.pair();
    let control = lab.control(&ours, Issued::OnTheSocket);
    lab.ground.fill(&ours);
    let poll = lab.wait_for(control, ours.handle(), flag::SEND);
    while lab.poll_is_pending(poll) {
        lab.ground.read(&theirs, 1 << 16);
    }
    lab.assert_has_answered(poll, flag::SEND);
}

/// By which the backend tells whether somebody else may poll the same socket.
fn the_handles_of_a_socket_are_counted_wherever_they_are<G: Ground>() {
    let lab = Lab::<G>::new();
    let count = |socket: &G::Socket| lab.nt.count_handles(socket.handle());
    let listener = lab.ground.listen();
    let (ours, theirs) = lab.ground.pair();
    for socket in [&listener, &ours, &theirs] {
        assert_eq!(count(socket), Ok(1));
    }
    let duplicate = lab.ground.duplicate(&ours);
    assert_eq!((count(&ours), count(&duplicate)), (Ok(2), Ok(2)));
    drop(ours);
    assert_eq!(count(&duplicate), Ok(1));
    let _keeper = lab.ground.share(&duplicate);
    assert_eq!(count(&duplicate), Ok(2));
    assert!(lab.nt.count_handles(Handle(0x7FFF_FFF0)).is_err());
}

/// By which the backend tells whether two sources are of one socket.
fn handles_of_one_socket_are_told_from_others<G: Ground>() {
    let lab = Lab::<G>::new();
    let (ours, theirs) = lab.ground.pair();
    let duplicate = lab.ground.duplicate(&ours);
    let is_same = |one: &G::Socket, other: &G::Socket| lab.nt.is_same(one.handle(), other.handle());
    assert_eq!(is_same(&ours, &ours), Ok(true));
    assert_eq!(is_same(&ours, &duplicate), Ok(true));
    assert_eq!(is_same(&duplicate, &ours), Ok(true));
    assert_eq!(is_same(&ours, &theirs), Ok(false));
    assert!(lab.nt.is_same(ours.handle(), Handle(0x7FFF_FFF0)).is_err());
}

/// With a packet that says that its time is over, and nothing found.
fn a_poll_with_a_time_limit_ends_with_it<G: Ground>() {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new();
        let (ours, _theirs) = lab.ground.pair();
        let control = lab.control(&ours, issued);
        lab.timeout = timeout::BOUNDED;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE);
        lab.assert_ends(poll, Status::TIMEOUT, 0);
        lab.assert_nothing_is_queued();
    }
}

fn polls_of_several_sockets_share_a_helper<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let helper = lab.helper();
    let pairs: Vec<_> = (0..32).map(|_| lab.ground.pair()).collect();
    let polls = pairs.iter().map(|(ours, _)| ours.handle());
    let polls: Vec<_> = polls
        .map(|socket| lab.wait_for(helper, socket, flag::RECEIVE))
        .collect();
    assert_eq!(lab.cancel(helper, polls[7]), Status::SUCCESS);
    lab.assert_ends(polls[7], Status::CANCELLED, 0);
    for at in (0..32).filter(|at| *at != 7).rev() {
        lab.ground.write(&pairs[at].1, 1);
        lab.assert_ends(polls[at], Status::SUCCESS, flag::RECEIVE);
    }
}

fn a_poll_of_what_is_not_open_is_refused_and_queues_nothing<G: Ground>() {
    let mut lab = Lab::<G>::new();
    let helper = lab.helper();
    let (status, _) = lab.ask(helper, Handle(0x7FFF_FFF0), flag::RECEIVE);
    assert!(status.is_error(), "{status:?}");
    lab.assert_nothing_is_queued();
}

fn a_file_has_one_port<G: Ground>() {
    let lab = Lab::<G>::new();
    let (ours, _theirs) = lab.ground.pair();
    let another = lab.nt.create_port().unwrap();
    let associate = |port| lab.nt.associate(ours.handle(), port, lab::KEY);
    associate(lab.port).unwrap();
    assert_eq!(associate(lab.port), Err(Status::INVALID_PARAMETER));
    assert_eq!(associate(another), Err(Status::INVALID_PARAMETER));
    match lab.ground.keeps_port() {
        Some(reason) => lab::expect(reason),
        None => {
            lab.nt.dissociate(ours.handle()).unwrap();
            associate(another).unwrap();
        }
    }
    lab.nt.close(another);
}

fn posted_packets_come_whole_in_their_order_and_in_batches<G: Ground>() {
    let lab = Lab::<G>::new();
    for number in 1..=5 {
        lab.post(number);
    }
    let mut packets = [Packet::EMPTY; 4];
    let mut take = || {
        let timeout = Some(std::time::Duration::ZERO);
        let count = lab.nt.dequeue(lab.port, &mut packets, timeout).unwrap();
        let packets = packets[..count].iter();
        packets
            .map(|packet| {
                let status = packet.status;
                (
                    packet.key,
                    packet.context,
                    status.status.status,
                    status.information,
                )
            })
            .collect::<Vec<_>>()
    };
    let posted = |number| (number * 2, number, Status(7), number * 3);
    assert_eq!(take(), [1, 2, 3, 4].map(posted));
    assert_eq!(take(), [posted(5)]);
    assert_eq!(take(), []);
}

/// Asks each kernel for each fact.
macro_rules! facts {
    ($($fact:ident,)*) => {
        facts! { @of simulated crate::conformance::worlds::Simulated<0>; $($fact)* }
        #[cfg(windows)]
        facts! { @of windows crate::conformance::worlds::Tcp<0>; $($fact)* }
    };
    (@of $name:ident $ground:ty; $($fact:ident)*) => {
        mod $name {
            $(#[test]
            fn $fact() {
                super::$fact::<$ground>();
            })*
        }
    };
}

facts! {
    a_poll_waits_and_ends_with_one_packet,
    what_is_ready_is_answered_at_once,
    an_answer_at_once_queues_a_packet_unless_the_file_skips_it,
    a_cancel_ends_a_poll_with_one_packet,
    a_cancel_of_what_has_ended_finds_nothing_and_its_packet_comes,
    a_socket_that_is_closed_ends_its_polls,
    a_duplicate_keeps_the_polls_of_a_handle_that_is_closed,
    a_socket_that_another_process_keeps_has_its_polls_cancelled_where_it_is_closed,
    a_socket_that_another_process_keeps_is_polled_on_by_a_helper,
    a_helper_that_is_closed_leaves_its_polls,
    a_thread_that_ends_leaves_its_polls,
    what_happens_to_a_socket_has_its_flag,
    a_socket_without_room_is_not_ready_to_be_written,
    the_handles_of_a_socket_are_counted_wherever_they_are,
    handles_of_one_socket_are_told_from_others,
    a_poll_with_a_time_limit_ends_with_it,
    polls_of_several_sockets_share_a_helper,
    a_poll_of_what_is_not_open_is_refused_and_queues_nothing,
    a_file_has_one_port,
    posted_packets_come_whole_in_their_order_and_in_batches,
    a_cancel_that_finds_nothing_harms_nothing,
    a_cancel_that_succeeds_too_late_harms_nothing,
}
