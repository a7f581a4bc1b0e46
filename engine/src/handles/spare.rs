//! Empty buffers for small frames: the reactor gives back what was sent, posters take.

/// What the buffers of one list take at most, in bytes.
pub(crate) const SPARE_BYTES: usize = 1 << 20;

/// So many buffers a list keeps at most.
pub(crate) const SPARE_MAX: usize = 4096;

#[derive(Default)]
pub(crate) struct Spare {
    buffers: Vec<Vec<u8>>,
    /// What they take.
    bytes: usize,
}

impl Spare {
    /// An empty buffer, which has memory if one is left that has.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps the memory of a buffer, if there is room for it.
    #[inline]
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        if bytes <= SPARE_BYTES && self.buffers.len() < SPARE_MAX {
            buffer.clear();
            self.bytes = bytes;
            self.buffers.push(buffer);
        }
    }

    /// Takes over what another has, as far as there is room.
    pub(crate) fn take_over(&mut self, other: &mut Spare) {
        if self.buffers.is_empty() {
            return std::mem::swap(self, other);
        }
        other.bytes = 0;
        other.buffers.drain(..).for_each(|it| self.give(it));
    }

    /// What they take, with their places in the list.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let kept: usize = self.buffers.iter().map(Vec::capacity).sum();
        assert_eq!(kept, self.bytes);
        kept + self.buffers.capacity() * size_of::<Vec<u8>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept_up_to_their_bounds() {
        let mut spare = Spare::default();
        assert_eq!(spare.take().capacity(), 0);
        for _ in 0..40 {
            spare.give(Vec::with_capacity(64 * 1024));
        }
        assert_eq!(spare.bytes, SPARE_BYTES);
        let mut other = Spare::default();
        for _ in 0..2 * SPARE_MAX {
            other.give(vec![7; 1]);
        }
        assert_eq!(other.buffers.len(), SPARE_MAX);
        let mut all = Spare::default();
        all.take_over(&mut other);
        all.take_over(&mut spare);
        assert!(all.bytes() <= SPARE_BYTES + 4 * SPARE_MAX * size_of::<Vec<u8>>());
        assert_eq!((other.bytes(), spare.bytes), (0, 0));
        assert!(all.take().is_empty(), "what was in them is gone");
    }
}
