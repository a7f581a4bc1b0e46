//! The engine and a peer that shares no code with it, byte for byte; and the recorded conversation
//! of another implementation, with the engine in either role.

use ampe::wire::OpCode;
use ampe::{Address, Channel, ChannelGroup, Engine, Event, Inbox, Message, Received};
use ampe::{Endpoint, Reason};

use crate::common::peer::{
    BYE_REQUEST, BYE_RESPONSE, Dice, End, Frame, HELLO_REQUEST, HELLO_RESPONSE, MORE, Peer,
    PeerListener, REQUEST, RESPONSE, SIGNAL, frame, hello_to, raw_transports, wire_form,
};
use crate::common::{self, Place, Transport, engine, group, listen, place};

const CLIENT_TO_SERVER: &[u8] = include_bytes!("../interop/echo.client_to_server.bin");
const SERVER_TO_CLIENT: &[u8] = include_bytes!("../interop/echo.server_to_client.bin");

/// An engine that listens.
struct Server {
    engine: Engine,
    group: ChannelGroup,
    inbox: Inbox,
    address: Address,
    _place: Place,
}

fn server(transport: Transport) -> Server {
    let (place, engine) = (place(transport), engine());
    let (group, mut inbox) = group(&engine);
    let (_, address) = listen(&group, &mut inbox, &place.address);
    Server {
        engine,
        group,
        inbox,
        address,
        _place: place,
    }
}

impl Server {
    /// A peer that has said hello and was not answered.
    fn greeted(&mut self) -> (Peer, Channel) {
        let peer = Peer::hello(&self.address);
        (peer, expect!(self.inbox, Hello).channel())
    }
}

/// The frame that the engine must send, from this channel.
fn from(channel: Channel, proto: u8, id: u64) -> Frame {
    let mut expected = frame(proto, id);
    expected.channel = channel.number();
    expected
}

/// What came, as the frame that must have brought it.
fn as_frame(received: &Received) -> Frame {
    let more = if received.has_more() { MORE } else { 0 };
    let mut came = frame(received.op_code() as u8 | more, received.id());
    came.status = received.status();
    for (name, value) in received.text_headers() {
        came.headers.extend([name, b":", value, b"\r\n"].concat());
    }
    came.with_body(received.body())
}

/// The longest block of text headers, made of one header.
fn longest_headers() -> String {
    format!("Long:{}\r\n", "x".repeat(65_535 - 7))
}

/// Every shape of content that a frame can carry.
fn contents() -> [(String, Vec<u8>); 6] {
    let short = "Content-Type:text/plain\r\nProgress:[1:2]\r\n".to_owned();
    let long: Vec<u8> = (0..65_535_u32).map(|at| (at * 31 + 7) as u8).collect();
    [
        (String::new(), Vec::new()),
        (short.clone(), b"hello".to_vec()),
        (short, Vec::new()),
        (String::new(), long.clone()),
        (longest_headers(), Vec::new()),
        (longest_headers(), long),
    ]
}

/// The content as a message of the engine's.
fn message(engine: &Engine, headers: &str, body: &[u8]) -> Message {
    let mut message = engine.message().with_body(body).unwrap();
    for line in headers.split_terminator("\r\n") {
        let (name, value) = line.split_once(':').unwrap();
        message.add_header(name, value).unwrap();
    }
    message
}

/// Sends every kind and shape of data both ways, and compares each byte.
fn converse(engine: &Engine, side: &mut (ChannelGroup, Inbox), channel: Channel, peer: &mut Peer) {
    for (step, (headers, body)) in contents().into_iter().enumerate() {
        for more in [0, MORE] {
            let id = 0xAABB_CCDD_0000_0000 + step as u64;
            for proto in [REQUEST | more, SIGNAL | more] {
                let asked = frame(proto, id).headers(&headers).with_body(&body);
                peer.send_frame(&asked);
                let (came, post) = match common::next(&mut side.1, "data") {
                    Event::Request(request) => (as_frame(&request), request.echo()),
                    Event::Signal(signal) => (as_frame(&signal), signal.echo()),
                    other => panic!("expected data, got {other:?}"),
                };
                assert!(came == asked, "{proto:#x}, content {step}");
                side.0.post(post).unwrap();
                let answer = if proto == SIGNAL | more {
                    proto
                } else {
                    RESPONSE | more
                };
                let answer = from(channel, answer, id).headers(&headers).with_body(&body);
                peer.receive_exactly(&answer.bytes());
            }
            let posts = [
                (REQUEST, message(engine, &headers, &body).request(channel)),
                (SIGNAL, message(engine, &headers, &body).signal(channel)),
                (
                    RESPONSE,
                    message(engine, &headers, &body).response(channel, id),
                ),
            ];
            for (proto, post) in posts {
                let post = if more == MORE { post.more() } else { post };
                let posted = side.0.post(post).unwrap();
                let expected = from(channel, proto | more, posted.id);
                peer.receive_exactly(&expected.headers(&headers).with_body(&body).bytes());
            }
            let response = frame(RESPONSE | more, id)
                .headers(&headers)
                .with_body(&body);
            peer.send_frame(&response);
            let came = expect!(side.1, Response);
            assert!(as_frame(&came) == response, "response, content {step}");
        }
    }
}

#[test]
fn a_peer_that_connects_is_understood_byte_for_byte() {
    for transport in raw_transports() {
        let mut it = server(transport);
        let mut peer = Peer::connect(&it.address);
        let id = 0x1122_3344_5566_7788;
        let address_line = format!("~connect_to:{}\r\n", wire_form(&it.address));
        let greeting = frame(HELLO_REQUEST, id)
            .headers(format!("{address_line}Job-Ticket:JDF\r\n"))
            .with_body(b"content");
        peer.send_frame(&greeting);
        let hello = expect!(it.inbox, Hello);
        assert!(as_frame(&hello) == greeting);
        match hello.peer().address() {
            Endpoint::Tcp(address) => assert!(address.ip().is_loopback()),
            Endpoint::Uds(path) => assert_eq!(path, &None, "it was not bound"),
            other => panic!("who is {other:?}?"),
        }
        let channel = hello.channel();
        it.group.post(hello.echo()).unwrap();
        let mut answer = greeting.clone();
        (answer.channel, answer.proto) = (channel.number(), HELLO_RESPONSE);
        peer.receive_exactly(&answer.bytes());
        let mut side = (it.group, it.inbox);
        converse(&it.engine, &mut side, channel, &mut peer);

        peer.send_frame(
            &frame(BYE_REQUEST, 9)
                .headers("Why:done\r\n")
                .with_body(b"."),
        );
        let bye = expect!(side.1, Bye);
        assert_eq!(bye.text_headers().get("Why"), Some(&b"done"[..]));
        side.0.post(bye.echo()).unwrap();
        let answer = from(channel, BYE_RESPONSE, 9)
            .headers("Why:done\r\n")
            .with_body(b".");
        peer.receive_exactly(&answer.bytes());
        assert_eq!(
            peer.end(),
            End::Orderly,
            "the sending side is shut down behind the last frame"
        );
        common::assert_nothing(&mut side.1); // it waits for our end
        drop(peer);
        let closed = expect!(side.1, Closed);
        assert_eq!((closed.channel(), closed.reason()), (channel, Reason::Bye));
        let account = closed.account();
        assert_eq!(account.sent, account.posted, "{transport:?}: {account:?}");
    }
}

#[test]
fn a_peer_that_is_connected_to_is_understood_byte_for_byte() {
    for transport in raw_transports() {
        let listener = PeerListener::bind(transport);
        let engine = engine();
        let mut side = group(&engine);
        let hello = engine.message().with_header("Job-Ticket", "JDF").unwrap();
        let posted = side.0.post(hello.hello(&listener.address)).unwrap();
        let channel = posted.channel;
        let mut peer = listener.accept();
        let address_line = format!("~connect_to:{}\r\n", wire_form(&listener.address));
        let greeting = from(channel, HELLO_REQUEST, posted.id)
            .headers(format!("Job-Ticket:JDF\r\n{address_line}"));
        peer.receive_exactly(&greeting.bytes());
        let answer = frame(HELLO_RESPONSE, posted.id).headers("Server:by hand\r\n");
        peer.send_frame(&answer);
        let connected = expect!(side.1, Accepted);
        assert_eq!(
            connected.text_headers().get("Server"),
            Some(&b"by hand"[..])
        );
        converse(&engine, &mut side, channel, &mut peer);

        let posted = side.0.post(engine.message().bye(channel)).unwrap();
        peer.receive_exactly(&from(channel, BYE_REQUEST, posted.id).bytes());
        // What the responder owes still comes, before its answer.
        peer.send_frame(&frame(SIGNAL, 77).with_body(b"late"));
        peer.send_frame(&frame(BYE_RESPONSE, posted.id));
        assert_eq!(expect!(side.1, Signal).body(), b"late");
        assert_eq!(expect!(side.1, ByeResponse).id(), posted.id);
        let closed = expect!(side.1, Closed);
        assert_eq!((closed.channel(), closed.reason()), (channel, Reason::Bye));
        assert_eq!(closed.account().confirmed, closed.account().posted);
        assert_eq!(peer.end(), End::Orderly);
    }
}

#[test]
fn goodbyes_the_other_way_round() {
    for transport in raw_transports() {
        // The accepting engine asks for the end.
        let mut it = server(transport);
        let (mut peer, channel) = it.greeted();
        let posted = it.group.post(it.engine.message().bye(channel)).unwrap();
        peer.receive_exactly(&from(channel, BYE_REQUEST, posted.id).bytes());
        peer.send_frame(&frame(BYE_RESPONSE, posted.id));
        expect!(it.inbox, ByeResponse);
        assert_eq!(expect!(it.inbox, Closed).reason(), Reason::Bye);
        assert_eq!(peer.end(), End::Orderly);

        // The connecting engine is asked.
        let listener = PeerListener::bind(transport);
        let channel = it.group.connect(&listener.address).unwrap();
        let mut peer = listener.accept();
        assert_eq!(peer.receive().proto, HELLO_REQUEST);
        peer.send_frame(&frame(BYE_REQUEST, 5));
        drop(expect!(it.inbox, Bye));
        peer.receive_exactly(&from(channel, BYE_RESPONSE, 5).bytes());
        assert_eq!(peer.end(), End::Orderly);
        drop(peer);
        assert_eq!(expect!(it.inbox, Closed).reason(), Reason::Bye);
    }
}

#[test]
fn goodbyes_that_cross_need_one_answer_only() {
    for transport in raw_transports() {
        for peer_answers in [true, false] {
            let mut it = server(transport);
            let (mut peer, channel) = it.greeted();
            let posted = it.group.post(it.engine.message().bye(channel)).unwrap();
            peer.receive_exactly(&from(channel, BYE_REQUEST, posted.id).bytes());
            peer.send_frame(&frame(BYE_REQUEST, 5));
            if peer_answers {
                peer.send_frame(&frame(BYE_RESPONSE, posted.id));
            }
            drop(expect!(it.inbox, Bye));
            peer.receive_exactly(&from(channel, BYE_RESPONSE, 5).bytes());
            assert_eq!(peer.end(), End::Orderly, "one answer, exactly");
            drop(peer);
            if peer_answers {
                expect!(it.inbox, ByeResponse);
            }
            assert_eq!(expect!(it.inbox, Closed).reason(), Reason::Bye);
        }
    }
}

#[test]
fn nothing_has_to_wait_for_a_hello_response() {
    for transport in raw_transports() {
        // Neither a connecting engine, which gets data in its place ...
        let listener = PeerListener::bind(transport);
        let engine = engine();
        let (group, mut inbox) = group(&engine);
        let channel = group.connect(&listener.address).unwrap();
        group
            .post(engine.message().signal(channel).with_id(3))
            .unwrap();
        let mut peer = listener.accept();
        assert_eq!(peer.receive().proto, HELLO_REQUEST);
        peer.receive_exactly(&from(channel, SIGNAL, 3).bytes());
        peer.send_frame(&frame(REQUEST, 4));
        group.post(expect!(inbox, Request).echo()).unwrap();
        peer.receive_exactly(&from(channel, RESPONSE, 4).bytes());
        // ... and the response late.
        peer.send_frame(&frame(HELLO_RESPONSE, 1));
        expect!(inbox, Accepted);

        // Nor an accepting one, which answers data first.
        let mut it = server(transport);
        let mut peer = Peer::connect(&it.address);
        let greeting = hello_to(&it.address, 1).bytes();
        peer.send(&[greeting, frame(REQUEST, 2).bytes()].concat());
        let hello = expect!(it.inbox, Hello);
        it.group.post(expect!(it.inbox, Request).echo()).unwrap();
        let channel = hello.channel();
        peer.receive_exactly(&from(channel, RESPONSE, 2).bytes());
        it.group.post(hello.accept(it.engine.message())).unwrap();
        peer.receive_exactly(&from(channel, HELLO_RESPONSE, 1).bytes());
    }
}

#[test]
fn any_channel_number_and_the_id_nought_are_put_up_with() {
    for transport in raw_transports() {
        let mut it = server(transport);
        let (mut peer, channel) = it.greeted();
        for number in [0, 1, channel.number(), 65_535] {
            for (proto, id) in [(REQUEST, 0), (SIGNAL, 0), (SIGNAL, u64::MAX)] {
                let mut sent = frame(proto, id);
                sent.channel = number;
                peer.send_frame(&sent);
                let came = common::next(&mut it.inbox, "data");
                assert_eq!(came.channel(), Some(channel));
                let kind = matches!(came, Event::Request(_) | Event::Signal(_));
                assert!(kind, "expected data, got {came:?}");
            }
        }
        // A ByeRequest without an id is answered with one.
        peer.send_frame(&frame(BYE_REQUEST, 0));
        drop(expect!(it.inbox, Bye));
        let answer = peer.receive();
        assert_eq!(answer.proto, BYE_RESPONSE);
        assert_ne!(answer.id, 0);
    }
}

/// How a stream is cut into pieces, each written by itself.
#[derive(Clone, Copy, Debug)]
enum Cuts {
    None,
    /// The small frames byte by byte.
    EveryByte,
    Random,
}

const CUTS: [Cuts; 3] = [Cuts::None, Cuts::EveryByte, Cuts::Random];

fn send_cut(peer: &mut Peer, mut bytes: &[u8], cuts: Cuts, dice: &mut Dice) {
    const SMALL_FRAMES: usize = 240;
    let len = bytes.len();
    while !bytes.is_empty() {
        let piece = match cuts {
            Cuts::None => bytes.len(),
            Cuts::EveryByte if len - bytes.len() < SMALL_FRAMES => 1,
            Cuts::EveryByte => bytes.len(),
            Cuts::Random => 1 + dice.below(3000),
        };
        let (now, later) = bytes.split_at(piece.min(bytes.len()));
        peer.send(now);
        bytes = later;
    }
}

fn frames(mut recording: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !recording.is_empty() {
        let (frame, rest) = Frame::read(recording);
        frames.push(frame);
        recording = rest;
    }
    frames
}

/// A recording with every frame's channel number replaced.
fn renumbered(recording: &[u8], channel: Channel) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut frame in frames(recording) {
        frame.channel = channel.number();
        bytes.extend(frame.bytes());
    }
    bytes
}

/// Answers everything as the recorded server did, until the goodbye. Returns the channel.
fn echo_until_bye(it: &mut Server, mut greeting: Option<Message>) -> Channel {
    loop {
        let post = match common::next(&mut it.inbox, "a frame of the recording") {
            Event::Hello(hello) => hello.accept(greeting.take().expect("one hello")),
            Event::Request(request) => request.echo(),
            Event::Signal(signal) => signal.echo(),
            Event::Bye(bye) => {
                let channel = bye.channel();
                it.group.post(bye.echo()).unwrap();
                return channel;
            }
            other => panic!("unexpected {other:?}"),
        };
        it.group.post(post).unwrap();
    }
}

/// The recorded server added a header to the content that came. An application that answers a
/// hello writes its own content; this takes that of another connection with the same hello.
fn recorded_greeting(it: &mut Server) -> Message {
    let mut peer = Peer::connect(&it.address);
    peer.send_frame(&frames(CLIENT_TO_SERVER)[0]);
    let content = expect!(it.inbox, Hello).echo().into_message();
    drop(peer);
    assert_eq!(expect!(it.inbox, Closed).reason(), Reason::PeerDisconnected);
    content.with_header("Server", "echo").unwrap()
}

#[test]
fn the_recorded_client_gets_the_recorded_answers() {
    let mut dice = Dice::new();
    for transport in raw_transports() {
        for cuts in CUTS {
            let mut it = server(transport);
            let greeting = recorded_greeting(&mut it);
            let mut peer = Peer::connect(&it.address);
            send_cut(&mut peer, CLIENT_TO_SERVER, cuts, &mut dice);
            let channel = echo_until_bye(&mut it, Some(greeting));
            peer.receive_exactly(&renumbered(SERVER_TO_CLIENT, channel));
            assert_eq!(peer.end(), End::Orderly, "{transport:?}, {cuts:?}");
            drop(peer);
            let closed = expect!(it.inbox, Closed);
            assert_eq!((closed.channel(), closed.reason()), (channel, Reason::Bye));
            let account = closed.account();
            assert_eq!(
                (account.sent, account.confirmed, account.received),
                (8, 0, 8)
            );
        }
    }
}

/// Posts a recorded frame as an application would.
fn post(engine: &Engine, group: &ChannelGroup, channel: Channel, recorded: &Frame) {
    let headers = std::str::from_utf8(&recorded.headers).unwrap();
    let content = message(engine, headers, &recorded.body);
    let post = match recorded.proto & 0x0F {
        REQUEST => content.request(channel),
        SIGNAL => content.signal(channel),
        BYE_REQUEST => content.bye(channel),
        other => panic!("the recorded client did not send {other}"),
    };
    let post = post.with_id(recorded.id);
    let is_part = recorded.proto & MORE != 0;
    group
        .post(if is_part { post.more() } else { post })
        .unwrap();
}

#[test]
fn the_recorded_server_answers_an_engine() {
    let mut dice = Dice::new();
    for transport in raw_transports() {
        for cuts in CUTS {
            let listener = PeerListener::bind(transport);
            let engine = engine();
            let (group, mut inbox) = group(&engine);
            let recorded = frames(CLIENT_TO_SERVER);
            let hello = engine.message().with_header("Job-Ticket", "JDF").unwrap();
            let hello = hello.hello(&listener.address).with_id(recorded[0].id);
            let channel = group.post(hello).unwrap().channel;
            for frame in &recorded[1..] {
                post(&engine, &group, channel, frame);
            }

            // The greeting differs by the address dialled, and by its place among the headers.
            let mut peer = listener.accept();
            let mut greeting = recorded[0].clone();
            greeting.channel = channel.number();
            let address_line = format!("~connect_to:{}\r\n", wire_form(&listener.address));
            greeting.headers = format!("Job-Ticket:JDF\r\n{address_line}").into();
            let rest = &CLIENT_TO_SERVER[recorded[0].bytes().len()..];
            peer.receive_exactly(&greeting.bytes());
            peer.receive_exactly(&renumbered(rest, channel));

            send_cut(&mut peer, SERVER_TO_CLIENT, cuts, &mut dice);
            for mut expected in frames(SERVER_TO_CLIENT) {
                let came = match common::next(&mut inbox, "a recorded answer") {
                    Event::Accepted(it) | Event::Response(it) | Event::ByeResponse(it) => it,
                    Event::Signal(signal) => {
                        assert_eq!(signal.op_code(), OpCode::Signal);
                        expected.channel = 0x7A7A;
                        assert!(as_frame(&signal) == expected);
                        continue;
                    }
                    other => panic!("unexpected {other:?}"),
                };
                expected.channel = 0x7A7A;
                assert!(as_frame(&came) == expected, "{transport:?}, {cuts:?}");
            }
            let closed = expect!(inbox, Closed);
            assert_eq!((closed.channel(), closed.reason()), (channel, Reason::Bye));
            let account = closed.account();
            assert_eq!(
                (account.posted, account.confirmed, account.received),
                (8, 8, 8)
            );
            assert_eq!(peer.end(), End::Orderly);
        }
    }
}

#[test]
fn a_header_that_is_added_to_received_content_stands_on_a_line_of_its_own() {
    for transport in raw_transports() {
        let mut it = server(transport);
        let (mut peer, channel) = it.greeted();
        for (came, goes) in [
            ("", "c:d\r\n"),
            ("a:b\r\n", "a:b\r\nc:d\r\n"),
            ("a:b", "a:b\r\nc:d\r\n"),
            ("a:b\r", "a:b\r\r\nc:d\r\n"),
        ] {
            peer.send_frame(&frame(SIGNAL, 1).headers(came).with_body(b"body"));
            let content = expect!(it.inbox, Signal).into_message();
            let content = content.with_header("c", "d").unwrap();
            it.group.post(content.signal(channel).with_id(2)).unwrap();
            let expected = from(channel, SIGNAL, 2).headers(goes).with_body(b"body");
            peer.receive_exactly(&expected.bytes());
        }
    }
}
