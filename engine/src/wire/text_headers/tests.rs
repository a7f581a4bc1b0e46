use super::*;

fn read(block: &str) -> Vec<(&str, &str)> {
    TextHeaders::new(block.as_bytes())
        .into_iter()
        .map(|(name, value)| {
            (
                str::from_utf8(name).unwrap(),
                str::from_utf8(value).unwrap(),
            )
        })
        .collect()
}

#[test]
fn reader_follows_its_rules() {
    for (block, expected) in [
        ("", vec![]),
        ("a:b", vec![("a", "b")]),
        ("a:b\r\n", vec![("a", "b")]),
        ("a:b:c\r\n", vec![("a", "b:c")]),
        ("a: \t b \t \r\n", vec![("a", "b")]),
        ("a: b c \r\n", vec![("a", "b c")]),
        (" a\t:b\r\n", vec![(" a\t", "b")]),
        ("a\r\n", vec![("a", "")]),
        ("a:\r\nb", vec![("a", ""), ("b", "")]),
        (
            "\r\n\r\na:b\r\n\r\n\r\nc:d\r\n\r\n",
            vec![("a", "b"), ("c", "d")],
        ),
        (
            "b:1\r\na:2\r\nb:3\r\n",
            vec![("b", "1"), ("a", "2"), ("b", "3")],
        ),
        ("a:b\rc\nd\r\n", vec![("a", "b\rc\nd")]),
        ("a:b\r", vec![("a", "b\r")]),
        ("a:b\r\r\nc:d", vec![("a", "b\r"), ("c", "d")]),
        ("\r\n", vec![]),
        ("\r", vec![("\r", "")]),
    ] {
        assert_eq!(read(block), expected, "{block:?}");
    }
}

#[test]
fn a_line_without_a_name_hides_nothing() {
    assert_eq!(
        read(":x\r\na:b\r\n:\r\n: y\r\nc:d\r\n:z"),
        [("a", "b"), ("c", "d")]
    );
    assert_eq!(read(":"), []);
}

#[test]
fn a_block_of_nothing_but_line_ends_is_walked_to_its_end() {
    let block = "\r\n".repeat(MAX_TEXT_HEADERS_LEN / 2);
    assert_eq!(read(&block), []);
    let mut headers = TextHeaders::new(b":\r\n").iter();
    assert_eq!((headers.next(), headers.next()), (None, None));
}

#[test]
fn get_finds_the_first_of_exactly_that_name() {
    let headers = TextHeaders::new(b"Name:0\r\nname:1\r\nname:2\r\nempty\r\n name:3\r\n");
    assert_eq!(headers.get("name"), Some(&b"1"[..]));
    assert_eq!(headers.get(" name"), Some(&b"3"[..]));
    assert_eq!(headers.get("empty"), Some(&b""[..]));
    assert_eq!(headers.get("NAME"), None);
    assert_eq!(headers.get(""), None);
}

#[test]
fn values_that_are_no_utf8_are_read_and_shown() {
    let headers = TextHeaders::new(b"a:\xFF\xFE\r\n\xC0:b");
    assert_eq!(headers.get("a"), Some(&b"\xFF\xFE"[..]));
    assert_eq!(headers.iter().count(), 2);
    assert_eq!(
        format!("{headers:?}"),
        "{\"a\": \"\u{FFFD}\u{FFFD}\", \"\u{FFFD}\": \"b\"}"
    );
}

#[test]
fn writer_trims_the_name_and_keeps_the_value() {
    let mut block = Vec::new();
    append(&mut block, " \t\r\nName\n\r\t ", " value ").unwrap();
    assert_eq!(block, b"Name: value \r\n");
    append(&mut block, "two words", "a:b").unwrap();
    assert_eq!(block, b"Name: value \r\ntwo words:a:b\r\n");
}

/// Names and values that would be read as something else than what they are.
fn refused() -> Vec<(&'static str, &'static str, TextHeaderError)> {
    vec![
        ("", "x", TextHeaderError::EmptyName),
        (" \t\r\n", "x", TextHeaderError::EmptyName),
        ("a:b", "x", TextHeaderError::InvalidName { byte: b':' }),
        (":", "x", TextHeaderError::InvalidName { byte: b':' }),
        ("a\rb", "x", TextHeaderError::InvalidName { byte: b'\r' }),
        ("a\nb", "x", TextHeaderError::InvalidName { byte: b'\n' }),
        ("a\r\nb", "x", TextHeaderError::InvalidName { byte: b'\r' }),
        ("a", "", TextHeaderError::EmptyValue),
        (
            "a",
            "x\r\nb:y",
            TextHeaderError::InvalidValue { byte: b'\r' },
        ),
        ("a", "x\r", TextHeaderError::InvalidValue { byte: b'\r' }),
        ("a", "\nx", TextHeaderError::InvalidValue { byte: b'\n' }),
    ]
}

#[test]
fn writer_refuses_what_could_forge_a_line_and_leaves_the_block_alone() {
    for (name, value, error) in refused() {
        let mut block = b"kept:1\r\n".to_vec();
        assert_eq!(
            append(&mut block, name, value),
            Err(error),
            "{name:?} {value:?}"
        );
        assert_eq!(block, b"kept:1\r\n");
        assert_eq!(encoded_len(name, value), Err(error));
        let mut buffer = [0xEE; 32];
        assert_eq!(write_into(&mut buffer, name, value), Err(error));
        assert_eq!(buffer, [0xEE; 32]);
    }
}

#[test]
fn the_block_is_filled_to_its_limit_and_no_further() {
    let mut block = Vec::new();
    append(&mut block, "a", "x".repeat(MAX_TEXT_HEADERS_LEN - 4 - 5)).unwrap();
    assert_eq!(block.len(), MAX_TEXT_HEADERS_LEN - 5);
    let too_long = Err(TextHeaderError::TooLong {
        needed: MAX_TEXT_HEADERS_LEN + 1,
    });
    assert_eq!(append(&mut block, "b", "xx"), too_long.map(|_: usize| ()));
    assert_eq!(block.len(), MAX_TEXT_HEADERS_LEN - 5);
    append(&mut block, "b", "x").unwrap();
    assert_eq!(block.len(), MAX_TEXT_HEADERS_LEN);
    assert_eq!(TextHeaders::new(&block).get("b"), Some(&b"x"[..]));
    let longest = "x".repeat(MAX_TEXT_HEADERS_LEN - 4);
    assert_eq!(encoded_len("a", &longest), Ok(MAX_TEXT_HEADERS_LEN));
    assert_eq!(encoded_len("ab", &longest), too_long);
    assert_eq!(
        write_into(&mut vec![0; MAX_TEXT_HEADERS_LEN + 1], "ab", &longest),
        too_long
    );
}

#[test]
fn writing_into_storage_of_the_caller_gives_the_same_bytes() {
    let mut block = Vec::new();
    append(&mut block, " Job-Ticket ", "JDF").unwrap();
    let needed = encoded_len(" Job-Ticket ", "JDF").unwrap();
    assert_eq!(needed, block.len());
    let mut buffer = [0xEE; 32];
    assert_eq!(write_into(&mut buffer, " Job-Ticket ", "JDF"), Ok(needed));
    assert_eq!(buffer[..needed], block);
    assert!(buffer[needed..].iter().all(|&byte| byte == 0xEE));
    assert_eq!(
        write_into(&mut buffer[..needed], "Job-Ticket", "JDF"),
        Ok(needed)
    );
    let available = needed - 1;
    assert_eq!(
        write_into(&mut buffer[..available], "Job-Ticket", "JDF"),
        Err(TextHeaderError::BufferTooSmall { needed, available })
    );
}

#[test]
fn errors_tell_what_is_wrong_and_what_to_do() {
    for (error, expected) in [
        (
            TextHeaderError::InvalidName { byte: b'\n' },
            "holds 0x0a: leave out",
        ),
        (
            TextHeaderError::InvalidValue { byte: b'\r' },
            "put the content into the body",
        ),
        (
            TextHeaderError::TooLong { needed: 70_000 },
            "70000 bytes and a message carries at most 65535",
        ),
        (
            TextHeaderError::BufferTooSmall {
                needed: 9,
                available: 8,
            },
            "takes 9 bytes and the buffer has 8",
        ),
    ] {
        assert!(error.to_string().contains(expected), "{error}");
    }
}
