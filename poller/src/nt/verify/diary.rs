//! A kernel's calls, written down as they are made.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::trace::{Content, Dequeue, Found, Kind, Line, Name, Origin, Submit};
use crate::nt::{AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, Submission};

/// How many lines one section has at most: the rest of what it is about is not written down.
const LINES_MAX: usize = 50_000;

/// The sections of all that is written down.
#[derive(Clone, Default)]
pub(crate) struct Volume(Arc<Mutex<Vec<Diary>>>);

impl Volume {
    /// A new section, in which names begin anew.
    pub(crate) fn section(&self, title: &str) -> Diary {
        let diary = Diary(Some(Arc::default()));
        diary.note(|record| record.lines.push(Line::Section(title.to_owned())));
        let mut sections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sections.push(diary.clone());
        diary
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let sections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let records = sections.iter().filter_map(Diary::record);
        records.flat_map(|record| record.lines.clone()).collect()
    }
}

/// One section, or nothing where nothing is to be written down.
#[derive(Clone, Default)]
pub(crate) struct Diary(Option<Arc<Mutex<Record>>>);

#[derive(Default)]
struct Record {
    lines: Vec<Line>,
    names: HashMap<Handle, Name>,
    named: HashMap<Kind, u32>,
    /// By context.
    in_flight: HashMap<usize, InFlight>,
    /// Polls by the addresses of their status blocks.
    blocks: HashMap<usize, u32>,
    polls: u32,
    marks: HashMap<usize, u32>,
    /// The files that queue no packet for what they answer at once.
    skips: HashSet<Name>,
}

/// What has to be known of a poll when its packet comes.
#[derive(Clone, Copy)]
struct InFlight {
    poll: u32,
    info: NonNull<AfdPollInfo>,
    socket: Handle,
}

// SAFETY: the pointer is followed only when the poll is over, by the thread that was given its packet.
unsafe impl Send for InFlight {}

impl InFlight {
    /// What the answer says.
    ///
    /// # Safety
    ///
    /// The poll is over, and nobody was told so yet but the caller.
    unsafe fn found(self) -> Found {
        // SAFETY: the kernel is done with it, and its owner does not know that yet.
        let info = unsafe { self.info.read() };
        let [listed] = info.handles;
        match info.number_of_handles {
            0 => Found {
                flags: 0,
                is_odd: false,
            },
            count => Found {
                flags: listed.events,
                is_odd: count > 1 || listed.handle != self.socket,
            },
        }
    }
}

impl Record {
    fn open(&mut self, kind: Kind, handle: Handle) -> Name {
        let number = self.named.entry(kind).or_default();
        *number += 1;
        let name = Name(kind, *number);
        self.names.insert(handle, name);
        name
    }

    fn name(&mut self, handle: Handle) -> Name {
        match self.names.get(&handle) {
            Some(name) => *name,
            None => self.open(Kind::Nothing, handle),
        }
    }

    fn mark(&mut self, context: usize) -> u32 {
        let next = self.marks.len() as u32 + 1;
        *self.marks.entry(context).or_insert(next)
    }

    fn close(&mut self, handle: Handle) {
        let name = self.name(handle);
        self.names.remove(&handle);
        self.skips.remove(&name);
        self.lines.push(Line::Closed(name));
    }
}

fn status_of<T>(answer: &Result<T, Status>) -> Status {
    answer.as_ref().err().copied().unwrap_or(Status::SUCCESS)
}

impl Diary {
    fn record(&self) -> Option<MutexGuard<'_, Record>> {
        let record = self.0.as_ref()?;
        Some(record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, write: impl FnOnce(&mut Record)) {
        if let Some(mut record) = self.record()
            && record.lines.len() < LINES_MAX
        {
            write(&mut record);
        }
    }

    pub(super) fn opened(&self, socket: Handle) {
        self.note(|record| {
            let name = record.open(Kind::Socket, socket);
            record.lines.push(Line::Opened(name));
        });
    }

    pub(super) fn duplicated(&self, socket: Handle, of: Handle) {
        self.note(|record| {
            let of = record.name(of);
            let name = record.open(Kind::Socket, socket);
            record.lines.push(Line::Duplicated(name, of));
        });
    }

    pub(super) fn shared(&self, socket: Handle) {
        self.note(|record| {
            let name = record.name(socket);
            record.lines.push(Line::Shared(name));
        });
    }

    pub(super) fn closes(&self, handle: Handle) {
        self.note(|record| record.close(handle));
    }
}

/// Passes all calls on, counts them, and writes them down if that is wanted.
pub(crate) struct Recorder<N> {
    inner: N,
    diary: Diary,
    calls: Arc<AtomicU64>,
}

impl<N> Recorder<N> {
    pub(crate) fn new(inner: N, diary: Diary) -> Self {
        let calls = Arc::default();
        Recorder {
            inner,
            diary,
            calls,
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn count(&self) -> &N {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &self.inner
    }

    fn opens(&self, kind: Kind, answer: Result<Handle, Status>) -> Result<Handle, Status> {
        self.diary.note(|record| {
            let line = match answer {
                Err(status) => Line::OpensNothing(kind, status),
                Ok(handle) if kind == Kind::Port => Line::CreatePort(record.open(kind, handle)),
                Ok(handle) => Line::OpenHelper(record.open(kind, handle)),
            };
            record.lines.push(line);
        });
        answer
    }
}

// SAFETY: it answers as the inner one does. What it reads was lent to polls that are over, before their
// owner is told so.
unsafe impl<N: Nt> Nt for Recorder<N> {
    fn new() -> io::Result<Self> {
        Ok(Recorder::new(N::new()?, Diary::default()))
    }

    fn create_port(&self) -> Result<Handle, Status> {
        self.opens(Kind::Port, self.count().create_port())
    }

    fn open_helper(&self) -> Result<Handle, Status> {
        self.opens(Kind::Helper, self.count().open_helper())
    }

    fn close(&self, handle: Handle) {
        // Before it is: then somebody else may get the handle's value.
        self.diary.closes(handle);
        self.count().close(handle);
    }

    fn base_socket(&self, socket: Handle) -> io::Result<Handle> {
        self.count().base_socket(socket)
    }

    fn count_handles(&self, file: Handle) -> Result<u32, Status> {
        let answer = self.count().count_handles(file);
        self.diary.note(|record| {
            let name = record.name(file);
            record.lines.push(Line::Count(name, answer));
        });
        answer
    }

    fn is_same(&self, one: Handle, other: Handle) -> Result<bool, Status> {
        let answer = self.count().is_same(one, other);
        self.diary.note(|record| {
            let (one, other) = (record.name(one), record.name(other));
            record.lines.push(Line::Same(one, other, answer));
        });
        answer
    }

    fn associate(&self, file: Handle, port: Handle, key: usize) -> Result<(), Status> {
        let answer = self.count().associate(file, port, key);
        self.diary.note(|record| {
            let (file, port) = (record.name(file), record.name(port));
            record
                .lines
                .push(Line::Associate(file, port, key, status_of(&answer)));
        });
        answer
    }

    fn dissociate(&self, file: Handle) -> Result<(), Status> {
        let answer = self.count().dissociate(file);
        self.diary.note(|record| {
            let file = record.name(file);
            record
                .lines
                .push(Line::Dissociate(file, status_of(&answer)));
        });
        answer
    }

    fn skip_packets_on_success(&self, file: Handle) -> Result<(), Status> {
        let answer = self.count().skip_packets_on_success(file);
        self.diary.note(|record| {
            let file = record.name(file);
            if answer.is_ok() {
                record.skips.insert(file);
            }
            record.lines.push(Line::Skip(file, status_of(&answer)));
        });
        answer
    }

    unsafe fn submit(&self, submission: Submission) -> Status {
        let Some(mut record) = self.diary.record() else {
            // SAFETY: the caller's promise is passed on.
            return unsafe { self.count().submit(submission) };
        };
        // SAFETY: the caller promises it, and the kernel does not have it yet.
        let question = unsafe { submission.info.read() };
        let [asked] = question.handles;
        record.polls += 1;
        let poll = record.polls;
        let in_flight = InFlight {
            poll,
            info: submission.info,
            socket: asked.handle,
        };
        // Others may dequeue its packet at once: they have to wait for the record.
        record.in_flight.insert(submission.context, in_flight);
        record
            .blocks
            .insert(submission.status.as_ptr() as usize, poll);
        // SAFETY: the caller's promise is passed on.
        let status = unsafe { self.count().submit(submission) };
        let control = record.name(submission.control);
        let is_over = status == Status::SUCCESS && record.skips.contains(&control);
        if status.is_error() || is_over {
            record.in_flight.remove(&submission.context);
        }
        // SAFETY: it is over, as no packet is due, and the caller was not told yet.
        let found = is_over.then(|| unsafe { in_flight.found() });
        let socket = record.name(asked.handle);
        if record.lines.len() < LINES_MAX {
            record.lines.push(Line::Submit(Submit {
                poll,
                control,
                socket,
                mask: asked.events,
                timeout: question.timeout,
                status,
                found,
            }));
        }
        status
    }

    fn cancel(&self, control: Handle, status: NonNull<IoStatusBlock>) -> Status {
        let mut record = self.diary.record();
        let answer = self.count().cancel(control, status);
        if let Some(record) = record
            .as_mut()
            .filter(|record| record.lines.len() < LINES_MAX)
        {
            let poll = record.blocks.get(&(status.as_ptr() as usize)).copied();
            let control = record.name(control);
            record.lines.push(Line::Cancel(poll, control, answer));
        }
        answer
    }

    fn post(&self, port: Handle, packet: Packet) -> Status {
        let mut record = self.diary.record();
        let answer = self.count().post(port, packet);
        if let Some(record) = record
            .as_mut()
            .filter(|record| record.lines.len() < LINES_MAX)
        {
            let content = Content {
                origin: Origin::Mark(record.mark(packet.context)),
                key: packet.key,
                status: packet.status.status.status,
                information: packet.status.information,
            };
            let port = record.name(port);
            record.lines.push(Line::Post(port, content, answer));
        }
        answer
    }

    fn dequeue(
        &self,
        port: Handle,
        packets: &mut [Packet],
        timeout: Option<Duration>,
    ) -> Result<usize, Status> {
        let answer = self.count().dequeue(port, packets, timeout);
        let Some(mut record) = self.diary.record() else {
            return answer;
        };
        let is_full = record.lines.len() >= LINES_MAX;
        let port = record.name(port);
        let mut lines = vec![Line::Dequeue(Dequeue {
            port,
            room: packets.len(),
            wait: timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)),
            count: answer,
        })];
        for packet in &packets[..answer.unwrap_or(0).min(packets.len())] {
            let poll = record.in_flight.remove(&packet.context);
            let status = packet.status.status.status;
            let origin = match poll {
                Some(poll) => Origin::Poll(poll.poll),
                None => Origin::Mark(record.mark(packet.context)),
            };
            // SAFETY: its packet was dequeued, and the caller was not told yet.
            let found = poll
                .filter(|_| !status.is_error())
                .map(|poll| unsafe { poll.found() });
            let information = packet.status.information;
            let content = Content {
                origin,
                key: packet.key,
                status,
                information,
            };
            lines.push(Line::Packet(content, found));
        }
        if !is_full {
            record.lines.append(&mut lines);
        }
        answer
    }

    fn os_error(&self, status: Status) -> i32 {
        self.inner.os_error(status)
    }

    #[cfg(test)]
    fn watch(&self, held: Arc<crate::afd::Held>) {
        self.inner.watch(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nt::AfdPollHandleInfo;
    use crate::nt::sim::{Kernel, Sim, Socket};

    /// What a poll of this socket has found whose answer is that.
    fn found(socket: Handle, count: u32, listed: Handle) -> Found {
        let mut info = AfdPollInfo {
            timeout: 0,
            number_of_handles: count,
            exclusive: 0,
            handles: [AfdPollHandleInfo {
                handle: listed,
                events: 5,
                status: Status::SUCCESS,
            }],
        };
        let asked = InFlight {
            poll: 1,
            info: NonNull::from(&mut info),
            socket,
        };
        // SAFETY: no kernel has it.
        unsafe { asked.found() }
    }

    #[test]
    fn an_answer_that_lists_more_than_was_asked_about_is_odd() {
        let (one, other) = (Handle(4), Handle(8));
        let told = |found: Found| (found.flags, found.is_odd);
        assert_eq!(told(found(one, 1, one)), (5, false));
        assert_eq!(told(found(one, 1, other)), (5, true));
        assert_eq!(told(found(one, 2, one)), (5, true));
        for listed in [one, other] {
            assert_eq!(told(found(one, 0, listed)), (0, false), "nothing is listed");
        }
    }

    /// A handle's value that is used again has another name, and has none in between.
    #[test]
    fn what_is_closed_has_no_name_any_more() {
        let kernel = Arc::<Kernel>::default();
        let diary = Volume::default().section("names");
        let recorder = Recorder::new(Sim::new(&kernel), diary.clone());
        let socket = Socket::bare(&kernel);
        let handle = socket.handle();
        for _ in 0..2 {
            diary.opened(handle);
            recorder.count_handles(handle).unwrap();
            diary.closes(handle);
            recorder.count_handles(handle).unwrap();
            diary.closes(handle);
        }
        let lines = diary.record().unwrap().lines.clone();
        let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let expected = [
            "# names",
            "opened socket1",
            "count socket1 0x0 1",
            "closed socket1",
            "count nothing1 0x0 1",
            "closed nothing1",
            "opened socket2",
            "count socket2 0x0 1",
            "closed socket2",
            "count nothing2 0x0 1",
            "closed nothing2",
        ];
        assert_eq!(text, expected);
    }
}
