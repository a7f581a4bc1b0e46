//! Round trips, one after the other, into a histogram.

use std::time::{Duration, Instant};

use ampe::Message;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::link::Link;
use crate::output;

/// Times of round trips.
pub(crate) struct RoundTrips {
    /// In nanoseconds.
    histogram: Histogram<u64>,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) count: u64,
    /// Bytes in each body.
    pub(crate) size: usize,
    /// How long to wait between two round trips.
    pub(crate) interval: Option<Duration>,
}

/// Posts `count` Requests with a body of `size` bytes and waits for each Response before the next,
/// after one that is not counted: it may include the connecting. What was measured is in `times`, also
/// if it fails.
pub(crate) fn measure(
    link: &mut Link<'_>,
    plan: Plan,
    mark: impl Fn(Message) -> Message,
    bar: &ProgressBar,
    times: &mut RoundTrips,
) -> Result<(), Failure> {
    let Plan {
        count,
        size,
        interval,
    } = plan;
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
    for turn in 0..=count {
        let message = mark(link.group().message());
        let message = message
            .with_body(&body)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let request = message.request(link.channel());
        let started = Instant::now();
        let id = link.post(request)?.id;
        let response = link.response(id)?;
        let took = started.elapsed();
        if response.body() != body {
            return Err(Failure::new(format!(
                "{} answered with another body than was sent: give the address of `ampe echo`",
                output::shown(link.to())
            )));
        }
        if turn > 0 {
            times.record(took);
            bar.inc(1);
        }
        if let Some(interval) = interval.filter(|_| turn < count) {
            link.pause(started + interval)?;
        }
    }
    Ok(())
}

impl RoundTrips {
    pub(crate) fn new() -> RoundTrips {
        // Up to a minute, to three digits.
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3);
        let mut histogram = histogram.expect("the bounds are in order and the digits are few");
        histogram.auto(true);
        RoundTrips { histogram }
    }

    pub(crate) fn record(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds);
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn min(&self) -> f64 {
        microseconds(self.histogram.min())
    }

    pub(crate) fn max(&self) -> f64 {
        microseconds(self.histogram.max())
    }

    /// The time that this share of the round trips did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        microseconds(self.histogram.value_at_quantile(share))
    }

    /// In microseconds.
    pub(crate) fn json(&self) -> Value {
        json!({
            "min": self.min(),
            "p50": self.quantile(0.5),
            "p90": self.quantile(0.9),
            "p99": self.quantile(0.99),
            "p99.9": self.quantile(0.999),
            "max": self.max(),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the histogram keeps three digits"
)]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}
