//! A user of a kernel's calls, without the backend in between.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::diary::{Diary, Recorder};
use super::ground::Ground;
use super::{Setting, Trouble, expect};
use crate::nt::{
    AfdPollHandleInfo, AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, StatusOrPointer,
    Submission, timeout,
};
use crate::poller::Source;
use crate::sys::SealedSource;

/// What files are associated with.
pub(super) const KEY: usize = 5;
/// What no poll has as context.
const MARK: usize = usize::MAX;
/// How long the last packets are waited for.
const REST: Duration = Duration::from_millis(100);

/// On what a poll is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issued {
    OnTheSocket,
    OnAHelper,
}

impl Issued {
    pub(super) const WAYS: [Issued; 2] = [Issued::OnTheSocket, Issued::OnAHelper];
}

/// What the kernel is lent for one poll.
struct Memory {
    status: UnsafeCell<IoStatusBlock>,
    info: UnsafeCell<AfdPollInfo>,
}

// SAFETY: what is in there is touched under the rules of `Lab` alone: by the kernel while the poll is
// in flight, by the one lab that has asked when it is over.
unsafe impl Sync for Memory {}
// SAFETY: as above; the values themselves belong to no thread.
unsafe impl Send for Memory {}

/// Nothing that was lent is ever freed, whatever becomes of who has lent it.
static LENT: Mutex<Vec<&'static Memory>> = Mutex::new(Vec::new());

/// A poll that was issued.
#[derive(Clone, Copy)]
struct Asked {
    memory: &'static Memory,
    control: Handle,
    is_over: bool,
}

/// One poll of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PollIndex(usize);

/// A socket, whose closing is written down.
pub(super) struct Watched<S: Source<Handle>> {
    diary: Diary,
    socket: Option<S>,
}

impl<S: Source<Handle>> Drop for Watched<S> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Before it is: then somebody else may get the handle's value.
            self.diary.closes(socket.handle());
        }
    }
}

impl<S: Source<Handle>> Watched<S> {
    fn into_inner(mut self) -> S {
        let socket = self.socket.take().expect("it is there until it is dropped");
        self.diary.closes(socket.handle());
        socket
    }
}

impl<S: Source<Handle>> Deref for Watched<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.socket
            .as_ref()
            .expect("it is there until it is dropped")
    }
}

impl<S: Source<Handle>> SealedSource<Handle> for Watched<S> {}

impl<S: Source<Handle>> Source<Handle> for Watched<S> {
    fn handle(&self) -> Handle {
        (**self).handle()
    }
}

pub(super) type Socket<G> = Watched<<G as Ground>::Socket>;

pub(super) struct Lab<G: Ground> {
    pub(super) nt: Recorder<G::Nt>,
    pub(super) port: Handle,
    helpers: Vec<Handle>,
    polls: Vec<Asked>,
    by_context: HashMap<usize, usize>,
    /// What is answered at once queues no packet.
    pub(super) skips_packets: bool,
    /// Of the polls that are issued from here on.
    pub(super) timeout: i64,
    pub(super) patience: Duration,
    pub(super) diary: Diary,
    /// Last, as others are closed before it is asked whether all was well.
    pub(super) ground: Arc<G>,
}

impl<G: Ground> Drop for Lab<G> {
    fn drop(&mut self) {
        for asked in self.polls.iter().filter(|asked| !asked.is_over) {
            if self.helpers.contains(&asked.control) {
                self.nt.cancel(asked.control, block_of(asked.memory));
            }
        }
        while self.polls.iter().any(|asked| !asked.is_over)
            && let Ok(Some(packet)) = self.dequeue(self.port, REST)
            && self.end(&packet).is_ok()
        {}
        if self.polls.iter().any(|asked| !asked.is_over) {
            self.ground.forgive();
        }
        for helper in &self.helpers {
            self.nt.close(*helper);
        }
        self.nt.close(self.port);
        if self.polls.iter().any(|asked| !asked.is_over) {
            self.ground.forgive();
        }
    }
}

impl<G: Ground> Lab<G> {
    pub(super) fn new(setting: &Setting) -> Result<Self, Trouble> {
        let ground = G::new()?;
        #[cfg(test)]
        setting.spoils.into_iter().for_each(|it| ground.spoil(it));
        Lab::over(Arc::new(ground), setting.diary(), setting.patience)
    }

    /// Another user of the same kernel.
    pub(super) fn beside(&self) -> Result<Self, Trouble> {
        Lab::over(Arc::clone(&self.ground), self.diary.clone(), self.patience)
    }

    fn over(ground: Arc<G>, diary: Diary, patience: Duration) -> Result<Self, Trouble> {
        let nt = Recorder::new(ground.nt()?, diary.clone());
        Ok(Lab {
            port: nt.create_port()?,
            nt,
            helpers: Vec::new(),
            polls: Vec::new(),
            by_context: HashMap::new(),
            skips_packets: true,
            timeout: timeout::ENDLESS,
            patience,
            diary,
            ground,
        })
    }

    /// The same kernel's calls once more, written down in the same place.
    pub(super) fn another_nt(&self) -> io::Result<Recorder<G::Nt>> {
        Ok(Recorder::new(self.ground.nt()?, self.diary.clone()))
    }

    fn watched(&self, socket: G::Socket) -> Socket<G> {
        self.diary.opened(socket.handle());
        Watched {
            diary: self.diary.clone(),
            socket: Some(socket),
        }
    }

    fn both(&self, pair: (G::Socket, G::Socket)) -> (Socket<G>, Socket<G>) {
        (self.watched(pair.0), self.watched(pair.1))
    }

    pub(super) fn pair(&self) -> io::Result<(Socket<G>, Socket<G>)> {
        Ok(self.both(self.ground.pair()?))
    }

    pub(super) fn datagrams(&self) -> io::Result<(Socket<G>, Socket<G>)> {
        Ok(self.both(self.ground.datagrams()?))
    }

    pub(super) fn listen(&self) -> io::Result<Socket<G>> {
        Ok(self.watched(self.ground.listen()?))
    }

    pub(super) fn connect(&self, listener: &Socket<G>) -> io::Result<Socket<G>> {
        Ok(self.watched(self.ground.connect(listener)?))
    }

    pub(super) fn refuse(&self) -> io::Result<Option<Socket<G>>> {
        let refused = self.ground.refuse()?;
        Ok(refused.map(|socket| self.watched(socket)))
    }

    pub(super) fn open_not_overlapped(&self) -> io::Result<Socket<G>> {
        Ok(self.watched(self.ground.open_not_overlapped()?))
    }

    pub(super) fn duplicate(&self, socket: &Socket<G>) -> io::Result<Socket<G>> {
        let duplicate = self.ground.duplicate(socket)?;
        self.diary.duplicated(duplicate.handle(), socket.handle());
        Ok(Watched {
            diary: self.diary.clone(),
            socket: Some(duplicate),
        })
    }

    pub(super) fn share(&self, socket: &Socket<G>) -> io::Result<G::Keeper> {
        let keeper = self.ground.share(socket)?;
        self.diary.shared(socket.handle());
        Ok(keeper)
    }

    pub(super) fn reset(&self, socket: Socket<G>) -> io::Result<()> {
        self.ground.reset(socket.into_inner())
    }

    fn fit(&self, file: Handle, port: Handle) -> Result<(), Status> {
        self.nt.associate(file, port, KEY)?;
        self.nt.skip_packets_on_success(file)
    }

    /// The file to issue a socket's polls on.
    pub(super) fn control(&mut self, socket: &Socket<G>, issued: Issued) -> Result<Handle, Status> {
        match issued {
            Issued::OnTheSocket => {
                self.fit(socket.handle(), self.port)?;
                Ok(socket.handle())
            }
            Issued::OnAHelper => self.helper(),
        }
    }

    pub(super) fn helper(&mut self) -> Result<Handle, Status> {
        self.helper_of(self.port)
    }

    /// A helper whose polls' packets go to this port.
    pub(super) fn helper_of(&mut self, port: Handle) -> Result<Handle, Status> {
        let helper = self.nt.open_helper()?;
        self.helpers.push(helper);
        self.fit(helper, port)?;
        Ok(helper)
    }

    pub(super) fn close_helper(&mut self, helper: Handle) {
        self.helpers.retain(|other| *other != helper);
        self.nt.close(helper);
    }

    /// Issues a poll.
    pub(super) fn ask(
        &mut self,
        control: Handle,
        socket: Handle,
        mask: u32,
    ) -> (Status, PollIndex) {
        let question = AfdPollInfo {
            timeout: self.timeout,
            number_of_handles: 1,
            exclusive: 0,
            handles: [AfdPollHandleInfo {
                handle: socket,
                events: mask,
                status: Status::SUCCESS,
            }],
        };
        let memory: &'static Memory = Box::leak(Box::new(Memory {
            status: UnsafeCell::new(IoStatusBlock::new(Status::PENDING, 0)),
            info: UnsafeCell::new(question),
        }));
        LENT.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(memory);
        let submission = Submission {
            control,
            context: context_of(memory),
            status: block_of(memory),
            info: NonNull::from(&memory.info).cast(),
        };
        // SAFETY: the memory is never freed, and is read only when the poll is over.
        let status = unsafe { self.nt.submit(submission) };
        let is_over = status.is_error() || status != Status::PENDING && self.skips_packets;
        self.by_context.insert(context_of(memory), self.polls.len());
        self.polls.push(Asked {
            memory,
            control,
            is_over,
        });
        (status, PollIndex(self.polls.len() - 1))
    }

    /// Issues a poll of what is not ready.
    pub(super) fn wait_for(
        &mut self,
        control: Handle,
        socket: Handle,
        mask: u32,
    ) -> Result<PollIndex, Trouble> {
        let (status, poll) = self.ask(control, socket, mask);
        expect(
            "the answer to a poll of what is not ready",
            status,
            Status::PENDING,
        )?;
        Ok(poll)
    }

    /// What a socket is ready for, of what is asked, now or when it is.
    pub(super) fn find(
        &mut self,
        control: Handle,
        socket: &Socket<G>,
        mask: u32,
    ) -> Result<u32, Trouble> {
        let (status, poll) = self.ask(control, socket.handle(), mask);
        if status == Status::PENDING {
            let packet = self.next_packet()?;
            expect("the packet of a poll", packet, (poll, Status::SUCCESS))?;
        }
        self.answer(poll)
    }

    pub(super) fn cancel(&self, control: Handle, poll: PollIndex) -> Status {
        self.nt.cancel(control, block_of(self.polls[poll.0].memory))
    }

    /// The flags that a poll has found; none if its socket is not listed as ready.
    pub(super) fn answer(&self, poll: PollIndex) -> Result<u32, Trouble> {
        let asked = self.polls[poll.0];
        if !asked.is_over {
            return Err(Trouble::Differs("a poll that has not ended".to_owned()));
        }
        // SAFETY: the poll is over, so the kernel writes no more.
        let info = unsafe { *asked.memory.info.get() };
        Ok(match info.number_of_handles {
            0 => 0,
            _ => info.handles[0].events,
        })
    }

    fn dequeue(&self, port: Handle, timeout: Duration) -> Result<Option<Packet>, Trouble> {
        let mut packets = [Packet::EMPTY];
        let count = self.nt.dequeue(port, &mut packets, Some(timeout))?;
        Ok((count == 1).then_some(packets[0]))
    }

    fn end(&mut self, packet: &Packet) -> Result<(PollIndex, Status), Trouble> {
        let Some(at) = self.by_context.get(&packet.context).copied() else {
            return Err(Trouble::Differs(
                "a packet that nobody has asked for".to_owned(),
            ));
        };
        expect("the key of a packet", packet.key, KEY)?;
        if std::mem::replace(&mut self.polls[at].is_over, true) {
            return Err(Trouble::Differs("a second packet of one poll".to_owned()));
        }
        Ok((PollIndex(at), packet.status.status.status))
    }

    pub(super) fn next_packet(&mut self) -> Result<(PollIndex, Status), Trouble> {
        self.next_packet_of(self.port)
    }

    pub(super) fn next_packet_of(&mut self, port: Handle) -> Result<(PollIndex, Status), Trouble> {
        match self.dequeue(port, self.patience)? {
            Some(packet) => self.end(&packet),
            None => Err(Trouble::Differs(format!(
                "no packet within {:?}",
                self.patience
            ))),
        }
    }

    /// The next packet is this poll's, with this status and this answer.
    pub(super) fn ends(
        &mut self,
        poll: PollIndex,
        status: Status,
        answer: u32,
    ) -> Result<(), Trouble> {
        expect("the end of a poll", self.next_packet()?, (poll, status))?;
        match status.is_error() {
            true => Ok(()),
            false => expect("its answer", Flags(self.answer(poll)?), Flags(answer)),
        }
    }

    /// Takes packets, if there are any, and says whether the poll's is not yet among them.
    pub(super) fn is_pending(&mut self, poll: PollIndex) -> Result<bool, Trouble> {
        while let Some(packet) = self.dequeue(self.port, Duration::ZERO)? {
            self.end(&packet)?;
        }
        Ok(!self.polls[poll.0].is_over)
    }

    /// How a poll ends within this time, if it does.
    pub(super) fn ends_within(
        &mut self,
        poll: PollIndex,
        patience: Duration,
    ) -> Result<Option<Status>, Trouble> {
        let start = Instant::now();
        while let Some(packet) =
            self.dequeue(self.port, patience.saturating_sub(start.elapsed()))?
        {
            let (ended, status) = self.end(&packet)?;
            if ended == poll {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Posts a packet that tells its number.
    pub(super) fn post(&self, number: usize) -> Result<(), Trouble> {
        let packet = Packet {
            key: number * 2,
            context: number,
            status: IoStatusBlock {
                status: StatusOrPointer::new(Status(7)),
                information: number * 3,
            },
        };
        expect(
            "the answer to a post",
            self.nt.post(self.port, packet),
            Status::SUCCESS,
        )
    }

    /// What is posted now is the first to come out.
    pub(super) fn nothing_is_queued(&mut self) -> Result<(), Trouble> {
        let mark = Packet {
            context: MARK,
            ..Packet::EMPTY
        };
        expect(
            "the answer to a post",
            self.nt.post(self.port, mark),
            Status::SUCCESS,
        )?;
        match self.dequeue(self.port, self.patience)? {
            Some(packet) if packet.context == MARK => Ok(()),
            Some(packet) => {
                let (_, status) = self.end(&packet)?;
                Err(Trouble::Differs(format!(
                    "a packet is queued, with {status:?}"
                )))
            }
            None => Err(Trouble::Differs(
                "a packet that was posted does not come".to_owned(),
            )),
        }
    }
}

/// AFD's flags, which read best in hexadecimal.
#[derive(PartialEq, Eq)]
pub(super) struct Flags(pub(super) u32);

impl Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#05x}", self.0)
    }
}

fn block_of(memory: &'static Memory) -> NonNull<IoStatusBlock> {
    NonNull::from(&memory.status).cast()
}

/// What a poll's packet carries.
fn context_of(memory: &'static Memory) -> usize {
    std::ptr::from_ref(memory) as usize
}
