//! A connection's records, between its frames and its socket.
//!
//! What the core wants sent is encrypted and offered to the system at once. What the system does not take
//! stays here, a few records at most, *staged*: it will be sent, come what may, unless the connection breaks. A
//! byte of plaintext counts as taken once the system has the last byte of its record, since without that the
//! peer can make nothing of it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;

use ampe_poller::socket::is_shortage;

use crate::event::SystemError;
use crate::peer::Peer;
use crate::protocol::Wanted;
use crate::tls::{Codec, Fault, Identity};

/// The plaintext of a record, at most.
const RECORD_BYTES: usize = 16 * 1024;

/// So much plaintext is encrypted before the system is asked to take it.
const STAGED_BYTES: usize = 4 * RECORD_BYTES;

/// What the records' own bytes take of that, mostly.
const RECORDS_BYTES: usize = 1024;

/// What one read takes from the wire at most, and at least: a read that brings more than was asked for is kept.
const READ_MOST: usize = 64 * 1024;
const READ_LEAST: usize = 4 * 1024;

/// A handshake that takes more of the peer's bytes is none. A little less than a power of two, beyond which rustls
/// would take as much memory again.
const HANDSHAKE_BYTES: usize = 28 * 1024;

/// Behind its handshake, a peer that sends so much without any plaintext in it has no messages in mind: empty
/// records and changes of keys cost computing, and no budget stops them. The longest record is a fourth of it.
const EMPTY_BYTES: usize = 64 * 1024;

/// The socket below.
pub(super) trait Wire {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// A record that waits to be sent.
struct Staged {
    /// Where it ends in `out`.
    end: usize,
    /// How much plaintext it holds.
    plain: usize,
}

pub(super) struct Secure {
    codec: Box<dyn Codec>,
    /// What is to be sent, from `out_at` on.
    out: Vec<u8>,
    out_at: usize,
    /// The messages' records among it.
    records: VecDeque<Staged>,
    /// Plaintext whose records the system has taken.
    taken: usize,
    /// Bytes of the wire that were read and not fed yet, from `input_at` to `input_end`.
    input: Vec<u8>,
    input_at: usize,
    input_end: usize,
    /// `input` is the memory that is lent for the length of a call.
    is_lent: bool,
    /// What the handshake took of the peer's bytes.
    handshake_bytes: usize,
    /// What came behind the handshake since there was plaintext.
    empty_bytes: usize,
    /// What was read from the wire and not told yet, as work.
    read_bytes: usize,
    has_told_identity: bool,
    /// Why nothing more can be sent.
    write_failure: Option<SystemError>,
    /// Why nothing more can be received, told behind what was.
    read_failure: Option<io::Error>,
    /// The wire has ended.
    is_wire_over: bool,
    /// The end was told, and whether it was an orderly one.
    end_told: Option<bool>,
    /// There may be something to read though the socket has nothing.
    is_ready: bool,
    is_closing: bool,
    /// Who is at the other end, while the handshake of a connection that is being opened is under way.
    pub(super) shaking: Option<Peer>,
}

impl Secure {
    pub(super) fn new(codec: Box<dyn Codec>) -> Self {
        Secure {
            codec,
            out: Vec::new(),
            out_at: 0,
            records: VecDeque::new(),
            taken: 0,
            input: Vec::new(),
            input_at: 0,
            input_end: 0,
            is_lent: false,
            handshake_bytes: 0,
            empty_bytes: 0,
            read_bytes: 0,
            has_told_identity: false,
            write_failure: None,
            read_failure: None,
            is_wire_over: false,
            end_told: None,
            is_ready: false,
            is_closing: false,
            shaking: None,
        }
    }

    /// Goes on with the handshake of a connection that is being opened. Returns whether it is done.
    pub(super) fn shake(&mut self, wire: &impl Wire, cipher: &mut Vec<u8>) -> io::Result<bool> {
        let is_done = self.go_on_shaking(wire, cipher);
        self.give_back(cipher);
        is_done
    }

    fn go_on_shaking(&mut self, wire: &impl Wire, cipher: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            self.codec.take_output(&mut self.out);
            self.flush(wire).map_err(of_handshake)?;
            if !self.codec.is_handshaking() {
                // What follows is read once the connection is open. It may be decrypted, and no socket tells of it.
                self.is_ready = true;
                return Ok(true);
            }
            match self.take_in(wire, cipher, READ_LEAST) {
                Ok(true) => {}
                Ok(false) => return Err(of_handshake(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(of_handshake(error)),
            }
            while self.has_input() && self.codec.is_handshaking() {
                if let Err(error) = self.feed_kept() {
                    self.say_what_waits(wire);
                    return Err(error);
                }
            }
        }
    }

    /// Who the peer is, once, when that is known: after the handshake.
    pub(super) fn take_identity(&mut self) -> Option<Option<Identity>> {
        if self.has_told_identity || self.codec.is_handshaking() {
            return None;
        }
        self.has_told_identity = true;
        Some(self.codec.identity())
    }

    /// Reads plaintext, and the socket at most once. Zero is an orderly end.
    pub(super) fn recv(
        &mut self,
        wire: &impl Wire,
        cipher: &mut Vec<u8>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.is_ready = false;
        match self.end_told {
            Some(true) => return Ok(0),
            Some(false) => return Err(cut()),
            None => {}
        }
        let filled = self.fill(wire, cipher, buffer);
        self.give_back(cipher);
        self.say_what_waits(wire);
        filled
    }

    fn fill(
        &mut self,
        wire: &impl Wire,
        cipher: &mut Vec<u8>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = 0;
        let mut has_asked = false;
        while filled < buffer.len() {
            match self.codec.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => {
                    self.end_told = Some(true);
                    return Ok(0);
                }
                Ok(0) => break,
                Ok(len) => {
                    filled += len;
                    self.empty_bytes = 0;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.is_wire_over && !self.has_input() {
                        self.read_failure.get_or_insert_with(cut);
                    }
                }
                Err(error) => {
                    self.read_failure.get_or_insert(error);
                }
            }
            if self.read_failure.is_some() {
                break;
            }
            if self.has_input() {
                if let Err(error) = self.feed_kept() {
                    self.read_failure = Some(error);
                }
                continue;
            }
            if mem::replace(&mut has_asked, true) {
                return some(filled);
            }
            match self.take_in(wire, cipher, buffer.len() - filled) {
                Ok(true) => {}
                Ok(false) => {
                    self.is_wire_over = true;
                    self.codec.finish();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return some(filled),
                Err(error) => self.read_failure = Some(error),
            }
        }
        if filled > 0 {
            self.is_ready = true; // the buffer is full, or the end is still to be told
            return Ok(filled);
        }
        self.end_told = Some(false);
        Err(self.read_failure.take().unwrap_or_else(cut))
    }

    /// Reads once from the wire; false at its end. `wanted` is how much plaintext there is room for.
    fn take_in(
        &mut self,
        wire: &impl Wire,
        cipher: &mut Vec<u8>,
        wanted: usize,
    ) -> io::Result<bool> {
        self.give_back(cipher);
        cipher.resize(READ_MOST, 0);
        let most = wanted.clamp(READ_LEAST, READ_MOST);
        let len = wire.recv(&mut cipher[..most])?;
        if len == 0 {
            return Ok(false);
        }
        self.read_bytes += len;
        self.input = mem::take(cipher);
        (self.input_at, self.input_end, self.is_lent) = (0, len, true);
        Ok(true)
    }

    fn has_input(&self) -> bool {
        self.input_at < self.input_end
    }

    /// Whether something that was read is still to be received.
    pub(super) fn holds_some(&mut self) -> bool {
        self.is_ready = self.has_input() || self.codec.holds_plaintext();
        self.is_ready
    }

    fn feed_kept(&mut self) -> io::Result<()> {
        let is_handshaking = self.codec.is_handshaking();
        let (count, most) = match is_handshaking {
            true => (&mut self.handshake_bytes, HANDSHAKE_BYTES),
            false => (&mut self.empty_bytes, EMPTY_BYTES),
        };
        let fed = match *count >= most {
            true if is_handshaking => Err(too_long()),
            true => Err(too_empty()),
            false => self.codec.feed(&self.input[self.input_at..self.input_end]),
        };
        *count += fed.as_ref().unwrap_or(&0);
        match fed {
            Ok(0) | Err(_) => self.input_at = self.input_end,
            Ok(used) => self.input_at += used,
        }
        if !self.has_input() && !self.is_lent {
            self.input = Vec::new();
            (self.input_at, self.input_end) = (0, 0);
        }
        fed.map(|_| ())
    }

    /// Gives the memory back that was lent, and keeps what was not used of what it holds.
    fn give_back(&mut self, cipher: &mut Vec<u8>) {
        if mem::take(&mut self.is_lent) {
            let kept = self.input[self.input_at..self.input_end].to_vec();
            (self.input_at, self.input_end) = (0, kept.len());
            *cipher = mem::replace(&mut self.input, kept);
        }
    }

    /// Sends as much of these bytes as the system takes, and says how many of them it has. They begin with what
    /// is [staged](Secure::staged).
    pub(super) fn send(&mut self, wire: &impl Wire, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let (mut taken, mut has_moved) = (0, false);
        loop {
            match self.flush(wire) {
                Ok(moved) => has_moved |= moved,
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break, // told the next time
            }
            taken += mem::take(&mut self.taken);
            if self.has_pending() || taken >= offered || self.codec.is_handshaking() {
                break;
            }
            let left = STAGED_BYTES.min(offered - taken);
            self.out.reserve_exact(left + RECORDS_BYTES);
            self.stage(slices, taken)?;
            if self.records.is_empty() {
                break; // the codec seals nothing any more
            }
        }
        match taken == 0 && offered > 0 && !has_moved {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(taken),
        }
    }

    /// Encrypts some of what follows the first `skip` bytes.
    fn stage(&mut self, slices: &[IoSlice<'_>], skip: usize) -> io::Result<()> {
        let mut begun = skip;
        while begun < skip + STAGED_BYTES {
            let mut record = [IoSlice::new(&[]); 16];
            let most = RECORD_BYTES.min(skip + STAGED_BYTES - begun);
            let count = part(slices, begun, most, &mut record);
            if count == 0 {
                break;
            }
            let plain = self.codec.seal(&record[..count], &mut self.out)?;
            if plain == 0 {
                break;
            }
            let end = self.out.len();
            self.records.push_back(Staged { end, plain });
            begun += plain;
        }
        Ok(())
    }

    /// How many of the bytes that are to be sent next were encrypted, and are not taken: they are sent, or
    /// nothing ever is.
    pub(super) fn staged(&self) -> usize {
        self.records.iter().map(|record| record.plain).sum()
    }

    /// Offers the system what waits. Returns whether it took any.
    fn flush(&mut self, wire: &impl Wire) -> io::Result<bool> {
        if let Some(failure) = &self.write_failure {
            return Err(failure.into());
        }
        let before = self.out_at;
        while self.has_pending() {
            let rest = &self.out[self.out_at..];
            match wire.send(rest) {
                Ok(sent) => {
                    let is_all = sent == rest.len();
                    self.out_at += sent;
                    if !is_all {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nothing of what is told as an error here was taken before: it is asked again.
                Err(error) if is_shortage(&error) && self.out_at == before => return Err(error),
                Err(error) if is_shortage(&error) => break,
                Err(error) => {
                    self.write_failure = Some((&error).into());
                    return Err(error);
                }
            }
        }
        let has_moved = self.out_at > before;
        while let Some(record) = self.records.front()
            && record.end <= self.out_at
        {
            self.taken += record.plain;
            self.records.pop_front();
        }
        if !self.has_pending() {
            self.out_at = 0;
            match self.out.capacity() > READ_LEAST {
                true => self.out = Vec::new(), // who is idle holds little
                false => self.out.clear(),
            }
        }
        Ok(has_moved)
    }

    fn has_pending(&self) -> bool {
        self.out_at < self.out.len()
    }

    /// Offers the system what waits beside messages, whose own records go with them.
    pub(super) fn flush_aside(&mut self, wire: &impl Wire) -> io::Result<()> {
        match self.records.is_empty() {
            true => self.flush(wire).map(|_| ()),
            false => Ok(()),
        }
    }

    /// Ends the stream in an orderly way, once everything was taken that is to be sent. Not where a message
    /// was sent in part: the peer is to see that.
    pub(super) fn close(&mut self, wire: &impl Wire) {
        if self.records.is_empty() && self.write_failure.is_none() {
            if !mem::replace(&mut self.is_closing, true) {
                self.codec.close();
            }
            self.say_what_waits(wire);
        }
    }

    /// Whether the orderly end was said: the socket's own may follow.
    pub(super) fn has_said_end(&self) -> bool {
        self.is_closing && !self.has_pending()
    }

    /// Whether the orderly end waits until the system takes more.
    pub(super) fn is_saying_end(&self) -> bool {
        self.is_closing && self.has_pending() && self.write_failure.is_none()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.codec.is_handshaking()
    }

    /// How much was read from the wire since this was asked last: work, also where it held no plaintext.
    pub(super) fn take_read_bytes(&mut self) -> usize {
        mem::take(&mut self.read_bytes)
    }

    /// Offers the system what the codec has to say: an answer, an alert. What it does not take waits, as what
    /// comes behind records does.
    fn say_what_waits(&mut self, wire: &impl Wire) {
        self.codec.take_output(&mut self.out);
        if self.records.is_empty() {
            let _ = self.flush(wire); // whoever sends next is told, and so is whoever reads
        }
    }

    /// Whether there may be something to read though the socket has nothing.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready && self.end_told.is_none()
    }

    /// What is to be waited for where the core waits for `wanted`.
    pub(super) fn wanted(&self, wanted: Wanted) -> Wanted {
        let waits = self.has_pending() && self.write_failure.is_none();
        match self.shaking.is_some() {
            // That it is writable is all that the core waits for, and it is so for long.
            true => Wanted {
                readable: true,
                writable: waits,
            },
            false => Wanted {
                readable: wanted.readable,
                writable: wanted.writable || waits,
            },
        }
    }
}

/// What was read, if anything was.
fn some(filled: usize) -> io::Result<usize> {
    match filled {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(filled),
    }
}

/// As many of the slices as make a record of `most` bytes, behind the first `skip` bytes. Returns how many there
/// are.
fn part<'a>(
    slices: &'a [IoSlice<'_>],
    skip: usize,
    most: usize,
    record: &mut [IoSlice<'a>],
) -> usize {
    let (mut before, mut left, mut count) = (skip, most, 0);
    for slice in slices {
        let bytes: &'a [u8] = slice;
        let from = before.min(bytes.len());
        before -= from;
        let bytes = &bytes[from..];
        let bytes = &bytes[..bytes.len().min(left)];
        if !bytes.is_empty() {
            record[count] = IoSlice::new(bytes);
            (left, count) = (left - bytes.len(), count + 1);
        }
        if left == 0 || count == record.len() {
            break;
        }
    }
    count
}

fn cut() -> io::Error {
    let words = "the stream was cut: it ended without an orderly end";
    io::Error::new(io::ErrorKind::UnexpectedEof, words)
}

fn too_long() -> io::Error {
    let words = format!("the peer's handshake takes more than {HANDSHAKE_BYTES} bytes");
    Fault::Handshake(words).of_kind(io::ErrorKind::InvalidData)
}

fn too_empty() -> io::Error {
    let words = "the peer sends records that hold nothing, one after the other";
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// The connection broke in the middle of the handshake.
fn of_handshake(error: io::Error) -> io::Error {
    if is_shortage(&error) || error.get_ref().is_some() {
        return error;
    }
    let kind = error.kind();
    let words = match kind {
        io::ErrorKind::UnexpectedEof => {
            "the peer ended the connection in the middle of the handshake: maybe it has no TLS there"
                .to_owned()
        }
        _ => format!("the connection broke in the middle of the handshake: {error}"),
    };
    Fault::Handshake(words).of_kind(kind)
}

#[cfg(all(feature = "tls", any(test, fuzzing)))]
pub mod fuzzing;
#[cfg(test)]
mod tests;
