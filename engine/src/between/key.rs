//! How the engine's parts name a connection, a listener or a group among themselves.

/// A place in the core's table, and which of its occupants is meant.
///
/// Unlike a [`Channel`](crate::Channel), it exists from the moment a connection does, long before
/// the application learns of it. The generation is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct RecordKey {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}

/// A group's place in the registry, which another takes only when nothing is left of the group: no
/// number that is in use, no message that is charged to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) struct GroupPlace(pub(crate) u32);
