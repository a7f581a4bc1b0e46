//! Content of any length: parts that belong together.

mod assembler;
mod writer;

pub use self::assembler::{Assembled, Assembler, Unfinished, Whole, WhyUnfinished};
pub use self::writer::{PartWriter, Progress};

/// The text header by which a last part says that its whole was broken off, and why.
const BROKEN_OFF: &str = "~broken_off";
