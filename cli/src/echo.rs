//! `ampe echo`.

use std::time::Duration;

use ampe::{Event, Options, Outbox, Post};
use serde_json::json;

use crate::args::Echo;
use crate::error::Failure;
use crate::listen;
use crate::listeners::Listeners;
use crate::output;
use crate::session::Session;

/// How long the last echoes may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Echo) -> Result<(), Failure> {
    let places = listen::places(&arguments.listen)?;
    let allowed = arguments.allowed.listening(&places)?;
    let secured = arguments.secure.listening(&places)?;
    secured.tell();
    let session = Session::start_with(options(arguments.budget), secured.security());
    let mut session = session.map_err(|failure| match failure {
        Failure::Usage(why) => Failure::Usage(format!("--budget is too small: {why}")),
        failure => failure,
    })?;
    let mut echo = Echoing {
        listeners: Listeners::start(
            session.group(),
            places,
            allowed,
            arguments.ready_file.as_deref(),
        )?,
        outbox: Outbox::new(session.group().clone(), usize::MAX),
        totals: Totals::default(),
    };
    let served = echo.serve(&mut session, arguments);
    let account = session.end(FAREWELL);
    if arguments.json {
        let mut totals = echo.totals.json();
        totals["account"] = output::account(account.unwrap_or_default());
        output::json(&totals)?;
    }
    served
}

/// What one channel may hold is a part of the budget only, so that one that floods us and reads
/// nothing leaves the others their share; but never less than two messages of the largest size.
fn options(budget: usize) -> Options {
    const SHARE_MIN: usize = 384 << 10;
    let mut options = Options::default();
    options.inbound_bytes = budget;
    options.inbound_bytes_per_channel = (budget / 4).max(SHARE_MIN);
    options
}

struct Echoing {
    listeners: Listeners,
    /// What waits there stays charged to the inbound budget, which bounds it.
    outbox: Outbox,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    connections: u64,
    messages: u64,
    bytes: u64,
}

impl Totals {
    fn json(&self) -> serde_json::Value {
        json!({
            "event": "ended",
            "connections": self.connections,
            "messages": self.messages,
            "bytes": self.bytes,
        })
    }
}

impl Echoing {
    fn serve(&mut self, session: &mut Session, arguments: &Echo) -> Result<(), Failure> {
        let mut events = Vec::new();
        while session.serve_many(&mut events, arguments.timeout)? {
            for event in events.drain(..) {
                self.on_event(event, arguments.json)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, json: bool) -> Result<(), Failure> {
        self.outbox.observe(&event);
        match event {
            Event::Listening(listening) => self.listeners.tell(listening.address(), json)?,
            Event::Hello(hello) => {
                self.totals.connections += 1;
                self.echo(hello.echo());
            }
            Event::Request(request) => self.echo(request.echo()),
            Event::Signal(signal) => self.echo(signal.echo()),
            Event::Bye(bye) => self.echo(bye.echo()),
            Event::Closed(closed) => self.listeners.check(&closed)?,
            // Returned: its channel ends, and nobody is left to echo to.
            _ => {}
        }
        Ok(())
    }

    fn echo(&mut self, post: Post) {
        self.totals.messages += 1;
        self.totals.bytes += post.message().body().len() as u64;
        let _ = self.outbox.post(post); // refused if the peer has gone
    }
}
