//! Connections to `tls://` addresses: the same conversations and accounts as over TCP, peers that prove who they
//! are, and those that do not, or that break off.

mod admission;
mod attacks;
mod certificates;
mod crafted;
mod floods;
mod garbage;
mod half;
mod middle;
mod raw;
mod replacing;
mod sides;
mod trust;

use std::collections::BTreeSet;
use std::time::Instant;

use ampe::{Address, Engine, Event, Options, Reason, SubjectName, Verified};

use crate::common::{self, PATIENCE, Side, assert_nothing, engine, listen, next, tight};
use certificates::Authority;
use sides::{any, build, own, side, trusting};

/// A group that listens with a certificate for 127.0.0.1, one that trusts its authority, and where.
#[track_caller]
fn served_with(options: Options) -> (Engine, Side, Side, Address) {
    let authority = Authority::new();
    let engine = Engine::start(options).unwrap();
    let mut server = side(&engine, &build(own(&authority.issue("127.0.0.1"))));
    let client = side(&engine, &build(trusting(&authority)));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    (engine, server, client, address)
}

fn served() -> (Engine, Side, Side, Address) {
    served_with(Options::default())
}

/// A conversation from hello to goodbye, in which each message is confirmed.
#[track_caller]
fn converse(server: &mut Side, client: &mut Side, address: &Address, bodies: &[usize]) {
    let to_server = client.0.connect(address).unwrap();
    let hello = expect!(server.1, Hello);
    let to_client = hello.channel();
    server.0.post(hello.echo()).unwrap();
    expect!(client.1, Accepted);
    for (index, &len) in bodies.iter().enumerate() {
        let body: Vec<u8> = (0..len).map(|at| (at % 251 + index) as u8).collect();
        let request = client.0.message().with_body(&body).unwrap();
        client.0.post(request.request(to_server)).unwrap();
        let request = expect!(server.1, Request);
        assert!(request.body() == body, "a body of {len} bytes");
        server.0.post(request.echo()).unwrap();
        assert!(expect!(client.1, Response).body() == body);
    }
    client.0.post(client.0.message().bye(to_server)).unwrap();
    drop(expect!(server.1, Bye));
    expect!(client.1, ByeResponse);
    let closed = expect!(client.1, Closed);
    let account = closed.account();
    let posted = bodies.len() as u64 + 2;
    assert_eq!(closed.reason(), Reason::Bye);
    assert_eq!(
        (account.posted, account.sent, account.confirmed),
        (posted, posted, posted)
    );
    let closed = expect!(server.1, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (to_client, Reason::Bye)
    );
    assert_nothing(&mut server.1);
}

#[test]
fn a_conversation_goes_as_over_tcp_whatever_the_sizes_of_its_messages() {
    let (_engine, mut server, mut client, address) = served();
    assert!(address.is_tls() && address.to_string().starts_with("tls://127.0.0.1:"));
    // Around what a record holds, with the frame's header and without.
    let edges = [16_384, 32_768, 49_152, 65_535].into_iter();
    let edges = edges.flat_map(|edge: usize| edge - 40..=(edge + 24).min(65_535));
    let sizes: Vec<usize> = (0..40).chain(edges.step_by(3)).collect();
    converse(&mut server, &mut client, &address, &sizes);
}

#[test]
fn both_ends_know_who_the_other_has_proven_to_be() {
    let (authority, engine) = (Authority::new(), engine());
    let (shop, till) = (
        authority.issue("127.0.0.1"),
        authority.issue("till.example"),
    );
    let trust = || authority.pem.as_bytes();
    let of_shop = own(&shop).authorities_pem(trust()).unwrap();
    let of_till = own(&till).authorities_pem(trust()).unwrap();
    let mut server = side(&engine, &build(of_shop.require_certificate()));
    let mut client = side(&engine, &build(of_till.pin(shop.key_hash)));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    client.0.connect(&address).unwrap();
    let Ok(Some(Event::Opened(opened))) = client.1.recv_until(Instant::now() + PATIENCE) else {
        panic!("not opened")
    };
    let identity = opened.peer().identity().expect("a server has one");
    assert_eq!(identity.key_hash(), shop.key_hash);
    assert_eq!(identity.verified(), Verified::AuthorityAndPin);
    let hello = expect!(server.1, Hello);
    let identity = hello.peer().identity().expect("one was required");
    assert_eq!(identity.names(), [SubjectName::Dns("till.example".into())]);
    assert_eq!(identity.common_name(), Some("rcgen self signed cert"));
    assert_eq!(identity.key_hash(), till.key_hash);
    assert_eq!(identity.verified(), Verified::Authority);
    assert!(hello.peer().to_string().contains("till.example (sha256:"));
    server.0.post(hello.refuse("closed today")).unwrap();
    let closed = loop {
        if let Event::Closed(closed) = next(&mut client.1, "Closed") {
            break closed;
        }
    };
    let peer = closed.peer().expect("it was connected");
    assert!(peer.identity().is_some());
}

/// Those that lie in a record of which the system has taken a part go out: none of them comes back as well.
#[test]
fn what_is_withdrawn_was_not_sent_and_what_was_sent_does_not_come_back() {
    let mut options = tight();
    (options.send_buffer, options.receive_buffer) = (Some(8192), Some(8192));
    let (_engine, mut server, mut client, address) = served_with(options);
    let to_server = client.0.connect(&address).unwrap();
    let hello = expect!(server.1, Hello);
    server.0.post(hello.echo()).unwrap();
    expect!(client.1, Accepted);
    let (mut received, mut returned) = (BTreeSet::new(), BTreeSet::new());
    let (mut went_out, mut came_back) = (0, 0);
    for round in 0..24_usize {
        let len = [200, 3000, 20_000, 65_000][round % 4];
        let mut posted = BTreeSet::new();
        // Nobody receives until no more can be posted, or much was.
        while posted.len() < 3000 {
            let message = client.0.message().with_body(&vec![1; len]).unwrap();
            match client.0.post(message.request(to_server)) {
                Ok(it) => assert!(posted.insert(it.id)),
                Err(_) => break,
            }
        }
        for &id in &posted {
            client.0.withdraw(to_server, id).unwrap();
        }
        received.clear();
        returned.clear();
        let deadline = Instant::now() + PATIENCE;
        while received.len() + returned.len() < posted.len() {
            assert!(Instant::now() < deadline, "some were lost");
            while let Some(event) = client.1.try_recv().unwrap() {
                match event {
                    Event::Returned(it) => assert!(returned.insert(it.id())),
                    Event::Room(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            while let Some(event) = server.1.try_recv().unwrap() {
                let Event::Request(request) = event else {
                    panic!("{event:?}")
                };
                assert!(received.insert(request.id()));
            }
        }
        let all: BTreeSet<_> = received.union(&returned).copied().collect();
        assert_eq!(all, posted, "each is received or returned, never both");
        (went_out, came_back) = (went_out + received.len(), came_back + returned.len());
    }
    assert!(went_out > 0 && came_back > 0, "{went_out}, {came_back}");
    client.0.post(client.0.message().bye(to_server)).unwrap();
    drop(expect!(server.1, Bye));
    let closed = loop {
        if let Event::Closed(closed) = next(&mut client.1, "Closed") {
            break closed;
        }
    };
    let account = closed.account();
    assert_eq!(account.posted, account.sent + account.returned);
}

/// A receiver that takes its time gets everything, and the sender is refused meanwhile.
#[test]
fn a_receiver_without_budget_stops_the_sender_and_loses_nothing() {
    let (_engine, mut server, mut client, address) = served_with(tight());
    let to_server = client.0.connect(&address).unwrap();
    let hello = expect!(server.1, Hello);
    server.0.post(hello.echo()).unwrap();
    expect!(client.1, Accepted);
    let (mut posted, mut received, mut refusals) = (0_u32, 0_u32, 0_u32);
    while received < 2000 {
        while posted < 2000 {
            let len = [10, 500, 17_000, 60_000][posted as usize % 4];
            let mut body = vec![0; len];
            body[..4].copy_from_slice(&posted.to_be_bytes());
            let message = client.0.message().with_body(&body).unwrap();
            match client.0.post(message.signal(to_server)) {
                Ok(_) => posted += 1,
                Err(_) => {
                    refusals += 1;
                    break;
                }
            }
        }
        let signal = expect!(server.1, Signal);
        assert_eq!(signal.body()[..4], received.to_be_bytes());
        received += 1;
        while client.1.try_recv().unwrap().is_some() {}
    }
    assert!(refusals > 0, "the sender was never refused");
}

#[test]
fn groups_that_are_closed_send_what_they_have_and_end_in_order() {
    let mut options = Options::default();
    options.outbound_bytes_per_channel = 4 << 20;
    let (_engine, mut server, client, address) = served_with(options);
    let to_server = client.0.connect(&address).unwrap();
    for _ in 0..50 {
        let message = client.0.message().with_body(&[3; 50_000]).unwrap();
        client.0.post(message.signal(to_server)).unwrap();
    }
    let receiving = std::thread::spawn(move || {
        let hello = expect!(server.1, Hello);
        let _ = server.0.post(hello.echo()); // the other side may be gone by now
        for _ in 0..50 {
            expect!(server.1, Signal);
        }
        expect!(server.1, Closed).reason()
    });
    let report = client.1.close(PATIENCE);
    assert!(report.returned.is_empty(), "{:?}", report.returned);
    assert_eq!(receiving.join().unwrap(), Reason::PeerDisconnected);
}

#[test]
fn an_address_with_tls_is_refused_to_a_group_that_has_none() {
    let (authority, engine) = (Authority::new(), engine());
    let mut plain = common::group(&engine);
    let mut trusting = side(&engine, &build(trusting(&authority)));
    let mut proving = side(&engine, &build(own(&authority.issue("127.0.0.1"))));
    plain.0.listen(&any()).unwrap();
    trusting.0.listen(&any()).unwrap();
    proving
        .0
        .connect(&"tls://127.0.0.1:9".parse().unwrap())
        .unwrap();
    expect!(proving.1, Returned);
    for (side, words) in [
        (&mut plain, "no TLS options"),
        (&mut trusting, "no certificate"),
        (&mut proving, "trust nobody"),
    ] {
        let closed = expect!(side.1, Closed);
        let said = closed.os_error().unwrap().to_string();
        assert_eq!(closed.reason(), Reason::NoTls);
        assert!(said.contains(words), "{said}");
    }
}
