//! What a fuzzer calls. Unit tests call the same functions, so that they cannot fall into
//! disrepair.
//!
//! Each takes any bytes and panics only where this module itself is wrong.

use super::{
    Frame, Header, HeaderError, MAX_TEXT_HEADERS_LEN, TextHeaders, append, missing, split,
};

/// Reads `bytes` as the stream of a peer: how many frames it holds, or the error that ends it.
///
/// # Errors
///
/// The error of the first header that [`split`] refuses.
///
/// # Panics
///
/// If a property that must hold for any stream does not.
pub fn frames(bytes: &[u8]) -> Result<usize, HeaderError> {
    let mut rest = bytes;
    let mut count = 0;
    loop {
        let lacking = missing(rest);
        match split(rest) {
            Ok(Some((frame, used))) => {
                assert_eq!(lacking, Ok(0), "a whole frame lacks nothing");
                assert!(
                    used >= Header::LEN && used <= rest.len(),
                    "a frame is within its stream"
                );
                assert_eq!(used, frame.header.frame_len());
                check_frame(&frame, &rest[..used]);
                rest = &rest[used..];
                count += 1;
            }
            Ok(None) => {
                check_request_for_more(rest, lacking);
                return Ok(count);
            }
            Err(error) => {
                assert_eq!(lacking, Err(error), "both readers judge a header alike");
                assert_eq!(
                    split(&rest[..Header::LEN]).err(),
                    Some(error),
                    "more bytes change nothing"
                );
                return Err(error);
            }
        }
    }
}

/// Reads `bytes` as a block of text headers: how many it holds.
///
/// # Panics
///
/// If a property that must hold for any block does not.
pub fn text_headers(bytes: &[u8]) -> usize {
    let headers = TextHeaders::new(bytes);
    let mut rewritten = Vec::new();
    let mut count = 0;
    for (name, value) in headers {
        assert!(
            !name.is_empty() && !name.contains(&b':'),
            "a name is never empty"
        );
        assert!(
            !value.starts_with(b" ") && !value.ends_with(b"\t"),
            "a value is trimmed"
        );
        count += 1;
        // What the writer accepts of it reads back as the same header.
        let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value)) else {
            continue;
        };
        let start = rewritten.len();
        if append(&mut rewritten, name, value).is_ok() {
            let trimmed = name.trim_matches([' ', '\t', '\r', '\n']);
            let line = TextHeaders::new(&rewritten[start..]);
            assert!(line.iter().eq([(trimmed.as_bytes(), value.as_bytes())]));
        }
    }
    assert!(rewritten.len() <= MAX_TEXT_HEADERS_LEN);
    count
}

fn check_frame(frame: &Frame<'_>, bytes: &[u8]) {
    let mut encoded = Vec::new();
    frame.append_to(&mut encoded);
    // All but the origin bit and the internal bits must survive.
    let mut expected = bytes.to_vec();
    expected[2] &= 0x2F;
    assert_eq!(encoded, expected, "a frame is encoded as it was received");
    text_headers(frame.text_headers.as_bytes());
}

fn check_request_for_more(rest: &[u8], lacking: Result<usize, HeaderError>) {
    let lacking = lacking.expect("split accepted the header");
    assert!(lacking > 0, "a frame that lacks nothing is whole");
    let announced = match rest.first_chunk::<{ Header::LEN }>() {
        Some(header) => Header::decode(header)
            .expect("split accepted the header")
            .frame_len(),
        None => Header::LEN,
    };
    assert_eq!(
        rest.len() + lacking,
        announced,
        "no more is wanted than was announced"
    );
}
