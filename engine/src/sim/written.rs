//! What the network notes of one end of a stream, by following the frames in what is written.

#[cfg(test)]
use crate::tls::fake;
use crate::wire::{Header, OpCode};

/// What an observer notes of one end, beside its owner.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct StreamRecord {
    /// Frames whose last byte the network accepted.
    pub(super) frames_written: u64,
    /// The last frame that the network accepted is not whole.
    pub(super) is_mid_frame: bool,
    /// The owner read the peer's orderly end.
    pub(super) saw_end: bool,
    /// A reset arrived or is under way.
    pub(super) was_reset: bool,
}

/// The frames that were written so far.
#[derive(Default)]
pub(super) struct Written {
    /// What there is of the header of the frame under way.
    header: Vec<u8>,
    /// The frame under way does not count as sent: engines leave ByeSignals out.
    is_uncounted: bool,
    content_left: usize,
    /// Whether its frames travel in records, once anything was written.
    is_secured: Option<bool>,
    /// A record that was written in part.
    #[cfg(test)]
    record_part: Vec<u8>,
}

impl Written {
    /// Whether anything was written.
    pub(super) fn has_begun(&self) -> bool {
        self.is_secured.is_some()
    }

    /// Whether its frames travel in records.
    pub(super) fn is_secured(&self) -> bool {
        self.is_secured == Some(true)
    }

    /// Follows the frames in what was written: the network's own account of what was sent. One that travels in
    /// records is whole once its last record is. Of the real records of users' tests nothing is known here.
    pub(super) fn count(&mut self, bytes: &[u8], record: &mut StreamRecord) {
        #[cfg(test)]
        if let Some(&first) = bytes.first()
            && *self.is_secured.get_or_insert(fake::is_record(first))
        {
            let frames = fake::whole_records(&mut self.record_part, bytes);
            self.count_frames(&frames, record);
            record.is_mid_frame |= !self.record_part.is_empty();
            return;
        }
        #[cfg(not(test))]
        self.is_secured.get_or_insert(false);
        self.count_frames(bytes, record);
    }

    fn count_frames(&mut self, mut bytes: &[u8], record: &mut StreamRecord) {
        while !bytes.is_empty() {
            if self.content_left > 0 {
                let used = self.content_left.min(bytes.len());
                self.content_left -= used;
                bytes = &bytes[used..];
            } else {
                let used = (Header::LEN - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..used]);
                bytes = &bytes[used..];
                if self.header.len() < Header::LEN {
                    break;
                }
                self.is_uncounted = self.header[2] & 0x0F == OpCode::ByeSignal as u8;
                let length = |at: usize| u16::from_be_bytes([self.header[at], self.header[at + 1]]);
                self.content_left = usize::from(length(12)) + usize::from(length(14));
                self.header.clear();
            }
            let is_whole = self.content_left == 0;
            record.frames_written += u64::from(is_whole && !self.is_uncounted);
        }
        record.is_mid_frame = self.content_left > 0 || !self.header.is_empty();
    }
}
