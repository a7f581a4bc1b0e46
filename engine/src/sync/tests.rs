//! What the modules that threads share do in one thread; `tests/loom.rs` has them meet.

mod delivery;
mod pool;
mod queue;
mod registry;
mod registry_model;
