//! Every message accounted for, however a channel ends: posted = sent + returned, never both, never
//! neither; exactly one `Closed`, last.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ampe::{
    Account, Address, Channel, ChannelGroup, Closed, Ended, Engine, Event, Inbox, Options, Post,
    PostError, Reason,
};

use crate::common::{
    self, PATIENCE, Transport, connected, group, is_end_by_reset, listen, place, transports,
};

const BODY: usize = 3000;

/// The sender's own book: every accepted post by its id, and what became of it.
#[derive(Default)]
struct Book {
    posted: BTreeSet<u64>,
    returned: BTreeMap<u64, Reason>,
    closed: Option<Closed>,
}

impl Book {
    /// Posts signals until the budget is used up.
    fn post_until_full(&mut self, group: &ChannelGroup, channel: Channel) {
        loop {
            let mut message = group.message();
            let body = message.resize_body(BODY).unwrap();
            body.fill(self.posted.len() as u8);
            match group.post(message.signal(channel)) {
                Ok(posted) => assert!(self.posted.insert(posted.id), "ids are unique"),
                Err(refused) => {
                    assert!(matches!(refused.why, PostError::Full(_)));
                    assert_eq!(refused.post.message().body().len(), BODY, "it comes back");
                    return;
                }
            }
        }
    }

    /// Takes events until the channel has closed, and checks that nothing follows.
    fn settle(&mut self, channel: Channel, events: impl Iterator<Item = Event>) -> Account {
        for event in events {
            assert!(
                self.closed.is_none() || event.channel() != Some(channel),
                "Closed is last"
            );
            match event {
                Event::Returned(returned) if returned.channel() == channel => {
                    assert_eq!(returned.message().body().len(), BODY, "comes back whole");
                    let before = self.returned.insert(returned.id(), returned.reason());
                    assert!(before.is_none(), "no message comes back twice");
                    assert!(
                        self.posted.contains(&returned.id()),
                        "what comes back was posted"
                    );
                }
                Event::Closed(closed) if closed.channel() == channel => {
                    self.closed = Some(closed);
                    break;
                }
                Event::Opened(_) | Event::Room(_) | Event::Accepted(_) | Event::Listening(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        let account = self.closed.as_ref().expect("the channel closed").account();
        assert_eq!(
            account.posted,
            self.posted.len() as u64 + 1,
            "and one HelloRequest"
        );
        assert_eq!(account.returned, self.returned.len() as u64);
        assert_eq!(account.posted, account.sent + account.returned);
        account
    }

    fn reason(&self) -> Reason {
        self.closed.as_ref().expect("the channel closed").reason()
    }
}

/// Events until the inbox ends or the test's patience does.
fn events(inbox: &mut Inbox) -> impl Iterator<Item = Event> {
    std::iter::from_fn(|| {
        let deadline = std::time::Instant::now() + PATIENCE;
        inbox
            .recv_until(deadline)
            .ok()
            .map(|event| event.expect("waited in vain"))
    })
}

/// A server and a client, each with an engine of its own, and a client that has flooded.
struct Flood {
    server_engine: Engine,
    server: (ChannelGroup, Inbox),
    client_engine: Engine,
    client: (ChannelGroup, Inbox),
    to_client: Channel,
    to_server: Channel,
    book: Book,
    _place: common::Place,
}

/// The receiver takes little and the sender may have much under way: more than any socket buffer
/// takes, so that something is left to return.
fn options(outbound: usize) -> Options {
    let mut options = Options::default();
    options.inbound_bytes = 1 << 20;
    options.outbound_bytes_per_channel = outbound;
    options
}

const OUTBOUND: usize = 32 << 20;

/// The server says hello and then receives nothing; the client posts until it is refused.
fn flood(transport: Transport) -> Flood {
    let place = place(transport);
    let server_engine = Engine::start(options(OUTBOUND)).unwrap();
    let client_engine = Engine::start(options(OUTBOUND)).unwrap();
    let (mut server, client) = (group(&server_engine), group(&client_engine));
    let (_, bound) = listen(&server.0, &mut server.1, &place.address);
    let to_server = client.0.connect(&bound).unwrap();
    let to_client = expect!(server.1, Hello).channel();
    let mut book = Book::default();
    book.post_until_full(&client.0, to_server);
    let _place = place;
    Flood {
        server_engine,
        server,
        client_engine,
        client,
        to_client,
        to_server,
        book,
        _place,
    }
}

/// Everything that the server received before its channel closed.
fn received_ids(inbox: &mut Inbox) -> BTreeSet<u64> {
    let mut ids = BTreeSet::new();
    for event in events(inbox) {
        match event {
            Event::Signal(signal) => assert!(ids.insert(signal.id()), "nothing comes twice"),
            Event::Closed(_) => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    ids
}

#[test]
fn a_peer_that_aborts() {
    for transport in transports() {
        let mut it = flood(transport);
        it.server.0.post(Post::abort(it.to_client)).unwrap();
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let received = received_ids(&mut it.server.1);
        println!(
            "{transport:?}: {account:?}, {:?}, received {}",
            it.book.reason(),
            received.len()
        );
        // A Unix socket knows no reset of its own: with nothing unread an abort is a close.
        let is_uds_close =
            transport == Transport::Uds && it.book.reason() == Reason::PeerDisconnected;
        let is_reset = it.book.reason() == Reason::ConnectionLost;
        let is_known = is_reset || is_uds_close || is_end_by_reset(it.book.reason());
        assert!(is_known, "{:?}", it.book.reason());
        assert!(received.len() as u64 <= account.sent);
        assert!(
            it.book.returned.keys().all(|id| !received.contains(id)),
            "returned, not received"
        );
    }
}

#[test]
fn a_peer_that_aborts_and_says_why() {
    for transport in transports() {
        let mut it = connected(transport);
        let words = it.engine.message().with_header("Code", "28").unwrap();
        let words = words.with_body(b"the disk is full").unwrap();
        it.server.0.post(words.abort(it.to_client)).unwrap();
        let told = expect!(it.client.1, ByeSignal);
        assert_eq!(told.body(), b"the disk is full");
        assert_eq!(told.text_headers().get("Code"), Some(&b"28"[..]));
        let closed = expect!(it.client.1, Closed);
        assert_eq!(closed.reason(), Reason::PeerAborted, "{transport:?}");
        let of_peer = expect!(it.server.1, Closed);
        assert_eq!(of_peer.reason(), Reason::Aborted);
        assert_eq!(closed.account().received, of_peer.account().sent);
        let long = it.engine.message().with_body(&[0; 1025]).unwrap();
        let refused = it.server.0.post(long.abort(it.to_client)).unwrap_err();
        assert_eq!(refused.why, PostError::AbortTooLong { len: 1025 });
    }
}

/// Whatever the words came in: what that was charged is settled before.
#[test]
fn an_abort_takes_the_content_of_any_message() {
    for transport in transports() {
        let mut it = connected(transport);
        // Returned ones, with words; the second abort of a channel changes nothing.
        let message = || it.engine.message().with_body(b"enough").unwrap();
        let signals = [(); 2].map(|()| message().signal(it.to_client));
        let mut posts = signals
            .into_iter()
            .collect::<std::collections::VecDeque<_>>();
        posts.push_back(Post::abort(it.to_client));
        it.server.0.post_many(&mut posts, &mut Vec::new()).unwrap();
        let words = [(); 2].map(|()| expect!(it.server.1, Returned).into_message());
        expect!(it.server.1, Closed);
        let listener = it.listener;
        let mut aborts = words.into_iter().map(|it| it.abort(listener)).collect();
        it.server.0.post_many(&mut aborts, &mut Vec::new()).unwrap();
        assert_eq!(expect!(it.server.1, Closed).channel(), listener);
        // One that another engine received, without words.
        let (mut here, other) = (connected(transport), connected(transport));
        let post = here.engine.message().signal(here.to_server);
        here.client.0.post(post).unwrap();
        let received = expect!(here.server.1, Signal).into_message();
        other
            .client
            .0
            .post(received.abort(other.to_server))
            .unwrap();
        let mut inbox = other.client.1;
        assert_eq!(expect!(inbox, Closed).reason(), Reason::Aborted);
        assert_eq!(inbox.close(PATIENCE).unread.len(), 0);
    }
}

#[test]
fn an_abort_of_our_own() {
    for transport in transports() {
        let mut it = flood(transport);
        it.client.0.post(Post::abort(it.to_server)).unwrap();
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let received = received_ids(&mut it.server.1);
        assert_eq!(it.book.reason(), Reason::Aborted);
        assert!(received.len() as u64 <= account.sent);
        assert!(
            it.book.returned.keys().all(|id| !received.contains(id)),
            "returned, not received"
        );
    }
}

#[test]
fn a_peer_whose_group_closes() {
    for transport in transports() {
        let mut it = flood(transport);
        let report = it.server.1.close(Duration::ZERO);
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let is_signal = |event: &&Event| matches!(event, Event::Signal(_));
        let received = report.unread.iter().filter(is_signal).count() as u64;
        let closed = report
            .unread
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)))
            .count();
        assert_eq!(closed, 2, "the listener's and the connection's");
        assert!(received <= account.sent, "{received} received, {account:?}");
    }
}

#[test]
fn a_peer_whose_engine_is_dropped() {
    for transport in transports() {
        let mut it = flood(transport);
        drop(it.server_engine);
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        let mut received = 0;
        let mut closed = 0;
        let ended = loop {
            match it.server.1.recv() {
                Ok(Event::Signal(_)) => received += 1,
                Ok(Event::Closed(_)) => closed += 1,
                Ok(other) => panic!("unexpected {other:?}"),
                Err(ended) => break ended,
            }
        };
        assert_eq!((ended, closed), (Ended::EngineStopped, 2));
        assert!(received <= account.sent);
    }
}

#[test]
fn an_engine_of_our_own_that_is_dropped() {
    for transport in transports() {
        let mut it = flood(transport);
        drop(it.client_engine);
        let account = it.book.settle(it.to_server, events(&mut it.client.1));
        assert_eq!(it.client.1.recv().unwrap_err(), Ended::EngineStopped);
        assert_eq!(it.book.reason(), Reason::EngineStopped);
        let received = received_ids(&mut it.server.1);
        assert!(received.len() as u64 <= account.sent);
        assert!(
            it.book.returned.keys().all(|id| !received.contains(id)),
            "returned, not received"
        );
        let refused = it
            .client
            .0
            .post(it.server.0.message().signal(it.to_server))
            .unwrap_err();
        assert_eq!(refused.why, PostError::EngineEnded);
    }
}

#[test]
fn a_group_of_our_own_that_closes_behind_a_burst() {
    for transport in transports() {
        let mut it = flood(transport);
        let received = std::thread::scope(|scope| {
            let server = scope.spawn(|| received_ids(&mut it.server.1));
            let report = it.client.1.close(PATIENCE);
            assert!(
                report.returned.is_empty(),
                "there was time to send everything"
            );
            let account = it.book.settle(it.to_server, report.unread.into_iter());
            assert_eq!(account.sent, account.posted);
            server.join().unwrap()
        });
        assert_eq!(
            received, it.book.posted,
            "everything sent before an orderly end is received"
        );
        let refused = it
            .client
            .0
            .post(it.server.0.message().signal(it.to_server))
            .unwrap_err();
        assert_eq!(refused.why, PostError::GroupClosed);
    }
}

#[test]
fn a_goodbye_behind_a_burst_confirms_everything() {
    for transport in transports() {
        let mut it = flood(transport);
        let bye = it.client.0.message().bye(it.to_server);
        it.client.0.post(bye).unwrap();
        let mut received = 0;
        for event in events(&mut it.server.1) {
            match event {
                Event::Signal(_) => received += 1,
                Event::Bye(_) => {} // dropped, and so answered
                Event::Closed(closed) => {
                    assert_eq!(closed.reason(), Reason::Bye);
                    break;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(received, it.book.posted.len());
        for event in events(&mut it.client.1) {
            if let Event::Closed(closed) = event {
                let account = closed.account();
                assert_eq!((closed.reason(), account.returned), (Reason::Bye, 0));
                assert_eq!(account.confirmed, account.posted);
                break;
            }
        }
    }
}

#[test]
fn a_listener_that_is_closed_leaves_its_connections_alone() {
    for transport in transports() {
        let mut it = common::connected(transport);
        it.server.0.post(Post::abort(it.listener)).unwrap();
        let closed = expect!(it.server.1, Closed);
        assert_eq!(
            (closed.channel(), closed.reason()),
            (it.listener, Reason::Aborted)
        );
        it.client
            .0
            .post(it.engine.message().request(it.to_server))
            .unwrap();
        let request = expect!(it.server.1, Request);
        it.server.0.post(request.echo()).unwrap();
        expect!(it.client.1, Response);
    }
}

#[test]
fn a_peer_that_is_killed() {
    for transport in transports() {
        let place = place(transport);
        let mut child = start_receiver(&place.address);
        let client_engine = Engine::start(options(OUTBOUND)).unwrap();
        let mut client = group(&client_engine);
        let to_server = client.0.connect(&child.address).unwrap();
        child.wait_for_line("hello");
        let mut book = Book::default();
        book.post_until_full(&client.0, to_server);
        child.process.kill().unwrap();
        child.process.wait().unwrap();
        let account = book.settle(to_server, events(&mut client.1));
        println!("{transport:?}: {account:?}, {:?}", book.reason());
        assert!(
            account.returned > 0,
            "more was posted than any socket buffer takes"
        );
        assert_eq!(account.confirmed, 0);
    }
}

struct Receiver {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: Address,
}

impl Receiver {
    fn wait_for_line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.lines.read_line(&mut line).unwrap(),
                0,
                "waited for {start}"
            );
            if let Some(at) = line.find(start) {
                return line[at + start.len()..].trim().to_owned();
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this test program again, as a process that says hello and then receives nothing.
fn start_receiver(address: &Address) -> Receiver {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "accounts::receiver_process",
            "--nocapture",
            "--ignored",
        ])
        .env("AMPE_TEST_LISTEN", address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    let mut receiver = Receiver {
        process,
        lines,
        address: address.clone(),
    };
    receiver.address = receiver.wait_for_line("listening ").parse().unwrap();
    receiver
}

#[test]
#[ignore = "not a test: the process that another test kills"]
fn receiver_process() {
    let address: Address = std::env::var("AMPE_TEST_LISTEN").unwrap().parse().unwrap();
    let engine = Engine::start(options(OUTBOUND)).unwrap();
    let mut server = group(&engine);
    let (_, bound) = listen(&server.0, &mut server.1, &address);
    println!("\nlistening {bound}");
    expect!(server.1, Hello);
    println!("\nhello");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]); // until killed, or the parent is gone
}
