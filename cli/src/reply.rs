//! `ampe reply`: answers Requests, with a text or by a command.

mod command;

use std::collections::HashMap;
use std::time::Duration;

use ampe::{Bye, Channel, ChannelGroup, Event, Options, Outbox, Post, Request};
use serde_json::json;

use crate::args::{Reply, SecureListening};
use crate::content::{self, Header};
use crate::error::Failure;
use crate::listen::{self, Place};
use crate::listeners::Listeners;
use crate::output;
use crate::session::Session;

use command::Commands;

/// How long the last answers may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Reply) -> Result<(), Failure> {
    let places = listen::places(&arguments.listen)?;
    check_reach(&places, arguments.anyone, &arguments.secure)?;
    let body = content::body(arguments.body.as_ref())?;
    let allowed = arguments.allowed.listening(&places)?;
    let secured = arguments.secure.listening(&places)?;
    secured.tell();
    let mut session = Session::start_with(Options::default(), secured.security())?;
    let group = session.group().clone();
    // What is wrong with the headers is found before anybody asks.
    content::with(group.message(), &arguments.headers)?;
    let answers = match &arguments.command {
        Some(command) => Answers::ByCommand(Commands::start(command, arguments, &group)?),
        None => Answers::Always(body),
    };
    let mut replying = Replying {
        outbox: Outbox::new(group.clone(), usize::MAX),
        listeners: Listeners::start(&group, places, allowed, arguments.ready_file.as_deref())?,
        group,
        headers: arguments.headers.clone(),
        answers,
        open: HashMap::new(),
        byes: HashMap::new(),
        peers: HashMap::new(),
        answered: 0,
    };
    let served = replying.serve(&mut session, arguments);
    let account = session.end(FAREWELL).unwrap_or_default();
    if arguments.json {
        output::json(&json!({
            "event": "ended",
            "answered": replying.answered,
            "account": output::account(account),
        }))?;
    } else {
        let balance = output::balance(&account);
        output::note(&format!(
            "answered {} requests; {balance}",
            replying.answered
        ));
    }
    served
}

/// Refuses what other machines reach, unless anyone may ask.
pub(crate) fn check_reach(
    places: &[Place],
    anyone: bool,
    secure: &SecureListening,
) -> Result<(), Failure> {
    listen::check_reach(places, anyone, secure, "who asks", "ask")
}

enum Answers {
    Always(Vec<u8>),
    ByCommand(Commands),
}

struct Replying {
    group: ChannelGroup,
    headers: Vec<Header>,
    answers: Answers,
    listeners: Listeners,
    outbox: Outbox,
    /// Requests whose commands are at work.
    open: HashMap<Channel, usize>,
    /// Goodbyes that are answered behind all answers.
    byes: HashMap<Channel, Bye>,
    /// Who is at the other end.
    peers: HashMap<Channel, String>,
    answered: u64,
}

impl Replying {
    fn serve(&mut self, session: &mut Session, arguments: &Reply) -> Result<(), Failure> {
        let mut events = Vec::new();
        loop {
            if !session.serve_many(&mut events, arguments.timeout)? && self.open.is_empty() {
                return Ok(());
            }
            for event in events.drain(..) {
                self.on_event(event, arguments.json)?;
            }
            self.take_done();
            self.answer_byes();
        }
    }

    fn on_event(&mut self, event: Event, json: bool) -> Result<(), Failure> {
        self.outbox.observe(&event);
        match event {
            Event::Listening(listening) => self.listeners.tell(listening.address(), json)?,
            Event::Hello(hello) => {
                self.peers.insert(hello.channel(), hello.peer().to_string());
                self.post(hello.accept(self.group.message()));
            }
            Event::Request(request) => self.on_request(request)?,
            Event::Bye(bye) => drop(self.byes.insert(bye.channel(), bye)),
            Event::Closed(closed) => {
                self.listeners.check(&closed)?;
                self.byes.remove(&closed.channel());
                self.peers.remove(&closed.channel());
            }
            // Signals have no answer. Returned: its channel ends, and nobody is left to answer.
            _ => {}
        }
        Ok(())
    }

    fn on_request(&mut self, request: Request) -> Result<(), Failure> {
        match &self.answers {
            Answers::Always(body) => {
                let message = content::with(self.group.message(), &self.headers)?;
                let message = message
                    .with_body(body)
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                self.post(request.reply(message));
                self.answered += 1;
            }
            Answers::ByCommand(commands) => {
                *self.open.entry(request.channel()).or_default() += 1;
                let peer = self.peers.get(&request.channel());
                commands.give(request, peer.cloned().unwrap_or_default());
            }
        }
        Ok(())
    }

    fn post(&mut self, post: Post) {
        let _ = self.outbox.post(post); // refused if the peer has gone
    }

    /// Takes what commands have answered.
    fn take_done(&mut self) {
        let Answers::ByCommand(commands) = &self.answers else {
            return;
        };
        while let Some((channel, posts)) = commands.take() {
            for post in posts {
                let _ = self.outbox.post(post); // refused if the peer has gone
            }
            self.answered += 1;
            let open = self.open.entry(channel).or_default();
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(&channel);
            }
        }
    }

    /// Dropped, a goodbye is answered behind all that was posted before.
    fn answer_byes(&mut self) {
        let (open, outbox) = (&self.open, &self.outbox);
        self.byes
            .retain(|channel, _| open.contains_key(channel) || outbox.waiting(*channel) > 0);
    }
}
