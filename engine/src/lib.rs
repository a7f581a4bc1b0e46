//! Asynchronous message passing engine over TCP and Unix sockets.
#![forbid(unsafe_code)]

pub mod address;
pub mod wire;

mod channel;
mod core;
mod delivery;
mod driver;
mod endpoint;
mod engine;
mod error;
mod event;
mod group;
mod key;
mod message;
mod options;
mod pool;
mod post;
mod queue;
mod reason;
mod registry;
mod shared;
mod status;
mod sync;

pub use address::{Address, AddressError};
pub use channel::Channel;
pub use endpoint::Endpoint;
pub use engine::{Engine, Statistics};
pub use error::{Ended, NotNotified, PostError, Refused, StartError};
pub use event::{
    Account, Bye, Closed, Event, Hello, Listening, Received, Request, Returned, Signal,
};
pub use group::{ChannelGroup, CloseReport, Inbox};
pub use message::{Message, MessageError};
pub use options::{GroupOptions, Options, OptionsError};
pub use post::{Post, Posted};
pub use reason::{ProtocolViolation, Reason};
pub use status::Status;
