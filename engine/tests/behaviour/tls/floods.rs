//! What is well sealed and makes no sense: floods of records without content, changes of keys, tickets; and
//! what TLS 1.3 knows no more.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use ampe::{Address, Event, Reason};
use rustls::ContentType;

use super::attacks::target;
use super::certificates::Authority;
use super::crafted::{Crafted, encrypter};
use super::raw::{self, RawClient};
use super::{build, side, trusting};
use crate::common::peer::{HELLO_REQUEST, HELLO_RESPONSE, SIGNAL, frame};
use crate::common::{PATIENCE, engine, next, wait_until};

/// A handshake's message with this content.
fn handshake(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len() as u32;
    [&[kind][..], &len.to_be_bytes()[1..], content].concat()
}

/// A ticket of so many bytes.
fn ticket(len: u16) -> Vec<u8> {
    let mut content = vec![0, 0, 0x1c, 0x20, 1, 2, 3, 4, 1, 9];
    content.extend(len.to_be_bytes());
    content.resize(content.len() + usize::from(len), 0x55);
    content.extend([0, 0]);
    handshake(4, &content)
}

#[test]
fn records_of_every_size_are_received_however_frames_lie_in_them() {
    let mut target = target();
    let mut peer = Crafted::from(target.greeted());
    let step = if cfg!(debug_assertions) { 211 } else { 1 };
    let sizes: Vec<usize> = (0..=16_384)
        .filter(|size| size % step == 0 || *size < 40 || *size > 16_384 - 3)
        .collect();
    let all: usize = sizes.iter().sum();
    // Frames of a length that no size has anything to do with.
    let body: Vec<u8> = (0..1009_u32).map(|at| (at % 251) as u8).collect();
    let one = frame(SIGNAL, 7).with_body(&body).bytes();
    let count = all / one.len();
    let sending = thread::spawn(move || {
        let mut bytes = one.iter().copied().cycle();
        let mut left = count * one.len();
        for size in sizes {
            let content: Vec<u8> = bytes.by_ref().take(size.min(left)).collect();
            left -= content.len();
            let record = peer.data(&content);
            assert!(peer.send(&record));
        }
        peer
    });
    for _ in 0..count {
        assert!(expect!(target.server.1, Signal).body() == body);
    }
    let mut peer = sending.join().unwrap();
    // One byte more than a record may hold.
    let record = peer.data(&[0; 16_385]);
    peer.send(&record);
    let closed = expect!(target.server.1, Closed);
    assert_eq!(closed.reason(), Reason::ConnectionLost);
    target.serves_well();
}

/// Sends this over and over. The connection ends, for this reason in words.
#[track_caller]
fn assert_ends(flood: impl Fn(&mut Crafted) -> Vec<u8> + Send + 'static, words: &str) {
    let mut target = target();
    let mut peer = Crafted::from(target.greeted());
    let sending = thread::spawn(move || {
        for _ in 0..100_000 {
            let bytes = flood(&mut peer);
            if !peer.send(&bytes) {
                return true;
            }
        }
        false
    });
    let closed = expect!(target.server.1, Closed);
    assert_eq!(closed.reason(), Reason::ConnectionLost);
    let said = closed.os_error().unwrap().to_string();
    assert!(said.contains(words), "{said}");
    assert!(sending.join().unwrap(), "it takes all of it");
    target.serves_well();
}

#[test]
fn a_flood_of_records_that_hold_nothing_ends_its_connection() {
    assert_ends(|peer| peer.data(&[]), "TooManyEmptyFragments");
}

#[test]
fn what_tls_13_has_no_more_ends_a_connection() {
    // A hello behind the handshake, the request for one, a certificate that nobody asked for, a ticket of a
    // client's, keys that do not fit, a warning after the other, heartbeats.
    let messages = [
        handshake(1, &[3; 100]),
        handshake(0, &[]),
        handshake(11, &[0; 8]),
        ticket(100),
        handshake(24, &[7]),
    ];
    for message in messages {
        let content = message.clone();
        assert_ends(
            move |peer| peer.record(ContentType::Handshake, &content),
            "",
        );
    }
    assert_ends(|peer| peer.record(ContentType::Alert, &[1, 100]), "");
    assert_ends(|peer| peer.record(ContentType::Heartbeat, &[1, 0, 0]), "");
    assert_ends(|peer| peer.record(ContentType::ChangeCipherSpec, &[1]), "");
}

#[test]
fn a_flood_of_changes_of_keys_ends_its_connection() {
    let mut target = target();
    let mut peer = target.greeted();
    let sending = thread::spawn(move || {
        for _ in 0..10_000 {
            peer.tls.refresh_traffic_keys().unwrap();
            let bytes = peer.output();
            if peer.tcp.write_all(&bytes).is_err() {
                return true;
            }
        }
        false
    });
    let closed = expect!(target.server.1, Closed);
    assert_eq!(closed.reason(), Reason::ConnectionLost);
    assert!(sending.join().unwrap());
    // Some, between messages, are nothing special, and are answered.
    let mut peer = target.greeted();
    for _ in 0..100 {
        peer.tls.refresh_traffic_keys().unwrap();
        peer.send(&frame(SIGNAL, 7).with_body("new keys").bytes());
        assert_eq!(expect!(target.server.1, Signal).body(), b"new keys");
    }
    drop(peer);
    expect!(target.server.1, Closed);
    target.serves_well();
}

/// A client is dialled up by a server that sends tickets without end, of this size.
#[track_caller]
fn assert_client_ends(size: u16) {
    let authority = Authority::new();
    let config = raw::server_config(&authority.issue("127.0.0.1"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tls("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    let serving = thread::spawn(move || {
        let mut tcp = listener.accept().unwrap().0;
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut tls, flight) = raw::first_flight(&config, &mut tcp).unwrap();
        tcp.write_all(&flight).unwrap();
        let mut hello = [0; 1000];
        let mut read = 0;
        while read < 16 {
            tls.read_tls(&mut tcp).unwrap();
            tls.process_new_packets().unwrap();
            read += tls.reader().read(&mut hello[read..]).unwrap_or(0);
        }
        let suite = tls.negotiated_cipher_suite().unwrap();
        let secrets = tls.dangerous_extract_secrets().unwrap();
        let (mut encrypter, mut sequence) = encrypter(suite, secrets.tx);
        let mut seal = |typ, content: &[u8]| {
            let message = rustls::crypto::cipher::OutboundPlainMessage {
                typ,
                version: rustls::ProtocolVersion::TLSv1_2,
                payload: content.into(),
            };
            sequence += 1;
            let record = encrypter.encrypt(message, sequence - 1).unwrap();
            record.encode()
        };
        let answer = frame(HELLO_RESPONSE, 1).bytes();
        let id = &hello[4..12];
        let answer = [&answer[..4], id, &answer[12..]].concat();
        tcp.write_all(&seal(ContentType::ApplicationData, &answer))
            .unwrap();
        for _ in 0..100_000 {
            let one = seal(ContentType::Handshake, &ticket(size));
            if tcp.write_all(&one).is_err() {
                return true;
            }
        }
        false
    });
    let engine = engine();
    let mut client = side(&engine, &build(trusting(&authority)));
    client.0.connect(&address).unwrap();
    let closed = loop {
        match next(&mut client.1, "Closed") {
            Event::Closed(closed) => break closed,
            Event::Accepted(_) | Event::Returned(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(closed.reason(), Reason::ConnectionLost, "{closed:?}");
    let said = closed.os_error().unwrap().to_string();
    assert!(said.contains("hold nothing"), "{said}");
    assert!(serving.join().unwrap(), "a client takes all of it");
}

#[test]
fn a_server_that_sends_tickets_without_end_is_left() {
    assert_client_ends(100);
    assert_client_ends(16_000);
}

#[test]
fn who_offers_another_protocol_is_refused_and_nobody_is_resumed() {
    let mut target = target();
    let other = raw::session_with(&target.authority, |config| {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    });
    let refused = RawClient::shake(other, raw::connect(&target.address));
    let said = refused.err().expect("no protocol is shared").to_string();
    assert!(said.contains("NoApplicationProtocol"), "{said}");
    wait_until("the server to see it end", || {
        target.engine.statistics().ended_before_hello == 1
    });
    let mut config = None;
    for _ in 0..3 {
        let session = raw::session_with(&target.authority, |it| {
            it.alpn_protocols = vec![b"ampe/1".to_vec()];
            it.enable_early_data = true;
            match &config {
                None => config = Some(it.resumption.clone()),
                Some(resumption) => it.resumption = resumption.clone(),
            }
        });
        let mut peer = RawClient::shake(session, raw::connect(&target.address)).unwrap();
        peer.send(&frame(HELLO_REQUEST, 1).bytes());
        let hello = expect!(target.server.1, Hello);
        target.server.0.post(hello.echo()).unwrap();
        assert_eq!(peer.receive().proto & 0x0f, HELLO_RESPONSE);
        assert_eq!(peer.tls.alpn_protocol(), Some(&b"ampe/1"[..]));
        assert_eq!(peer.tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(peer.tls.tls13_tickets_received(), 0);
        assert!(!peer.tls.is_early_data_accepted());
        drop(peer);
        expect!(target.server.1, Closed);
    }
    target.serves_well();
}
