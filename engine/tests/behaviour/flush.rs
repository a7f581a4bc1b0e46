//! Waiting until what was posted was sent, and looking at channels meanwhile, over real sockets.

use std::future::Future;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Channel, ChannelGroup, Event, FlushError, Inbox, Post, PostError};

use crate::common::{PATIENCE, engine, group};

/// A channel to a peer that does not speak.
fn connect(posting: &ChannelGroup) -> (Channel, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let channel = posting.connect(&address.parse().unwrap()).unwrap();
    (channel, listener.accept().unwrap().0)
}

/// Posts more than a peer's kernel takes, and returns how much that was.
fn fill(posting: &ChannelGroup, channel: Channel) -> u64 {
    let body = vec![0; 60_000];
    let deadline = Instant::now() + PATIENCE;
    let (mut posted, mut sent, mut since) = (0, 0, Instant::now());
    loop {
        let message = posting.message().with_body(&body).unwrap();
        match posting.post(message.signal(channel)) {
            Ok(_) => posted += 1,
            Err(refused) => {
                assert!(matches!(refused.why, PostError::Full(_)));
                // Until the reactor sends no more.
                let account = posting.account(channel).unwrap();
                if account.sent != sent {
                    (sent, since) = (account.sent, Instant::now());
                } else if since.elapsed() > Duration::from_millis(50) {
                    return posted;
                }
                thread::yield_now();
            }
        }
        assert!(Instant::now() < deadline, "the peer goes on reading");
    }
}

fn read_all(mut peer: TcpStream) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let (mut sink, mut sum) = (vec![0; 1 << 16], 0);
        while let Ok(len @ 1..) = peer.read(&mut sink) {
            sum += len;
        }
        sum
    })
}

/// The `Closed` of a channel, and how many messages came back before it.
fn closed(inbox: &mut Inbox) -> (ampe::Closed, u64) {
    let (deadline, mut returned) = (Instant::now() + PATIENCE, 0);
    loop {
        match inbox.recv_until(deadline).unwrap().expect("it ends") {
            Event::Closed(closed) => return (closed, returned),
            Event::Returned(_) => returned += 1,
            _ => {}
        }
    }
}

#[test]
fn a_thread_flushes_and_lets_go() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (channel, peer) = connect(&posting);
    let posted = fill(&posting, channel) + 1;
    let soon = Instant::now() + Duration::from_millis(10);
    assert_eq!(
        posting.flush_until(channel, soon),
        Err(FlushError::TimedOut)
    );
    let reader = read_all(peer);
    assert_eq!(
        posting.flush_until(channel, Instant::now() + PATIENCE),
        Ok(())
    );
    let account = posting.account(channel).unwrap();
    assert_eq!((account.posted, account.sent), (posted, posted));
    assert_eq!((account.queued_messages, account.queued_bytes), (0, 0));
    posting.post(Post::abort(channel)).unwrap();
    let (closed, returned) = closed(&mut inbox);
    assert_eq!((closed.account().sent, returned), (posted, 0));
    reader.join().unwrap();
}

struct Tell(Sender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[test]
fn a_task_is_woken_when_its_posts_were_sent_and_when_the_engine_ends() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (channel_of, peer) = connect(&posting);
    fill(&posting, channel_of);
    let (woken, is_woken) = channel();
    let waker = Waker::from(Arc::new(Tell(woken)));
    let mut context = Context::from_waker(&waker);
    let mut flush = pin!(posting.flush(channel_of));
    assert_eq!(flush.as_mut().poll(&mut context), Poll::Pending);
    let reader = read_all(peer);
    is_woken.recv_timeout(PATIENCE).unwrap();
    assert_eq!(flush.as_mut().poll(&mut context), Poll::Ready(Ok(())));

    let (deaf, peer) = connect(&posting);
    fill(&posting, deaf);
    let queued = posting.account(deaf).unwrap().queued_messages;
    let mut flush = pin!(posting.flush(deaf));
    assert_eq!(flush.as_mut().poll(&mut context), Poll::Pending);
    engine.stop(Duration::ZERO);
    is_woken.recv_timeout(PATIENCE).unwrap();
    // A last attempt to send may still find room at the system.
    let mut returned = 0;
    while let Ok(Some(event)) = inbox.recv_until(Instant::now() + PATIENCE) {
        if let Event::Returned(it) = event {
            assert_eq!(it.channel(), deaf);
            returned += 1;
        }
    }
    assert!((1..=queued).contains(&returned));
    let outcome = flush.as_mut().poll(&mut context);
    assert_eq!(outcome, Poll::Ready(Err(FlushError::Returned(returned))));
    drop(peer);
    reader.join().unwrap();
}

/// The channel's `Closed` was received by the time at which the task looks.
#[test]
fn a_flush_says_how_much_came_back() {
    let engine = engine();
    let (posting, mut inbox) = group(&engine);
    let (deaf, _peer) = connect(&posting);
    fill(&posting, deaf);
    let (woken, is_woken) = channel();
    let waker = Waker::from(Arc::new(Tell(woken)));
    let mut context = Context::from_waker(&waker);
    let mut flush = pin!(posting.flush(deaf));
    assert_eq!(flush.as_mut().poll(&mut context), Poll::Pending);
    posting.post(Post::abort(deaf)).unwrap();
    let (closed, returned) = closed(&mut inbox);
    assert_eq!(closed.account().returned, returned);
    assert_eq!(posting.account(deaf), None);
    is_woken.recv_timeout(PATIENCE).unwrap();
    let outcome = flush.as_mut().poll(&mut context);
    assert_eq!(outcome, Poll::Ready(Err(FlushError::Returned(returned))));
    let again = flush.as_mut().poll(&mut context);
    assert_eq!(again, Poll::Ready(Err(FlushError::ChannelClosed)));
}

#[test]
fn channels_of_others_are_none_of_ours() {
    let engine = engine();
    let (posting, _inbox) = group(&engine);
    let (others, _other) = group(&engine);
    let (channel, _peer) = connect(&posting);
    assert_eq!(others.account(channel), None);
    let outcome = others.flush_until(channel, Instant::now() + PATIENCE);
    assert_eq!(outcome, Err(FlushError::ChannelClosed));
    let listener = posting
        .listen(&"tcp://127.0.0.1:0".parse().unwrap())
        .unwrap();
    assert_eq!(posting.account(listener).unwrap().posted, 0);
    assert_eq!(posting.flush_until(listener, Instant::now()), Ok(()));
}
