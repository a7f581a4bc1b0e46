//! What a service knows of its clients. One lock is around all of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ampe::wire::OpCode;
use ampe::{
    Bye, Channel, ChannelGroup, Closed, Event, Hello, Message, Outbox, Post, PostError, Refused,
    Request,
};

use super::{Gone, Served, ServiceAccount, ServiceOptions};
use crate::let_go::why_let_go;

const NOT_READING: &str = "you do not take your answers";
const BUSY: &str = "busy";
const ENDING: &str = "the service is ending";

/// So long after its deadline a drain waits for the events that say that who was let go has gone, and no longer.
const REPORTS: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct State {
    group: ChannelGroup,
    options: ServiceOptions,
    outbox: Outbox,
    listeners: BTreeSet<Channel>,
    clients: BTreeMap<Channel, Client>,
    /// Those for whom answers wait, and since when there was no room.
    waiting: BTreeMap<Channel, Instant>,
    account: ServiceAccount,
    drain: Option<Drain>,
}

#[derive(Debug, Default)]
struct Client {
    unanswered: usize,
    /// Its goodbye, which waits for its answers.
    bye: Option<Bye>,
    has_goodbye: bool,
    let_go: Option<&'static str>,
}

#[derive(Debug)]
struct Drain {
    deadline: Instant,
    is_over: bool,
    /// Nothing is waited for any more.
    is_given_up: bool,
}

impl State {
    pub(super) fn new(group: ChannelGroup, options: ServiceOptions) -> State {
        State {
            // A limit for all would have clients let go for what others have waiting.
            outbox: Outbox::new(group.clone(), options.answer_bytes)
                .with_total(usize::MAX, usize::MAX),
            group,
            options,
            listeners: BTreeSet::new(),
            clients: BTreeMap::new(),
            waiting: BTreeMap::new(),
            account: ServiceAccount::default(),
            drain: None,
        }
    }

    pub(super) fn account(&self) -> ServiceAccount {
        self.account
    }

    pub(super) fn accept(&mut self, hello: Hello, message: Message) {
        if self.drain.is_some() {
            return self.post(hello.refuse(ENDING));
        }
        let channel = hello.channel();
        let accepted = self.outbox.post(hello.accept(message));
        let is_full = match &accepted {
            Ok(()) => false,
            Err(refused) if matches!(refused.why, PostError::Full(_)) => true,
            Err(_) => return, // it has gone, and nothing more will be heard of it
        };
        self.account.clients += 1;
        self.clients.insert(channel, Client::default());
        match is_full {
            true => self.let_go(channel, NOT_READING),
            false => self.note_waiting(channel),
        }
    }

    /// Counts a request, and refuses it if it cannot be taken. One of a stranger comes back.
    pub(super) fn take(&mut self, request: Request) -> Result<Option<Request>, Request> {
        let Some(client) = self.clients.get_mut(&request.channel()) else {
            return Err(request);
        };
        self.account.taken += 1;
        let why = if self.drain.is_some() {
            ENDING
        } else if self.account.unanswered >= self.options.taken as u64 {
            BUSY
        } else {
            self.account.unanswered += 1;
            client.unanswered += 1;
            return Ok(Some(request));
        };
        self.account.refused += 1;
        self.post(request.refuse(why));
        Ok(None)
    }

    /// Posts an answer. Returns whether the thread that receives is to look.
    pub(super) fn answer(&mut self, post: Post, is_refusal: bool) -> bool {
        self.account.unanswered -= 1;
        match is_refusal {
            true => self.account.refused += 1,
            false => self.account.answered += 1,
        }
        let channel = post.channel();
        let waited = self.waiting.len();
        self.post(post);
        if let Some(channel) = channel
            && let Some(client) = self.clients.get_mut(&channel)
        {
            client.unanswered -= 1;
            self.end_if_done(channel);
        }
        self.waiting.len() > waited || self.drain.is_some() && self.account.unanswered == 0
    }

    /// Posts behind what waits.
    pub(super) fn post(&mut self, post: Post) {
        let Some(channel) = post.channel() else {
            return;
        };
        match self.outbox.post(post) {
            Ok(()) => self.note_waiting(channel),
            Err(Refused { post, why }) => {
                self.count_returned([&post]);
                if matches!(why, PostError::Full(_)) {
                    self.let_go(channel, NOT_READING);
                }
            }
        }
    }

    fn note_waiting(&mut self, channel: Channel) {
        if self.outbox.waiting(channel) > 0 {
            self.waiting.entry(channel).or_insert_with(ampe::now);
        }
    }

    fn count_returned<'a>(&mut self, posts: impl IntoIterator<Item = &'a Post>) {
        let is_answer = |post: &&Post| post.op_code() == OpCode::Response;
        self.account.returned += posts.into_iter().filter(is_answer).count() as u64;
    }

    /// Ends a client's channel here and now, and says why, as far as it listens.
    fn let_go(&mut self, channel: Channel, why: &'static str) {
        if let Some(client) = self.clients.get_mut(&channel) {
            client.let_go.get_or_insert(why);
        }
        self.forget_waiting(channel);
        let words = self.group.message().with_body(why.as_bytes());
        let abort = words.map_or_else(|_| Post::abort(channel), |words| words.abort(channel));
        let _ = self.group.post(abort); // refused if it has gone by itself
    }

    fn forget_waiting(&mut self, channel: Channel) {
        self.waiting.remove(&channel);
        let waiting: VecDeque<Post> = self.outbox.take(channel);
        self.count_returned(&waiting);
    }

    /// Ends a client's conversation once it has all its answers, if it or the service wants to end.
    fn end_if_done(&mut self, channel: Channel) {
        let is_draining = self.drain.is_some();
        let Some(client) = self.clients.get_mut(&channel) else {
            return;
        };
        if client.unanswered > 0 || client.has_goodbye || client.let_go.is_some() {
            return;
        }
        let post = match client.bye.take() {
            Some(bye) => bye.answer(self.group.message()),
            None if is_draining => self.group.message().bye(channel),
            None => return,
        };
        client.has_goodbye = true;
        self.post(post);
    }

    pub(super) fn observe(&mut self, event: Event) -> Option<Served> {
        let unposted = self.outbox.observe(&event);
        self.count_returned(&unposted);
        match event {
            Event::Listening(listening) => {
                let channel = listening.channel();
                self.listeners.insert(channel);
                if self.drain.is_some() {
                    let _ = self.group.post(Post::abort(channel)); // refused if it has ended
                }
                Some(Served::Listening(listening))
            }
            Event::Hello(hello) if self.drain.is_some() => {
                self.post(hello.refuse(ENDING));
                None
            }
            Event::Hello(hello) => Some(Served::Hello(hello)),
            Event::Bye(bye) => {
                let channel = bye.channel();
                let Some(client) = self.clients.get_mut(&channel) else {
                    return Some(Served::Other(Event::Bye(bye)));
                };
                // Where we have said goodbye before, its drop answers.
                if !client.has_goodbye {
                    client.bye = Some(bye);
                    self.end_if_done(channel);
                }
                None
            }
            Event::Room(channel) => {
                match self.outbox.waiting(channel) {
                    0 => drop(self.waiting.remove(&channel)),
                    _ => drop(self.waiting.insert(channel, ampe::now())),
                }
                Some(Served::Other(event))
            }
            Event::Returned(returned) => {
                if returned.op_code() == OpCode::Response {
                    self.account.returned += 1;
                }
                Some(Served::Other(Event::Returned(returned)))
            }
            Event::Closed(closed) => Some(self.close(closed)),
            other => Some(Served::Other(other)),
        }
    }

    fn close(&mut self, closed: Closed) -> Served {
        let channel = closed.channel();
        self.waiting.remove(&channel);
        if let Some(client) = self.clients.remove(&channel) {
            let let_go = why_let_go(client.let_go, &closed);
            self.account.let_go += u64::from(let_go.is_some());
            return Served::Gone(Gone {
                closed,
                unanswered: client.unanswered,
                let_go,
            });
        }
        let was_listening = self.listeners.remove(&channel);
        let is_listener = was_listening || closed.peer().is_none();
        match is_listener && self.drain.is_none() {
            true => Served::NotListening(closed),
            false => Served::Other(Event::Closed(closed)),
        }
    }

    pub(super) fn begin_to_drain(&mut self, deadline: Instant) {
        if let Some(drain) = &mut self.drain {
            drain.deadline = drain.deadline.min(deadline);
            return;
        }
        self.drain = Some(Drain {
            deadline,
            is_over: false,
            is_given_up: false,
        });
        for &listener in &self.listeners {
            let _ = self.group.post(Post::abort(listener)); // refused if it has ended
        }
        let clients: Vec<Channel> = self.clients.keys().copied().collect();
        clients.into_iter().for_each(|it| self.end_if_done(it));
    }

    pub(super) fn drained(&self, now: Instant) -> Option<ServiceAccount> {
        let drain = self.drain.as_ref()?;
        let is_answered = self.account.unanswered == 0 || now >= drain.deadline;
        (is_answered && self.is_empty()).then_some(self.account)
    }

    /// Whether everybody has gone, and nothing listens, nor is about to.
    fn is_empty(&self) -> bool {
        let is_given_up = self.drain.as_ref().is_some_and(|it| it.is_given_up);
        let is_known = || self.clients.is_empty() && self.listeners.is_empty();
        is_given_up || is_known() && self.group.statistics().listeners == 0
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let patience = self.patience();
        let due = |since: &Instant| since.checked_add(patience);
        let waiting = self.waiting.values().filter_map(due).min();
        let deadline = match &self.drain {
            None => None,
            Some(drain) if !drain.is_over => Some(drain.deadline),
            Some(_) if self.is_empty() => None,
            Some(drain) => drain.deadline.checked_add(REPORTS),
        };
        waiting.into_iter().chain(deadline).min()
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.let_go_who_waits(now);
        let Some(drain) = self.drain.as_mut() else {
            return;
        };
        if now >= drain.deadline && !drain.is_over {
            drain.is_over = true;
            let clients: Vec<Channel> = self.clients.keys().copied().collect();
            clients.into_iter().for_each(|it| self.let_go(it, ENDING));
        } else if now.saturating_duration_since(drain.deadline) >= REPORTS {
            // Whatever is not known to have gone by now does not keep it.
            drain.is_given_up = true;
            let clients = std::mem::take(&mut self.clients).into_values();
            self.account.let_go += clients.filter(|it| it.let_go.is_some()).count() as u64;
            self.listeners.clear();
            self.waiting.clear();
        }
    }

    /// Not so little that it would look without pause.
    fn patience(&self) -> Duration {
        self.options.patience.max(Duration::from_millis(10))
    }

    fn let_go_who_waits(&mut self, now: Instant) {
        let patience = self.patience();
        let is_late = |since: &Instant| now.saturating_duration_since(*since) >= patience;
        let late = self.waiting.iter().filter(|(_, since)| is_late(since));
        let late: Vec<Channel> = late.map(|(&channel, _)| channel).collect();
        for channel in late {
            let account = self.group.account(channel);
            match account.is_some_and(|account| account.queued_messages == 0) {
                // It has taken all that it got: others hold the engine's budget.
                true => drop(self.waiting.insert(channel, now)),
                false => self.let_go(channel, NOT_READING),
            }
        }
    }
}
