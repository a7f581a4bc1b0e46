//! A kernel that is told what to choose: by a trace of another one's answers.

use super::network::Connection;
use super::{Endpoint, Kernel, Kind, Stage, State};
use crate::nt::{Handle, IoStatusBlock, Packet, Status, flag};

/// The flags that are known.
const KNOWN: u32 = flag::RECEIVE
    | flag::SEND
    | flag::DISCONNECT
    | flag::ABORT
    | flag::LOCAL_CLOSE
    | flag::ACCEPT
    | flag::CONNECT_FAIL;

impl State {
    /// The operation in flight with this context.
    fn with_context(&self, context: usize) -> Option<u32> {
        let mut operations = self.operations.iter();
        let found = operations.find(|(_, operation)| operation.context == context)?;
        Some(*found.0)
    }
}

impl Kernel {
    /// A new socket of which nothing is known but its handle.
    pub(crate) fn open_bare(&self) -> Handle {
        self.change(|state| {
            let file = state.create(Kind::Endpoint(Endpoint {
                connection: Connection::Bare,
                ..Endpoint::default()
            }));
            state.open(file)
        })
    }

    /// Whether a file is associated with a port.
    pub(crate) fn has_port(&self, file: Handle) -> bool {
        let mut state = self.state();
        let number = state.number(file);
        number.is_some_and(|number| state.file(number).port.is_some())
    }

    /// What polls of a socket find that are submitted from here on. Those in flight end when they are told to.
    pub(crate) fn have_ready(&self, socket: Handle, flags: u32) {
        self.change(|state| {
            let number = state.number(socket);
            if let Some(endpoint) = number.and_then(|number| state.endpoint(number)) {
                endpoint.events = flags;
            }
        });
    }

    /// Whether an operation in flight was cancelled.
    pub(crate) fn is_told_to_end(&self, context: usize) -> bool {
        let state = self.state();
        let number = state.with_context(context);
        number.is_some_and(|number| state.operations[&number].is_told_to_end)
    }

    /// Whether a poll of an object may find this when it asks for the first mask and
    /// others beside it for the second, and what is strange about it.
    ///
    /// # Errors
    ///
    /// It may not.
    pub(crate) fn may_find(
        &self,
        object: u32,
        (mask, others): (u32, u32),
        flags: u32,
    ) -> Result<Option<&'static str>, ()> {
        let mut state = self.state();
        let is_closed = state.file(object).handles == 0;
        let unasked = flags & KNOWN & !mask;
        match unasked {
            flag::LOCAL_CLOSE if is_closed => Ok(None),
            0 if flags & !KNOWN != 0 => Ok(Some("flags that nobody knows")),
            0 => Ok(None),
            unasked if unasked & !others == 0 => Ok(Some("answers with another poll's flags")),
            _ => Err(()),
        }
    }

    /// An operation ends like this, unless it has ended otherwise.
    pub(crate) fn end(&self, context: usize, status: Status, flags: u32) {
        self.change(|state| {
            if let Some(number) = state.with_context(context) {
                state.complete(number, status, flags);
            }
        });
    }

    /// What has to come out of a port when it is waited for: its context.
    pub(crate) fn due(&self, port: Handle) -> Option<usize> {
        let mut state = self.state();
        let port = state.number(port)?;
        if let Kind::Port(queue) = &state.file(port).kind
            && let Some(packet) = queue.front()
        {
            return Some(packet.context);
        }
        let in_transit = state.operations.values();
        let due = in_transit.filter(|operation| matches!(operation.stage, Stage::InTransit(..)));
        let files = &state.files;
        let is_its = |control: u32| {
            let file = files[control as usize].as_ref();
            file.and_then(|file| file.port)
                .is_some_and(|(its, _)| its == port)
        };
        let mut due = due.filter(|operation| is_its(operation.control));
        due.next().map(|operation| operation.context)
    }

    /// Takes a packet out of a port: an operation's before others, and of those that were posted the first.
    pub(crate) fn take(&self, port: Handle, context: usize) -> Option<Packet> {
        self.change(|state| {
            let port = state.number(port)?;
            if let Some(number) = state.with_context(context) {
                state.queue(number);
            }
            let Kind::Port(queue) = &mut state.file(port).kind else {
                return None;
            };
            let of_operation = |packet: &&super::Queued| packet.operation.is_some();
            let at = queue.iter().position(|packet| packet.context == context)?;
            let is_posted = queue[at].operation.is_none();
            let posted_before = at - queue.iter().take(at).filter(of_operation).count();
            if is_posted && posted_before > 0 {
                return None;
            }
            let queued = queue.remove(at)?;
            if let Some(number) = queued.operation {
                state.end_operation(number);
            }
            Some(Packet {
                key: queued.key,
                context: queued.context,
                status: IoStatusBlock::new(queued.status, queued.information),
            })
        })
    }
}
