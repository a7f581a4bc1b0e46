//! SHA-256, and a thread that computes it beside the writing of a file.

use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use ampe::Message;
use sha2::Digest as _;
use sha2::Sha256;

/// A SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    pub(crate) fn of_hasher(hasher: Sha256) -> Digest {
        Digest(hasher.finalize().into())
    }

    /// The hash of all that can be read.
    pub(crate) fn of_reader(mut reader: impl Read) -> std::io::Result<Digest> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Digest::of_hasher(hasher)),
                len => hasher.update(&buffer[..len]),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, for each of many small files: formatting every byte takes longer than hashing them.
        let digits =
            |byte: u8| [byte >> 4, byte & 15].map(|half| char::from(HEX[usize::from(half)]));
        let text: String = self.0.into_iter().flat_map(digits).collect();
        formatter.pad(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a hexadecimal digit stands for.
fn half(digit: u8) -> Result<u8, NoDigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(NoDigest),
    }
}

/// Not 64 hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(NoDigest);
        };
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() {
            return Err(NoDigest);
        }
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (half(high)? << 4) | half(low)?;
        }
        Ok(Digest(bytes))
    }
}

/// Hashes the bodies of messages on a thread of its own, so that a second processor hashes while
/// the first writes. What waits is bounded by the engine's inbound budget, which the messages stay
/// charged to until they are hashed.
pub(crate) struct DigestThread {
    bodies: mpsc::Sender<Vec<Message>>,
    thread: JoinHandle<Sha256>,
}

impl DigestThread {
    /// Goes on behind what the hasher has seen.
    pub(crate) fn spawn(mut hasher: Sha256) -> std::io::Result<DigestThread> {
        let (bodies, received) = mpsc::channel::<Vec<Message>>();
        let hash = move || {
            for message in received.into_iter().flatten() {
                hasher.update(message.body());
            }
            hasher
        };
        let thread = thread::Builder::new()
            .name("ampe-digest".to_owned())
            .spawn(hash)?;
        Ok(DigestThread { bodies, thread })
    }

    /// The next bodies: several, since waking the thread for each takes as long as a tenth of hashing it.
    pub(crate) fn update(&self, messages: Vec<Message>) {
        // The thread ends only after this sender.
        let _ = self.bodies.send(messages);
    }

    /// The hash of all bodies.
    pub(crate) fn finish(self) -> Digest {
        drop(self.bodies);
        match self.thread.join() {
            Ok(hasher) => Digest::of_hasher(hasher),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hash_of_abc_is_that_of_the_standard() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert_eq!(Digest::of_reader(&b"abc"[..]).unwrap().to_string(), ABC);
    }

    #[test]
    fn text_is_read_as_written_and_nothing_else_is() {
        assert_eq!(ABC.parse(), Ok(Digest::of(b"abc")));
        assert_eq!(ABC.to_uppercase().parse(), Ok(Digest::of(b"abc")));
        assert_eq!(format!("{ABC}0").parse::<Digest>(), Err(NoDigest));
        assert_eq!(format!("{ABC}00").parse::<Digest>(), Err(NoDigest));
        assert_eq!(ABC.replace('b', "g").parse::<Digest>(), Err(NoDigest));
        assert_eq!(ABC[1..].parse::<Digest>(), Err(NoDigest));
        assert_eq!(ABC.replace('b', "+").parse::<Digest>(), Err(NoDigest));
        assert_eq!("ä".repeat(32).parse::<Digest>(), Err(NoDigest));
    }
}
