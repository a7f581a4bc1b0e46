//! Options that are replaced while they are in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use ampe::{Channel, Event, KeyHash, Reason, Tls, TlsError, TlsOptions};

use super::certificates::{Authority, Holder};
use super::{any, build, own, side, trusting};
use crate::common::{PATIENCE, Side, engine, listen, next};

/// Connects, and says hello: both channels, and the key that the server has proven to have.
#[track_caller]
fn meet(server: &mut Side, client: &mut Side, address: &ampe::Address) -> (Channel, KeyHash) {
    let to_server = client.0.connect(address).unwrap();
    let Ok(Some(Event::Opened(opened))) = client.1.recv_until(Instant::now() + PATIENCE) else {
        panic!("not opened")
    };
    let identity = opened.peer().identity().expect("a server has one");
    let hello = expect!(server.1, Hello);
    server.0.post(hello.echo()).unwrap();
    expect!(client.1, Accepted);
    (to_server, identity.key_hash())
}

#[track_caller]
fn assert_alive(server: &mut Side, client: &mut Side, to_server: Channel) {
    let message = client.0.message().with_body(b"still there?").unwrap();
    client.0.post(message.request(to_server)).unwrap();
    let request = expect!(server.1, Request);
    server.0.post(request.echo()).unwrap();
    assert_eq!(expect!(client.1, Response).channel(), to_server);
}

#[track_caller]
fn assert_handshake_fails(client: &mut Side, address: &ampe::Address, words: &str) {
    client.0.connect(address).unwrap();
    expect!(client.1, Returned);
    let closed = expect!(client.1, Closed);
    assert_eq!(closed.reason(), Reason::HandshakeFailed);
    let said = closed.os_error().unwrap().to_string();
    assert!(said.contains(words), "{said}");
}

fn tls_of(engine: &ampe::Engine, options: TlsOptions) -> (Tls, Side) {
    let tls = build(options);
    let side = side(engine, &tls);
    (tls, side)
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_at_the_same_port_and_old_ones_live_on() {
    let (authority, engine) = (Authority::new(), engine());
    let (old, new) = (authority.issue("127.0.0.1"), authority.issue("127.0.0.1"));
    let (tls, mut server) = tls_of(&engine, own(&old));
    let mut client = side(&engine, &build(trusting(&authority)));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    let (first, key) = meet(&mut server, &mut client, &address);
    assert_eq!(key, old.key_hash);

    tls.clone().replace(own(&new)).unwrap();
    assert_eq!(tls.own_key_hash(), Some(new.key_hash));
    assert!(format!("{tls:?}").contains(&new.key_hash.to_string()));
    let (second, key) = meet(&mut server, &mut client, &address);
    assert_eq!(key, new.key_hash, "a new connection is shown the new one");
    for channel in [first, second] {
        assert_alive(&mut server, &mut client, channel);
    }
}

#[test]
fn who_is_trusted_no_longer_stays_and_does_not_come_back() {
    let (authority, engine) = (Authority::new(), engine());
    let (shop, other) = (authority.issue("127.0.0.1"), authority.issue("127.0.0.1"));
    let mut server = side(&engine, &build(own(&shop)));
    let (tls, mut client) = tls_of(&engine, TlsOptions::new().pin(shop.key_hash));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    let (to_server, _) = meet(&mut server, &mut client, &address);

    tls.replace(TlsOptions::new().pin(other.key_hash)).unwrap();
    assert_handshake_fails(&mut client, &address, "pinned");
    assert_alive(&mut server, &mut client, to_server);

    tls.replace(trusting(&Authority::new())).unwrap();
    assert_handshake_fails(&mut client, &address, "none of the authorities");
    tls.replace(trusting(&authority)).unwrap();
    meet(&mut server, &mut client, &address);
    assert_alive(&mut server, &mut client, to_server);
}

#[test]
fn what_cannot_be_used_replaces_nothing() {
    let (authority, engine) = (Authority::new(), engine());
    let (one, other) = (authority.issue("127.0.0.1"), authority.issue("127.0.0.1"));
    let (tls, mut server) = tls_of(&engine, own(&one));
    let mut client = side(&engine, &build(trusting(&authority)));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    let mixed = TlsOptions::new().certificate_pem(one.chain.as_bytes(), other.key.as_bytes());
    let mixed = tls.replace(mixed.unwrap());
    assert!(matches!(mixed, Err(TlsError::Certificate(_))), "{mixed:?}");
    let gone = tls.replace(trusting(&authority));
    assert!(matches!(gone, Err(TlsError::NoCertificate)), "{gone:?}");
    let nobody = tls.replace(own(&other).require_certificate());
    assert!(matches!(nobody, Err(TlsError::NobodyTrusted)));
    assert_eq!(tls.own_key_hash(), Some(one.key_hash));
    let (_, key) = meet(&mut server, &mut client, &address);
    assert_eq!(key, one.key_hash);
}

/// Says so when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each pair of a certificate and an authority for clients belongs together: no connection sees the one with the
/// other's.
#[test]
fn nothing_is_half_replaced_however_often_it_is() {
    let engine = engine();
    let authorities = [Authority::new(), Authority::new()];
    let servers = authorities.each_ref().map(|it| it.issue("127.0.0.1"));
    let clients = authorities.each_ref().map(|it| it.issue("till.example"));
    let options = |index: usize| {
        let trust = authorities[index].pem.as_bytes();
        let options = own(&servers[index]).authorities_pem(trust).unwrap();
        options.require_certificate()
    };
    let (tls, mut server) = tls_of(&engine, options(0));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    let pins = |holder: &Holder| {
        servers
            .iter()
            .fold(own(holder), |it, of| it.pin(of.key_hash))
    };
    let mut clients = clients.map(|holder| side(&engine, &build(pins(&holder))));

    let is_over = AtomicBool::new(false);
    let over = Over(&is_over);
    let mut met = [0; 2];
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                tls.replace(options(round % 2)).unwrap();
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let over = over; // also where this fails
        for index in (0..2).cycle().take(60) {
            let to_server = clients[index].0.connect(&address).unwrap();
            let event = clients[index].1.recv_until(Instant::now() + PATIENCE);
            let Ok(Some(Event::Opened(opened))) = event else {
                panic!("not opened")
            };
            let key = opened.peer().identity().unwrap().key_hash();
            let is_own = key == servers[index].key_hash;
            if is_own {
                let hello = expect!(server.1, Hello);
                server.0.post(hello.echo()).unwrap();
                expect!(clients[index].1, Accepted);
                let bye = engine.message().bye(to_server);
                clients[index].0.post(bye).unwrap();
                drop(expect!(server.1, Bye));
                expect!(server.1, Closed);
            }
            let closed = loop {
                if let Event::Closed(closed) = next(&mut clients[index].1, "Closed") {
                    break closed;
                }
            };
            assert_eq!(closed.reason() == Reason::Bye, is_own, "{closed:?}");
            met[usize::from(is_own)] += 1;
        }
        drop(over);
    });
    assert!(!met.contains(&0), "both were to be met: {met:?}");
}
