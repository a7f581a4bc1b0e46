//! Engines, their applications and strangers, on one network and one clock.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::options::Options;
use crate::post::Post;
use crate::protocol::Core;
use crate::storage::{MESSAGE_COST_MAX, give_back_spare};
use crate::traffic::Traffic;

use super::app::{Context, Member};
use super::hostile::Stranger;
use super::ledger::{Ledger, Totals};
use super::net::{Net, REFUSING_PORT, SILENT_PORT, SharedNet};
use super::node::Node;
use super::rng::Rng;
use super::temper::{Temper, draw_temper};

/// A run that takes more steps than this does not end.
const STEPS_MAX: u32 = 3_000_000;

pub(super) struct World {
    // Nodes go first: their end ends the groups, for whose end inboxes wait when they are dropped.
    pub(super) nodes: Vec<Node>,
    pub(super) members: Vec<Member>,
    pub(super) net: SharedNet,
    pub(super) ledger: Ledger,
    pub(super) strangers: Vec<Stranger>,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    steps: u32,
    start: Instant,
}

/// A host of several addresses, of which one hangs, one refuses and one may be the right one; and one that
/// may be reached at either address.
fn names(host: &str, port: u16) -> Vec<SocketAddr> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    match host {
        "several.example" => vec![at(SILENT_PORT), at(REFUSING_PORT), at(port)],
        "twofold.example" => vec![at(port), at(port)],
        "plain.example" => vec![at(port)],
        _ => Vec::new(),
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let temper = draw_temper(&mut rng);
        let count = rng.between(1, 3);
        let options = (0..count).map(|_| draw_options(&mut rng)).collect();
        World::with(options, temper, rng)
    }

    /// An engine for each of the options.
    pub(super) fn with(options: Vec<Options>, temper: Temper, mut rng: Rng) -> Self {
        let net = Rc::new(RefCell::new(Net::new(rng.fork(), temper)));
        let nodes = options.into_iter();
        let nodes = nodes.map(|options| Node::new(options, names, &net, rng.fork()));
        let nodes = nodes.collect();
        let now = net.borrow().now;
        World {
            nodes,
            members: Vec::new(),
            net,
            ledger: Ledger::default(),
            strangers: Vec::new(),
            rng,
            now,
            steps: 0,
            start: now,
        }
    }

    /// What it was made with, as far as it was drawn by chance.
    pub(super) fn setting(&self) -> String {
        let temper = &self.net.borrow().temper;
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.map(|(index, node)| format!("engine {index}: {}", node.setting()));
        let nodes: Vec<String> = nodes.collect();
        format!("{temper:#?}\n{}", nodes.join("\n"))
    }

    pub(super) fn add_member(&mut self, node: usize) -> usize {
        self.members.push(Member::new(node, &mut self.nodes[node]));
        self.members.len() - 1
    }

    /// Lets the application of a member do something.
    pub(super) fn with_member<R>(
        &mut self,
        member: usize,
        act: impl FnOnce(&mut Member, &mut Context<'_>) -> R,
    ) -> R {
        let member = &mut self.members[member];
        let mut context = Context {
            node: &mut self.nodes[member.node],
            ledger: &mut self.ledger,
            rng: &mut self.rng,
        };
        act(member, &mut context)
    }

    /// Lets one engine that is ready make a pass, or else lets time go on to the next event.
    /// Returns whether anything can still happen by itself.
    pub(super) fn step(&mut self) -> bool {
        self.step_within(None)
    }

    /// Lets everything happen until then, by itself: applications do nothing.
    pub(super) fn pass_until(&mut self, until: Instant) {
        while self.now < until {
            self.step_within(Some(until));
        }
    }

    /// As [`step`](Self::step); time goes on to `until` at the latest.
    fn step_within(&mut self, until: Option<Instant>) -> bool {
        self.steps += 1;
        assert!(
            self.steps < STEPS_MAX,
            "no rest after {:?}: {:?}",
            self.now - self.start,
            self.ledger.totals
        );
        self.net.borrow_mut().tick(self.now);
        let mut have_written = false;
        for node in &mut self.nodes {
            have_written |= node.tick(self.now);
        }
        if have_written {
            return true; // others may have to read it now
        }
        let ready: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.nodes[node].is_ready(self.now))
            .collect();
        if let Some(index) = self.rng.index(ready.len()) {
            self.nodes[ready[index]].pass(self.now);
            self.check_in_hand(ready[index]);
            return true;
        }
        let stranger = (0..self.strangers.len()).find(|&it| self.strangers[it].is_ready(self.now));
        if let Some(stranger) = stranger {
            let net = &mut self.net.borrow_mut();
            self.strangers[stranger].act(net, &mut self.rng, self.now);
            return true;
        }
        let times = self.nodes.iter().filter_map(Node::next_time);
        let times = times.chain(self.strangers.iter().filter_map(Stranger::next_time));
        let times = times.chain(until);
        let Some(next) = times.chain(self.net.borrow().next_time(self.now)).min() else {
            return false;
        };
        assert!(next > self.now, "whoever is due now was ready");
        self.now = next;
        self.net.borrow_mut().now = next;
        true
    }

    fn check_in_hand(&self, node: usize) {
        let members = self.members.iter().filter(|member| member.node == node);
        let cost: usize = members.map(Member::inbound_cost).sum();
        let limit = self.nodes[node].shared.options.inbound_bytes;
        assert!(
            cost <= limit,
            "P6: an application holds {cost} bytes received, the limit is {limit}"
        );
    }

    /// Lets everything happen that happens by itself, with applications that take what comes.
    pub(super) fn settle(&mut self) {
        loop {
            let is_going = (0..8).all(|_| self.step());
            let mut is_busy = false;
            for member in 0..self.members.len() {
                is_busy |= self.with_member(member, |member, context| {
                    let has_received = member.receive(context, 1000);
                    member.is_winding_down && member.let_go(context) || has_received
                });
            }
            if !is_going && !is_busy {
                return;
            }
        }
    }

    /// Somewhere to connect to, not always a good idea.
    fn address(&mut self) -> Option<Address> {
        let mut known: Vec<Address> = Vec::new();
        for member in &self.members {
            known.extend(member.listening.iter().cloned());
        }
        let known = self
            .rng
            .index(known.len())
            .map(|index| known.swap_remove(index));
        let port = known
            .as_ref()
            .and_then(Address::port)
            .unwrap_or(REFUSING_PORT);
        // Mostly the way in which the listener wants it.
        let is_tls = known.as_ref().is_some_and(Address::is_tls) ^ self.rng.chance(10);
        let named = if is_tls { Address::tls } else { Address::tcp };
        let odd = match self.rng.below(30) {
            0 => named("127.0.0.1", SILENT_PORT),
            1 => named("127.0.0.1", REFUSING_PORT),
            2 => named("several.example", port),
            3 => named("plain.example", port),
            4 => named("unknown.example", 1),
            5 => Address::uds("/nowhere/at/all"),
            6..=8 => named("twofold.example", port),
            _ => return known,
        };
        Some(odd.unwrap())
    }

    /// One thing that an application does by chance.
    pub(super) fn operate(&mut self) {
        let Some(index) = self.rng.index(self.members.len()) else {
            return;
        };
        match self.rng.below(100) {
            0..=5 => {
                let address = self.address();
                let open = self.members[index].channels.len();
                if let Some(address) = address.filter(|_| open < 12) {
                    self.with_member(index, |member, context| member.connect(context, &address));
                }
            }
            6..=7 => self.listen(index),
            8..=44 => self.post_one(index),
            45..=49 => self.post_several(index),
            50..=69 => {
                let most = self.rng.between(0, 12);
                self.with_member(index, |member, context| member.receive(context, most));
            }
            70..=89 => self.with_member(index, Member::catch_up),
            90..=92 => self.end_channel(index),
            93..=95 => self.send_stranger(index),
            96 if self.rng.chance(15) => self.close_member(index),
            97 if self.rng.chance(30) => {
                let node = self.rng.below(self.nodes.len());
                if self.nodes[node].is_running() {
                    self.add_member(node);
                }
            }
            98 if self.rng.chance(4) => self.stop_node(),
            98 if self.rng.chance(30) => self.pass_time(),
            99 if self.rng.chance(4) => self.kill_node(),
            _ => {}
        }
    }

    /// Nobody does anything for a while, long enough for timers.
    fn pass_time(&mut self) {
        // Now and then longer than any of them.
        let millis = [500, 500, 500, 6000][self.rng.below(4)];
        let until = self.now + Duration::from_millis(millis);
        while self.now < until && self.step() {}
    }

    fn draw_len(&mut self) -> usize {
        let rng = &mut self.rng;
        let len = match rng.below(20) {
            0 => 0,
            1..=11 => rng.between(0, 240),
            12..=15 => rng.between(200, 5000),
            16..=18 => rng.between(4000, 20_000),
            _ => rng.between(16_000, 65_535),
        };
        // Through a pipe of a few bytes a large message takes too many steps.
        len.min(self.net.borrow().temper.capacity * 40)
    }

    fn post_one(&mut self, index: usize) {
        let len = self.draw_len();
        self.with_member(index, |member, context| {
            let Some(channel) = context.rng.index(member.channels.len()) else {
                return;
            };
            let channel = member.channels[channel];
            let message = member.message(context.rng, len);
            let post = match context.rng.below(3) {
                0 => message.signal(channel),
                1 if context.rng.chance(20) => message.request(channel).more(),
                _ => message.request(channel),
            };
            member.post(context, post);
        });
    }

    fn post_several(&mut self, index: usize) {
        let len = match self.rng.chance(30) {
            true => 0,
            false => self.draw_len() % 5000,
        };
        self.with_member(index, |member, context| {
            let in_buffer = context.rng.chance(40);
            let only = context.rng.index(member.channels.len());
            let posts = (0..context.rng.between(1, 40))
                .filter_map(|_| {
                    let channel = match in_buffer {
                        true => only?,
                        false => context.rng.index(member.channels.len())?,
                    };
                    let message = member.message(context.rng, len);
                    Some(message.signal(member.channels[channel]))
                })
                .collect();
            match in_buffer {
                true => member.post_signals(context, posts),
                false => member.post_many(context, posts),
            }
        });
    }

    fn end_channel(&mut self, index: usize) {
        let ended = self.with_member(index, |member, context| {
            if context.rng.chance(5)
                && let Some(listener) = context.rng.index(member.listeners.len())
            {
                member.post(context, Post::abort(member.listeners[listener]));
            }
            let channel = context.rng.index(member.channels.len())?;
            let channel = member.channels[channel];
            if context.rng.chance(30) {
                let post = member.aborting(context.rng, channel);
                member.post(context, post);
                return None;
            }
            let message = member.message(context.rng, 20);
            member.post(context, message.bye(channel))?;
            context.ledger.accounts[&(member.node, channel)].peer
        });
        // Often both sides mean to go at once, or the other does not wait for the end.
        let peer = ended.filter(|_| self.rng.chance(70));
        let owner = peer.and_then(|(node, channel)| {
            let owns = |it: &Member| it.node == node && it.channels.contains(&channel);
            Some((self.members.iter().position(owns)?, channel))
        });
        if let Some((member, channel)) = owner {
            self.with_member(member, |member, context| {
                let message = member.message(context.rng, 20);
                let goes_hard = context.rng.chance(30);
                let post = match goes_hard {
                    true => member.aborting(context.rng, channel),
                    false => message.bye(channel),
                };
                member.post(context, post);
            });
        }
    }

    fn send_stranger(&mut self, index: usize) {
        let ports = self.members[index]
            .listening
            .iter()
            .filter_map(Address::port);
        let ports: Vec<u16> = ports.collect();
        if let Some(port) = self.rng.index(ports.len()) {
            let at = ([127, 0, 0, 1], ports[port]).into();
            for _ in 0..self.rng.between(1, 3) {
                let stranger =
                    Stranger::dial(&mut self.net.borrow_mut(), &mut self.rng, at, self.now);
                self.strangers.push(stranger);
            }
        }
        if self.rng.chance(20) {
            let server = Stranger::serve(&mut self.net.borrow_mut(), &mut self.rng, self.now);
            let address = server.address().expect("it listens");
            self.strangers.push(server);
            self.with_member(index, |member, context| {
                if let Some(channel) = {
                    let hello = member.posting.message().hello(&address);
                    member.post(context, hello)
                } {
                    let account = context.ledger.accounts.get_mut(&(member.node, channel));
                    account.expect("just opened").is_hostile = true;
                }
            });
        }
    }

    fn close_member(&mut self, index: usize) {
        let within = Duration::from_micros(self.rng.below(60_000) as u64);
        let deadline = self.now + within;
        let member = &mut self.members[index];
        member.close(&mut self.nodes[member.node], deadline);
    }

    fn stop_node(&mut self) {
        let node = self.rng.below(self.nodes.len());
        let within = Duration::from_micros(self.rng.below(60_000) as u64);
        self.stop(node, within);
    }

    pub(super) fn stop(&mut self, node: usize, within: Duration) {
        let deadline = self.now + within;
        if self.nodes[node].is_running() {
            self.nodes[node].stop(deadline);
            let before = self.nodes[node].watch.stopping;
            self.nodes[node].watch.stopping = Some(before.map_or(deadline, |it| it.min(deadline)));
        }
    }

    fn kill_node(&mut self) {
        let node = self.rng.below(self.nodes.len());
        self.nodes[node].kill();
        self.ledger.killed.push(node);
        self.members.retain(|member| member.node != node);
    }

    /// At rest: whatever still waits waits for ever. Two engines whose connection is sound owe each
    /// other nothing then.
    pub(super) fn check_rest(&mut self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(core) = node.core() else { continue };
            let audit = core.audit();
            assert_eq!(
                audit.starving, 0,
                "P6: engine {index} starves at rest: {audit:#?}"
            );
            for seen in &audit.connections {
                let account = seen
                    .channel
                    .and_then(|it| self.ledger.accounts.get(&(index, it)));
                // Without a peer it waits in a backlog, where its opening may stay for long.
                let is_hostile = account.is_none_or(|it| it.is_hostile || it.peer.is_none());
                assert!(
                    is_hostile || !seen.has_queued,
                    "P1: engine {index} keeps messages at rest: {seen:#?} of {:?}",
                    account.map(|it| (it.peer, it.posted.len()))
                );
                // Of those who began a frame and stopped, an engine has let go by now.
                assert!(
                    !seen.is_mid_frame,
                    "P2: engine {index} has half a frame at rest: {seen:#?}"
                );
            }
            for (key, unread) in node.unread() {
                assert_eq!(
                    unread,
                    0,
                    "P2: engine {index} leaves bytes unread at rest: {key:?}, {:#?}",
                    core.audit().connections.iter().find(|it| it.key == key)
                );
            }
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if !node.is_running() {
                continue;
            }
            node.pass(self.now); // it need not hear of drops before
            let audit = node.core().map(Core::audit);
            let used = audit.map_or(0, |audit| audit.inbound_used);
            assert_eq!(used, 0, "P6: engine {index} charges for what was dropped");
        }
        for (line, account) in &self.ledger.accounts {
            let is_open = account.closed.is_none() && !self.ledger.killed.contains(&line.0);
            let is_waiting = is_open && account.room_wanted && self.nodes[line.0].has_room(line.1);
            assert!(
                !is_waiting,
                "Room: {line:?} waits for room at rest, and there is some"
            );
            let Some(peer) = account.peer.filter(|_| is_open) else {
                continue;
            };
            let theirs = &self.ledger.accounts[&peer];
            if theirs.closed.is_none() && !self.ledger.killed.contains(&peer.0) {
                assert_eq!(
                    theirs.received as usize,
                    account.posted.len(),
                    "P2: {peer:?} did not get everything of {line:?}, and never will"
                );
            }
        }
    }

    /// An engine's statistics are the sums of what its channels said at their end, where applications have
    /// received all of that, and of what its groups count.
    pub(super) fn check_statistics(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let queue = &node.shared.queue;
            let it = queue
                .with_registry(|registry| registry.census(None))
                .traffic;
            let counted = [it.posted, it.sent, it.returned, it.confirmed, it.received];
            if !self.ledger.killed.contains(&index) {
                assert_eq!(counted, self.ledger.traffic_of(index));
                let members = self.members.iter().filter(|it| it.node == index);
                let mut of_groups = Traffic::default();
                members.for_each(|member| {
                    let census = queue.with_registry(|registry| member.shared.census(registry));
                    of_groups.add(census.traffic);
                });
                assert_eq!(of_groups, it);
            }
        }
    }

    /// After every engine has ended: nothing is left of anything.
    pub(super) fn check_end(mut self) -> Totals {
        self.ledger.check_end();
        self.members.clear();
        let mut totals = self.ledger.totals;
        totals.runs = 1;
        totals.virtual_time = self.now - self.start;
        totals.faults.add(&self.net.borrow().faults);
        for (index, node) in self.nodes.iter().enumerate() {
            assert!(!node.is_running(), "P3: an engine runs on");
            totals.starved += node.watch.starved;
            totals.failures += node.watch.failures;
            totals.faults.add(&node.faults);
            let used = node.shared.queue.with_registry(|registry| registry.used());
            assert!(
                used == 0 || !self.ledger.killed.is_empty(),
                "P6: {used} bytes of outbound credit are charged at the end"
            );
            let heard = self.ledger.accepted_by(index);
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let counters = &node.shared.counters;
            let unheard = count(&counters.ended_before_hello);
            assert!(
                count(&counters.accepted) == heard + unheard || self.ledger.killed.contains(&index),
                "P6: {heard} said hello and {unheard} did not, which is not what was accepted"
            );
            give_back_spare();
            let pools = std::sync::Arc::strong_count(&node.shared.pool);
            assert_eq!(pools, 1, "P6: messages outlive their engine");
            assert_eq!(
                std::sync::Arc::strong_count(&node.shared),
                1,
                "P6: handles are left"
            );
        }
        totals
    }
}

/// What an engine needs at least.
pub(super) fn least_options() -> Options {
    let least = 2 * MESSAGE_COST_MAX;
    Options {
        inbound_bytes: least,
        inbound_bytes_per_channel: least,
        outbound_bytes: least,
        outbound_bytes_per_channel: least,
        connect_timeout: Duration::from_millis(300),
        hello_timeout: Duration::from_millis(200),
        frame_timeout: Duration::from_secs(4),
        send_timeout: Duration::from_secs(3),
        bye_timeout: Duration::from_secs(2),
        linger_timeout: Duration::from_millis(400),
        ..Options::default()
    }
}

fn draw_options(rng: &mut Rng) -> Options {
    let least = 2 * MESSAGE_COST_MAX;
    let mut budget = || match rng.below(10) {
        0..=7 => least,
        8 => 3 * least,
        _ => 16 << 20,
    };
    Options {
        inbound_bytes: budget(),
        inbound_bytes_per_channel: budget(),
        outbound_bytes: budget(),
        outbound_bytes_per_channel: budget(),
        pool_bytes: [0, 1 << 16, 1 << 24][rng.below(3)],
        connections_per_listener: [2, 50][rng.below(2)],
        backlog: [1, 16][rng.below(2)],
        ..least_options()
    }
}
