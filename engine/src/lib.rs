//! Asynchronous message passing over TCP and Unix sockets: every message accounted for.
//!
//! Processes exchange discrete messages as equals. The *reactor* of an [`Engine`] owns every socket, and one
//! thread at a time drives it: a receiver while it waits, or else the engine's own. Applications talk to it through queues only: post a message, receive what
//! happened. There are no callbacks, and no async runtime inside.
//!
//! ```
//! use std::thread;
//! use std::time::{Duration, Instant};
//!
//! use ampe::{ChannelGroup, Engine, Event, GroupOptions, Inbox, Options, Outbox};
//!
//! /// A server that answers each request with what it says.
//! fn serve(group: ChannelGroup, mut inbox: Inbox) {
//!     // Keeps, in order, what is refused for want of room, until there is some.
//!     let mut outbox = Outbox::new(group.clone(), usize::MAX);
//!     for event in inbox.iter() {
//!         outbox.observe(&event);
//!         let answer = match event {
//!             Event::Hello(hello) => hello.accept(group.message()),
//!             Event::Request(request) => request.echo(),
//!             Event::Bye(bye) => bye.echo(), // behind the answers that wait
//!             _ => continue,
//!         };
//!         let _ = outbox.post(answer); // refused if the peer has gone
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Options::default())?;
//! let (server, mut inbox) = engine.group(GroupOptions::default())?;
//! server.listen(&"tcp://127.0.0.1:0".parse()?)?;
//! let Event::Listening(listening) = inbox.recv()? else { panic!("it listens first") };
//! thread::spawn(move || serve(server, inbox));
//!
//! // A client, mostly in another process.
//! let (group, mut inbox) = engine.group(GroupOptions::default())?;
//! let channel = group.connect(listening.address())?;
//! let request = engine.message().with_body(b"hello")?;
//! let deadline = Instant::now() + Duration::from_secs(60);
//! let answer = group.call(channel, request, deadline).wait()?; // a task awaits it
//! assert_eq!(answer.body(), b"hello");
//!
//! group.post(engine.message().bye(channel))?;
//! for event in inbox.iter() {
//!     if let Event::Closed(closed) = event {
//!         let account = closed.account(); // of hello, request and goodbye
//!         assert_eq!((account.posted, account.sent, account.confirmed), (3, 3, 3));
//!         break;
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # Where to begin
//!
//! The [`guide`] has short chapters, from thinking in messages to troubleshooting by symptom, and tables for those
//! who come from ZeroMQ, nng, tokio or tofu. The folder `examples` has whole programs of less than 120 lines:
//! `cargo run --example server -- tcp://127.0.0.1:7000`.
//!
//! # What becomes of a message
//!
//! Four words are kept apart everywhere:
//!
//! - *Posted*: [`ChannelGroup::post`] accepted it. A post that is refused comes back at once, in
//!   [`Refused`].
//! - *Sent*: the operating system accepted the last byte of its frame.
//! - *Returned*: it came back as [`Event::Returned`], with the reason. The peer does not have it and
//!   cannot have it, so posting it again never duplicates it.
//! - *Confirmed*: its response came, or our ByeRequest after it was answered.
//!
//! For every channel, however it ends, `posted = sent + returned`; its [`Closed`] event, always its
//! last, carries the account. A message that was sent and not confirmed may have died in a buffer:
//! only a confirmation can tell.
//!
//! # Memory
//!
//! All memory is bounded by [`Options`], in bytes. A receiver that keeps its messages stops the
//! engine from reading, which in the end stops the peer from sending; a sender that is ahead of its
//! peer is refused with [`PostError::Full`] and told of room by [`Event::Room`]; a task of an
//! asynchronous program awaits [`ChannelGroup::room`], under any runtime or none. The two budgets
//! are separate, so two peers that flood each other cannot lock each other out.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `bytes`: a `bytes::Bytes` becomes a [`SharedBody`], and a `SharedBody` becomes `Bytes`, without a copy.
//! - `futures`: [`Inbox`] is a `futures_core::Stream` of events.
//! - `metrics`: `Statistics::record` hands an engine's numbers to the recorder of the crate `metrics`.
//! - `testing`: the module `testing` has engines on a simulated network with a virtual clock, for the tests of
//!   services.
//! - `tls`: addresses `tls://HOST:PORT`, secured by TLS 1.3, with certificates from `GroupOptions::tls`.
//! - `tokio`: `Engine::run_in_tokio` has a task of a tokio runtime do the engine's work, in the thread of its other
//!   tasks.
//! - `tracing`: the reactor tells the subscriber of the crate `tracing` what it delivers, with the target `ampe`:
//!   beginnings and ends of channels at level DEBUG, with a span `channel` from the one to the other, and messages that
//!   were received or returned at level TRACE. Messages are told with their text headers and the first 64 bytes of their
//!   bodies; so are hellos, at level DEBUG. The subscriber is called by whichever thread makes a pass, also one of the
//!   application's that receives or posts.
//!
//! # Modules
//!
//! [`wire`] is the format that travels, for programs that speak it without an engine; [`Address`]
//! is how programs and people write where to connect.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod address;
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod wire;

mod account;
mod blocking;
mod call;
mod channel;
mod clock;
mod delivery;
mod endpoint;
mod engine;
mod error;
mod event;
mod flush;
mod group;
mod handed_in;
#[cfg(feature = "tokio")]
mod in_tokio;
mod inbox;
mod message;
mod options;
mod outbox;
mod parts;
mod peer;
mod post;
#[cfg(unix)]
mod reactor_task;
mod reason;
mod room;
mod sending;
mod shared_body;
mod signal_buffer;
mod statistics;
mod status;
mod tls;
mod traffic;

mod between;
mod driver;
mod handles;
mod protocol;
#[cfg(any(test, feature = "testing"))]
mod sim;
mod storage;

// What `tests/loom.rs` has its own of, or leaves out, is mounted here rather than in its folder.
#[cfg(test)]
#[path = "between/tests.rs"]
mod between_tests;
#[cfg(test)]
#[path = "storage/tests.rs"]
mod storage_tests;
#[path = "between/sync.rs"]
mod sync;

pub use ampe_poller::{platform, verify};

#[cfg(any(test, feature = "testing"))]
pub use sim::testing;

#[cfg(all(feature = "tls", any(test, fuzzing)))]
#[doc(hidden)]
pub use driver::secure::fuzzing as tls_fuzzing;

pub use account::ChannelAccount;
pub use address::{Address, AddressError};
pub use call::{Answer, Call, CallError, NotSent, Unanswered, WhyNotSent, WhyUnanswered};
pub use channel::Channel;
pub use clock::now;
pub use endpoint::Endpoint;
pub use engine::Engine;
pub use error::{Budget, Ended, FlushError, PostError, StartError};
pub use event::{
    Account, Bye, Closed, Event, Hello, Incoming, Listening, Opened, Received, Request, Returned,
    Signal,
};
pub use flush::Flush;
pub use group::ChannelGroup;
pub use handed_in::{ConnectedSocket, ListeningSocket};
pub use inbox::{CloseReport, Events, Inbox, Readiness, Recv};
pub use message::{Message, MessageError};
pub use options::{Admission, GroupOptions, ListenOptions, Options, OptionsError};
pub use outbox::{Outbox, PostAll};
pub use parts::{Assembled, Assembler, PartWriter, Progress, Unfinished, Whole, WhyUnfinished};
pub use peer::{Credentials, Peer};
pub use post::{NotNotified, Post, Posted, Refused};
#[cfg(unix)]
#[cfg_attr(docsrs, doc(cfg(unix)))]
pub use reactor_task::{Pass, ReactorTask};
pub use reason::{ProtocolViolation, Reason};
pub use room::WaitForRoom;
pub use sending::Sending;
pub use shared_body::SharedBody;
pub use signal_buffer::SignalBuffer;
pub use statistics::{GroupStatistics, Statistics};
pub use status::Status;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use tls::{Identity, KeyHash, KeyHashError, SubjectName, Tls, TlsError, TlsOptions, Verified};
pub use traffic::Traffic;

/// The programs in the README are compiled with the other examples; `tests/behaviour/readme.rs` runs them.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
