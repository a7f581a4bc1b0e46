//! One core on a bench: the test plays the system and every peer, by hand.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::between::key::RecordKey;
use crate::channel::Channel;
use crate::driver::turn::{Hands, turn};
use crate::endpoint::Endpoint;
use crate::error::Ended;
use crate::event::{Closed, Event, Hello};
use crate::group::{self, ChannelGroup};
use crate::handles::{Batch, GroupShared, Shared, Submission};
use crate::inbox::Inbox;
use crate::options::{ListenOptions, Options};
use crate::peer::Peer;
use crate::post::Post;
use crate::protocol::{Action, Closing, Core, ReadPlan, Wanted};
use crate::sim::flag::Flag;
use crate::wire::test_frames::frame;
use crate::wire::{Header, OpCode};

/// A frame as it was written.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) struct Written {
    pub(super) op_code: OpCode,
    pub(super) id: u64,
    pub(super) body: Vec<u8>,
}

pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) shared: Arc<Shared>,
    pub(super) posting: ChannelGroup,
    pub(super) inbox: Inbox,
    pub(super) group: Arc<GroupShared>,
    pub(super) now: Instant,
    woken: Arc<AtomicBool>,
    /// What the core asked for, and the test has not looked at yet.
    pub(super) actions: Vec<Action>,
    /// What was written to each connection.
    written: BTreeMap<RecordKey, Vec<u8>>,
    /// How many more bytes the system takes for a connection; without limit if it is not here.
    pub(super) accepts: BTreeMap<RecordKey, usize>,
    pub(super) wanted: BTreeMap<RecordKey, Wanted>,
    /// The unused rest in the shared buffer.
    pub(super) held: Vec<u8>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Bench::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        options.check().unwrap();
        let woken = Arc::new(AtomicBool::new(false));
        let shared = Shared::new(options, |_| Box::new(Flag(Arc::clone(&woken))));
        let core = Core::new(Arc::clone(&shared));
        let (posting, inbox, group) = open_group(&shared, 1);
        Bench {
            core,
            shared,
            posting,
            inbox,
            group,
            now: Instant::now() + Duration::from_secs(1000),
            woken,
            actions: Vec::new(),
            written: BTreeMap::new(),
            accepts: BTreeMap::new(),
            wanted: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// What the driver does between two waits, without reading.
    pub(super) fn pass(&mut self) {
        let now = self.now;
        turn(self, &mut Batch::default(), now);
        self.wait();
    }

    /// Passes until the core would sleep.
    pub(super) fn rest(&mut self) {
        for _ in 0..100 {
            self.pass();
            let due = self.core.poll_timeout(self.now);
            if due.is_none_or(|due| due > self.now) {
                return;
            }
        }
        panic!("the core does not come to rest");
    }

    /// What the driver does before it waits.
    pub(super) fn wait(&mut self) {
        self.core.settle_dropped(self.now);
        if let Some(key) = self.core.poll_resume() {
            let held = std::mem::take(&mut self.held);
            let used = self.core.handle_shared(key, &held, self.now);
            self.held = held[used..].to_vec();
        }
        while let Some((key, wanted)) = self.core.poll_wanted() {
            self.wanted.insert(key, wanted);
        }
    }

    /// Whether the reactor would go round again by itself, or was woken, since this was asked last.
    pub(super) fn is_awake(&mut self) -> bool {
        let is_due = self
            .core
            .poll_timeout(self.now)
            .is_some_and(|due| due <= self.now);
        self.woken.swap(false, Ordering::Relaxed) || is_due
    }

    pub(super) fn is_starving(&self) -> bool {
        self.core.audit().starving > 0
    }

    /// Takes the one action of a kind that the test expects.
    pub(super) fn action<T>(&mut self, is_it: impl Fn(&Action) -> Option<T>) -> T {
        let found = self
            .actions
            .iter()
            .position(|action| is_it(action).is_some());
        let found = found.unwrap_or_else(|| panic!("not among {:?}", self.actions));
        is_it(&self.actions.remove(found)).unwrap()
    }

    pub(super) fn connect_action(&mut self) -> (RecordKey, Endpoint) {
        self.action(|action| match action {
            Action::Connect { key, address } => Some((*key, address.clone())),
            _ => None,
        })
    }

    /// Whether the socket of `key` was to be closed, and abortively if so.
    pub(super) fn closing(&self, key: RecordKey) -> Option<bool> {
        self.actions.iter().find_map(|action| match action {
            Action::Close { key: it, how } if *it == key => Some(!matches!(how, Closing::Orderly)),
            _ => None,
        })
    }

    /// The frame that the driver is to write before it closes the socket of `key`.
    pub(super) fn last_frame(&self, key: RecordKey) -> Option<&[u8]> {
        self.actions.iter().find_map(|action| match action {
            Action::Close {
                key: it,
                how: Closing::Saying(frame),
            } if *it == key => Some(frame.frame()[0]),
            _ => None,
        })
    }

    pub(super) fn is_finishing(&self, key: RecordKey) -> bool {
        let finishes =
            |action: &Action| matches!(action, Action::FinishSending { key: it } if *it == key);
        self.actions.iter().any(finishes)
    }

    pub(super) fn listen(&mut self) -> (Channel, RecordKey) {
        self.listen_with("tcp://127.0.0.1:0", &ListenOptions::default())
    }

    pub(super) fn listen_with(
        &mut self,
        address: &str,
        options: &ListenOptions,
    ) -> (Channel, RecordKey) {
        let address = address.parse().unwrap();
        let channel = self.posting.listen_with(&address, options).unwrap();
        self.pass();
        let key = self.action(|action| match action {
            Action::Listen { key, .. } => Some(*key),
            _ => None,
        });
        self.core.handle_listening(key, &tcp(7099));
        self.rest();
        assert!(matches!(self.event(), Event::Listening(_)));
        (channel, key)
    }

    pub(super) fn accept(&mut self, listener: RecordKey) -> RecordKey {
        assert!(self.core.may_accept(listener));
        let key = self
            .core
            .handle_accepted(listener, Peer::at(tcp(40_000)), self.now)
            .unwrap();
        self.wait();
        key
    }

    /// An accepted connection that has said hello: its channel, and its HelloRequest.
    pub(super) fn greet(&mut self, listener: RecordKey) -> (RecordKey, Hello) {
        let key = self.accept(listener);
        self.feed(key, &frame(OpCode::HelloRequest, 1, b"hi"));
        self.rest();
        match self.event() {
            Event::Hello(hello) => (key, hello),
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// A connection that was opened here.
    pub(super) fn connect(&mut self) -> (Channel, RecordKey) {
        let channel = self.posting.connect(&address(7000)).unwrap();
        self.pass();
        let (key, endpoint) = self.connect_action();
        self.core
            .handle_connected(key, Peer::at(endpoint), self.now);
        self.rest();
        assert_eq!(self.frames(key)[0].op_code, OpCode::HelloRequest);
        assert!(matches!(self.event(), Event::Opened(_)));
        (channel, key)
    }

    /// Lets the core read these bytes as the driver would. Returns what it left unread.
    pub(super) fn feed(&mut self, key: RecordKey, mut bytes: &[u8]) -> Vec<u8> {
        while !bytes.is_empty() {
            match self.core.read_plan(key) {
                ReadPlan::Park | ReadPlan::Handshake | ReadPlan::Peek => break,
                ReadPlan::Shared => {
                    let used = self.core.handle_shared(key, bytes, self.now);
                    self.held = bytes[used..].to_vec();
                    bytes = &[];
                }
                ReadPlan::Into(buffer) => {
                    let len = buffer.len().min(bytes.len());
                    buffer[..len].copy_from_slice(&bytes[..len]);
                    self.core.handle_filled(key, len, self.now);
                    bytes = &bytes[len..];
                }
            }
        }
        bytes.to_vec()
    }

    /// How many bytes the core would read now: `None` not at all, 0 as many as there are.
    pub(super) fn planned(&mut self, key: RecordKey) -> Option<usize> {
        match self.core.read_plan(key) {
            ReadPlan::Park | ReadPlan::Handshake | ReadPlan::Peek => None,
            ReadPlan::Shared => Some(0),
            ReadPlan::Into(buffer) => Some(buffer.len()),
        }
    }

    /// What was written to a connection since this was asked last, whole frames only.
    pub(super) fn frames(&mut self, key: RecordKey) -> Vec<Written> {
        let bytes = self.written.entry(key).or_default();
        let mut frames = Vec::new();
        while let Some(first) = bytes.first_chunk::<{ Header::LEN }>() {
            let header = Header::decode(first).unwrap();
            let len = header.frame_len();
            if bytes.len() < len {
                break;
            }
            let body = bytes[len - usize::from(header.body_len)..len].to_vec();
            frames.push(Written {
                op_code: header.op_code,
                id: header.message_id,
                body,
            });
            bytes.drain(..len);
        }
        frames
    }

    pub(super) fn post(&mut self, post: Post) -> u64 {
        self.posting.post(post).unwrap().id
    }

    /// Everything in the inbox.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.inbox.try_recv().ok().flatten()).collect()
    }

    /// The one event in the inbox, or the first of several.
    pub(super) fn event(&mut self) -> Event {
        match self.inbox.try_recv() {
            Ok(Some(event)) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    /// The `Closed` that must be the next event.
    pub(super) fn closed(&mut self) -> Closed {
        match self.event() {
            Event::Closed(closed) => closed,
            other => panic!("not closed: {other:?}"),
        }
    }

    pub(super) fn end_of_group(&mut self) -> Option<Ended> {
        self.inbox.try_recv().err()
    }

    pub(super) fn close_group(&mut self, within: Duration) {
        let (deadline, id) = (self.now + within, self.group.id);
        let group = Arc::clone(&self.group);
        let submitted = self.shared.queue.submit(|registry, items| {
            group.close(registry);
            items.push(Submission::CloseGroup {
                group: id,
                deadline,
            });
        });
        submitted.unwrap();
    }

    pub(super) fn submit(&mut self, submission: Submission) {
        let submitted = self.shared.queue.submit(|_, items| items.push(submission));
        submitted.unwrap();
    }

    pub(super) fn later(&mut self, by: Duration) {
        self.now += by;
    }
}

/// The test's hands: what the core asks for is noted.
impl Hands for Bench {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn act(&mut self, _now: Instant) {
        while let Some(action) = self.core.poll_action() {
            self.actions.push(action);
        }
    }

    /// The system has nothing more to say than the test has told.
    fn look(&mut self, _key: RecordKey, _now: Instant) -> bool {
        true
    }

    fn transmit(&mut self, now: Instant) {
        let (mut list, mut scratch) = (Vec::new(), Vec::new());
        self.core.take_transmit_list(&mut list);
        for key in list {
            let Some(gather) = self.core.transmit(key, &mut scratch) else {
                continue;
            };
            let offered = gather.bytes();
            let accepted = self
                .accepts
                .get(&key)
                .copied()
                .unwrap_or(offered)
                .min(offered);
            if let Some(left) = self.accepts.get_mut(&key) {
                *left -= accepted;
            }
            let bytes: Vec<u8> = gather
                .slices()
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            self.written
                .entry(key)
                .or_default()
                .extend(&bytes[..accepted]);
            if accepted == 0 {
                self.core.handle_blocked(key, now);
            } else {
                self.core.handle_transmitted(key, accepted, offered, now);
            }
        }
    }
}

impl Drop for Bench {
    /// The inbox waits for the end of its group, also while a failed test unwinds.
    fn drop(&mut self) {
        self.core.deliver_last();
        self.shared.end(Ended::EngineFailed);
    }
}

pub(super) fn open_group(shared: &Arc<Shared>, id: u64) -> (ChannelGroup, Inbox, Arc<GroupShared>) {
    let group = Arc::new(GroupShared::new(id, 0, 0));
    shared.open_group(&group).unwrap();
    let (posting, inbox) = group::pair(Arc::clone(shared), Arc::clone(&group));
    (posting, inbox, group)
}

pub(super) fn tcp(port: u16) -> Endpoint {
    Endpoint::Tcp(([127, 0, 0, 1], port).into())
}

pub(super) fn address(port: u16) -> Address {
    Address::tcp("127.0.0.1", port).unwrap()
}

pub(super) fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
