//! One body for many channels is there once, and is there again in what comes back.

use std::collections::{HashSet, VecDeque};
use std::net::TcpListener;

use ampe::{Channel, Engine, Event, Options, Post, SharedBody};

use crate::common::{PATIENCE, group};

const CHANNELS: usize = 50;
const BODIES: usize = 80;
const LEN: usize = 60_000;
/// What a message without content is charged, and what is charged more where a body is shared.
const RECORDS: usize = 896 + 768;

/// Peers that do not read.
struct Deaf {
    channels: Vec<Channel>,
    _sockets: Vec<(TcpListener, std::net::TcpStream)>,
}

fn deaf(group: &ampe::ChannelGroup, inbox: &mut ampe::Inbox) -> Deaf {
    let mut sockets = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        channels.push(group.connect(&address.parse().unwrap()).unwrap());
        let peer = listener.accept().unwrap().0;
        sockets.push((listener, peer));
    }
    for _ in 0..CHANNELS {
        assert!(matches!(inbox.recv(), Ok(Event::Opened(_))));
    }
    Deaf {
        channels,
        _sockets: sockets,
    }
}

#[test]
fn one_body_for_many_channels_is_held_once_and_comes_back_as_it_is() {
    let _alone = crate::alone();
    let mut options = Options::default();
    options.outbound_bytes_per_channel = BODIES * (LEN + 2 * RECORDS);
    options.outbound_bytes = CHANNELS * options.outbound_bytes_per_channel;
    options.pool_bytes = 0;
    let engine = Engine::start(options).unwrap();
    let (group, mut inbox) = group(&engine);
    let peers = deaf(&group, &mut inbox);

    let region = crate::region();
    let mut places = HashSet::new();
    let mut posts = VecDeque::with_capacity(CHANNELS);
    let mut posted = Vec::with_capacity(CHANNELS);
    for number in 0..BODIES {
        let body = SharedBody::try_from(vec![number as u8; LEN]).unwrap();
        places.insert(body.as_ptr() as usize);
        for &channel in &peers.channels {
            let message = group.message().with_shared_body(&body);
            posts.push_back(message.signal(channel));
        }
        posted.clear();
        group.post_many(&mut posts, &mut posted).unwrap();
    }
    let charged = engine.statistics().outbound_bytes;
    let held = crate::held(&region);
    println!("{charged} bytes are charged, {held} are held");
    // Each channel's records, and each body once; a copy for each would be 240 MB.
    let most = (CHANNELS * BODIES * RECORDS + BODIES * LEN) / 16 * 17 + (2 << 20);
    assert!(held <= most, "{held} held, {most} said");

    for &channel in &peers.channels {
        group.post(Post::abort(channel)).unwrap();
    }
    let report = inbox.close(PATIENCE);
    assert!(!report.returned.is_empty(), "nobody reads");
    for returned in &report.returned {
        let body = returned.message().shared_body().unwrap();
        assert!(places.contains(&(body.as_ptr() as usize)), "the very body");
        assert!(body.iter().all(|&byte| byte == body[0]) && body.len() == LEN);
    }
}
