//! Nothing is kept of tasks that wait no more.

use std::task::Waker;

use crate::between::flushing::{Flushed, Flushing};
use crate::between::waiting::Waiting;
use crate::channel::Channel;

fn channel() -> Channel {
    Channel::new(7, 70)
}

fn waiting(aims: impl IntoIterator<Item = u32>) -> Waiting<u32> {
    let mut waiting = Waiting::default();
    for aim in aims {
        let wait = waiting.begin(aim);
        let mut waker = Some(Waker::noop().clone());
        waiting.wait(channel(), wait, &mut waker);
        assert!(waker.is_none(), "it is kept");
    }
    waiting
}

#[test]
fn nothing_is_kept_of_a_channel_that_nobody_waits_for_any_more() {
    let mut it = waiting([1, 2]);
    it.tell_those(channel(), |_, aim| aim == 1);
    assert_eq!((it.len(), it.channels().count()), (1, 1));
    it.tell_those(channel(), |_, _| true);
    assert_eq!((it.len(), it.channels().count()), (0, 0));
    assert_eq!(it.take_told().len(), 2);

    let mut it = waiting([]);
    let waits = [3, 4].map(|aim| {
        let wait = it.begin(aim);
        it.wait(channel(), wait, &mut Some(Waker::noop().clone()));
        wait
    });
    assert!(it.leave(channel(), waits[0]).is_some());
    assert_eq!((it.len(), it.channels().count()), (1, 1));
    assert!(it.leave(channel(), waits[1]).is_some());
    assert_eq!((it.len(), it.channels().count()), (0, 0));
    assert!(it.leave(channel(), waits[1]).is_none());
}

#[test]
fn nothing_is_kept_of_how_a_wait_ended_that_nobody_asks_about() {
    let mut it = Flushing::default();
    let wait = it.begin(3);
    it.wait(channel(), wait, &mut Some(Waker::noop().clone()));
    it.tell(channel(), |target| (target == 3).then_some(Flushed::Sent));
    assert_eq!((it.len(), it.take_told().len()), (1, 1));
    assert!(it.leave(channel(), wait).is_none(), "it was woken");
    assert_eq!((it.len(), it.take_outcome(wait)), (0, None));
}
