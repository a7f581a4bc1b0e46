use std::fmt;
use std::io;

/// A source could not be taken in; here it is back, with the data that came with it.
pub struct InsertError<S, T = ()> {
    source: S,
    data: T,
    error: io::Error,
}

impl<S, T> InsertError<S, T> {
    pub(crate) fn new(source: S, data: T, error: io::Error) -> Self {
        InsertError {
            source,
            data,
            error,
        }
    }

    /// Why it could not be taken in.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// The source that was not taken in.
    #[must_use]
    pub fn into_source(self) -> S {
        self.source
    }

    /// The source that was not taken in, and what was to be kept beside it.
    #[must_use]
    pub fn into_parts(self) -> (S, T) {
        (self.source, self.data)
    }
}

impl<S, T> From<InsertError<S, T>> for io::Error {
    fn from(refused: InsertError<S, T>) -> io::Error {
        refused.error
    }
}

impl<S, T> fmt::Debug for InsertError<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InsertError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<S, T> fmt::Display for InsertError<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source cannot be polled: {}", self.error)
    }
}

impl<S, T> std::error::Error for InsertError<S, T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
