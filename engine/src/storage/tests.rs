//! Storage in one thread; `tests/loom.rs` has threads meet over it.

#[path = "pool/tests.rs"]
mod pool;
#[path = "sizes/tests.rs"]
mod sizes;
