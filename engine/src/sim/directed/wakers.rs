//! Tasks whose wakers do what an application may do, while the reactor calls them in its pass.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::channel::Channel;
use crate::group::ChannelGroup;
use crate::handles::reactor_thread;
use crate::inbox::Inbox;
use crate::reason::Reason;

use super::super::world::World;
use super::{DIALS, LISTENS, connected, finish, post_signal, reason, received, until};

/// A pass that waits for its own reactor hangs. Nothing else takes so long.
const HANGS: Duration = Duration::from_secs(60);

/// Makes a run in a thread that counts as a reactor's, as the passes in it are.
fn in_a_reactor(scenario: fn()) {
    let (done, ended) = mpsc::channel();
    let run = thread::spawn(move || {
        reactor_thread::enter();
        scenario();
        let _ = done.send(());
    });
    if ended.recv_timeout(HANGS) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("P3: a waker keeps its reactor waiting");
    }
    if let Err(payload) = run.join() {
        std::panic::resume_unwind(payload);
    }
}

/// What a task has in hand, and does with it when it is woken.
struct Task<T> {
    calls: AtomicU32,
    hand: Mutex<Option<T>>,
    act: fn(T),
}

impl<T: Send + 'static> Task<T> {
    fn new(hand: T, act: fn(T)) -> Arc<Self> {
        Arc::new(Task {
            calls: AtomicU32::new(0),
            hand: Mutex::new(Some(hand)),
            act,
        })
    }
}

impl<T: Send + 'static> Wake for Task<T> {
    fn wake(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let hand = self.hand.lock().expect("no waker panicked").take();
        if let Some(hand) = hand {
            (self.act)(hand);
        }
    }
}

/// A group of the first engine's with a channel to the second, whose number there comes last.
fn with_channel(world: &mut World) -> (ChannelGroup, Inbox, [Channel; 2]) {
    let address = world.members[LISTENS].listening[0].clone();
    let (posting, mut inbox, _) = world.nodes[DIALS].group();
    let before = world.members[LISTENS].channels.len();
    let ours = posting.connect(&address).expect("it takes posts");
    until(world, |world| {
        world.members[LISTENS].channels.len() > before
    });
    until(world, |world| !world.step());
    while let Ok(Some(_)) = inbox.try_recv() {}
    let theirs = world.members[LISTENS].channels[before];
    (posting, inbox, [ours, theirs])
}

/// Fills a channel, has a task wait for room there, and lets passes bring it.
fn wake_in_a_pass<T: Send + 'static>(world: &mut World, full: Channel, task: &Arc<Task<T>>) {
    while post_signal(world, DIALS, full, 60_000) {}
    let mut room = pin!(world.members[DIALS].posting.room(full));
    let waker = Waker::from(Arc::clone(task));
    let polled = room.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Pending), "there is room already");
    let calls = || task.calls.load(Ordering::Relaxed);
    for _ in 0..10_000 {
        let passes = world.nodes[DIALS].passes();
        let before = calls();
        world.step();
        if calls() > before {
            assert!(world.nodes[DIALS].passes() > passes, "not by a pass");
            return;
        }
        world.with_member(LISTENS, |member, context| member.receive(context, 100));
    }
    panic!("Room: nobody woke the task");
}

#[test]
fn a_waker_may_drop_an_inbox() {
    in_a_reactor(|| {
        let (mut world, [full, _]) = connected();
        let (posting, inbox, [ours, theirs]) = with_channel(&mut world);
        let before = received(&world, LISTENS, theirs);
        for _ in 0..3 {
            let message = posting
                .message()
                .with_body(b"posted before")
                .expect("it fits");
            posting.post(message.signal(ours)).expect("accepted");
        }
        let task = Task::new(inbox, drop);
        wake_in_a_pass(&mut world, full, &task);
        until(&mut world, |world| reason(world, LISTENS, theirs).is_some());
        let got = received(&world, LISTENS, theirs) - before;
        println!(
            "{got} of 3 messages came, ended by {:?}",
            reason(&world, LISTENS, theirs)
        );
        assert_eq!(got, 3, "P1: what was posted before the drop is lost");
        assert_eq!(
            reason(&world, LISTENS, theirs),
            Some(Reason::PeerDisconnected)
        );
        drop((posting, task));
        println!("{}", finish(world));
    });
}

#[test]
fn a_waker_may_post() {
    in_a_reactor(|| {
        let (mut world, [full, _]) = connected();
        let (posting, inbox, [ours, theirs]) = with_channel(&mut world);
        let before = received(&world, LISTENS, theirs);
        let task = Task::new((posting, ours), |(posting, channel)| {
            for _ in 0..3 {
                let message = posting
                    .message()
                    .with_body(b"posted by a waker")
                    .expect("it fits");
                posting.post(message.signal(channel)).expect("accepted");
            }
        });
        wake_in_a_pass(&mut world, full, &task);
        until(&mut world, |world| {
            received(world, LISTENS, theirs) == before + 3
        });
        println!("3 messages of a waker came");
        drop((inbox, task));
        println!("{}", finish(world));
    });
}
