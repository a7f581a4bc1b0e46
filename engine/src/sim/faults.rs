//! How often the systems were unkind, by kind.

use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $words:literal,)+) => {
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct Faults {
            $($(#[$doc])* pub(super) $name: u64,)+
        }

        impl Faults {
            pub(super) fn add(&mut self, other: &Faults) {
                $(self.$name += other.$name;)+
            }

            /// Each kind, with how often it was met.
            pub(super) fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($words, self.$name),)+].into_iter()
            }
        }
    };
}

faults! {
    /// Sockets that the poller refused to take in.
    hidden: "sockets hidden from the poller",
    /// Established connections that it refused to poll.
    refused: "connections not polled",
    /// Of these, those for want of memory.
    refused_for_now: "connections not polled for want of memory",
    /// Writes that were refused for want of memory.
    shortages: "writes without memory",
    /// Attempts and listeners that it refused to poll.
    refused_others: "attempts and listeners not polled",
    /// Attempts that it called decided, and were not.
    undecided: "attempts called decided too early",
    /// Attempts that had succeeded when they were closed: others had been faster, for the most part.
    beaten: "attempts that came too late",
    /// Sockets that it called ready, and were not.
    spurious: "sockets called ready too early",
    /// Batches of which it kept a part for the next wait.
    partial: "batches in parts",
    /// Wakes that came later than what was posted.
    late_wakes: "late wakes",
    /// Passes of a thread that wrote what it had posted.
    written_at_once: "passes of threads that posted",
    /// Whiles in which nobody sat.
    left_empty: "empty seats",
    /// Reads and writes that took less than they could.
    cut: "reads and writes cut short",
    /// Reads and writes that would block for no visible reason.
    stalled: "reads and writes that would block",
    /// Accepts that failed.
    accepts: "failed accepts",
    /// Ends of connections whose frames travelled in records.
    secured: "ends of secured connections",
    /// Ends that were given a reset.
    resets: "resets",
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (words, count)) in self.kinds().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{words} {count}")?;
        }
        Ok(())
    }
}
