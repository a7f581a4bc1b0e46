//! One process's ledger, sorted by channel, and what it must say by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::book::{Account, Channel, Identity, Line, Verb};
use super::checker::{Faults, Kind, Ledger};

/// A message in a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) poster: u8,
    pub(crate) identity: Option<Identity>,
    pub(crate) verb: Verb,
    pub(crate) id: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} with id {}", self.verb, self.id)
    }
}

/// An intent whose outcome was not written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent {
    pub(crate) poster: u8,
    pub(crate) identity: Identity,
    pub(crate) verb: Verb,
    pub(crate) channel: Option<Channel>,
}

/// What happened on one channel, in the order of the ledger.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) posted: Vec<Entry>,
    pub(crate) returned: Vec<Entry>,
    pub(crate) received: Vec<Entry>,
    /// Byes that were left to the engine to answer.
    left: u64,
    /// Reason and account.
    pub(crate) closed: Vec<(String, Account)>,
}

impl Record {
    pub(crate) fn posters(&self) -> BTreeSet<u8> {
        // Who has nothing but a pending post here has none that could be out of order.
        self.posted.iter().map(|post| post.poster).collect()
    }

    /// Whether a goodbye of the peer's was answered here.
    pub(crate) fn has_answered(&self) -> bool {
        let is_answer = |post: &Entry| post.verb == Verb::ByeResponse;
        self.left > 0 || self.posted.iter().any(is_answer)
    }

    pub(crate) fn posted_by(&self, poster: u8) -> impl Iterator<Item = Identity> {
        let by_poster = self.posted.iter().filter(move |post| post.poster == poster);
        by_poster.filter_map(|post| post.identity)
    }
}

/// A process's ledger, sorted.
pub(crate) struct Witness {
    pub(crate) process: usize,
    survived: bool,
    /// Killed between the start and the end of its closing.
    pub(crate) died_ending: bool,
    pub(crate) channels: BTreeMap<Channel, Record>,
    pub(crate) pending: Vec<Intent>,
    pub(crate) refused: u64,
}

impl Witness {
    pub(crate) fn new(process: usize, ledger: &Ledger, faults: &mut Faults) -> Witness {
        let has = |wanted: &Line| ledger.lines.contains(wanted);
        let mut witness = Witness {
            process,
            survived: ledger.survived,
            died_ending: has(&Line::Ending) && !has(&Line::Ended),
            channels: BTreeMap::new(),
            pending: Vec::new(),
            refused: 0,
        };
        for line in &ledger.lines {
            witness.take(line, faults);
        }
        witness
    }

    fn take(&mut self, line: &Line, faults: &mut Faults) {
        match line {
            &Line::Intent(poster, identity, verb, channel) => self.pending.push(Intent {
                poster,
                identity,
                verb,
                channel,
            }),
            &Line::Posted(poster, identity, channel, id) => {
                let intent = self.settle(poster, identity, faults);
                let post = Entry {
                    poster,
                    identity: Some(identity),
                    verb: intent.map_or(Verb::Signal, |intent| intent.verb),
                    id,
                };
                self.channels.entry(channel).or_default().posted.push(post);
            }
            Line::Refused(poster, identity, _) => {
                self.settle(*poster, *identity, faults);
                self.refused += 1;
            }
            &Line::Left(channel) => self.channels.entry(channel).or_default().left += 1,
            Line::Fault(what) => faults.add_of_process(Kind::Reported, self.process, what),
            Line::Listen(channel) => drop(self.channels.entry(*channel).or_default()),
            Line::Ending | Line::Ended => {}
            event => self.take_event(event, faults),
        }
    }

    fn take_event(&mut self, line: &Line, faults: &mut Faults) {
        let channel = match line {
            Line::Listening(channel, _)
            | Line::Received(channel, ..)
            | Line::Returned(channel, ..)
            | Line::Closed(channel, ..) => *channel,
            other => unreachable!("no event: {other}"),
        };
        let place = (self.process, channel);
        let record = self.channels.entry(channel).or_default();
        let entry = |verb, identity, id| Entry {
            poster: 0,
            identity,
            verb,
            id,
        };
        let is_closed = !record.closed.is_empty();
        if is_closed && !matches!(line, Line::Closed(..)) {
            faults.add(Kind::AfterClosed, place, None, line.to_string());
        }
        match line {
            &Line::Received(_, verb, identity, id) => {
                record.received.push(entry(verb, identity, id));
            }
            &Line::Returned(_, verb, identity, id, _) => {
                record.returned.push(entry(verb, identity, id));
            }
            Line::Closed(_, reason, account) => {
                if is_closed {
                    faults.add(Kind::ClosedTwice, place, None, line.to_string());
                }
                record.closed.push((reason.clone(), *account));
            }
            _ => {}
        }
    }

    fn settle(&mut self, poster: u8, identity: Identity, faults: &mut Faults) -> Option<Intent> {
        let is_it = |intent: &Intent| intent.poster == poster && intent.identity == identity;
        let Some(at) = self.pending.iter().rposition(is_it) else {
            let what = format!("an outcome without an intent: {identity}");
            faults.add_of_process(Kind::Incoherent, self.process, what);
            return None;
        };
        Some(self.pending.swap_remove(at))
    }

    /// Whether the process ended between saying that it would post this there and the outcome.
    pub(crate) fn may_have_posted(&self, identity: Identity, channel: Channel) -> bool {
        let is_it = |intent: &Intent| intent.identity == identity;
        let is_there = |intent: &Intent| intent.channel.is_none_or(|it| it == channel);
        self.pending
            .iter()
            .any(|intent| is_it(intent) && is_there(intent))
    }

    pub(crate) fn pending_of(
        &self,
        poster: u8,
        channel: Channel,
    ) -> impl Iterator<Item = Identity> {
        let theirs = self.pending.iter().filter(move |it| it.poster == poster);
        let there = theirs.filter(move |intent| intent.channel == Some(channel));
        there.map(|intent| intent.identity)
    }

    /// Only the last intent of a thread can lack its outcome, and only where the process was killed.
    pub(crate) fn check_intents(&self, faults: &mut Faults) {
        let posters: BTreeSet<u8> = self.pending.iter().map(|intent| intent.poster).collect();
        if self.pending.len() > posters.len() || (self.survived && !posters.is_empty()) {
            let what = format!("intents without outcomes: {:?}", self.pending);
            faults.add_of_process(Kind::Incoherent, self.process, what);
        }
    }

    /// Everything that one ledger must say without asking others.
    pub(crate) fn check_accounts(&self, faults: &mut Faults) {
        for (&channel, record) in &self.channels {
            let place = (self.process, channel);
            if record.closed.is_empty() && self.survived {
                faults.add(Kind::NotClosed, place, None, "the process lived on");
            }
            self.check_returned(channel, record, faults);
            if let Some((_, account)) = record.closed.first() {
                self.check_account(channel, record, account, faults);
            }
        }
    }

    /// What came back was posted, comes back once, and is what was posted last: of a channel that
    /// did not close before its process ended, the first part of that.
    fn check_returned(&self, channel: Channel, record: &Record, faults: &mut Faults) {
        let place = (self.process, channel);
        let mut seen = BTreeSet::new();
        for entry in &record.returned {
            let Some(identity) = entry.identity else {
                continue;
            };
            let is_posted = record.posted.iter().any(|post| {
                post.identity == entry.identity && (post.verb, post.id) == (entry.verb, entry.id)
            });
            if !is_posted && !self.may_have_posted(identity, channel) {
                let what = format!("{entry}: was not posted like this");
                faults.add(Kind::ReturnedUnposted, place, entry.identity, what);
            }
            if !seen.insert(identity) {
                let what = "came back before";
                faults.add(Kind::ReturnedUnposted, place, entry.identity, what);
            }
        }
        if record.returned.is_empty() {
            return;
        }
        for poster in record.posters() {
            let posted: Vec<Identity> = record.posted_by(poster).collect();
            let is_theirs = |identity: &Identity| posted.contains(identity);
            let returned: Vec<Identity> = record
                .returned
                .iter()
                .filter_map(|entry| entry.identity)
                .filter(is_theirs)
                .collect();
            let is_in_order = match record.closed.is_empty() {
                false => posted.ends_with(&returned),
                true => posted
                    .windows(returned.len().max(1))
                    .any(|it| it == returned),
            };
            if !returned.is_empty() && !is_in_order {
                let what = format!("of thread {poster}: {} came back", returned.len());
                let first = returned.first().copied();
                faults.add(Kind::ReturnedOutOfOrder, place, first, what);
            }
        }
    }

    fn check_account(
        &self,
        channel: Channel,
        record: &Record,
        account: &Account,
        faults: &mut Faults,
    ) {
        let place = (self.process, channel);
        if account.posted != account.sent + account.returned || account.confirmed > account.sent {
            faults.add(Kind::Unbalanced, place, None, format!("{account:?}"));
        }
        let posted = record.posted.len() as u64;
        let is_here = |intent: &&Intent| intent.channel.is_none_or(|it| it == channel);
        let uncertain = record.left + self.pending.iter().filter(is_here).count() as u64;
        if !(posted..=posted + uncertain).contains(&account.posted) {
            let what = format!("posted {posted}, uncertain {uncertain}, {account:?}");
            faults.add(Kind::PostedMiscounted, place, None, what);
        }
        let returned = record.returned.len() as u64;
        if account.returned != returned {
            let what = format!("returned {returned}, {account:?}");
            faults.add(Kind::ReturnedMiscounted, place, None, what);
        }
        let received = record.received.len() as u64;
        if account.received != received {
            let what = format!("received {received}, {account:?}");
            faults.add(Kind::ReceivedMiscounted, place, None, what);
        }
        self.check_goodbye(channel, record, account, faults);
    }

    /// A goodbye that was answered confirms all that was posted up to it: nothing but the answer to
    /// the peer's own goodbye can be posted behind it.
    fn check_goodbye(
        &self,
        channel: Channel,
        record: &Record,
        account: &Account,
        faults: &mut Faults,
    ) {
        let bye = record.posted.iter().find(|post| post.verb == Verb::Bye);
        let is_answer = |came: &Entry| {
            came.verb == Verb::ByeResponse && bye.is_some_and(|bye| bye.id == came.id)
        };
        if !record.received.iter().any(is_answer) {
            return;
        }
        let is_owed = |entry: &&Entry| entry.verb != Verb::ByeResponse;
        let owed = record.posted.iter().filter(is_owed).count() as u64;
        if account.confirmed < owed {
            let what = format!("{owed} up to a goodbye that was answered, {account:?}");
            let place = (self.process, channel);
            faults.add(Kind::AnsweredNotConfirmed, place, None, what);
        }
    }
}
