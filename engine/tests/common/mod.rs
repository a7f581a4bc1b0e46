//! Helpers of the tests on real sockets.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod skip;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ampe::{Address, Channel, ChannelGroup, Engine, Event, GroupOptions, Inbox, Options};

pub(crate) use skip::skip;

/// How long a test waits for what must come: a watchdog, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The transports that every test of behaviour runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Uds,
}

/// Those that this system has.
pub(crate) fn transports() -> Vec<Transport> {
    let mut transports = vec![Transport::Tcp];
    if has_unix_sockets() {
        transports.push(Transport::Uds);
    }
    transports
}

/// Whether this system has Unix sockets. If not, says what is skipped.
pub(crate) fn has_unix_sockets() -> bool {
    let has_them = ampe_poller::socket::has_unix_sockets();
    if !has_them {
        skip("Unix sockets: this system has none");
    }
    has_them
}

/// Whether a channel ends like this whose peer reset the connection. Wine mostly takes the error away
/// when it looks at a socket, so that reading goes on to what looks like an orderly end.
pub(crate) fn is_end_by_reset(reason: ampe::Reason) -> bool {
    match reason {
        ampe::Reason::ConnectionLost => true,
        ampe::Reason::PeerDisconnected => ampe::platform::is_wine(),
        // Behind a ByeRequest, an orderly end leaves time for the answer.
        ampe::Reason::ByeTimedOut => ampe::platform::is_wine(),
        _ => false,
    }
}

/// A fresh address to listen on, and the directory that it lives in.
pub(crate) struct Place {
    pub(crate) address: Address,
    _directory: tempfile::TempDir,
}

pub(crate) fn place(transport: Transport) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let address = match transport {
        Transport::Tcp => "tcp://127.0.0.1:0".parse().unwrap(),
        Transport::Uds => Address::uds(directory.path().join("socket")).unwrap(),
    };
    Place {
        address,
        _directory: directory,
    }
}

/// A port on which nobody listens, for as long as the socket lives that keeps it from others.
pub(crate) fn nobody() -> (socket2::Socket, u16) {
    let keeper = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    keeper.bind(&any.into()).unwrap();
    let address = keeper.local_addr().unwrap().as_socket().unwrap();
    (keeper, address.port())
}

/// An address to which nothing can connect, and the system says so at once.
pub(crate) fn nowhere() -> Address {
    // The directory is gone again when this returns.
    place(Transport::Uds).address.clone()
}

pub(crate) fn engine() -> Engine {
    Engine::start(Options::default()).unwrap()
}

pub(crate) fn group(engine: &Engine) -> (ChannelGroup, Inbox) {
    engine.group(GroupOptions::default()).unwrap()
}

/// The next event other than Opened, or a panic that says for what the test waited.
#[track_caller]
pub(crate) fn next(inbox: &mut Inbox, what: &str) -> Event {
    match inbox.recv_until(Instant::now() + PATIENCE) {
        Ok(Some(Event::Opened(_))) => next(inbox, what),
        Ok(Some(event)) => event,
        Ok(None) => panic!("waited in vain for {what}"),
        Err(ended) => panic!("the inbox ended ({ended}) while waiting for {what}"),
    }
}

/// Listens, and waits until that has come about.
#[track_caller]
pub(crate) fn listen(
    group: &ChannelGroup,
    inbox: &mut Inbox,
    address: &Address,
) -> (Channel, Address) {
    let channel = group.listen(address).unwrap();
    match next(inbox, "Listening") {
        Event::Listening(listening) => {
            assert_eq!(listening.channel(), channel);
            (channel, listening.address().clone())
        }
        other => panic!("expected Listening, got {other:?}"),
    }
}

/// Takes the value of the expected kind of event out of an event.
macro_rules! expect {
    ($inbox:expr, $kind:ident) => {
        match $crate::common::next(&mut $inbox, stringify!($kind)) {
            ampe::Event::$kind(it) => it,
            other => panic!("expected {}, got {other:?}", stringify!($kind)),
        }
    };
}

/// One side of a group: where it posts, and where it receives.
pub(crate) type Side = (ChannelGroup, Inbox);

/// Two groups of one engine, of which the first listens, and where.
#[track_caller]
pub(crate) fn served() -> (Engine, Side, Side, Address) {
    let engine = engine();
    let (mut server, client) = (group(&engine), group(&engine));
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    let (_, address) = listen(&server.0, &mut server.1, &any);
    (engine, server, client, address)
}

/// Two groups of one engine, connected and past their hellos.
pub(crate) struct Connected {
    pub(crate) engine: Engine,
    pub(crate) server: (ChannelGroup, Inbox),
    pub(crate) client: (ChannelGroup, Inbox),
    pub(crate) listener: Channel,
    pub(crate) to_client: Channel,
    pub(crate) to_server: Channel,
    pub(crate) place: Place,
}

#[track_caller]
pub(crate) fn connected(transport: Transport) -> Connected {
    connected_with(transport, Options::default())
}

#[track_caller]
pub(crate) fn connected_with(transport: Transport, options: Options) -> Connected {
    let place = place(transport);
    let engine = Engine::start(options).unwrap();
    let (mut server, mut client) = (group(&engine), group(&engine));
    let (listener, bound) = listen(&server.0, &mut server.1, &place.address);
    let to_server = client.0.connect(&bound).unwrap();
    let hello = expect!(server.1, Hello);
    let to_client = hello.channel();
    server.0.post(hello.accept(engine.message())).unwrap();
    assert_eq!(expect!(client.1, Accepted).channel(), to_server);
    Connected {
        engine,
        server,
        client,
        listener,
        to_client,
        to_server,
        place,
    }
}

pub(crate) mod peer;

/// Wakes a thread that is parked.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a task in this thread.
pub(crate) fn block_on<T>(task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match task.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Credit for two large messages, and inbound budget for as many: whoever does not receive is soon
/// followed by a sender without room.
pub(crate) fn tight() -> Options {
    let mut options = Options::default();
    options.outbound_bytes = 300_000;
    options.outbound_bytes_per_channel = 300_000;
    options.inbound_bytes = 300_000;
    options.inbound_bytes_per_channel = 300_000;
    options
}

/// Waits for what no event tells of: a count that another thread is about to change.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// A well-behaved client with an engine of its own has its request answered and says goodbye, and
/// nothing else comes to the server meanwhile.
#[track_caller]
pub(crate) fn serve_well(server: &mut (ChannelGroup, Inbox), address: &Address) {
    let engine = engine();
    let mut client = group(&engine);
    let to_server = client.0.connect(address).unwrap();
    let hello = expect!(server.1, Hello);
    let to_client = hello.channel();
    server.0.post(hello.echo()).unwrap();
    expect!(client.1, Accepted);
    let request = engine.message().with_body(b"still there?").unwrap();
    client.0.post(request.request(to_server)).unwrap();
    let request = expect!(server.1, Request);
    assert_eq!(request.channel(), to_client);
    server.0.post(request.echo()).unwrap();
    assert_eq!(expect!(client.1, Response).body(), b"still there?");
    client.0.post(engine.message().bye(to_server)).unwrap();
    drop(expect!(server.1, Bye));
    expect!(client.1, ByeResponse);
    assert_eq!(expect!(client.1, Closed).reason(), ampe::Reason::Bye);
    let closed = expect!(server.1, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (to_client, ampe::Reason::Bye)
    );
    assert_nothing(&mut server.1);
}

/// Expects that no event waits.
#[track_caller]
pub(crate) fn assert_nothing(inbox: &mut Inbox) {
    match inbox.try_recv().unwrap() {
        None | Some(Event::Opened(_)) => {}
        Some(event) => panic!("expected nothing, got {event:?}"),
    }
}
