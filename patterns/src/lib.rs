//! Patterns of messaging, on top of [`ampe`]: what most programs need, and an engine should not decide.
//!
//! - [`Dialer`]: a connection that is made again when it ends.
#![forbid(unsafe_code)]

mod dialer;

pub use dialer::{Dialed, Dialer, Down, Pauses};
