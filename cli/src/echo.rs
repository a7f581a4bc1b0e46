//! `ampe echo`.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ampe::{Address, Channel, ChannelGroup, Event, Options, Post, PostError, Posted};
use serde_json::json;

use crate::advice;
use crate::args::Echo;
use crate::error::Failure;
use crate::output;
use crate::session::Session;

/// How long the last echoes may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Echo) -> Result<(), Failure> {
    let session = Session::start(options(arguments.budget));
    let mut session = session.map_err(|failure| match failure {
        Failure::Usage(why) => Failure::Usage(format!("--budget is too small: {why}")),
        failure => failure,
    })?;
    let mut echo = Echoing {
        group: session.group().clone(),
        listeners: HashMap::new(),
        posts: VecDeque::new(),
        posted: Vec::new(),
        held: HashMap::new(),
        totals: Totals::default(),
    };
    let served = echo.serve(&mut session, arguments);
    session.end(FAREWELL);
    if arguments.json {
        output::json(&echo.totals.json())?;
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
    group: ChannelGroup,
    listeners: HashMap<Channel, Address>,
    /// Echoes of the events at hand, to be posted together.
    posts: VecDeque<Post>,
    posted: Vec<Posted>,
    /// Echoes that a channel had no room for, oldest first. They stay charged to the inbound
    /// budget, which bounds them.
    held: HashMap<Channel, VecDeque<Post>>,
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
        for address in &arguments.listen {
            let listening = self.group.listen(address);
            let channel =
                listening.map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
            self.listeners.insert(channel, address.clone());
        }
        let mut events = Vec::new();
        loop {
            let deadline = arguments.timeout.map(|timeout| Instant::now() + timeout);
            session.next_many(&mut events, deadline)?;
            if events.is_empty() {
                return Ok(());
            }
            for event in events.drain(..) {
                self.on_event(event, arguments.json)?;
            }
            self.post_all();
        }
    }

    fn on_event(&mut self, event: Event, json: bool) -> Result<(), Failure> {
        match event {
            Event::Listening(listening) if json => {
                let address = listening.address().to_string();
                output::json(&json!({ "event": "listening", "address": address }))?;
            }
            Event::Listening(listening) => output::line(listening.address().to_string())?,
            Event::Hello(hello) => {
                self.totals.connections += 1;
                self.echo(hello.echo());
            }
            Event::Request(request) => self.echo(request.echo()),
            Event::Signal(signal) => self.echo(signal.echo()),
            Event::Bye(bye) => self.echo(bye.echo()),
            Event::Room(channel) => {
                let held = self.held.remove(&channel).unwrap_or_default();
                self.posts.extend(held);
            }
            Event::Closed(closed) => {
                if let Some(address) = self.listeners.get(&closed.channel()) {
                    return Err(Failure::Failed(advice::listener(address, &closed)));
                }
                self.held.remove(&closed.channel());
            }
            // Returned: its channel ends, and nobody is left to echo to.
            _ => {}
        }
        Ok(())
    }

    fn echo(&mut self, post: Post) {
        self.totals.messages += 1;
        self.totals.bytes += post.message().body().len() as u64;
        // What goes to a channel that waits for room goes behind what waits already.
        let waiting = post
            .channel()
            .and_then(|channel| self.held.get_mut(&channel));
        waiting.unwrap_or(&mut self.posts).push_back(post);
    }

    fn post_all(&mut self) {
        self.posted.clear();
        while let Err(why) = self.group.post_many(&mut self.posts, &mut self.posted) {
            let refused = self
                .posts
                .pop_front()
                .and_then(|post| Some((post.channel()?, post)));
            // Refused for another reason, its channel has ended.
            if let Some((channel, post)) = refused
                && matches!(why, PostError::Full(_))
            {
                self.hold(channel, post);
            }
        }
    }

    /// Holds back a post that its channel has no room for, and all behind it for the same channel;
    /// those of other channels go on.
    fn hold(&mut self, channel: Channel, post: Post) {
        let held = self.held.entry(channel).or_default();
        held.push_back(post);
        for post in std::mem::take(&mut self.posts) {
            if post.channel() == Some(channel) {
                held.push_back(post);
            } else {
                self.posts.push_back(post);
            }
        }
    }
}
