//! What one subscriber wants.

use std::collections::HashSet;

use ampe::wire::TextHeaders;

use super::{SUBSCRIBE, UNSUBSCRIBE};

/// What cannot be subscribed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It is empty: `*` stands for all topics.
    #[error("a topic is not empty: `*` stands for all")]
    Empty,
    /// It has a line end in it, or begins or ends with a space or a tab, which a text header does not carry.
    #[error("a topic has no line end in it, and no space at its ends")]
    Unwritable,
    /// It is longer than 1,024 bytes.
    #[error("a topic has 1024 bytes at most")]
    TooLong,
}

/// Whether it can be subscribed to.
pub(super) fn check(topic: &str) -> Result<(), TopicError> {
    match topic {
        "" => Err(TopicError::Empty),
        _ if topic.len() > 1024 => Err(TopicError::TooLong),
        _ if topic.contains(['\r', '\n']) || topic.trim_matches([' ', '\t']) != topic => {
            Err(TopicError::Unwritable)
        }
        _ => Ok(()),
    }
}

/// Topics, and beginnings of topics.
#[derive(Debug)]
pub(super) struct Topics {
    exact: HashSet<Box<[u8]>>,
    /// Without their stars.
    beginnings: Vec<Box<[u8]>>,
    bytes: usize,
    bytes_max: usize,
}

/// More than a subscriber may want.
#[derive(Debug)]
pub(super) struct TooMany;

impl Topics {
    pub(super) fn new(bytes_max: usize) -> Topics {
        Topics {
            exact: HashSet::new(),
            beginnings: Vec::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Does what the headers say, in their order.
    pub(super) fn change(&mut self, headers: TextHeaders<'_>) -> Result<(), TooMany> {
        for (name, topic) in headers.iter() {
            if name == SUBSCRIBE.as_bytes() {
                self.add(topic)?;
            } else if name == UNSUBSCRIBE.as_bytes() {
                self.remove(topic);
            }
        }
        Ok(())
    }

    fn add(&mut self, topic: &[u8]) -> Result<(), TooMany> {
        let is_new = match topic.strip_suffix(b"*") {
            Some(beginning) => !self.beginnings.iter().any(|it| **it == *beginning),
            None => !self.exact.contains(topic),
        };
        if !is_new {
            return Ok(());
        }
        self.bytes += cost(topic);
        if self.bytes > self.bytes_max {
            return Err(TooMany);
        }
        match topic.strip_suffix(b"*") {
            Some(beginning) => self.beginnings.push(beginning.into()),
            None => drop(self.exact.insert(topic.into())),
        }
        Ok(())
    }

    fn remove(&mut self, topic: &[u8]) {
        let was_there = match topic.strip_suffix(b"*") {
            Some(beginning) => {
                let before = self.beginnings.len();
                self.beginnings.retain(|it| **it != *beginning);
                self.beginnings.len() < before
            }
            None => self.exact.remove(topic),
        };
        if was_there {
            self.bytes -= cost(topic);
        }
    }

    pub(super) fn want(&self, topic: &str) -> bool {
        let topic = topic.as_bytes();
        self.exact.contains(topic) || self.beginnings.iter().any(|it| topic.starts_with(it))
    }
}

/// What a topic counts with.
fn cost(topic: &[u8]) -> usize {
    topic.len() + 64
}
