//! Bodies from types of the application's, and back.
//!
//! With the feature `json` a body is JSON, which people and other languages read; with `postcard` it is
//! [postcard](https://postcard.jamesmunns.com/wire-format), which is binary and short. The text header
//! [`CONTENT_TYPE`] says which, so that a receiver that expects something else is told so, and does not take one for
//! the other.
//!
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use ampe_patterns::body::{JsonBody, ReadError};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Order {
//!     article: String,
//!     count: u32,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let engine = ampe::Engine::start(ampe::Options::default())?;
//! let order = Order { article: "tea".to_owned(), count: 3 };
//! let message = engine.message().with_json(&order)?;
//! assert_eq!(message.body(), br#"{"article":"tea","count":3}"#);
//! let order: Order = message.json()?; // of what was received: `request.message().json()`
//! assert_eq!(order.count, 3);
//!
//! let plain = engine.message().with_body(b"3 tea")?;
//! assert!(matches!(plain.json::<Order>(), Err(ReadError::ContentType { found: None, .. })));
//! # Ok(()) }
//! ```
//!
//! A value is written right into the message's body. What does not fit into its 65,535 bytes is an error, before
//! anything is posted; what is longer can be written by [`PartWriter`](ampe::PartWriter), in parts.
//! What is read may be anything that a peer likes to send. It makes a value or a [`ReadError`], and takes
//! memory as the type does: an `enum` or a `struct` little, a `Vec<()>` from postcard as much as the peer says.
//!
//! **Do not read a recursive type from postcard**: one that holds itself, such as a tree of `Box`es, or a list of lists of
//! its own kind. Nothing bounds how deep the value is that a peer sends: some ten thousand bytes are a value so deep that
//! to read it overflows the stack, and that ends the process. JSON that is nested more than 128 deep is a [`ReadError`].

use std::fmt;

use ampe::{Message, MessageError};

/// The text header that says what a body is.
pub const CONTENT_TYPE: &str = "Content-Type";

/// Of JSON.
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub const JSON: &str = "application/json";

/// Of postcard.
#[cfg(feature = "postcard")]
#[cfg_attr(docsrs, doc(cfg(feature = "postcard")))]
pub const POSTCARD: &str = "application/postcard";

/// A value that was not written into a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It takes more than the 65,535 bytes of a body.
    #[error("the value takes more than the 65535 bytes of a body: split it, or send it in parts")]
    TooLong,
    /// The message says already that it is something else.
    #[error("the message has the Content-Type {found:?} already, and would be {wanted}")]
    ContentType {
        /// What it would be.
        wanted: &'static str,
        /// What it says.
        found: String,
    },
    /// There is no room for the header that says what it is.
    #[error(transparent)]
    Header(#[from] MessageError),
    /// The format has no words for it, such as JSON for a map whose keys are no strings.
    #[error("the value cannot be written as {format}: {why}")]
    Value {
        /// The content type.
        format: &'static str,
        /// What the format's library says.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A body that is not the value that was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The message says that it is something else, or does not say what it is.
    #[error("{wanted} is expected, and the message {}", Says(found.as_deref()))]
    ContentType {
        /// What was expected.
        wanted: &'static str,
        /// What the message says, if it does.
        found: Option<String>,
    },
    /// The body breaks the rules of its format, or is another type's.
    #[error("the body is not what is expected as {format}: {why}")]
    Syntax {
        /// The content type.
        format: &'static str,
        /// What the format's library says: of JSON with line and column.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// So many bytes follow behind the value.
    #[error("{bytes} bytes follow behind the value")]
    TooLong {
        /// Their number.
        bytes: usize,
    },
}

struct Says<'a>(Option<&'a str>);

impl fmt::Display for Says<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => write!(formatter, "says that it is {found:?}"),
            None => write!(formatter, "does not say what it is"),
        }
    }
}

/// What the message says that it is.
fn content_type(message: &Message) -> Option<String> {
    let value = message.text_headers().get(CONTENT_TYPE)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Whether that is what is wanted. Upper or lower case are the same, and so it is with parameters, as of a
/// character set.
fn is_of(found: &str, wanted: &str) -> bool {
    let kind = found.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(wanted)
}

/// Empties the body, and has the message say what it will be.
fn begin(mut message: Message, wanted: &'static str) -> Result<Message, WriteError> {
    match content_type(&message) {
        None => message.add_header(CONTENT_TYPE, wanted)?,
        Some(found) if is_of(&found, wanted) => {}
        Some(found) => return Err(WriteError::ContentType { wanted, found }),
    }
    message.set_body(b"")?;
    Ok(message)
}

/// Whether the message says that it is what is wanted.
fn check(message: &Message, wanted: &'static str) -> Result<(), ReadError> {
    match content_type(message) {
        Some(found) if is_of(&found, wanted) => Ok(()),
        found => Err(ReadError::ContentType { wanted, found }),
    }
}

/// Messages whose bodies are JSON.
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub trait JsonBody: Sized {
    /// Sets the body to a value, and the header [`CONTENT_TYPE`] to [`JSON`].
    ///
    /// # Errors
    ///
    /// [`WriteError`]. The message is dropped then.
    fn with_json<T: serde::Serialize + ?Sized>(self, value: &T) -> Result<Self, WriteError>;

    /// The body as a value, which may borrow from it. One that is nested more than 128 deep is an error.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ReadError>;
}

#[cfg(feature = "json")]
impl JsonBody for Message {
    fn with_json<T: serde::Serialize + ?Sized>(self, value: &T) -> Result<Self, WriteError> {
        let mut message = begin(self, JSON)?;
        // A message takes what fits into a body, and fails for no other reason.
        serde_json::to_writer(&mut message, value).map_err(|why| match why.is_io() {
            true => WriteError::TooLong,
            false => WriteError::Value {
                format: JSON,
                why: why.into(),
            },
        })?;
        Ok(message)
    }

    fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ReadError> {
        check(self, JSON)?;
        serde_json::from_slice(self.body()).map_err(|why| ReadError::Syntax {
            format: JSON,
            why: why.into(),
        })
    }
}

/// Messages whose bodies are postcard.
#[cfg(feature = "postcard")]
#[cfg_attr(docsrs, doc(cfg(feature = "postcard")))]
pub trait PostcardBody: Sized {
    /// Sets the body to a value, and the header [`CONTENT_TYPE`] to [`POSTCARD`].
    ///
    /// # Errors
    ///
    /// [`WriteError`]. The message is dropped then.
    fn with_postcard<T: serde::Serialize + ?Sized>(self, value: &T) -> Result<Self, WriteError>;

    /// The body as a value, which may borrow from it. A body does not say of which type it is: both sides have
    /// to mean the same.
    ///
    /// `T` must not be recursive, or hold a type that is: a peer can send a value so deep that reading it overflows the
    /// stack, which ends the process.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn postcard<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ReadError>;
}

#[cfg(feature = "postcard")]
impl PostcardBody for Message {
    fn with_postcard<T: serde::Serialize + ?Sized>(self, value: &T) -> Result<Self, WriteError> {
        let mut message = begin(self, POSTCARD)?;
        postcard::to_io(value, &mut message).map_err(|why| match why {
            postcard::Error::SerializeBufferFull => WriteError::TooLong,
            why => WriteError::Value {
                format: POSTCARD,
                why: why.into(),
            },
        })?;
        Ok(message)
    }

    fn postcard<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ReadError> {
        check(self, POSTCARD)?;
        let (value, rest) =
            postcard::take_from_bytes(self.body()).map_err(|why| ReadError::Syntax {
                format: POSTCARD,
                why: why.into(),
            })?;
        match rest.len() {
            0 => Ok(value),
            bytes => Err(ReadError::TooLong { bytes }),
        }
    }
}
