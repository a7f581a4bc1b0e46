//! The application's handle of a channel.

use std::fmt;

/// A channel as the application names it: a listener or one connection to a peer.
///
/// A handle is a number and a generation. The number, 1 to 65534, is what travels in frames and
/// what people read in logs; it is used again once the application has taken the channel's
/// `Closed` event. The generation is never used again, so a handle that outlives its channel is
/// refused, however often its number has been given out since.
#[doc(alias = "nng_pipe_id")]
#[doc(alias = "ZMQ_ROUTING_ID")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel {
    number: u16,
    /// As bytes, which need no gap before them: a channel is in every event and post, and the smaller those
    /// are, the more messages pass. Big-endian, so that they are in the order of the numbers.
    generation: [u8; 8],
}

impl Channel {
    /// That of no channel.
    pub(crate) const NONE: Channel = Channel {
        number: 0,
        generation: [0; 8],
    };

    pub(crate) fn new(number: u16, generation: u64) -> Self {
        Channel {
            number,
            generation: generation.to_be_bytes(),
        }
    }

    /// The channel's number, 1 to 65534: the one that its frames carry.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The channel's generation, unique within its process.
    pub fn generation(&self) -> u64 {
        u64::from_be_bytes(self.generation)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.number)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Channel({}, generation {})",
            self.number,
            self.generation()
        )
    }
}
