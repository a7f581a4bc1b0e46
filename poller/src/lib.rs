//! Readiness polling that owns its sources: sockets in, readiness out.
//!
//! A [`Poller`] holds sources, each of which is wanted for reading, for writing, for both or for
//! nothing, and [waits](Poller::wait) until some of them are ready for what they are wanted for.
//! Declaring what is wanted costs nothing; the system is told at the next wait, and only of what
//! has really changed. What is ready is reported by every wait while it is wanted. A source that
//! is wanted for nothing is silent, whatever happens to it.
//!
//! The poller owns its sources, and names them with [`Key`]s that are never used twice. So no
//! source can be closed while it is polled, and no event can reach a source other than its own.
//!
//! # A loop
//!
//! ```
//! # #[cfg(unix)] {
//! use ampe_poller::socket::{Listener, SocketAddress, Stream};
//! use ampe_poller::{Events, Interest, Poller};
//! use std::io::{self, IoSlice};
//! use std::os::fd::{AsFd, BorrowedFd};
//!
//! enum Socket {
//!     Listener(Listener),
//!     Stream(Stream),
//! }
//!
//! impl AsFd for Socket {
//!     fn as_fd(&self) -> BorrowedFd<'_> {
//!         match self {
//!             Socket::Listener(listener) => listener.as_fd(),
//!             Socket::Stream(stream) => stream.as_fd(),
//!         }
//!     }
//! }
//!
//! let mut poller = Poller::new()?;
//! let mut events = Events::with_capacity(256);
//!
//! let any_port = SocketAddress::Tcp(([127, 0, 0, 1], 0).into());
//! let listener = Listener::bind(&any_port, 128)?;
//! let address = listener.local_address()?;
//! let listener = poller.insert(Socket::Listener(listener))?;
//! poller.set_interest(listener, Interest::READABLE);
//!
//! let client = poller.insert(Socket::Stream(Stream::connect(&address)?))?;
//! poller.set_interest(client, Interest::WRITABLE);
//!
//! let mut received = Vec::new();
//! while received.is_empty() {
//!     poller.wait(&mut events, None)?;
//!     while let Some(event) = poller.next_event(&mut events) {
//!         if let Some(error) = event.error() {
//!             return Err(error); // the system refuses to poll this one
//!         }
//!         match poller.get(event.key()) {
//!             Some(Socket::Listener(listener)) => {
//!                 let (stream, _) = listener.accept()?;
//!                 let stream = poller.insert(Socket::Stream(stream))?;
//!                 poller.set_interest(stream, Interest::READABLE);
//!             }
//!             Some(Socket::Stream(stream)) if event.key() == client => {
//!                 if stream.finish_connect()? {
//!                     stream.send_vectored(&[IoSlice::new(b"hello")])?;
//!                     poller.set_interest(client, Interest::NONE);
//!                 }
//!             }
//!             Some(Socket::Stream(stream)) => {
//!                 let mut buffer = [0; 16];
//!                 match stream.recv(&mut buffer) {
//!                     Ok(length) => received.extend_from_slice(&buffer[..length]),
//!                     Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
//!                     Err(error) => return Err(error),
//!                 }
//!             }
//!             None => {}
//!         }
//!     }
//! }
//! assert_eq!(received, b"hello");
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Platforms
//!
//! | system | mechanism | cost of a wait | wakes by |
//! |---|---|---|---|
//! | Linux, Android | epoll ([`backend::Epoll`]) | what changed and what is ready | eventfd |
//! | macOS, FreeBSD, DragonFly, NetBSD, OpenBSD | kqueue (`backend::Kqueue`) | what changed and what is ready | `EVFILT_USER`; a pipe on NetBSD and OpenBSD |
//! | other Unix | poll(2) ([`backend::Poll`]) | all sources that are wanted | pipe |
//! | Windows | AFD and a completion port (`backend::Afd`) | what changed and what is ready | a posted packet |
//! | others | none yet: [`Poller::new`] says so | | |
//!
//! poll(2) is there on every Unix, for comparison and for tests. The logic over kqueue is tested on Linux, with
//! simulated calls; the calls themselves are run on macOS by hosted machines, and only compiled for the others.
//!
//! # Reading order
//!
//! `poller.rs` is the contract; `sys/mod.rs` is what it asks of a backend; `sys/epoll.rs` is one;
//! `wake_word.rs` is what wakes it. `afd/` is the backend for Windows, whose logic is built and tested
//! on every system, and `docs/afd.md` says why it can be trusted.

#[cfg_attr(
    not(windows),
    allow(dead_code, reason = "built and tested everywhere, used on Windows")
)]
mod afd;
#[cfg(test)]
mod conformance;
mod event;
mod insert_error;
mod interest;
#[cfg_attr(
    not(windows),
    allow(dead_code, reason = "built and tested everywhere, used on Windows")
)]
mod nt;
mod orders;
pub mod platform;
mod poller;
mod remote;
pub mod socket;
mod sync;
mod sys;
mod timeout;
pub mod verify;
mod waitable;
mod wake_word;
mod waker;
mod watch;

/// The mechanisms by which systems tell what is ready.
pub mod backend {
    #[cfg(windows)]
    pub use crate::sys::afd::{Afd, PollingMode};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub use crate::sys::epoll::Epoll;
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd"
    ))]
    pub use crate::sys::kqueue::Kqueue;
    #[cfg(unix)]
    pub use crate::sys::poll::Poll;
    pub use crate::sys::{Backend, DefaultBackend};
}

pub use event::{Event, Events, Key};
pub use insert_error::InsertError;
pub use interest::Interest;
pub use poller::{Poller, Source};
pub use remote::Remote;
pub use waitable::WaitableFlag;
pub use waker::Waker;
pub use watch::{Seen, Watch};
