//! What the loop does because the core asks for it: opens, closes, writes.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use ampe_poller::socket::is_shortage;

use crate::between::key::RecordKey;
use crate::endpoint::Endpoint;
use crate::protocol::{Action, Closing, Core};
use crate::tls;

use super::Driver;
use super::rests::{Rest, Resting};
use super::sockets::Socket;
use super::turn::Hands;
use super::world::{Adopted, World};

/// A peer that takes nothing for so long has its end cut, whatever the options say.
const PARTING_MOST: Duration = Duration::from_secs(60);

impl<W: World> Hands for Driver<W> {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn now(&self) -> Instant {
        self.sockets.world.now()
    }

    fn act(&mut self, now: Instant) {
        loop {
            // Closing is never put off: behind it somebody else takes the place.
            let action = match self.core.poll_closing() {
                None if self.openings_left > 0 => {
                    self.openings_left -= 1;
                    self.core.poll_opening()
                }
                closing => closing,
            };
            match action {
                Some(action) => self.carry_out(action, now),
                None => return,
            }
        }
    }

    /// Writes once to each connection that has something to write.
    fn transmit(&mut self, now: Instant) {
        let mut list = std::mem::take(&mut self.transmit_list);
        self.core.take_transmit_list(&mut list);
        for key in list.drain(..) {
            self.write(key, now);
        }
        self.transmit_list = list;
    }

    /// Reads what has arrived. Where the system has not said for long that it takes more, it is offered
    /// more: it says so late, Linux only once a third of its buffer is free.
    fn look(&mut self, key: RecordKey, now: Instant) -> bool {
        match self.sockets.get(key) {
            Some(Socket::Connecting(_)) => self.finish_connect(key, now),
            Some(Socket::Connected(_)) => {
                if !self.read_what_came(key, now) {
                    return false;
                }
                self.look_for_failure(key, now);
                if self.core.handle_writable(key, now) {
                    self.write(key, now);
                }
            }
            Some(Socket::Listener(_)) | None => {}
        }
        true
    }
}

impl<W: World> Driver<W> {
    /// Writes once to a connection, if it has something to write.
    fn write(&mut self, key: RecordKey, now: Instant) {
        let Some(gather) = self.core.transmit(key, &mut self.scratch) else {
            return;
        };
        let Some(mut link) = self.sockets.link(key) else {
            return;
        };
        let (outcome, offered) = (link.send(gather.slices()), gather.bytes());
        if tls::IS_POSSIBLE
            && let Some(staged) = self.sockets.staged(key)
        {
            self.core.handle_staged(key, staged);
        }
        match outcome {
            Ok(sent) => self.core.handle_transmitted(key, sent, offered, now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.core.handle_blocked(key, now);
            }
            Err(error) if is_shortage(&error) => {
                self.begin_rest(key, Resting::Sending, now);
                self.core.handle_blocked(key, now);
            }
            Err(error) => self.core.handle_write_error(key, &error, now),
        }
    }

    /// The system has no memory now for what is to be sent.
    pub(super) fn begin_rest(&mut self, key: RecordKey, resting: Resting, now: Instant) {
        self.sockets.set_resting(key, resting);
        self.rests.begin(key, Rest::Sending, now);
    }

    /// Of a connection that waits for budget nobody is told that it broke: it is not read from.
    fn look_for_failure(&mut self, key: RecordKey, now: Instant) {
        if let Some(Socket::Connected(stream)) = self.sockets.get(key)
            && self.core.is_starved(key)
            && let Some(error) = self.sockets.world.failure(stream)
        {
            self.core.handle_write_error(key, &error, now);
        }
    }

    fn carry_out(&mut self, action: Action, now: Instant) {
        match action {
            Action::Resolve { key, host, port } => self.sockets.world.resolve(key, host, port),
            Action::Connect { key, address } => self.connect(key, address, now),
            Action::Listen {
                key,
                address,
                options,
            } => {
                if let Some(Err(error)) = self.core.server_codec(key) {
                    return self.core.handle_listen_failed(key, &error);
                }
                let backlog = self.shared.options.backlog;
                let listening = self.sockets.world.listen(address, backlog, &options);
                self.begin_listening(key, listening, now);
            }
            Action::Adopt { key, socket } => match self.sockets.world.adopt(*socket) {
                Adopted::Listener(listener, bound) => {
                    self.begin_listening(key, Ok((listener, bound)), now);
                }
                Adopted::Stream(stream) => self.begin_connecting(key, stream, now),
            },
            Action::FinishSending { key } => self.sockets.finish_sending(key),
            Action::Close { key, how } => {
                self.sockets.world.forget(key);
                let is_abortive = match how {
                    Closing::Orderly => false,
                    Closing::Abortive => true,
                    Closing::Saying(frame) => !self.is_taken_whole(key, frame.frame()),
                };
                match is_abortive {
                    true => self.sockets.close(key, true),
                    false => self.sockets.close_orderly(key, self.parting_ends(now)),
                }
            }
        }
    }

    /// Until when a socket that is closed now may stay for its last word.
    fn parting_ends(&self, now: Instant) -> Instant {
        let linger = self.shared.options.linger_timeout.min(PARTING_MOST);
        now + linger
    }

    /// Writes the last frame of a connection. Whether the system took all of it.
    fn is_taken_whole(&mut self, key: RecordKey, frame: [&[u8]; 2]) -> bool {
        let Some(mut link) = self.sockets.link(key) else {
            return false;
        };
        let taken = link.send(&frame.map(IoSlice::new));
        taken.is_ok_and(|taken| taken == frame[0].len() + frame[1].len())
    }

    fn connect(&mut self, key: RecordKey, address: Endpoint, now: Instant) {
        let codec = match self.core.client_codec(key).transpose() {
            Ok(codec) => codec,
            Err(error) => return self.core.handle_connect_failed(key, &error, now),
        };
        let stream = match self.sockets.world.connect(address) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.core.handle_connect_deferred(key, &error, now);
            }
            Err(error) => return self.core.handle_connect_failed(key, &error, now),
        };
        self.begin_connecting(key, stream, now);
        if let Some(codec) = codec {
            self.sockets.secure(key, codec);
        }
    }

    fn begin_connecting(&mut self, key: RecordKey, stream: W::Stream, now: Instant) {
        self.keep_alive(&stream);
        match self.sockets.insert_stream(key, stream, false) {
            Ok(()) => self.sockets.declare_writable(key),
            Err(error) => self.core.handle_unpollable(key, &error, now),
        }
    }

    pub(super) fn keep_alive(&self, stream: &W::Stream) {
        if let Some(idle) = self.shared.options.keep_alive {
            // As long as keep-alive and its ten probes take: one loss must not end a connection. Nor must
            // the system end one whose peer is just slow: that is for the engine to say.
            let give_up = self.shared.options.send_timeout.max(2 * idle);
            // A refinement: a system that cannot do it serves the connection all the same.
            let _ = self.sockets.world.set_keep_alive(stream, idle, give_up);
        }
    }

    fn begin_listening(
        &mut self,
        key: RecordKey,
        listening: io::Result<(W::Listener, Endpoint)>,
        now: Instant,
    ) {
        let (listener, bound) = match listening {
            Ok(listening) => listening,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.core.handle_listen_deferred(key, &error, now);
            }
            Err(error) => return self.core.handle_listen_failed(key, &error),
        };
        match self.sockets.insert_listener(key, listener) {
            Ok(()) => self.core.handle_listening(key, &bound),
            Err(error) => self.core.handle_unpollable(key, &error, now),
        }
    }
}
