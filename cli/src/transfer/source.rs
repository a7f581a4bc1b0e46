//! What is to be sent, on its way out: read, hashed and posted on a thread of its own, so that the
//! thread that receives answers never waits for a disk.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ampe::{Channel, ChannelGroup, Message, Post, PostError};
use sha2::{Digest as _, Sha256};

use super::BODY_LEN;
use super::digest::Digest;
use super::outgoing::{Content, Kind, Outgoing};
use super::protocol::{Attributes, Demand};
use crate::aside::Aside;
use crate::progress::Bars;

/// Messages with content posted under one lock.
const BATCH: usize = 8;

/// Items sent in one message each that are posted together, and their bytes: every post wakes others.
const ITEMS: usize = 32;
const ITEMS_BYTES: usize = BATCH * BODY_LEN;

/// How many may wait for their last answer: enough to keep both sides at work while answers travel, and
/// few enough for the receiver to have room for its answers.
const OPEN_MOST: usize = 256;

/// What is to be sent, where and how.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) items: Arc<[Outgoing]>,
    pub(crate) group: ChannelGroup,
    pub(crate) channel: Channel,
    pub(crate) manner: Manner,
    pub(crate) bars: Bars,
}

/// How files are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Copies get the permissions and times of what they are copies of.
    pub(crate) preserve: bool,
    /// Bytes of content a second at most.
    pub(crate) limit: Option<u64>,
}

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// The channel has room again.
    Room,
    /// The receiver takes this item's content from here on.
    Accepted(usize, u64),
    /// The receiver gave this item its last answer.
    Answered(usize),
}

/// What the thread says.
#[derive(Debug)]
pub(crate) enum Said {
    /// All of an item goes out: what is to become of it there.
    Whole(usize, Whole),
    /// It cannot be read: why, what to do, and whether it had begun, so that the receiver was told.
    Unreadable(usize, String, bool),
}

/// An item all of which went out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) begun: Instant,
    pub(crate) bytes: u64,
    /// Of its content, if it has any.
    pub(crate) sha256: Option<Digest>,
    /// How much of it was there before.
    pub(crate) resumed: u64,
}

/// The thread that sends items, in order. Dropped, it sends nothing more; where it hangs in its disk, it
/// is left behind.
pub(crate) struct Source {
    _thread: Aside<()>,
    told: mpsc::Sender<Told>,
    said: mpsc::Receiver<Said>,
    state: Arc<State>,
}

/// What is seen of the thread at any time.
#[derive(Default)]
struct State {
    /// Bytes read or posted so far.
    moved: AtomicU64,
    is_reading: AtomicBool,
    /// Which item it is at.
    at: AtomicUsize,
    /// Whether that one has been offered, and not all sent.
    is_open: AtomicBool,
    /// Messages not posted yet.
    batch: Mutex<VecDeque<Post>>,
}

impl State {
    fn batch(&self) -> MutexGuard<'_, VecDeque<Post>> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing more is wanted: the channel has ended, or the [`Source`] was dropped.
#[derive(Debug)]
struct NotWanted;

/// The id that all messages of an item carry: far from those that an engine gives by itself.
pub(crate) fn id(item: usize) -> u64 {
    FIRST_ID + item as u64
}

/// Which item has this id, if it is one of an item's.
pub(crate) fn item(id: u64) -> Option<usize> {
    usize::try_from(id.checked_sub(FIRST_ID)?).ok()
}

const FIRST_ID: u64 = 1 << 32;

impl Source {
    /// Sends the items from the one with this number on, behind what another has left to be posted.
    pub(crate) fn spawn(job: Job, first: usize, left: VecDeque<Post>) -> io::Result<Source> {
        let (told, tells) = mpsc::channel();
        let (says, said) = mpsc::channel();
        let state = Arc::new(State {
            batch: Mutex::new(left),
            ..State::default()
        });
        state.at.store(first, Ordering::Relaxed);
        let sending = Sending {
            job,
            told: tells,
            says,
            state: Arc::clone(&state),
            open: HashSet::new(),
            accepted: None,
            has_room: false,
            due: Instant::now(),
            unposted: 0,
        };
        let thread = Aside::spawn("ampe-source", move || {
            let _ = sending.run(first);
        })?;
        Ok(Source {
            _thread: thread,
            told,
            said,
            state,
        })
    }

    pub(crate) fn tell(&self, told: Told) {
        // A thread that has ended needs none.
        let _ = self.told.send(told);
    }

    pub(crate) fn said(&self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    /// Grows while it works.
    pub(crate) fn moved(&self) -> u64 {
        self.state.moved.load(Ordering::Relaxed)
    }

    /// What it has not posted yet, of one that hangs.
    pub(crate) fn unposted(&self) -> VecDeque<Post> {
        std::mem::take(&mut self.state.batch())
    }

    /// Whether it waits for its disk.
    pub(crate) fn is_reading(&self) -> bool {
        self.state.is_reading.load(Ordering::Relaxed)
    }

    /// Which item it is at.
    pub(crate) fn at(&self) -> usize {
        self.state.at.load(Ordering::Relaxed)
    }

    /// Whether the receiver waits for more of that item.
    pub(crate) fn is_open(&self) -> bool {
        self.state.is_open.load(Ordering::Relaxed)
    }
}

struct Sending {
    job: Job,
    told: mpsc::Receiver<Told>,
    says: mpsc::Sender<Said>,
    state: Arc<State>,
    /// Items that wait for their last answer.
    open: HashSet<usize>,
    /// The item that the receiver takes the content of, and from where on.
    accepted: Option<(usize, u64)>,
    has_room: bool,
    /// When the next content may go out, if there is a limit.
    due: Instant,
    /// Bytes of items not posted yet.
    unposted: usize,
}

impl Sending {
    fn run(mut self, first: usize) -> Result<(), NotWanted> {
        for index in first..self.job.items.len() {
            self.state.at.store(index, Ordering::Relaxed);
            while self.open.len() >= OPEN_MOST {
                self.post_batch()?;
                self.hear_next()?;
            }
            if let Err(why) = self.send(index)? {
                self.say(Said::Unreadable(index, why, false));
            }
            self.state.is_open.store(false, Ordering::Relaxed);
            if self.state.batch().len() >= ITEMS || self.unposted >= ITEMS_BYTES {
                self.post_batch()?;
            }
        }
        self.post_batch()
    }

    /// Sends an item. The inner error is about this one alone, which had not begun.
    fn send(&mut self, index: usize) -> Result<Result<(), String>, NotWanted> {
        let items = Arc::clone(&self.job.items);
        let item = &items[index];
        let path = item.path().to_wire();
        match item.kind() {
            Kind::File | Kind::Stdin => match self.read(|| item.open()) {
                Ok(content) => self.send_file(index, &path, content),
                Err(why) => Ok(Err(why)),
            },
            Kind::Directory => {
                let attributes = Attributes::default();
                self.make(index, &Demand::Directory { attributes }, &path);
                Ok(Ok(()))
            }
            Kind::Finished => match self.read(|| item.attributes()) {
                Ok(attributes) => {
                    self.make(index, &Demand::Directory { attributes }, &path);
                    Ok(Ok(()))
                }
                Err(why) => Ok(Err(why)),
            },
            Kind::Link(target) => {
                let demand = Demand::Link {
                    path_len: path.len(),
                };
                self.make(index, &demand, &[&path[..], target].concat());
                Ok(Ok(()))
            }
        }
    }

    fn make(&mut self, index: usize, demand: &Demand, body: &[u8]) {
        self.say_whole(index, Instant::now(), 0, None, 0);
        self.demand(index, demand, body);
    }

    fn send_file(
        &mut self,
        index: usize,
        path: &[u8],
        content: Content,
    ) -> Result<Result<(), String>, NotWanted> {
        let begun = Instant::now();
        let attributes = self.attributes(&content);
        // One that a limit stretches is sent in parts, so that neither side is silent for long.
        if let Content::Short(bytes, _) = &content
            && path.len() + bytes.len() <= BODY_LEN
            && bytes.len() <= self.body_len()
        {
            let sha256 = Digest::of(bytes);
            let demand = Demand::Put {
                path_len: path.len(),
                sha256,
                attributes,
            };
            self.throttle(bytes.len())?;
            self.say_whole(index, begun, bytes.len() as u64, Some(sha256), 0);
            self.demand(index, &demand, &[path, bytes].concat());
            self.count(bytes.len(), true);
            return Ok(Ok(()));
        }
        let size = content.size();
        self.demand(index, &Demand::Offer { size, attributes }, path);
        self.post_batch()?;
        self.state.is_open.store(true, Ordering::Relaxed);
        let Some(from) = self.wait_for_acceptance(index)? else {
            return Ok(Ok(())); // it was refused
        };
        match self.send_content(index, content, from, begun) {
            Ok(()) => Ok(Ok(())),
            Err(Stopped::NotWanted) => Err(NotWanted),
            Err(Stopped::Answered) => Ok(Ok(())),
            Err(Stopped::Unreadable(reason)) => {
                self.say(Said::Unreadable(index, reason.clone(), true));
                self.demand(index, &Demand::Cancel { reason }, b"");
                self.post_batch()?;
                Ok(Ok(()))
            }
        }
    }

    fn attributes(&self, content: &Content) -> Attributes {
        let attributes = content.attributes();
        Attributes {
            mode: attributes.mode.filter(|_| self.job.manner.preserve),
            ..attributes
        }
    }

    /// Where the receiver takes the content from; `None` if it takes none.
    fn wait_for_acceptance(&mut self, index: usize) -> Result<Option<u64>, NotWanted> {
        loop {
            match self.accepted.take() {
                Some((of, from)) if of == index => return Ok(Some(from)),
                _ if !self.open.contains(&index) => return Ok(None),
                _ => self.hear_next()?,
            }
        }
    }

    /// Sends the content, from where on the receiver wants it, and asks for the file to be stored.
    fn send_content(
        &mut self,
        index: usize,
        mut content: Content,
        from: u64,
        begun: Instant,
    ) -> Result<(), Stopped> {
        let mut hasher = Sha256::new();
        let mut done = 0;
        if from > 0 {
            done = self.resume(index, &mut content, from, &mut hasher)?;
        }
        let resumed = done;
        self.job.bars.add(resumed);
        let name = self.job.items[index].path().clone();
        let bar = self.job.bars.file(&name, content.size());
        let most = self.body_len();
        loop {
            let left = content.size().map_or(u64::MAX, |size| size - done);
            let len = usize::try_from(left).map_or(most, |left| left.min(most));
            let message = self.next_part(&mut content, done, len)?;
            let len = message.body().len();
            if len == 0 {
                break;
            }
            self.throttle(len)?;
            hasher.update(message.body());
            done += len as u64;
            let signal = message.signal(self.job.channel).with_id(id(index)).more();
            self.state.batch().push_back(signal);
            let is_slow = content.size().is_none() || self.job.manner.limit.is_some();
            if self.state.batch().len() >= BATCH || is_slow {
                self.post_batch()?;
            }
            self.count(len, true);
            bar.set_position(done);
            self.hear_all()?;
            if !self.open.contains(&index) {
                self.state.batch().clear();
                return Err(Stopped::Answered);
            }
        }
        self.read(|| content.check_end())
            .map_err(Stopped::Unreadable)?;
        let sha256 = Digest::of_hasher(hasher);
        self.say_whole(index, begun, done, Some(sha256), resumed);
        let size = Some(done);
        self.demand(index, &Demand::Store { size, sha256 }, b"");
        Ok(self.post_batch()?)
    }

    /// A message with the next part of the content, of this length or, where that is not known, shorter.
    fn next_part(&self, content: &mut Content, done: u64, len: usize) -> Result<Message, Stopped> {
        let mut message = self.job.group.message();
        let body = message
            .resize_body_dirty(len)
            .expect("our bodies are shorter than the longest");
        let read = self.read(|| content.read(done, body));
        let read = read.map_err(Stopped::Unreadable)?;
        // All of it was written to, or it is made anew.
        let part = (read < len).then(|| body[..read].to_vec());
        Ok(part.map_or(message, |part| self.message(&part)))
    }

    /// Proves to the receiver that what it has is the beginning of this file, and not of another one that
    /// was here before. Where to go on from.
    fn resume(
        &mut self,
        index: usize,
        content: &mut Content,
        from: u64,
        hasher: &mut Sha256,
    ) -> Result<u64, Stopped> {
        let mut buffer = vec![0; 4 * BODY_LEN];
        let mut at = 0;
        while at < from {
            let left = usize::try_from(from - at).unwrap_or(usize::MAX);
            let len = left.min(buffer.len());
            let part = &mut buffer[..len];
            let len = self.read(|| content.read(at, part));
            let len = len.map_err(Stopped::Unreadable)?;
            hasher.update(&buffer[..len]);
            at += len as u64;
            self.count(len, false);
            self.hear_all()?;
        }
        let sha256 = Digest::of_hasher(hasher.clone());
        self.demand(index, &Demand::Resume { sha256 }, b"");
        self.post_batch()?;
        let accepted = self.wait_for_acceptance(index)?;
        let accepted = accepted.ok_or(Stopped::Answered)?;
        if accepted == from {
            return Ok(from);
        }
        *hasher = Sha256::new();
        self.read(|| content.rewind())
            .map_err(Stopped::Unreadable)?;
        Ok(0)
    }

    /// So short that content goes out several times a second, also at a low rate.
    fn body_len(&self) -> usize {
        let limit = self.job.manner.limit.unwrap_or(u64::MAX) / 8;
        usize::try_from(limit).map_or(BODY_LEN, |limit| limit.clamp(1, BODY_LEN))
    }

    /// Waits until so much content may go out.
    fn throttle(&mut self, len: usize) -> Result<(), NotWanted> {
        /// How much time may be caught up with, after a wait for something else.
        const SLACK: Duration = Duration::from_millis(100);
        let Some(limit) = self.job.manner.limit else {
            return Ok(());
        };
        let now = Instant::now();
        self.due = self.due.max(now.checked_sub(SLACK).unwrap_or(now));
        while let Some(left) = self.due.checked_duration_since(Instant::now()) {
            self.post_batch()?;
            match self.told.recv_timeout(left) {
                Ok(told) => self.hear(&told),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(NotWanted),
            }
        }
        let nanoseconds = len as u128 * 1_000_000_000 / u128::from(limit);
        self.due += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        self.state.is_reading.store(true, Ordering::Relaxed);
        let done = read();
        self.state.is_reading.store(false, Ordering::Relaxed);
        done
    }

    /// Counts what was read, and shows it if it is content on its way.
    fn count(&self, len: usize, is_shown: bool) {
        self.state.moved.fetch_add(len as u64, Ordering::Relaxed);
        if is_shown {
            self.job.bars.add(len as u64);
        }
    }

    fn say_whole(
        &self,
        index: usize,
        begun: Instant,
        bytes: u64,
        sha256: Option<Digest>,
        resumed: u64,
    ) {
        let whole = Whole {
            begun,
            bytes,
            sha256,
            resumed,
        };
        // Whoever answers it has the answer behind this.
        let _ = self.says.send(Said::Whole(index, whole));
    }

    fn say(&self, said: Said) {
        let _ = self.says.send(said);
        // Refused where events wait already: what was said is looked for after each.
        let _ = self.job.group.notify(self.job.group.message());
    }

    fn message(&self, body: &[u8]) -> Message {
        let message = self.job.group.message().with_body(body);
        message.expect("our bodies are shorter than the longest")
    }

    fn demand(&mut self, index: usize, demand: &Demand, body: &[u8]) {
        let message = demand.write(self.message(body));
        let request = message.request(self.job.channel).with_id(id(index));
        self.open.insert(index);
        self.unposted += body.len();
        self.state.batch().push_back(request);
    }

    fn post_batch(&mut self) -> Result<(), NotWanted> {
        self.unposted = 0;
        let mut posted = Vec::with_capacity(self.state.batch().len());
        loop {
            self.hear_all()?;
            self.has_room = false;
            let group = &self.job.group;
            let done = group.post_many(&mut self.state.batch(), &mut posted);
            match done {
                Ok(()) => return Ok(()),
                Err(PostError::Full(_)) => {
                    while !self.has_room {
                        self.hear_next()?;
                    }
                }
                // The channel has ended; its `Closed` says why.
                Err(_) => return Err(NotWanted),
            }
        }
    }

    fn hear_all(&mut self) -> Result<(), NotWanted> {
        loop {
            match self.told.try_recv() {
                Ok(told) => self.hear(&told),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    self.state.batch().clear();
                    return Err(NotWanted);
                }
            }
        }
    }

    fn hear_next(&mut self) -> Result<(), NotWanted> {
        let told = self.told.recv().map_err(|_| NotWanted)?;
        self.hear(&told);
        Ok(())
    }

    fn hear(&mut self, told: &Told) {
        match *told {
            Told::Room => self.has_room = true,
            Told::Accepted(index, from) => self.accepted = Some((index, from)),
            Told::Answered(index) => drop(self.open.remove(&index)),
        }
    }
}

/// Why not all of a file was sent.
#[derive(Debug)]
enum Stopped {
    /// It could not be read to its end: why, and what to do.
    Unreadable(String),
    /// The receiver gave its last answer before.
    Answered,
    NotWanted,
}

impl From<NotWanted> for Stopped {
    fn from(_: NotWanted) -> Stopped {
        Stopped::NotWanted
    }
}
