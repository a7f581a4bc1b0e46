//! The reactor's own failure, which only a test can bring about.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::error::{Ended, PostError};
use crate::event::Event;
use crate::group::ChannelGroup;
use crate::inbox::Inbox;
use crate::options::{GroupOptions, Options};
use crate::post::Post;
use crate::storage::MESSAGE_COST_MAX;

use super::Engine;

const PATIENCE: Duration = Duration::from_secs(60);

fn engine() -> Engine {
    Engine::start(Options::default()).unwrap()
}

fn group(engine: &Engine) -> (ChannelGroup, Inbox) {
    engine.group(GroupOptions::default()).unwrap()
}

fn next(inbox: &mut Inbox) -> Event {
    let event = inbox.recv_until(Instant::now() + PATIENCE).unwrap();
    match event.expect("waited in vain for an event") {
        Event::Opened(_) => next(inbox),
        event => event,
    }
}

fn listen(side: &mut (ChannelGroup, Inbox)) -> Address {
    side.0
        .listen(&"tcp://127.0.0.1:0".parse().unwrap())
        .unwrap();
    match next(&mut side.1) {
        Event::Listening(listening) => listening.address().clone(),
        other => panic!("expected Listening, got {other:?}"),
    }
}

/// Connects, and has a request arrive. The request is not answered.
fn converse(server: &mut (ChannelGroup, Inbox), client: &ChannelGroup, address: &Address) -> Event {
    let to_server = client.connect(address).unwrap();
    client.post(client.message().request(to_server)).unwrap();
    assert!(matches!(next(&mut server.1), Event::Hello(_)));
    let request = next(&mut server.1);
    assert!(matches!(request, Event::Request(_)), "{request:?}");
    request
}

#[test]
fn a_panic_of_the_reactor_ends_its_groups_and_nothing_else() {
    let (failing, other) = (engine(), engine());
    let (mut server, mut client) = (group(&failing), group(&failing));
    let address = listen(&mut server);
    let request = converse(&mut server, &client.0, &address);
    let channel = request.channel().unwrap();

    // One is blocked in receiving, and one in closing: its peer does not close.
    let (mut blocked, closing) = (group(&failing), group(&failing));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    closing
        .0
        .connect(&Address::tcp("127.0.0.1", port).unwrap())
        .unwrap();
    let mut peer = listener.accept().unwrap().0;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| blocked.1.recv().unwrap_err());
        let closer = scope.spawn(|| closing.1.close(PATIENCE));
        peer.read_to_end(&mut Vec::new()).unwrap(); // it closes its side, and waits for ours
        failing.plant_panic();
        assert_eq!(receiver.join().unwrap(), Ended::EngineFailed);
        let report = closer.join().unwrap();
        assert!(
            report.returned.is_empty() && matches!(report.unread[..], [Event::Opened(_)]),
            "{report:?}"
        );
    });
    assert!(matches!(client.1.recv(), Ok(Event::Opened(_))));
    for inbox in [&mut server.1, &mut client.1] {
        assert_eq!(inbox.recv().unwrap_err(), Ended::EngineFailed);
    }
    check_refusals(&failing, &server.0, channel, &address);
    drop(request); // what it holds goes where nobody counts any more
    failing.stop(PATIENCE);

    // The process and the other engine live on.
    let (mut server, client) = (group(&other), group(&other));
    let address = listen(&mut server);
    converse(&mut server, &client.0, &address);
    let again = engine();
    let mut side = group(&again);
    listen(&mut side);
}

fn check_refusals(
    failed: &Engine,
    group: &ChannelGroup,
    channel: crate::channel::Channel,
    address: &Address,
) {
    let refused = group.post(group.message().signal(channel)).unwrap_err();
    assert_eq!(refused.why, PostError::EngineEnded);
    assert_eq!(
        refused.post.channel(),
        Some(channel),
        "it is still the caller's"
    );
    assert_eq!(
        group.post(Post::abort(channel)).unwrap_err().why,
        PostError::EngineEnded
    );
    assert_eq!(
        group.connect(address).unwrap_err().why,
        PostError::EngineEnded
    );
    assert_eq!(
        group.listen(address).unwrap_err().why,
        PostError::EngineEnded
    );
    assert_eq!(
        group.notify(group.message()).unwrap_err().why,
        PostError::EngineEnded
    );
    let another = failed.group(GroupOptions::default());
    assert_eq!(another.unwrap_err(), Ended::EngineFailed);
    assert!(failed.message().with_body(b"still a message").is_ok());
}

#[test]
fn a_failed_reactor_leaves_no_socket_open() {
    let failing = engine();
    let mut server = group(&failing);
    let address = listen(&mut server);
    let peer = TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    failing.plant_panic();
    assert_eq!(server.1.recv().unwrap_err(), Ended::EngineFailed);
    failing.stop(PATIENCE);
    let outcome = (&peer).read(&mut [0]);
    let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
    let has_ended = matches!(&outcome, Ok(0)) || outcome.as_ref().is_err_and(is_reset);
    assert!(has_ended, "{outcome:?}");
    let refused = TcpStream::connect(address.socket_addr().unwrap());
    assert!(refused.is_err(), "nobody listens any more");
}

#[test]
fn an_engine_can_be_dropped_after_its_reactor_failed() {
    for _ in 0..50 {
        let failing = engine();
        let (mut server, client) = (group(&failing), group(&failing));
        let address = listen(&mut server);
        for _ in 0..10 {
            let channel = client.0.connect(&address).unwrap();
            client.0.post(client.0.message().signal(channel)).unwrap();
        }
        // What was posted before, in the same batch or in flight, is dropped with it.
        failing.plant_panic();
        drop(failing);
        while server.1.recv().is_ok() {}
        let report = client.1.close(PATIENCE);
        drop(report);
        assert_eq!(server.1.recv().unwrap_err(), Ended::EngineFailed);
    }
}

#[test]
fn a_group_has_a_reserve_that_takes_any_one_message() {
    let engine = Engine::start(Options::default()).unwrap();
    for (asked, reserve) in [(0, MESSAGE_COST_MAX), (1 << 20, 1 << 20)] {
        #[allow(clippy::needless_update, reason = "there is more with features")]
        let options = GroupOptions {
            inbound_reserve: asked,
            outbound_reserve: 2 * asked,
            ..GroupOptions::default()
        };
        let (posting, _inbox) = engine.group(options).unwrap();
        let outbound = MESSAGE_COST_MAX.max(2 * asked);
        assert_eq!(posting.reserves(), (reserve, outbound));
    }
}

/// Whatever it has posted, and received.
#[test]
fn an_engine_leaves_no_memory_behind_with_the_thread_that_stops_it() {
    let engine = engine();
    let (mut server, client) = (group(&engine), group(&engine));
    let address = listen(&mut server);
    let request = converse(&mut server, &client.0, &address);
    let channel = request.channel().expect("it came over one");
    let long = server.0.message().with_body(&[7; 2000]).unwrap();
    server.0.post(long.signal(channel)).unwrap();
    let pool = Arc::downgrade(&engine.inner.shared.pool);
    drop((request, server, client));
    drop(engine);
    assert_eq!(pool.strong_count(), 0);
}
