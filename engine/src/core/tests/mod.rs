//! The core by itself, one situation a test.

mod bench;
mod room;
mod starving;
mod stopping;
mod strangers;
