//! The sizes that storage comes in, and what a message of each costs.

/// Storage sizes in bytes: a frame header and its text headers and body fit. The third takes a full
/// body with a few headers, the last the largest frame.
pub(crate) const SIZES: [usize; 5] = [256, 4096, 16_384, 66_560, 131_088];

/// What a message is charged beside its storage, for the records that queue it: they live in
/// containers that keep their capacity and may be half empty, on either side of a swap. Checked
/// against the records' sizes where those are known, in
/// `handles/submission.rs`.
pub(crate) const RECORD_COST: usize = 768;

/// The cost in bytes of a message with little content.
pub(crate) const SMALLEST_COST: usize = SIZES[0] + RECORD_COST;

/// The largest cost of one message in bytes.
pub(crate) const MESSAGE_COST_MAX: usize = SIZES[SIZES.len() - 1] + RECORD_COST;

/// The smallest size that holds `len` bytes, as an index into [`SIZES`].
///
/// # Panics
///
/// Panics if `len` is more than the largest frame: lengths are checked before.
pub(crate) fn size_for(len: usize) -> usize {
    SIZES
        .iter()
        .position(|&size| size >= len)
        .expect("no frame is longer than the largest size")
}

/// The bytes that a message is charged whose storage holds `len` bytes.
pub(crate) fn cost_of(len: usize) -> usize {
    SIZES[size_for(len)] + RECORD_COST
}
