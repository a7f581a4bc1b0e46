//! The bytes that are under way to one end of a stream, or wait to be read there.

use std::collections::VecDeque;
use std::io::Read as _;
use std::time::Instant;

pub(super) struct Pipe {
    pub(super) chunks: VecDeque<(Instant, VecDeque<u8>)>,
    pub(super) len: usize,
    pub(super) last_at: Option<Instant>,
    pub(super) end_at: Option<Instant>,
    pub(super) reset_at: Option<Instant>,
    /// When it was full last.
    pub(super) full_at: Option<Instant>,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Pipe {
            chunks: VecDeque::new(),
            len: 0,
            last_at: None,
            end_at: None,
            reset_at: None,
            full_at: None,
        }
    }

    pub(super) fn has_arrived(&self, now: Instant) -> bool {
        self.chunks.front().is_some_and(|&(at, _)| at <= now)
    }

    /// How many bytes are read at most: those of the front chunks for whose times `arrived` holds.
    pub(super) fn available(&self, arrived: impl Fn(Instant) -> bool) -> usize {
        let chunks = self.chunks.iter().take_while(|(at, _)| arrived(*at));
        chunks.map(|(_, bytes)| bytes.len()).sum()
    }

    /// Takes the front bytes, of as many chunks as it needs: what was written in small parts is not read
    /// in small parts, as with real sockets.
    pub(super) fn take(&mut self, buffer: &mut [u8]) {
        self.len -= buffer.len();
        let mut rest = buffer;
        while !rest.is_empty() {
            let (_, bytes) = self.chunks.front_mut().expect("it has as many bytes");
            let len = bytes.len().min(rest.len());
            let (part, behind) = rest.split_at_mut(len);
            bytes.read_exact(part).expect("it has as many bytes");
            if bytes.is_empty() {
                self.chunks.pop_front();
            }
            rest = behind;
        }
    }

    pub(super) fn is_reset(&self, now: Instant) -> bool {
        self.reset_at.is_some_and(|at| at <= now)
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_written_in_small_parts_is_read_at_once() {
        let now = Instant::now();
        let later = now + Duration::from_millis(1);
        let mut pipe = Pipe::new();
        for (at, byte) in [(now, 1), (now, 2), (now, 3), (later, 4)] {
            pipe.chunks.push_back((at, VecDeque::from([byte])));
            pipe.len += 1;
        }
        assert_eq!(pipe.available(|at| at <= now), 3);
        let mut buffer = [0; 3];
        pipe.take(&mut buffer);
        assert_eq!((buffer, pipe.len), ([1, 2, 3], 1));
        assert_eq!(pipe.available(|at| at <= now), 0);
    }
}
