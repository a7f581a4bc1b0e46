//! What the system said of a failure, kept until a channel's end is told.

use std::io;
use std::sync::Arc;

/// An error of the system, or of what asks it: as `io::Error`, which cannot be copied.
#[derive(Clone, Debug)]
pub(crate) enum SystemError {
    Number(i32),
    /// Without a number the words are all there is: they may name a cause, and what helps.
    Words(Arc<(io::ErrorKind, String)>),
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => SystemError::Number(number),
            None => SystemError::Words(Arc::new((error.kind(), error.to_string()))),
        }
    }
}

impl From<&SystemError> for io::Error {
    fn from(error: &SystemError) -> Self {
        match error {
            SystemError::Number(number) => io::Error::from_raw_os_error(*number),
            SystemError::Words(words) => io::Error::new(words.0, words.1.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_come_through() {
        let told = |error: io::Error| io::Error::from(&SystemError::from(&error));
        assert_eq!(
            told(io::Error::from_raw_os_error(2)).raw_os_error(),
            Some(2)
        );
        let words = told(io::Error::new(io::ErrorKind::Unsupported, "do this"));
        assert_eq!(words.kind(), io::ErrorKind::Unsupported);
        assert_eq!(words.to_string(), "do this");
    }
}
