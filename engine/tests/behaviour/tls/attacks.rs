//! Peers that break off, send garbage, or begin handshakes and never end them.

use std::io::{Read, Write};
use std::net::Shutdown;

use ampe::{Address, Engine, Event, Options, Reason};

use super::certificates::Authority;
use super::raw::{self, RawClient};
use super::{any, build, converse, own, side, trusting};
use crate::common::peer::{
    BYE_REQUEST, BYE_RESPONSE, HELLO_REQUEST, HELLO_RESPONSE, REQUEST, SIGNAL, frame,
};
use crate::common::{Side, listen, next, wait_until};

pub(super) struct Target {
    pub(super) engine: Engine,
    pub(super) server: Side,
    pub(super) client: Side,
    pub(super) authority: Authority,
    pub(super) address: Address,
}

pub(super) fn target() -> Target {
    target_with(Options::default())
}

pub(super) fn target_with(options: Options) -> Target {
    let authority = Authority::new();
    let engine = Engine::start(options).unwrap();
    let mut server = side(&engine, &build(own(&authority.issue("127.0.0.1"))));
    let client = side(&engine, &build(trusting(&authority)));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    Target {
        engine,
        server,
        client,
        authority,
        address,
    }
}

impl Target {
    /// A peer past its hello.
    pub(super) fn greeted(&mut self) -> RawClient {
        let mut peer = RawClient::connect(&self.address, &self.authority);
        peer.send(&frame(HELLO_REQUEST, 1).bytes());
        let hello = expect!(self.server.1, Hello);
        self.server.0.post(hello.echo()).unwrap();
        assert_eq!(peer.receive().proto & 0x0f, HELLO_RESPONSE);
        peer
    }

    pub(super) fn serves_well(&mut self) {
        converse(&mut self.server, &mut self.client, &self.address, &[1000]);
    }
}

/// Wherever a stream is cut, between records as well as in one, its end is no orderly one, and what came whole
/// before it is received. TLS's own end is, whatever the socket does behind it.
#[test]
fn a_stream_that_was_cut_has_not_ended_in_order() {
    let mut target = target();
    let signals = [0, 10, 500, 20_000];
    let record_cuts = [0.0, 0.3, 0.999, 1.0];
    for (count, _) in signals.iter().enumerate() {
        for part in record_cuts {
            let mut peer = target.greeted();
            let mut bytes = Vec::new();
            for &len in &signals[..count] {
                bytes.extend(peer.records(&frame(SIGNAL, 7).with_body(vec![1; len]).bytes()));
            }
            let last = peer.records(&frame(SIGNAL, 7).with_body(vec![1; signals[count]]).bytes());
            let kept = (last.len() as f64 * part) as usize;
            bytes.extend(&last[..kept]);
            peer.tcp.write_all(&bytes).unwrap();
            peer.tcp.shutdown(Shutdown::Write).unwrap();
            for _ in 0..count + usize::from(kept == last.len()) {
                expect!(target.server.1, Signal);
            }
            let closed = expect!(target.server.1, Closed);
            assert_eq!(closed.reason(), Reason::ConnectionLost);
        }
    }
    for is_shut in [true, false] {
        let mut peer = target.greeted();
        peer.tls.send_close_notify();
        let end = peer.output();
        peer.tcp.write_all(&end).unwrap();
        if is_shut {
            peer.tcp.shutdown(Shutdown::Write).unwrap();
        }
        let closed = expect!(target.server.1, Closed);
        assert_eq!(closed.reason(), Reason::PeerDisconnected);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("an orderly end");
        assert!(rest.is_empty());
    }
    target.serves_well();
}

#[test]
fn a_record_that_was_changed_ends_the_connection_and_nothing_of_it_is_received() {
    let mut target = target();
    let len = frame(SIGNAL, 7).with_body([9; 50]).bytes().len() + 22;
    for at in 0..len {
        let mut peer = target.greeted();
        let mut record = peer.records(&frame(SIGNAL, 7).with_body([9; 50]).bytes());
        assert_eq!(record.len(), len);
        record[at] ^= 1;
        peer.tcp.write_all(&record).unwrap();
        peer.tcp.shutdown(Shutdown::Write).unwrap();
        // What stands in the open of a record and is always the same, TLS 1.3 has nobody look at.
        let closed = loop {
            match next(&mut target.server.1, "Closed") {
                Event::Closed(closed) => break closed,
                Event::Signal(_) if at < 3 => {}
                other => panic!("byte {at}: {other:?}"),
            }
        };
        assert_eq!(closed.reason(), Reason::ConnectionLost, "byte {at}");
    }
    target.serves_well();
}

#[test]
fn garbage_in_a_handshake_harms_its_own_connection_alone() {
    let mut target = target();
    let mut hello = Vec::new();
    let mut session = raw::session(&target.authority);
    session.write_tls(&mut hello).unwrap();
    let mut begun = 0;
    for at in 0..hello.len() {
        for change in [1, 0x80] {
            let mut garbage = hello.clone();
            garbage[at] ^= change;
            let mut tcp = raw::connect(&target.address);
            tcp.write_all(&garbage).unwrap();
            // Some changes matter to nobody, and are answered.
            tcp.shutdown(Shutdown::Write).unwrap();
            let _ = tcp.read_to_end(&mut Vec::new());
            begun += 1;
        }
    }
    // Not even the beginning of a handshake, one without TLS, and one that is far too long.
    let long = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff], &[0; 16_379][..]].concat();
    let plain = frame(HELLO_REQUEST, 1).bytes();
    for bytes in [
        &b""[..],
        b"\x16",
        b"GET / HTTP/1.1\r\n\r\n",
        &plain,
        &long.repeat(4),
    ] {
        let mut tcp = raw::connect(&target.address);
        let _ = tcp.write_all(bytes);
        let _ = tcp.shutdown(Shutdown::Write);
        let _ = tcp.read_to_end(&mut Vec::new());
        begun += 1;
    }
    wait_until("all of them to end", || {
        target.engine.statistics().ended_before_hello == begun
    });
    target.serves_well();
}

/// TLS's end is the system's to take like any byte, and its buffer may be full just then. A peer that reads slowly,
/// and that has closed its own side, sees all that it is owed and an orderly end behind it.
#[test]
fn an_orderly_end_is_one_also_for_who_reads_slowly() {
    let mut options = Options::default();
    options.send_buffer = Some(4096);
    let mut target = target_with(options);
    for count in 1..12 {
        let mut peer = target.greeted();
        for id in 0..count {
            peer.send(&frame(REQUEST, 10 + id).bytes());
            let request = expect!(target.server.1, Request);
            let answer = target.server.0.message().with_body(&[5; 60_000]).unwrap();
            target.server.0.post(request.reply(answer)).unwrap();
        }
        peer.send(&frame(BYE_REQUEST, 9).bytes());
        peer.tls.send_close_notify();
        let end = peer.output();
        peer.tcp.write_all(&end).unwrap();
        drop(expect!(target.server.1, Bye));
        for _ in 0..count {
            assert_eq!(peer.receive().body.len(), 60_000);
        }
        assert_eq!(peer.receive().proto & 0x0f, BYE_RESPONSE);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("an orderly end");
        assert!(rest.is_empty());
        assert_eq!(expect!(target.server.1, Closed).reason(), Reason::Bye);
    }
}
