//! The memory of messages: its sizes, what it costs and whom, and the free storage that is kept.
//!
//! What fills memory, in all: the inbound budget (storage charged to messages received and not yet
//! dropped), the outbound budget (messages posted and not yet sent, and messages returned and not
//! yet dropped), the free storage kept here (`Options::pool_bytes`), and the reactor's cache of free
//! storage (`CACHE_BYTES` in `pool/cache.rs`). Messages that the application builds and holds are its own.
//! `options.rs` has the whole sum.

mod charge;
pub(crate) mod pool;
pub(crate) mod shared;
pub(crate) mod sizes;

pub(crate) use self::charge::{Creditor, Hold, SharedCreditor};
pub(crate) use self::pool::SLOT_COST;
pub(crate) use self::pool::{
    Cache, Lens, Pool, Storage, give_back_dropped, give_back_spare, keep_dropped, keep_spare,
};
pub(crate) use self::shared::Shared;
#[cfg(test)]
pub(crate) use self::sizes::SHARED_COST;
pub(crate) use self::sizes::{
    MESSAGE_COST_MAX, QUEUED_COST, RECORD_COST, SMALLEST_COST, SMALLEST_SIZE, cost_of,
    queued_cost_of, queued_cost_of_many, shared_cost_of,
};
