//! One engine of a simulation: the reactor itself, with its core and shared state, over a simulated
//! world. Between two passes it sleeps, as far as the application can tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::between::key::RecordKey;
use crate::between::registry::GroupId;
use crate::between::seat::GRACE;
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::driver::sockets::Socket;
use crate::driver::{Driver, LIMITS, Limits};
use crate::error::Ended;
use crate::group::{self, ChannelGroup};
use crate::handles::{GroupShared, Reads, Shared, Submission};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::protocol::Core;
use crate::protocol::audit::Seen;
use crate::storage::MESSAGE_COST_MAX;
use crate::tls::fake;

use super::checks::Watch;
use super::faults::Faults;
use super::flag::Flag;
use super::net::SharedNet;
use super::outside::{LinkRecord, Outside};
use super::rng::Rng;

/// So many passes without any effect, one after the other, are a reactor that spins.
const IDLE_PASSES_MAX: u32 = 50;

/// A wake that comes late comes so much later at most, in microseconds.
const LATE_WAKE_MICROS: usize = 300;

/// The answer that a name is given.
pub(super) type Names = fn(&str, u16) -> Vec<std::net::SocketAddr>;

pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) driver: Option<Driver<Outside>>,
    pub(super) watch: Watch,
    pub(super) links: BTreeMap<Channel, LinkRecord>,
    pub(super) faults: Faults,
    net: SharedNet,
    was_woken: Arc<AtomicBool>,
    /// When the reactor notices that it was woken.
    wakes_at: Option<Instant>,
    /// When its thread gets its turn, once there is something to do.
    runs_at: Option<Instant>,
    /// Until when nobody sits who was not called.
    empty_until: Option<Instant>,
    names: Names,
    pub(super) rng: Rng,
    idle_passes: u32,
    reads_little: bool,
    group_next: GroupId,
    /// The group whose receiver makes the pass: each in its turn, and nobody's.
    receiver: GroupId,
    /// Its limits and the rest of its numbers, in words.
    drawn: String,
}

impl Node {
    pub(super) fn new(options: Options, names: Names, net: &SharedNet, mut rng: Rng) -> Self {
        options.check().expect("options that an engine accepts");
        let was_woken = Arc::new(AtomicBool::new(true));
        // Numbers are used again at once, so that whatever relied on their rest would show.
        let quarantine = if rng.chance(70) { 0 } else { 3 };
        let wake = |_: &_| Box::new(Flag(Arc::clone(&was_woken))) as Box<dyn Wake>;
        let shared = Shared::with_quarantine(options, quarantine, wake);
        let limits = Limits {
            bytes_per_read: [48, 1000, 20_000, 256 * 1024][rng.below(4)],
            bytes_per_pass: [1, 5000, 1 << 20][rng.below(3)],
            messages_per_pass: [1500, 1500, 1500, 20][rng.below(4)],
            openings_per_pass: [1, 3, 256][rng.below(3)],
            handshakes_per_pass: [1, 3, 32][rng.below(3)],
            handshakes_time: LIMITS.handshakes_time,
        };
        let drawn = format!("numbers rest for {quarantine} others; {limits:?}");
        let world = Outside::new(net, rng.fork());
        Node {
            driver: Some(Driver::new(world, Arc::clone(&shared), limits)),
            watch: Watch::default(),
            links: BTreeMap::new(),
            faults: Faults::default(),
            net: SharedNet::clone(net),
            shared,
            was_woken,
            wakes_at: None,
            runs_at: None,
            empty_until: None,
            names,
            rng,
            idle_passes: 0,
            reads_little: limits.bytes_per_read < 1000
                || limits.bytes_per_pass < 20_000
                || limits.messages_per_pass < 1500,
            group_next: 1,
            receiver: 0,
            drawn,
        }
    }

    /// What it was made with.
    pub(super) fn setting(&self) -> String {
        format!("{:#?}\n{}", self.shared.options, self.drawn)
    }

    pub(super) fn group(&mut self) -> (ChannelGroup, Inbox, Arc<GroupShared>) {
        // Every other group has nothing of its own.
        let reserve = (self.group_next as usize + 1) % 2 * MESSAGE_COST_MAX;
        let group = GroupShared::new(self.group_next, 0, reserve);
        let group = Arc::new(group.secured_by(Some(fake::security())));
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
        self.driver.is_some()
    }

    pub(super) fn core(&self) -> Option<&Core> {
        self.driver.as_ref().map(|driver| &driver.core)
    }

    /// Brings answers of the resolver, and wakes that may be late. Returns whether whoever posted made
    /// a pass.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        self.answer_questions(now);
        let mut writes = false;
        if self.was_woken.swap(false, Ordering::Relaxed) {
            let (at_once, late) = {
                let temper = &self.net.borrow().temper;
                (temper.written_at_once, temper.late_wakes)
            };
            writes = self.is_running() && self.runs_at.is_none() && self.rng.chance(at_once);
            if writes {
                self.faults.written_at_once += 1;
                self.work(Reads::No, now);
            } else {
                self.handle_wake(late, now);
            }
        }
        if !self.has_work(now) {
            self.runs_at = None;
        } else if self.runs_at.is_none() {
            let most = self.net.borrow().temper.slow_micros / self.hurry() as usize;
            let delay = Duration::from_micros(self.rng.between(0, most) as u64);
            let sits_at = self.empty_until.take().map_or(now, |until| until.max(now));
            self.runs_at = Some(sits_at + delay);
        }
        writes
    }

    /// How much sooner than others it makes a pass: a reactor that reads little in each needs many, and
    /// would blame its peers for its own delay.
    fn hurry(&self) -> u32 {
        if self.reads_little { 32 } else { 1 }
    }

    fn handle_wake(&mut self, late: usize, now: Instant) {
        let mut at = now;
        if self.rng.chance(late) {
            self.faults.late_wakes += 1;
            at += Duration::from_micros(self.rng.between(1, LATE_WAKE_MICROS) as u64);
        }
        self.wakes_at = Some(self.wakes_at.map_or(at, |before| before.min(at)));
        // Of the thread that left the seat, no wake calls the stand-in.
        if self.rng.chance(50) {
            self.empty_until = None;
        }
    }

    /// Whether the reactor makes a pass now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.runs_at.is_some_and(|at| at <= now)
    }

    /// Whether the reactor would return from its wait now.
    fn has_work(&self, now: Instant) -> bool {
        let Some(driver) = &self.driver else {
            return false;
        };
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        is_due(self.wakes_at) || is_due(driver.until) || driver.sockets.world.is_ready()
    }

    /// When the reactor would make a pass if nothing else happened.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let driver = self.driver.as_ref()?;
        if self.runs_at.is_some() {
            return self.runs_at;
        }
        let questions = driver.sockets.world.questions.iter();
        let times = questions.map(|&(at, ..)| at).chain(driver.until);
        times.chain(self.wakes_at).min()
    }

    /// One pass of the reactor, from one wait to the next.
    pub(super) fn pass(&mut self, now: Instant) {
        self.runs_at = None;
        let driver = self.driver.as_mut().expect("a running reactor");
        driver.wait(None).expect("this wait never fails");
        self.receiver = (self.receiver + 1) % self.group_next;
        self.work(
            match self.receiver {
                0 => Reads::Yes,
                group => Reads::For(group),
            },
            now,
        );
        let left_empty = self.net.borrow().temper.left_empty;
        if self.rng.chance(left_empty) {
            self.faults.left_empty += 1;
            let most = GRACE / self.hurry();
            let empty = self.rng.between(1, most.as_micros() as usize);
            self.empty_until = Some(now + Duration::from_micros(empty as u64));
        }
    }

    /// What a pass does when it has waited, or does not.
    fn work(&mut self, reads: Reads, now: Instant) {
        let before = self.activity();
        let was_woken = match reads {
            Reads::Yes | Reads::For(_) => self.wakes_at.take_if(|at| *at <= now).is_some(),
            Reads::No => true,
        };
        let driver = self.driver.as_mut().expect("a running reactor");
        let is_over = driver.work(reads);
        self.shared.queue.wake_tasks();
        if reads != Reads::No {
            driver.sockets.world.arm(); // the system is told with a wait, which the others do without
        }
        for (key, link) in std::mem::take(&mut driver.sockets.world.links) {
            if let Some(channel) = driver.core.take_bound(key) {
                self.links.insert(channel, link);
            }
        }
        if is_over {
            return self.finish();
        }
        let is_idle = !was_woken && before == self.activity();
        self.idle_passes = if is_idle { self.idle_passes + 1 } else { 0 };
        assert!(
            self.idle_passes < IDLE_PASSES_MAX,
            "P6: the reactor spins: {IDLE_PASSES_MAX} passes had no effect"
        );
        let driver = self.driver.as_ref().expect("still running");
        let audit = driver.core.audit();
        let sleeps = driver.until.is_none_or(|until| until > now);
        assert!(
            !sleeps || audit.undelivered == 0,
            "P2: the engine sleeps on {} events that no inbox has got",
            audit.undelivered
        );
        self.watch.check_pass(&audit, &self.shared, now);
    }

    /// What changes whenever a pass has an effect.
    fn activity(&self) -> (u64, u64, u64, usize, Option<Instant>) {
        let driver = self.driver.as_ref();
        let calls = driver.map_or(0, |driver| driver.sockets.world.calls.get());
        let until = driver.and_then(|driver| driver.until);
        let used = self.shared.queue.with_registry(|registry| registry.used());
        let activity = self.net.borrow().activity;
        (activity, fake::read(), calls, used, until)
    }

    fn finish(&mut self) {
        let driver = self.driver.as_ref().expect("running until now");
        let leaked = driver.sockets.keys();
        assert!(
            leaked.is_empty(),
            "P6: sockets outlive their engine: {leaked:?}"
        );
        self.end(Ended::EngineStopped);
        self.net.borrow_mut().activity += 1;
    }

    /// Whether nothing of a channel is queued and the engine has credit for any message.
    pub(super) fn has_room(&self, channel: Channel) -> bool {
        let used = self.shared.queue.with_registry(|registry| registry.used());
        let audit = self.core().map(Core::audit);
        let mut connections = audit.iter().flat_map(|audit| &audit.connections);
        let is_idle = |seen: &Seen| seen.channel == Some(channel) && !seen.has_queued;
        connections.any(is_idle) && used + MESSAGE_COST_MAX <= self.shared.options.outbound_bytes
    }

    /// Ends without a word, as a killed process does: the system closes its sockets.
    pub(super) fn kill(&mut self) {
        self.end(Ended::EngineFailed);
    }

    fn end(&mut self, why: Ended) {
        if let Some(mut driver) = self.driver.take() {
            let world = &driver.sockets.world;
            self.faults.add(&world.faults);
            self.faults.shortages += world.shortages.get();
            driver.end(why);
        }
        self.shared.end(why);
    }

    /// Limits that are not drawn by chance.
    pub(super) fn limit(&mut self, limits: Limits) {
        if let Some(driver) = &mut self.driver {
            driver.limit(limits);
        }
    }

    /// How many sockets it has.
    pub(super) fn sockets(&self) -> usize {
        let driver = self.driver.as_ref();
        driver.map_or(0, |driver| driver.sockets.keys().len())
    }

    pub(super) fn passes(&self) -> u64 {
        self.shared.counters.passes.load(Ordering::Relaxed)
    }

    /// Has the system asked anew to poll every connection.
    pub(super) fn declare_anew(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.sockets.world.touch_all();
        }
    }

    fn answer_questions(&mut self, now: Instant) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        let questions = &mut driver.sockets.world.questions;
        for (_, key, host, port) in questions.extract_if(.., |&mut (at, ..)| at <= now) {
            let addresses = (self.names)(&host, port);
            let _ = self
                .shared
                .queue
                .submit(|_, items| items.push(Submission::Resolved { key, addresses }));
        }
    }

    /// The connected sockets, with what is unread there.
    pub(super) fn unread(&self) -> Vec<(RecordKey, usize)> {
        let Some(driver) = &self.driver else {
            return Vec::new();
        };
        let sockets = &driver.sockets;
        let connected = sockets.keys().into_iter().filter_map(|key| {
            let Some(Socket::Connected(stream)) = sockets.get(key) else {
                return None;
            };
            Some((key, self.net.borrow_mut().unread(stream.socket)))
        });
        connected.collect()
    }
}

impl Drop for Node {
    /// A receiver waits for the end of its group, also while a failed check unwinds.
    fn drop(&mut self) {
        self.end(Ended::EngineFailed);
    }
}
