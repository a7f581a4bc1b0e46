//! Waits for room without a reactor: each test gives credit back, closes and ends by hand.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::between::key::GroupPlace;
use crate::between::registry::{Kind, Registry, Role};
use crate::between::wake;
use crate::channel::Channel;
use crate::driver::turn::submit;
use crate::error::{Ended, PostError};
use crate::handles::{Batch, GroupShared, Shared, Submission};
use crate::options::Options;
use crate::protocol::Core;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST};
use crate::sync::lock;

use super::WaitForRoom;

const LARGEST: usize = MESSAGE_COST_MAX;
const PATIENCE: Duration = Duration::from_secs(60);

struct Nobody;

impl wake::Wake for Nobody {
    fn wake(&self) {}
}

/// What an engine would share, with credit for four of the largest messages, two in each channel.
struct Bench {
    shared: Arc<Shared>,
    group: Arc<GroupShared>,
}

impl Bench {
    fn new() -> Bench {
        let options = Options {
            outbound_bytes: 4 * LARGEST,
            outbound_bytes_per_channel: 2 * LARGEST,
            ..Options::default()
        };
        let shared = Shared::new(options, |_| Box::new(Nobody));
        shared
            .queue
            .with_registry(|registry| registry.open_group(1, 0));
        Bench {
            shared,
            group: Arc::new(GroupShared::new(1, 0, 0)),
        }
    }

    fn open(&self, kind: Kind) -> Channel {
        let open = |registry: &mut Registry| registry.open(1, kind);
        self.shared.queue.with_registry(open).unwrap()
    }

    fn admit(&self, channel: Channel, role: Role) {
        let queue = &self.shared.queue;
        let admitted =
            queue.with_registry(|registry| registry.admit(channel, 1, role, LARGEST, None));
        admitted.unwrap();
    }

    /// A channel that has used up its credit.
    fn full(&self) -> Channel {
        let channel = self.open(Kind::Connection);
        self.admit(channel, Role::Data);
        self.admit(channel, Role::Data);
        channel
    }

    /// Does what the reactor does with the registry in its passes.
    fn exchange(&self, settle: impl FnOnce(&mut Registry)) -> Vec<Channel> {
        let (mut batch, mut told) = (Batch::default(), Vec::new());
        self.shared.queue.exchange(&mut batch, |registry| {
            settle(registry);
            registry.take_room(&mut told);
        });
        self.shared.queue.wake_tasks();
        told
    }

    /// One of the channel's messages was sent.
    fn send(&self, channel: Channel) {
        let told = self.exchange(|registry| registry.release(channel, LARGEST));
        assert_eq!(told, [], "no thread was refused");
    }

    fn close(&self, channel: Channel) {
        self.exchange(|registry| {
            registry.close(channel);
        });
    }

    fn room(&self, channel: Channel) -> WaitForRoom {
        WaitForRoom::new(Arc::clone(&self.shared), Arc::clone(&self.group), channel)
    }

    fn waiting(&self) -> usize {
        self.shared
            .queue
            .with_registry(|registry| registry.waiting())
    }
}

/// Counts how often it was called.
#[derive(Default)]
struct Task(AtomicUsize);

impl Task {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<T>(wait: &mut WaitForRoom, task: &Arc<T>) -> Poll<Result<(), PostError>>
where
    T: Wake + Send + Sync + 'static,
{
    let waker = Waker::from(Arc::clone(task));
    Pin::new(wait).poll(&mut Context::from_waker(&waker))
}

#[test]
fn where_there_is_room_nothing_is_waited_for() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let channel = bench.open(Kind::Connection);
    let mut wait = bench.room(channel);
    for _ in 0..2 {
        assert_eq!(poll(&mut wait, &task), Poll::Ready(Ok(())));
    }
    bench.admit(channel, Role::Data);
    assert_eq!(poll(&mut wait, &task), Poll::Ready(Ok(())), "half is used");
    assert_eq!((bench.waiting(), task.wakes()), (0, 0));
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn room_wakes_the_last_waker_that_asked() {
    let (bench, [first, last]) = (Bench::new(), [(); 2].map(|()| Arc::new(Task::default())));
    let channel = bench.full();
    let mut wait = bench.room(channel);
    assert_eq!(poll(&mut wait, &first), Poll::Pending);
    for _ in 0..3 {
        assert_eq!(
            poll(&mut wait, &last),
            Poll::Pending,
            "sooner than it asked"
        );
    }
    assert_eq!(bench.waiting(), 1, "one wait, however often it is polled");
    assert_eq!(Arc::strong_count(&first), 1, "its waker was let go");
    bench.send(channel);
    assert_eq!((first.wakes(), last.wakes()), (0, 1));
    assert_eq!((bench.waiting(), Arc::strong_count(&last)), (0, 1));
    bench.send(channel);
    assert_eq!(last.wakes(), 1, "once");
    assert_eq!(poll(&mut wait, &last), Poll::Ready(Ok(())));
}

#[test]
fn all_who_wait_for_a_channel_are_woken_and_those_who_are_late_wait_on() {
    let bench = Bench::new();
    let channel = bench.full();
    let mut waits = [(); 3].map(|()| (bench.room(channel), Arc::new(Task::default())));
    for (wait, task) in &mut waits {
        assert_eq!(poll(wait, task), Poll::Pending);
    }
    assert_eq!(bench.waiting(), 3);
    bench.send(channel);
    let [first, second, third] = &mut waits;
    assert_eq!([first, second, third].map(|(_, task)| task.wakes()), [1; 3]);
    let [first, second, third] = &mut waits;
    assert_eq!(poll(&mut first.0, &first.1), Poll::Ready(Ok(())));
    bench.admit(channel, Role::Data);
    assert_eq!(poll(&mut second.0, &second.1), Poll::Pending);
    bench.send(channel);
    assert_eq!(poll(&mut third.0, &third.1), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut second.0, &second.1), Poll::Ready(Ok(())));
    assert_eq!((second.1.wakes(), third.1.wakes()), (2, 1));
}

#[test]
fn a_channel_with_credit_of_its_own_waits_for_the_engines() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let channels = [bench.full(), bench.full()];
    let idle = bench.open(Kind::Connection);
    let mut wait = bench.room(idle);
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    bench.send(channels[1]);
    assert_eq!(task.wakes(), 1);
    assert_eq!(poll(&mut wait, &task), Poll::Ready(Ok(())));
}

/// A thread that was refused a post waits for the event, and may be the only one that would post.
#[test]
fn a_task_leaves_a_thread_its_event() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let channel = bench.full();
    let mut wait = bench.room(channel);
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    let queue = &bench.shared.queue;
    let refused = queue.with_registry(|it| it.admit(channel, 1, Role::Data, LARGEST, None));
    refused.unwrap_err();
    let told = bench.exchange(|registry| registry.release(channel, LARGEST));
    assert_eq!((told, task.wakes()), (vec![channel], 1));
}

#[test]
fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let bench = Bench::new();
    let (channel, task) = (bench.full(), Arc::new(Task::default()));
    let mut waits = [(); 2].map(|()| bench.room(channel));
    for wait in &mut waits {
        assert_eq!(poll(wait, &task), Poll::Pending);
    }
    let [dropped, kept] = waits;
    drop(dropped);
    assert_eq!((bench.waiting(), Arc::strong_count(&task)), (1, 2));
    drop(kept);
    assert_eq!((bench.waiting(), Arc::strong_count(&task)), (0, 1));
    bench.send(channel);
    assert_eq!(task.wakes(), 0);
    // Nor does one that was woken, and dropped instead of polled; or that ended, polled by chance.
    for is_polled in [false, true] {
        bench.admit(channel, Role::Data);
        let mut wait = bench.room(channel);
        assert_eq!(poll(&mut wait, &task), Poll::Pending);
        if is_polled {
            let release = |registry: &mut Registry| {
                registry.release(channel, LARGEST);
            };
            bench.shared.queue.with_registry(release);
            assert_eq!(poll(&mut wait, &task), Poll::Ready(Ok(())));
            assert_eq!(bench.waiting(), 0);
        } else {
            bench.send(channel);
        }
        drop(wait);
        assert_eq!((bench.waiting(), Arc::strong_count(&task)), (0, 1));
    }
}

#[test]
fn where_nothing_can_be_posted_a_wait_ends_with_the_reason() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let check = |wait: &mut WaitForRoom, why| {
        assert_eq!(poll(wait, &task), Poll::Ready(Err(why)));
        assert_eq!(bench.waiting(), 0);
    };
    check(
        &mut bench.room(bench.open(Kind::Listener)),
        PostError::IsListener,
    );
    let answered = bench.open(Kind::Connection);
    bench.admit(answered, Role::ByeResponse);
    check(&mut bench.room(answered), PostError::ByePosted);
    bench.exchange(|registry| registry.release(answered, LARGEST));

    let channel = bench.full();
    let stranger = Arc::new(GroupShared::new(2, 0, 0));
    let mut other = WaitForRoom::new(Arc::clone(&bench.shared), stranger, channel);
    check(&mut other, PostError::OtherGroup);

    let mut wait = bench.room(channel);
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    bench.close(channel);
    assert_eq!(task.wakes(), 1, "woken by the end of the channel");
    check(&mut wait, PostError::ChannelClosed);
    check(&mut bench.room(channel), PostError::ChannelClosed);

    let other = bench.full();
    let mut wait = bench.room(other);
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    let queue = &bench.shared.queue;
    queue.with_registry(|registry| bench.group.close(registry));
    assert_eq!(task.wakes(), 2, "woken by the close of the group");
    check(&mut wait, PostError::GroupClosed);
}

/// The peer may read nothing, so that nobody tells of room.
#[test]
fn a_goodbye_ends_a_wait_in_the_next_pass() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let channel = bench.full();
    let mut wait = bench.room(channel);
    let request = (Role::ByeRequest, Poll::Pending, "an answer may follow");
    let response = (
        Role::ByeResponse,
        Poll::Ready(Err(PostError::ByePosted)),
        "nothing may",
    );
    for (at, (role, expected, why)) in [request, response].into_iter().enumerate() {
        assert_eq!(poll(&mut wait, &task), Poll::Pending);
        let queue = &bench.shared.queue;
        let admitted = queue.with_registry(|it| it.admit(channel, 1, role, SMALLEST_COST, None));
        admitted.unwrap();
        assert_eq!(task.wakes(), at, "who posts calls no waker");
        bench.exchange(Registry::tell_goodbyes);
        assert_eq!(task.wakes(), at + 1);
        assert_eq!(poll(&mut wait, &task), expected, "{why}");
    }
    assert_eq!(bench.waiting(), 0);
}

/// What was posted before may take until the deadline; nothing can be posted from the start.
#[test]
fn an_engine_that_stops_wakes_and_ends_every_wait_at_once() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let (now, mut batch) = (Instant::now(), Batch::default());
    let mut core = Core::new(Arc::clone(&bench.shared));
    let submissions = [
        Submission::OpenGroup {
            group: Arc::clone(&bench.group),
            place: GroupPlace(0),
        },
        Submission::Stop {
            deadline: now + PATIENCE,
        },
    ];
    let mut wait = bench.room(bench.full());
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    let queue = &bench.shared.queue;
    let post_all = |items: &mut Batch| submissions.into_iter().for_each(|it| items.push(it));
    queue.submit(|_, items| post_all(items)).unwrap();
    core.exchange(&mut batch);
    submit(&mut core, &mut batch, now);
    core.exchange(&mut batch);
    queue.wake_tasks();
    assert_eq!(task.wakes(), 1);
    let ended = poll(&mut wait, &task);
    assert_eq!(ended, Poll::Ready(Err(PostError::GroupClosed)));
}

#[test]
fn the_end_of_the_engine_wakes_and_ends_every_wait() {
    for reason in [Ended::EngineStopped, Ended::EngineFailed] {
        let (bench, task) = (Bench::new(), Arc::new(Task::default()));
        let mut waits = [bench.full(), bench.full()].map(|channel| bench.room(channel));
        for wait in &mut waits {
            assert_eq!(poll(wait, &task), Poll::Pending);
        }
        bench.shared.queue.end(reason);
        assert_eq!((task.wakes(), bench.waiting()), (2, 0));
        for mut wait in waits {
            for _ in 0..2 {
                let ended = poll(&mut wait, &task);
                assert_eq!(ended, Poll::Ready(Err(PostError::EngineEnded)));
            }
        }
        assert_eq!(bench.waiting(), 0);
    }
}

/// Runs on a thread of its own, and says when that does not end.
fn within_patience(run: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let runner = thread::spawn(move || {
        run();
        done.send(()).unwrap();
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(PATIENCE) {
        panic!("whoever called a waker held the lock that its task needs");
    }
    runner.join().unwrap();
}

/// A task with a wait of its own in it, as executors keep them: its waker keeps it alive, and
/// polls it at once.
struct Owner(Mutex<Option<WaitForRoom>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        let mut wait = lock(&self.0);
        if let Some(wait) = wait.as_mut() {
            let _ = poll(wait, &Arc::new(Task::default()));
        }
    }
}

fn owner(bench: &Bench, channel: Channel) -> Arc<Owner> {
    Arc::new(Owner(Mutex::new(Some(bench.room(channel)))))
}

#[test]
fn wakers_are_called_while_no_lock_is_held() {
    let ends: [fn(&Bench, Channel); 4] = [
        |bench, channel| bench.send(channel),
        |bench, channel| bench.close(channel),
        |bench, _| {
            let queue = &bench.shared.queue;
            queue
                .submit(|registry, _| bench.group.close(registry))
                .unwrap();
        },
        |bench, _| {
            bench.shared.queue.end(Ended::EngineStopped);
        },
    ];
    for end in ends {
        within_patience(move || {
            let bench = Bench::new();
            let channel = bench.full();
            let (mut wait, task) = (bench.room(channel), owner(&bench, channel));
            assert_eq!(poll(&mut wait, &task), Poll::Pending);
            end(&bench, channel);
        });
    }
}

#[test]
fn wakers_are_dropped_while_no_lock_is_held() {
    within_patience(|| {
        let bench = Bench::new();
        let channel = bench.full();
        let mut wait = bench.room(channel);
        for _ in 0..2 {
            let task = owner(&bench, channel);
            Arc::clone(&task).wake(); // its own wait begins
            assert_eq!(poll(&mut wait, &task), Poll::Pending);
            // From here on the waker alone keeps the task, until the next takes its place.
        }
        assert_eq!(bench.waiting(), 2, "the first task ended its wait");
        drop(wait);
        assert_eq!(bench.waiting(), 0);
    });
}

struct Faulty;

impl Wake for Faulty {
    fn wake(self: Arc<Self>) {
        panic!("planted in a waker");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let channel = bench.full();
    let mut waits = [(); 3].map(|()| bench.room(channel));
    assert_eq!(poll(&mut waits[0], &Arc::new(Faulty)), Poll::Pending);
    assert_eq!(poll(&mut waits[1], &task), Poll::Pending);
    assert_eq!(poll(&mut waits[2], &Arc::new(Faulty)), Poll::Pending);
    let sent = catch_unwind(AssertUnwindSafe(|| bench.send(channel)));
    assert!(sent.is_ok(), "it would have ended the reactor");
    assert_eq!(task.wakes(), 1);
}

/// Panics with something that panics when it is dropped.
struct Worse;

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("a defect of whoever made the payload");
    }
}

impl Wake for Worse {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(Payload);
    }
}

#[test]
fn what_a_waker_panics_with_keeps_nobody_asleep_either() {
    let (bench, task) = (Bench::new(), Arc::new(Task::default()));
    let channel = bench.full();
    let mut waits = [(); 2].map(|()| bench.room(channel));
    assert_eq!(poll(&mut waits[0], &Arc::new(Worse)), Poll::Pending);
    assert_eq!(poll(&mut waits[1], &task), Poll::Pending);
    let sent = catch_unwind(AssertUnwindSafe(|| bench.send(channel)));
    assert!(sent.is_ok(), "it would have ended the reactor");
    assert_eq!(task.wakes(), 1);
}

#[test]
fn a_wait_goes_wherever_its_task_goes() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<WaitForRoom>();
}
