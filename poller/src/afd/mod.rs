//! Readiness on Windows, by the undocumented `IOCTL_AFD_POLL` and a completion port.
//!
//! Built on every system: the logic stands on `trait Nt` alone, and is proven against a kernel
//! that is simulated.
//!
//! - `machine.rs` says what may happen to one registration and what has to be done about it.
//! - `pinned.rs` is the memory that the kernel writes, and who has it, by that machine.
//! - `port.rs` runs both, along the way of a wait: `port/arm.rs`, `port/drain.rs`, `port/report.rs`, and at last
//!   `port/end.rs`. `port/begin.rs` sees to it that a socket is polled once however many handles of it there are,
//!   `port/zombies.rs` is about polls whose sources are gone, and `port/direct.rs` is all that is special of polls
//!   that are issued on the socket itself.
//! - `table.rs` holds the sources and the socket objects that they are handles of, `poll_file.rs` and `helpers.rs` the
//!   files that polls are issued on, `masks.rs` translates between interest and AFD's flags.
//!
//! # Words for going away
//!
//! | word | what it says, and of what |
//! |---|---|
//! | removed | a source: it is no longer in the poller, taken back or closed |
//! | taken back | a source whose owner has it again, open (`Fate::Kept`) |
//! | closed | a source that was dropped (`Fate::Closed`); of an object: its handles were closed although sources have them |
//! | zombie | a poll in flight whose source was removed |
//! | closing | a zombie that was left to the closing of its source, and is cancelled if that does not end it |
//! | cancelled | a poll that the kernel was told to end; only its packet ends it |
//! | over | a poll whose packet was dequeued, or that was answered at once |
//! | freed | a slot that nobody needs any more |
//! | dead | a removed source without a slot |
//! | parked | a source that the system refused to poll: it is there, and rests until interest is declared again |
//! | leaked | memory that the kernel may write to for ever, left where it is |
//! | stray | a packet that is no slot's |

mod defects;
#[cfg(test)]
mod held;
mod helpers;
mod machine;
mod masks;
mod pinned;

mod poll_file;
mod port;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use defects::{Defects, Sound};
#[cfg(test)]
pub(crate) use held::Held;
#[cfg(windows)]
pub use port::PollingMode;
#[cfg(not(windows))]
pub(crate) use port::PollingMode;
pub(crate) use port::Port;
#[cfg(all(test, not(debug_assertions)))]
pub(crate) use tests::StateMoves;
