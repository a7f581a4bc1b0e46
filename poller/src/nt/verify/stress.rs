//! Two polls of one socket, again and again; and what many polls cost.
//!
//! Windows before 11 and Server 2022 is known to mix up two polls of one socket. The backend never has two; who
//! shares a socket with others may. All polls here have a time limit, so that a lost answer is a delay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::ground::Ground;
use super::lab::{Flags, Issued, Lab, PollIndex, Socket};
use super::{Answer, Setting, Trouble, as_expected, expect};
use crate::nt::{Handle, Status, flag, timeout};
use crate::poller::Source;

/// What came of the rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rounds: u32,
    /// Answers that never came: data was there, and the poll for it ended with its time.
    lost: u32,
    /// Answers with flags that only the other poll has asked for.
    foreign: u32,
}

impl Tally {
    fn told(self, spent: Duration) -> Answer {
        let Tally {
            rounds,
            lost,
            foreign,
        } = self;
        let each = spent.as_micros() / u128::from(rounds.max(1));
        let text =
            format!("{rounds} rounds of {each} us: {lost} lost, {foreign} with others' flags");
        match lost + foreign {
            0 => Ok(text),
            _ => Err(Trouble::Differs(text)),
        }
    }

    /// One poll has ended that asked for this. It may have found nothing if it was begun too early.
    fn add(&mut self, found: u32, asked: u32, is_early: bool) {
        self.lost += u32::from(found & asked == 0 && !is_early);
        self.foreign += u32::from(found & !asked & super::polls::ALL != 0);
    }
}

/// Data comes while two polls are pending, one for data and one for what does not happen.
pub(super) fn two_polls_of_one_socket_are_told_apart<G: Ground>(setting: &Setting) -> Answer {
    const NEVER: u32 = flag::ABORT | flag::DISCONNECT | flag::CONNECT_FAIL;
    let mut lab = Lab::<G>::new(setting)?;
    let mut other = lab.beside()?;
    let (ours, theirs) = lab.datagrams()?;
    let (helper, others) = (lab.helper()?, other.helper()?);
    (lab.timeout, other.timeout) = (timeout::BOUNDED, timeout::BOUNDED);
    let mut tally = Tally::default();
    let start = Instant::now();
    while tally.rounds < setting.rounds && start.elapsed() < setting.within {
        tally.rounds += 1;
        let begun = Instant::now();
        // In turn, as it may matter who was first.
        let (data, never) = match tally.rounds % 2 {
            0 => {
                let data = lab.wait_for(helper, ours.handle(), flag::RECEIVE)?;
                (data, other.wait_for(others, ours.handle(), NEVER)?)
            }
            _ => {
                let never = other.wait_for(others, ours.handle(), NEVER)?;
                (lab.wait_for(helper, ours.handle(), flag::RECEIVE)?, never)
            }
        };
        expect("how much is written", lab.ground.write(&theirs, 1), 1)?;
        receive(&mut lab, &ours, (data, is_early(begun)), &mut tally)?;
        other.cancel(others, never);
        let (_, status) = other.next_packet()?;
        let found = if status.is_error() {
            0
        } else {
            other.answer(never)?
        };
        tally.foreign += u32::from(found & !NEVER != 0);
    }
    tally.told(start.elapsed())
}

/// Whether a poll that was begun then may have ended with its time before anything was written just now.
fn is_early(begun: Instant) -> bool {
    begun.elapsed() > Duration::from_millis(100)
}

/// A poll for data ends, as data has come, and it is taken.
fn receive<G: Ground>(
    lab: &mut Lab<G>,
    ours: &Socket<G>,
    (data, is_early): (PollIndex, bool),
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let (ended, status) = lab.next_packet()?;
    expect("whose packet comes", ended, data)?;
    let found = if status.is_error() {
        0
    } else {
        lab.answer(data)?
    };
    tally.add(found, flag::RECEIVE, is_early);
    lab.ground.await_readable(ours, lab.patience);
    expect("how much is read", lab.ground.read(ours, 64), 1)
}

/// One thread polls a socket for data, which comes now and then, another one for room, which there is.
pub(super) fn two_threads_that_poll_one_socket_do_not_disturb_each_other<G: Ground>(
    setting: &Setting,
) -> Answer {
    let mut lab = Lab::<G>::new(setting)?;
    let mut other = lab.beside()?;
    let (ours, theirs) = lab.datagrams()?;
    let (helper, others) = (lab.helper()?, other.helper()?);
    (lab.timeout, other.timeout) = (timeout::BOUNDED, timeout::BOUNDED);
    let is_over = AtomicBool::new(false);
    let (mut tally, start) = (Tally::default(), Instant::now());
    let joined = thread::scope(|scope| -> Result<_, Trouble> {
        let (socket, is_over) = (ours.handle(), &is_over);
        let writer = scope.spawn(move || poll_for_room(&mut other, others, socket, is_over));
        let mut outcome = Ok(());
        while outcome.is_ok() && tally.rounds < setting.rounds && start.elapsed() < setting.within {
            tally.rounds += 1;
            outcome = poll_for_data(&mut lab, helper, (&ours, &theirs), &mut tally);
        }
        is_over.store(true, Ordering::Relaxed);
        let room = writer.join();
        outcome?;
        room.map_err(|_| Trouble::NotAsked("a thread has panicked".to_owned()))?
    });
    let room = joined?;
    tally.lost += room.lost;
    tally.foreign += room.foreign;
    tally.told(start.elapsed())
}

fn poll_for_data<G: Ground>(
    lab: &mut Lab<G>,
    helper: Handle,
    (ours, theirs): (&Socket<G>, &Socket<G>),
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let begun = Instant::now();
    let data = lab.wait_for(helper, ours.handle(), flag::RECEIVE)?;
    expect("how much is written", lab.ground.write(theirs, 1), 1)?;
    receive(lab, ours, (data, is_early(begun)), tally)
}

fn poll_for_room<G: Ground>(
    lab: &mut Lab<G>,
    helper: Handle,
    socket: Handle,
    is_over: &AtomicBool,
) -> Result<Tally, Trouble> {
    let mut tally = Tally::default();
    while !is_over.load(Ordering::Relaxed) {
        let (mut status, poll) = lab.ask(helper, socket, flag::SEND);
        if status == Status::PENDING {
            status = lab.next_packet()?.1;
        }
        let found = if status.is_error() {
            0
        } else {
            lab.answer(poll)?
        };
        tally.add(found, flag::SEND, false);
        // Memory that was lent is never freed.
        if tally.rounds > 200_000 {
            break;
        }
        tally.rounds += 1;
        thread::yield_now();
    }
    Ok(tally)
}

/// What it takes to begin and to end so many polls, by helpers that 32 share.
fn what_polls_cost<G: Ground>(setting: &Setting, issued: Issued, count: usize) -> Answer {
    let mut lab = Lab::<G>::new(&setting.without_trace())?;
    let limit = Instant::now() + setting.within;
    let mut sockets = Vec::new();
    while sockets.len() < count && Instant::now() < limit {
        sockets.push(lab.listen()?);
    }
    let count = sockets.len();
    let (calls, start) = (lab.nt.calls(), Instant::now());
    let mut polls = Vec::with_capacity(count);
    let mut control = None;
    for (at, socket) in sockets.iter().enumerate() {
        if at % 32 == 0 || issued == Issued::OnTheSocket {
            control = Some(lab.control(socket, issued)?);
        }
        if let Some(control) = control {
            polls.push((
                control,
                lab.wait_for(control, socket.handle(), flag::ACCEPT)?,
            ));
        }
    }
    let (begun, to_begin) = (lab.nt.calls() - calls, start.elapsed());
    let (calls, start) = (lab.nt.calls(), Instant::now());
    for (control, poll) in &polls {
        expect(
            "the answer to a cancel",
            lab.cancel(*control, *poll),
            Status::SUCCESS,
        )?;
    }
    for _ in &polls {
        let (_, status) = lab.next_packet()?;
        expect(
            "the status of what was cancelled",
            status,
            Status::CANCELLED,
        )?;
    }
    let (ended, to_end) = (lab.nt.calls() - calls, start.elapsed());
    let [to_begin, to_end] = [to_begin, to_end].map(|time| time.as_micros());
    Ok(format!(
        "{count} polls: begun by {begun} calls in {to_begin} us, ended by {ended} in {to_end} us"
    ))
}

pub(super) fn a_thousand_polls_on_helpers<G: Ground>(setting: &Setting) -> Answer {
    what_polls_cost::<G>(setting, Issued::OnAHelper, setting.polls)
}

pub(super) fn ten_thousand_polls_on_helpers<G: Ground>(setting: &Setting) -> Answer {
    what_polls_cost::<G>(setting, Issued::OnAHelper, setting.polls * 10)
}

pub(super) fn a_thousand_polls_on_sockets<G: Ground>(setting: &Setting) -> Answer {
    what_polls_cost::<G>(setting, Issued::OnTheSocket, setting.polls)
}

pub(super) fn ten_thousand_polls_on_sockets<G: Ground>(setting: &Setting) -> Answer {
    what_polls_cost::<G>(setting, Issued::OnTheSocket, setting.polls * 10)
}

/// How long one poll of what is ready takes, again and again.
pub(super) fn polls_of_what_is_ready<G: Ground>(setting: &Setting) -> Answer {
    let mut lab = Lab::<G>::new(&setting.without_trace())?;
    let (ours, _theirs) = lab.pair()?;
    let helper = lab.helper()?;
    let (count, start) = (setting.polls * 10, Instant::now());
    for _ in 0..count {
        let (status, poll) = lab.ask(helper, ours.handle(), flag::SEND);
        expect("the answer to a poll", status, Status::SUCCESS)?;
        expect(
            "what it has found",
            Flags(lab.answer(poll)?),
            Flags(flag::SEND),
        )?;
    }
    match count {
        0 => as_expected(),
        count => Ok(format!(
            "{count} polls in {} us",
            start.elapsed().as_micros()
        )),
    }
}
