//! What is ordered by a handle that other threads may have.

use std::sync::mpsc;
use std::time::Duration;

use super::Bench;
use super::worlds::{Read, World};
use crate::{Interest, Key};

const READABLE: Interest = Interest::READABLE;
const WRITABLE: Interest = Interest::WRITABLE;

impl<W: World> Bench<W> {
    /// Orders one end of a new connection to be taken in; the other one is returned.
    fn order_pair(&mut self, interest: Interest) -> (Key, W::Socket) {
        let (ours, theirs) = self.world.pair();
        let key = self.poller.remote().insert(ours, (), interest);
        (
            key.map_err(|refused| refused.error().to_string()).unwrap(),
            theirs,
        )
    }

    /// The wait that an order ends, with nothing to report.
    #[track_caller]
    fn assert_woken(&mut self) {
        assert_eq!(self.wait(W::PATIENCE), []);
        assert!(self.events.woken());
    }
}

pub(super) fn what_others_insert_is_polled<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, theirs) = bench.order_pair(READABLE);
    assert!(bench.poller.get(key).is_none(), "until the next pass");
    bench.world.write(&theirs, 1);
    assert_eq!(bench.poller.len(), 0);
    bench.wait(Duration::ZERO);
    assert_eq!(bench.poller.len(), 1);
    bench.world.await_readable(bench.get(key));
    bench.assert_reports(&[(key, READABLE)]);
    assert_eq!(bench.world.read(bench.get(key), 1), Read::Data(1));
    bench.assert_asleep();
}

pub(super) fn what_others_declare_counts<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, _theirs) = bench.add_pair(Interest::NONE);
    bench.assert_quiet();
    let remote = bench.poller.remote();
    assert!(remote.set_interest(key, WRITABLE));
    bench.wait(Duration::ZERO);
    bench.assert_reports(&[(key, WRITABLE)]);
    // The last one counts.
    assert!(remote.set_interest(key, Interest::BOTH) && remote.set_interest(key, Interest::NONE));
    bench.assert_woken();
    bench.assert_asleep();
}

pub(super) fn what_others_let_go_is_given_back_or_closed<W: World>() {
    let mut bench = Bench::<W>::new();
    let (removed, theirs) = bench.add_pair(READABLE);
    let (closed, their_closed) = bench.add_pair(READABLE);
    bench.assert_quiet();
    bench.world.write(&theirs, 1);
    bench.world.await_readable(bench.get(removed));
    let remote = bench.poller.remote();
    let (sends, given_back) = mpsc::channel();
    assert!(remote.remove(removed, move |_, ()| sends.send(()).unwrap()));
    assert!(remote.close(closed));
    bench.assert_woken();
    assert_eq!(given_back.try_recv(), Ok(()));
    assert!(bench.poller.is_empty());
    bench.world.await_hang_up(&their_closed);
    assert_eq!(bench.world.read(&their_closed, 1), Read::End);
}

pub(super) fn orders_about_nobody_do_nothing<W: World>() {
    let mut bench = Bench::<W>::new();
    let (old, _theirs) = bench.add_pair(READABLE);
    bench.poller.close(old);
    let (new, _their_new) = bench.add_pair(READABLE);
    assert_eq!(new.index, old.index);
    let remote = bench.poller.remote();
    let (sends, uncalled) = mpsc::channel();
    remote.set_interest(old, WRITABLE);
    remote.close(old);
    remote.remove(old, move |_, ()| sends.send(()).unwrap());
    bench.assert_woken();
    assert_eq!(uncalled.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert!(bench.poller.get(new).is_some());
    bench.assert_quiet();
}

pub(super) fn an_order_ends_a_wait_without_end<W: World>() {
    let mut bench = Bench::<W>::new();
    let (key, _theirs) = bench.add_pair(Interest::NONE);
    let calls = bench.poller.signals();
    let waker = bench.poller.waker();
    std::thread::scope(|scope| {
        // In place of a remote's order: a source need not be one that other threads may have.
        scope.spawn(|| waker.wake().unwrap());
        bench.poller.wait(&mut bench.events, None).unwrap();
    });
    assert!(bench.events.woken());
    let remote = bench.poller.remote();
    let signals = bench.poller.signals();
    for _ in 0..10 {
        assert!(remote.set_interest(key, WRITABLE));
    }
    assert_eq!(bench.poller.signals(), signals, "the poller is awake");
    assert!(signals - calls <= 1);
    bench.wait(Duration::ZERO);
    bench.assert_reports(&[(key, WRITABLE)]);
}

pub(super) fn places_are_used_again_whoever_takes_them<W: World>() {
    let mut bench = Bench::<W>::new();
    for round in 0..40 {
        let (key, theirs) = match round % 3 {
            0 => bench.add_pair(WRITABLE),
            _ => bench.order_pair(WRITABLE),
        };
        bench.wait(Duration::ZERO);
        bench.assert_reports(&[(key, WRITABLE)]);
        assert!(key.index < 4, "{}", key.index);
        bench.poller.close(key);
        drop(theirs);
    }
}

pub(super) fn orders_that_nobody_takes_are_dropped_with_the_poller<W: World>() {
    let mut bench = Bench::<W>::new();
    let remote = bench.poller.remote();
    let (held, _their_held) = bench.add_pair(READABLE);
    let (_, theirs) = bench.order_pair(READABLE);
    let (sends, uncalled) = mpsc::channel();
    assert!(remote.remove(held, move |_, ()| sends.send(()).unwrap()));
    let Bench { world, poller, .. } = bench;
    drop(poller);
    assert!(!remote.close(held) && !remote.set_interest(held, READABLE));
    world.await_hang_up(&theirs);
    assert_eq!(world.read(&theirs, 1), Read::End);
    assert_eq!(uncalled.try_recv(), Err(mpsc::TryRecvError::Disconnected));

    let (late, their_late) = world.pair();
    let Err(refused) = remote.insert(late, (), READABLE) else {
        panic!("the poller is gone")
    };
    assert_eq!(refused.error().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(world.write(&their_late, 1), 1);
    let late = refused.into_source();
    world.await_readable(&late);
    assert_eq!(world.read(&late, 1), Read::Data(1));
    assert!(!remote.remove(held, |_, ()| unreachable!()));
}
