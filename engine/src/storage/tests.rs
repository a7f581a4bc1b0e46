//! Storage in one thread; `tests/loom.rs` has threads meet over it.

#[path = "pool/tests.rs"]
mod pool;
#[path = "pool/dropped_tests.rs"]
mod pool_dropped;
#[path = "pool/kept_tests.rs"]
mod pool_kept;
#[path = "pool/spare_tests.rs"]
mod pool_spare;
#[path = "sizes/tests.rs"]
mod sizes;
