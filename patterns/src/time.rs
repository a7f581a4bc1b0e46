//! Times that a clock can show.

use std::time::{Duration, Instant};

/// Further away than clocks go is never, and a year will do.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// So long after `now`, or a year where no clock goes so far.
pub(crate) fn after(now: Instant, within: Duration) -> Instant {
    now.checked_add(within).unwrap_or_else(|| now + YEAR)
}
