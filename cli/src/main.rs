//! The `ampe` command.
#![forbid(unsafe_code)]
fn main() {}
