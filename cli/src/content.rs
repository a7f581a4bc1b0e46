//! What a message is made of, as the command line says it: text headers and a body.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ampe::Message;

use crate::error::Failure;
use crate::output;

/// The longest body of a message, in bytes.
pub(crate) const BODY_MAX: usize = 65_535;

/// A text header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    name: String,
    value: String,
}

/// Reads `Name:Value`, for the command line.
pub(crate) fn header(text: &str) -> Result<Header, String> {
    let refused = || format!("{text:?} is no header: give Name:Value");
    let (name, value) = text.split_once(':').ok_or_else(refused)?;
    let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
    if name.is_empty() {
        return Err(refused());
    }
    Ok(Header { name, value })
}

/// Adds the headers to a message.
pub(crate) fn with(message: Message, headers: &[Header]) -> Result<Message, Failure> {
    headers.iter().try_fold(message, |message, header| {
        let Header { name, value } = header;
        message
            .with_header(name, value)
            .map_err(|error| Failure::Usage(format!("the header {name:?}: {error}")))
    })
}

/// The body that an argument stands for: `-` for all of stdin, `@FILE` for a file, or the text itself.
pub(crate) fn body(argument: Option<&OsString>) -> Result<Vec<u8>, Failure> {
    let Some(argument) = argument else {
        return Ok(Vec::new());
    };
    let bytes = argument.as_encoded_bytes();
    let (name, read) = match (bytes, argument.to_str()) {
        (b"-", _) => ("stdin".to_owned(), read_all(io::stdin().lock())),
        (_, Some(text)) if text.starts_with('@') => {
            let path = Path::new(&text[1..]);
            let read = File::open(path).and_then(read_all);
            (output::shown(path.display()), read)
        }
        _ => ("BODY".to_owned(), Ok(bytes.to_owned())),
    };
    let read = read.map_err(|error| {
        Failure::new(format!(
            "cannot read {name}: {error}: check the name and its permissions"
        ))
    })?;
    if read.len() > BODY_MAX {
        return Err(Failure::Usage(format!(
            "{name} is longer than a message's body, which has {BODY_MAX} bytes at most: send a file \
             with `ampe send`"
        )));
    }
    Ok(read)
}

/// What is too long for a body need not be read to its end.
fn read_all(source: impl Read) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    source
        .take(BODY_MAX as u64 + 1)
        .read_to_end(&mut read)
        .map(|_| read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_name_and_value() {
        let read = |text| header(text).map(|header| (header.name, header.value));
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(read("A: b:c "), pair("A", "b:c"));
        assert_eq!(read("A:"), pair("A", ""));
        assert!(read("A").is_err() && read(":b").is_err() && read("").is_err());
    }

    #[test]
    fn bodies_are_texts_and_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let argument = OsString::from(format!("@{}", path.display()));
        assert!(matches!(body(Some(&argument)), Err(Failure::Failed(_))));
        std::fs::write(&path, [0xff; BODY_MAX]).unwrap();
        assert_eq!(body(Some(&argument)).unwrap(), [0xff; BODY_MAX]);
        std::fs::write(&path, [0; BODY_MAX + 1]).unwrap();
        assert!(matches!(body(Some(&argument)), Err(Failure::Usage(_))));
        assert_eq!(body(Some(&"text".into())).unwrap(), b"text");
        assert_eq!(body(None).unwrap(), b"");
    }
}
