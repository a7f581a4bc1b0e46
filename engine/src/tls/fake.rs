//! A codec that encrypts nothing: records of plaintext with a handshake, an orderly end, and nothing left to
//! chance. For tests of what lies around codecs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::address::Host;

use super::{Codec, Fault, Identity, KeyHash, Security, SubjectName, Suite, Verified};

/// What a record holds at most: less than the real one, so that tests with little get to its end.
pub(crate) const RECORD_BYTES: usize = 300;

/// Kind and length stand before each record, and a byte behind it, without which it is worth nothing.
const HEAD: usize = 3;
const TAIL: usize = 1;
const TAIL_BYTE: u8 = 0xa5;

const HELLO: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
const ALERT: u8 = 4;
/// Is answered by the like, whatever else goes on: as a change of keys.
const PING: u8 = 5;

#[derive(Debug)]
struct Fake;

pub(crate) fn security() -> Security {
    Security(Arc::new(Fake))
}

impl Suite for Fake {
    fn client(&self, _: &Host) -> io::Result<Box<dyn Codec>> {
        Ok(Box::new(FakeCodec::client()))
    }

    fn server(&self) -> io::Result<Box<dyn Codec>> {
        Ok(Box::new(FakeCodec::server()))
    }
}

pub(crate) struct FakeCodec {
    /// Bytes of a record that is not whole.
    partial: Vec<u8>,
    plain: VecDeque<u8>,
    output: Vec<u8>,
    /// How many hellos are still to come: two of a client's, one of a server's.
    awaited: u8,
    is_client: bool,
    has_closed: bool,
    has_seen_close: bool,
    has_seen_end: bool,
    has_failed: bool,
}

thread_local! {
    static READ: Cell<u64> = const { Cell::new(0) };
}

/// How much plaintext was read in this thread so far: a pass that read some had an effect.
pub(crate) fn read() -> u64 {
    READ.get()
}

/// Whether what is sent by records may begin with this byte. Frames of engines that have few channels do not.
pub(crate) fn is_record(first: u8) -> bool {
    matches!(first, HELLO | DATA | END | ALERT | PING)
}

/// The plaintext of the records that are whole now. What follows them is kept in `part`.
pub(crate) fn whole_records(part: &mut Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    part.extend_from_slice(bytes);
    let (mut plain, mut used) = (Vec::new(), 0);
    while let [kind, high, low, rest @ ..] = &part[used..] {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if rest.len() < len + TAIL {
            break;
        }
        if *kind == DATA {
            plain.extend_from_slice(&rest[..len]);
        }
        used += HEAD + len + TAIL;
    }
    part.drain(..used);
    plain
}

fn record(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(content.len()).expect("a record is short");
    out.push(kind);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(content);
    out.push(TAIL_BYTE);
}

/// All that a client has to send so that a server receives this: it waits for no answer.
pub(crate) fn client_says(plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..2 {
        record(HELLO, &[b'h'; 40], &mut bytes);
    }
    for part in plain.chunks(RECORD_BYTES) {
        record(DATA, part, &mut bytes);
    }
    bytes
}

/// What says that nothing follows.
pub(crate) fn end() -> Vec<u8> {
    let mut bytes = Vec::new();
    record(END, &[], &mut bytes);
    bytes
}

impl FakeCodec {
    pub(crate) fn client() -> Self {
        let mut codec = FakeCodec::server();
        (codec.is_client, codec.awaited) = (true, 1);
        record(HELLO, &[b'h'; 40], &mut codec.output);
        codec
    }

    pub(crate) fn server() -> Self {
        FakeCodec {
            partial: Vec::new(),
            plain: VecDeque::new(),
            output: Vec::new(),
            awaited: 2,
            is_client: false,
            has_closed: false,
            has_seen_close: false,
            has_seen_end: false,
            has_failed: false,
        }
    }

    /// Asks the peer for an answer that is no message.
    pub(crate) fn ping(&mut self) {
        record(PING, &[], &mut self.output);
    }

    fn fail(&mut self, words: &str) -> io::Error {
        self.has_failed = true;
        record(ALERT, &[], &mut self.output);
        Fault::Handshake(words.to_owned()).of_kind(io::ErrorKind::InvalidData)
    }

    fn handle(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        match kind {
            HELLO if self.awaited > 0 => {
                self.awaited -= 1;
                let answers = self.is_client || self.awaited > 0;
                if answers {
                    record(HELLO, &[b'h'; 70], &mut self.output);
                }
                Ok(())
            }
            DATA if self.awaited == 0 => {
                self.plain.extend(content);
                Ok(())
            }
            END => {
                self.has_seen_close = true;
                Ok(())
            }
            PING if self.awaited == 0 && self.output.is_empty() => {
                if content.is_empty() {
                    record(PING, b"!", &mut self.output);
                }
                Ok(())
            }
            PING => Ok(()),
            _ => Err(self.fail("not the record that was expected")),
        }
    }
}

impl Codec for FakeCodec {
    fn feed(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_seen_close {
            return Ok(0);
        }
        assert!(!self.has_failed, "nothing is fed behind a failure");
        if !self.plain.is_empty() {
            return Err(io::Error::other("plaintext is to be read first"));
        }
        let used = bytes.len().min(100);
        self.partial.extend_from_slice(&bytes[..used]);
        while let [kind, high, low, rest @ ..] = &self.partial[..] {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            if len > RECORD_BYTES {
                return Err(self.fail("a record that is too long"));
            }
            if rest.len() < len + TAIL {
                break;
            }
            let (kind, tail, content) = (*kind, rest[len], rest[..len].to_vec());
            self.partial.drain(..HEAD + len + TAIL);
            if tail != TAIL_BYTE {
                return Err(self.fail("a record that was changed"));
            }
            self.handle(kind, &content)?;
        }
        Ok(used)
    }

    fn finish(&mut self) {
        self.has_seen_end = true;
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.plain.is_empty() {
            let len = io::Read::read(&mut self.plain, buffer)?;
            READ.set(READ.get() + len as u64);
            return Ok(len);
        }
        match (self.has_seen_close, self.has_seen_end) {
            (true, _) => Ok(0),
            (false, true) => Err(io::ErrorKind::UnexpectedEof.into()),
            (false, false) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn holds_plaintext(&mut self) -> bool {
        !self.plain.is_empty() || self.has_seen_close
    }

    fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>) -> io::Result<usize> {
        assert!(self.awaited == 0 && !self.has_closed, "nothing is sent now");
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let content: Vec<u8> = bytes.take(RECORD_BYTES).collect();
        self.take_output(out);
        record(DATA, &content, out);
        Ok(content.len())
    }

    fn take_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.output);
    }

    fn is_handshaking(&self) -> bool {
        self.awaited > 0
    }

    fn close(&mut self) {
        if !self.has_failed && !std::mem::replace(&mut self.has_closed, true) {
            record(END, &[], &mut self.output);
        }
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity {
            names: [SubjectName::Dns("fake".into())].into(),
            left_out: 0,
            common_name: None,
            key_hash: KeyHash([7; 32]),
            verified: Verified::Pin,
        })
    }
}
