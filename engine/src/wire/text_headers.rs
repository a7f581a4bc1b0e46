//! Text headers: lines of `name:value` that end with CR LF.
//!
//! The reader is lenient, because the block comes from a peer and means nothing to the engine
//! beyond the addresses; the writer is strict, because whatever it lets through can forge a line.

use std::fmt;
use std::iter::FusedIterator;

use super::MAX_TEXT_HEADERS_LEN;

const LINE_END: &[u8] = b"\r\n";

/// A block of text headers, borrowed, read as it is walked.
///
/// Every block can be read; there is nothing to be rejected:
///
/// - lines end with CR LF, which the last may lack; a CR or LF alone is part of its line;
/// - the first `:` ends the name, and a line without one is a name with an empty value;
/// - spaces and tabs around the value are dropped, those around the name are not;
/// - empty lines and lines with an empty name are skipped, and hide nothing that follows;
/// - order and repetitions are kept, and names are compared byte for byte.
///
/// Names and values are bytes: the wire promises no encoding.
///
/// # Examples
///
/// ```
/// use ampe::wire::TextHeaders;
///
/// let headers = TextHeaders::new(b"Content-Type: text/plain\r\nProgress:[1:2]\r\n");
/// assert_eq!(headers.get("Progress"), Some(&b"[1:2]"[..]));
/// assert_eq!(headers.get("progress"), None);
/// assert_eq!(headers.iter().count(), 2);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TextHeaders<'a>(&'a [u8]);

impl<'a> TextHeaders<'a> {
    /// Reads this block.
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        TextHeaders(block)
    }

    /// The block as it stands on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The headers, in order, as `(name, value)`.
    #[must_use]
    pub const fn iter(&self) -> TextHeadersIter<'a> {
        TextHeadersIter { rest: self.0 }
    }

    /// The value of the first header of this name. Upper and lower case differ.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// The same as text; `None` also if it is not UTF-8.
    #[must_use]
    pub fn get_text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }
}

impl fmt::Debug for TextHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(name, value)| (printable(name), printable(value))),
            )
            .finish()
    }
}

impl<'a> IntoIterator for TextHeaders<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = TextHeadersIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &TextHeaders<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = TextHeadersIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Walks a block of text headers; made by [`TextHeaders::iter`].
#[derive(Clone, Debug)]
pub struct TextHeadersIter<'a> {
    rest: &'a [u8],
}

impl<'a> TextHeadersIter<'a> {
    fn take_line(&mut self) -> &'a [u8] {
        let (line, rest) = match position(self.rest, LINE_END) {
            Some(end) => (&self.rest[..end], &self.rest[end + LINE_END.len()..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        line
    }
}

impl<'a> Iterator for TextHeadersIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let line = self.take_line();
            let (name, value) = match line.iter().position(|&byte| byte == b':') {
                Some(colon) => (&line[..colon], trim(&line[colon + 1..], is_blank)),
                None => (line, &line[line.len()..]),
            };
            // Stopping here instead of skipping would let one line hide every header after it.
            if !name.is_empty() {
                return Some((name, value));
            }
        }
        None
    }
}

impl FusedIterator for TextHeadersIter<'_> {}

/// Why a text header cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TextHeaderError {
    /// The name is empty, or nothing but spaces, tabs, CR and LF.
    #[error("the name of a text header is empty: give it a name")]
    EmptyName,
    /// The name holds a byte that would end it early.
    #[error(
        "the name of a text header holds {byte:#04x}: leave out `:`, carriage return and line feed"
    )]
    InvalidName {
        /// The first such byte: `:`, CR or LF.
        byte: u8,
    },
    /// The value is empty.
    #[error("the value of a text header is empty: give it a value or leave the header out")]
    EmptyValue,
    /// The value holds a byte that would end its line early.
    #[error(
        "the value of a text header holds {byte:#04x}: leave out carriage return and line feed, or \
         put the content into the body"
    )]
    InvalidValue {
        /// The first such byte: CR or LF.
        byte: u8,
    },
    /// The block would be longer than a frame can carry.
    #[error(
        "the text headers would take {needed} bytes and a message carries at most {max}: put the \
         content into the body",
        max = MAX_TEXT_HEADERS_LEN
    )]
    TooLong {
        /// How long the block would be, in bytes.
        needed: usize,
    },
    /// The storage given to [`write_into`] is too short.
    #[error("the text header takes {needed} bytes and the buffer has {available}: give it more")]
    BufferTooSmall {
        /// How long the header is, in bytes.
        needed: usize,
        /// How long the storage is, in bytes.
        available: usize,
    },
}

/// How many bytes the header takes in a block: trimmed name, `:`, value, CR LF.
///
/// # Errors
///
/// - [`TextHeaderError::EmptyName`], [`TextHeaderError::InvalidName`],
///   [`TextHeaderError::EmptyValue`], [`TextHeaderError::InvalidValue`]: as [`append`].
/// - [`TextHeaderError::TooLong`]: it alone is longer than [`MAX_TEXT_HEADERS_LEN`].
pub fn encoded_len(name: &str, value: impl AsRef<[u8]>) -> Result<usize, TextHeaderError> {
    let value = value.as_ref();
    let name = check(name.as_bytes(), value)?;
    within_limit(line_len(name, value))
}

/// Writes one header to the front of `buffer` and returns its length in bytes: for callers with
/// storage of their own. How much the block already holds is the caller's to watch.
///
/// # Errors
///
/// - as [`encoded_len`], and
/// - [`TextHeaderError::BufferTooSmall`]: `buffer` is shorter than [`encoded_len`].
///
/// On an error `buffer` is unchanged.
pub fn write_into(
    buffer: &mut [u8],
    name: &str,
    value: impl AsRef<[u8]>,
) -> Result<usize, TextHeaderError> {
    let (value, available) = (value.as_ref(), buffer.len());
    let name = check(name.as_bytes(), value)?;
    let needed = within_limit(line_len(name, value))?;
    let Some(line) = buffer.get_mut(..needed) else {
        return Err(TextHeaderError::BufferTooSmall { needed, available });
    };
    let (name_part, rest) = line.split_at_mut(name.len());
    let (colon, rest) = rest.split_at_mut(1);
    let (value_part, end) = rest.split_at_mut(value.len());
    name_part.copy_from_slice(name);
    colon.copy_from_slice(b":");
    value_part.copy_from_slice(value);
    end.copy_from_slice(LINE_END);
    Ok(needed)
}

/// Appends one header to a block.
///
/// Spaces, tabs, CR and LF around the name are dropped. The value is written as given, but a reader
/// drops the spaces and tabs around it.
///
/// # Errors
///
/// - [`TextHeaderError::EmptyName`]: nothing of the name is left after trimming.
/// - [`TextHeaderError::InvalidName`]: `:`, CR or LF within the name.
/// - [`TextHeaderError::EmptyValue`]: the value is empty.
/// - [`TextHeaderError::InvalidValue`]: CR or LF anywhere in the value.
/// - [`TextHeaderError::TooLong`]: the block would exceed [`MAX_TEXT_HEADERS_LEN`].
///
/// On an error the block is unchanged.
///
/// # Examples
///
/// ```
/// use ampe::wire::{TextHeaderError, append};
///
/// let mut block = Vec::new();
/// append(&mut block, "Job-Ticket", "JDF")?;
/// assert_eq!(block, b"Job-Ticket:JDF\r\n");
///
/// let forged = append(&mut block, "Comment", "none\r\nJob-Ticket:PDF");
/// assert_eq!(forged, Err(TextHeaderError::InvalidValue { byte: b'\r' }));
/// assert_eq!(block, b"Job-Ticket:JDF\r\n");
/// # Ok::<(), TextHeaderError>(())
/// ```
pub fn append(
    block: &mut Vec<u8>,
    name: &str,
    value: impl AsRef<[u8]>,
) -> Result<(), TextHeaderError> {
    let value = value.as_ref();
    let name = check(name.as_bytes(), value)?;
    within_limit(line_len(name, value).saturating_add(block.len()))?;
    block.reserve(line_len(name, value));
    block.extend_from_slice(name);
    block.push(b':');
    block.extend_from_slice(value);
    block.extend_from_slice(LINE_END);
    Ok(())
}

/// The name, trimmed, if it and the value may be written.
fn check<'a>(name: &'a [u8], value: &[u8]) -> Result<&'a [u8], TextHeaderError> {
    let name = trim(name, |byte| is_blank(byte) || is_line_break(byte));
    if name.is_empty() {
        return Err(TextHeaderError::EmptyName);
    }
    if let Some(&byte) = name
        .iter()
        .find(|&&byte| byte == b':' || is_line_break(byte))
    {
        return Err(TextHeaderError::InvalidName { byte });
    }
    if value.is_empty() {
        return Err(TextHeaderError::EmptyValue);
    }
    // CR and LF are refused one by one, not only as a pair: a reader may well take either alone for
    // the end of a line.
    if let Some(&byte) = value.iter().find(|&&byte| is_line_break(byte)) {
        return Err(TextHeaderError::InvalidValue { byte });
    }
    Ok(name)
}

fn line_len(name: &[u8], value: &[u8]) -> usize {
    name.len()
        .saturating_add(value.len())
        .saturating_add(1 + LINE_END.len())
}

fn within_limit(needed: usize) -> Result<usize, TextHeaderError> {
    if needed > MAX_TEXT_HEADERS_LEN {
        return Err(TextHeaderError::TooLong { needed });
    }
    Ok(needed)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn trim(mut bytes: &[u8], drop: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && drop(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && drop(*last)
    {
        bytes = rest;
    }
    bytes
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests;
