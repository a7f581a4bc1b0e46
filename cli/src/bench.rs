//! `ampe bench`: many Requests at the same time, at a rate or as fast as they are answered.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ampe::{Account, Channel, ChannelGroup, Event, Options, Post, PostError, Reason};
use serde_json::json;

use crate::advice;
use crate::args::Bench;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::roundtrip::RoundTrips;
use crate::session::Session;

/// Ids of ours begin here: far from those that an engine gives by itself.
const FIRST_ID: u64 = 1 << 32;

pub(crate) fn run(arguments: &Bench) -> Result<(), Failure> {
    let security = arguments.secure.dialling(&arguments.to)?;
    let mut options = Options::default();
    options.connect_timeout = arguments.timeout;
    let mut session = Session::start_with(options, security)?;
    let mut bench = Measuring::new(arguments, session.group().clone());
    let result = bench.measure(&mut session);
    let account = session.end(Duration::ZERO).unwrap_or_default();
    let has_measured = bench.times.count() > 0;
    if result.is_ok() || (matches!(result, Err(Failure::Interrupted)) && has_measured) {
        bench.tell(account)?;
        return result.map_err(|_| Failure::Stopped);
    }
    result
}

/// A measurement under way.
struct Measuring<'a> {
    arguments: &'a Bench,
    group: ChannelGroup,
    body: Vec<u8>,
    lanes: Vec<Lane>,
    /// Which lane a channel is.
    by_channel: HashMap<Channel, usize>,
    started: Instant,
    /// How many Requests there were to be until now.
    made: u64,
    /// When each Request that waits for its answer was to be sent.
    open: HashMap<u64, Instant>,
    times: RoundTrips,
    /// From the start to the last answer.
    took: Duration,
    /// Requests that could not be posted when they were to be.
    late: u64,
}

/// A connection.
struct Lane {
    channel: Channel,
    /// Requests that there was no room for, with the time when they were to be sent.
    waiting: VecDeque<(u64, Instant)>,
    /// How many wait for their answers.
    open: u64,
    is_full: bool,
}

impl<'a> Measuring<'a> {
    fn new(arguments: &'a Bench, group: ChannelGroup) -> Self {
        Measuring {
            arguments,
            group,
            body: (0..=u8::MAX).cycle().take(arguments.size.into()).collect(),
            lanes: Vec::new(),
            by_channel: HashMap::new(),
            started: Instant::now(),
            made: 0,
            open: HashMap::new(),
            times: RoundTrips::new(),
            took: Duration::ZERO,
            late: 0,
        }
    }

    fn measure(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.connect(session)?;
        let seconds = self.arguments.duration.as_secs();
        let bar = Progress::new(self.arguments.quiet).steps("seconds", seconds);
        self.started = Instant::now();
        let end = self.started + self.arguments.duration;
        let mut events = Vec::new();
        let mut heard = Instant::now();
        loop {
            let now = Instant::now();
            let is_over = now >= end;
            if !is_over {
                self.make_due(now);
            }
            self.post_waiting()?;
            if is_over && self.is_done() {
                break;
            }
            let deadline = match is_over {
                true => heard + self.arguments.timeout,
                false => self.next_due().min(end),
            };
            session.next_many(&mut events, Some(deadline))?;
            if !events.is_empty() {
                heard = Instant::now();
            } else if is_over {
                return Err(self.silence());
            }
            for event in events.drain(..) {
                self.on_event(event)?;
            }
            bar.set_position(self.started.elapsed().as_secs());
        }
        bar.finish_and_clear();
        self.say_goodbye(session)
    }

    fn connect(&mut self, session: &mut Session) -> Result<(), Failure> {
        for _ in 0..self.arguments.connections {
            let hello = self.group.message().hello(&self.arguments.to);
            let posted = self.group.post(hello);
            let posted =
                posted.map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
            self.by_channel.insert(posted.channel, self.lanes.len());
            self.lanes.push(Lane {
                channel: posted.channel,
                waiting: VecDeque::new(),
                open: 0,
                is_full: false,
            });
        }
        let deadline = Instant::now() + self.arguments.timeout;
        let mut connected = 0;
        while connected < self.lanes.len() {
            match session.next(Some(deadline))? {
                Some(Event::Accepted(_)) => connected += 1,
                Some(event) => self.on_event(event)?,
                None => return Err(self.silence()),
            }
        }
        Ok(())
    }

    /// Makes the Requests that are due. At a rate each is due at a time of its own, whatever became of
    /// those before; without one, when an answer has come.
    fn make_due(&mut self, now: Instant) {
        let lanes = self.lanes.len() as u64;
        if let Some(rate) = self.arguments.rate {
            loop {
                let due = self.started + nth(self.made, rate);
                if due > now {
                    return;
                }
                let lane = usize::try_from(self.made % lanes).unwrap_or(0);
                self.make(lane, due);
            }
        }
        for lane in 0..self.lanes.len() {
            let window = self.arguments.window;
            while self.lanes[lane].open + (self.lanes[lane].waiting.len() as u64) < window {
                self.make(lane, now);
            }
        }
    }

    fn make(&mut self, lane: usize, due: Instant) {
        self.lanes[lane].waiting.push_back((self.made, due));
        self.made += 1;
    }

    /// When something is to be made next, at a rate.
    fn next_due(&self) -> Instant {
        match self.arguments.rate {
            Some(rate) => self.started + nth(self.made, rate),
            None => Instant::now() + Duration::from_millis(100),
        }
    }

    fn post_waiting(&mut self) -> Result<(), Failure> {
        for lane in &mut self.lanes {
            while !lane.is_full
                && let Some(&(number, due)) = lane.waiting.front()
            {
                let message = self.group.message().with_body(&self.body);
                let message = message.map_err(|error| Failure::Usage(error.to_string()))?;
                let request = message.request(lane.channel).with_id(FIRST_ID + number);
                match self.group.post(request) {
                    Ok(_) => {}
                    Err(refused) if matches!(refused.why, PostError::Full(_)) => {
                        lane.is_full = true;
                        self.late += lane.waiting.len() as u64;
                        break;
                    }
                    // Its `Closed` says why.
                    Err(_) => break,
                }
                lane.waiting.pop_front();
                lane.open += 1;
                self.open.insert(FIRST_ID + number, due);
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        let lane = event.channel().and_then(|of| self.by_channel.get(&of));
        let lane = lane.map(|&lane| &mut self.lanes[lane]);
        match (event, lane) {
            (Event::Room(_), Some(lane)) => lane.is_full = false,
            (Event::Response(answer), Some(lane)) if !answer.has_more() => {
                if let Some(due) = self.open.remove(&answer.id()) {
                    lane.open -= 1;
                    self.times.record(due.elapsed());
                    self.took = self.started.elapsed();
                }
            }
            (Event::Closed(closed), Some(_)) => {
                let said = advice::connection(&self.arguments.to, &closed, None);
                return Err(Failure::Failed(said));
            }
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.open.is_empty() && self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    /// Everything sent is confirmed by it.
    fn say_goodbye(&mut self, session: &mut Session) -> Result<(), Failure> {
        let mut byes: VecDeque<Post> = VecDeque::new();
        for lane in &self.lanes {
            byes.push_back(self.group.message().bye(lane.channel));
        }
        let _ = self.group.post_many(&mut byes, &mut Vec::new());
        let deadline = Instant::now() + self.arguments.timeout;
        let mut closed = 0;
        while closed < self.lanes.len() {
            match session.next(Some(deadline))? {
                Some(Event::Closed(end)) if end.reason() == Reason::Bye => closed += 1,
                Some(Event::Closed(end)) => {
                    let said = advice::connection(&self.arguments.to, &end, None);
                    return Err(Failure::Failed(said));
                }
                Some(_) => {}
                None => return Err(self.silence()),
            }
        }
        Ok(())
    }

    fn silence(&self) -> Failure {
        Failure::Late(format!(
            "{} gave no answer for {} s: see that it answers Requests, as `ampe echo` does, or wait \
             longer with --timeout",
            output::shown(&self.arguments.to),
            self.arguments.timeout.as_secs_f64()
        ))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with a few digits"
    )]
    fn tell(&self, account: Account) -> Result<(), Failure> {
        let Bench {
            to,
            rate,
            size,
            connections,
            window,
            json: is_json,
            ..
        } = self.arguments;
        let times = &self.times;
        let answered = times.count() as f64 / self.took.as_secs_f64().max(1e-9);
        if *is_json {
            let window = rate.is_none().then_some(window);
            return output::json(&json!({
                "to": to.to_string(),
                "rate": rate,
                "window": window,
                "size": size,
                "connections": connections,
                "seconds": self.took.as_secs_f64(),
                "answers": times.count(),
                "answers_per_s": answered,
                "waited_for_room": self.late,
                "latency_us": times.json(),
                "account": output::account(account),
                "peer": { "received": account.confirmed, "sent": account.received },
            }));
        }
        let how = match rate {
            Some(rate) => format!("{rate}/s, from when each was to be sent"),
            None => format!("{window} at a time on each, from when each was posted"),
        };
        output::line(format!(
            "{connections} connections, {size} bytes: {how}\n\
             {} answers in {:.2} s: {answered:.0}/s",
            times.count(),
            self.took.as_secs_f64(),
        ))?;
        output::line(format!(
            "in µs: p50 {:.0}  p90 {:.0}  p99 {:.0}\n       p99.9 {:.0}  max {:.0}",
            times.quantile(0.5),
            times.quantile(0.9),
            times.quantile(0.99),
            times.quantile(0.999),
            times.max(),
        ))?;
        let balance = output::balance(&account);
        output::line(format!(
            "here {balance}\nthere received {}, sent {}",
            account.confirmed, account.received
        ))
    }
}

/// When the Request with this number is to be sent, from the start.
fn nth(number: u64, rate: u64) -> Duration {
    let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_equal_distances_however_many_there_are() {
        assert_eq!(nth(0, 3), Duration::ZERO);
        assert_eq!(nth(3, 3), Duration::from_secs(1));
        assert_eq!(nth(50_000_000_000, 50_000), Duration::from_secs(1_000_000));
    }
}
