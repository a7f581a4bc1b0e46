//! Round trips: who asks times them.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::body::{SIZE_MIN, Source};
use crate::task::{Measured, Percentiles, Task, Work};

/// Trips that are not counted, until caches and the processors' clocks have settled.
const WARM_UP: u64 = 200;
/// The same where there are pauses between trips, or a stream delays them.
const WARM_UP_OF_FEW: u64 = 10;

/// In nanoseconds; what takes longer counts as this.
const LONGEST: u64 = 60_000_000_000;

/// One asker's trips, one at a time: [`ask`](Trips::ask), send, receive, [`answered`](Trips::answered).
pub struct Trips {
    source: Source,
    histogram: Histogram<u64>,
    warm_up: u64,
    asked: Instant,
    number: [u8; SIZE_MIN],
    size: usize,
    begin: Instant,
}

impl Trips {
    pub fn new(task: &Task) -> Trips {
        Trips {
            source: Source::unhurried(task),
            histogram: Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds"),
            warm_up: if task.work == Work::RoundTrip {
                WARM_UP
            } else {
                WARM_UP_OF_FEW
            },
            asked: Instant::now(),
            number: [0; SIZE_MIN],
            size: task.size,
            begin: Instant::now(),
        }
    }

    /// The body to send now. The trip's time begins before it is filled in.
    #[inline]
    pub fn ask(&mut self) -> Option<&[u8]> {
        self.asked = Instant::now();
        let body = self.source.next()?;
        self.number.copy_from_slice(&body[..SIZE_MIN]);
        Some(body)
    }

    #[inline]
    pub fn answered(&mut self, body: &[u8]) {
        let took = self.asked.elapsed();
        assert_eq!(
            body.len(),
            self.size,
            "an answer has another length than the question"
        );
        assert_eq!(
            body[..SIZE_MIN],
            self.number,
            "an answer is not that of the question"
        );
        if self.source.sent() > self.warm_up {
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.histogram.saturating_record(nanoseconds);
        }
    }

    pub fn measured(&self) -> Measured {
        let quantile = |at| self.histogram.value_at_quantile(at) as f64 / 1e3;
        Measured {
            messages: self.source.sent(),
            seconds: self.begin.elapsed().as_secs_f64(),
            trips: (!self.histogram.is_empty()).then(|| Percentiles {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
            }),
            ..Measured::default()
        }
    }
}
