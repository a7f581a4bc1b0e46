//! What the hub knows of each connection and listener.

use std::time::Instant;

use crate::between::key::RecordKey;
use crate::channel::Channel;

use super::Wanted;
use super::connection::{Connection, Posts};
use super::listeners::Listener;

pub(super) struct Record {
    /// Index of the group in the hub's list.
    pub(super) group: usize,
    /// Is in the list of what was touched.
    pub(super) is_touched: bool,
    /// The deadline that the timers know of.
    pub(super) timer: Option<Instant>,
    /// The driver was told to close the socket.
    pub(super) is_socket_closed: bool,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Listener(Box<Listener>),
    Connection(Box<Connection>),
    /// One of several attempts of this connection to connect. It has no channel and no deadline, is in
    /// no group, and goes when its socket is closed.
    Attempt(RecordKey),
}

impl Record {
    pub(super) fn new(group: usize, kind: Kind) -> Self {
        Record {
            group,
            is_touched: false,
            timer: None,
            is_socket_closed: false,
            kind,
        }
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        match &self.kind {
            Kind::Listener(listener) => Some(listener.channel),
            Kind::Connection(connection) => connection.channel(),
            Kind::Attempt(_) => None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match &self.kind {
            Kind::Listener(listener) => listener.has_ended(),
            Kind::Connection(connection) => connection.has_ended(),
            Kind::Attempt(_) => false,
        }
    }

    /// Whether it is still to be connected, or bound.
    pub(super) fn is_opening(&self) -> bool {
        match &self.kind {
            Kind::Listener(listener) => listener.is_opening(),
            Kind::Connection(connection) => connection.is_opening(),
            Kind::Attempt(_) => true,
        }
    }

    /// How far its closing to posts has come.
    pub(super) fn posts(&self) -> Posts {
        match &self.kind {
            Kind::Listener(listener) => listener.posts(),
            Kind::Connection(connection) => connection.posts(),
            Kind::Attempt(_) => Posts::Admitted,
        }
    }

    pub(super) fn set_closed_to_posts(&mut self) {
        match &mut self.kind {
            Kind::Listener(listener) => listener.set_closed_to_posts(),
            Kind::Connection(connection) => connection.set_closed_to_posts(),
            Kind::Attempt(_) => unreachable!("nobody posts to an attempt"),
        }
    }

    /// When it wants to be asked what it is time for.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Listener(listener) => listener.deadline(),
            Kind::Connection(connection) => connection.due(),
            Kind::Attempt(_) => None,
        }
    }

    /// What readiness it waits for.
    pub(super) fn wanted(&self, is_holder: bool, connections_max: usize) -> Wanted {
        match &self.kind {
            Kind::Listener(listener) => Wanted {
                readable: listener.may_accept(connections_max),
                writable: false,
            },
            Kind::Connection(connection) => connection.wanted(is_holder),
            Kind::Attempt(_) => Wanted::default(),
        }
    }

    /// Whether the hub has something to do for it before it waits.
    pub(super) fn has_work(&self) -> bool {
        match &self.kind {
            Kind::Listener(listener) => listener.has_ended(),
            Kind::Connection(connection) => connection.has_work(),
            Kind::Attempt(_) => false,
        }
    }
}
