//! Who waits until something was sent is woken when it was, and when it came back.

use std::sync::Arc;
use std::task::{Poll, Waker};

use loom::thread;

use crate::between::decision::Decision;
use crate::between::flushing::{FlushWait, Flushed};
use crate::between::registry::{Registry, Report};
use crate::channel::Channel;
use crate::queue_waking;
use crate::task_models::Executor;
use crate::{
    GROUP, NOBODY_CAN_GO_ON, Posts, Sleeper, exchange, finds, finds_always, open, post, proves,
};

const COST: usize = 448;

/// A wait for sending, as `Flush` makes it.
struct Wait {
    queue: Arc<Posts>,
    channel: Channel,
    task: Option<FlushWait>,
    sleeper: Arc<Sleeper>,
}

impl Wait {
    fn new(queue: &Arc<Posts>, channel: Channel) -> Wait {
        Wait {
            queue: Arc::clone(queue),
            channel,
            task: None,
            sleeper: Sleeper::new(),
        }
    }

    fn poll(&mut self) -> Poll<Flushed> {
        let (channel, task) = (self.channel, &mut self.task);
        let mut waker = Some(Waker::from(Arc::new(Executor(Arc::clone(&self.sleeper)))));
        let polled = self
            .queue
            .submit(|registry, _| registry.poll_flush(channel, GROUP, task, &mut waker));
        polled.unwrap_or_else(|()| {
            let task = self.task;
            let outcome = |registry: &mut Registry| registry.flush_outcome(channel, GROUP, task);
            Poll::Ready(self.queue.with_registry(outcome).unwrap_or(Flushed::Gone))
        })
    }

    fn run(&mut self, poll: fn(&mut Wait) -> Poll<Flushed>) -> Flushed {
        loop {
            match poll(self) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => self.sleeper.sleep(),
            }
        }
    }
}

/// Two threads post twice each and wait until that was sent, and so does the second after its first
/// post already. The reactor sends each batch, reports it with the next exchange, and sleeps when it
/// has nothing to do. Who goes on finds everything sent that it had posted.
fn threads_flush(poll: fn(&mut Wait) -> Poll<Flushed>) {
    let sleeper = Sleeper::new();
    let queue = queue_waking(Some(Arc::clone(&sleeper)));
    let channel = open(&queue);
    let posters = [1, 2].map(|posts| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            for tag in 0..posts {
                post(&queue, channel, tag, COST).unwrap();
                assert_eq!(Wait::new(&queue, channel).run(poll), Flushed::Sent);
            }
            let sent = queue
                .with_registry(|registry| registry.progress(channel, GROUP).unwrap().report.sent);
            assert!(sent >= u64::from(posts), "went on too early");
        })
    });
    let (mut batch, mut sent, mut reported) = (Vec::new(), 0, 0);
    while reported < 3 {
        exchange(&queue, &mut batch, |registry| {
            for _ in reported..sent {
                registry.release(channel, COST);
            }
            if reported < sent {
                let report = Report {
                    sent,
                    ..Report::default()
                };
                registry.report(channel, report);
            }
            reported = sent;
        });
        sent += batch.drain(..).count() as u64;
        if reported == sent && reported < 3 {
            sleeper.sleep();
        }
    }
    for poster in posters {
        poster.join().unwrap();
    }
    let flushing = queue.with_registry(|registry| registry.flushing());
    assert_eq!(flushing, 0, "nobody is left behind");
}

#[test]
fn who_waits_for_sending_is_woken() {
    proves("who_waits_for_sending_is_woken", Some(2), 500, || {
        threads_flush(Wait::poll);
    });
}

/// Changed: a task looks whether all was sent, and asks to be woken in a step of its own.
#[test]
fn canary_a_look_before_the_wait_for_sending() {
    finds_always(
        Decision::TaskFindsAllSent,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        || {
            threads_flush(|wait| {
                let progress = wait
                    .queue
                    .with_registry(|registry| registry.progress(wait.channel, GROUP));
                let progress = progress.unwrap();
                if wait.task.is_none() && progress.report.sent >= progress.posted {
                    return Poll::Ready(Flushed::Sent);
                }
                wait.poll()
            });
        },
    );
}

/// Changed: what was sent is reported, and nobody looks who waits for it.
#[test]
fn canary_sending_that_wakes_nobody() {
    finds_always(
        Decision::SendingWakesTasks,
        false,
        NOBODY_CAN_GO_ON,
        Some(3),
        || threads_flush(Wait::poll),
    );
}

/// A task waits for what it posted while the reactor closes the channel, returns what it has not
/// sent, and forgets the channel; or while the engine ends.
fn a_flush_meets_the_end(end: fn(&Posts, Channel)) {
    let queue = queue_waking(None);
    let channel = open(&queue);
    for tag in [1, 2] {
        post(&queue, channel, tag, COST).unwrap();
    }
    let tasks = [(); 2].map(|()| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || Wait::new(&queue, channel).run(Wait::poll))
    });
    end(&queue, channel);
    for task in tasks {
        let outcome = task.join().unwrap();
        assert!(
            matches!(outcome, Flushed::Returned(1) | Flushed::Gone),
            "{outcome:?}"
        );
    }
    assert_eq!(queue.with_registry(|registry| registry.flushing()), 0);
}

/// One of two messages was sent.
fn close_and_return(queue: &Posts, channel: Channel) {
    exchange(queue, &mut Vec::new(), |registry| {
        registry.release(channel, COST);
        registry.close(channel);
    });
    queue.with_registry(|registry| registry.release_channel(channel, COST));
    let report = Report {
        sent: 1,
        ..Report::default()
    };
    queue.with_registry(|registry| registry.report_returned(channel, report, 1));
    queue.with_registry(|registry| registry.forget(channel));
}

#[test]
fn what_comes_back_ends_the_wait_for_sending() {
    let name = "what_comes_back_ends_the_wait_for_sending";
    proves(name, Some(2), 100, || {
        a_flush_meets_the_end(close_and_return)
    });
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: with --release")]
fn the_end_ends_the_wait_for_sending() {
    proves("the_end_ends_the_wait_for_sending", None, 20, || {
        a_flush_meets_the_end(|queue, _| {
            queue.end(());
        });
    });
}

/// Changed: the account is settled without a word to the registry.
#[test]
fn canary_a_return_that_is_not_reported() {
    finds(NOBODY_CAN_GO_ON, None, || {
        a_flush_meets_the_end(|queue, channel| {
            exchange(queue, &mut Vec::new(), |registry| registry.close(channel));
        });
    });
}
