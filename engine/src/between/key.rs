//! How the reactor's parts name a connection or listener among themselves.

/// A place in the core's table, and which of its occupants is meant.
///
/// Unlike a [`Channel`](crate::Channel), it exists from the moment a connection does, long before
/// the application learns of it. The generation is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct RecordKey {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}
