//! Time limits that count only time in which one really waited.

use std::time::{Duration, Instant};

/// In how many looks a limit is spent at least.
const LOOKS: u32 = 4;

/// A time limit for one step as a whole, whatever else happens meanwhile.
///
/// Between two looks a quarter of it passes at most. So a process that was stopped, or a thread that
/// was held up, looks several times more before it says that nothing came: what came meanwhile is
/// found.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    left: Duration,
    looked: Instant,
}

impl Patience {
    pub(crate) fn new(limit: Duration, now: Instant) -> Patience {
        Patience {
            limit,
            left: limit,
            looked: now,
        }
    }

    /// Until when to wait before the next look.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        now + self.left.min(self.longest())
    }

    /// A look: counts what has passed since the last one.
    pub(crate) fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.looked);
        self.left = self.left.saturating_sub(passed.min(self.longest()));
        self.looked = now;
    }

    /// What was waited for happened: the limit begins anew.
    pub(crate) fn renew(&mut self, now: Instant) {
        *self = Patience::new(self.limit, now);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    fn longest(&self) -> Duration {
        // Rounded up, so that this many are enough.
        self.limit / LOOKS + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    fn waits_out(patience: &mut Patience, mut now: Instant) -> Duration {
        let begun = now;
        while !patience.is_over() {
            now = patience.next_look(now);
            patience.look(now);
        }
        now - begun
    }

    #[test]
    fn all_of_it_is_waited_for() {
        let now = Instant::now();
        for limit in [LIMIT, Duration::from_millis(1), Duration::from_nanos(3)] {
            let mut patience = Patience::new(limit, now);
            assert_eq!(waits_out(&mut patience, now), limit);
        }
    }

    #[test]
    fn a_time_in_which_nobody_looked_is_no_waiting() {
        let mut now = Instant::now();
        let mut patience = Patience::new(LIMIT, now);
        now += LIMIT * 100;
        patience.look(now);
        assert!(!patience.is_over());
        assert!(waits_out(&mut patience, now) >= LIMIT / 2);
    }

    #[test]
    fn what_happens_meanwhile_does_not_prolong_it_and_what_was_waited_for_does() {
        let mut now = Instant::now();
        let mut patience = Patience::new(LIMIT, now);
        for _ in 0..7 {
            now += Duration::from_secs(1);
            patience.look(now);
        }
        assert!(!patience.is_over());
        patience.look(now + Duration::from_secs(1));
        assert!(patience.is_over());
        patience.renew(now);
        assert_eq!(waits_out(&mut patience, now), LIMIT);
    }
}
