//! What the proof varies: sizes, and defects to plant. All of it is decided when this is compiled,
//! and costs nothing in production.

/// One variant of the backend. [`Sound`] is the one that is used.
///
/// Each defect changes a line of `port.rs`, its parts, or `pinned.rs` (one of them, of the poller), so that
/// the tests can be seen to notice it.
pub(crate) trait Defects: Send + Sync + 'static {
    /// How many slots there are in a block, at most 128.
    const SLOTS_PER_BLOCK: usize = 128;
    /// How many packets are dequeued at a time, at most.
    const BATCH: usize = 256;
    /// How many waits running may leave the port alone because there are answers already.
    const SKIPS_MAX: u8 = 16;
    /// After how many dequeues running that did not empty the port the polls are cancelled that were left to
    /// the closing of their sources.
    const CLOSING_MAX: u8 = 16;
    /// How often a port is found empty before a new source waits no longer for the polls of those that are gone.
    const AWAITED_MAX: u8 = 4;
    /// How many polls of an object may end unasked and with nothing, running, before that is a failure.
    const VAIN_MAX: u8 = 16;

    /// The memory of the slots moves when it grows, as that of a plain vector would.
    const STATE_MOVES: bool = false;
    /// The status block is a local variable of the function that submits.
    const STATUS_ON_STACK: bool = false;
    /// An operation is known by the index of its source in the table.
    const INDEX_AS_CONTEXT: bool = false;
    /// A cancelled operation's slot is free at once.
    const FREES_ON_CANCEL: bool = false;
    /// A packet need not carry the number of its slot's current operation.
    const IGNORES_NUMBER: bool = false;
    /// A packet's slot need not be in flight.
    const IGNORES_FLIGHT: bool = false;
    /// A packet's address need not be a slot of ours.
    const IGNORES_BLOCKS: bool = false;
    /// A slot's generation is not compared with that of the source in its place.
    const IGNORES_GENERATION: bool = false;
    /// Slots are freed at the end without waiting for their packets.
    const FREES_AT_SHUTDOWN: bool = false;
    /// A source that is wanted for nothing is polled for data.
    const ARMS_WITHOUT_INTEREST: bool = false;
    /// A wake is not posted.
    const LOSES_WAKES: bool = false;
    /// An event of the batch is not compared with the source in its place when it is delivered.
    const DELIVERS_STALE: bool = false;
    /// Waits leave the port alone for as long as there are answers.
    const SKIPS_WITHOUT_END: bool = false;
    /// Handles of one socket are not compared: each is polled by itself.
    const SEPARATES_HANDLES: bool = false;
    /// A new source does not wait for the polls of those that are gone.
    const IGNORES_ZOMBIES: bool = false;
    /// A socket that somebody else may poll is polled without a time limit.
    const WAITS_WITHOUT_END: bool = false;
    /// A zombie that closes is not cancelled if the closing does not end it.
    const CLOSES_WITHOUT_END: bool = false;
    /// A packet's slot need not have been written to.
    const IGNORES_STATUS: bool = false;
    /// Polls that end unasked and with nothing are begun again without end.
    const SPINS_IN_VAIN: bool = false;
    /// What a cancel has not ended is left to the system without closing its helper.
    const LEAKS_AT_ONCE: bool = false;
    /// What the system refused to poll is tried again in every pass.
    const PARKS_NOTHING: bool = false;

    /// Key and context of a wake's packet, if they are not the reserved ones.
    fn wake() -> Option<(usize, usize)> {
        None
    }
}

/// Without a defect.
#[derive(Debug)]
pub(crate) struct Sound;

impl Defects for Sound {}
