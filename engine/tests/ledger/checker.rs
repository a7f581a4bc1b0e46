//! Joins the ledgers of a run's processes and names what contradicts the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::accounts::{Entry, Witness};
use super::book::{Channel, Identity, Line, Verb};

/// A promise that was broken, or a ledger that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// A process found something wrong by itself.
    Reported,
    /// An outcome without an intent, or an intent without an outcome where one must have followed.
    Incoherent,
    /// Came, and was never posted, or was refused.
    NeverPosted,
    /// Came on another channel than it was posted to, or from a channel that never opened there.
    WrongChannel,
    /// Came with another verb or id than it was posted with.
    Altered,
    ReceivedTwice,
    /// One behind it came, or it was confirmed, or an orderly end came behind it, and it did not.
    Lost,
    OutOfOrder,
    /// Came back, and was never posted to that channel, or came back before.
    ReturnedUnposted,
    /// One behind it was sent, or came back before it.
    ReturnedOutOfOrder,
    ReturnedAndReceived,
    /// More are confirmed than were received.
    ConfirmedNotReceived,
    /// Everything up to a goodbye that was answered is confirmed, and was not.
    AnsweredNotConfirmed,
    ReceivedMoreThanSent,
    ClosedTwice,
    NotClosed,
    /// Something of a channel came after its `Closed`.
    AfterClosed,
    /// The account does not say posted = sent + returned.
    Unbalanced,
    /// A number of the account is not what the ledger counts.
    PostedMiscounted,
    ReturnedMiscounted,
    ReceivedMiscounted,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) process: usize,
    pub(crate) channel: Option<Channel>,
    pub(crate) identity: Option<Identity>,
    pub(crate) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}: process {}", self.kind, self.process)?;
        if let Some(channel) = self.channel {
            write!(to, ", channel {channel}")?;
        }
        if let Some(identity) = self.identity {
            write!(to, ", message {identity}")?;
        }
        write!(to, ": {}", self.what)
    }
}

/// Where a fault is: a process, and mostly one of its channels.
pub(crate) type Place = (usize, Channel);

#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    /// Adds a fault of a whole process.
    pub(crate) fn add_of_process(&mut self, kind: Kind, process: usize, what: impl Into<String>) {
        self.0.push(Fault {
            kind,
            process,
            channel: None,
            identity: None,
            what: what.into(),
        });
    }

    pub(crate) fn add(
        &mut self,
        kind: Kind,
        (process, channel): Place,
        identity: Option<Identity>,
        what: impl Into<String>,
    ) {
        self.0.push(Fault {
            kind,
            process,
            channel: Some(channel),
            identity,
            what: what.into(),
        });
    }
}

/// What a run's ledgers add up to.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) posted: u64,
    pub(crate) received: u64,
    pub(crate) returned: u64,
    pub(crate) refused: u64,
    /// Of channels that closed in a process that lived to see it.
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    /// Those channels, by the reason of their end.
    pub(crate) channels: BTreeMap<String, u64>,
}

impl Sums {
    pub(crate) fn add(&mut self, other: Sums) {
        self.posted += other.posted;
        self.received += other.received;
        self.returned += other.returned;
        self.refused += other.refused;
        self.sent += other.sent;
        self.confirmed += other.confirmed;
        for (reason, count) in other.channels {
            *self.channels.entry(reason).or_default() += count;
        }
    }
}

/// A ledger, and whether its process lived to the end.
pub(crate) struct Ledger {
    pub(crate) lines: Vec<Line>,
    pub(crate) survived: bool,
}

/// Checks the ledgers of all processes of a run, in the order of their numbers.
pub(crate) fn check(ledgers: &[Ledger]) -> (Vec<Fault>, Sums) {
    let mut faults = Faults::default();
    let witnesses: Vec<Witness> = ledgers
        .iter()
        .enumerate()
        .map(|(process, ledger)| Witness::new(process, ledger, &mut faults))
        .collect();
    for witness in &witnesses {
        witness.check_intents(&mut faults);
        witness.check_accounts(&mut faults);
    }
    let join = Join::new(&witnesses);
    join.check_once(&mut faults);
    for witness in &witnesses {
        for &channel in witness.channels.keys() {
            join.check_channel((witness.process, channel), &mut faults);
        }
    }
    (faults.0, sums(&witnesses))
}

fn sums(witnesses: &[Witness]) -> Sums {
    let mut sums = Sums::default();
    for witness in witnesses {
        sums.refused += witness.refused;
        for channel in witness.channels.values() {
            sums.posted += channel.posted.len() as u64;
            sums.received += channel.received.len() as u64;
            sums.returned += channel.returned.len() as u64;
            if let Some((reason, account)) = channel.closed.first() {
                sums.sent += account.sent;
                sums.confirmed += account.confirmed;
                *sums.channels.entry(reason.clone()).or_default() += 1;
            }
        }
    }
    sums
}

/// The ledgers side by side.
struct Join<'a> {
    witnesses: &'a [Witness],
    /// The other end of each channel whose HelloRequest came.
    peers: BTreeMap<Place, Place>,
    /// Where each message was posted: several places, if it came back and was posted again.
    posted: BTreeMap<Identity, Vec<Place>>,
    /// What a process was about to post when it ended.
    pending: BTreeSet<Identity>,
}

impl<'a> Join<'a> {
    fn new(witnesses: &'a [Witness]) -> Join<'a> {
        let mut posted: BTreeMap<Identity, Vec<Place>> = BTreeMap::new();
        let mut pending = BTreeSet::new();
        for witness in witnesses {
            for (&channel, record) in &witness.channels {
                for entry in &record.posted {
                    let places = posted.entry(entry.of_known()).or_default();
                    places.push((witness.process, channel));
                }
            }
            pending.extend(witness.pending.iter().map(|intent| intent.identity));
        }
        let mut join = Join {
            witnesses,
            peers: BTreeMap::new(),
            posted,
            pending,
        };
        for witness in witnesses {
            for (&channel, record) in &witness.channels {
                let hello = record.received.iter().find(|came| came.verb == Verb::Hello);
                let places = hello.and_then(|hello| join.posted.get(&hello.identity?));
                // A HelloRequest is posted once: what comes back of it is not posted again.
                if let Some(&[from]) = places.map(Vec::as_slice) {
                    join.peers.insert((witness.process, channel), from);
                    join.peers.insert(from, (witness.process, channel));
                }
            }
        }
        join
    }

    fn record(&self, (process, channel): Place) -> &super::accounts::Record {
        &self.witnesses[process].channels[&channel]
    }

    /// No message comes twice, wherever.
    fn check_once(&self, faults: &mut Faults) {
        let mut seen: BTreeMap<Identity, Place> = BTreeMap::new();
        for witness in self.witnesses {
            for (&channel, record) in &witness.channels {
                for identity in record.received.iter().filter_map(|came| came.identity) {
                    let place = (witness.process, channel);
                    if let Some(before) = seen.insert(identity, place) {
                        let what = format!("came before, to process {} on {}", before.0, before.1);
                        faults.add(Kind::ReceivedTwice, place, Some(identity), what);
                    }
                }
            }
        }
    }

    /// What came on a channel, against what was posted at its other end.
    fn check_channel(&self, place: Place, faults: &mut Faults) {
        let here = self.record(place);
        let Some(&from) = self.peers.get(&place) else {
            return self.check_unpaired(place, faults);
        };
        let sender = &self.witnesses[from.0];
        let there = self.record(from);
        let mut came = BTreeSet::new();
        for entry in &here.received {
            let Some(identity) = entry.identity else {
                continue;
            };
            came.insert(identity);
            match there
                .posted
                .iter()
                .find(|post| post.identity == entry.identity)
            {
                Some(post) if post.verb != entry.verb || post.id != entry.id => {
                    let what = format!("was posted as {post}, came as {entry}");
                    faults.add(Kind::Altered, place, entry.identity, what);
                }
                Some(_) => {}
                None if sender.may_have_posted(identity, from.1) => {}
                None => self.name_stranger(place, identity, faults),
            }
        }
        self.check_sequence(place, from, faults);
        for returned in there.returned.iter().filter_map(|entry| entry.identity) {
            if came.contains(&returned) {
                let what = format!("came back to process {} on {}", from.0, from.1);
                faults.add(Kind::ReturnedAndReceived, place, Some(returned), what);
            }
        }
        self.check_counts(place, from, faults);
    }

    /// A message that came and was not posted at the channel's other end.
    fn name_stranger(&self, place: Place, identity: Identity, faults: &mut Faults) {
        match self.posted.get(&identity) {
            Some(places) => {
                let what = format!("was posted to {places:?}");
                faults.add(Kind::WrongChannel, place, Some(identity), what);
            }
            None => faults.add(Kind::NeverPosted, place, Some(identity), "nobody posted it"),
        }
    }

    /// What a thread posted to the channel comes in its order and without a gap.
    fn check_sequence(&self, place: Place, from: Place, faults: &mut Faults) {
        let (here, there) = (self.record(place), self.record(from));
        let sender = &self.witnesses[from.0];
        for poster in there.posters() {
            let mut posted: Vec<Identity> = there.posted_by(poster).collect();
            posted.extend(sender.pending_of(poster, from.1));
            let place_of: BTreeMap<Identity, usize> = posted
                .iter()
                .enumerate()
                .map(|(at, &it)| (it, at))
                .collect();
            let mut last: Option<usize> = None;
            let mut seen = BTreeSet::new();
            for identity in here.received.iter().filter_map(|came| came.identity) {
                let Some(&at) = place_of.get(&identity) else {
                    continue;
                };
                if last.is_some_and(|last| at < last) {
                    let what = "came behind one that was posted later";
                    faults.add(Kind::OutOfOrder, place, Some(identity), what);
                }
                last = last.max(Some(at));
                seen.insert(at);
            }
            for at in (0..last.unwrap_or(0)).filter(|at| !seen.contains(at)) {
                let what = "did not come, and one posted behind it did";
                faults.add(Kind::Lost, place, Some(posted[at]), what);
            }
        }
    }

    /// The sender's account against what came.
    fn check_counts(&self, place: Place, from: Place, faults: &mut Faults) {
        let (here, there) = (self.record(place), self.record(from));
        let Some((_, account)) = there.closed.first() else {
            return;
        };
        let came = here.received.len() as u64;
        if came > account.sent {
            let what = format!("{came} came to process {}, {account:?}", place.0);
            faults.add(Kind::ReceivedMoreThanSent, from, None, what);
        }
        // Who is killed while it closes may not have written down what it received.
        let is_all_written = !self.witnesses[place.0].died_ending;
        if account.confirmed > came && is_all_written {
            let what = format!("{came} came to process {}, {account:?}", place.0);
            faults.add(Kind::ConfirmedNotReceived, from, None, what);
        }
        if let Some((reason, _)) = here.closed.first() {
            let is_orderly = reason == "PeerDisconnected" || reason == "Bye";
            // Whoever answered a goodbye waits for no answer to its own.
            let crossed = u64::from(reason == "Bye" && here.has_answered());
            if is_orderly && came + crossed < account.sent && !ampe::platform::is_wine() {
                let what = format!("ended by {reason} with {came}, the sender has {account:?}");
                faults.add(Kind::Lost, place, None, what);
            }
        }
    }

    /// Nothing comes on a channel whose HelloRequest nobody received, but the answer to a goodbye
    /// that an engine gave while its process was killed closing.
    fn check_unpaired(&self, place: Place, faults: &mut Faults) {
        let here = self.record(place);
        let is_excused = self.witnesses.iter().any(|witness| witness.died_ending);
        for entry in &here.received {
            match entry.identity {
                None if is_excused => {}
                None => faults.add(
                    Kind::WrongChannel,
                    place,
                    None,
                    format!("{entry} from nobody"),
                ),
                Some(identity) if entry.verb == Verb::Hello && self.pending.contains(&identity) => {
                }
                Some(identity) => self.name_stranger(place, identity, faults),
            }
        }
        let confirmed = here
            .closed
            .first()
            .map_or(0, |(_, account)| account.confirmed);
        if confirmed > 0 && !is_excused {
            let what = format!("{confirmed} confirmed, and nobody received its HelloRequest");
            faults.add(Kind::ConfirmedNotReceived, place, None, what);
        }
    }
}

impl Entry {
    /// The identity of a post: only what the engine makes itself has none, and nobody wrote that
    /// down as posted.
    fn of_known(&self) -> Identity {
        self.identity.expect("a post has an identity")
    }
}
