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
// One word, since a channel is in every event and post: it is copied in a register, compared and hashed at once. The
// number is above the generation, so that channels are in the order of their numbers.
pub struct Channel(u64);

/// So many bits a generation has: at a million channels a second they last for nine years.
const GENERATION_BITS: u32 = 48;

impl Channel {
    /// That of no channel.
    pub(crate) const NONE: Channel = Channel(0);

    pub(crate) fn new(number: u16, generation: u64) -> Self {
        assert!(
            generation >> GENERATION_BITS == 0,
            "a process opens fewer channels"
        );
        Channel(u64::from(number) << GENERATION_BITS | generation)
    }

    /// The channel's number, 1 to 65534: the one that its frames carry.
    #[inline]
    pub fn number(&self) -> u16 {
        (self.0 >> GENERATION_BITS) as u16
    }

    /// The channel's generation, unique within its process, below 2^48.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.0 & ((1 << GENERATION_BITS) - 1)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.number())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Channel({}, generation {})",
            self.number(),
            self.generation()
        )
    }
}
