//! Tasks that wait for room are woken when there is some, and when there will be none any more.

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::thread;

use crate::between::decision::Decision;
use crate::between::registry::Denied;
use crate::between::waiting::RoomWait;
use crate::channel::Channel;
use crate::storage::MESSAGE_COST_MAX;
use crate::{
    GROUP, NOBODY_CAN_GO_ON, Posts, Sleeper, exchange, finds_always, open, post, proves,
    queue_waking,
};

/// The waker of a task whose executor sleeps until it is called.
pub(crate) struct Executor(pub(crate) Arc<Sleeper>);

impl Wake for Executor {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

/// Wakes a task, if there is one.
pub(crate) fn wake(task: Option<Waker>) {
    if let Some(task) = task {
        task.wake();
    }
}

/// A wait for room, as `WaitForRoom` makes it.
struct Wait {
    queue: Arc<Posts>,
    channel: Channel,
    task: Option<RoomWait>,
    sleeper: Arc<Sleeper>,
    waker: Waker,
}

impl Wait {
    fn new(queue: &Arc<Posts>, channel: Channel) -> Wait {
        let sleeper = Sleeper::new();
        Wait {
            queue: Arc::clone(queue),
            channel,
            task: None,
            waker: Waker::from(Arc::new(Executor(Arc::clone(&sleeper)))),
            sleeper,
        }
    }

    fn poll(&mut self) -> Poll<Result<(), Denied>> {
        let (channel, task) = (self.channel, &mut self.task);
        let mut waker = Some(self.waker.clone());
        let polled = self
            .queue
            .submit(|registry, _| registry.poll_room(channel, GROUP, task, &mut waker));
        polled.unwrap_or(Poll::Ready(Err(Denied::Closed)))
    }

    /// Awaits the end, polling with `poll`.
    fn run(mut self, poll: fn(&mut Wait) -> Poll<Result<(), Denied>>) -> Result<(), Denied> {
        loop {
            match poll(&mut self) {
                Poll::Ready(outcome) => {
                    self.leave();
                    return outcome;
                }
                Poll::Pending => self.sleeper.sleep(),
            }
        }
    }

    /// What dropping a wait does. (Not on drop here: a model that fails unwinds without its locks.)
    fn leave(mut self) {
        if let Some(task) = self.task.take() {
            let channel = self.channel;
            drop(
                self.queue
                    .with_registry(|registry| registry.leave(channel, task)),
            );
        }
    }
}

/// Two tasks post to one channel, waiting for room when refused, while a third waits once and gives
/// up. The channel has credit for two messages. The reactor sends each batch and gives its credit
/// back with the next exchange; it sleeps when it has nothing to do.
fn tasks_wait_for_room(poll: fn(&mut Wait) -> Poll<Result<(), Denied>>) {
    const EACH: usize = 2;
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let channel = open(&queue);
    let posters = [(); 2].map(|()| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            for _ in 0..EACH {
                while let Err(why) = post(&queue, channel, 0, MESSAGE_COST_MAX) {
                    assert_eq!(why, Denied::ChannelFull);
                    assert_eq!(Wait::new(&queue, channel).run(poll), Ok(()));
                }
            }
        })
    });
    let mut quitter = Wait::new(&queue, channel);
    let _ = quitter.poll();
    quitter.leave();

    let (mut batch, mut sent, mut told, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
    loop {
        exchange(&queue, &mut batch, |registry| {
            for channel in sent.drain(..) {
                registry.release(channel, MESSAGE_COST_MAX);
            }
            registry.take_room(&mut told);
        });
        count += batch.len();
        sent.extend(batch.drain(..).map(|(channel, _): (Channel, u32)| channel));
        if !sent.is_empty() {
            continue; // the reactor does not sleep on credit to be given back
        }
        if count == 2 * EACH {
            break;
        }
        sleeper.sleep();
    }
    for poster in posters {
        poster.join().unwrap();
    }
    let waiting = queue.with_registry(|registry| registry.waiting());
    assert_eq!(waiting, 0, "nobody is left behind");
    assert!(
        told.len() <= 1,
        "nobody takes the event: there is no second"
    );
}

#[test]
fn tasks_at_the_limit_are_woken() {
    proves("tasks_at_the_limit_are_woken", Some(2), 1000, || {
        tasks_wait_for_room(Wait::poll);
    });
}

/// Changed: a task looks for room, and asks to be woken in a step of its own.
#[test]
fn canary_a_look_before_the_wait() {
    finds_always(
        Decision::TaskFindsRoom,
        false,
        NOBODY_CAN_GO_ON,
        Some(2),
        || {
            tasks_wait_for_room(|wait| {
                let used = wait.queue.with_registry(|registry| registry.used());
                if used <= MESSAGE_COST_MAX {
                    return Poll::Ready(Ok(()));
                }
                wait.poll()
            });
        },
    );
}

/// A task waits for the room of a channel that the reactor has sent for, and so do `THREADS` threads
/// each of which was refused a post, and waits for the event. All are told.
fn a_task_beside<const THREADS: usize>() {
    let queue = queue_waking(None);
    let channel = open(&queue);
    for tag in [1, 2] {
        post(&queue, channel, tag, MESSAGE_COST_MAX).unwrap();
    }
    let event = Sleeper::new();
    let threads: [_; THREADS] = std::array::from_fn(|_| {
        let (queue, event) = (Arc::clone(&queue), Arc::clone(&event));
        thread::spawn(move || {
            if post(&queue, channel, 3, MESSAGE_COST_MAX).is_err() {
                event.sleep();
            }
        })
    });
    let task = thread::spawn({
        let queue = Arc::clone(&queue);
        move || assert_eq!(Wait::new(&queue, channel).run(Wait::poll), Ok(()))
    });
    let (mut batch, mut told) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        exchange(&queue, &mut batch, |registry| {
            registry.release(channel, MESSAGE_COST_MAX);
            registry.take_room(&mut told);
        });
        if !told.is_empty() {
            event.wake();
        }
        batch.clear();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    task.join().unwrap();
}

#[test]
fn a_task_is_woken_that_was_never_refused() {
    let name = "a_task_is_woken_that_was_never_refused";
    proves(name, None, 20, a_task_beside::<0>);
}

/// Changed: only channels that were refused are lined up for room.
#[test]
fn canary_a_task_that_is_not_lined_up() {
    finds_always(
        Decision::TaskIsLinedUp,
        false,
        NOBODY_CAN_GO_ON,
        None,
        a_task_beside::<0>,
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn a_task_takes_no_event_from_a_thread() {
    let name = "a_task_takes_no_event_from_a_thread";
    proves(name, None, 1000, a_task_beside::<1>);
}

/// Changed: telling a task counts as telling the channel.
#[test]
fn canary_a_task_that_is_told_in_a_threads_place() {
    finds_always(
        Decision::ThreadIsToldToo,
        false,
        NOBODY_CAN_GO_ON,
        None,
        a_task_beside::<1>,
    );
}

/// A task waits on a channel that has no room while the reactor closes it, or ends.
fn a_task_meets_the_end(end: fn(&Posts, Channel)) {
    let queue = queue_waking(None);
    let channel = open(&queue);
    for tag in [1, 2] {
        post(&queue, channel, tag, MESSAGE_COST_MAX).unwrap();
    }
    let tasks = [(); 2].map(|()| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || Wait::new(&queue, channel).run(Wait::poll))
    });
    end(&queue, channel);
    for task in tasks {
        assert_eq!(task.join().unwrap(), Err(Denied::Closed));
    }
}

fn close(queue: &Posts, channel: Channel) {
    exchange(queue, &mut Vec::new(), |registry| registry.close(channel));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn a_channel_that_ends_wakes_its_tasks() {
    proves("a_channel_that_ends_wakes_its_tasks", None, 50, || {
        a_task_meets_the_end(close);
    });
}

#[test]
fn canary_a_closed_channel_that_wakes_nobody() {
    finds_always(
        Decision::CloseWakesTasks,
        false,
        NOBODY_CAN_GO_ON,
        None,
        || a_task_meets_the_end(close),
    );
}

fn end(queue: &Posts, _: Channel) {
    queue.end(());
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn the_end_wakes_every_task() {
    proves("the_end_wakes_every_task", None, 50, || {
        a_task_meets_the_end(end);
    });
}

#[test]
fn canary_an_end_that_wakes_nobody() {
    finds_always(
        Decision::EndWakesTasks,
        false,
        NOBODY_CAN_GO_ON,
        None,
        || a_task_meets_the_end(end),
    );
}
