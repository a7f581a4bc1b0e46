//! The core by itself, one situation a test.

mod aborts;
mod admission;
mod attempts;
mod bench;
mod calls;
mod crowds;
mod goodbyes;
mod groups;
mod hot_path;
mod listening;
mod opening;
mod over;
mod passes;
mod reports;
mod room;
mod starving;
mod stopping;
mod strangers;
mod timeouts;
mod unpollable;
mod violations;
