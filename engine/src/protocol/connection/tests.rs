//! A connection alone: no registry, no groups, no driver.

mod arriving;
mod connecting;
mod ending;
mod waits;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::between::key::GroupPlace;
use crate::between::wake::Wake;
use crate::endpoint::Endpoint;
use crate::event::Account as Messages;
use crate::handles::SharedFrame;
use crate::message::Message;
use crate::options::ListenOptions;
use crate::post::Destination;
use crate::post::Post;
use crate::storage::Creditor;
use crate::storage::{Pool, Shared};
use crate::wire::test_frames::{frame, header};
use crate::wire::{Header, OpCode};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

impl Creditor for Nobody {
    fn release(&self, _cost: usize) {}

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

/// A connection, and all that it may touch.
struct Alone {
    connection: Connection,
    options: Options,
    budget: Budget,
    cache: Cache,
    nodes: Nodes,
    events: Deliveries,
    /// Whether whoever makes the passes receives what they bring.
    is_received_here: bool,
    actions: Actions,
    pool: Arc<Pool>,
    now: Instant,
    posted: u64,
}

impl Alone {
    /// One that was opened here, is connected and has sent its HelloRequest, with id 1.
    fn new() -> Alone {
        let mut alone = Alone::opening("tcp://127.0.0.1:7000");
        alone.act(|it, context| it.handle_connected(Peer::at(Endpoint::Uds(None)), context));
        assert!(matches!(alone.events.pop_front(), Some(Event::Opened(_))));
        alone.post(OpCode::HelloRequest, 1, b"");
        alone.write(usize::MAX);
        alone
    }

    /// One that begins to be opened here.
    fn opening(address: &str) -> Alone {
        let pool = Arc::new(Pool::new(1 << 20, Box::new(Nobody)));
        let mut budget = Budget::new(1 << 20, 1 << 20);
        let budget_key = budget.open(0);
        let now = Instant::now();
        let key = RecordKey {
            index: 1,
            generation: 1,
        };
        let mut destination = Destination {
            address: address.parse().unwrap(),
            socket: None,
            options: ListenOptions::default(),
        };
        let opening = Opening::new(&mut destination, now + Duration::from_secs(10));
        let mut alone = Alone {
            connection: Connection::opened(key, budget_key, Channel::new(7, 7), 1, opening),
            options: Options::default(),
            budget,
            cache: Cache::new(Arc::clone(&pool)),
            nodes: Nodes::new(),
            events: Deliveries::default(),
            is_received_here: false,
            actions: Actions::default(),
            pool,
            now,
            posted: 0,
        };
        alone.act(|it, context| it.start_opening(context));
        alone
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Connection, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            options: &self.options,
            budget: &mut self.budget,
            cache: &mut self.cache,
            nodes: &mut self.nodes,
            is_received_here: self.is_received_here,
            has_calls: false,
            events: &mut self.events,
            actions: &mut self.actions,
            now: self.now,
            millis: 0,
        };
        act(&mut self.connection, &mut context)
    }

    fn post(&mut self, op_code: OpCode, id: u64, body: &[u8]) {
        let message = Message::new(&self.pool).with_body(body).unwrap();
        let post = Post::to(Channel::new(7, 7), op_code, id, message);
        self.posted += 1;
        self.act(|it, context| it.enqueue(post, 1000, context));
    }

    /// Lets the system take so many bytes of what there is to write.
    fn write(&mut self, most: usize) -> usize {
        let mut scratch = Vec::new();
        let gather = self.connection.gather(&self.nodes, &mut scratch);
        let offered = gather.map_or(0, |gather| gather.bytes());
        let taken = offered.min(most);
        match taken {
            0 if offered == 0 => {}
            0 => self.act(|it, context| it.handle_blocked(context)),
            _ => self.act(|it, context| it.handle_transmitted(taken, offered, context)),
        }
        taken
    }

    fn receive(&mut self, op_code: OpCode, id: u64, body: &[u8]) -> usize {
        let bytes = frame(op_code, id, body);
        self.act(|it, context| it.receive(&bytes, context))
    }

    fn later(&mut self, by: Duration) {
        self.now += by;
        if self.connection.due().is_some_and(|due| due <= self.now) {
            self.act(|it, context| it.handle_time(false, context));
        }
    }

    /// Lets time pass until it ends by itself, and says when.
    fn wait_for_end(&mut self) -> Duration {
        let begin = self.now;
        while !self.connection.has_ended() {
            let due = self.connection.due().expect("it waits for something");
            self.later(due.saturating_duration_since(self.now));
        }
        self.now - begin
    }

    /// As the exchange and what follows do: nothing more is posted.
    fn settle(&mut self) -> Vec<Reason> {
        assert_eq!(self.connection.posts(), Posts::Closing);
        self.connection.set_closed_to_posts();
        let creditor = Nobody.shared();
        self.act(|it, context| it.return_unsendable(&creditor, context));
        let returned = self.events.drain().filter_map(|event| match event {
            Event::Returned(returned) => Some(returned.reason()),
            _ => None,
        });
        returned.collect()
    }

    fn closed(&mut self) -> (Reason, Messages) {
        let closed = self.connection.closed();
        assert_eq!(closed.account().posted, self.posted);
        (closed.reason(), closed.account())
    }
}

fn broken_pipe() -> io::Error {
    ErrorKind::BrokenPipe.into()
}

#[test]
fn what_the_system_takes_nothing_of_comes_back_in_time() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, &[1; 1000]);
    it.post(OpCode::Signal, 0, &[2; 1000]);
    assert_eq!(it.write(1200), 1200);
    it.later(Duration::from_secs(20));
    it.act(|it, _| it.handle_writable());
    assert_eq!(
        it.write(0),
        0,
        "writable, it was said, and nothing is taken"
    );
    assert_eq!(it.wait_for_end(), Duration::from_secs(10));
    assert_eq!(it.settle(), [Reason::SendTimedOut]);
    let (reason, account) = it.closed();
    assert_eq!(reason, Reason::SendTimedOut);
    assert_eq!((account.sent, account.returned), (2, 1));
}

#[test]
fn who_takes_a_little_now_and_then_is_not_deaf() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, &[1; 1000]);
    for _ in 0..20 {
        it.act(|it, _| it.handle_writable());
        assert_eq!(it.write(10), 10);
        it.later(it.options.send_timeout - Duration::from_millis(1));
        assert!(!it.connection.has_ended());
    }
    it.act(|it, _| it.handle_writable());
    it.write(usize::MAX);
    it.later(Duration::from_secs(3600));
    assert!(!it.connection.has_ended(), "nothing waits to be sent");
}

#[test]
fn a_goodbye_that_is_not_answered_ends_in_time() {
    let mut it = Alone::new();
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    for _ in 0..29 {
        it.later(Duration::from_secs(1));
        it.receive(OpCode::Signal, 0, b"not yet");
        assert!(!it.connection.has_ended());
    }
    it.later(Duration::from_secs(1));
    assert_eq!(it.settle(), []);
    let (reason, account) = it.closed();
    assert_eq!(reason, Reason::ByeTimedOut);
    assert_eq!(
        (account.sent, account.confirmed, account.received),
        (2, 0, 29)
    );
}

#[test]
fn answers_before_any_question_confirm_nothing() {
    let mut it = Alone::new();
    it.receive(OpCode::HelloResponse, 1, b"");
    it.receive(OpCode::Response, 77, b"");
    it.receive(OpCode::Response, 78, b"");
    it.post(OpCode::Request, 5, b"");
    it.write(usize::MAX);
    it.act(|it, context| it.handle_read_error(&broken_pipe(), context));
    it.settle();
    let (_, account) = it.closed();
    assert_eq!(account.sent, 2);
    assert_eq!(account.confirmed, 1, "the hello alone was answered");
}

#[test]
fn of_an_answer_in_parts_the_last_confirms() {
    let mut it = Alone::new();
    it.receive(OpCode::HelloResponse, 1, b"");
    for id in [5, 6] {
        it.post(OpCode::Request, id, b"");
    }
    it.write(usize::MAX);
    let mut part = frame(OpCode::Response, 5, b"part");
    let header = Header::decode(part.first_chunk().unwrap()).unwrap();
    part[..Header::LEN].copy_from_slice(
        &Header {
            more: true,
            ..header
        }
        .encode(),
    );
    it.act(|it, context| it.receive(&part, context));
    it.receive(OpCode::Response, 5, b"last");
    it.act(|it, context| it.handle_end_of_stream(context));
    it.settle();
    assert_eq!(it.closed().1.confirmed, 2, "the hello and one request");
}

#[test]
fn behind_its_goodbye_a_peer_may_close_its_side_and_gets_what_it_is_owed() {
    let mut it = Alone::new();
    it.post(OpCode::Response, 3, &[1; 1000]);
    it.write(10);
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    assert!(!it.connection.has_ended());
    assert!(!it.connection.wanted(false).readable, "there is no more");
    it.post(OpCode::ByeResponse, 4, b"");
    it.act(|it, _| it.handle_writable());
    it.write(usize::MAX);
    assert!(it.connection.has_ended(), "both sides are closed");
    let key = it.connection.key;
    assert!(
        it.actions
            .closing
            .iter()
            .any(|action| matches!(action, Action::FinishSending { .. }))
    );
    let close = it.actions.closing.pop_back();
    assert!(matches!(close, Some(Action::Close { key: it, how: Closing::Orderly }) if it == key));
    assert_eq!(it.settle(), []);
    let (reason, account) = it.closed();
    assert_eq!((reason, account.sent), (Reason::Bye, 3));
}

#[test]
fn who_said_goodbye_and_closed_its_side_does_not_wait_for_ever() {
    let mut it = Alone::new();
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    assert_eq!(it.wait_for_end(), it.options.bye_timeout);
    it.settle();
    assert_eq!(it.closed().0, Reason::ByeTimedOut);
}

/// What is due again at the same moment is due for ever, and the reactor would do nothing else.
#[test]
fn however_short_its_patience_a_connection_is_never_due_again_at_once() {
    let mut it = Alone::new();
    it.options.bye_timeout = Duration::ZERO;
    it.post(OpCode::Response, 3, &[1; 1000]);
    it.write(10);
    it.receive(OpCode::ByeRequest, 4, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    it.later(Duration::ZERO);
    assert!(!it.connection.has_ended(), "its peer listens still");
    assert!(it.connection.due().is_some_and(|due| due > it.now));
    assert_eq!(it.wait_for_end(), it.options.send_timeout);
    assert_eq!(it.settle(), [Reason::SendTimedOut]);
}

#[test]
fn an_end_without_a_goodbye_is_one_at_once() {
    let mut it = Alone::new();
    it.post(OpCode::Request, 3, b"");
    it.act(|it, context| it.handle_end_of_stream(context));
    assert_eq!(it.settle(), [Reason::PeerDisconnected]);
}

#[test]
fn a_failed_write_leaves_a_connection_that_receives_and_takes_no_posts() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, b"unsent");
    it.act(|it, context| it.handle_write_error(&broken_pipe(), context));
    assert_eq!(it.settle(), [Reason::ConnectionLost]);
    assert_eq!(it.connection.posts(), Posts::Closed);
    assert_eq!(it.write(usize::MAX), 0);
    assert!(it.connection.wanted(false).readable && !it.connection.wanted(false).writable);
    it.receive(OpCode::Signal, 0, b"last words");
    assert!(matches!(it.events.pop_front(), Some(Event::Signal(_))));
    assert_eq!(it.wait_for_end(), it.options.linger_timeout);
    assert_eq!(it.connection.posts(), Posts::Closed, "once is enough");
    assert_eq!(it.closed().0, Reason::ConnectionLost);
}

#[test]
fn a_frame_without_budget_waits_and_is_whole_when_it_is_served() {
    let mut it = Alone::new();
    it.budget = Budget::new(1500, 1 << 20);
    let budget_key = it.budget.open(0);
    let mut other = 0;
    let asking = super::super::budget::Asking {
        key: RecordKey {
            index: 2,
            generation: 2,
        },
        budget_key,
        held: &mut other,
    };
    it.budget.charge(asking, 1500).unwrap();
    let signal = frame(OpCode::Signal, 0, b"late");
    assert_eq!(it.receive(OpCode::Signal, 0, b"late"), Header::LEN);
    assert!(it.connection.is_starved() && !it.connection.wanted(false).readable);
    let look = it.now + it.options.frame_timeout;
    assert_eq!(it.connection.due(), Some(look), "it may break meanwhile");
    it.budget.release(budget_key, 1500);
    let (_, cost) = it.budget.serve_next().unwrap();
    it.act(|it, context| it.serve(cost, context));
    let rest = &signal[Header::LEN..];
    assert_eq!(it.act(|it, context| it.receive(rest, context)), rest.len());
    let event = it.events.pop_front();
    assert!(matches!(event, Some(Event::Signal(signal)) if signal.body() == b"late"));
}

#[test]
fn closing_sends_what_is_queued_and_then_waits_for_the_peer_until_its_deadline() {
    let mut it = Alone::new();
    it.post(OpCode::Signal, 0, b"last");
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert!(
        it.actions
            .closing
            .iter()
            .all(|action| !matches!(action, Action::FinishSending { .. }))
    );
    it.write(usize::MAX);
    assert!(matches!(
        it.actions.closing.back(),
        Some(Action::FinishSending { .. })
    ));
    assert_eq!(it.wait_for_end(), Duration::from_secs(3));
    assert_eq!(it.settle(), []);
    assert_eq!(it.closed().0, Reason::GroupClosed);
}

#[test]
fn a_request_with_a_shared_body_is_confirmed_by_its_answer() {
    let mut it = Alone::new();
    it.receive(OpCode::HelloResponse, 1, b"");
    let frame = SharedFrame {
        header: header(OpCode::Request, 5, 4).encode(),
        body: Arc::new(Shared::owning(b"body".to_vec())),
    };
    it.posted += 1;
    it.act(|it, context| it.enqueue_shared(frame, context));
    it.write(usize::MAX);
    it.receive(OpCode::Response, 5, b"");
    assert_eq!(it.connection.account().confirmed, 2);
}
