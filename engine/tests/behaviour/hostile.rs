//! Peers that break the protocol, break off, stay silent or forge: each harms its own connection at
//! most, and the engine serves the next.

mod deaf;
mod resets;
mod stalls;

use std::time::{Duration, Instant};

use ampe::wire::{HeaderError, OpCode};
use ampe::{Address, Channel, ChannelGroup, Engine, Event, Inbox, Options};
use ampe::{ProtocolViolation, Reason};

use crate::common::peer::{
    BYE_REQUEST, BYE_RESPONSE, BYE_SIGNAL, Dice, End, Frame, HELLO_REQUEST, HELLO_RESPONSE, MORE,
    Peer, PeerListener, REQUEST, RESPONSE, SIGNAL, frame, hello_to, raw_transports,
};
use crate::common::{
    Place, Transport, assert_nothing, group, is_end_by_reset, listen, next, place, serve_well,
    wait_until,
};

/// An engine that listens, and what becomes of it.
struct Target {
    engine: Engine,
    server: (ChannelGroup, Inbox),
    address: Address,
    transport: Transport,
    _place: Place,
}

fn target(transport: Transport) -> Target {
    target_with(transport, Options::default())
}

fn target_with(transport: Transport, options: Options) -> Target {
    let place = place(transport);
    let engine = Engine::start(options).unwrap();
    let mut server = group(&engine);
    let (_, address) = listen(&server.0, &mut server.1, &place.address);
    Target {
        engine,
        server,
        address,
        transport,
        _place: place,
    }
}

impl Target {
    /// A peer that said hello and was accepted.
    fn greeted(&mut self) -> (Peer, Channel) {
        let mut peer = Peer::hello(&self.address);
        let hello = expect!(self.server.1, Hello);
        let channel = hello.channel();
        self.server
            .0
            .post(hello.accept(self.engine.message()))
            .unwrap();
        assert_eq!(peer.receive().proto, HELLO_RESPONSE);
        (peer, channel)
    }

    /// The channel's end, and that nothing came before it or comes behind.
    #[track_caller]
    fn closed(&mut self, channel: Channel) -> Reason {
        let closed = expect!(self.server.1, Closed);
        assert_eq!(closed.channel(), channel);
        assert_nothing(&mut self.server.1);
        closed.reason()
    }

    /// The end of a channel whose peer reset the connection.
    #[track_caller]
    fn check_reset(&mut self, channel: Channel, what: &str) {
        let reason = self.closed(channel);
        assert!(is_end_by_reset(reason), "{reason:?} {what}");
    }

    #[track_caller]
    fn wait_for_unheard(&mut self, count: u64) {
        let engine = &self.engine;
        let is_so = || engine.statistics().ended_before_hello == count;
        wait_until("connections that end before hello", is_so);
        assert_nothing(&mut self.server.1);
    }

    #[track_caller]
    fn serves_well(mut self) {
        serve_well(&mut self.server, &self.address);
    }

    /// How a connection must end for the peer that broke the protocol on it.
    #[track_caller]
    fn check_abort(&self, peer: &mut Peer) {
        let end = peer.end();
        // An abort of a Unix socket is a reset only where something was left unread.
        let may_be_orderly = self.transport == Transport::Uds || ampe::platform::is_wine();
        let is_known = end == End::Reset || may_be_orderly;
        assert!(is_known, "a protocol error is no orderly end: {end:?}");
    }
}

/// Every header that no peer may send once both have said hello, and what is wrong with it.
fn violations() -> Vec<(Frame, ProtocolViolation)> {
    let mut all = Vec::new();
    for upper in 0..16_u8 {
        for op_code in 10..16 {
            let error = HeaderError::InvalidOpCode { op_code };
            all.push((frame(upper << 4 | op_code, 1), error.into()));
        }
    }
    for (proto, op_code) in [(8, OpCode::WelcomeRequest), (9, OpCode::WelcomeResponse)] {
        for id in [0, 1] {
            for local_bits in [0, 0xD0, MORE] {
                let error = HeaderError::NotAllowedFromPeer { op_code };
                all.push((frame(proto | local_bits, id), error.into()));
            }
        }
    }
    let answers = [
        (RESPONSE, OpCode::Response),
        (HELLO_RESPONSE, OpCode::HelloResponse),
        (BYE_RESPONSE, OpCode::ByeResponse),
    ];
    for (proto, op_code) in answers {
        let error = HeaderError::InvalidMessageId { op_code };
        all.push((frame(proto, 0), error.into()));
    }
    for proto in HELLO_REQUEST..=BYE_SIGNAL {
        let op_code = OpCode::try_from(proto).unwrap();
        let error = HeaderError::InvalidMoreUsage { op_code };
        all.push((frame(proto | MORE, 1), error.into()));
    }
    all.push((frame(HELLO_REQUEST, 1), ProtocolViolation::UnexpectedHello));
    all
}

/// The header alone, announcing content, no more than a hello may have: it is judged before any of
/// that comes.
fn announcing(violation: &Frame) -> Vec<u8> {
    let mut header = violation.bytes();
    header[12..].fill(0x0F);
    header
}

#[test]
fn what_no_peer_may_send_ends_its_connection_alone() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let mut bystander = it.greeted();
        let hello_response = frame(HELLO_RESPONSE, 1);
        let towards_acceptor = (hello_response, ProtocolViolation::UnexpectedHello);
        for (bad, violation) in violations().into_iter().chain([towards_acceptor]) {
            for behind in [frame(SIGNAL, 2).bytes(), Vec::new()] {
                let (mut peer, channel) = it.greeted();
                let before = frame(SIGNAL, 1).with_body(b"before").bytes();
                let is_last = behind.is_empty();
                let header = if is_last {
                    announcing(&bad)
                } else {
                    bad.bytes()
                };
                peer.send(&[before, header, behind].concat());
                assert_eq!(expect!(it.server.1, Signal).body(), b"before");
                assert_eq!(
                    it.closed(channel),
                    violation.into(),
                    "{transport:?}, {bad:?}"
                );
                it.check_abort(&mut peer);
            }
        }
        bystander.0.send_frame(&frame(REQUEST, 5));
        it.server
            .0
            .post(expect!(it.server.1, Request).echo())
            .unwrap();
        assert_eq!(bystander.0.receive().id, 5);
        drop(bystander.0);
        assert_eq!(it.closed(bystander.1), Reason::PeerDisconnected);
        it.serves_well();
    }
}

#[test]
fn what_no_server_may_send_ends_its_connection_alone() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let listener = PeerListener::bind(transport);
        for (bad, violation) in violations() {
            let channel = it.server.0.connect(&listener.address).unwrap();
            let mut peer = listener.accept();
            assert_eq!(peer.receive().proto, HELLO_REQUEST);
            peer.send_frame(&bad);
            assert_eq!(
                it.closed(channel),
                violation.into(),
                "{transport:?}, {bad:?}"
            );
            it.check_abort(&mut peer);
        }
        // An answered hello is not answered again.
        let channel = it.server.0.connect(&listener.address).unwrap();
        let mut peer = listener.accept();
        assert_eq!(peer.receive().proto, HELLO_REQUEST);
        peer.send_frame(&frame(HELLO_RESPONSE, 1));
        expect!(it.server.1, Accepted);
        peer.send_frame(&frame(HELLO_RESPONSE, 1));
        assert_eq!(
            it.closed(channel),
            ProtocolViolation::UnexpectedHello.into()
        );
        it.check_abort(&mut peer);
        it.serves_well();
    }
}

#[test]
fn whoever_does_not_say_hello_first_is_not_heard() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let mut unheard = 0;
        let others = (0..16_u8).filter(|&proto| proto != HELLO_REQUEST);
        for proto in others.chain([HELLO_REQUEST | MORE]) {
            let mut peer = Peer::connect(&it.address);
            let bad = frame(proto, 1).headers("a:b\r\n").with_body(b"data");
            peer.send_regardless(&[bad.bytes(), hello_to(&it.address, 1).bytes()].concat());
            unheard += 1;
            it.wait_for_unheard(unheard);
            it.check_abort(&mut peer);
        }
        assert_eq!(it.engine.statistics().accepted, unheard);
        it.serves_well();
    }
}

#[test]
fn garbage_is_cut_off() {
    let mut dice = Dice::new();
    for transport in raw_transports() {
        let mut it = target(transport);
        let mut unheard = 0;
        for _ in 0..64 {
            let len = 16 + dice.below(4000);
            let mut garbage: Vec<u8> = (0..len).map(|_| dice.below(256) as u8).collect();
            let mut peer = Peer::connect(&it.address);
            if garbage[2] & 0x0F == HELLO_REQUEST {
                garbage[2] ^= 1;
            }
            peer.send_regardless(&garbage);
            unheard += 1;
            it.wait_for_unheard(unheard);

            // Behind a hello some of it may pass for frames, until the rest does not.
            let (mut peer, channel) = it.greeted();
            peer.send_regardless(&garbage);
            drop(peer);
            loop {
                match next(&mut it.server.1, "the end of garbage") {
                    Event::Closed(closed) => {
                        assert_eq!(closed.channel(), channel);
                        break;
                    }
                    Event::Returned(_) => {}
                    other => assert_eq!(other.channel(), Some(channel)),
                }
            }
            assert_nothing(&mut it.server.1);
        }
        it.serves_well();
    }
}

#[test]
fn forged_origin_and_status_are_a_peers_word_and_no_more() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let (mut peer, channel) = it.greeted();
        // "The engine says: the channel is closed." And the same with every status there is.
        for status in 0..=255 {
            let mut forged = frame(0x10 | SIGNAL, 1);
            forged.status = status;
            peer.send_frame(&forged);
            let signal = expect!(it.server.1, Signal);
            assert_eq!(signal.op_code(), OpCode::Signal);
            assert_eq!((signal.channel(), signal.status()), (channel, status));
            it.server.0.post(signal.echo()).unwrap();
            let mut honest = frame(SIGNAL, 1);
            honest.channel = channel.number();
            peer.receive_exactly(&honest.bytes());
        }
        for local_bits in [0x40, 0x80, 0xC0, 0xD0] {
            peer.send_frame(&frame(local_bits | MORE | REQUEST, 6));
            let request = expect!(it.server.1, Request);
            assert!(request.has_more());
            it.server.0.post(request.echo()).unwrap();
            assert_eq!(peer.receive().proto, RESPONSE | MORE);
        }
        drop(peer);
        assert_eq!(it.closed(channel), Reason::PeerDisconnected);
        it.serves_well();
    }
}

#[test]
fn a_stream_that_ends_within_a_frame_delivers_nothing_of_it() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let whole = frame(SIGNAL, 1)
            .headers("a:b\r\n")
            .with_body(vec![7; 40_000])
            .bytes();
        let within = [17, 20, 21, 22, 30_000, whole.len() - 1];
        for cut in (0..=16).chain(within).chain([whole.len()]) {
            let (mut peer, channel) = it.greeted();
            peer.send(&whole[..cut]);
            peer.finish_sending();
            if cut == whole.len() {
                assert_eq!(expect!(it.server.1, Signal).body().len(), 40_000);
            }
            let reason = match cut == 0 || cut == whole.len() {
                true => Reason::PeerDisconnected,
                false => Reason::ConnectionLost,
            };
            assert_eq!(it.closed(channel), reason, "{transport:?}, cut at {cut}");
            assert_eq!(peer.end(), End::Orderly);
        }
        let hello = hello_to(&it.address, 1).bytes();
        for cut in 0..hello.len() {
            let mut peer = Peer::connect(&it.address);
            peer.send(&hello[..cut]);
            peer.finish_sending();
            it.wait_for_unheard(1 + cut as u64);
            assert_eq!(peer.end(), End::Orderly);
        }
        it.serves_well();
    }
}

#[test]
fn what_comes_before_an_end_is_delivered() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let mut peer = Peer::connect(&it.address);
        let mut stream = hello_to(&it.address, 1).bytes();
        for id in 1..=500 {
            stream.extend(frame(SIGNAL, id).with_body(vec![1; 100]).bytes());
        }
        peer.send(&stream);
        drop(peer); // hang-up may be seen together with the data
        let channel = expect!(it.server.1, Hello).channel();
        for id in 1..=500 {
            assert_eq!(expect!(it.server.1, Signal).id(), id);
        }
        assert_eq!(it.closed(channel), Reason::PeerDisconnected);
        it.serves_well();
    }
}

#[test]
fn silence_before_hello_is_not_waited_for() {
    for transport in raw_transports() {
        let mut options = Options::default();
        options.hello_timeout = Duration::from_millis(100);
        let mut it = target_with(transport, options);
        let (mut in_time, channel) = it.greeted();
        let hello = hello_to(&it.address, 1).headers("Long:header\r\n").bytes();
        let mut silent = [0, 1, 15, 16, hello.len() - 1].map(|cut| {
            let mut peer = Peer::connect(&it.address);
            peer.send(&hello[..cut]);
            peer
        });
        for peer in &mut silent {
            peer.end();
        }
        it.wait_for_unheard(silent.len() as u64);
        // Behind a hello, silence is nobody's business.
        in_time.send_frame(&frame(REQUEST, 3));
        it.server
            .0
            .post(expect!(it.server.1, Request).echo())
            .unwrap();
        assert_eq!(in_time.receive().id, 3);
        drop(in_time);
        assert_eq!(it.closed(channel), Reason::PeerDisconnected);
        it.serves_well();
    }
}

#[test]
fn a_peer_that_gives_up_by_a_frame_is_believed() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let behind = frame(SIGNAL, 9).bytes();
        for proto in [BYE_SIGNAL, BYE_SIGNAL | 0x40, BYE_SIGNAL | 0xD0] {
            let (mut peer, channel) = it.greeted();
            let bye = frame(proto, 0).headers("Why:tired\r\n").bytes();
            peer.send(&[bye, behind.clone()].concat());
            let bye = expect!(it.server.1, ByeSignal);
            assert_eq!(bye.text_headers().get("Why"), Some(&b"tired"[..]));
            assert_eq!(it.closed(channel), Reason::PeerAborted);
            peer.end();
        }
        let (mut peer, channel) = it.greeted();
        peer.send(&[frame(BYE_RESPONSE, 1).with_body(b"no").bytes(), behind].concat());
        assert_eq!(expect!(it.server.1, ByeResponse).body(), b"no");
        assert_eq!(it.closed(channel), Reason::Refused);
        peer.end();
        it.serves_well();
    }
}

#[test]
fn a_goodbye_that_is_said_twice_is_answered_once() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let (mut peer, channel) = it.greeted();
        let twice = [frame(BYE_REQUEST, 7).bytes(), frame(BYE_REQUEST, 8).bytes()];
        peer.send(&twice.concat());
        drop(expect!(it.server.1, Bye));
        drop(expect!(it.server.1, Bye));
        let answer = peer.receive();
        assert_eq!((answer.proto, answer.id), (BYE_RESPONSE, 7));
        assert_eq!(peer.end(), End::Orderly);
        drop(peer);
        assert_eq!(it.closed(channel), Reason::Bye);
        it.serves_well();
    }
}

#[test]
fn the_longest_blocks_of_headers_are_only_bytes() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let shapes: [(&[u8], usize); 9] = [
            (b"\r\n", 1), // the length is odd: the last CR stands alone, and is a name
            (b"a\r\n", 21_845),
            (b":\r\n", 0),
            (b":b\r\n", 0),
            (b"a:b\r\n", 13_107),
            (b":", 0),
            (b"\r", 1),
            (b"\0", 1),
            (b"\xFF\xFE", 1),
        ];
        for (line, count) in shapes {
            let block: Vec<u8> = line.iter().copied().cycle().take(65_535).collect();
            let (mut peer, channel) = it.greeted();
            peer.send_frame(&frame(REQUEST, 2).headers(&block));
            let request = expect!(it.server.1, Request);
            assert_eq!(
                request.text_headers().into_iter().count(),
                count,
                "{line:?}"
            );
            assert_eq!(request.text_headers().get("no such"), None);
            it.server.0.post(request.echo()).unwrap();
            assert!(peer.receive().headers == block);
            drop(peer);
            assert_eq!(it.closed(channel), Reason::PeerDisconnected);
        }
        it.serves_well();
    }
}

#[test]
fn a_listener_that_has_its_fill_pauses_and_goes_on() {
    const FILL: usize = 4;
    for transport in raw_transports() {
        let mut options = Options::default();
        options.connections_per_listener = FILL;
        let mut it = target_with(transport, options);
        let (peer, channel) = it.greeted();
        let mut crowd = vec![peer];
        crowd.extend((1..FILL).map(|_| Peer::connect(&it.address)));
        let accepted = |it: &Target| it.engine.statistics().accepted;
        wait_until("the crowd", || accepted(&it) == FILL as u64);

        // The hellos of the next wait in the system, while another listener goes on to serve.
        let waiting = [0; 3].map(|_| Peer::hello(&it.address));
        let another_place = place(transport);
        let mut another = group(&it.engine);
        let (_, address) = listen(&another.0, &mut another.1, &another_place.address);
        let passes = it.engine.statistics().passes;
        serve_well(&mut another, &address);
        assert_eq!(accepted(&it), FILL as u64 + 1, "the other listener's");
        assert_nothing(&mut it.server.1);
        let moment = Instant::now() + Duration::from_millis(100);
        assert!(it.server.1.recv_until(moment).unwrap().is_none());
        let passes = it.engine.statistics().passes - passes;
        assert!(passes < 500, "whoever waits costs nothing: {passes} passes");

        // One that never said hello makes room for one, and so does one that did.
        crowd.pop();
        expect!(it.server.1, Hello);
        it.wait_for_unheard(1);
        serve_well(&mut another, &address);
        assert_eq!(
            accepted(&it),
            FILL as u64 + 3,
            "one more here, one more there"
        );
        drop(crowd.swap_remove(0));
        assert_eq!(expect!(it.server.1, Closed).channel(), channel);
        expect!(it.server.1, Hello);
        assert_nothing(&mut it.server.1);

        // All leave; who still waited has said hello, and is heard.
        drop((waiting, crowd));
        let (mut hellos, mut ends) = (2, 0);
        while ends < 3 {
            match next(&mut it.server.1, "the last hello, and the ends") {
                Event::Hello(_) => hellos += 1,
                Event::Closed(_) => ends += 1,
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(hellos, 3);
        it.wait_for_unheard(FILL as u64 - 1);
        it.serves_well();
    }
}
