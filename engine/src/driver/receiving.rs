//! What the loop does about sockets that are ready.

use std::io;
use std::time::Instant;

use ampe_poller::socket::is_shortage;

use crate::between::key::RecordKey;
use crate::peer::Peer;
use crate::protocol::{ReadPlan, Wanted};
use crate::tls;

use super::real::REPORTS;
use super::rests::{Rest, Resting};
use super::sockets::Socket;
use super::world::World;
use super::{Driver, MANY, SHORT_READ, SMALL_FRAME};

/// So many connections are accepted from one listener before others have their turn.
const ACCEPT_BATCH: usize = 64;

/// What has arrived at a socket that cannot be polled, or for which it is time, is read in at most so
/// many reads.
const LAST_READS: usize = 16;

/// So many of them are made though the pass has read as much as it may: a hello takes no more.
const READS_IN_ANY_CASE: usize = 3;

impl<W: World> Driver<W> {
    /// Reads from, accepts from, or goes on to write to, whatever is ready.
    pub(super) fn receive(&mut self, now: Instant) {
        self.leaves_ready = self.has_more; // what the passes before have left of the same reports
        self.look_again(now);
        self.read_ready(now);
        let mut reports = 0;
        loop {
            self.has_more = !self.may_read_on();
            if self.has_more {
                return; // the rest of what is ready has its turn in the next pass
            }
            let Some(report) = self.sockets.world.next_report() else {
                return;
            };
            reports += 1;
            self.leaves_ready |= !report.is_plain() || reports >= REPORTS;
            let key = report.key;
            if tls::IS_POSSIBLE
                && self
                    .sockets
                    .go_on_parting(key, report.refusal.is_some(), now)
            {
                continue;
            }
            if let Some(error) = report.refusal {
                self.handle_refused(key, &error, now);
                continue;
            }
            match self.sockets.get(key) {
                Some(Socket::Listener(_)) => {
                    self.leaves_ready = true;
                    self.accept(key, now);
                }
                Some(Socket::Connecting(_)) => {
                    self.leaves_ready = true;
                    self.unless_many_shake(key, |it| it.finish_connect(key, now));
                }
                Some(Socket::Connected(_)) => {
                    if report.is_readable {
                        self.has_read_all = false;
                        self.unless_many_shake(key, |it| _ = it.read(key, now));
                        self.leaves_ready |= !self.has_read_all;
                    }
                    if report.is_writable {
                        self.flush_aside(key, now);
                        self.core.handle_writable(key, now);
                    }
                }
                None => {}
            }
        }
    }

    /// The system refuses to poll a socket that it has taken in. A connection that is established is
    /// not given up for what may pass: it is polled again after a rest, within bounds.
    fn handle_refused(&mut self, key: RecordKey, error: &io::Error, now: Instant) {
        match self.sockets.get(key) {
            Some(Socket::Listener(_)) => {}
            Some(Socket::Connecting(_)) => self.sockets.close(key, false),
            Some(Socket::Connected(_)) => {
                self.read_unpolled(key, now);
                let patience = self.shared.options.connect_timeout;
                if is_shortage(error) && self.sockets.rest_polling(key, now, patience) {
                    self.core.handle_writable(key, now);
                    return self.rests.begin(key, Rest::Polling, now);
                }
            }
            None => return,
        }
        self.core.handle_unpollable(key, error, now);
    }

    /// Nothing is wrong with what has arrived where nobody can be told of it.
    fn read_unpolled(&mut self, key: RecordKey, now: Instant) {
        let mut reads = 0;
        while reads < LAST_READS && self.read_up_to(self.buffer.len(), key, now) {
            reads += 1;
        }
    }

    /// Does what may go on with a handshake, unless the pass has done enough of that, and says whether: the poller
    /// says of the socket again that it is ready.
    fn unless_many_shake(&mut self, key: RecordKey, act: impl FnOnce(&mut Self)) -> bool {
        if !tls::IS_POSSIBLE || !self.sockets.is_handshaking(key) {
            act(self);
            return true;
        }
        if self.handshakes_left == 0 || self.handshakes_time_left.is_zero() {
            return false;
        }
        let begun = self.sockets.world.now();
        act(self);
        let took = self.sockets.world.now().saturating_duration_since(begun);
        self.handshakes_left -= 1;
        self.handshakes_time_left = self.handshakes_time_left.saturating_sub(took);
        true
    }

    /// Reads from a connection for which it is time: its peer is not late whose bytes are here. After a
    /// process was stopped for a while that is so for all of them at once. Returns false where that is up to
    /// another pass, as this one has gone on with enough handshakes.
    pub(super) fn read_what_came(&mut self, key: RecordKey, now: Instant) -> bool {
        self.unless_many_shake(key, |it| it.read_all_that_came(key, now))
    }

    fn read_all_that_came(&mut self, key: RecordKey, now: Instant) {
        for reads in 0..LAST_READS {
            let may_read = self.may_read_on() || reads < READS_IN_ANY_CASE;
            if !may_read || !self.read_up_to(self.buffer.len(), key, now) {
                return;
            }
        }
    }

    /// Reads what lies decrypted, or waits to be, of which no socket tells.
    fn read_ready(&mut self, now: Instant) {
        let mut ready = Vec::new();
        while tls::IS_POSSIBLE
            && let Some(key) = self.sockets.next_ready()
        {
            ready.push(key); // each once: reading may list it again
        }
        for key in ready {
            match self.may_read_on() {
                true => _ = self.read(key, now),
                false => self.sockets.list_if_ready(key),
            }
        }
    }

    /// The system takes more of a connection: what waits beside messages goes first. That it fails is told
    /// where a message is sent, or something is read.
    fn flush_aside(&mut self, key: RecordKey, now: Instant) {
        if tls::IS_POSSIBLE
            && let Err(error) = self.sockets.flush_aside(key)
            && is_shortage(&error)
        {
            self.begin_rest(key, Resting::Sending, now);
        }
    }

    /// Whether this pass has read less than it may.
    fn may_read_on(&self) -> bool {
        self.bytes_left > 0 && self.messages_left > 0
    }

    /// Counts what a read of `len` bytes into the buffer brought.
    fn count_messages(&mut self, len: usize) {
        let arrived = self.core.take_arrived();
        self.messages_left = self.messages_left.saturating_sub(arrived);
        self.reads_small_frames = arrived >= MANY && arrived * SMALL_FRAME > len;
    }

    /// Reads once, as much as it mostly is. Returns whether there may be more.
    pub(super) fn read(&mut self, key: RecordKey, now: Instant) -> bool {
        let most = match self.reads_small_frames {
            true => SHORT_READ.min(self.buffer.len()),
            false => self.buffer.len(),
        };
        self.read_up_to(most, key, now)
    }

    /// Reads once, so many bytes at most where they are read into the buffer.
    fn read_up_to(&mut self, most: usize, key: RecordKey, now: Instant) -> bool {
        let Some(mut link) = self.sockets.link(key) else {
            return false;
        };
        let (outcome, is_shared) = match self.core.read_plan(key) {
            ReadPlan::Park => return false,
            ReadPlan::Handshake => return self.go_on_shaking(key, now),
            ReadPlan::Peek => return self.look_for_end(key, now),
            ReadPlan::Shared => (link.recv(&mut self.buffer[..most]), true),
            ReadPlan::Into(buffer) => (link.recv(buffer), false),
        };
        let below = match tls::IS_POSSIBLE {
            true => link.take_read_bytes(),
            false => 0,
        };
        if tls::IS_POSSIBLE
            && let Some(identity) = self.sockets.after_read(key)
        {
            self.core.handle_identified(key, identity, now);
        }
        let read = below.max(*outcome.as_ref().unwrap_or(&0));
        self.bytes_left = self.bytes_left.saturating_sub(read);
        match outcome {
            Ok(0) => self.core.handle_end_of_stream(key, now),
            Ok(len) if is_shared => {
                self.has_read_all = len < most && below == 0;
                self.core.take_arrived(); // not by this read
                let used = self.core.handle_shared(key, &self.buffer[..len], now);
                self.held = used..len;
                self.count_messages(len);
                return true;
            }
            Ok(len) => {
                self.core.handle_filled(key, len, now);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.core.handle_read_error(key, &error, now),
        }
        false
    }

    /// Goes on with the handshake of a connection that is to be admitted behind it, and reads nothing more.
    fn go_on_shaking(&mut self, key: RecordKey, now: Instant) -> bool {
        match self.sockets.shake_accepted(key) {
            Ok(Some(identity)) => self.core.handle_identified(key, identity, now),
            Ok(None) => {}
            Err(error) if is_shortage(&error) => self.begin_rest(key, Resting::Handshake, now),
            Err(error) => self.core.handle_read_error(key, &error, now),
        }
        false
    }

    /// Finds out whether a connection that is not admitted has left, as far as that shows without reading.
    fn look_for_end(&mut self, key: RecordKey, now: Instant) -> bool {
        match self.sockets.peek(key) {
            Ok(0) => self.core.handle_end_of_stream(key, now),
            Ok(_) => self.core.handle_spoken(key, now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.core.handle_read_error(key, &error, now),
        }
        false
    }

    /// Offers the core the bytes again that it had no budget for.
    pub(super) fn resume(&mut self, now: Instant) {
        let Some(key) = self.sockets.world.to_resume(&self.core) else {
            return;
        };
        let held = self.held.clone();
        let used = self
            .core
            .handle_shared(key, &self.buffer[held.clone()], now);
        self.held = held.start + used..held.end;
    }

    fn accept(&mut self, listener_key: RecordKey, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if !self.core.may_accept(listener_key) {
                return;
            }
            let Some(Socket::Listener(listener)) = self.sockets.get(listener_key) else {
                return;
            };
            match self.sockets.world.accept(listener) {
                Ok((_, peer)) if !self.core.allows(listener_key, &peer) => {} // the stream is closed
                Ok((stream, peer)) => {
                    let Some(key) = self.core.handle_accepted(listener_key, peer, now) else {
                        return;
                    };
                    self.keep_alive(&stream);
                    let codec = self.core.server_codec(listener_key);
                    if let Err(error) = self.sockets.insert_stream(key, stream, true) {
                        self.core.handle_unpollable(key, &error, now);
                    }
                    match codec {
                        Some(Ok(codec)) => self.sockets.secure(key, codec),
                        // It cannot be secured, and is not served otherwise.
                        Some(Err(error)) => self.core.handle_read_error(key, &error, now),
                        None => {}
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.core.handle_accept_failed(listener_key, now),
            }
        }
    }

    /// Asks again for what has rested.
    fn look_again(&mut self, now: Instant) {
        while let Some((key, why)) = self.rests.pop_due(now) {
            match (why, self.sockets.get(key)) {
                (Rest::Attempt, Some(Socket::Connecting(_))) => self.sockets.declare_writable(key),
                (Rest::Polling, Some(Socket::Connected(_))) => self.sockets.go_on_polling(key),
                (Rest::Sending, Some(Socket::Connecting(_))) => {
                    self.sockets.set_resting(key, Resting::Nothing);
                }
                (Rest::Sending, Some(Socket::Connected(_))) => {
                    self.sockets.set_resting(key, Resting::Nothing);
                    if let ReadPlan::Handshake = self.core.read_plan(key) {
                        self.unless_many_shake(key, |it| _ = it.go_on_shaking(key, now));
                    }
                    self.core.handle_writable(key, now);
                }
                _ => {} // closed meanwhile
            }
        }
    }

    /// Asks the system whether an attempt has succeeded, and with whom; `None` while it is undecided.
    fn ask_connected(&self, key: RecordKey) -> Option<io::Result<Peer>> {
        let Some(Socket::Connecting(stream)) = self.sockets.get(key) else {
            return None;
        };
        let world = &self.sockets.world;
        match world.finish_connect(stream) {
            Ok(false) => None,
            Ok(true) => Some(world.peer(stream)),
            Err(error) => Some(Err(error)),
        }
    }

    pub(super) fn finish_connect(&mut self, key: RecordKey, now: Instant) {
        if !matches!(self.sockets.get(key), Some(Socket::Connecting(_))) {
            return;
        }
        // One in its handshake is connected: what becomes of it is found by reading. A system may say of one
        // that was reset meanwhile that it is not connected, as of one that is not yet.
        let shaking = self.sockets.take_shaking_peer(key).map(Ok);
        let Some(connected) = shaking.or_else(|| self.ask_connected(key)) else {
            self.sockets.declare(key, Wanted::default());
            return self.rests.begin(key, Rest::Attempt, now);
        };
        match connected.and_then(|peer| self.sockets.shake(key, peer)) {
            Ok(None) => {} // its handshake goes on
            Ok(Some(peer)) => {
                let Some(connection) = self.core.winner(key) else {
                    return self.sockets.close(key, false); // another was faster
                };
                if self.sockets.promote(key, connection) {
                    self.core.handle_connected(connection, peer, now);
                }
            }
            Err(error) if is_shortage(&error) && self.sockets.is_shaking(key) => {
                self.begin_rest(key, Resting::Handshake, now);
            }
            Err(error) => {
                self.sockets.close(key, false);
                self.core.handle_connect_failed(key, &error, now);
            }
        }
    }
}

/// Whether an error of accept says that the connection ended before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
