//! One engine of a simulation: a real core with its real shared state, driven as the reactor's loop
//! drives it, over simulated sockets.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::between::registry::GroupId;
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::error::Ended;
use crate::group::{self, ChannelGroup};
use crate::handles::{GroupShared, Shared, Submission};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::protocol::audit::Seen;
use crate::protocol::{Action, Core, ReadPlan, Wanted};
use crate::storage::MESSAGE_COST_MAX;

use super::checks::Watch;
use super::net::{Net, Socket, StreamRecord};
use super::rng::Rng;

/// What is said of a socket that cannot be polled.
pub(super) const HIDDEN: &str = "a layer hides the socket below: remove the layer";

/// So many passes without any effect, one after the other, are a reactor that spins.
const IDLE_PASSES_MAX: u32 = 50;

struct Flag(Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Listener,
    Connecting,
    Connected,
}

#[derive(Clone, Copy)]
struct Entry {
    key: RecordKey,
    socket: Socket,
    role: Role,
    wanted: Wanted,
}

/// What the network noted of a channel's connection, at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkRecord {
    pub(super) own: StreamRecord,
    pub(super) peer: StreamRecord,
}

/// The answer that a name is given.
pub(super) type Names = fn(&str, u16) -> Vec<std::net::SocketAddr>;

pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) core: Option<Core>,
    pub(super) watch: Watch,
    pub(super) links: BTreeMap<Channel, LinkRecord>,
    /// Sockets by the index of the core's key, as the driver keeps them.
    places: Vec<Option<Entry>>,
    woken: Arc<AtomicBool>,
    due: Option<Instant>,
    buffer: Vec<u8>,
    held: std::ops::Range<usize>,
    scratch: Vec<u8>,
    questions: Vec<(Instant, RecordKey, String, u16)>,
    names: Names,
    pub(super) rng: Rng,
    idle_passes: u32,
    /// So many actions at most are carried out at once.
    actions_most: usize,
    group_next: GroupId,
}

impl Node {
    pub(super) fn new(options: Options, names: Names, mut rng: Rng) -> Self {
        options.check().expect("options that an engine accepts");
        let woken = Arc::new(AtomicBool::new(true));
        // Numbers are used again at once, so that whatever relied on their rest would show.
        let quarantine = if rng.chance(70) { 0 } else { 3 };
        let wake = || Box::new(Flag(Arc::clone(&woken))) as Box<dyn Wake>;
        let shared = Shared::with_quarantine(options, quarantine, wake);
        let sizes = [48, 1000, 20_000, 256 * 1024];
        let size = sizes[rng.below(sizes.len())];
        let actions_most = [1, 3, 1000][rng.below(3)];
        Node {
            core: Some(Core::new(Arc::clone(&shared))),
            watch: Watch::default(),
            links: BTreeMap::new(),
            shared,
            places: Vec::new(),
            woken,
            due: None,
            buffer: vec![0; size],
            held: 0..0,
            scratch: Vec::new(),
            questions: Vec::new(),
            names,
            rng,
            idle_passes: 0,
            actions_most,
            group_next: 1,
        }
    }

    pub(super) fn group(&mut self) -> (ChannelGroup, Inbox, Arc<GroupShared>) {
        let group = Arc::new(GroupShared::new(self.group_next, 0));
        self.group_next += 1;
        let _ = self.shared.open_group(&group); // an engine that has ended has ended it
        let (posting, inbox) = group::pair(Arc::clone(&self.shared), Arc::clone(&group));
        (posting, inbox, group)
    }

    /// As closing an inbox does, without waiting.
    pub(super) fn close_group(&self, group: &Arc<GroupShared>, deadline: Instant) {
        let id = group.id;
        let _ = self.shared.queue.submit(|registry, items| {
            group.close(registry);
            items.push(Submission::CloseGroup {
                group: id,
                deadline,
            });
        });
    }

    pub(super) fn stop(&self, deadline: Instant) {
        let stop = Submission::Stop { deadline };
        let _ = self.shared.queue.submit(|_, items| items.push(stop));
    }

    pub(super) fn is_running(&self) -> bool {
        self.core.is_some()
    }

    /// Whether the reactor would return from its wait now.
    pub(super) fn is_ready(&self, net: &Net, now: Instant) -> bool {
        self.is_running()
            && (self.woken.load(Ordering::Relaxed)
                || self.due.is_some_and(|due| due <= now)
                || self.questions.iter().any(|&(at, ..)| at <= now)
                || self
                    .entries()
                    .any(|entry| self.readiness(net, entry, now) != (false, false)))
    }

    /// When the reactor would return from its wait if nothing else happened.
    pub(super) fn next_time(&self) -> Option<Instant> {
        if !self.is_running() {
            return None;
        }
        let answers = self.questions.iter().map(|&(at, ..)| at);
        answers.chain(self.due).min()
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.places.iter().flatten().copied()
    }

    fn readiness(&self, net: &Net, entry: Entry, now: Instant) -> (bool, bool) {
        let wanted = entry.wanted;
        let (readable, writable) = net.readiness(entry.socket, now);
        (readable && wanted.readable, writable && wanted.writable)
    }

    fn core(&mut self) -> &mut Core {
        self.core
            .as_mut()
            .expect("a pass is made by a running reactor")
    }

    /// One turn of the reactor's loop, up to its next wait.
    pub(super) fn pass(&mut self, net: &mut Net, now: Instant) {
        let before = (net.activity, self.shared_activity());
        let was_woken = self.woken.swap(false, Ordering::Relaxed);
        self.answer_questions(now);
        self.receive(net, now);
        let mut batch = Vec::new();
        self.core().exchange(&mut batch);
        let submissions = batch.len();
        for submission in batch {
            self.core().handle_submission(submission, now);
        }
        let mut actions = self.act(net, now);
        self.transmit(net, now);
        self.core().handle_time(now);
        actions += self.act(net, now);
        self.core().settle(now);
        self.core().deliver();
        if self.core().is_finished() {
            let late = self.shared.queue.end(Ended::EngineStopped);
            if late.is_empty() {
                return self.finish(net);
            }
            for submission in late {
                self.core().handle_submission(submission, now);
            }
        }
        self.prepare_wait(now);
        let is_idle = !was_woken
            && submissions == 0
            && actions == 0
            && before == (net.activity, self.shared_activity());
        self.idle_passes = if is_idle { self.idle_passes + 1 } else { 0 };
        assert!(
            self.idle_passes < IDLE_PASSES_MAX,
            "P6: the reactor spins: {IDLE_PASSES_MAX} passes had no effect"
        );
        let audit = self.core().audit();
        let sleeps = self.due.is_none_or(|due| due > now);
        assert!(
            !sleeps || audit.undelivered == 0,
            "P2: the engine sleeps on {} events that no inbox has got",
            audit.undelivered
        );
        self.watch.check_pass(&audit, &self.shared, now);
    }

    fn shared_activity(&mut self) -> (usize, Option<Instant>) {
        let used = self.shared.queue.with_registry(|registry| registry.used());
        (used, self.due)
    }

    fn prepare_wait(&mut self, now: Instant) {
        self.core().settle_dropped(now);
        while let Some((key, wanted)) = self.core().poll_wanted() {
            self.declare(key, wanted);
        }
        self.due = self.core().poll_timeout(now);
    }

    fn finish(&mut self, net: &mut Net) {
        let leaked: Vec<Socket> = self.entries().map(|entry| entry.socket).collect();
        assert!(
            leaked.is_empty(),
            "P6: sockets outlive their engine: {leaked:?}"
        );
        self.core = None;
        self.shared.pool.close();
        net.activity += 1;
    }

    /// Whether nothing of a channel is queued and the engine has credit for any message.
    pub(super) fn has_room(&self, channel: Channel) -> bool {
        let used = self.shared.queue.with_registry(|registry| registry.used());
        let audit = self.core.as_ref().map(Core::audit);
        let mut connections = audit.iter().flat_map(|audit| &audit.connections);
        let is_idle = |seen: &Seen| seen.channel == Some(channel) && !seen.has_queued;
        connections.any(is_idle) && used + MESSAGE_COST_MAX <= self.shared.options.outbound_bytes
    }

    /// Ends without a word, as a killed process does: the system closes its sockets.
    pub(super) fn kill(&mut self, net: &mut Net, now: Instant) {
        for entry in self.entries().collect::<Vec<_>>() {
            net.close(entry.socket, false, now);
        }
        self.places.clear();
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut core) = self.core.take() {
            core.deliver_last();
        }
        self.shared.end(Ended::EngineFailed);
    }

    fn answer_questions(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.questions)
            .into_iter()
            .partition(|&(at, ..)| at <= now);
        self.questions = later;
        for (_, key, host, port) in due {
            let addresses = (self.names)(&host, port);
            let _ = self
                .shared
                .queue
                .submit(|_, items| items.push(Submission::Resolved { key, addresses }));
        }
    }

    fn entry(&self, key: RecordKey) -> Option<Entry> {
        let entry = self.places.get(key.index as usize).copied().flatten();
        entry.filter(|entry| entry.key == key)
    }

    fn declare(&mut self, key: RecordKey, wanted: Wanted) {
        let entry = self.places.get_mut(key.index as usize);
        if let Some(Some(entry)) = entry.filter(|it| it.is_some_and(|it| it.key == key)) {
            entry.wanted = wanted;
        }
    }

    fn insert(&mut self, net: &Net, key: RecordKey, socket: Socket, role: Role) {
        let index = key.index as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        if let Some(before) = self.places[index]
            && before.socket != socket
        {
            assert!(
                !net.is_open(before.socket),
                "P5: {key:?} took the place of {:?}, whose socket is still open",
                before.key
            );
        }
        let wanted = Wanted::default();
        self.places[index] = Some(Entry {
            key,
            socket,
            role,
            wanted,
        });
    }

    /// Takes a socket in as the driver's poller does, unless it cannot be polled: then it is closed.
    fn take_in(
        &mut self,
        net: &mut Net,
        key: RecordKey,
        socket: Socket,
        role: Role,
        now: Instant,
    ) -> bool {
        if !net.hides_next() {
            self.insert(net, key, socket, role);
            return true;
        }
        if self.entry(key).is_some() {
            self.places[key.index as usize] = None;
        }
        net.close(socket, false, now);
        let error = Error::new(ErrorKind::Unsupported, HIDDEN);
        self.core().handle_unpollable(key, &error, now);
        false
    }

    fn receive(&mut self, net: &mut Net, now: Instant) {
        let mut ready: Vec<(Entry, bool, bool)> = Vec::new();
        for entry in self.entries() {
            let (readable, writable) = self.readiness(net, entry, now);
            if readable || writable {
                ready.push((entry, readable, writable));
            }
        }
        while let Some(index) = self.rng.index(ready.len()) {
            let (entry, readable, writable) = ready.swap_remove(index);
            let Some(entry) = self.entry(entry.key) else {
                continue;
            };
            match entry.role {
                Role::Listener => self.accept(net, entry, now),
                Role::Connecting => self.finish_connect(net, entry, now),
                Role::Connected => {
                    if readable {
                        self.read(net, entry, now);
                    }
                    if writable {
                        self.core().handle_writable(entry.key, now);
                    }
                }
            }
        }
    }

    fn read(&mut self, net: &mut Net, entry: Entry, now: Instant) {
        let key = entry.key;
        let core = self.core.as_mut().expect("running");
        let (outcome, is_shared) = match core.read_plan(key) {
            ReadPlan::Park => return,
            ReadPlan::Shared => (net.read(entry.socket, &mut self.buffer, now), true),
            ReadPlan::Into(buffer) => (net.read(entry.socket, buffer, now), false),
        };
        match outcome {
            Ok(0) => core.handle_end_of_stream(key, now),
            Ok(len) if is_shared => {
                let used = core.handle_shared(key, &self.buffer[..len], now);
                self.held = used..len;
            }
            Ok(len) => core.handle_filled(key, len, now),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => core.handle_read_error(key, &error, now),
        }
    }

    fn accept(&mut self, net: &mut Net, listener: Entry, now: Instant) {
        for _ in 0..4 {
            if !self.core().may_accept(listener.key) {
                return;
            }
            match net.accept(listener.socket) {
                Ok(socket) => {
                    let peer = net.remote(socket);
                    let Some(key) = self.core().handle_accepted(listener.key, &peer, now) else {
                        return net.close(socket, false, now);
                    };
                    self.take_in(net, key, socket, Role::Connected, now);
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.core().handle_accept_failed(listener.key, now),
            }
        }
    }

    fn finish_connect(&mut self, net: &mut Net, entry: Entry, now: Instant) {
        match net.finish_connect(entry.socket) {
            Ok(false) => {}
            Ok(true) => {
                let peer = net.remote(entry.socket);
                if self.take_in(net, entry.key, entry.socket, Role::Connected, now) {
                    self.core().handle_connected(entry.key, &peer, now);
                }
            }
            Err(error) => {
                self.close(net, entry.key, false, now);
                self.core().handle_connect_failed(entry.key, &error, now);
            }
        }
    }

    fn act(&mut self, net: &mut Net, now: Instant) -> usize {
        let mut actions = 0;
        while actions < self.actions_most
            && let Some(action) = self.core().poll_action()
        {
            actions += 1;
            match action {
                Action::Resolve { key, host, port } => {
                    let at = now + Duration::from_micros(self.rng.between(1, 20_000) as u64);
                    self.questions.push((at, key, host, port));
                }
                Action::Connect { key, address } => {
                    self.close(net, key, false, now);
                    match net.connect(&address, now) {
                        Ok(socket) => {
                            self.take_in(net, key, socket, Role::Connecting, now);
                            let wanted = Wanted {
                                readable: false,
                                writable: true,
                            };
                            self.declare(key, wanted);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            self.core().handle_connect_deferred(key, now);
                        }
                        Err(error) => self.core().handle_connect_failed(key, &error, now),
                    }
                }
                Action::Listen { key, address } => {
                    let backlog = self.shared.options.backlog as usize;
                    match net.listen(&address, backlog) {
                        Ok(socket) => {
                            let bound = net.bound(socket);
                            if self.take_in(net, key, socket, Role::Listener, now) {
                                self.core().handle_listening(key, &bound);
                            }
                        }
                        Err(error) => self.core().handle_listen_failed(key, &error),
                    }
                }
                Action::FinishSending { key } => {
                    if let Some(entry) = self.entry(key) {
                        net.shut_write(entry.socket, now);
                    }
                }
                Action::Close { key, abortive } => self.close(net, key, abortive, now),
            }
        }
        while let Some(key) = self.core().poll_resume() {
            actions += 1;
            let held = self.held.clone();
            let core = self.core.as_mut().expect("running");
            let used = core.handle_shared(key, &self.buffer[held.clone()], now);
            self.held = held.start + used..held.end;
        }
        actions
    }

    fn close(&mut self, net: &mut Net, key: RecordKey, abortive: bool, now: Instant) {
        let Some(entry) = self.entry(key) else { return };
        if entry.role == Role::Connected
            && let Some(channel) = self.core().channel_of(key)
            && let Some(peer) = net.peer(entry.socket)
        {
            let (own, peer) = (net.record(entry.socket), net.record(peer));
            self.links.insert(channel, LinkRecord { own, peer });
        }
        net.close(entry.socket, abortive, now);
        self.places[key.index as usize] = None;
    }

    fn transmit(&mut self, net: &mut Net, now: Instant) {
        let mut list = Vec::new();
        self.core().take_transmit_list(&mut list);
        for key in list {
            let entry = self.entry(key);
            let core = self.core.as_mut().expect("running");
            let Some(gather) = core.transmit(key, &mut self.scratch) else {
                continue;
            };
            let Some(entry) = entry.filter(|entry| entry.role == Role::Connected) else {
                continue;
            };
            let outcome = net.write(entry.socket, gather.slices(), now);
            let offered = gather.bytes();
            match outcome {
                Ok(sent) => core.handle_transmitted(key, sent, offered, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    core.handle_blocked(key, now)
                }
                Err(error) => core.handle_write_error(key, &error, now),
            }
        }
    }

    /// The sockets of what the core calls connected, with what is unread there.
    pub(super) fn unread(&self, net: &mut Net) -> Vec<(RecordKey, usize)> {
        let connected = self.entries().filter(|entry| entry.role == Role::Connected);
        connected
            .map(|entry| (entry.key, net.unread(entry.socket)))
            .collect()
    }
}

impl Drop for Node {
    /// A receiver waits for the end of its group, also while a failed check unwinds.
    fn drop(&mut self) {
        self.end();
    }
}
