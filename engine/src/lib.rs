//! Asynchronous message passing engine over TCP and Unix sockets.
#![forbid(unsafe_code)]

pub mod address;
pub mod wire;
