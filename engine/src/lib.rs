//! Asynchronous message passing over TCP and Unix sockets: every message accounted for.
//!
//! Processes exchange discrete messages as equals. The *reactor* of an [`Engine`] owns every socket, and one
//! thread at a time drives it: a receiver while it waits, or else the engine's own. Applications talk to it through queues only: post a message, receive what
//! happened. There are no callbacks, and no async runtime inside.
//!
//! ```
//! use std::collections::{HashMap, VecDeque};
//!
//! use ampe::{Channel, Engine, Event, GroupOptions, Options, Post, PostError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Options::default())?;
//! let (group, mut inbox) = engine.group(GroupOptions::default())?;
//! group.listen(&"tcp://127.0.0.1:0".parse()?)?;
//!
//! // What was refused for want of room waits here, in order.
//! let mut waiting: HashMap<Channel, VecDeque<Post>> = HashMap::new();
//! for event in inbox.iter() {
//!     let Some(channel) = event.channel() else { continue };
//!     let post = match event {
//!         // The server's part.
//!         Event::Hello(hello) => Some(hello.accept(engine.message())),
//!         Event::Request(request) => Some(request.echo()),
//!         Event::Bye(bye) => Some(bye.echo()), // behind the answers that wait
//!         // The client's part: here it connects to the server that it is itself.
//!         Event::Listening(listening) => Some(engine.message().hello(listening.address())),
//!         Event::Connected(_) => Some(engine.message().with_body(b"hello")?.request(channel)),
//!         Event::Response(response) => {
//!             assert_eq!(response.body(), b"hello");
//!             Some(engine.message().bye(channel))
//!         }
//!         Event::Closed(closed) => {
//!             println!("{}: {}", channel, closed.reason());
//!             waiting.remove(&channel);
//!             break;
//!         }
//!         _ => None, // Room among them: what waits is posted now
//!     };
//!     let posts = waiting.entry(channel).or_default();
//!     posts.extend(post);
//!     if !matches!(group.post_many(posts, &mut Vec::new()), Ok(()) | Err(PostError::Full(_))) {
//!         posts.clear(); // a peer may go at any moment: its channel takes no more posts
//!     }
//! }
//! # Ok(()) }
//! ```
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
//! # Modules
//!
//! [`wire`] is the format that travels, for programs that speak it without an engine; [`Address`]
//! is how programs and people write where to connect.
#![forbid(unsafe_code)]

pub mod address;
pub mod wire;

mod account;
mod blocking;
mod call;
mod channel;
mod endpoint;
mod engine;
mod error;
mod event;
mod flush;
mod group;
mod inbox;
mod message;
mod options;
mod outbox;
mod post;
mod reason;
mod room;
mod sending;
mod status;

mod between;
mod driver;
mod handles;
mod protocol;
#[cfg(test)]
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

pub use ampe_poller::platform;

pub use account::ChannelAccount;
pub use address::{Address, AddressError};
pub use call::{Answer, Call, CallError, NotSent, Unanswered, WhyNotSent, WhyUnanswered};
pub use channel::Channel;
pub use endpoint::Endpoint;
pub use engine::{Engine, Statistics};
pub use error::{Budget, Ended, FlushError, PostError, StartError};
pub use event::{
    Account, Bye, Closed, Event, Hello, Listening, Received, Request, Returned, Signal,
};
pub use flush::Flush;
pub use group::ChannelGroup;
pub use inbox::{CloseReport, Events, Inbox, Recv};
pub use message::{Message, MessageError};
pub use options::{GroupOptions, Options, OptionsError};
pub use outbox::Outbox;
pub use post::{NotNotified, Post, Posted, Refused};
pub use reason::{ProtocolViolation, Reason};
pub use room::WaitForRoom;
pub use sending::Sending;
pub use status::Status;

/// The program in the README is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
