//! Readiness on Windows, by the undocumented `IOCTL_AFD_POLL` and a completion port.
//!
//! Built on every system: the logic stands on `trait Nt` alone, and is proven against a kernel
//! that is simulated.
//!
//! - `machine.rs` says what may happen to one registration and what has to be done about it.
//! - `pinned.rs` is the memory that the kernel writes, and who has it, by that machine.
//! - `port.rs` runs both: arming, dequeuing, and the end. `port/begin.rs` sees to it that a socket is polled
//!   once however many handles of it there are, `port/choice.rs` chooses on which file that is done, and
//!   `port/lingering.rs` is about polls that are left to the closing of their sources.
//! - `table.rs` holds the sources and the socket objects that they are handles of, `control.rs` and `helpers.rs` the files that polls are issued
//!   on, `masks.rs` translates between interest and AFD's flags.

mod control;
mod defects;
#[cfg(test)]
mod held;
mod helpers;
mod machine;
mod masks;
mod pinned;
mod port;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use defects::{Defects, Sound};
#[cfg(test)]
pub(crate) use held::Held;
#[cfg(windows)]
pub use port::ControlMode;
#[cfg(not(windows))]
pub(crate) use port::ControlMode;
pub(crate) use port::Port;
#[cfg(test)]
pub(crate) use tests::StateMoves;
