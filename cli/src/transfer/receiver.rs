//! Receives files on any number of connections at the same time.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ampe::{Address, Channel, Closed, Event, Hello, ListenOptions, Post};

use super::connection::{Common, Connection, Report, Target, Work};
use super::protocol::{self, Demand, Role};
use crate::error::Failure;
use crate::listen::Place;
use crate::listeners::Listeners;
use crate::output;
use crate::patience::Patience;
use crate::progress::Progress;
use crate::session::{STRANGER, Session};

/// Connections served at the same time: each has a thread. Others wait until one of them ends.
const SERVED_MOST: usize = 64;

/// More events than the engine's budget holds: who has handled as many has seen all that had come.
const EVENTS_MOST: usize = 100_000;

/// How often strangers are looked for.
const STRANGERS: Duration = Duration::from_secs(2);

/// What a receiver yields.
pub(crate) enum Happening {
    /// A listener listens here.
    Listening(Address),
    /// A connection reports.
    Report(Report),
    /// No connection exists, and none came in time.
    NobodyCame,
    /// Somebody notified the group.
    Woken,
}

/// A receiver with its connections. Dropped, it removes what it was receiving.
pub(crate) struct Receiver {
    // The connections end before the session does.
    connections: HashMap<Channel, Served>,
    /// Senders that wait until one of the others has ended.
    waiting: VecDeque<Hello>,
    listeners: Listeners,
    reports: mpsc::Receiver<Report>,
    common: Common,
    session: Session,
    timeout: Duration,
    look: Look,
    once: bool,
    /// For the first connection, if there is to be one only and it has not come.
    coming: Option<Patience>,
    /// Whether a connection was taken: the last one, if there is to be one only.
    is_taken: bool,
    /// Whether strangers were told of.
    has_told: bool,
}

struct Served {
    connection: Connection,
    silence: Patience,
}

impl Receiver {
    pub(crate) fn new(
        session: Session,
        target: Target,
        progress: Progress,
        timeout: Duration,
    ) -> Receiver {
        let (sender, reports) = mpsc::channel();
        let common = Common {
            group: session.group().clone(),
            target,
            reports: sender,
            progress,
        };
        Receiver {
            connections: HashMap::new(),
            waiting: VecDeque::new(),
            listeners: Listeners::default(),
            reports,
            common,
            session,
            timeout,
            look: Look::at(Instant::now()),
            once: false,
            coming: None,
            is_taken: false,
            has_told: false,
        }
    }

    /// Takes one connection only, and waits no longer for it than this.
    pub(crate) fn once(mut self, within: Option<Duration>) -> Receiver {
        self.once = true;
        self.coming = within.map(|within| Patience::new(within, Instant::now()));
        self
    }

    /// How it listens, from now on.
    pub(crate) fn listening_with(mut self, options: ListenOptions) -> Receiver {
        self.listeners = Listeners::with(options);
        self
    }

    pub(crate) fn listen(&mut self, place: Place) -> Result<(), Failure> {
        self.listeners.listen(&self.common.group, place)
    }

    pub(crate) fn group(&self) -> &ampe::ChannelGroup {
        &self.common.group
    }

    /// The next happening.
    pub(crate) fn next(&mut self) -> Result<Happening, Failure> {
        loop {
            if let Ok(report) = self.reports.try_recv() {
                if let Report::Ended(ended) = &report {
                    self.connections.remove(&ended.channel);
                    self.serve_waiting();
                }
                return Ok(Happening::Report(report));
            }
            match self.session.next(Some(self.look.at))? {
                Some(Event::Notified(_)) => return Ok(Happening::Woken),
                Some(event) => {
                    if let Some(address) = self.on_event(event)? {
                        return Ok(Happening::Listening(address));
                    }
                    if !self.look.is_due_behind_event(Instant::now()) {
                        continue;
                    }
                }
                None => {}
            }
            // All that had come until then was handled.
            if self.look_for_silence(Instant::now()) {
                return Ok(Happening::NobodyCame);
            }
        }
    }

    /// Disconnects who said nothing for too long, while we waited for it and not it for us. Whether
    /// nobody came at all.
    fn look_for_silence(&mut self, now: Instant) -> bool {
        self.tell_strangers();
        self.look = Look::behind(now);
        for (&channel, served) in &mut self.connections {
            if served.is_silent(now) {
                // Refused if it has ended by itself.
                let _ = self.common.group.post(Post::abort(channel));
                served.silence.renew(now);
            }
            self.look.no_later(served.silence.next_look(now));
        }
        let Some(coming) = self.coming.as_mut().filter(|_| !self.is_taken) else {
            return false;
        };
        coming.look(now);
        self.look.no_later(coming.next_look(now));
        coming.is_over()
    }

    /// Says once that there are strangers.
    fn tell_strangers(&mut self) {
        if !self.has_told && self.session.strangers() > 0 {
            self.has_told = true;
            self.common.progress.note(STRANGER);
        }
    }

    fn on_event(&mut self, event: Event) -> Result<Option<Address>, Failure> {
        match event {
            Event::Listening(listening) => return Ok(Some(listening.address().clone())),
            Event::Hello(hello) => self.on_hello(hello),
            // Answered here, without the way over a thread: it measures the round trip.
            Event::Request(request)
                if Demand::read(request.text_headers()) == Some(Demand::Echo) =>
            {
                let channel = request.channel();
                self.heard(channel);
                if self.common.group.post(request.echo()).is_err() {
                    // Whoever reads no answers is let go.
                    let _ = self.common.group.post(Post::abort(channel));
                }
            }
            Event::Request(request) => self.give(request.channel(), Work::Request(request)),
            Event::Signal(signal) => self.give(signal.channel(), Work::Content(signal)),
            Event::Bye(bye) => self.give(bye.channel(), Work::Bye(bye)),
            Event::Closed(closed) => self.on_closed(closed)?,
            // Returned, ByeResponse, ByeSignal: the `Closed` that follows says enough.
            _ => {}
        }
        Ok(None)
    }

    fn on_hello(&mut self, hello: Hello) {
        let checked = protocol::check_hello(hello.text_headers(), Role::Sender)
            .map_err(|what| format!("this is a receiver of files and {what}: use `ampe send`"));
        let checked = checked.and_then(|()| {
            if self.once && self.is_taken {
                return Err("this receiver takes one connection only: start another".to_owned());
            }
            Ok(())
        });
        match checked {
            Ok(()) if self.connections.len() >= SERVED_MOST => self.waiting.push_back(hello),
            Ok(()) => self.serve(hello),
            Err(why) => self.refuse(hello, &why),
        }
    }

    fn serve(&mut self, hello: Hello) {
        let channel = hello.channel();
        let peer = output::shown(hello.peer());
        let announced = protocol::announced(hello.text_headers());
        let no_space = match (announced, &self.common.target) {
            (Some(size), Target::Directory(directory)) => directory.check_space(size).err(),
            _ => None,
        };
        let spawned = Connection::spawn(self.common.clone(), channel, peer, no_space.as_deref());
        let connection = match spawned {
            Ok(connection) => connection,
            Err(error) => {
                let why = format!("no thread can be started: {error}: try later");
                return self.refuse(hello, &why);
            }
        };
        self.is_taken = true;
        let now = Instant::now();
        let silence = Patience::new(self.timeout, now);
        self.look.no_later(silence.next_look(now));
        let served = Served {
            connection,
            silence,
        };
        self.connections.insert(channel, served);
        let answer = protocol::hello(self.common.group.message(), Role::Receiver);
        let answer = protocol::object(answer, no_space.as_deref());
        // Refused if the channel has ended, or has room for not even one answer; then its silence
        // ends it.
        let _ = self.common.group.post(hello.accept(answer));
    }

    fn refuse(&mut self, hello: Hello, why: &str) {
        let peer = output::shown(hello.peer());
        self.common.progress.note(&format!("refused {peer}: {why}"));
        // As above: who has no room for it has ended, or reads nothing.
        let _ = self.common.group.post(hello.refuse(why));
    }

    fn serve_waiting(&mut self) {
        while self.connections.len() < SERVED_MOST
            && let Some(hello) = self.waiting.pop_front()
        {
            self.serve(hello);
        }
    }

    fn on_closed(&mut self, closed: Closed) -> Result<(), Failure> {
        self.listeners.check(&closed)?;
        self.waiting
            .retain(|hello| hello.channel() != closed.channel());
        self.give(closed.channel(), Work::Closed(closed));
        Ok(())
    }

    fn heard(&mut self, channel: Channel) {
        if let Some(served) = self.connections.get_mut(&channel) {
            served.silence.renew(Instant::now());
        }
    }

    fn give(&mut self, channel: Channel, work: Work) {
        // Others were refused at their Hello.
        if let Some(served) = self.connections.get_mut(&channel) {
            served.silence.renew(Instant::now());
            served.connection.give(work);
        }
    }

    /// Ends all connections; what was posted may still be sent for as long as `within`.
    pub(crate) fn end(self, within: Duration) {
        let mut connections = self.connections;
        connections.values_mut().for_each(|of| of.connection.end());
        drop(connections);
        self.session.end(within);
    }
}

/// When silence is looked for next, once all that has come by then was handled.
struct Look {
    at: Instant,
    /// Events handled since that was due.
    overdue: usize,
}

impl Look {
    fn at(at: Instant) -> Look {
        Look { at, overdue: 0 }
    }

    /// The one behind a look, if nothing has it come sooner.
    fn behind(look: Instant) -> Look {
        Look::at(look + STRANGERS)
    }

    fn no_later(&mut self, than: Instant) {
        self.at = self.at.min(than);
    }

    /// Whether it is due though events come without end, one of which was handled now.
    fn is_due_behind_event(&mut self, now: Instant) -> bool {
        self.overdue += usize::from(now >= self.at);
        self.overdue >= EVENTS_MOST
    }
}

impl Served {
    /// Whether it said nothing for too long. One that waits for our disk is not silent.
    fn is_silent(&mut self, now: Instant) -> bool {
        if self.connection.is_idle() {
            self.silence.look(now);
        } else {
            self.silence.renew(now);
        }
        self.silence.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a connection is looked at until it counts as silent.
    fn silent_after(served: &mut Served, mut now: Instant) -> Duration {
        let begun = now;
        for _ in 0..100 {
            now = served.silence.next_look(now);
            if served.is_silent(now) {
                return now - begun;
            }
        }
        Duration::MAX
    }

    #[test]
    fn silence_is_looked_for_in_time_and_behind_the_events_that_had_come_by_then() {
        let now = Instant::now();
        let mut look = Look::behind(now);
        let just_before = now + STRANGERS - Duration::from_nanos(1);
        for _ in 0..2 * EVENTS_MOST {
            assert!(!look.is_due_behind_event(just_before));
        }
        look.no_later(now + 2 * STRANGERS);
        for handled in 1..=EVENTS_MOST {
            let is_due = look.is_due_behind_event(now + STRANGERS);
            assert_eq!(is_due, handled == EVENTS_MOST, "{handled}");
        }
        look.no_later(now);
        assert_eq!(look.at, now);
    }

    #[test]
    fn who_waits_for_our_disk_is_not_silent_and_its_time_begins_anew_behind_it() {
        const LIMIT: Duration = Duration::from_secs(8);
        let mut now = Instant::now();
        let mut served = Served {
            connection: Connection::that_is_busy(),
            silence: Patience::new(LIMIT, now),
        };
        assert_eq!(silent_after(&mut served, now), Duration::MAX);
        now += 1000 * LIMIT;
        assert!(!served.is_silent(now));
        served.connection.is_done();
        assert_eq!(silent_after(&mut served, now), LIMIT);
    }
}
