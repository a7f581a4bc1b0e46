//! What becomes of polls when files are closed, and what ports and handles do.

use std::thread;
use std::time::Duration;

use super::ground::Ground;
use super::lab::{Issued, KEY, Lab, Socket};
use super::polls::NOTHING;
use super::{Answer, Setting, as_expected, expect};
use crate::nt::{Nt, Packet, Status, flag};
use crate::poller::Source;

pub(super) fn a_socket_that_is_closed_ends_its_polls<G: Ground>(setting: &Setting) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, _theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        drop(ours);
        lab.ends(poll, Status::SUCCESS, flag::LOCAL_CLOSE)?;
        lab.nothing_is_queued()?;
    }
    as_expected()
}

pub(super) fn a_duplicate_keeps_the_polls_of_a_handle_that_is_closed<G: Ground>(
    setting: &Setting,
) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, _theirs) = lab.pair()?;
        let duplicate = lab.duplicate(&ours)?;
        let control = lab.control(&ours, issued)?;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        drop(ours);
        lab.nothing_is_queued()?;
        drop(duplicate);
        lab.ends(poll, Status::SUCCESS, flag::LOCAL_CLOSE)?;
    }
    as_expected()
}

/// Issued on the socket, a poll goes with the last handle of its process.
pub(super) fn a_socket_that_another_process_keeps_has_its_polls_cancelled_where_it_is_closed<
    G: Ground,
>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, _theirs) = lab.pair()?;
    let control = lab.control(&ours, Issued::OnTheSocket)?;
    let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
    let _keeper = lab.share(&ours)?;
    drop(ours);
    let ended = lab.ends_within(poll, Duration::from_millis(500))?;
    expect("how it ends, if it does", ended, Some(Status::CANCELLED))?;
    as_expected()
}

pub(super) fn a_socket_that_another_process_keeps_is_polled_on_by_a_helper<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, _theirs) = lab.pair()?;
    let control = lab.control(&ours, Issued::OnAHelper)?;
    let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
    let _keeper = lab.share(&ours)?;
    drop(ours);
    lab.nothing_is_queued()?;
    expect(
        "the answer to a cancel",
        lab.cancel(control, poll),
        Status::SUCCESS,
    )?;
    lab.ends(poll, Status::CANCELLED, 0)?;
    as_expected()
}

/// Nothing depends on which.
pub(super) fn a_helper_that_is_closed_leaves_its_polls_or_ends_them<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, theirs) = lab.pair()?;
    let helper = lab.helper()?;
    let poll = lab.wait_for(helper, ours.handle(), flag::RECEIVE)?;
    lab.close_helper(helper);
    // On purpose: the backend closes no helper that has a poll.
    lab.ground.forgive();
    lab.ground.write(&theirs, 1);
    let (ended, status) = lab.next_packet()?;
    expect("whose packet comes", ended, poll)?;
    match status {
        Status::SUCCESS => {
            expect("its answer", lab.answer(poll)?, flag::RECEIVE)?;
            Ok("it leaves them".to_owned())
        }
        status => {
            expect("whether that is an error", status.is_error(), true)?;
            Ok(format!("it ends them, with {status:?}"))
        }
    }
}

pub(super) fn a_thread_that_ends_leaves_its_polls<G: Ground>(setting: &Setting) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, theirs) = lab.pair()?;
    let control = lab.control(&ours, Issued::OnTheSocket)?;
    let asked = thread::scope(|scope| {
        let (lab, handle) = (&mut lab, ours.handle());
        let thread = scope.spawn(move || lab.wait_for(control, handle, flag::RECEIVE));
        thread.join()
    });
    let poll =
        asked.map_err(|_| super::Trouble::NotAsked("a thread has panicked".to_owned()))??;
    lab.nothing_is_queued()?;
    lab.ground.write(&theirs, 1);
    lab.ends(poll, Status::SUCCESS, flag::RECEIVE)?;
    as_expected()
}

/// By which the backend tells whether somebody else may poll the same socket.
pub(super) fn the_handles_of_a_socket_are_counted_wherever_they_are<G: Ground>(
    setting: &Setting,
) -> Answer {
    let lab = Lab::<G>::new(setting)?;
    let count = |socket: &Socket<G>| lab.nt.count_handles(socket.handle());
    let listener = lab.listen()?;
    let (ours, theirs) = lab.pair()?;
    for socket in [&listener, &ours, &theirs] {
        expect("of a new socket", count(socket), Ok(1))?;
    }
    let duplicate = lab.duplicate(&ours)?;
    expect("of two", (count(&ours), count(&duplicate)), (Ok(2), Ok(2)))?;
    drop(ours);
    expect("of one that is left", count(&duplicate), Ok(1))?;
    let _keeper = lab.share(&duplicate)?;
    expect("with one in another process", count(&duplicate), Ok(2))?;
    let refused = lab.nt.count_handles(NOTHING).is_err();
    expect("whether what is not open is refused", refused, true)?;
    as_expected()
}

/// By which the backend tells whether two sources are of one socket.
pub(super) fn handles_of_one_socket_are_told_from_others<G: Ground>(setting: &Setting) -> Answer {
    let lab = Lab::<G>::new(setting)?;
    let (ours, theirs) = lab.pair()?;
    let duplicate = lab.duplicate(&ours)?;
    let is_same = |one: &Socket<G>, other: &Socket<G>| lab.nt.is_same(one.handle(), other.handle());
    expect("one handle", is_same(&ours, &ours), Ok(true))?;
    expect("two of one socket", is_same(&ours, &duplicate), Ok(true))?;
    expect("the other way round", is_same(&duplicate, &ours), Ok(true))?;
    expect("two sockets", is_same(&ours, &theirs), Ok(false))?;
    let refused = lab.nt.is_same(ours.handle(), NOTHING).is_err();
    expect("whether what is not open is refused", refused, true)?;
    as_expected()
}

pub(super) fn a_file_has_one_port_until_it_is_taken_off<G: Ground>(setting: &Setting) -> Answer {
    let lab = Lab::<G>::new(setting)?;
    let (ours, _theirs) = lab.pair()?;
    let other = lab.beside()?;
    let associate = |port| lab.nt.associate(ours.handle(), port, KEY);
    expect("the first association", associate(lab.port), Ok(()))?;
    let again = (associate(lab.port), associate(other.port));
    let refused = Err(Status::INVALID_PARAMETER);
    expect(
        "the same port again, and another one",
        again,
        (refused, refused),
    )?;
    expect("taking it off", lab.nt.dissociate(ours.handle()), Ok(()))?;
    expect("another port after that", associate(other.port), Ok(()))?;
    as_expected()
}

/// The backend takes off what is idle; nothing depends on what becomes of the rest.
pub(super) fn a_file_with_a_poll_is_taken_off_its_port_or_not<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, theirs) = lab.pair()?;
    let control = lab.control(&ours, Issued::OnTheSocket)?;
    let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
    let answer = lab.nt.dissociate(control);
    // On purpose, as said above.
    lab.ground.forgive();
    lab.ground.write(&theirs, 1);
    let comes = match lab.ends_within(poll, Duration::from_millis(500))? {
        Some(_) => "its packet comes",
        None => "its packet does not come",
    };
    Ok(format!("{answer:?}; {comes}"))
}

pub(super) fn posted_packets_come_whole_in_their_order_and_in_batches<G: Ground>(
    setting: &Setting,
) -> Answer {
    let lab = Lab::<G>::new(setting)?;
    for number in 1..=5 {
        lab.post(number)?;
    }
    let mut packets = [Packet::EMPTY; 4];
    let mut take = || -> Result<Vec<_>, Status> {
        let count = lab
            .nt
            .dequeue(lab.port, &mut packets, Some(Duration::ZERO))?;
        let told = packets[..count].iter().map(|packet| {
            let status = packet.status;
            (
                packet.key,
                packet.context,
                status.status.status,
                status.information,
            )
        });
        Ok(told.collect())
    };
    let posted = |number| (number * 2, number, Status(7), number * 3);
    expect("the first four", take()?, [1, 2, 3, 4].map(posted).to_vec())?;
    expect("the last one", take()?, vec![posted(5)])?;
    expect("what is left", take()?, vec![])?;
    as_expected()
}

/// The claim that a listener of ours makes to its address may outlive it; nothing depends on it but how soon a server
/// can be started again.
pub(super) fn an_address_is_bound_again_while_a_connection_of_its_last_listener_lives<G: Ground>(
    setting: &Setting,
) -> Answer {
    let lab = Lab::<G>::new(setting)?;
    let told = lab.ground.bind_again()?.map(|outcome| match outcome {
        Ok(()) => "is bound".to_owned(),
        Err(error) => error.to_string(),
    });
    let [claimed, plain] = told;
    Ok(format!("with the claim: {claimed}; without: {plain}"))
}

/// Child processes that are started between the two calls would keep the connection open. A listener of ours cannot
/// be inherited; what follows for the handles that it accepts is documented nowhere.
pub(super) fn a_handle_that_is_accepted_can_be_inherited_or_not<G: Ground>(
    setting: &Setting,
) -> Answer {
    let lab = Lab::<G>::new(setting)?;
    let told = lab.ground.accept_inheritable()?.map(|is| match is {
        true => "can be",
        false => "cannot be",
    });
    let [ours, plain] = told;
    Ok(format!(
        "from a listener that cannot be inherited: it {ours}; from one that can: it {plain}"
    ))
}
