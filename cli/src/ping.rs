//! `ampe ping`.

use std::time::Duration;

use ampe::{Account, Options};
use serde_json::json;

use crate::args::Ping;
use crate::error::Failure;
use crate::link::Link;
use crate::output;
use crate::progress::Progress;
use crate::roundtrip::{self, Plan, RoundTrips};
use crate::session::Session;

pub(crate) fn run(arguments: &Ping) -> Result<(), Failure> {
    let security = arguments.secure.dialling(&arguments.to)?;
    let mut options = Options::default();
    options.connect_timeout = arguments.timeout;
    let mut session = Session::start_with(options, security)?;
    let mut times = RoundTrips::new();
    let result = measure(&mut session, arguments, &mut times);
    let account = session.end(Duration::ZERO);
    // One that was ended before its time says what it measured until then.
    if result.is_ok() || (matches!(result, Err(Failure::Interrupted)) && times.count() > 0) {
        tell(arguments, &times, account)?;
        return result.map_err(|_| Failure::Stopped);
    }
    result
}

fn measure(session: &mut Session, arguments: &Ping, times: &mut RoundTrips) -> Result<(), Failure> {
    let hello = session.group().message();
    let mut link = Link::open(session, &arguments.to, hello, arguments.timeout)?;
    let bar = Progress::new(arguments.quiet).steps("round trips", arguments.count);
    let plan = Plan {
        count: arguments.count,
        size: usize::from(arguments.size),
        interval: arguments.interval,
    };
    let measured = roundtrip::measure(&mut link, plan, |message| message, &bar, times);
    bar.finish_and_clear();
    measured?;
    link.finish().map(drop)
}

fn tell(arguments: &Ping, times: &RoundTrips, account: Option<Account>) -> Result<(), Failure> {
    if arguments.json {
        return output::json(&json!({
            "to": arguments.to.to_string(),
            "count": times.count(),
            "size": arguments.size,
            "rtt_us": times.json(),
            "account": account.map(output::account),
        }));
    }
    output::line(format!(
        "{} round trips of {} bytes to {}, in microseconds: min {:.1}, p50 {:.1}, p90 {:.1}, \
         p99 {:.1}, max {:.1}",
        times.count(),
        arguments.size,
        arguments.to,
        times.min(),
        times.quantile(0.5),
        times.quantile(0.9),
        times.quantile(0.99),
        times.max(),
    ))
}
