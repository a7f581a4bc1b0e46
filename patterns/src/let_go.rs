//! Who was let go, of those who have gone.

use ampe::{Closed, Reason};

/// Why one was let go whose channel has ended so; none who had gone by itself before.
pub(crate) fn why_let_go(why: Option<&'static str>, closed: &Closed) -> Option<&'static str> {
    why.filter(|_| closed.reason() == Reason::Aborted)
}
