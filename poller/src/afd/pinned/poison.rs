//! Free slots are poisoned where a memory checker asks for it, since inside of a live block it
//! would see nothing.

use super::{NonNull, PinnedState};

#[cfg(not(ampe_poison))]
pub(super) fn put(_pinned: NonNull<PinnedState>) {}
#[cfg(not(ampe_poison))]
pub(super) fn lift(_pinned: NonNull<PinnedState>) {}

#[cfg(ampe_poison)]
unsafe extern "C" {
    fn __asan_poison_memory_region(address: *const u8, size: usize);
    fn __asan_unpoison_memory_region(address: *const u8, size: usize);
}

#[cfg(ampe_poison)]
pub(super) fn put(pinned: NonNull<PinnedState>) {
    let size = super::offset_of!(PinnedState, ours);
    // SAFETY: the region is the lent half of one slot of an allocated block.
    unsafe { __asan_poison_memory_region(pinned.as_ptr().cast(), size) };
}

#[cfg(ampe_poison)]
pub(super) fn lift(pinned: NonNull<PinnedState>) {
    let size = super::offset_of!(PinnedState, ours);
    // SAFETY: the region is the lent half of one slot of an allocated block.
    unsafe { __asan_unpoison_memory_region(pinned.as_ptr().cast(), size) };
}
