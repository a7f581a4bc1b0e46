//! Who makes the passes of a reactor that does in each of them what the test says.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use super::{Occupant, Reactor, Reads, this_sitter};
use crate::between::registry::Kind;
use crate::between::seat::{Lookout, Need, Rest};
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::error::{Ended, PostError};
use crate::event::Event;
use crate::group::{self, ChannelGroup};
use crate::handles::{Batch, GroupShared, PLENTY, Seat, Shared};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::signal_buffer::SignalBuffer;
use crate::wire::Header;

#[cfg(unix)]
mod in_task;
mod watching;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the next pass does.
enum Step {
    /// Delivers an event to the group.
    Deliver,
    Nothing,
    Panic,
    /// Its wait fails.
    Fail,
    /// It is the last.
    End,
}

/// A pass, and what there was before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Did {
    Waits(ThreadId),
    Works(ThreadId, Reads),
    /// The stand-in sleeps without the seat; whether it would see what comes.
    Watches(Armed),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Armed(bool);

struct Scripted {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
    steps: Receiver<Step>,
    next: Step,
    did: Sender<Did>,
    /// Shared with the test, which says how it rests.
    rest: Arc<Mutex<Rest>>,
}

impl Reactor for Scripted {
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let _ = self.did.send(Did::Waits(thread::current().id()));
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        self.next = match self.steps.recv_timeout(left.unwrap_or(PATIENCE)) {
            Ok(step) => step,
            Err(RecvTimeoutError::Timeout) => Step::Nothing,
            Err(RecvTimeoutError::Disconnected) => Step::End,
        };
        match self.next {
            Step::Fail => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        }
    }

    fn work(&mut self, reads: Reads) -> bool {
        let _ = self.did.send(Did::Works(thread::current().id(), reads));
        self.shared.queue.exchange(&mut Batch::default(), |_| ());
        match std::mem::replace(&mut self.next, Step::Nothing) {
            Step::Panic => panic!("planted"),
            Step::End => return true,
            Step::Deliver => {
                let queue = &self.shared.queue;
                let opened = queue.with_registry(|registry| registry.open(1, Kind::Connection));
                let event = Event::Room(opened.unwrap());
                self.group.deliver([event]);
            }
            Step::Nothing | Step::Fail => {}
        }
        false
    }

    fn leaves_ready(&self) -> bool {
        false
    }

    fn need(&self) -> Need {
        Need::Nobody
    }

    fn rest(&mut self) -> Rest {
        *self.rest.lock().unwrap()
    }

    fn end(&mut self, why: Ended) {
        self.shared.end(why);
    }
}

/// As the engine's: a wake that finds nobody sitting calls the stand-in.
struct Alarm {
    steps: Mutex<Sender<Step>>,
    seat: Arc<Seat>,
}

impl Wake for Alarm {
    fn wake(&self) {
        let _ = self.steps.lock().unwrap().send(Step::Nothing);
        self.seat.call(this_sitter());
    }
}

fn post(posting: &ChannelGroup) -> Result<(), PostError> {
    let address = "tcp://127.0.0.1:9".parse().unwrap();
    let posted = posting.connect(&address);
    posted.map(drop).map_err(|refused| refused.why)
}

struct Bench {
    shared: Arc<Shared>,
    posting: ChannelGroup,
    inbox: Option<Inbox>,
    steps: Sender<Step>,
    did: Receiver<Did>,
    stand_in: Option<JoinHandle<()>>,
    rest: Arc<Mutex<Rest>>,
}

impl Bench {
    /// Nobody stands in until that is [asked for](Bench::start_stand_in).
    fn new() -> Self {
        Bench::with(Rest::Unseen, |_| None)
    }

    fn with(rest: Rest, lookout: impl FnOnce(&Sender<Did>) -> Option<Arc<dyn Lookout>>) -> Self {
        let (steps, next) = channel();
        let (do_it, did) = channel();
        let options = Options {
            outbound_bytes_per_channel: 16 << 20, // nothing is ever sent
            ..Options::default()
        };
        let shared = Shared::new(options, |seat| {
            let steps = Mutex::new(Sender::clone(&steps));
            let seat = Arc::clone(seat);
            Box::new(Alarm { steps, seat })
        });
        let group = Arc::new(GroupShared::new(1, 0, 0));
        shared.open_group(&group).unwrap();
        shared.queue.exchange(&mut Batch::default(), |_| ());
        while next.try_recv().is_ok() {}
        let lookout = lookout(&do_it);
        let rest = Arc::new(Mutex::new(rest));
        shared.seat.furnish(
            Occupant::new(Scripted {
                shared: Arc::clone(&shared),
                group: Arc::clone(&group),
                steps: next,
                next: Step::Nothing,
                did: do_it,
                rest: Arc::clone(&rest),
            }),
            lookout,
        );
        let (posting, inbox) = group::pair(Arc::clone(&shared), group);
        Bench {
            shared,
            posting,
            inbox: Some(inbox),
            steps,
            did,
            stand_in: None,
            rest,
        }
    }

    fn start_stand_in(&mut self) -> ThreadId {
        let shared = Arc::clone(&self.shared);
        let stand_in = thread::spawn(move || shared.stand_in());
        let id = stand_in.thread().id();
        self.stand_in = Some(stand_in);
        id
    }

    fn step(&self, step: Step) {
        self.steps.send(step).unwrap();
    }

    #[track_caller]
    fn next_did(&self) -> Did {
        self.did.recv_timeout(PATIENCE).unwrap()
    }

    fn inbox(&mut self) -> &mut Inbox {
        self.inbox.as_mut().unwrap()
    }

    fn open(&self) -> Channel {
        let queue = &self.shared.queue;
        let opened = queue.with_registry(|registry| registry.open(1, Kind::Connection));
        opened.unwrap()
    }

    fn post(&self) -> Result<(), PostError> {
        post(&self.posting)
    }

    /// Has this thread receive an event, and leave the seat.
    fn receive_one(&mut self) {
        self.step(Step::Deliver);
        assert!(matches!(self.inbox().recv(), Ok(Event::Room(_))));
        let me = thread::current().id();
        assert_eq!(self.next_did(), Did::Waits(me));
        assert_eq!(self.next_did(), Did::Works(me, Reads::For(1)));
    }
}

impl Drop for Bench {
    /// The inbox waits for the end of its group, which the stand-in brings.
    fn drop(&mut self) {
        if self.stand_in.is_none() {
            self.start_stand_in();
        }
        for _ in 0..3 {
            let _ = self.steps.send(Step::End);
        }
        drop(self.inbox.take());
        let ended = self.stand_in.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

#[test]
fn a_receiver_that_would_sleep_makes_the_passes_itself() {
    let mut bench = Bench::new();
    bench.step(Step::Nothing);
    bench.step(Step::Deliver);
    assert!(matches!(bench.inbox().recv(), Ok(Event::Room(_))));
    let me = thread::current().id();
    for _ in 0..2 {
        assert_eq!(bench.next_did(), Did::Waits(me));
        assert_eq!(bench.next_did(), Did::Works(me, Reads::For(1)));
    }
    assert!(bench.did.try_recv().is_err(), "it was left with the event");
    let seat = &bench.shared.seat;
    let occupant = seat.try_sit().expect("the seat was left");
    seat.leave(occupant, this_sitter(), Need::Nobody, Rest::Unseen);
}

#[test]
fn a_receiver_that_gives_up_leaves_the_seat() {
    let mut bench = Bench::new();
    let deadline = Instant::now() + Duration::from_millis(1);
    assert!(bench.inbox().recv_until(deadline).unwrap().is_none());
    assert!(Instant::now() >= deadline);
    let past = Instant::now();
    while bench.did.try_recv().is_ok() {}
    assert!(bench.inbox().recv_until(past).unwrap().is_none());
    assert!(bench.inbox().try_recv().unwrap().is_none());
    assert!(
        bench.did.try_recv().is_err(),
        "nobody waits for what may not be waited for"
    );
}

#[test]
fn what_a_thread_posts_first_after_it_has_received_it_writes_itself() {
    let mut bench = Bench::new();
    bench.post().unwrap();
    assert!(bench.did.try_recv().is_err(), "it has not received");
    bench.steps.send(Step::Nothing).unwrap();
    bench
        .inbox()
        .recv_until(Instant::now() + Duration::from_millis(1))
        .unwrap();
    while bench.did.try_recv().is_ok() {}
    bench.receive_one();
    bench.post().unwrap();
    let me = thread::current().id();
    assert_eq!(bench.next_did(), Did::Works(me, Reads::No));
    bench.post().unwrap();
    assert!(
        bench.did.try_recv().is_err(),
        "the second is left to the next pass"
    );
}

#[test]
fn who_posts_plenty_writes_it_where_it_goes_out_in_long_writes() {
    let mut bench = Bench::new();
    let posting = bench.posting.clone();
    let me = thread::current().id();
    let post = |to: Channel, len: usize| {
        let message = posting.message().with_body(&vec![7; len]).unwrap();
        posting.post(message.signal(to)).unwrap();
    };
    let channel = bench.open();
    for len in [64 * 1024 - 1, 4096, 1000] {
        for _ in 0..PLENTY / (len + Header::LEN) {
            post(channel, len);
            assert!(bench.did.try_recv().is_err(), "that is not much yet");
        }
        post(channel, len);
        post(channel, len);
        let done: Vec<Did> = bench.did.try_iter().collect();
        assert_eq!(done, [Did::Works(me, Reads::No)], "of {len} bytes each");
        bench.shared.queue.exchange(&mut Batch::default(), |_| ());
    }
    // Written in one pass where it is the first post after an event as well, and by nobody while somebody sits.
    let mut plenty = VecDeque::new();
    let mut post_plenty = |bench: &Bench| {
        let make = || posting.message().with_body(&[7; 60_000]).unwrap();
        plenty.extend((0..9).map(|_| make().signal(channel)));
        let posted = posting.post_many(&mut plenty, &mut Vec::new());
        posted.unwrap();
        bench.did.try_iter().collect::<Vec<Did>>()
    };
    assert_eq!(post_plenty(&bench), [Did::Works(me, Reads::No)]);
    bench.step(Step::Deliver);
    assert!(matches!(bench.inbox().recv(), Ok(Event::Room(_))));
    bench.did.try_iter().for_each(drop);
    assert_eq!(post_plenty(&bench), [Did::Works(me, Reads::No)]);
    let mut small: VecDeque<_> = (0..PLENTY / 4000)
        .map(|_| posting.message().with_body(&[7; 4000]).unwrap())
        .map(|message| message.signal(channel))
        .collect();
    posting.post_many(&mut small, &mut Vec::new()).unwrap();
    let done: Vec<Did> = bench.did.try_iter().collect();
    assert_eq!(done, [Did::Works(me, Reads::No)], "of short ones as well");
    let mut signals = SignalBuffer::new();
    (0..PLENTY / 4000).for_each(|_| signals.push(&[7; 4000]).unwrap());
    posting.post_signals(channel, &mut signals).unwrap();
    let done: Vec<Did> = bench.did.try_iter().collect();
    assert_eq!(done, [Did::Works(me, Reads::No)], "and in a buffer");
    let occupant = bench.shared.seat.try_sit().unwrap();
    assert_eq!(post_plenty(&bench), []);
    let seat = &bench.shared.seat;
    seat.leave(occupant, this_sitter(), Need::Nobody, Rest::Unseen);
    bench.shared.queue.exchange(&mut Batch::default(), |_| ());
    let channels = [bench.open(), bench.open()];
    for index in 0..PLENTY / 4096 + 2 {
        post(channels[index % 2], 4096);
    }
    assert!(
        bench.did.try_recv().is_err(),
        "of short ones to many, more are to come for each"
    );
}

#[test]
fn where_another_thread_posts_the_stand_in_comes_at_once_and_makes_way_for_who_waits() {
    let mut bench = Bench::new();
    bench.receive_one();
    let stand_in = bench.start_stand_in();
    let posting = bench.posting.clone();
    let posts = thread::spawn(move || post(&posting).unwrap());
    posts.join().unwrap();
    assert_eq!(bench.next_did(), Did::Waits(stand_in));
    assert_eq!(bench.next_did(), Did::Works(stand_in, Reads::Yes));
    assert_eq!(bench.next_did(), Did::Waits(stand_in), "nobody else waits");
    // A receiver that is offered the seat may be slow, so that the stand-in takes it again: it asks until it sits.
    let (steps, shared) = (Sender::clone(&bench.steps), Arc::clone(&bench.shared));
    let (sits, has_sat) = channel::<()>();
    let helper = thread::spawn(move || {
        while has_sat.try_recv() != Err(TryRecvError::Disconnected) {
            if shared.seat.is_wanted() {
                steps.send(Step::Nothing).unwrap();
            }
            thread::yield_now();
        }
    });
    let me = thread::current().id();
    let deadline = Instant::now() + PATIENCE;
    while !bench.did.try_iter().any(|did| did == Did::Waits(me)) {
        assert!(Instant::now() < deadline, "the stand-in makes no way");
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(bench.inbox().recv_until(soon).unwrap().is_none());
    }
    drop(sits);
    helper.join().unwrap();
}

#[test]
fn where_nobody_comes_back_the_stand_in_makes_the_passes() {
    let mut bench = Bench::new();
    bench.receive_one();
    let stand_in = bench.start_stand_in();
    assert_eq!(bench.next_did(), Did::Waits(stand_in));
}

/// The application goes on; its engine has ended.
#[test]
fn a_panic_in_a_pass_ends_the_engine_and_not_the_receiver() {
    for step in [Step::Panic, Step::Fail] {
        let mut bench = Bench::new();
        let mut inbox = bench.inbox.take().unwrap();
        let receiver = thread::spawn(move || inbox.recv());
        let waits = Did::Waits(receiver.thread().id());
        assert_eq!(bench.next_did(), waits, "the receiver sits");
        bench.start_stand_in();
        bench.step(step);
        let received = receiver.join().expect("no panic reaches the application");
        assert_eq!(received.unwrap_err(), Ended::EngineFailed);
        assert_eq!(bench.post(), Err(PostError::EngineEnded));
    }
}

/// One that panics where the test says.
struct Fragile {
    reactor: Scripted,
    panics: When,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Writing,
    Ending,
}

impl Reactor for Fragile {
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.reactor.wait(deadline)
    }

    fn work(&mut self, reads: Reads) -> bool {
        let writes = reads == Reads::No;
        assert!(!writes || self.panics != When::Writing, "planted");
        self.reactor.work(reads)
    }

    fn leaves_ready(&self) -> bool {
        self.reactor.leaves_ready()
    }

    fn need(&self) -> Need {
        self.reactor.need()
    }

    fn rest(&mut self) -> Rest {
        self.reactor.rest()
    }

    fn end(&mut self, why: Ended) {
        assert!(self.panics != When::Ending, "planted");
        self.reactor.end(why);
    }
}

impl Bench {
    /// Puts another reactor in the place of this one, which takes these steps.
    fn make_fragile(&self, panics: When, steps: Receiver<Step>) {
        let mut occupant = self.shared.seat.try_sit().unwrap();
        let reactor = Scripted {
            shared: Arc::clone(&self.shared),
            group: Arc::new(GroupShared::new(2, 0, 0)),
            steps,
            next: Step::Nothing,
            did: channel().0,
            rest: Arc::new(Mutex::new(Rest::Unseen)),
        };
        occupant.reactor = Box::new(Fragile { reactor, panics });
        let seat = &self.shared.seat;
        seat.leave(occupant, this_sitter(), Need::Nobody, Rest::Unseen);
    }
}

#[test]
fn a_panic_while_a_post_is_written_ends_the_engine_and_not_the_poster() {
    let mut bench = Bench::new();
    let (_steps, next) = channel();
    bench.make_fragile(When::Writing, next);
    bench.shared.note_received();
    bench.post().unwrap();
    assert!(
        bench.shared.seat.try_sit().is_none(),
        "nobody sits any more"
    );
    bench.start_stand_in();
    assert_eq!(bench.inbox().recv().unwrap_err(), Ended::EngineFailed);
    assert_eq!(bench.post(), Err(PostError::EngineEnded));
}

/// Then what has to be told is told without it.
#[test]
fn a_panic_while_a_reactor_ends_keeps_nobody_waiting() {
    let mut bench = Bench::new();
    let (steps, next) = channel();
    bench.make_fragile(When::Ending, next);
    steps.send(Step::End).unwrap();
    bench.start_stand_in();
    assert_eq!(bench.inbox().recv().unwrap_err(), Ended::EngineStopped);
    assert_eq!(bench.post(), Err(PostError::EngineEnded));
}

/// As for room, or for an end, that the pass has found which only writes.
#[test]
fn tasks_that_a_writing_pass_tells_are_woken_by_the_stand_in() {
    struct Tell(Sender<ThreadId>);
    impl std::task::Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(thread::current().id());
        }
    }
    let mut bench = Bench::new();
    bench.receive_one();
    let (woken, wakes) = channel();
    let task = Waker::from(Arc::new(Tell(woken)));
    bench.shared.queue.tell([task]);
    bench.post().unwrap();
    let me = thread::current().id();
    assert_eq!(bench.next_did(), Did::Works(me, Reads::No));
    let stand_in = bench.start_stand_in();
    assert_eq!(wakes.recv_timeout(PATIENCE).unwrap(), stand_in);
}

#[test]
fn the_last_pass_ends_the_group_of_the_receiver_that_makes_it() {
    let mut bench = Bench::new();
    bench.step(Step::End);
    bench.step(Step::End);
    bench.start_stand_in();
    assert_eq!(bench.inbox().recv().unwrap_err(), Ended::EngineStopped);
}
