//! A user of a kernel's calls, without the backend in between.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::conformance::worlds::World;
use crate::nt::{
    AfdPollHandleInfo, AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, StatusOrPointer,
    Submission, timeout,
};
use crate::poller::Source;
use crate::sys::Backend;

/// What files are associated with.
pub(super) const KEY: usize = 5;
/// What no poll has as context.
const MARK: usize = usize::MAX;
/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world whose sockets are polled by NT calls.
pub(super) trait Ground: World<Backend: Backend<Handle = Handle>> {
    type Nt: Nt;
    /// Another process with a handle, which is closed when this is dropped.
    type Keeper;

    fn nt(&self) -> Self::Nt;
    /// One more handle for the same socket.
    fn duplicate(&self, socket: &Self::Socket) -> Self::Socket;
    /// One more handle for the same socket, in another process.
    fn share(&self, socket: &Self::Socket) -> Self::Keeper;
    /// The kernel is asked on purpose for what the backend must never ask it.
    fn forgive(&self) {}
    /// Whether, as a known difference, the polls that were issued on a socket that another process keeps
    /// go on when it is closed here.
    fn keeps_polls_of_shared_sockets(&self) -> Option<&'static str> {
        None
    }
    /// Whether, as a known difference, a file cannot be taken off its port.
    fn keeps_port(&self) -> Option<&'static str> {
        None
    }
}

/// Says which difference was met, past the test runner.
pub(super) fn expect(reason: &str) {
    crate::conformance::skip(reason);
}

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

/// Nothing that was lent is ever freed, whatever becomes of a test.
static LENT: Mutex<Vec<&'static Memory>> = Mutex::new(Vec::new());

/// One poll of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poll(usize);

impl Poll {
    fn context(self) -> usize {
        self.0 + 1
    }
}

pub(super) struct Lab<G: Ground> {
    pub(super) nt: G::Nt,
    pub(super) port: Handle,
    helpers: Vec<Handle>,
    polls: Vec<&'static Memory>,
    /// What is answered at once queues no packet.
    pub(super) skips_packets: bool,
    /// Of the polls that are issued from here on.
    pub(super) timeout: i64,
    /// Which polls are over: their memory is ours again.
    ended: Vec<Poll>,
    /// Last, as others are closed before it is asked whether all was well.
    pub(super) ground: G,
}

impl<G: Ground> Drop for Lab<G> {
    fn drop(&mut self) {
        for helper in &self.helpers {
            self.nt.close(*helper);
        }
        self.nt.close(self.port);
    }
}

impl<G: Ground> Lab<G> {
    pub(super) fn new() -> Self {
        let ground = G::new();
        let nt = ground.nt();
        Lab {
            port: nt.create_port().unwrap(),
            nt,
            helpers: Vec::new(),
            polls: Vec::new(),
            skips_packets: true,
            timeout: timeout::ENDLESS,
            ended: Vec::new(),
            ground,
        }
    }

    fn fit(&self, file: Handle, port: Handle) {
        self.nt.associate(file, port, KEY).unwrap();
        self.nt.skip_packets_on_success(file).unwrap();
    }

    /// The file to issue a socket's polls on.
    pub(super) fn control(&mut self, socket: &G::Socket, issued: Issued) -> Handle {
        match issued {
            Issued::OnTheSocket => {
                self.fit(socket.handle(), self.port);
                socket.handle()
            }
            Issued::OnAHelper => self.helper(),
        }
    }

    pub(super) fn helper(&mut self) -> Handle {
        self.helper_of(self.port)
    }

    /// A helper whose polls' packets go to this port.
    pub(super) fn helper_of(&mut self, port: Handle) -> Handle {
        let helper = self.nt.open_helper().unwrap();
        self.fit(helper, port);
        self.helpers.push(helper);
        helper
    }

    pub(super) fn close_helper(&mut self, helper: Handle) {
        self.helpers.retain(|other| *other != helper);
        self.nt.close(helper);
    }

    /// Issues a poll.
    pub(super) fn ask(&mut self, control: Handle, socket: Handle, mask: u32) -> (Status, Poll) {
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
        let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
        lent.push(memory);
        let poll = Poll(self.polls.len());
        self.polls.push(memory);
        let submission = Submission {
            control,
            context: poll.context(),
            status: block_of(memory),
            info: NonNull::new(memory.info.get()).unwrap(),
        };
        // SAFETY: the memory is never freed, and is read only when the poll is over.
        let status = unsafe { self.nt.submit(submission) };
        if status.is_error() || status != Status::PENDING && self.skips_packets {
            self.ended.push(poll);
        }
        (status, poll)
    }

    /// Issues a poll of what is not ready.
    #[track_caller]
    pub(super) fn wait_for(&mut self, control: Handle, socket: Handle, mask: u32) -> Poll {
        let (status, poll) = self.ask(control, socket, mask);
        assert_eq!(status, Status::PENDING);
        poll
    }

    /// What a socket is ready for, of what is asked, now or when it is.
    pub(super) fn find(&mut self, control: Handle, socket: &G::Socket, mask: u32) -> u32 {
        let (status, poll) = self.ask(control, socket.handle(), mask);
        if status == Status::PENDING {
            assert_eq!(self.next_packet(), (poll, Status::SUCCESS));
        }
        self.answer(poll)
    }

    pub(super) fn cancel(&self, control: Handle, poll: Poll) -> Status {
        self.nt.cancel(control, block_of(self.polls[poll.0]))
    }

    /// The flags that a poll has found; none if its socket is not listed as ready.
    #[track_caller]
    pub(super) fn answer(&self, poll: Poll) -> u32 {
        assert!(self.ended.contains(&poll), "the kernel has it");
        // SAFETY: the poll is over, so the kernel writes no more.
        let info = unsafe { *self.polls[poll.0].info.get() };
        match info.number_of_handles {
            0 => 0,
            _ => info.handles[0].events,
        }
    }

    fn dequeue(&self, port: Handle, timeout: Duration) -> Option<Packet> {
        let mut packets = [Packet::EMPTY];
        let count = self.nt.dequeue(port, &mut packets, Some(timeout));
        (count.unwrap() == 1).then_some(packets[0])
    }

    fn end(&mut self, packet: &Packet) -> (Poll, Status) {
        assert_eq!(packet.key, KEY);
        assert!((1..=self.polls.len()).contains(&packet.context));
        let poll = Poll(packet.context - 1);
        assert!(!self.ended.contains(&poll), "a second packet of one poll");
        self.ended.push(poll);
        (poll, packet.status.status.status)
    }

    #[track_caller]
    pub(super) fn next_packet(&mut self) -> (Poll, Status) {
        self.next_packet_of(self.port)
    }

    #[track_caller]
    pub(super) fn next_packet_of(&mut self, port: Handle) -> (Poll, Status) {
        let packet = self.dequeue(port, PATIENCE).expect("no packet comes");
        self.end(&packet)
    }

    #[track_caller]
    pub(super) fn assert_ends(&mut self, poll: Poll, status: Status, answer: u32) {
        assert_eq!(self.next_packet(), (poll, status));
        if !status.is_error() {
            assert_eq!(self.answer(poll), answer);
        }
    }

    /// Takes packets, if there are any, and says whether the poll's is not yet among them.
    pub(super) fn poll_is_pending(&mut self, poll: Poll) -> bool {
        while let Some(packet) = self.dequeue(self.port, Duration::ZERO) {
            self.end(&packet);
        }
        !self.ended.contains(&poll)
    }

    #[track_caller]
    pub(super) fn assert_has_answered(&self, poll: Poll, answer: u32) {
        assert_eq!(self.answer(poll), answer);
    }

    /// Posts a packet that tells its number.
    pub(super) fn post(&self, number: usize) {
        let packet = Packet {
            key: number * 2,
            context: number,
            status: IoStatusBlock {
                status: StatusOrPointer::new(Status(7)),
                information: number * 3,
            },
        };
        assert_eq!(self.nt.post(self.port, packet), Status::SUCCESS);
    }

    /// What is posted now is the first to come out.
    #[track_caller]
    pub(super) fn assert_nothing_is_queued(&mut self) {
        let mark = Packet {
            context: MARK,
            ..Packet::EMPTY
        };
        assert_eq!(self.nt.post(self.port, mark), Status::SUCCESS);
        let packet = self.dequeue(self.port, PATIENCE).expect("no packet comes");
        assert_eq!(packet.context, MARK);
    }
}

fn block_of(memory: &'static Memory) -> NonNull<IoStatusBlock> {
    NonNull::from(&memory.status).cast()
}
