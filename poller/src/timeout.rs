//! Timeouts that are never cut short.

use std::time::{Duration, Instant};

/// When a wait has to end, if it has to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    Never,
    /// Without asking the clock: a wait that does not sleep is the hot path of a busy loop.
    Now,
    At(Instant),
}

impl Deadline {
    pub(crate) fn after(timeout: Option<Duration>) -> Deadline {
        match timeout {
            None => Deadline::Never,
            Some(Duration::ZERO) => Deadline::Now,
            // A time past the end of the clock will not come.
            Some(timeout) => Instant::now()
                .checked_add(timeout)
                .map_or(Deadline::Never, Deadline::At),
        }
    }

    /// How long there is yet to sleep; `None` without end.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Deadline::Never => None,
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
        }
    }
}

/// The longest sleep that every system takes in one call. The poller sleeps again if it must.
#[cfg(any(unix, test))]
pub(crate) const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Rounds up to the whole milliseconds in which systems count, so that no wait ends early.
#[cfg(any(unix, test))]
pub(crate) fn round_up(timeout: Duration) -> Duration {
    if timeout >= LONGEST {
        return LONGEST;
    }
    let whole = Duration::new(timeout.as_secs(), timeout.subsec_millis() * 1_000_000);
    if whole < timeout {
        whole + Duration::from_millis(1)
    } else {
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_never_shortens() {
        for (given, rounded) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_nanos(1), Duration::from_millis(1)),
            (Duration::from_micros(999), Duration::from_millis(1)),
            (Duration::from_millis(1), Duration::from_millis(1)),
            (Duration::from_nanos(1_000_001), Duration::from_millis(2)),
            (Duration::from_nanos(1_999_999_999), Duration::from_secs(2)),
        ] {
            assert_eq!(round_up(given), rounded, "{given:?}");
        }
    }

    #[test]
    fn rounding_stops_at_what_fits_in_one_call() {
        assert_eq!(round_up(Duration::MAX), LONGEST);
        assert_eq!(round_up(LONGEST - Duration::from_nanos(1)), LONGEST);
    }

    #[test]
    fn a_deadline_past_the_end_of_the_clock_never_comes() {
        assert_eq!(Deadline::after(Some(Duration::MAX)).remaining(), None);
    }
}
