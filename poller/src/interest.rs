use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

/// What a source is wanted for: to be readable, to be writable, both, or nothing.
///
/// A source that is wanted for nothing reports nothing, not even that its peer hung up.
///
/// # Examples
///
/// ```
/// use ampe_poller::Interest;
///
/// const ECHO: Interest = Interest::BOTH;
/// assert!(ECHO.is_readable() && ECHO.is_writable());
/// assert_eq!(Interest::READABLE | Interest::WRITABLE, ECHO);
/// assert!(Interest::NONE.is_empty());
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Nothing is wanted.
    pub const NONE: Interest = Interest(0);
    /// Data, the end of the stream, or a connection to accept.
    pub const READABLE: Interest = Interest(1);
    /// Room to write, or the outcome of a connection attempt.
    pub const WRITABLE: Interest = Interest(2);
    /// Both of them.
    pub const BOTH: Interest = Interest(3);

    /// Whether reading is wanted.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.0 & Interest::READABLE.0 != 0
    }

    /// Whether writing is wanted.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & Interest::WRITABLE.0 != 0
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The `|` operator, where a constant is needed.
    #[must_use]
    pub const fn union(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }

    /// What both want; the `&` operator, where a constant is needed.
    #[must_use]
    pub const fn intersection(self, other: Interest) -> Interest {
        Interest(self.0 & other.0)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        self.union(other)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Interest) {
        *self = self.union(other);
    }
}

impl BitAnd for Interest {
    type Output = Interest;

    fn bitand(self, other: Interest) -> Interest {
        self.intersection(other)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Interest::NONE => "NONE",
            Interest::READABLE => "READABLE",
            Interest::WRITABLE => "WRITABLE",
            _ => "BOTH",
        })
    }
}
