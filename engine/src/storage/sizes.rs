//! The sizes that storage comes in, and what a message costs.

use super::pool::SLOT_COST;
use super::shared::Shared;

/// Storage sizes in bytes, each for a whole frame: header, text headers and body. They go up by 256
/// bytes up to 8 KiB and by a sixteenth of the power of two below from there on, so no content wastes more
/// than 256 bytes or a sixteenth of itself. The last takes the largest frame.
pub(crate) const SIZES: [usize; 97] = sizes();

/// The smallest of them.
pub(crate) const SMALLEST_SIZE: usize = SIZES[0];

/// The step between sizes of up to twice [`FINE_MAX`].
pub(super) const STEP: usize = 256;

/// Up to here sizes are multiples of [`STEP`]; from here on there are sixteen to each power of two.
const FINE_MAX: usize = 16 * STEP;

/// The largest frame, rounded up to whole words.
const LARGEST: usize = 131_088;

/// What a message is charged for the records that go with it: its slot on the heap, and its places in
/// containers that keep their capacity and may be half empty, on either side of a swap. Checked
/// against the records' sizes where those are known, in `handles/submission.rs`.
pub(crate) const RECORD_COST: usize = 640;

/// What a message is charged beside its own length: its records, and the most that its storage may
/// be longer than its content, as far as that is not a sixteenth of it.
pub(crate) const MESSAGE_COST: usize = RECORD_COST + STEP;

/// What a message is charged beside that whose body is shared: the body lies in a second piece of memory, which may
/// be longer than it too, and has a count of those who have it.
pub(crate) const SHARED_COST: usize = 768;

/// What a message is charged whose body is shared and that has a frame of this length.
#[inline]
pub(crate) fn shared_cost_of(len: usize) -> usize {
    // What storage of the largest sizes may be longer than its content is as much.
    (cost_of(len) + SHARED_COST).min(MESSAGE_COST_MAX)
}

const _: () = assert!(SLOT_COST + 2 * STEP + 2 * size_of::<Shared>() <= SHARED_COST);

/// The most that a message costs which lies in the smallest storage: one with little content.
pub(crate) const SMALLEST_COST: usize = cost_of(STEP);

/// The largest cost of one message in bytes.
pub(crate) const MESSAGE_COST_MAX: usize = cost_of(LARGEST);

/// The bytes that a message is charged whose frame has `len` bytes. What it holds in memory, storage
/// and records, is at most a sixteenth more.
pub(crate) const fn cost_of(len: usize) -> usize {
    len + MESSAGE_COST
}

/// What a small message is charged beside its frame, until it is sent or returned, that was posted by value: it lies
/// among others then, in a run, and has records of its own only where it lies alone. Checked against their sizes where
/// those are known, in `protocol/outgoing.rs`.
pub(crate) const QUEUED_COST: usize = 384;

/// The bytes that a message is charged that was posted by value and whose frame has `len` bytes, until it is sent. Where
/// it is returned it gets storage and a record of its own, and is charged as [any other](cost_of).
pub(crate) const fn queued_cost_of(len: usize) -> usize {
    queued_cost_of_many(1, len)
}

/// What so many of them are charged together whose frames have `bytes` bytes.
pub(crate) const fn queued_cost_of_many(messages: u32, bytes: usize) -> usize {
    bytes + messages as usize * QUEUED_COST
}

/// The smallest size that holds `len` bytes, as an index into [`SIZES`].
///
/// # Panics
///
/// Panics if `len` is more than the largest frame: lengths are checked before.
#[inline]
pub(crate) fn size_for(len: usize) -> usize {
    assert!(len <= LARGEST, "no frame is longer than the largest size");
    let last = len.saturating_sub(1);
    if last < FINE_MAX {
        return last / STEP;
    }
    // Which sixteenth of which power of two the last byte lies in, counted on from the fine sizes.
    let octave = last.ilog2() - FINE_MAX.ilog2();
    let sixteenth = last >> (last.ilog2() - 4);
    octave as usize * 16 + sixteenth
}

const fn sizes() -> [usize; 97] {
    let mut sizes = [LARGEST; 97];
    let mut at = 0;
    while at < 96 {
        sizes[at] = if at < 16 {
            (at + 1) * STEP
        } else {
            (at % 16 + 17) * (STEP << (at / 16 - 1))
        };
        at += 1;
    }
    sizes
}
