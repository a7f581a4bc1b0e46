//! Says whether the simulated kernel could have answered as a trace says that a kernel has.
//!
//! Each call of the trace is made to a simulated kernel, which then is in the state that the real one was in.
//! What is ready, and when polls end, is for the trace to say: the simulated kernel is made to answer the same where
//! its rules allow that, and the first line where they do not is named.

use std::cell::UnsafeCell;
use std::collections::{BTreeMap, HashMap};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use super::trace::{Content, Dequeue, Found, Kind, Line, Name, Origin, Submit};
use crate::nt::sim::{Kernel, LastClose, Sim};
use crate::nt::{
    AfdPollHandleInfo, AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, StatusOrPointer,
    Submission, timeout,
};

/// A dequeue that has waited so long and brought nothing proves that nothing was due.
const WAITED: u64 = 10_000;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    pub(crate) sections: u32,
    pub(crate) lines: usize,
    /// Where it could not have answered so: the number of the line, from 1, and why. One for each section at most.
    pub(crate) refusals: Vec<(usize, String)>,
    /// What it may do, and rarely does.
    pub(crate) choices: Choices,
}

/// Makes the calls of a trace to simulated kernels, one for each section.
pub(crate) fn replay(lines: &[Line]) -> Replay {
    let mut outcome = Replay {
        lines: lines.len(),
        ..Replay::default()
    };
    let mut stage = Stage::default();
    let mut is_refused = false;
    for (at, line) in lines.iter().enumerate() {
        if matches!(line, Line::Section(_)) {
            outcome.sections += 1;
            (stage, is_refused) = (Stage::default(), false);
        }
        let rest = &lines[at + 1..];
        let is_last = matches!(rest.first(), None | Some(Line::Section(_)));
        if !is_refused
            && let Err(why) = stage
                .play(line, rest, &mut outcome.choices)
                .and_then(|()| stage.check_missing(!is_last))
        {
            outcome.refusals.push((at + 1, why));
            is_refused = true;
        }
    }
    outcome
}

/// What it may do, and rarely does, and how often.
type Choices = BTreeMap<&'static str, u32>;

/// Why the simulated kernel could not have answered so.
type Played = Result<(), String>;

/// What it is lent for one poll.
struct Memory {
    status: UnsafeCell<IoStatusBlock>,
    info: UnsafeCell<AfdPollInfo>,
}

/// What is known of a poll until its packet comes.
#[derive(Clone, Copy)]
struct InFlight {
    object: u32,
    is_endless: bool,
    /// What it has asked for.
    mask: u32,
    /// What polls have asked for that were in flight beside it and are of the same object.
    others: u32,
}

/// One section's kernel. Fields are dropped in their order: the kernel before the memory that it was lent.
struct Stage {
    nt: Sim,
    kernel: Arc<Kernel>,
    handles: HashMap<Name, Handle>,
    memory: HashMap<u32, Rc<Memory>>,
    /// What is in flight.
    polls: HashMap<u32, InFlight>,
    /// Out of which port the next packets come, and how many.
    dequeued: Option<(Name, usize)>,
}

impl Default for Stage {
    fn default() -> Self {
        let kernel = Arc::<Kernel>::default();
        // What is queued, and what becomes of polls when something is closed, is for the trace to say.
        let mut state = kernel.state();
        state.mood.is_slow = true;
        state.mood.last_close = LastClose::Leaves;
        state.mood.leaves_shared = true;
        drop(state);
        Stage {
            nt: Sim::new(&kernel),
            kernel,
            handles: HashMap::new(),
            memory: HashMap::new(),
            polls: HashMap::new(),
            dequeued: None,
        }
    }
}

/// Contexts of polls are even, those of marks odd.
fn context(origin: Origin) -> usize {
    match origin {
        Origin::Poll(poll) => poll as usize * 2,
        Origin::Mark(mark) => mark as usize * 2 + 1,
    }
}

fn packet(content: &Content) -> Packet {
    Packet {
        key: content.key,
        context: context(content.origin),
        status: IoStatusBlock {
            status: StatusOrPointer::new(content.status),
            information: content.information,
        },
    }
}

/// A call that the simulated kernel has answered, too. It may refuse what it likes, but not have done what it
/// has refused.
fn compare(what: &str, seen: Status, here: Status) -> Played {
    match (seen.is_error(), here.is_error()) {
        (false, true) => Err(format!("{what} is refused here, with {here:?}")),
        (true, false) => Err(format!(
            "{what} is not refused here, but was, with {seen:?}"
        )),
        _ => Ok(()),
    }
}

fn note(choices: &mut Choices, what: &'static str) {
    *choices.entry(what).or_default() += 1;
}

fn status_of<T>(answer: &Result<T, Status>) -> Status {
    answer.as_ref().err().copied().unwrap_or(Status::SUCCESS)
}

impl Stage {
    fn handle(&self, name: Name) -> Handle {
        let known = self.handles.get(&name).copied();
        known.unwrap_or(Handle(0x7FFF_0000 + name.1 as usize * 4))
    }

    fn is_open(&self, name: Name) -> bool {
        self.handles.contains_key(&name)
    }

    fn opened(&mut self, name: Name, handle: Handle) -> Played {
        match self.handles.insert(name, handle) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is open already")),
        }
    }

    /// The packets of a dequeue follow it, before anything else.
    fn check_missing(&self, may_follow: bool) -> Played {
        match self.dequeued {
            Some((_, left)) if left > 0 && !may_follow => Err(format!(
                "{left} packets are missing that were told of before"
            )),
            _ => Ok(()),
        }
    }

    fn play(&mut self, line: &Line, rest: &[Line], choices: &mut Choices) -> Played {
        self.check_missing(matches!(line, Line::Packet(..)))?;
        match line {
            Line::Section(_) => Ok(()),
            Line::Opened(..)
            | Line::Duplicated(..)
            | Line::Shared(..)
            | Line::Closed(..)
            | Line::CreatePort(..)
            | Line::OpenHelper(..)
            | Line::OpensNothing(..) => self.play_deed(line),
            Line::Count(file, answer) => self.count(*file, *answer, choices),
            Line::Same(one, other, answer) => self.is_same(*one, *other, *answer),
            Line::Associate(file, port, key, answer) => {
                self.associate(*file, *port, (*key, *answer), choices)
            }
            Line::Dissociate(file, answer) => self.dissociate(*file, *answer, choices),
            Line::Skip(file, answer) => {
                self.kernel.state().mood.keeps_packets = answer.is_error();
                let here = self.nt.skip_packets_on_success(self.handle(*file));
                compare("skipping packets", *answer, status_of(&here))
            }
            Line::Submit(it) => self.submit(it, choices),
            Line::Cancel(poll, control, answer) => self.cancel(*poll, *control, *answer, rest),
            Line::Post(port, content, answer) => self.post(*port, content, *answer),
            Line::Dequeue(it) => self.dequeue(it),
            Line::Packet(content, found) => self.packet(content, *found, choices),
        }
    }

    fn play_deed(&mut self, line: &Line) -> Played {
        match line {
            Line::Opened(name) => {
                let handle = self.kernel.open_bare();
                self.opened(*name, handle)
            }
            Line::Duplicated(name, of) if self.is_open(*of) => {
                let handle = self.kernel.duplicate(self.handle(*of));
                self.opened(*name, handle)
            }
            Line::Shared(name) if self.is_open(*name) => {
                self.kernel.share(self.handle(*name), true);
                Ok(())
            }
            Line::Duplicated(_, name) | Line::Shared(name) => Err(format!("{name} is not open")),
            Line::Closed(name) => match self.handles.remove(name) {
                None if name.0 == Kind::Nothing => Ok(()),
                None => Err(format!("{name} is not open")),
                Some(handle) => {
                    self.nt.close(handle);
                    Ok(())
                }
            },
            Line::CreatePort(name) => match self.nt.create_port() {
                Ok(handle) => self.opened(*name, handle),
                Err(status) => Err(format!("a port is refused here, with {status:?}")),
            },
            Line::OpenHelper(name) => match self.nt.open_helper() {
                Ok(handle) => self.opened(*name, handle),
                Err(status) => Err(format!("a helper is refused here, with {status:?}")),
            },
            _ => Ok(()),
        }
    }

    fn count(&mut self, file: Name, answer: Result<u32, Status>, choices: &mut Choices) -> Played {
        let here = self.nt.count_handles(self.handle(file));
        match (answer, here) {
            (Ok(seen), Ok(here)) if seen < here => {
                Err(format!("{seen} handles are counted where there are {here}"))
            }
            (Ok(seen), Ok(here)) => {
                if seen > here {
                    note(choices, "handles counted that are not there");
                }
                Ok(())
            }
            (Ok(_), Err(status)) => Err(format!("what is not open here is counted: {status:?}")),
            (Err(_), _) => Ok(()),
        }
    }

    fn is_same(&mut self, one: Name, other: Name, answer: Result<bool, Status>) -> Played {
        let here = self.nt.is_same(self.handle(one), self.handle(other));
        match (answer, here) {
            (Ok(seen), Ok(here)) if seen == here => Ok(()),
            (Ok(seen), here) => Err(format!(
                "told that they are of one file: {seen}, here {here:?}"
            )),
            // It may be unable to tell.
            (Err(_), _) => Ok(()),
        }
    }

    fn associate(
        &mut self,
        file: Name,
        port: Name,
        (key, answer): (usize, Status),
        choices: &mut Choices,
    ) -> Played {
        let (handle, port) = (self.handle(file), self.handle(port));
        if answer.is_error() {
            // As of sockets that are not for overlapped operations.
            if self.is_open(file) && !self.kernel.has_port(handle) {
                note(choices, "files not taken on by a port");
            }
            return Ok(());
        }
        let here = self.nt.associate(handle, port, key);
        compare("an association", answer, status_of(&here))
    }

    fn dissociate(&mut self, file: Name, answer: Status, choices: &mut Choices) -> Played {
        if answer.is_error() {
            note(choices, "files not taken off their port");
        }
        self.kernel.state().mood.keeps_association = answer.is_error();
        let here = self.nt.dissociate(self.handle(file));
        compare("taking a file off its port", answer, status_of(&here))
    }

    fn submit(&mut self, it: &Submit, choices: &mut Choices) -> Played {
        let socket = self.handle(it.socket);
        let question = AfdPollInfo {
            timeout: it.timeout,
            number_of_handles: 1,
            exclusive: 0,
            handles: [AfdPollHandleInfo {
                handle: socket,
                events: it.mask,
                status: Status::SUCCESS,
            }],
        };
        let memory = Rc::new(Memory {
            status: UnsafeCell::new(IoStatusBlock::new(Status::PENDING, 0)),
            info: UnsafeCell::new(question),
        });
        let submission = Submission {
            control: self.handle(it.control),
            context: context(Origin::Poll(it.poll)),
            status: NonNull::from(&memory.status).cast(),
            info: NonNull::from(&memory.info).cast(),
        };
        if self.memory.insert(it.poll, memory).is_some() {
            return Err(format!("poll{} was submitted already", it.poll));
        }
        let finds_nothing = it.found.is_some_and(|found| found.flags == 0);
        {
            let mood = &mut self.kernel.state().mood;
            mood.refuses_submit = it.status.is_error().then_some(it.status);
            mood.answers_nothing = finds_nothing;
        }
        // What its packet has found is told by the packet.
        let is_ready = it.status == Status::SUCCESS;
        self.kernel
            .have_ready(socket, if is_ready { it.mask } else { 0 });
        // SAFETY: the memory is kept for as long as the kernel, which is dropped before.
        let here = unsafe { self.nt.submit(submission) };
        self.kernel.have_ready(socket, 0);
        self.kernel.state().mood.refuses_submit = None;
        self.kernel.state().mood.answers_nothing = false;
        compare("a poll", it.status, here)?;
        if it.status.is_error() {
            note(choices, "polls refused");
        }
        if finds_nothing {
            note(choices, "polls answered at once with nothing");
        }
        let Some(object) = self.kernel.object(socket).filter(|_| !it.status.is_error()) else {
            return Ok(());
        };
        let mut asked = InFlight {
            object,
            is_endless: it.timeout == timeout::ENDLESS,
            mask: it.mask,
            others: 0,
        };
        let beside = self.polls.values_mut();
        for other in beside.filter(|other| other.object == object) {
            other.others |= it.mask;
            asked.others |= other.mask;
        }
        match it.found {
            Some(found) => self.check_found(asked, found, choices),
            None => {
                self.polls.insert(it.poll, asked);
                Ok(())
            }
        }
    }

    /// Flags are those that were asked for, or such as nobody knows.
    fn check_found(&self, asked: InFlight, found: Found, choices: &mut Choices) -> Played {
        let InFlight {
            object,
            mask,
            others,
            ..
        } = asked;
        if found.is_odd {
            return Err("the answer lists other sockets than were asked about".to_owned());
        }
        let Ok(strange) = self.kernel.may_find(object, (mask, others), found.flags) else {
            let flags = found.flags;
            return Err(format!(
                "{flags:#05x} is found where {mask:#05x} was asked for"
            ));
        };
        if let Some(strange) = strange {
            note(choices, strange);
        }
        Ok(())
    }

    fn cancel(
        &mut self,
        poll: Option<u32>,
        control: Name,
        answer: Status,
        rest: &[Line],
    ) -> Played {
        let block = poll.and_then(|poll| self.memory.get(&poll));
        let Some((block, poll)) = block.zip(poll) else {
            return Ok(());
        };
        let block = NonNull::from(&block.status).cast();
        // If it has ended by itself, it had before: what its packet says is ahead.
        if let Some((status, flags)) = end_of(poll, rest)
            && status != Status::CANCELLED
        {
            self.kernel.end(context(Origin::Poll(poll)), status, flags);
        }
        self.kernel.state().mood.cancels_too_late = true;
        let here = self.nt.cancel(self.handle(control), block);
        match (answer, here) {
            // Any other answer is allowed.
            (Status::SUCCESS, here) if here.is_error() => Err(format!(
                "a cancel has succeeded, but here poll{poll} is not in flight"
            )),
            _ => Ok(()),
        }
    }

    fn post(&mut self, port: Name, content: &Content, answer: Status) -> Played {
        self.kernel.state().mood.refuses_post = answer.is_error().then_some(answer);
        let here = self.nt.post(self.handle(port), packet(content));
        compare("a post", answer, here)
    }

    fn dequeue(&mut self, it: &Dequeue) -> Played {
        let count = it.count.unwrap_or(0);
        if count > it.room {
            let room = it.room;
            return Err(format!(
                "{count} packets have come where there is room for {room}"
            ));
        }
        if count == 0
            && it.count.is_ok()
            && it.wait.is_none_or(|wait| wait >= WAITED)
            && let Some(due) = self.kernel.due(self.handle(it.port))
        {
            return Err(format!(
                "nothing has come, but here the packet of {} is due",
                told(due)
            ));
        }
        self.dequeued = Some((it.port, count));
        Ok(())
    }

    fn packet(&mut self, told: &Content, found: Option<Found>, choices: &mut Choices) -> Played {
        let port = match self.dequeued.as_mut() {
            Some((port, left)) if *left > 0 => {
                *left -= 1;
                *port
            }
            _ => return Err("a packet has come that no dequeue has told of".to_owned()),
        };
        let context = context(told.origin);
        if let Origin::Poll(poll) = told.origin {
            let Some(asked) = self.polls.remove(&poll) else {
                return Err(format!(
                    "a packet of poll{poll} has come, which is not in flight"
                ));
            };
            self.check_end(context, told.status, asked.is_endless, found, choices)?;
            let found = found.unwrap_or(Found {
                flags: 0,
                is_odd: false,
            });
            self.check_found(asked, found, choices)?;
            self.kernel.end(context, told.status, found.flags);
        }
        let Some(here) = self.kernel.take(self.handle(port), context) else {
            return Err(format!("no such packet is due at {port}"));
        };
        let is_posted = matches!(told.origin, Origin::Mark(_));
        let key = (told.key, told.status);
        if key != (here.key, here.status.status.status)
            || is_posted && told.information != here.status.information
        {
            return Err(format!("the packet is {told}, but here it is {here:?}"));
        }
        Ok(())
    }

    /// Whether a poll may end with this status, and what is strange about it.
    fn check_end(
        &self,
        context: usize,
        status: Status,
        is_endless: bool,
        found: Option<Found>,
        choices: &mut Choices,
    ) -> Played {
        let finds_nothing = found.is_none_or(|found| found.flags == 0);
        let strange = match status {
            Status::SUCCESS if !finds_nothing => return Ok(()),
            Status::SUCCESS => "polls that end with nothing",
            Status::TIMEOUT if !finds_nothing => {
                return Err("its time was over, and it has found something".to_owned());
            }
            Status::TIMEOUT if is_endless => "ends of a time that was not limited",
            Status::TIMEOUT => return Ok(()),
            Status::CANCELLED if self.kernel.is_told_to_end(context) => return Ok(()),
            Status::CANCELLED => "polls cancelled unasked",
            status if status.is_error() => "polls that end with an error",
            status => return Err(format!("no poll ends with {status:?}")),
        };
        note(choices, strange);
        Ok(())
    }
}

/// What the packet of a poll will say, if it comes in this section.
fn end_of(poll: u32, rest: &[Line]) -> Option<(Status, u32)> {
    let section = rest
        .iter()
        .take_while(|line| !matches!(line, Line::Section(_)));
    let mut packets = section.filter_map(|line| match line {
        Line::Packet(content, found) => Some((content, found)),
        _ => None,
    });
    let (content, found) = packets.find(|(content, _)| content.origin == Origin::Poll(poll))?;
    Some((content.status, found.map_or(0, |found| found.flags)))
}

/// What a context stands for.
fn told(context: usize) -> String {
    match context % 2 {
        0 => format!("poll{}", context / 2),
        _ => format!("mark{}", context / 2),
    }
}
