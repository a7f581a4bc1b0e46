//! How many posts the reactor waits for before it makes a pass, once it has told tasks of something.
//!
//! Tasks that have an answer mostly ask again, one after the other in one thread. A wake by the first of them would
//! have the reactor write its post alone, and the next one's alone; so the one wakes it with whom as many have posted
//! as were told. It sleeps for a tenth of a millisecond at most: some may have nothing to post.

/// So many are waited for at most.
const MOST: usize = 1024;

#[derive(Debug)]
pub(crate) struct Expected {
    posts: usize,
    /// How many have lately come of those that were waited for, and some more.
    trust: usize,
    /// How often in a row next to nothing came.
    failures: u32,
    /// So many times nothing is waited for.
    rest: u32,
    /// The wait for them has lasted as long as it may.
    has_run_out: bool,
}

impl Default for Expected {
    fn default() -> Self {
        Expected {
            posts: 1,
            trust: 2,
            failures: 0,
            rest: 0,
            has_run_out: false,
        }
    }
}

impl Expected {
    /// With so many posts a batch is due.
    pub(crate) fn posts(&self) -> usize {
        self.posts
    }

    /// So many tasks are told. Returns whether more than the first post is waited for.
    pub(crate) fn begin(&mut self, tasks: usize) -> bool {
        (self.posts, self.has_run_out) = (1, false);
        if tasks < 2 {
            return false;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        self.posts = tasks.min(self.trust);
        true
    }

    /// The wait has lasted as long as it may.
    pub(crate) fn run_out(&mut self) {
        self.has_run_out = true;
    }

    /// A batch of so many posts is taken.
    pub(crate) fn end(&mut self, posted: usize) {
        let expected = std::mem::replace(&mut self.posts, 1);
        match posted {
            _ if expected == 1 => {}
            // There was something to read before: that says nothing of what would have come.
            0 | 1 if !self.has_run_out => {}
            0 | 1 => {
                self.trust = 2;
                self.failures = (self.failures + 1).min(10);
                self.rest = 1 << self.failures;
            }
            _ => {
                self.trust = if posted < expected {
                    posted
                } else {
                    expected * 2
                }
                .min(MOST);
                self.failures = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_tasks_post_all_of_them_are_waited_for_before_long() {
        let mut expected = Expected::default();
        let mut waited_for = Vec::new();
        for _ in 0..6 {
            assert!(expected.begin(20));
            waited_for.push(expected.posts());
            expected.end(20);
        }
        assert_eq!(waited_for, [2, 4, 8, 16, 20, 20]);
        assert_eq!(expected.posts(), 1, "and of others the first is enough");
        expected.end(1);
        assert!(!expected.begin(1), "one task may have nobody beside it");
    }

    #[test]
    fn where_some_post_nothing_fewer_are_waited_for_and_where_most_do_next_to_none() {
        let mut expected = Expected::default();
        for _ in 0..6 {
            expected.begin(20);
            expected.end(20);
        }
        expected.begin(20);
        expected.end(7);
        expected.begin(20);
        assert_eq!(expected.posts(), 7);
        expected.end(0);
        expected.begin(20);
        assert_eq!(expected.posts(), 7, "that wait was cut short");
        expected.run_out();
        expected.end(0);
        let waits = (0..2000).filter(|_| {
            let waits = expected.begin(20);
            expected.run_out();
            expected.end(1);
            waits
        });
        assert!(waits.count() < 12);
    }
}
