//! Patterns of messaging, on top of [`ampe`]: what most programs need, and an engine should not decide.
//!
//! | | |
//! |---|---|
//! | [`Dialer`] | a connection that is made again when it ends |
//! | [`service`] | requests for workers, answers in any order, an end in good order |
//! | [`publish`] | topics for those who want them, and an account of what each has missed |
//! | [`work_queue`] | jobs for workers that may die: each ends done, failed, or maybe done |
//! | `body` | bodies from types, and back: JSON and postcard |
//!
//! Each is a plain value that is shown the events of a group's inbox, and says what they mean: there are no
//! callbacks, and no thread of its own. In a thread its `recv` waits for the next event; in a task, or another loop,
//! `observe` takes each event, and `due` says when to call `advance` though none has come.
//! What each may hold in memory is bounded, and each module says by what.
//!
//! # Features
//!
//! None is on by default: `json` and `postcard` have the module `body`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(any(feature = "json", feature = "postcard"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "json", feature = "postcard"))))]
pub mod body;
mod dialer;
mod nudge;
pub mod publish;
pub mod service;
pub mod work_queue;

pub use dialer::{Dialed, Dialer, Down, Pauses};
