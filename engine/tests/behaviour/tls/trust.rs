//! Who is accepted, and what is said of those who are not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use ampe::{Reason, TlsError, TlsOptions};

use super::certificates::{Authority, Holder, self_signed};
use super::{any, build, converse, own, side, trusting};
use crate::common::{engine, group, listen, wait_until};

/// What becomes of a connection from one who trusts so to one who has this certificate.
#[track_caller]
fn assert_refused(holder: &Holder, trust: TlsOptions, words: &str) {
    let engine = engine();
    let mut server = side(&engine, &build(own(holder)));
    let mut client = side(&engine, &build(trust));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    client.0.connect(&address).unwrap();
    let returned = expect!(client.1, Returned);
    assert_eq!(returned.reason(), Reason::HandshakeFailed);
    let closed = expect!(client.1, Closed);
    assert_eq!(closed.reason(), Reason::HandshakeFailed);
    let said = closed.os_error().unwrap().to_string();
    assert!(said.contains(words), "{said}");
    wait_until("the server to see it end", || {
        engine.statistics().ended_before_hello == 1
    });
    crate::common::assert_nothing(&mut server.1);
}

#[track_caller]
fn assert_accepted(holder: &Holder, trust: TlsOptions) {
    let engine = engine();
    let mut server = side(&engine, &build(own(holder)));
    let mut client = side(&engine, &build(trust));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    converse(&mut server, &mut client, &address, &[100]);
}

#[test]
fn a_server_that_proves_less_than_is_demanded_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue("127.0.0.1");
    let misnamed = authority.issue("shop.example");
    let alone = self_signed("127.0.0.1");
    let nobody = TlsOptions::new;
    assert_refused(&misnamed, trusting(&authority), "not valid for name");
    assert_refused(
        &authority.issue_expired("127.0.0.1"),
        trusting(&authority),
        "expired",
    );
    assert_refused(&good, trusting(&other), "none of the authorities");
    assert_refused(&alone, trusting(&authority), "none of the authorities");
    assert_refused(&alone, nobody().pin(good.key_hash), "pinned");
    // Both are demanded where both are given.
    assert_refused(&good, trusting(&authority).pin(alone.key_hash), "pinned");
    let both = trusting(&other).pin(good.key_hash);
    assert_refused(&good, both, "none of the authorities");

    assert_accepted(&good, trusting(&authority).pin(good.key_hash));
    assert_accepted(
        &misnamed,
        trusting(&authority).server_name("shop.example").unwrap(),
    );
    let pins = nobody().pin(good.key_hash).pin(alone.key_hash);
    assert_accepted(&alone, pins);
    let expired = authority.issue_expired("elsewhere.example");
    let pinned = nobody().pin(expired.key_hash);
    assert_accepted(&expired, pinned); // a pin asks neither for names nor for dates
}

#[test]
fn a_client_that_proves_less_than_is_demanded_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let trust = || trusting(&authority);
    let with = |holder: &Holder| {
        let own = own(holder);
        own.authorities_pem(authority.pem.as_bytes()).unwrap()
    };
    let clients = [
        (trust(), "demands a certificate"),
        (with(&other.issue("till.example")), "does not trust"),
        (with(&self_signed("till.example")), "does not trust"),
        (with(&authority.issue_expired("till.example")), "expired"),
    ];
    for (options, words) in clients {
        let engine = engine();
        let demanding = with(&authority.issue("127.0.0.1")).require_certificate();
        let mut server = side(&engine, &build(demanding));
        let mut client = side(&engine, &build(options));
        let (_, address) = listen(&server.0, &mut server.1, &any());
        client.0.connect(&address).unwrap();
        // It learns of it behind its own part of the handshake, when its hello may be out.
        let closed = loop {
            match crate::common::next(&mut client.1, "Closed") {
                ampe::Event::Closed(closed) => break closed,
                ampe::Event::Returned(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(closed.reason(), Reason::HandshakeFailed, "{words}");
        let said = closed.os_error().unwrap().to_string();
        assert!(said.contains(words), "{said}");
        wait_until("the server to see it end", || {
            engine.statistics().ended_before_hello == 1
        });
        crate::common::assert_nothing(&mut server.1);
        // One of those who are accepted.
        let mut client = side(&engine, &build(with(&authority.issue("till.example"))));
        converse(&mut server, &mut client, &address, &[1]);
    }
}

#[test]
fn who_need_not_show_a_certificate_may_show_none_but_no_wrong_one() {
    let (authority, engine) = (Authority::new(), engine());
    let server = own(&authority.issue("127.0.0.1"));
    let server = server.authorities_pem(authority.pem.as_bytes()).unwrap();
    let mut server = side(&engine, &build(server));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    let mut client = side(&engine, &build(trusting(&authority)));
    converse(&mut server, &mut client, &address, &[1]);
    let wrong = own(&self_signed("till.example"));
    let wrong = wrong.authorities_pem(authority.pem.as_bytes()).unwrap();
    let mut client = side(&engine, &build(wrong));
    client.0.connect(&address).unwrap();
    let closed = loop {
        if let ampe::Event::Closed(closed) = crate::common::next(&mut client.1, "Closed") {
            break closed;
        }
    };
    assert_eq!(closed.reason(), Reason::HandshakeFailed);
}

#[test]
fn what_is_no_tls_at_the_other_end_is_told() {
    let (authority, engine) = (Authority::new(), engine());
    let mut client = side(&engine, &build(trusting(&authority)));
    // An engine without TLS resets, another answers, a third is silent and leaves.
    let mut plain = group(&engine);
    let (_, address) = listen(
        &plain.0,
        &mut plain.1,
        &"tcp://127.0.0.1:0".parse().unwrap(),
    );
    let answers: [&[u8]; 2] = [b"220 mail.example ready\r\n", b""];
    let mut ports = vec![address.port().unwrap()];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        ports.push(listener.local_addr().unwrap().port());
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(answer);
        });
    }
    for port in ports {
        let address = ampe::Address::tls("127.0.0.1", port).unwrap();
        client.0.connect(&address).unwrap();
        expect!(client.1, Returned);
        let closed = expect!(client.1, Closed);
        assert_eq!(closed.reason(), Reason::HandshakeFailed, "{closed:?}");
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    let authority = Authority::new();
    let (one, other) = (
        authority.issue("one.example"),
        authority.issue("two.example"),
    );
    let mixed = TlsOptions::new();
    let mixed = mixed.certificate_pem(one.chain.as_bytes(), other.key.as_bytes());
    let mixed = mixed.unwrap().build();
    assert!(matches!(mixed, Err(TlsError::Certificate(_))), "{mixed:?}");
    let unkeyed = TlsOptions::new().certificate_pem(one.chain.as_bytes(), one.chain.as_bytes());
    assert!(matches!(unkeyed, Err(TlsError::Pem { .. })));
    let empty = TlsOptions::new().authorities_pem(b"no certificate");
    assert!(matches!(empty, Err(TlsError::Pem { .. })));
    let nobody = own(&one).require_certificate().build();
    assert!(matches!(nobody, Err(TlsError::NobodyTrusted)));
    let missing = TlsOptions::new().authorities_pem_file("/no/such/file");
    assert!(matches!(missing, Err(TlsError::File { .. })));
    let name = TlsOptions::new().server_name("no name");
    assert!(matches!(name, Err(TlsError::Name(_))));
}

#[test]
fn nothing_that_is_shown_holds_a_key() {
    let holder = Authority::new().issue("127.0.0.1");
    let body: String = holder
        .key
        .lines()
        .filter(|line| !line.contains('-'))
        .collect();
    let shown = format!("{:?} {:#?}", own(&holder), own(&holder));
    let tls = build(own(&holder));
    let mut options = ampe::GroupOptions::default();
    options.tls = Some(tls.clone());
    let shown = format!("{shown} {tls:?} {options:?}");
    assert!(shown.contains(&holder.key_hash.to_string()));
    assert_eq!(tls.own_key_hash(), Some(holder.key_hash));
    for part in 0..body.len() / 16 {
        assert!(!shown.contains(&body[part * 16..][..16]));
    }
}
