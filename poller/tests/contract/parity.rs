//! What the tests of other pollers show of them, shown of this one, through its public contract and
//! on every system alike. `docs/parity.md` says which test stands for which of theirs, and which
//! of theirs have none here and why.

mod bench;
mod datagrams;
mod ends;
mod interest;
mod pollers;
mod readiness;
mod time;
mod wakes;
