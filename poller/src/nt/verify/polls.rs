//! What a poll answers, and when.

use std::time::Duration;

use super::ground::{Ground, fill};
use super::lab::{Flags, Issued, Lab, PollIndex};
use super::{Answer, Setting, Trouble, as_expected, expect};
use crate::afd::{PollingMode, Port};
use crate::nt::{Handle, Nt, Status, flag, timeout};
use crate::poller::Source;
use crate::{Events, Interest, Poller};

/// All that the backend ever polls for.
pub(super) const ALL: u32 =
    flag::RECEIVE | flag::SEND | flag::DISCONNECT | flag::ABORT | flag::ACCEPT | flag::CONNECT_FAIL;

/// What nobody has opened.
pub(super) const NOTHING: Handle = Handle(0x7FFF_FFF0);

pub(super) fn a_poll_waits_and_ends_with_one_packet<G: Ground>(setting: &Setting) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        lab.nothing_is_queued()?;
        lab.ground.write(&theirs, 1);
        lab.ends(poll, Status::SUCCESS, flag::RECEIVE)?;
        lab.nothing_is_queued()?;
    }
    as_expected()
}

pub(super) fn what_is_ready_is_answered_at_once<G: Ground>(setting: &Setting) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, _theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        let (status, poll) = lab.ask(control, ours.handle(), ALL);
        expect("the answer to a poll", status, Status::SUCCESS)?;
        expect(
            "what it has found",
            Flags(lab.answer(poll)?),
            Flags(flag::SEND),
        )?;
        lab.nothing_is_queued()?;
    }
    as_expected()
}

pub(super) fn an_answer_at_once_queues_a_packet_unless_the_file_skips_it<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, _theirs) = lab.pair()?;
    let control = ours.handle();
    lab.nt.associate(control, lab.port, super::lab::KEY)?;
    lab.skips_packets = false;
    let (status, poll) = lab.ask(control, control, ALL);
    expect("the answer to a poll", status, Status::SUCCESS)?;
    lab.ends(poll, Status::SUCCESS, flag::SEND)?;
    lab.nt.skip_packets_on_success(control)?;
    lab.skips_packets = true;
    let (status, _) = lab.ask(control, control, ALL);
    expect(
        "the answer where packets are skipped",
        status,
        Status::SUCCESS,
    )?;
    lab.nothing_is_queued()?;
    as_expected()
}

pub(super) fn a_cancel_ends_a_poll_with_one_packet<G: Ground>(setting: &Setting) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        expect(
            "the answer to a cancel",
            lab.cancel(control, poll),
            Status::SUCCESS,
        )?;
        expect(
            "to a second cancel",
            lab.cancel(control, poll),
            Status::NOT_FOUND,
        )?;
        lab.ground.write(&theirs, 1);
        lab.ends(poll, Status::CANCELLED, 0)?;
        lab.nothing_is_queued()?;
    }
    as_expected()
}

pub(super) fn a_cancel_of_what_has_ended_finds_nothing_and_its_packet_comes<G: Ground>(
    setting: &Setting,
) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        lab.ground.write(&theirs, 1);
        lab.ground.await_readable(&ours, lab.patience);
        // Not at once, on some systems: the packet is queued once another poll finds the data.
        let mut other = lab.beside()?;
        let helper = other.helper()?;
        let found = other.find(helper, &ours, flag::RECEIVE)?;
        expect(
            "what is found beside it",
            Flags(found),
            Flags(flag::RECEIVE),
        )?;
        expect(
            "the answer to a cancel",
            lab.cancel(control, poll),
            Status::NOT_FOUND,
        )?;
        lab.ends(poll, Status::SUCCESS, flag::RECEIVE)?;
    }
    as_expected()
}

/// By what AFD tells of each of the things that can happen to a socket.
pub(super) fn what_happens_to_a_socket_has_its_flag<G: Ground>(setting: &Setting) -> Answer {
    let told = |what, seen, expected| expect(what, Flags(seen), Flags(expected));
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        told(
            "of an idle connection",
            lab.find(control, &ours, ALL)?,
            flag::SEND,
        )?;
        lab.ground.write(&theirs, 1);
        let asked = flag::RECEIVE | flag::DISCONNECT | flag::ABORT;
        told("of data", lab.find(control, &ours, asked)?, flag::RECEIVE)?;
        lab.ground.read(&ours, 1);
        lab.ground.shutdown(&theirs)?;
        told(
            "of the peer's end",
            lab.find(control, &ours, asked)?,
            flag::DISCONNECT,
        )?;

        let (reset, theirs) = lab.pair()?;
        let control = lab.control(&reset, issued)?;
        lab.reset(theirs)?;
        let found = lab.find(control, &reset, asked)? & flag::ABORT;
        told("of a reset", found, flag::ABORT)?;

        let listener = lab.listen()?;
        let control = lab.control(&listener, issued)?;
        let poll = lab.wait_for(control, listener.handle(), ALL)?;
        let _client = lab.connect(&listener)?;
        lab.ends(poll, Status::SUCCESS, flag::ACCEPT)?;

        // Some systems refuse already when the attempt is started.
        if let Some(refused) = lab.refuse()? {
            let control = lab.control(&refused, issued)?;
            let found = lab.find(control, &refused, ALL)?;
            told("of a refusal", found, flag::CONNECT_FAIL)?;
        }
    }
    as_expected()
}

pub(super) fn a_socket_without_room_is_not_ready_to_be_written<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let (ours, theirs) = lab.pair()?;
    let control = lab.control(&ours, Issued::OnTheSocket)?;
    fill(&*lab.ground, &ours);
    let poll = lab.wait_for(control, ours.handle(), flag::SEND)?;
    let start = std::time::Instant::now();
    while lab.is_pending(poll)? {
        lab.ground.read(&theirs, 1 << 16);
        if start.elapsed() > lab.patience {
            return Err(Trouble::Differs("room is not told of".to_owned()));
        }
    }
    expect(
        "what it has found",
        Flags(lab.answer(poll)?),
        Flags(flag::SEND),
    )?;
    as_expected()
}

pub(super) fn a_full_socket_that_is_reset_is_reported_to_who_would_write<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut seen = 0;
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        fill(&*lab.ground, &ours);
        let mask = flag::SEND | flag::ABORT | flag::CONNECT_FAIL;
        let poll = lab.wait_for(control, ours.handle(), mask)?;
        lab.reset(theirs)?;
        expect(
            "the end of a poll",
            lab.next_packet()?,
            (poll, Status::SUCCESS),
        )?;
        seen = lab.answer(poll)?;
        expect("whether ABORT is told", seen & flag::ABORT != 0, true)?;
    }
    Ok(format!("{:?}", Flags(seen)))
}

/// With a packet that says that its time is over, and nothing found.
pub(super) fn a_poll_with_a_time_limit_ends_with_it<G: Ground>(setting: &Setting) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, _theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        lab.timeout = timeout::BOUNDED;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        lab.ends(poll, Status::TIMEOUT, 0)?;
        lab.nothing_is_queued()?;
    }
    as_expected()
}

pub(super) fn polls_of_several_sockets_share_a_helper<G: Ground>(setting: &Setting) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let helper = lab.helper()?;
    let mut pairs = Vec::new();
    for _ in 0..32 {
        pairs.push(lab.pair()?);
    }
    let mut polls = Vec::<PollIndex>::new();
    for (ours, _) in &pairs {
        polls.push(lab.wait_for(helper, ours.handle(), flag::RECEIVE)?);
    }
    expect(
        "the answer to a cancel",
        lab.cancel(helper, polls[7]),
        Status::SUCCESS,
    )?;
    lab.ends(polls[7], Status::CANCELLED, 0)?;
    for at in (0..32).filter(|at| *at != 7).rev() {
        lab.ground.write(&pairs[at].1, 1);
        lab.ends(polls[at], Status::SUCCESS, flag::RECEIVE)?;
    }
    as_expected()
}

pub(super) fn a_poll_of_what_is_not_open_is_refused_and_queues_nothing<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let helper = lab.helper()?;
    let (status, _) = lab.ask(helper, NOTHING, flag::RECEIVE);
    expect("whether it is an error", status.is_error(), true)?;
    lab.nothing_is_queued()?;
    Ok(format!("{status:?}"))
}

pub(super) fn somebody_else_s_poll_of_the_same_socket_takes_nothing_away<G: Ground>(
    setting: &Setting,
) -> Answer {
    for issued in Issued::WAYS {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let control = lab.control(&ours, issued)?;
        let poll = lab.wait_for(control, ours.handle(), flag::RECEIVE)?;
        let (ground, patience) = (&*lab.ground, lab.patience);
        let found = std::thread::scope(|scope| {
            let ours = &*ours;
            let asked = scope.spawn(move || ground.poll_elsewhere(ours, patience));
            ground.write(&theirs, 1);
            asked.join()
        });
        match found {
            Ok(found) => found?,
            Err(_) => {
                return Err(Trouble::NotAsked(
                    "the other thread has panicked".to_owned(),
                ));
            }
        }
        lab.ends(poll, Status::SUCCESS, flag::RECEIVE)?;
    }
    as_expected()
}

/// What the backend sees to that it never does itself: a poll for room, another one for data, and data comes.
pub(super) fn the_poll_that_data_is_for_is_the_one_that_is_answered<G: Ground>(
    setting: &Setting,
) -> Answer {
    for has_two_files in [false, true] {
        let mut lab = Lab::<G>::new(setting)?;
        let (ours, theirs) = lab.pair()?;
        let one = lab.helper()?;
        let other = if has_two_files { lab.helper()? } else { one };
        fill(&*lab.ground, &ours);
        // Long enough for a slow machine to have written by then.
        lab.timeout = timeout::BOUNDED * 8;
        let room = lab.wait_for(one, ours.handle(), flag::SEND)?;
        let data = lab.wait_for(other, ours.handle(), flag::RECEIVE)?;
        // On purpose: the backend has one poll for a socket.
        lab.ground.forgive();
        lab.ground.write(&theirs, 1);
        let (first, status) = lab.next_packet()?;
        let seen = (first == data, status, Flags(lab.answer(first)?));
        let expected = (true, Status::SUCCESS, Flags(flag::RECEIVE));
        let what = "whether the one for data, its status, what it has found";
        expect(what, seen, expected)?;
        lab.cancel(one, room);
    }
    as_expected()
}

/// Sockets that are made without the flag for overlapped operations, as some libraries do.
pub(super) fn a_socket_that_is_not_overlapped_is_polled_by_a_helper<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let socket = lab.open_not_overlapped()?;
    let helper = lab.helper()?;
    let poll = lab.wait_for(helper, socket.handle(), flag::RECEIVE)?;
    expect(
        "the answer to a cancel",
        lab.cancel(helper, poll),
        Status::SUCCESS,
    )?;
    lab.ends(poll, Status::CANCELLED, 0)?;
    let associated = lab.nt.associate(socket.handle(), lab.port, super::lab::KEY);
    let port = Port::<_>::with_mode(lab.another_nt()?, PollingMode::Auto)?;
    let mut poller = Poller::<_, (), _>::over(port);
    let key = poller.insert(socket);
    let key = key.map_err(|refused| Trouble::Differs(refused.error().to_string()))?;
    poller.set_interest(key, Interest::READABLE);
    let mut events = Events::with_capacity(1);
    poller.wait(&mut events, Some(Duration::ZERO))?;
    expect("whether the backend refuses it", !events.is_empty(), false)?;
    Ok(format!("its own association with a port: {associated:?}"))
}
