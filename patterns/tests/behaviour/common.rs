//! What the tests of several patterns begin with.

use std::thread;
use std::time::{Duration, Instant};

use ampe::{
    Address, Channel, ChannelGroup, Engine, Event, GroupOptions, Hello, Inbox, Options, Post,
};

/// No test needs nearly as long; one that hangs fails by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn engine() -> Engine {
    Engine::start(Options::default()).unwrap()
}

/// An engine that queues little for a channel, and reads little ahead: peers that do not receive are soon full.
pub(crate) fn tight() -> Engine {
    let mut options = Options::default();
    options.outbound_bytes_per_channel = 300_000;
    options.inbound_bytes_per_channel = 300_000;
    options.send_buffer = Some(30_000);
    options.receive_buffer = Some(30_000);
    // So often one that does not receive sees whether its peer has gone.
    options.frame_timeout = Duration::from_millis(500);
    Engine::start(options).unwrap()
}

pub(crate) fn group(engine: &Engine) -> (ChannelGroup, Inbox) {
    engine.group(GroupOptions::default()).unwrap()
}

pub(crate) fn local() -> Address {
    "tcp://127.0.0.1:0".parse().unwrap()
}

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Dice whose seed is printed, and read from `AMPE_SEED`.
pub(crate) fn dice() -> fastrand::Rng {
    let seed = std::env::var("AMPE_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("AMPE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

pub(crate) fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(body.try_into().unwrap())
}

/// Posts Signals of this length to somebody who does not receive, until neither the system nor the engine takes any more.
pub(crate) fn fill(group: &ChannelGroup, channel: Channel, len: usize) {
    let body = vec![7; len];
    let mut idle = 0;
    while idle < 100 {
        let message = group.message().with_body(&body).unwrap();
        idle = match group.post(message.signal(channel)) {
            Ok(_) => 0,
            Err(_) => idle + 1,
        };
        thread::sleep(Duration::from_millis(1)); // as long as the system takes some of it
    }
}

/// The hello of a client whose end was shown to a pattern before anybody accepts it.
pub(crate) fn hello_of_one_that_has_gone(
    group: &ChannelGroup,
    inbox: &mut Inbox,
    mut observe: impl FnMut(Event) -> Option<Hello>,
) -> Hello {
    group.listen(&local()).unwrap();
    let client = engine();
    let (client_group, _client_inbox) = self::group(&client);
    let (mut channel, mut hello) = (None, None);
    loop {
        let event = inbox.recv_until(deadline()).unwrap().unwrap();
        if let Event::Listening(it) = &event {
            channel = Some(client_group.connect(it.address()).unwrap());
        }
        let has_gone = matches!(event, Event::Closed(_));
        if let Some(it) = observe(event) {
            client_group.post(Post::abort(channel.unwrap())).unwrap();
            hello = Some(it);
        }
        if has_gone {
            return hello.unwrap();
        }
    }
}
