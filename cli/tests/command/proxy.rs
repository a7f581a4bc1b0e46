//! `ampe proxy`: what passes is what was sent, and is shown.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::peer::Peer;
use crate::common::{
    self, Place, content, echo, has_unix_sockets, nobody, run, start, start_with, until,
};

#[test]
fn every_frame_is_shown_as_it_passes() {
    let (_echo, to) = echo("127.0.0.1:0", &[]);
    let mut proxy = start(&["proxy", "--listen", "127.0.0.1:0", "--to", &to, "--json"]);
    let listening: Value = serde_json::from_str(&proxy.line()).unwrap();
    let address = listening["address"].as_str().unwrap();
    run(&["call", "--to", address, "-H", "Kind:test", "hello"]).assert_succeeds();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let frame: Value = serde_json::from_str(&proxy.line()).unwrap();
        if frame["event"] == "frame" {
            seen.push(frame);
        }
    }
    let way = |direction: &str| -> Vec<&str> {
        let of = seen.iter().filter(|frame| frame["direction"] == direction);
        of.map(|frame| frame["op"].as_str().unwrap()).collect()
    };
    assert_eq!(way("there"), ["HelloRequest", "Request", "ByeRequest"]);
    assert_eq!(way("back"), ["HelloResponse", "Response", "ByeResponse"]);
    let request = seen.iter().find(|frame| frame["op"] == "Request").unwrap();
    assert_eq!(
        (&request["body"], &request["bytes"]),
        (&"hello".into(), &5.into())
    );
    assert_eq!(request["headers"], serde_json::json!([["Kind", "test"]]));
}

/// What no frame begins with: there is no operation 15.
const OTHER: [u8; 20] = [0x0f; 20];

#[test]
fn lines_for_people_say_who_sent_what_and_what_is_no_frame() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut proxy = start(&["proxy", "--listen", "127.0.0.1:0", "--to", &to, "--trace"]);
    let address = proxy.line();
    let mut client = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(&OTHER).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, OTHER, "it passes as it is");
    let line = proxy.line();
    assert!(line.contains("#1 > no frame of ampe"), "{line}");
    let line = proxy.line();
    assert!(line.contains("#1 > ends after 0 frames"), "{line}");
    server.write_all(b"bye").unwrap();
    drop(server);
    bytes.clear();
    client.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"bye", "the other direction is open");
    let line = proxy.line();
    assert!(
        line.contains("#1 < ends after 0 frames, with 3 bytes"),
        "{line}"
    );
}

#[test]
fn files_arrive_through_it_over_unix_sockets_too() {
    if !has_unix_sockets() {
        return;
    }
    let place = Place::new();
    let (listen, to) = (place.uds("proxy"), place.uds("socket"));
    let (_receiver, _) = place.receiver(&to, &[]);
    let ready = place.path().join("ready");
    let file = place.file("file", 3_000_017);
    let proxy = start(&[
        "proxy",
        "--listen",
        &listen,
        "--to",
        &to,
        "--ready-file",
        ready.to_str().unwrap(),
    ]);
    until("it listens", || ready.exists());
    assert_eq!(fs::read_to_string(&ready).unwrap(), format!("{listen}\n"));
    run(&["send", "--to", &listen, file.to_str().unwrap()]).assert_succeeds();
    assert_eq!(
        fs::read(place.out().join("file")).unwrap(),
        content(3_000_017)
    );
    if proxy.interrupt() {
        assert_eq!(proxy.finish().code, Some(130));
        assert!(!place.path().join("proxy").exists() && !ready.exists());
    }
}

/// It reads no more than the other side takes.
#[test]
fn a_sender_is_held_back_by_who_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut proxy = start(&["proxy", "--listen", "127.0.0.1:0", "--to", &to]);
    let address = proxy.line();
    let mut client = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
    let (_server, _) = listener.accept().unwrap();
    let limit = std::time::Duration::from_millis(500);
    client.set_write_timeout(Some(limit)).unwrap();
    let mut written = 0_usize;
    while let Ok(len) = client.write(&[0; 65_536]) {
        written += len;
        assert!(written < 256 << 20, "it takes everything");
    }
}

#[test]
fn nobody_behind_it_is_told() {
    let (_keeper, address) = nobody();
    let to = address.to_string();
    let mut proxy = start(&["proxy", "--listen", "127.0.0.1:0", "--to", &to]);
    let address = proxy.line();
    run(&["call", "--to", &address, "x"]).assert_fails_among(&["without an answer"]);
    if proxy.interrupt() {
        let ended = proxy.finish();
        assert!(ended.stderr.contains("#1: cannot connect to"), "{ended:?}");
    }
}

/// What Wireshark's own program reads of a capture, with the dissector that stands beside this.
#[test]
fn wireshark_reads_a_capture() {
    if Command::new("tshark")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        common::skip("a capture: there is no program `tshark`");
        return;
    }
    let place = Place::new();
    let (_echo, to) = echo("127.0.0.1:0", &[]);
    let capture = place.path().join("capture.pcap");
    let pcap = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--pcap",
        capture.to_str().unwrap(),
    ];
    let mut proxy = start_with(&pcap, |_| {});
    let address = proxy.line();
    let mut peer = Peer::connect(&address, &[("Name", "a test")]);
    peer.event();
    let long = peer.group.message().with_body(&content(65_535)).unwrap();
    peer.post(long.request(peer.channel).more());
    peer.event();
    peer.bye();
    let mut text = String::new();
    until("the whole conversation is in it", || {
        text = fields(&capture);
        text.lines().count() >= 6
    });
    let operations: Vec<_> = text
        .lines()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    for operation in ["3", "4", "0", "1", "5", "6"] {
        assert!(operations.contains(&operation), "{text}");
    }
    assert!(
        text.contains("Name:a test") && text.contains("65535"),
        "{text}"
    );
}

/// What the dissector finds in a capture: a line for each packet that completes frames.
fn fields(capture: &std::path::Path) -> String {
    let lua = concat!(
        "lua_script:",
        env!("CARGO_MANIFEST_DIR"),
        "/wireshark/ampe.lua"
    );
    let output = Command::new("tshark")
        .args([
            "-X", lua, "-Y", "ampe", "-T", "fields", "-e", "ampe.op", "-e", "ampe.id",
        ])
        .args(["-e", "ampe.body_len", "-e", "ampe.header", "-r"])
        .arg(capture)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("Lua:") && !said.contains(".lua:"), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
