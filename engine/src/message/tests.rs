use std::sync::Arc;

use crate::between::key::RecordKey;
use crate::between::wake::Wake;
use crate::storage::{Pool, cost_of};
use crate::wire::{Header, OpCode, TextHeaderError};

use super::{Message, MessageError};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// A pool that keeps nothing, so that it goes with its messages.
pub(super) fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(0, Box::new(Nobody)))
}

pub(super) fn message() -> Message {
    Message::new(&pool())
}

/// A message as a peer sent it.
pub(super) fn received(pool: &Arc<Pool>, block: &[u8], body: &[u8]) -> Message {
    let header = Header {
        channel_number: 1,
        op_code: OpCode::Signal,
        more: false,
        status: 0,
        message_id: 1,
        text_headers_len: u16::try_from(block.len()).unwrap(),
        body_len: u16::try_from(body.len()).unwrap(),
    };
    let mut storage = pool.take(header.frame_len());
    let key = RecordKey {
        index: 3,
        generation: 1,
    };
    storage.charge_inbound(key, cost_of(header.frame_len()));
    let mut message = Message::receiving(storage, &header);
    message
        .content_mut()
        .copy_from_slice(&[block, body].concat());
    message
}

pub(super) fn released(pool: &Pool) -> usize {
    let mut released = Vec::new();
    pool.take_released(&mut released, None);
    released.iter().map(|&(_, cost)| cost).sum()
}

#[test]
fn headers_keep_their_order_and_repetitions_in_front_of_the_body() {
    let mut message = message().with_body(b"the body").unwrap();
    for (name, value) in [("One", "1"), ("Two", "2"), ("One", "3")] {
        message.add_header(name, value).unwrap();
    }
    let headers: Vec<_> = message.text_headers().iter().collect();
    let expected: [(&[u8], &[u8]); 3] = [(b"One", b"1"), (b"Two", b"2"), (b"One", b"3")];
    assert_eq!(headers, expected);
    assert_eq!(message.text_headers().get("One"), Some(&b"1"[..]));
    assert_eq!(message.body(), b"the body");
    let block = message.text_headers().as_bytes().len();
    assert_eq!(usize::from(message.text_headers_len()), block);
    assert_eq!(message.frame_len(), 16 + block + 8);
    message.set_body(b"another").unwrap();
    assert_eq!(
        message.text_headers().iter().count(),
        3,
        "the body's alone is set"
    );
    assert_eq!(message.body(), b"another");
}

#[test]
fn a_body_lent_for_writing_is_the_body_and_nothing_else() {
    let mut message = message()
        .with_header("Name", "value")
        .unwrap()
        .with_body(b"abc")
        .unwrap();
    assert_eq!(message.body_mut().len(), 3);
    message.body_mut().fill(b'x');
    assert_eq!(message.body(), b"xxx");
    assert_eq!(message.text_headers().get("Name"), Some(&b"value"[..]));
    assert!(Message::empty().body_mut().is_empty());
    assert!(Message::empty().body().is_empty());
}

#[test]
fn what_cannot_be_written_leaves_a_message_as_it_was() {
    let mut message = message()
        .with_header("Name", "value")
        .unwrap()
        .with_body(b"abc")
        .unwrap();
    let reserved = ["~", "~connect_to", " ~connect_to", "\t~x"];
    for name in reserved {
        let error = message.add_header(name, "value").unwrap_err();
        assert!(
            matches!(error, MessageError::ReservedName { .. }),
            "{name:?}"
        );
    }
    for (name, value) in [
        ("", "v"),
        ("a:b", "v"),
        ("a\rb", "v"),
        ("a", ""),
        ("a", "x\ny"),
        ("a", "x\r"),
    ] {
        let error = message.add_header(name, value).unwrap_err();
        assert!(
            matches!(error, MessageError::TextHeader(_)),
            "{name:?}: {value:?}"
        );
    }
    let error = message.set_body(&[0; 65_536]).unwrap_err();
    assert_eq!(error, MessageError::BodyTooLong { len: 65_536 });
    assert_eq!(message.text_headers().as_bytes(), b"Name:value\r\n");
    assert_eq!(message.body(), b"abc");
}

#[test]
fn the_longest_headers_and_the_longest_body_fit_together_and_no_more() {
    let mut message = message().with_body(&[7; 65_535]).unwrap();
    let value = "x".repeat(65_535 - "Long:\r\n".len() - "A:b\r\n".len());
    message.add_header("Long", &value).unwrap();
    let error = message.add_header("A", "bc").unwrap_err();
    let too_long = TextHeaderError::TooLong { needed: 65_536 };
    assert_eq!(error, MessageError::TextHeader(too_long));
    message.add_header("A", "b").unwrap();
    assert_eq!(message.text_headers_len(), 65_535);
    assert_eq!(message.text_headers().get("Long"), Some(value.as_bytes()));
    assert_eq!(message.body(), [7; 65_535]);
}

#[test]
fn a_cleared_message_has_no_content_and_can_be_filled_anew() {
    let mut message = message()
        .with_header("Name", "value")
        .unwrap()
        .with_body(b"abc")
        .unwrap();
    message.clear();
    assert!(message.body().is_empty());
    assert!(message.text_headers().as_bytes().is_empty());
    assert_eq!(message.frame_len(), 16);
    assert_eq!(message.resize_body(3).unwrap(), [0; 3], "cut off for good");
    message.add_header("Other", "1").unwrap();
    assert_eq!(message.text_headers().as_bytes(), b"Other:1\r\n");
}

/// Peers may leave the end of their last line out.
#[test]
fn a_header_behind_a_line_without_an_end_starts_a_line_of_its_own() {
    let pool = pool();
    let mut message = received(&pool, b"One:1\r\nTwo:2", b"body");
    message.add_header("Three", "3").unwrap();
    let block = message.text_headers().as_bytes();
    assert_eq!(block, b"One:1\r\nTwo:2\r\nThree:3\r\n");
    assert_eq!(message.body(), b"body");
}

#[test]
fn all_headers_of_a_name_are_removed_and_all_else_stays_as_it_is() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"A:1\r\nB:2\r\n", b"A:1\r\nB:2\r\n"),
        (b"~x:1\r\nB:2\r\n~x:3\r\n", b"B:2\r\n"),
        (b"A : 1\r\n~x:2", b"A : 1\r\n"),
        (b"~x:2\r\n\r\n:odd\r\nB", b"\r\n:odd\r\nB"),
        (b"~x", b""),
    ];
    for (block, expected) in cases {
        let pool = pool();
        let mut message = received(&pool, block, b"the body");
        message.remove_headers("~x");
        assert_eq!(message.text_headers().as_bytes(), expected, "{block:?}");
        assert_eq!(message.body(), b"the body", "{block:?}");
    }
}

/// What was received is charged for the storage that it came in. Grown out of that, it is the
/// application's.
#[test]
fn a_received_message_is_charged_until_it_outgrows_its_storage() {
    let pool = pool();
    let cost = cost_of(16 + 4);
    let mut message = received(&pool, b"", b"body");
    message.resize_body(100).unwrap();
    assert_eq!(released(&pool), 0, "the same storage");
    message.resize_body(300).unwrap();
    assert_eq!(released(&pool), cost);
    assert_eq!(message.body()[..4], *b"body");
    drop(message);
    assert_eq!(released(&pool), 0, "once");

    let mut message = received(&pool, b"", b"body");
    message.storage_mut().release_inbound();
    assert_eq!(
        released(&pool),
        cost,
        "what a report holds is the application's at once"
    );
    message.storage_mut().release_inbound();
    drop(message);
    assert_eq!(released(&pool), 0, "once");
}

/// What one engine lent goes back there when another takes the message, with its charge.
#[test]
fn an_adopted_message_leaves_its_storage_and_its_charge_behind() {
    let (theirs, ours) = (pool(), pool());
    let mut message = received(&theirs, b"A:1\r\n", b"body");
    let cost = message.cost();
    message.adopt(&ours);
    assert_eq!(released(&theirs), cost);
    assert!(Arc::ptr_eq(message.storage().home().unwrap(), &ours));
    assert_eq!(message.text_headers().get("A"), Some(&b"1"[..]));
    assert_eq!(message.body(), b"body");
    let place = message.frame()[0].as_ptr();
    message.adopt(&ours);
    assert_eq!(
        message.frame()[0].as_ptr(),
        place,
        "it is ours, and stays where it is"
    );
}

/// Logs hold no content.
#[test]
fn a_message_is_shown_by_its_lengths() {
    let message = message()
        .with_header("Secret", "s3cret")
        .unwrap()
        .with_body(b"s3cret")
        .unwrap();
    let shown = format!("{message:?}");
    assert!(
        shown.contains("15") && shown.contains("body_len: 6"),
        "{shown}"
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_message_grows_in_place_as_far_as_its_storage_goes() {
    let mut it = message();
    it.resize_body(1).unwrap();
    let place = it.storage().bytes().as_ptr();
    let room = it.storage().bytes().len() - Header::LEN;
    it.resize_body(room).unwrap();
    assert_eq!(it.storage().bytes().as_ptr(), place);
    it.resize_body(room + 1).unwrap();
    assert_ne!(it.storage().bytes().as_ptr(), place);
}

#[test]
fn a_clone_is_the_same_and_charged_to_nobody() {
    let pool = pool();
    let original = received(&pool, b"Name:value\r\n", b"the body");
    let clone = original.clone();
    assert_eq!(clone.text_headers().get_text("Name"), Some("value"));
    assert_eq!(clone.body(), b"the body");
    drop(clone);
    assert_eq!(released(&pool), 0);
    drop(original);
    assert!(released(&pool) > 0);
    assert_eq!(Message::empty().clone().body(), b"");
}

#[test]
fn a_body_is_written_to_its_limit() {
    use std::io::{ErrorKind, Write};
    let mut message = message().with_header("Name", b"\xff").unwrap();
    write!(message, "{}", 17).unwrap();
    message.write_all(&[7; 65_000]).unwrap();
    assert_eq!(message.body().len(), 65_002);
    assert_eq!(message.write(&[8; 1000]).unwrap(), 533);
    let full = message.write_all(b"x").unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WriteZero);
    assert_eq!(message.body()[..4], *b"17\x07\x07");
    assert_eq!(message.body()[65_534], 8);
    let headers = message.text_headers();
    assert_eq!(headers.get("Name"), Some(&b"\xff"[..]));
    assert_eq!(headers.get_text("Name"), None);
}

#[test]
fn a_message_is_shown_in_one_line_whatever_is_in_it() {
    let shown = |headers: &[(&str, &[u8])], body: &[u8]| {
        let mut message = message().with_body(body).unwrap();
        for &(name, value) in headers {
            message.add_header(name, value).unwrap();
        }
        message.to_string()
    };
    assert_eq!(shown(&[], b""), "no body");
    assert_eq!(shown(&[], b"x"), "1 byte \"x\"");
    let headers: [(&str, &[u8]); 2] = [("A", b"1"), ("B\x1b", b"\xff\x07")];
    assert_eq!(
        shown(&headers, b"two\nlines"),
        "A: 1; B\\u{1b}: \u{fffd}\\u{7}; 9 bytes \"two\\nlines\""
    );
    assert_eq!(shown(&[], b"\x00\xff"), "2 bytes 00ff");
    assert_eq!(
        shown(&[], &[b'a'; 100]),
        format!("100 bytes \"{}\"...", "a".repeat(64))
    );
    let cut = shown(&[], format!("{}\u{e4}b", "a".repeat(63)).as_bytes());
    assert_eq!(cut, format!("66 bytes \"{}\"...", "a".repeat(63)));
    assert_eq!(
        shown(&[], &[0xff; 100]),
        format!("100 bytes {}...", "ff".repeat(16))
    );
}
