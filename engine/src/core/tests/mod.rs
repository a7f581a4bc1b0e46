//! The core by itself, one situation a test.

mod bench;
mod opening;
mod room;
mod starving;
mod stopping;
mod strangers;
