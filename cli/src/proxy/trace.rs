//! Frames as they pass, a line each.

use ampe::wire::{self, Frame};
use serde_json::json;

use crate::error::Failure;
use crate::output;
use crate::tail::{self, Shown};

/// One direction of a connection: what was read and is no whole frame yet.
pub(super) struct Trace {
    /// The connection's number.
    number: u64,
    direction: Direction,
    json: bool,
    unread: Vec<u8>,
    /// Whether what passes can be followed.
    is_followed: bool,
    pub(super) frames: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From who connected.
    There,
    Back,
}

impl Trace {
    pub(super) fn new(number: u64, direction: Direction, json: bool) -> Trace {
        Trace {
            number,
            direction,
            json,
            unread: Vec::new(),
            is_followed: true,
            frames: 0,
        }
    }

    /// Shows the frames that these bytes complete.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.is_followed {
            return Ok(());
        }
        self.unread.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match wire::split(&self.unread[at..]) {
                Ok(Some((frame, len))) => {
                    self.frames += 1;
                    self.show(&frame)?;
                    at += len;
                }
                Ok(None) => break,
                Err(error) => {
                    self.is_followed = false;
                    self.unread = Vec::new();
                    return self.say(&format!(
                        "no frame of ampe: {error}; the rest passes unseen"
                    ));
                }
            }
        }
        self.unread.drain(..at);
        Ok(())
    }

    /// Nothing more comes in this direction.
    pub(super) fn end(&self, why: &str) -> Result<(), Failure> {
        match self.unread.len() {
            0 => self.say(why),
            len => self.say(&format!(
                "{why}, with {len} bytes of a frame that is not whole"
            )),
        }
    }

    fn show(&self, frame: &Frame<'_>) -> Result<(), Failure> {
        let header = &frame.header;
        let shown = Shown {
            channel: header.channel_number,
            op_code: header.op_code,
            id: header.message_id,
            more: header.more,
            status: header.status,
            headers: frame.text_headers,
            body: frame.body,
        };
        if self.json {
            let mut document = shown.document("frame");
            document["connection"] = self.number.into();
            document["direction"] = self.word().into();
            return output::json(&document);
        }
        output::line(shown.line(&self.start()))
    }

    fn say(&self, what: &str) -> Result<(), Failure> {
        if self.json {
            return output::json(&json!({
                "event": "note",
                "time": tail::seconds(),
                "connection": self.number,
                "direction": self.word(),
                "note": what,
            }));
        }
        output::line(format!("{} {what}", self.start()))
    }

    fn start(&self) -> String {
        let arrow = match self.direction {
            Direction::There => '>',
            Direction::Back => '<',
        };
        format!("{} #{} {arrow}", tail::clock(), self.number)
    }

    fn word(&self) -> &'static str {
        match self.direction {
            Direction::There => "there",
            Direction::Back => "back",
        }
    }
}
