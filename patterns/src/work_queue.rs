//! A work queue: jobs for workers that may be killed at any moment. Each job ends, and it is known how.
//!
//! ```
//! use ampe::{Engine, GroupOptions, Options};
//! use ampe_patterns::work_queue::{Queued, WorkQueue, Worker, Working};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Options::default())?;
//! let (group, mut inbox) = engine.group(GroupOptions::default())?;
//! group.listen(&"tcp://127.0.0.1:0".parse()?)?;
//! # let ampe::Event::Listening(listening) = inbox.recv()? else { panic!("it listens") };
//! # let address = listening.address().clone();
//! # std::thread::spawn(move || work(&address).unwrap());
//! let mut queue = WorkQueue::new(group.clone());
//! let job = queue.add(group.message().with_body(b"sweep the yard")?)?;
//! while !queue.is_empty() {
//!     match queue.recv(&mut inbox)? {
//!         Queued::Hello(hello) => queue.accept(hello), // a worker
//!         Queued::Done(done) => println!("job {}: {}", done.job, done.answer.message()),
//!         Queued::Failed(failed) => println!("job {}: {}", failed.job, failed.why),
//!         Queued::Gone(gone) => println!("{}; {:?} may be done", gone.closed, gone.unknown),
//!         _ => {}
//!     }
//! }
//! queue.dismiss(); // says goodbye to the workers
//! # assert_eq!(queue.account().done, 1);
//! # inbox.close(std::time::Duration::from_secs(5));
//! # Ok(()) }
//! #
//! // A worker, in another process:
//! fn work(address: &ampe::Address) -> Result<(), Box<dyn std::error::Error>> {
//!     let engine = Engine::start(Options::default())?;
//!     let (group, mut inbox) = engine.group(GroupOptions::default())?;
//!     let mut worker = Worker::new(group.clone(), address.clone(), 1);
//!     loop {
//!         match worker.recv(&mut inbox)? {
//!             Working::Job(job) => job.done(group.message().with_body(b"swept")?),
//!             Working::Down(down) if down.closed.reason() == ampe::Reason::Bye => return Ok(()),
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! # What becomes of a job
//!
//! A worker has as many jobs *at hand* as its credit allows: enough to be busy while answers travel, and few enough
//! to be given to others when it dies. Then the engine knows of each job which of two cases it is:
//!
//! - It was *returned*, not sent: the worker cannot have it. Another gets it, for the first time for sure.
//! - It was *sent*, and not answered: the worker may have done it or not. Another gets it with the text header
//!   [`MAYBE_TWICE`], and its outcome says so, too; or, once [`QueueOptions::losses`] workers were lost over
//!   it, it ends as *unknown*. With 1 no job is ever done twice; with more, a job that kills who does it does not
//!   kill all workers. Those that were at hand beside it are lost with it once: from then on each of them is given
//!   to a worker that has nothing else at hand, which gets nothing beside it, so that the one whose fault it is ends alone.
//!   Where one loss is the end, let [`QueueOptions::credit`] be 1 if the others are not to end as unknown, too.
//!
//! A worker that hangs is lost, too, once [`QueueOptions::patience`] with it is over.
//!
//! So each job that was added ends by one of three: [`Queued::Done`], [`Queued::Failed`] (a worker says that it
//! cannot be done), or in [`Gone::unknown`]. Jobs that have not ended when the queue does are handed back by
//! [`WorkQueue::into_jobs`].
//!
//! # Between queue and worker
//!
//! A job is a Request and its outcome the Response, so that a worker can be written without this crate. Its message id
//! is 2^63 and the job's number. All else is in text headers:
//!
//! | header | in | meaning |
//! |---|---|---|
//! | [`CREDIT`] | HelloRequest | how many jobs the worker wants at hand, in decimal digits; no more than [`QueueOptions::credit`] |
//! | [`MAYBE_TWICE`] | Request | another worker may have done it |
//! | `~refused` | Response | it cannot be done, and why: [`Request::refuse`](ampe::Request::refuse) |
//! | [`NOT_BEGUN`] | Response | the worker gives it back, for others to do; while no other has credit, the same worker gets it again, unless it leaves |
//! | [`LEAVING`] | Signal | the worker wants no more, and goes at the queue's goodbye, which comes once it has none at hand |
//!
//! # Memory
//!
//! A queue keeps a copy of each job until it has ended, [`QueueOptions::bytes`] of them at most; what workers have at hand
//! and was not sent is in the engine's budget besides. A worker is given no more than its credit by a queue; it does not
//! check that, and takes what its queue sends within the engine's inbound budget.

mod hands;
mod open_jobs;
mod options;
mod outcome;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Instant;

use ampe::wire::OpCode;
use ampe::{
    Channel, ChannelGroup, Closed, Ended, Event, Hello, Inbox, Message, Post, PostError, Received,
    Returned, Signal,
};

use self::hands::Hands;
use self::open_jobs::OpenJobs;
use crate::ids::{id_of, number_of};
use crate::let_go::why_let_go;

pub use self::options::QueueOptions;
pub use self::outcome::{Done, Failed, Gone, NotAdded, QueueAccount, Queued, Unended, WhyNotAdded};
pub use self::worker::{Job, Leaver, Worker, Working};

/// The text header by which a worker says how many jobs it wants at hand.
pub const CREDIT: &str = "Credit";
/// The text header of a job that another worker may have done.
pub const MAYBE_TWICE: &str = "Maybe-Twice";
/// The text header of a Response by which a worker gives a job back.
pub const NOT_BEGUN: &str = "Not-Begun";
/// The text header of the Signal by which a worker says that it wants no more.
pub const LEAVING: &str = "Leaving";

const TOO_LONG: &str = "you take too long for a job";
const ENDING: &str = "the queue is ending";
const YES: &str = "yes";

/// Gives jobs to workers, which connect to its group.
///
/// Whatever [listens](ChannelGroup::listen) in the group lets workers in. Jobs are given in the order in which
/// they were added, those that came back before others; to workers in turn.
pub struct WorkQueue {
    group: ChannelGroup,
    options: QueueOptions,
    /// All that have not ended.
    jobs: BTreeMap<u64, Waiting>,
    bytes: usize,
    /// Of those, the ones that no worker has.
    open: OpenJobs,
    workers: BTreeMap<Channel, Hands>,
    /// Workers that may be given a job, as far as is known; none twice.
    ready: VecDeque<Channel>,
    /// When whose patience for which job at hand is over.
    deadlines: BTreeSet<(Instant, Channel, u64)>,
    account: QueueAccount,
    id_next: u64,
    is_ending: bool,
}

struct Waiting {
    message: Message,
    losses: u32,
}

impl WorkQueue {
    /// A queue whose workers connect to a group, with the default limits.
    pub fn new(group: ChannelGroup) -> WorkQueue {
        WorkQueue::with_options(group, QueueOptions::default())
    }

    /// A queue whose workers connect to a group.
    pub fn with_options(group: ChannelGroup, options: QueueOptions) -> WorkQueue {
        WorkQueue {
            group,
            options,
            jobs: BTreeMap::new(),
            bytes: 0,
            open: OpenJobs::default(),
            workers: BTreeMap::new(),
            ready: VecDeque::new(),
            deadlines: BTreeSet::new(),
            account: QueueAccount::default(),
            id_next: 1,
            is_ending: false,
        }
    }

    /// Adds a job: what the Request to its worker will say. Returns its number, which begins with 1 in each queue.
    ///
    /// # Errors
    ///
    /// The message comes back in [`NotAdded`].
    pub fn add(&mut self, message: Message) -> Result<u64, NotAdded> {
        let bytes = self.bytes + cost(&message);
        let headers = message.text_headers().as_bytes().len();
        let why = if self.is_ending {
            WhyNotAdded::Ending
        } else if bytes > self.options.bytes && !self.jobs.is_empty() {
            WhyNotAdded::Full
        } else if headers > HEADERS_MAX {
            WhyNotAdded::HeadersTooLong
        } else {
            let job = self.id_next;
            self.id_next += 1;
            self.bytes = bytes;
            self.account.added += 1;
            self.jobs.insert(job, Waiting { message, losses: 0 });
            self.open.insert(job, false);
            self.give();
            return Ok(job);
        };
        Err(NotAdded { message, why })
    }

    /// Accepts a worker, and gives it jobs. Once the workers were dismissed, it is refused instead.
    pub fn accept(&mut self, hello: Hello) {
        if self.is_ending {
            let _ = self.group.post(hello.refuse(ENDING)); // itself refused if it has gone
            return;
        }
        let worker = hello.channel();
        let wanted = hello.text_headers().get_text(CREDIT);
        let wanted = wanted.and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
        let hands = Hands {
            credit: wanted.clamp(1, self.options.credit.max(1)),
            at_hand: BTreeMap::new(),
            has_suspect: false,
            is_ready: false,
            is_leaving: false,
            has_goodbye: false,
            let_go: None,
        };
        match self.group.post(hello.accept(self.group.message())) {
            Ok(_) => {}
            // It is there, and gets jobs when there is room.
            Err(refused) if matches!(refused.why, PostError::Full(_)) => {}
            Err(_) => return, // it has gone, and nothing more will be heard of it
        }
        self.account.workers += 1;
        self.workers.insert(worker, hands);
        self.line_up(worker);
        self.give();
    }

    /// Whether all jobs have ended.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// What became of the jobs so far.
    pub fn account(&self) -> QueueAccount {
        let open = self.open.len() as u64;
        QueueAccount {
            open,
            at_hand: self.jobs.len() as u64 - open,
            ..self.account
        }
    }

    /// Takes no more jobs, gives out no more, and says goodbye to each worker as soon as it has none at hand. Receive until there are
    /// [no workers](WorkQueue::workers). A worker that hangs is there for ever where its queue has no patience: to wait no
    /// longer, post an [abort](ampe::Post::abort) to whoever is left.
    pub fn dismiss(&mut self) {
        self.is_ending = true;
        let workers: Vec<Channel> = self.workers.keys().copied().collect();
        workers.into_iter().for_each(|it| self.let_leave(it));
    }

    /// Takes the jobs that have not ended, in the order in which they were added.
    pub fn into_jobs(self) -> Vec<Unended> {
        let open = self.open;
        let unended = |(job, waiting): (u64, Waiting)| Unended {
            job,
            message: waiting.message,
            is_maybe_done: waiting.losses > 0 || !open.contains(job),
        };
        self.jobs.into_iter().map(unended).collect()
    }

    /// When [`advance`](WorkQueue::advance) is to be called, though no event has come.
    pub fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(due, ..)| due)
    }

    /// Lets workers go that have had a job at hand for too long.
    pub fn advance(&mut self, now: Instant) {
        while let Some(&(due, worker, _)) = self.deadlines.first()
            && due <= now
        {
            self.let_go(worker);
        }
    }

    /// The next event, with what it means.
    ///
    /// # Errors
    ///
    /// [`Ended`], once all events of the inbox were received and none will come.
    pub fn recv(&mut self, inbox: &mut Inbox) -> Result<Queued, Ended> {
        loop {
            self.advance(ampe::now());
            let event = match self.due() {
                Some(due) => inbox.recv_until(due)?,
                None => Some(inbox.recv()?),
            };
            if let Some(queued) = event.and_then(|event| self.observe(event)) {
                return Ok(queued);
            }
        }
    }

    /// Says what an event means, and does what is to be done about it; `None` if it is the queue's own affair.
    pub fn observe(&mut self, event: Event) -> Option<Queued> {
        let worker = event.channel().filter(|it| self.workers.contains_key(it));
        let Some(worker) = worker else {
            return Some(match event {
                Event::Hello(hello) => Queued::Hello(hello),
                other => Queued::Other(other),
            });
        };
        let queued = match event {
            Event::Response(answer) => self.end(worker, answer),
            Event::Returned(returned) => self.take_back(worker, returned),
            Event::Closed(closed) => Some(self.lose(closed)),
            Event::Signal(signal) => self.hear(worker, signal),
            Event::Room(_) => {
                self.line_up(worker);
                None
            }
            Event::Bye(bye) => {
                // It goes without waiting for ours, which its answer stands for.
                self.leave_without_goodbye(worker);
                Some(Queued::Other(Event::Bye(bye)))
            }
            other => Some(Queued::Other(other)),
        };
        self.give();
        queued
    }

    /// A worker says what became of a job.
    fn end(&mut self, worker: Channel, answer: Received) -> Option<Queued> {
        let job = self.at_hand(worker, answer.id());
        // Else it is a part of an answer, or one to another request than a job.
        let Some(job) = job.filter(|_| !answer.has_more()) else {
            return Some(Queued::Other(Event::Response(answer)));
        };
        self.free(worker, job);
        if answer.text_headers().get(NOT_BEGUN).is_some() {
            self.reopen(job);
            return None;
        }
        let is_maybe_twice = self.remove(job);
        let why = answer.refusal().map(|why| why.into_owned());
        Some(match why {
            Some(why) => {
                self.account.failed += 1;
                Queued::Failed(Failed {
                    job,
                    why,
                    answer,
                    is_maybe_twice,
                })
            }
            None => {
                self.account.done += 1;
                Queued::Done(Done {
                    job,
                    answer,
                    is_maybe_twice,
                })
            }
        })
    }

    /// A job comes back that its worker does not have.
    fn take_back(&mut self, worker: Channel, returned: Returned) -> Option<Queued> {
        let job = self.at_hand(worker, returned.id());
        let Some(job) = job.filter(|_| returned.op_code() == OpCode::Request) else {
            return Some(Queued::Other(Event::Returned(returned)));
        };
        // Its connection has ended: no more is given to it.
        self.take_off(worker, job);
        self.reopen(job);
        None
    }

    fn hear(&mut self, worker: Channel, signal: Signal) -> Option<Queued> {
        if signal.text_headers().get(LEAVING).is_none() {
            return Some(Queued::Other(Event::Signal(signal)));
        }
        self.let_leave(worker);
        None
    }

    /// What a worker still has at hand was sent to it and not answered.
    fn lose(&mut self, closed: Closed) -> Queued {
        self.forget_deadlines(closed.channel());
        let hands = self.workers.remove(&closed.channel());
        self.ready.retain(|&it| it != closed.channel());
        let let_go = hands.as_ref().and_then(|hands| hands.let_go);
        let let_go = why_let_go(let_go, &closed);
        let (mut again, mut unknown) = (Vec::new(), Vec::new());
        let at_hand = hands.map(|it| it.at_hand).unwrap_or_default();
        for job in at_hand.into_keys() {
            let Some(waiting) = self.jobs.get_mut(&job) else {
                continue;
            };
            waiting.losses += 1;
            match waiting.losses < self.options.losses {
                true => again.push(job),
                false => unknown.push(job),
            }
        }
        again.sort_unstable();
        unknown.sort_unstable();
        self.account.again += again.len() as u64;
        self.account.unknown += unknown.len() as u64;
        again.iter().for_each(|&job| self.open.insert(job, true));
        for &job in &unknown {
            self.remove(job);
        }
        Queued::Gone(Gone {
            closed,
            again,
            unknown,
            let_go,
        })
    }

    /// The job that a message id stands for, if the worker has it at hand.
    fn at_hand(&self, worker: Channel, id: u64) -> Option<u64> {
        let hands = self.workers.get(&worker)?;
        number_of(id).filter(|job| hands.at_hand.contains_key(job))
    }

    /// A worker has one job less.
    fn free(&mut self, worker: Channel, job: u64) {
        self.take_off(worker, job);
        match self.workers.get(&worker) {
            Some(hands) if hands.is_leaving => self.let_leave(worker),
            _ => self.line_up(worker),
        }
    }

    fn take_off(&mut self, worker: Channel, job: u64) {
        if let Some(hands) = self.workers.get_mut(&worker)
            && let Some(due) = hands.at_hand.remove(&job)
        {
            hands.has_suspect = false; // it was alone
            if let Some(due) = due {
                self.deadlines.remove(&(due, worker, job));
            }
        }
    }

    fn forget_deadlines(&mut self, worker: Channel) {
        if let Some(hands) = self.workers.get_mut(&worker) {
            for (&job, due) in &mut hands.at_hand {
                if let Some(due) = due.take() {
                    self.deadlines.remove(&(due, worker, job));
                }
            }
        }
    }

    /// Ends a worker's channel here and now, and says why, as far as it listens.
    fn let_go(&mut self, worker: Channel) {
        self.forget_deadlines(worker);
        self.leave_without_goodbye(worker);
        if let Some(hands) = self.workers.get_mut(&worker) {
            hands.let_go = Some(TOO_LONG);
        }
        let words = self.group.message().with_body(TOO_LONG.as_bytes());
        let abort = words.map_or_else(|_| Post::abort(worker), |it| it.abort(worker));
        let _ = self.group.post(abort); // refused if it has gone by itself
    }

    /// A job that was not begun is there for others.
    fn reopen(&mut self, job: u64) {
        self.account.returned += 1;
        let waiting = self.jobs.get(&job);
        let is_suspect = waiting.is_some_and(|it| it.losses > 0);
        self.open.insert(job, is_suspect);
    }

    /// A job has ended. Returns whether it may have been done before.
    fn remove(&mut self, job: u64) -> bool {
        let Some(waiting) = self.jobs.remove(&job) else {
            return false;
        };
        self.bytes -= cost(&waiting.message);
        waiting.losses > 0
    }

    fn leave_without_goodbye(&mut self, worker: Channel) {
        if let Some(hands) = self.workers.get_mut(&worker) {
            hands.is_leaving = true;
            hands.has_goodbye = true;
        }
    }

    fn let_leave(&mut self, worker: Channel) {
        let Some(hands) = self.workers.get_mut(&worker) else {
            return;
        };
        hands.is_leaving = true;
        if hands.at_hand.is_empty() && !hands.has_goodbye {
            hands.has_goodbye = true;
            let bye = self.group.message().bye(worker);
            let _ = self.group.post(bye); // refused if it has gone
        }
    }

    /// A worker may be given a job, as far as is known.
    fn line_up(&mut self, worker: Channel) {
        if let Some(hands) = self.workers.get_mut(&worker)
            && !hands.is_ready
        {
            hands.is_ready = true;
            self.ready.push_back(worker);
        }
    }

    /// Gives open jobs to workers, as far as their credit goes.
    fn give(&mut self) {
        // Those that may have more when nothing suspect is open.
        let mut later = VecDeque::new();
        while !self.open.is_empty()
            && let Some(worker) = self.ready.pop_front()
        {
            let hands = self.workers.get_mut(&worker);
            let hands = hands.expect("who has gone is not lined up");
            hands.is_ready = false;
            if hands.is_leaving || hands.at_hand.len() >= hands.credit {
                continue; // an answer of its lines it up again
            }
            match self.open.next_for(hands.at_hand()) {
                Some(job) => self.give_to(worker, job),
                None if hands.has_suspect => {} // as above
                None => {
                    hands.is_ready = true;
                    later.push_back(worker);
                }
            }
            if !self.open.has_suspects() {
                self.ready.append(&mut later);
            }
        }
        self.ready.append(&mut later);
    }

    /// Gives a job to a worker that has nothing against it.
    fn give_to(&mut self, worker: Channel, job: u64) {
        let waiting = &self.jobs[&job];
        let is_suspect = waiting.losses > 0;
        let mut message = waiting.message.clone();
        if is_suspect {
            let marked = message.add_header(MAYBE_TWICE, YES);
            marked.expect("there is room for it, as was seen when it was added");
        }
        match self.group.post(message.request(worker).with_id(id_of(job))) {
            Ok(_) => {
                let now = ampe::now();
                let due = self.options.patience.and_then(|it| now.checked_add(it));
                if let Some(hands) = self.workers.get_mut(&worker) {
                    hands.at_hand.insert(job, due);
                    hands.has_suspect = is_suspect;
                }
                self.deadlines.extend(due.map(|due| (due, worker, job)));
                self.open.remove(job);
                self.line_up(worker);
            }
            // Lined up again when there is room, or never, as it has ended.
            Err(refused) => debug_assert!(matches!(
                refused.why,
                PostError::Full(_)
                    | PostError::ChannelClosed
                    | PostError::ByePosted
                    | PostError::GroupClosed
                    | PostError::EngineEnded
            )),
        }
    }
}

/// So that there is room for a line end and [`MAYBE_TWICE`].
const HEADERS_MAX: usize = 65_535 - 2 - "Maybe-Twice:yes\r\n".len();

/// What a job counts with.
fn cost(message: &Message) -> usize {
    message.body().len() + message.text_headers().as_bytes().len() + 1024
}

impl fmt::Debug for WorkQueue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkQueue")
            .field("account", &self.account())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}
