//! Counting allocations, in a program built with the feature `allocations`. One built without it
//! measures times: counting would cost those most who allocate most.

#[cfg(feature = "allocations")]
mod counting {
    use std::alloc::System;

    use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    pub fn so_far() -> Option<u64> {
        let stats = ALLOCATOR.stats();
        Some((stats.allocations + stats.reallocations) as u64)
    }
}

#[cfg(not(feature = "allocations"))]
mod counting {
    pub fn so_far() -> Option<u64> {
        None
    }
}

/// Allocations of this process by Rust code; those of C libraries are not seen.
pub use counting::so_far;
