//! Giving a poller orders from other threads.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Key;
use crate::insert_error::InsertError;
use crate::interest::Interest;
use crate::orders::Orders;
use crate::poller::next_generation;
use crate::waker::Waker;

/// What a poller is to do at its next pass.
pub(crate) enum Order<S, T> {
    Insert(Key, S, T, Interest),
    Declare(Key, Interest),
    Close(Key),
    Remove(Key, Box<dyn FnOnce(S, T) + Send>),
}

/// The places for sources of one poller, of which other threads may take some.
#[derive(Debug, Default)]
pub(crate) struct Indices {
    /// The first that was never taken.
    next: AtomicU32,
    /// Places without a source, for other threads.
    spare: Mutex<Vec<u32>>,
}

impl Indices {
    /// One that was never taken, unless there is none.
    pub(crate) fn fresh(&self) -> Option<u32> {
        let after = |next: u32| next.checked_add(1);
        // The last number is left to backends, for what is not a source: it is never passed.
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after)
            .ok()
    }

    fn spare(&self) -> MutexGuard<'_, Vec<u32>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<u32> {
        let spare = self.spare().pop();
        spare.or_else(|| self.fresh())
    }

    /// Leaves places to other threads, in exchange for those that they have taken.
    pub(crate) fn leave(&self, places: impl Iterator<Item = u32>) {
        self.spare().extend(places);
    }
}

/// What a poller and those who give it orders share.
pub(crate) struct Shared<S, T> {
    pub(crate) orders: Orders<Order<S, T>>,
    pub(crate) indices: Indices,
}

/// The poller's own end: orders that it has not taken are dropped with it, and none is taken any more.
pub(crate) struct Inbox<S, T>(pub(crate) Arc<Shared<S, T>>);

impl<S, T> Inbox<S, T> {
    pub(crate) fn new() -> Self {
        Inbox(Arc::new(Shared {
            orders: Orders::new(),
            indices: Indices::default(),
        }))
    }
}

impl<S, T> Drop for Inbox<S, T> {
    fn drop(&mut self) {
        // Not under the lock: this may close sockets, and run what a user's type does when it is dropped.
        drop(self.0.orders.close());
    }
}

/// Has a [`Poller`](crate::Poller) take sources in, declare interest and let sources go, from any thread.
///
/// Orders are put down, and taken by the poller at the beginning of its next pass, in the order in which one
/// thread gave them; until then [`get`](crate::Poller::get) knows nothing of a new source. They ride on the
/// poller's [`Waker`]: a wait that goes on ends, as one that was [woken](crate::Events::woken), and the next
/// wait takes them. While the poller's thread is awake, or another wake is on its way, an order costs no system
/// call.
///
/// # The end of the poller
///
/// A source whose order came too late is given back by [`insert`](Self::insert). What was put down before
/// and not taken is dropped with the poller: new sources are closed as those are that it holds, and what
/// [`remove`](Self::remove) was to call is dropped uncalled.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use ampe_poller::{Events, Interest, Poller, socket::Stream};
///
/// # fn pair() -> std::io::Result<(Stream, Stream)> {
/// # use ampe_poller::socket::{Listener, SocketAddress};
/// # let listener = Listener::bind(&SocketAddress::Tcp(([127, 0, 0, 1], 0).into()), 1)?;
/// # let stream = Stream::connect(&listener.local_address()?)?;
/// # while !stream.finish_connect()? {}
/// # Ok((stream, listener.accept()?.0))
/// # }
/// let mut poller: Poller<Stream, &str> = Poller::with_data()?;
/// let remote = poller.remote();
/// let (ours, _theirs) = pair()?;
/// let adds = thread::spawn(move || remote.insert(ours, "from elsewhere", Interest::WRITABLE).unwrap());
///
/// let mut events = Events::with_capacity(8);
/// let event = loop {
///     poller.wait(&mut events, None)?;
///     if let Some(event) = poller.next_event(&mut events) {
///         break event;
///     }
/// };
/// assert_eq!(poller.data(event.key()), Some(&"from elsewhere"));
/// assert_eq!(adds.join().unwrap(), event.key());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Remote<S, T = ()> {
    shared: Arc<Shared<S, T>>,
    waker: Waker,
}

impl<S, T> Remote<S, T> {
    pub(crate) fn new(inbox: &Inbox<S, T>, waker: Waker) -> Self {
        Remote {
            shared: Arc::clone(&inbox.0),
            waker,
        }
    }

    fn order(&self, order: Order<S, T>) -> Result<(), Order<S, T>> {
        self.shared.orders.push(order)?;
        // A wake that the system refuses caps the poller's sleep: the order is found then.
        let _ = self.waker.wake();
        Ok(())
    }

    /// Has the poller take a source in, with data of the user's, wanted for this.
    ///
    /// The key is the source's from now on: orders about it may be given at once.
    ///
    /// # Errors
    ///
    /// In each case source and data are handed back.
    ///
    /// - The poller is gone ([`io::ErrorKind::BrokenPipe`]).
    /// - There are 4,294,967,295 sources.
    ///
    /// What the backend refuses, the poller hands out by [`next_refused`](crate::Poller::next_refused).
    pub fn insert(&self, source: S, data: T, interest: Interest) -> Result<Key, InsertError<S, T>> {
        let Some(index) = self.shared.indices.take() else {
            let error = io::ErrorKind::OutOfMemory.into();
            return Err(InsertError::new(source, data, error));
        };
        let generation = next_generation();
        let key = Key { index, generation };
        match self.order(Order::Insert(key, source, data, interest)) {
            Err(Order::Insert(_, source, data, _)) => {
                let error = io::Error::new(io::ErrorKind::BrokenPipe, "the poller is gone");
                Err(InsertError::new(source, data, error))
            }
            _ => Ok(key),
        }
    }

    /// Declares what a source is wanted for, as [`Poller::set_interest`](crate::Poller::set_interest). `false` if
    /// the poller is gone; whether the source is still there shows later, and if not the order means nothing.
    pub fn set_interest(&self, key: Key, interest: Interest) -> bool {
        self.order(Order::Declare(key, interest)).is_ok()
    }

    /// Has the poller close a source. `false` if the poller is gone, and so is the source.
    pub fn close(&self, key: Key) -> bool {
        self.order(Order::Close(key)).is_ok()
    }

    /// Has the poller let a source go, and hand it with its data to `then`, which runs on the poller's thread, within
    /// a wait: be quick there, as by sending both to another thread. If there is no such source any more, or the
    /// poller is dropped first, `then` is dropped uncalled. `false` if the poller is gone.
    pub fn remove(&self, key: Key, then: impl FnOnce(S, T) + Send + 'static) -> bool {
        self.order(Order::Remove(key, Box::new(then))).is_ok()
    }
}

impl<S, T> Clone for Remote<S, T> {
    fn clone(&self) -> Self {
        Remote {
            shared: Arc::clone(&self.shared),
            waker: self.waker.clone(),
        }
    }
}

impl<S, T> fmt::Debug for Remote<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_end_before_the_last_number_and_left_ones_are_taken_first() {
        let indices = Indices::default();
        assert_eq!((indices.take(), indices.take()), (Some(0), Some(1)));
        indices.leave([0].into_iter());
        assert_eq!((indices.take(), indices.take()), (Some(0), Some(2)));
        indices.next.store(u32::MAX - 1, Ordering::Relaxed);
        assert_eq!(indices.fresh(), Some(u32::MAX - 1));
        assert_eq!((indices.fresh(), indices.take()), (None, None));
    }

    /// Counts the orders that it finds when it is sent.
    struct Looks {
        shared: Arc<Shared<(), u8>>,
        found: Mutex<Vec<usize>>,
    }

    impl crate::waker::Signal for Looks {
        fn send(&self) -> io::Result<()> {
            self.found
                .lock()
                .unwrap()
                .push(self.shared.orders.take().len());
            Ok(())
        }
    }

    /// Whoever is woken looks for it at once, and then sleeps again.
    #[test]
    fn an_order_is_there_before_its_wake() {
        let inbox = Inbox::<(), u8>::new();
        let looks = Arc::new(Looks {
            shared: Arc::clone(&inbox.0),
            found: Mutex::default(),
        });
        let waker = Waker::new(Arc::clone(&looks) as Arc<dyn crate::waker::Signal>);
        let remote = Remote::new(&inbox, waker.clone());
        let word = &waker.state().word;
        let sleep = || assert!(word.fall_asleep());
        sleep();
        let key = remote.insert((), 7, Interest::READABLE);
        let key = key.map_err(|refused| refused.into_source()).unwrap();
        let orders: [&dyn Fn() -> bool; 3] = [
            &|| remote.set_interest(key, Interest::NONE),
            &|| remote.remove(key, |(), _| ()),
            &|| remote.close(key),
        ];
        for order in orders {
            assert!(word.get_up());
            sleep();
            assert!(order());
        }
        assert_eq!(*looks.found.lock().unwrap(), [1; 4]);
        assert!(word.get_up());
        // The wakes of a poller that is awake send nothing, and the orders wait.
        assert!(remote.close(key) && remote.close(key));
        assert_eq!(inbox.0.orders.take().len(), 2);
        assert_eq!(looks.found.lock().unwrap().len(), 4);
    }

    /// Whether it had left something undone or not.
    #[test]
    fn a_poller_that_is_gone_takes_no_order() {
        for has_orders in [false, true] {
            let inbox = Inbox::<(), u8>::new();
            let waker = Waker::new(Arc::new(Looks {
                shared: Arc::clone(&inbox.0),
                found: Mutex::default(),
            }));
            let remote = Remote::new(&inbox, waker);
            if has_orders {
                assert!(remote.insert((), 1, Interest::NONE).is_ok());
            }
            drop(inbox);
            let Err(refused) = remote.insert((), 7, Interest::NONE) else {
                panic!("nobody is there to take it")
            };
            assert_eq!(refused.error().kind(), io::ErrorKind::BrokenPipe);
            let key = Key {
                index: 0,
                generation: 1,
            };
            assert!(!remote.set_interest(key, Interest::BOTH) && !remote.close(key));
            assert!(!remote.remove(key, |(), _| unreachable!()));
        }
    }
}
