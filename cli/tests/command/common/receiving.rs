//! A receiver made by hand, which can be wrong or slow.

use std::time::Instant;

use ampe::{Closed, Engine, Event, GroupOptions, Inbox, Message, Options, Request, Signal};

use super::WATCHDOG;

/// An engine in this process that listens for `ampe send`.
pub(crate) struct Receiving {
    _engine: Engine,
    pub(crate) group: ampe::ChannelGroup,
    pub(crate) inbox: Inbox,
    pub(crate) address: String,
}

impl Receiving {
    /// One that takes little before it is asked for more, so that a sender stops in the middle.
    pub(crate) fn small() -> Receiving {
        Receiving::small_at("tcp://127.0.0.1:0")
    }

    /// As [`small`](Receiving::small), there.
    pub(crate) fn small_at(address: &str) -> Receiving {
        let mut options = Options::default();
        options.inbound_bytes = 300_000;
        options.inbound_bytes_per_channel = 300_000;
        let engine = Engine::start(options).unwrap();
        let (group, inbox) = engine.group(GroupOptions::default()).unwrap();
        group.listen(&address.parse().unwrap()).unwrap();
        let mut receiving = Receiving {
            _engine: engine,
            group,
            inbox,
            address: String::new(),
        };
        let Event::Listening(listening) = receiving.next() else {
            panic!("it does not listen");
        };
        receiving.address = listening.address().to_string();
        receiving
    }

    pub(crate) fn next(&mut self) -> Event {
        let event = self.inbox.recv_until(Instant::now() + WATCHDOG);
        event.unwrap().expect("an event within the watchdog's time")
    }

    /// A message with these text headers.
    pub(crate) fn message(&self, headers: &[(&str, &str)]) -> Message {
        headers
            .iter()
            .fold(self.group.message(), |message, (name, value)| {
                message.with_header(name, value).unwrap()
            })
    }

    /// Accepts the next sender, and its first offer, which is returned.
    pub(crate) fn accept(&mut self) -> Request {
        let offer = self.greet();
        self.answer(&offer, &[("Answer", "accepted")]);
        offer
    }

    /// Accepts the next sender; its first offer.
    pub(crate) fn greet(&mut self) -> Request {
        let Event::Hello(hello) = self.next() else {
            panic!("no Hello");
        };
        let headers = [
            ("Application", "ampe-file"),
            ("Version", "1"),
            ("Role", "receiver"),
        ];
        let answer = self.message(&headers);
        self.group.post(hello.accept(answer)).unwrap();
        // It may say before that it works.
        self.request(|said| assert!(said.body().is_empty(), "no offer"))
    }

    pub(crate) fn answer(&self, request: &Request, headers: &[(&str, &str)]) {
        let answer = self.message(headers);
        self.group.post(request.reply(answer)).unwrap();
    }

    /// The Request behind the content, before which `on_content` is called for each part.
    pub(crate) fn request(&mut self, mut on_content: impl FnMut(&Signal)) -> Request {
        loop {
            match self.next() {
                Event::Request(request) => return request,
                Event::Signal(content) => on_content(&content),
                event => panic!("no content but {event:?}"),
            }
        }
    }

    pub(crate) fn closed(&mut self) -> Closed {
        loop {
            if let Event::Closed(closed) = self.next() {
                return closed;
            }
        }
    }
}
