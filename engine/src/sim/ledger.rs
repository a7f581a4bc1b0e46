//! The account that the simulation keeps of every message, and compares with what engines say.
//!
//! A channel sends in the order in which it was posted to. So what its peer receives is a beginning
//! of what was posted, what comes back is the rest, and any byte that is lost, doubled, mixed up or
//! delivered to somebody else shows at the first comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::{Address, CONNECT_TO};
use crate::channel::Channel;
use crate::event::{Closed, Opened, Received, Returned};
use crate::message::Message;
use crate::peer::Peer;
use crate::post::{Post, Target};
use crate::reason::Reason;
use crate::wire::{self, OpCode};

use super::faults::Faults;
use super::outside::{HIDDEN, LinkRecord};

/// What a HelloRequest of a simulated engine starts with, before the line that it opens.
pub(super) const HELLO_MAGIC: &[u8] = b"ampe-sim";

/// Who is to pass for deaf has taken nothing for about as long as a send timeout.
const DEAF_LEAST: Duration = Duration::from_secs(1);

/// One channel of one engine.
pub(super) type Line = (usize, Channel);

/// A message as it was posted.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) op_code: OpCode,
    pub(super) id: u64,
    pub(super) more: bool,
    text_headers: Vec<u8>,
    body: Vec<u8>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Trace {
            op_code, id, more, ..
        } = self;
        let more = if *more { " more" } else { "" };
        let (headers, body) = (self.text_headers.len(), self.body.len());
        write!(formatter, "{op_code} {id}{more} ({headers}+{body} bytes)")
    }
}

impl Trace {
    pub(super) fn of_post(post: &Post) -> Trace {
        let mut trace = Trace::of(post.op_code, post.message_id, post.more, &post.message);
        if let (Target::New(address), OpCode::HelloRequest) = (&post.target, post.op_code) {
            let block = &mut trace.text_headers;
            wire::append(block, CONNECT_TO, Address::to_wire(&address.address)).unwrap();
        }
        trace
    }

    fn of(op_code: OpCode, id: u64, more: bool, message: &Message) -> Trace {
        Trace {
            op_code,
            id,
            more,
            text_headers: message.text_headers().as_bytes().to_vec(),
            body: message.body().to_vec(),
        }
    }
}

#[derive(Default)]
pub(super) struct LineAccount {
    pub(super) posted: Vec<Trace>,
    pub(super) returned: Vec<Trace>,
    pub(super) received: u64,
    pub(super) closed: Option<Closed>,
    pub(super) peer: Option<Line>,
    /// Whoever is at the other end keeps to no rules.
    pub(super) is_hostile: bool,
    pub(super) is_listener: bool,
    pub(super) is_accepted: bool,
    /// Who was at the other end when the connection came about.
    pub(super) opened: Option<Peer>,
    /// What was said in aborting it.
    last_words: Vec<Trace>,
    /// Cannot be sent to: its messages come back while it goes on receiving.
    has_failed: bool,
    /// Refused, and not told of room since.
    pub(super) room_wanted: bool,
    pub(super) refusals: u64,
    rooms: u64,
    /// A ByeResponse came, behind which an engine sends nothing.
    pub(super) has_answer: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) accounts: BTreeMap<Line, LineAccount>,
    /// Who posted a HelloRequest that has not arrived yet, by the token in it.
    dialled: BTreeMap<u64, Line>,
    /// Who was admitted, and has not said hello.
    admitted: Vec<Peer>,
    /// Engines that were killed: nothing more is owed to them.
    pub(super) killed: Vec<usize>,
    pub(super) totals: Totals,
}

#[derive(Default, Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) runs: u64,
    pub(super) posted: u64,
    pub(super) received: u64,
    pub(super) returned: u64,
    pub(super) channels: u64,
    pub(super) refused_full: u64,
    pub(super) rooms: u64,
    pub(super) starved: u64,
    /// How often a connection was seen that cannot be written to.
    pub(super) failures: u64,
    pub(super) resets: u64,
    pub(super) byes: u64,
    /// Channels whose peer aborted and said why.
    pub(super) aborts: u64,
    pub(super) stalls: u64,
    pub(super) deaf: u64,
    pub(super) hidden: u64,
    /// Connections about which an application was asked, and that it refused.
    pub(super) asked: u64,
    pub(super) refused: u64,
    pub(super) reused_numbers: u64,
    pub(super) faults: Faults,
    pub(super) virtual_time: Duration,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.posted += other.posted;
        self.received += other.received;
        self.returned += other.returned;
        self.channels += other.channels;
        self.refused_full += other.refused_full;
        self.rooms += other.rooms;
        self.starved += other.starved;
        self.failures += other.failures;
        self.resets += other.resets;
        self.byes += other.byes;
        self.aborts += other.aborts;
        self.stalls += other.stalls;
        self.deaf += other.deaf;
        self.hidden += other.hidden;
        self.asked += other.asked;
        self.refused += other.refused;
        self.reused_numbers += other.reused_numbers;
        self.faults.add(&other.faults);
        self.virtual_time += other.virtual_time;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.virtual_time.as_secs_f64() / 3600.0;
        let Totals {
            channels,
            reused_numbers,
            posted,
            received,
            returned,
            refused_full,
            rooms,
            byes,
            aborts,
            stalls,
            deaf,
            starved,
            failures,
            asked,
            refused,
            ..
        } = self;
        writeln!(formatter, "virtual hours: {hours:.2}")?;
        writeln!(
            formatter,
            "messages: posted {posted}, received {received}, returned {returned}, \
             refused for want of room {refused_full}, told of room {rooms}"
        )?;
        writeln!(
            formatter,
            "channels: {channels}, numbers used again {reused_numbers}, ended by goodbye {byes}, \
             by a peer that said why it aborts {aborts}, by a stalled peer {stalls}, by a deaf one {deaf}"
        )?;
        writeln!(
            formatter,
            "asked whether to admit {asked}, and refused {refused}"
        )?;
        writeln!(
            formatter,
            "seen after a pass: waiting for budget {starved}, failed to write {failures}"
        )?;
        write!(formatter, "faults: {}", self.faults)
    }
}

impl Ledger {
    pub(super) fn open(&mut self, line: Line) -> &mut LineAccount {
        let generations = self
            .accounts
            .keys()
            .filter(|(node, channel)| *node == line.0 && channel.number() == line.1.number());
        self.totals.reused_numbers += u64::from(generations.count() > 0);
        let before = self.accounts.insert(line, LineAccount::default());
        assert!(before.is_none(), "P5: {line:?} exists already");
        self.totals.channels += 1;
        self.accounts.get_mut(&line).expect("inserted above")
    }

    /// A HelloRequest with this token was posted.
    pub(super) fn dialled(&mut self, token: u64, line: Line) {
        self.dialled.insert(token, line);
    }

    /// The application lets somebody in.
    pub(super) fn admitted(&mut self, peer: &Peer) {
        self.admitted.push(peer.clone());
    }

    /// A peer says its first word, to a listener that asks whom to admit, if `was_asked`.
    pub(super) fn checked_in(&mut self, line: Line, peer: &Peer, was_asked: bool) {
        let before = self.admitted.len();
        self.admitted.retain(|admitted| !admitted.is_same(peer));
        let is_admitted = before == self.admitted.len() + 1;
        assert!(
            is_admitted == was_asked,
            "Admission: {line:?} says hello; asked whether to admit it: {was_asked}, admitted: {is_admitted}"
        );
    }

    /// A HelloRequest arrived and made a channel.
    pub(super) fn greeted(&mut self, line: Line, body: &[u8]) {
        let token = body
            .strip_prefix(HELLO_MAGIC)
            .and_then(|token| token.try_into().ok());
        let peer = token.and_then(|token| self.dialled.remove(&u64::from_le_bytes(token)));
        let account = self.open(line);
        account.peer = peer;
        account.is_hostile = peer.is_none();
        account.is_accepted = true;
        if let Some(peer) = peer {
            self.accounts.get_mut(&peer).expect("it dialled").peer = Some(line);
        }
    }

    fn account(&mut self, line: Line) -> &mut LineAccount {
        let account = self.accounts.get_mut(&line);
        let account =
            account.unwrap_or_else(|| panic!("P5: an event for {line:?}, which nobody opened"));
        assert!(
            account.closed.is_none(),
            "P4: an event for {line:?} behind its Closed"
        );
        account
    }

    pub(super) fn posted(&mut self, line: Line, mut trace: Trace, id: u64) {
        trace.id = id;
        self.totals.posted += 1;
        let account = self.accounts.get_mut(&line);
        account
            .expect("posted to a channel that exists")
            .posted
            .push(trace);
    }

    /// A ByeSignal was posted.
    pub(super) fn aborting(&mut self, line: Line, mut trace: Trace, id: u64) {
        trace.id = id;
        if let Some(account) = self.accounts.get_mut(&line) {
            account.last_words.push(trace);
        }
    }

    /// A ByeSignal came.
    pub(super) fn aborted(&mut self, line: Line, received: &Received) {
        self.totals.aborts += 1;
        let trace = Trace::of(
            received.op_code(),
            received.id(),
            received.has_more(),
            received.message(),
        );
        let account = self.account(line);
        let Some(peer) = account.peer else { return };
        let said = &self.accounts[&peer].last_words;
        assert!(
            said.contains(&trace),
            "P5: {line:?} was told {trace:?}, its peer had said {said:?}"
        );
    }

    /// An event that carries no message came.
    pub(super) fn noticed(&mut self, line: Line) {
        let account = self.account(line);
        assert!(
            account.returned.is_empty() || account.has_failed,
            "P4: {line:?} goes on behind a Returned"
        );
    }

    /// A connection that was dialled stands: that is told before anything that comes over it.
    pub(super) fn opened(&mut self, line: Line, opened: Opened) {
        self.noticed(line);
        let account = self.account(line);
        assert!(!account.is_accepted && !account.is_listener && account.received == 0);
        let before = account.opened.replace(opened.peer);
        assert_eq!(before, None, "{line:?} opens twice");
    }

    pub(super) fn room(&mut self, line: Line) {
        self.noticed(line);
        self.totals.rooms += 1;
        let account = self.account(line);
        account.room_wanted = false;
        account.rooms += 1;
        // A refusal may come between a Room and its taking, so that a second Room follows at once:
        // but never are there more of them than refusals.
        assert!(
            account.rooms <= account.refusals,
            "Room: {line:?} was told {} times of room, and refused {} times",
            account.rooms,
            account.refusals
        );
    }

    pub(super) fn received(&mut self, line: Line, received: &Received) {
        self.noticed(line);
        self.totals.received += 1;
        let account = self.account(line);
        let index = account.received as usize;
        account.received += 1;
        account.has_answer |= received.op_code == OpCode::ByeResponse;
        if account.is_hostile {
            return;
        }
        let peer = account.peer;
        let peer = peer.unwrap_or_else(|| panic!("P5: {line:?} received something from nobody"));
        assert_eq!(received.status, 0, "P5: no engine sends a status");
        let trace = Trace::of(
            received.op_code,
            received.id,
            received.more,
            &received.message,
        );
        let expected = self.accounts[&peer].posted.get(index);
        assert!(
            expected == Some(&trace),
            "P5: number {index} of {line:?} is {trace:?}, its peer had posted {expected:?}"
        );
    }

    pub(super) fn returned(&mut self, line: Line, returned: &Returned) {
        self.totals.returned += 1;
        let Returned {
            op_code,
            more,
            id,
            ref message,
            ..
        } = *returned;
        let trace = Trace::of(op_code, id, more, message);
        let account = self.account(line);
        account.has_failed |= returned.reason == Reason::ConnectionLost;
        account.returned.push(trace);
    }

    pub(super) fn closed(&mut self, line: Line, closed: &Closed, link: Option<LinkRecord>) {
        let account = self.account(line);
        account.closed = Some(closed.clone());
        if !account.is_accepted {
            assert_eq!(
                account.opened, closed.peer,
                "{line:?}: Opened, and then Closed"
            );
        }
        let own = closed.account();
        let posted = account.posted.len() as u64;
        let returned = account.returned.len() as u64;
        assert_eq!(
            (own.posted, own.returned, own.received),
            (posted, returned, account.received),
            "P1: {line:?} says {own:?}, it was posted {posted}, got {returned} back and {} from its peer",
            account.received
        );
        assert_eq!(own.posted, own.sent + own.returned, "P1: {line:?}: {own:?}");
        assert!(own.confirmed <= own.sent, "P1: {line:?}: {own:?}");
        let rest = &account.posted[own.sent as usize..];
        assert!(
            rest == account.returned,
            "P1: {line:?} got back {:?}, not {rest:?}",
            account.returned
        );
        let written = link.map_or(0, |link| link.own.frames_written);
        assert_eq!(
            own.sent, written,
            "P1: {line:?} counts as sent what the system does not"
        );
        let is_stalled = closed.reason() == Reason::ReceiveTimedOut;
        assert!(
            !is_stalled || account.is_hostile,
            "P2: {line:?} calls its peer stalled, an engine that sends as fast as it is read from"
        );
        self.totals.stalls += u64::from(is_stalled);
        self.totals.byes += u64::from(closed.reason() == Reason::Bye);
        if closed.reason() == Reason::CannotPoll {
            let words = closed.os_error().map(|error| error.to_string());
            assert_eq!(words.as_deref(), Some(HIDDEN), "P4: {line:?}");
            self.totals.hidden += 1;
        }
        let is_deaf = closed.reason() == Reason::SendTimedOut;
        let takes_for = link.and_then(|link| link.takes_for);
        assert!(
            !is_deaf || takes_for.is_none_or(|time| time < DEAF_LEAST),
            "P2: {line:?} calls its peer deaf, and the system would have taken bytes for {takes_for:?}"
        );
        self.totals.deaf += u64::from(is_deaf);
        if let Some(link) = link {
            self.totals.resets += u64::from(link.own.was_reset);
            self.check_delivered(line, closed, link);
        }
    }

    /// P2: all that arrived before an orderly end was delivered, and the reason says how it ended.
    fn check_delivered(&self, line: Line, closed: &Closed, link: LinkRecord) {
        let account = &self.accounts[&line];
        if account.is_hostile || account.peer.is_none() || link.own.was_reset {
            return;
        }
        let is_whole = link.own.saw_end && !link.peer.is_mid_frame;
        // What the system refused us is another matter than what the peer did.
        let is_peers_fault = closed.os_error().is_none();
        assert!(
            !(is_whole && is_peers_fault && closed.reason() == Reason::ConnectionLost),
            "P2: {line:?} calls the orderly end of its peer a failure"
        );
        let peer_said = account.received == link.peer.frames_written;
        if link.own.saw_end || account.has_answer {
            assert!(
                peer_said,
                "P2: {line:?} ended as {:?} with {} of {} messages",
                closed.reason(),
                account.received,
                link.peer.frames_written
            );
        }
    }

    /// How many connections an engine accepted that said hello.
    pub(super) fn accepted_by(&self, node: usize) -> u64 {
        let accounts = self.accounts.iter().filter(|(line, _)| line.0 == node);
        accounts.filter(|(_, account)| account.is_accepted).count() as u64
    }

    /// What the channels of an engine say of their messages, now that all have ended: posted, sent, returned,
    /// confirmed, received.
    pub(super) fn traffic_of(&self, node: usize) -> [u64; 5] {
        let accounts = self.accounts.iter().filter(|(line, _)| line.0 == node);
        let closed = accounts.filter_map(|(_, account)| account.closed.as_ref());
        closed.map(Closed::account).fold([0; 5], |sums, it| {
            let own = [it.posted, it.sent, it.returned, it.confirmed, it.received];
            std::array::from_fn(|index| sums[index] + own[index])
        })
    }

    /// After everything has ended.
    pub(super) fn check_end(&self) {
        for (line, account) in &self.accounts {
            if self.killed.contains(&line.0) {
                continue;
            }
            let closed = account.closed.as_ref();
            let closed = closed.unwrap_or_else(|| panic!("P4: {line:?} has no Closed"));
            let Some(peer) = account.peer else { continue };
            let theirs = &self.accounts[&peer];
            let own = closed.account();
            assert!(
                theirs.received <= own.sent,
                "P1: {peer:?} received {} messages of {} sent by {line:?}",
                theirs.received,
                own.sent
            );
            assert!(
                own.confirmed <= theirs.received,
                "P1: {line:?} calls {} messages confirmed, {peer:?} received {}",
                own.confirmed,
                theirs.received
            );
        }
    }
}
