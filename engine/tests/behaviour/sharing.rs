//! Whose a shared body is: charged while it was received and not posted on, and the application's afterwards;
//! whichever of its messages and engines goes first.

use std::collections::VecDeque;

use ampe::{Channel, Engine, PostError, SharedBody};

use crate::common::{self, PATIENCE, Side, engine, group, listen, tight};

/// A group that listens, and another engine's that has said hello to it.
struct Met {
    server: Side,
    client: Side,
    to_server: Channel,
    to_client: Channel,
    _engines: [Engine; 2],
}

fn met(engines: [Engine; 2]) -> Met {
    let (mut server, mut client) = (group(&engines[0]), group(&engines[1]));
    let (_, address) = listen(
        &server.0,
        &mut server.1,
        &"tcp://127.0.0.1:0".parse().unwrap(),
    );
    let to_server = client.0.connect(&address).unwrap();
    let hello = expect!(server.1, Hello);
    let to_client = hello.channel();
    server.0.post(hello.echo()).unwrap();
    expect!(client.1, Accepted);
    Met {
        server,
        client,
        to_server,
        to_client,
        _engines: engines,
    }
}

/// One who keeps the last of what came, and hands each on, is not stopped by its inbound budget: neither with small
/// bodies, which are copied where they are posted, nor with large ones, with text headers or without, nor by several at
/// once.
#[test]
fn what_was_posted_on_is_the_applications_however_small_it_is() {
    let ways = [
        (100, false, false),
        (100, true, false),
        (2000, false, false),
        (2000, true, false),
        (2000, false, true),
        (2000, true, true),
    ];
    for (len, is_by_many, is_named) in ways {
        let mut met = met([Engine::start(tight()).unwrap(), engine()]);
        let mut kept = Vec::new();
        // Several times what the budget takes.
        for number in 0..2000_u32 {
            let mut body = vec![0; len];
            body[..4].copy_from_slice(&number.to_be_bytes());
            let mut message = met.client.0.message().with_body(&body).unwrap();
            if is_named {
                message.add_header("Name", "value").unwrap();
            }
            met.client.0.post(message.signal(met.to_server)).unwrap();
            let mut message = expect!(met.server.1, Signal).into_message();
            kept.push(message.share_body());
            let post = message.signal(met.to_client);
            if is_by_many {
                let mut posts = VecDeque::from([post]);
                met.server.0.post_many(&mut posts, &mut Vec::new()).unwrap();
            } else {
                met.server.0.post(post).unwrap();
            }
            assert_eq!(expect!(met.client.1, Signal).body(), body);
        }
        for (number, body) in (0_u32..).zip(kept) {
            assert_eq!(body[..4], number.to_be_bytes());
        }
    }
}

#[test]
fn a_body_outlives_the_engines_that_it_came_from_and_went_to() {
    for first in 0..2 {
        let mut met = met([engine(), engine()]);
        let message = met.client.0.message().with_body(&[7; 20_000]).unwrap();
        met.client.0.post(message.signal(met.to_server)).unwrap();
        let mut message = expect!(met.server.1, Signal).into_message();
        let place = message.body().as_ptr();
        let body = message.share_body();
        // Through the other engine, back to the first, which has it as well.
        let other = met.client.0.message().with_shared_body(&body);
        met.client.0.post(other.signal(met.to_server)).unwrap();
        let again = expect!(met.server.1, Signal);
        assert_eq!(again.body(), &body[..]);
        assert_ne!(again.body().as_ptr(), place, "over the wire it was copied");
        let [of_server, of_client] = met._engines;
        if first == 0 {
            drop((of_server, met.server));
        } else {
            drop((of_client, met.client));
        }
        assert_eq!((body.as_ptr(), body.len()), (place, 20_000));
        assert_eq!(message.body().as_ptr(), place);
        drop((message, again));
        assert_eq!(&body[..], [7; 20_000]);
    }
}

/// Nobody reads at the other end, so that all is in flight: clones come back, each once, and each may be posted again.
#[test]
fn clones_in_flight_come_back_each_by_itself() {
    let engine = Engine::start(tight()).unwrap();
    let (group, mut inbox) = group(&engine);
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", deaf.local_addr().unwrap());
    let channel = group.connect(&address.parse().unwrap()).unwrap();
    let body = SharedBody::try_from(vec![7; 65_535]).unwrap();
    let message = group.message().with_shared_body(&body);
    let mut posted = 0_u64;
    let refused = loop {
        match group.post(message.clone().signal(channel)) {
            Ok(_) => posted += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused.why, PostError::Full(_)) && posted > 0);
    assert_eq!(refused.post.message().body().as_ptr(), body.as_ptr());
    group.post(ampe::Post::abort(channel)).unwrap();
    let mut returned = 0;
    let closed = loop {
        match common::next(&mut inbox, "Closed") {
            ampe::Event::Returned(it) => {
                let is_hello = it.message().body().is_empty();
                assert!(is_hello || it.message().body().as_ptr() == body.as_ptr());
                returned += 1;
            }
            ampe::Event::Closed(closed) => break closed,
            other => panic!("{other:?}"),
        }
    };
    let account = closed.account();
    assert_eq!(account.posted, account.sent + account.returned);
    assert_eq!(account.returned, returned);
    let report = inbox.close(PATIENCE);
    assert!(report.returned.is_empty());
    assert_eq!(engine.statistics().outbound_bytes, 0);
}

/// Memory of the application's own making, whose end does what an application may do.
#[cfg(feature = "bytes")]
#[test]
fn the_end_of_memory_that_was_handed_in_may_post_and_ask() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Owner {
        bytes: Vec<u8>,
        group: ampe::ChannelGroup,
        channel: Channel,
        ends: Arc<AtomicUsize>,
    }

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            let message = self.group.message().with_body(b"gone").unwrap();
            let _ = self.group.post(message.signal(self.channel));
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
    }

    let mut met = met([engine(), engine()]);
    let ends = Arc::new(AtomicUsize::new(0));
    let lens = [10, 1000, 3000, 60_000];
    for len in lens {
        let owner = Owner {
            bytes: vec![7; len],
            group: met.client.0.clone(),
            channel: met.to_server,
            ends: Arc::clone(&ends),
        };
        let body = SharedBody::try_from(bytes::Bytes::from_owner(owner)).unwrap();
        let message = met.client.0.message().with_shared_body(&body);
        drop(body);
        met.client.0.post(message.signal(met.to_server)).unwrap();
        let mut bodies: Vec<usize> = (0..2)
            .map(|_| expect!(met.server.1, Signal).body().len())
            .collect();
        bodies.sort_unstable();
        assert_eq!(bodies, [4, len]);
    }
    assert_eq!(ends.load(Ordering::Relaxed), lens.len());
}
