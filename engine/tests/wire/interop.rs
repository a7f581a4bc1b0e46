//! A recorded conversation of another implementation, decoded to the frames listed beside it and
//! encoded back, byte for byte, in both directions.

use std::fmt::Write as _;

use ampe::address::{Address, CONNECT_TO};
use ampe::wire::{Frame, Header, OpCode, RawProto, TextHeaders, fuzzing, missing, split};
use serde_json::Value;
use sha2::{Digest, Sha256};

// Part of the test binary, so that it also runs where the sources are not at hand.
const LISTING: &str = include_str!("../interop/echo.json");
const RECORDINGS: [(&str, &[u8]); 2] = [
    (
        "echo.client_to_server.bin",
        include_bytes!("../interop/echo.client_to_server.bin"),
    ),
    (
        "echo.server_to_client.bin",
        include_bytes!("../interop/echo.server_to_client.bin"),
    ),
];

struct Stream {
    name: &'static str,
    bytes: &'static [u8],
    listed: Vec<Value>,
}

fn streams() -> [Stream; 2] {
    let listing: Value = serde_json::from_str(LISTING).unwrap();
    let listed = listing["streams"].as_array().unwrap();
    assert_eq!(listed.len(), RECORDINGS.len(), "one stream per direction");
    RECORDINGS.map(|(name, bytes)| {
        let stream = listed.iter().find(|stream| stream["file"] == name).unwrap();
        assert_eq!(number(&stream["bytes"]), bytes.len() as u64, "{name}");
        let listed = stream["frames"].as_array().unwrap().clone();
        assert_eq!(listed.len(), 8, "{name}");
        Stream {
            name,
            bytes,
            listed,
        }
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn read_all(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Some((frame, used)) = split(bytes).unwrap() {
        frames.push(frame);
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty(), "the recording ends with a whole frame");
    frames
}

#[test]
fn every_listed_frame_is_decoded_field_by_field() {
    for stream in streams() {
        let frames = read_all(stream.bytes);
        assert_eq!(frames.len(), stream.listed.len(), "{}", stream.name);
        let mut offset = 0;
        for (frame, listed) in frames.iter().zip(&stream.listed) {
            let header = frame.header;
            let at = format!("{} at {offset}: {listed}", stream.name);
            assert_eq!(number(&listed["offset"]), offset as u64, "{at}");
            let header_bytes = &stream.bytes[offset..offset + Header::LEN];
            assert_eq!(listed["header_hex"], hex(header_bytes), "{at}");
            let raw = RawProto::of(header_bytes.first_chunk().unwrap());
            assert_eq!(number(&listed["proto"]), u64::from(raw.0), "{at}");
            assert_eq!(
                listed["origin"] == "engine",
                raw.claims_engine_origin(),
                "{at}"
            );
            assert_eq!(listed["op_code"], header.op_code.name(), "{at}");
            assert_eq!(listed["more"], header.more, "{at}");
            assert_eq!(
                number(&listed["channel_number"]),
                u64::from(header.channel_number),
                "{at}"
            );
            assert_eq!(number(&listed["status"]), u64::from(header.status), "{at}");
            assert_eq!(number(&listed["message_id"]), header.message_id, "{at}");
            let text_headers_len = number(&listed["text_headers_len"]);
            assert_eq!(text_headers_len, u64::from(header.text_headers_len), "{at}");
            assert_eq!(
                number(&listed["body_len"]),
                u64::from(header.body_len),
                "{at}"
            );
            let block = listed["text_headers"].as_str().unwrap();
            assert_eq!(frame.text_headers.as_bytes(), block.as_bytes(), "{at}");
            match listed.get("body_hex") {
                Some(body) => assert_eq!(*body, hex(frame.body), "{at}"),
                None => assert_eq!(
                    listed["body_sha256"],
                    hex(&Sha256::digest(frame.body)),
                    "{at}"
                ),
            }
            offset += header.frame_len();
        }
    }
}

#[test]
fn every_listed_frame_is_encoded_to_the_recorded_bytes() {
    for stream in streams() {
        let mut encoded = Vec::new();
        for (listed, recorded) in stream.listed.iter().zip(read_all(stream.bytes)) {
            // From the listing, so that a mistake that decoding and encoding share is seen.
            let op_code = OpCode::ALL
                .into_iter()
                .find(|op_code| listed["op_code"] == op_code.to_string())
                .unwrap();
            let header = Header {
                channel_number: number(&listed["channel_number"]).try_into().unwrap(),
                op_code,
                more: listed["more"].as_bool().unwrap(),
                status: number(&listed["status"]).try_into().unwrap(),
                message_id: number(&listed["message_id"]),
                text_headers_len: number(&listed["text_headers_len"]).try_into().unwrap(),
                body_len: number(&listed["body_len"]).try_into().unwrap(),
            };
            let block = listed["text_headers"].as_str().unwrap();
            let text_headers = TextHeaders::new(block.as_bytes());
            Frame {
                header,
                text_headers,
                body: recorded.body,
            }
            .append_to(&mut encoded);
        }
        assert_eq!(encoded.len(), stream.bytes.len(), "{}", stream.name);
        let difference = encoded
            .iter()
            .zip(stream.bytes)
            .position(|(ours, theirs)| ours != theirs);
        assert_eq!(difference, None, "{}: first differing byte", stream.name);
    }
}

#[test]
fn the_text_headers_are_written_as_the_other_implementation_wrote_them() {
    for stream in streams() {
        for frame in read_all(stream.bytes) {
            let mut block = Vec::new();
            for (name, value) in frame.text_headers {
                let (name, value) = (
                    str::from_utf8(name).unwrap(),
                    str::from_utf8(value).unwrap(),
                );
                ampe::wire::append(&mut block, name, value).unwrap();
            }
            assert_eq!(block, frame.text_headers.as_bytes(), "{}", stream.name);
        }
    }
}

#[test]
fn the_hello_names_the_address_that_was_connected_to() {
    let streams = streams();
    for (stream, op_code) in streams
        .iter()
        .zip([OpCode::HelloRequest, OpCode::HelloResponse])
    {
        let frames = read_all(stream.bytes);
        assert_eq!(frames[0].header.op_code, op_code);
        let value = frames[0].text_headers.get(CONNECT_TO).unwrap();
        let address = Address::from_wire_bytes(value).unwrap();
        assert_eq!(address, "tcp://127.0.0.1:7422".parse().unwrap());
        assert_eq!(address.to_wire().as_bytes(), value);
    }
}

#[test]
fn a_recording_cut_anywhere_yields_the_frames_before_the_cut() {
    for stream in streams() {
        let ends: Vec<usize> = read_all(stream.bytes)
            .iter()
            .scan(0, |end, frame| {
                *end += frame.header.frame_len();
                Some(*end)
            })
            .collect();
        assert_eq!(
            fuzzing::frames(stream.bytes),
            Ok(ends.len()),
            "{}",
            stream.name
        );
        // The first frame of what is left begins where the last whole one before the cut ended.
        for cut in 0..stream.bytes.len() {
            let whole = ends.partition_point(|&end| end <= cut);
            let start = if whole == 0 { 0 } else { ends[whole - 1] };
            let rest = &stream.bytes[start..cut];
            assert_eq!(split(rest), Ok(None), "{} cut at {cut}", stream.name);
            let wanted = if rest.len() < Header::LEN {
                Header::LEN
            } else {
                ends[whole] - start
            };
            assert_eq!(
                missing(rest),
                Ok(wanted - rest.len()),
                "{} cut at {cut}",
                stream.name
            );
        }
    }
}
