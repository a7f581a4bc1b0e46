use std::sync::Arc;

use crate::address::{Address, CONNECT_TO, LISTEN_ON};
use crate::between::registry::Role;
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::error::PostError;
use crate::event::{Received, Request};
use crate::message::Message;
use crate::storage::Pool;
use crate::wire::OpCode;

use super::Post;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn message() -> Message {
    Message::new(&Arc::new(Pool::new(0, Box::new(Nobody))))
}

fn channel() -> Channel {
    Channel::new(7, 70)
}

fn address(port: u16) -> Address {
    format!("tcp://127.0.0.1:{port}").parse().unwrap()
}

/// The headers that carry an address, with their values.
fn addresses(post: &Post) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = post.message().text_headers().iter();
    let all = headers.map(|(name, value)| (text(name), text(value)));
    all.filter(|(name, _)| name.starts_with('~')).collect()
}

#[test]
fn each_verb_makes_the_post_that_it_names() {
    type Make = fn(Message) -> Post;
    let verbs: [(Make, OpCode, u64, Role); 5] = [
        (|it| it.request(channel()), OpCode::Request, 0, Role::Data),
        (
            |it| it.response(channel(), 9),
            OpCode::Response,
            9,
            Role::Data,
        ),
        (|it| it.signal(channel()), OpCode::Signal, 0, Role::Data),
        (
            |it| it.bye(channel()),
            OpCode::ByeRequest,
            0,
            Role::ByeRequest,
        ),
        (
            |_| Post::abort(channel()),
            OpCode::ByeSignal,
            0,
            Role::ByeSignal,
        ),
    ];
    for (make, op_code, id, role) in verbs {
        let post = make(message());
        assert_eq!((post.op_code(), post.id()), (op_code, id));
        assert_eq!((post.channel(), post.has_more()), (Some(channel()), false));
        assert_eq!(post.role(), role);
    }
    let answer = Post::to(channel(), OpCode::ByeResponse, 1, message());
    assert_eq!(answer.role(), Role::ByeResponse);
    for post in [
        message().hello(&address(1)),
        Post::welcome(&address(1), message()),
    ] {
        assert_eq!(
            (post.channel(), post.id(), post.role()),
            (None, 0, Role::Data)
        );
    }
    let hello = message().hello(&address(1));
    assert_eq!(hello.op_code(), OpCode::HelloRequest);
}

#[test]
fn what_is_said_of_a_post_stays_with_it() {
    let post = message().with_body(b"content").unwrap().signal(channel());
    let mut post = post.with_id(5).more().with_id(6);
    assert!(post.has_more());
    assert_eq!(post.id(), 6, "the last counts");
    post.add_header("Name", "value").unwrap();
    assert!(
        post.add_header("~connect_to", "x").is_err(),
        "an engine's name"
    );
    assert_eq!(post.message().text_headers().iter().count(), 1);
    assert_eq!(post.into_message().body(), b"content");
}

/// However often it is refused and posted again.
#[test]
fn a_post_that_opens_a_channel_carries_its_address_once() {
    type Open = fn(&Address, Message) -> Post;
    let kinds: [(&str, Open); 2] = [
        (CONNECT_TO, |address, message| message.hello(address)),
        (LISTEN_ON, |address, message| {
            Post::welcome(address, message)
        }),
    ];
    for (name, open) in kinds {
        let content = message().with_header("Name", "value").unwrap();
        let mut post = open(&address(1), content.with_body(b"body").unwrap());
        for _ in 0..3 {
            post.write_address_header().unwrap();
        }
        let expected = [(name.to_owned(), "tcp|127.0.0.1|1".to_owned())];
        assert_eq!(addresses(&post), expected);
        // The content is meant for another address now.
        let mut post = open(&address(2), post.into_message());
        post.write_address_header().unwrap();
        let expected = [(name.to_owned(), "tcp|127.0.0.1|2".to_owned())];
        assert_eq!(addresses(&post), expected);
        assert_eq!(
            post.message().text_headers().get("Name"),
            Some(&b"value"[..])
        );
        assert_eq!(post.message().body(), b"body");
    }
}

/// A peer may have sent the header twice, once with the very address.
#[test]
fn an_address_that_came_from_a_peer_is_not_sent_on() {
    let mut content = message();
    for value in ["tcp|127.0.0.1|1", "tcp|10.0.0.1|9"] {
        content.add_any_header(CONNECT_TO, value).unwrap();
    }
    let mut post = content.hello(&address(1));
    post.write_address_header().unwrap();
    let expected = [(CONNECT_TO.to_owned(), "tcp|127.0.0.1|1".to_owned())];
    assert_eq!(addresses(&post), expected);
}

#[test]
fn a_post_to_a_channel_carries_no_address() {
    let mut post = message().request(channel());
    post.write_address_header().unwrap();
    assert_eq!(addresses(&post), []);
}

#[test]
fn a_hello_may_be_as_long_as_peers_take_it_its_address_included() {
    let room = CONNECT_TO.len() + "tcp|127.0.0.1|1".len() + ":\r\n".len();
    let too_long = Err(PostError::HelloTooLong { len: 8193 });
    for (beyond, outcome) in [(0, Ok(())), (1, too_long)] {
        let len = 8192 - room + beyond - "A:\r\n".len() - 100;
        let content = message().with_header("A", "x".repeat(len)).unwrap();
        let mut post = content.with_body(&[1; 100]).unwrap().hello(&address(1));
        for _ in 0..2 {
            assert_eq!(post.write_address_header(), outcome);
            let written = addresses(&post).len();
            assert_eq!(written, usize::from(outcome.is_ok()), "refused as it was");
        }
    }
    // However it came to be so long.
    let mut post = message().hello(&address(1));
    post.write_address_header().unwrap();
    post.message.set_body(&[1; 8192]).unwrap();
    let len = room + 8192;
    let too_long = Err(PostError::HelloTooLong { len });
    assert_eq!(post.write_address_header(), too_long);
    let mut post = message()
        .with_header("A", "x".repeat(65_500))
        .unwrap()
        .hello(&address(1));
    let too_long = PostError::HelloTooLong {
        len: 65_500 + 4 + room,
    };
    assert_eq!(post.write_address_header(), Err(too_long));
}

#[test]
fn a_post_that_is_posted_again_keeps_its_headers_as_they_are() {
    let mut post = message().hello(&address(1));
    post.write_address_header().unwrap();
    let content = post.into_message().with_header("Name", "value").unwrap();
    let mut post = content.hello(&address(1));
    let before = post.message().text_headers().as_bytes().to_vec();
    post.write_address_header().unwrap();
    assert_eq!(post.message().text_headers().as_bytes(), before);
}

/// The name that says so is the engine's, but a peer may send it with anything.
#[test]
fn an_answer_alone_is_a_refusal_and_says_nothing_but_why() {
    for (op_code, expected) in [(OpCode::Response, Some("no")), (OpCode::Request, None)] {
        let mut content = message();
        content.add_any_header("~refused", "no").unwrap();
        let received = Received {
            op_code,
            message: content,
            ..Received::BLANK
        };
        assert_eq!(received.refusal().as_deref(), expected);
    }
    let asked = message().with_header("Secret", "1").unwrap();
    let request = Request(Received {
        op_code: OpCode::Request,
        id: 7,
        message: asked.with_body(b"what was asked").unwrap(),
        ..Received::BLANK
    });
    let post = request.refuse("no");
    assert_eq!((post.op_code(), post.id()), (OpCode::Response, 7));
    let said = post.message().text_headers();
    assert_eq!(said.as_bytes(), b"~refused:no\r\n");
    assert!(post.message().body().is_empty());
}
