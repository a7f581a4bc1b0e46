//! Peers made by hand: a sender that can be wrong in any way, and raw frames.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use ampe::wire::{self, Frame, Header, OpCode, TextHeaders};
use ampe::{
    Account, Channel, ChannelGroup, Closed, Engine, Event, GroupOptions, Inbox, Options, Post,
    Received,
};

use super::WATCHDOG;

/// One connection of an engine in this process.
pub(crate) struct Peer {
    _engine: Engine,
    pub(crate) group: ChannelGroup,
    pub(crate) inbox: Inbox,
    pub(crate) channel: Channel,
}

impl Peer {
    /// Connects with these headers in the HelloRequest.
    pub(crate) fn connect(address: &str, headers: &[(&str, &str)]) -> Peer {
        Peer::with_options(address, headers, Options::default())
    }

    pub(crate) fn with_options(address: &str, headers: &[(&str, &str)], options: Options) -> Peer {
        let engine = Engine::start(options).unwrap();
        let (group, inbox) = engine.group(GroupOptions::default()).unwrap();
        let hello = headers
            .iter()
            .fold(group.message(), |message, (name, value)| {
                message.with_header(name, value).unwrap()
            });
        let posted = group.post(hello.hello(&address.parse().unwrap())).unwrap();
        Peer {
            _engine: engine,
            group,
            inbox,
            channel: posted.channel,
        }
    }

    /// A sender that was accepted by the receiver there.
    pub(crate) fn sender(address: &str) -> Peer {
        let headers = [
            ("Application", "ampe-file"),
            ("Version", "1"),
            ("Role", "sender"),
        ];
        let mut peer = Peer::connect(address, &headers);
        let Event::Accepted(hello) = peer.event() else {
            panic!("no HelloResponse");
        };
        assert_eq!(header(&hello, "Role").as_deref(), Some("receiver"));
        peer
    }

    /// The next event other than Opened.
    pub(crate) fn event(&mut self) -> Event {
        loop {
            let event = self.inbox.recv_until(Instant::now() + WATCHDOG);
            match event.unwrap().expect("an event within the watchdog's time") {
                Event::Opened(_) => {}
                event => return event,
            }
        }
    }

    pub(crate) fn response(&mut self) -> Received {
        match self.event() {
            Event::Response(response) => response,
            event => panic!("no Response but {event:?}"),
        }
    }

    pub(crate) fn closed(&mut self) -> Closed {
        loop {
            if let Event::Closed(closed) = self.event() {
                return closed;
            }
        }
    }

    pub(crate) fn post(&self, post: Post) -> u64 {
        self.group.post(post).unwrap().id
    }

    /// Offers a file; the id and the answer.
    pub(crate) fn offer(&mut self, name: &[u8], size: u64) -> (u64, String, String) {
        let message = self.group.message().with_header("Do", "offer").unwrap();
        let message = message.with_header("Size", size.to_string()).unwrap();
        let id = self.post(message.with_body(name).unwrap().request(self.channel));
        let (answer, reason) = self.answer(id);
        (id, answer, reason)
    }

    /// The answer to a Request of this id, and its reason.
    pub(crate) fn answer(&mut self, id: u64) -> (String, String) {
        let response = self.response();
        assert_eq!(response.id(), id);
        let answer = header(&response, "Answer").expect("an answer");
        (answer, header(&response, "Reason").unwrap_or_default())
    }

    pub(crate) fn content(&self, id: u64, body: &[u8]) {
        let message = self.group.message().with_body(body).unwrap();
        self.post(message.signal(self.channel).with_id(id).more());
    }

    pub(crate) fn store(&mut self, id: u64, sha256: &str) -> (String, String) {
        let message = self.group.message().with_header("Do", "store").unwrap();
        let message = message.with_header("SHA-256", sha256).unwrap();
        self.post(message.request(self.channel).with_id(id));
        self.answer(id)
    }

    pub(crate) fn bye(mut self) -> Account {
        self.post(self.group.message().bye(self.channel));
        let closed = self.closed();
        assert_eq!(closed.reason(), ampe::Reason::Bye);
        closed.account()
    }
}

pub(crate) fn header(received: &Received, name: &str) -> Option<String> {
    let value = received.text_headers().get(name)?;
    Some(String::from_utf8(value.to_owned()).unwrap())
}

/// A frame with everything that a peer can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) op_code: OpCode,
    pub(crate) more: bool,
    pub(crate) id: u64,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let frame = Frame {
            header: Header {
                channel_number: 4711,
                op_code: self.op_code,
                more: self.more,
                status: 0,
                message_id: self.id,
                text_headers_len: self.headers.len().try_into().unwrap(),
                body_len: self.body.len().try_into().unwrap(),
            },
            text_headers: TextHeaders::new(&self.headers),
            body: &self.body,
        };
        frame.append_to(&mut bytes);
        bytes
    }
}

/// A HelloRequest as a sender of files has it.
pub(crate) fn raw_hello() -> Raw {
    Raw {
        op_code: OpCode::HelloRequest,
        more: false,
        id: 1,
        headers: b"Application:ampe-file\r\nVersion:1\r\nRole:sender\r\n".to_vec(),
        body: Vec::new(),
    }
}

/// A TCP connection without an engine.
pub(crate) struct RawPeer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawPeer {
    pub(crate) fn connect(address: &str) -> RawPeer {
        let stream = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        RawPeer {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Whether nothing comes for a moment.
    pub(crate) fn is_silent(&mut self) -> bool {
        let moment = std::time::Duration::from_millis(100);
        self.stream.set_read_timeout(Some(moment)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        peeked.is_err()
    }

    pub(crate) fn end_writing(&mut self) {
        // Refused where the other side has reset the connection already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next frame; `None` at the end.
    pub(crate) fn read(&mut self) -> Option<Raw> {
        loop {
            if let Some((frame, used)) = wire::split(&self.unread).unwrap() {
                let raw = Raw {
                    op_code: frame.header.op_code,
                    more: frame.header.more,
                    id: frame.header.message_id,
                    headers: frame.text_headers.as_bytes().to_vec(),
                    body: frame.body.to_vec(),
                };
                self.unread.drain(..used);
                return Some(raw);
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.unread.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
