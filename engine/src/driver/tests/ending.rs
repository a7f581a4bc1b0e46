//! What comes while the reactor ends.

use std::sync::Mutex;
use std::task::{Context, Poll, Wake};

use super::*;
use crate::handles::{Shared, Submission};

/// A task that opens a group and posts when it is woken.
struct Opens {
    shared: Arc<Shared>,
    opened: Mutex<Option<(ChannelGroup, Inbox)>>,
}

impl Wake for Opens {
    fn wake(self: Arc<Self>) {
        let group = Arc::new(GroupShared::new(2, 0, 0));
        self.shared.open_group(&group).unwrap();
        let (posting, inbox) = group::pair(Arc::clone(&self.shared), group);
        posting
            .connect(&Address::tcp("127.0.0.1", 9).unwrap())
            .unwrap();
        *self.opened.lock().unwrap() = Some((posting, inbox));
    }
}

/// The task is woken in the last exchange, by the end of the group that it waits in.
#[test]
fn what_is_posted_behind_the_last_exchange_is_answered_all_the_same() {
    let mut bench = Bench::new();
    let channel = bench
        .posting
        .connect(&Address::tcp("127.0.0.1", 9).unwrap())
        .unwrap();
    let post = || {
        let message = bench.posting.message().body(&[7; 60_000]).unwrap();
        bench.posting.post(message.signal(channel))
    };
    while post().is_ok() {}
    let task = Arc::new(Opens {
        shared: Arc::clone(&bench.shared),
        opened: Mutex::default(),
    });
    let mut room = Box::pin(bench.posting.room(channel));
    let waker = Arc::clone(&task).into();
    let polled = room.as_mut().poll(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Pending);
    let stop = Submission::Stop {
        deadline: Instant::now(),
    };
    bench
        .shared
        .queue
        .submit(|_, items| items.push(stop))
        .unwrap();
    while !bench.pass().unwrap() {}
    let (_, mut inbox) = task.opened.lock().unwrap().take().unwrap();
    let returned = inbox.try_recv();
    assert!(
        matches!(returned, Ok(Some(Event::Returned(_)))),
        "{returned:?}"
    );
    assert!(matches!(inbox.try_recv(), Ok(Some(Event::Closed(_)))));
    assert_eq!(inbox.try_recv().unwrap_err(), Ended::EngineStopped);
}

#[test]
fn an_abort_that_says_why_ends_in_order_behind_its_words() {
    let mut bench = Bench::new();
    let (key, mut peer) = connected(&mut bench);
    let audit = bench.core.audit();
    let seen = audit.connections.iter().find(|it| it.key == key).unwrap();
    let channel = seen.channel.unwrap();
    let why = bench.posting.message().body(b"why").unwrap();
    bench.posting.post(why.abort(channel)).unwrap();
    assert!(matches!(bench.event(), Event::Closed(it) if it.reason() == Reason::Aborted));
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut peer, &mut bytes).unwrap();
    assert!(bytes.ends_with(b"why"));
}
