//! Message ids of the patterns' own.
//!
//! The engine counts from 1, and gives no id from 2^63 on. So numbers of ours, with the highest bit set, are told from the
//! ids of all that the application posts to the same channel, as by a call.

/// The bit that an id of a pattern's has, and none of the engine's.
pub(crate) const OURS: u64 = 1 << 63;

/// The id of a number of ours.
pub(crate) fn id_of(number: u64) -> u64 {
    number | OURS
}

/// The number that an id stands for, if it is one of ours.
pub(crate) fn number_of(id: u64) -> Option<u64> {
    (id & OURS != 0).then_some(id & !OURS)
}
