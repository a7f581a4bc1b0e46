//! Receives files on any number of connections at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ampe::{Address, Channel, Closed, Event, Hello, Post};

use super::connection::{Common, Connection, Report, Work};
use super::directory::Directory;
use super::protocol::{self, Demand, Role};
use crate::advice;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;

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
    listeners: HashMap<Channel, Address>,
    reports: mpsc::Receiver<Report>,
    common: Common,
    session: Session,
    timeout: Duration,
    /// When silence was last looked for.
    looked: Instant,
    once: bool,
    /// Whether a connection was taken: the last one, if there is to be one only.
    is_taken: bool,
}

struct Served {
    connection: Connection,
    heard: Instant,
}

impl Receiver {
    pub(crate) fn new(
        session: Session,
        directory: Directory,
        progress: Progress,
        timeout: Duration,
    ) -> Receiver {
        let (sender, reports) = mpsc::channel();
        let common = Common {
            group: session.group().clone(),
            directory: Arc::new(directory),
            reports: sender,
            progress,
        };
        Receiver {
            connections: HashMap::new(),
            listeners: HashMap::new(),
            reports,
            common,
            session,
            timeout,
            looked: Instant::now(),
            is_taken: false,
            once: false,
        }
    }

    /// Takes one connection only.
    pub(crate) fn once(mut self) -> Receiver {
        self.once = true;
        self
    }

    pub(crate) fn listen(&mut self, address: &Address) -> Result<(), Failure> {
        let channel = self
            .common
            .group
            .listen(address)
            .map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
        self.listeners.insert(channel, address.clone());
        Ok(())
    }

    pub(crate) fn group(&self) -> &ampe::ChannelGroup {
        &self.common.group
    }

    /// The next happening. While no connection exists, one is waited for until `given_up`.
    pub(crate) fn next(&mut self, given_up: Option<Instant>) -> Result<Happening, Failure> {
        loop {
            if let Ok(report) = self.reports.try_recv() {
                if let Report::Ended { channel, .. } = &report {
                    self.connections.remove(channel);
                }
                return Ok(Happening::Report(report));
            }
            let look = self.end_silent();
            match self.session.next(look.or(given_up))? {
                Some(Event::Notified(_)) => return Ok(Happening::Woken),
                Some(event) => {
                    if let Some(address) = self.on_event(event)? {
                        return Ok(Happening::Listening(address));
                    }
                }
                None if look.is_none() => return Ok(Happening::NobodyCame),
                None => {}
            }
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
        let channel = hello.channel();
        let peer = output::shown(hello.peer());
        let checked = protocol::check_hello(hello.text_headers(), Role::Sender)
            .map_err(|what| format!("this is a receiver of files and {what}: use `ampe send`"));
        let checked = checked.and_then(|()| {
            if self.once && self.is_taken {
                return Err("this receiver takes one connection only: start another".to_owned());
            }
            Connection::spawn(self.common.clone(), channel, peer.clone())
                .map_err(|error| format!("no thread can be started: {error}: try later"))
        });
        let answer = match checked {
            Ok(connection) => {
                self.is_taken = true;
                let heard = Instant::now();
                self.connections
                    .insert(channel, Served { connection, heard });
                hello.accept(protocol::hello(self.common.group.message(), Role::Receiver))
            }
            Err(why) => {
                self.common.progress.note(&format!("refused {peer}: {why}"));
                hello.refuse(&why)
            }
        };
        // Refused if the channel has ended, or has room for not even one answer; then its silence
        // ends it.
        let _ = self.common.group.post(answer);
    }

    fn on_closed(&mut self, closed: Closed) -> Result<(), Failure> {
        if let Some(address) = self.listeners.get(&closed.channel()) {
            return Err(Failure::Failed(advice::listener(address, &closed)));
        }
        self.give(closed.channel(), Work::Closed(closed));
        Ok(())
    }

    fn heard(&mut self, channel: Channel) {
        if let Some(served) = self.connections.get_mut(&channel) {
            served.heard = Instant::now();
        }
    }

    fn give(&mut self, channel: Channel, work: Work) {
        // Others were refused at their Hello.
        if let Some(served) = self.connections.get_mut(&channel) {
            served.heard = Instant::now();
            served.connection.give(work);
        }
    }

    /// Disconnects who said nothing for too long, while we waited for it and not it for us. Says
    /// when to look again: sooner than it matters, seldom enough not to.
    fn end_silent(&mut self) -> Option<Instant> {
        let pause = self.timeout / 4;
        let now = Instant::now();
        if self.connections.is_empty() {
            return None;
        }
        if now < self.looked + pause {
            return Some(self.looked + pause);
        }
        self.looked = now;
        for (&channel, served) in &mut self.connections {
            if !served.connection.is_idle() {
                served.heard = now;
            } else if now.duration_since(served.heard) >= self.timeout {
                // Refused if it has ended by itself.
                let _ = self.common.group.post(Post::abort(channel));
            }
        }
        Some(now + pause)
    }

    /// Ends all connections; what was posted may still be sent for as long as `within`.
    pub(crate) fn end(self, within: Duration) {
        drop(self.connections);
        self.session.end(within);
    }
}
