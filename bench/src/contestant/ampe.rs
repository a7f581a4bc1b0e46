//! ampe: signals one way, requests and responses for round trips.

use std::collections::VecDeque;
use std::time::Duration;

use ampe::{
    Channel, ChannelGroup, Engine, Event, GroupOptions, Inbox, Message, Options, PostError,
    SignalBuffer,
};
use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;

use super::{Contestant, tls};
use crate::body::{Sink, Source};
use crate::session::{Session, Started};
use crate::task::{Measured, Task, Transport, Work};
use crate::trips::Trips;

/// Posts that share one taking of the engine's lock.
const POSTS: usize = 128;

/// So much is written into a buffer before it is posted.
const BUFFER_BYTES: usize = 60 * 1024;

/// A signal in a buffer has no longer body.
const BUFFERED_MAX: usize = 8192;

/// How long the one that spins does so: longer than an answer takes.
const SPIN: Duration = Duration::from_micros(100);

/// How long a call may take: only one that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What may be measured beside the usual.
#[derive(Clone, Copy, Default, PartialEq)]
enum Manner {
    #[default]
    Usual,
    /// Spins for answers.
    Spins,
    /// Posts messages of their own many at a time.
    PostsMany,
    /// Posts each message by a call of its own.
    PostsSingly,
    /// Receives in a task, to which the engine's own thread hands what it reads.
    ReceivesInTask,
}

#[derive(Default)]
pub struct Ampe(Manner);

impl Ampe {
    /// With an option that is for round trips alone, and for machines with many processors.
    pub fn that_spins() -> Ampe {
        Ampe(Manner::Spins)
    }

    /// One way by `post_many` in place of `post_signals`.
    pub fn that_posts_many() -> Ampe {
        Ampe(Manner::PostsMany)
    }

    /// One way by `post` in place of `post_signals`.
    pub fn that_posts_singly() -> Ampe {
        Ampe(Manner::PostsSingly)
    }

    /// One way to a receiver that awaits each message.
    pub fn that_receives_in_a_task() -> Ampe {
        Ampe(Manner::ReceivesInTask)
    }

    fn spin(&self) -> Duration {
        match self.0 {
            Manner::Spins => SPIN,
            _ => Duration::ZERO,
        }
    }

    fn start(&self) -> Result<Engine> {
        let mut options = Options::default();
        options.spin = self.spin();
        Ok(Engine::start(options)?)
    }
}

impl Contestant for Ampe {
    fn name(&self) -> &'static str {
        match self.0 {
            Manner::Usual => "ampe",
            Manner::Spins => "ampe-spin",
            Manner::PostsMany => "ampe-many",
            Manner::PostsSingly => "ampe-post",
            Manner::ReceivesInTask => "ampe-task",
        }
    }

    fn settings(&self) -> String {
        format!(
            "Options::default(), spin {:?}; signals one way, by {} and {}; \
             request and response for round trips, by post and recv; a group for each purpose",
            self.spin(),
            match self.0 {
                Manner::PostsSingly => "post".into(),
                Manner::PostsMany => format!("post_many of {POSTS}"),
                _ =>
                    format!("post_signals of {BUFFER_BYTES} B, of longer ones post_many of {POSTS}"),
            },
            match self.0 {
                Manner::ReceivesInTask => "recv_async",
                _ => "recv_many",
            }
        )
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match (self.0, task.work) {
            (Manner::Usual, _)
            | (Manner::Spins, Work::RoundTrip | Work::Paced)
            | (Manner::PostsSingly, Work::OneWay)
            | (Manner::PostsMany, Work::OneWay | Work::Producers)
            | (Manner::ReceivesInTask, Work::OneWay | Work::Producers) => None,
            (Manner::Spins, _) => Some("it spins for answers alone"),
            (Manner::PostsSingly | Manner::PostsMany, _) => Some("it posts one way"),
            (Manner::ReceivesInTask, _) => Some("it receives in a task what comes one way"),
        }
    }

    fn has_tls(&self) -> bool {
        true
    }

    fn listen(&self, session: Session) -> Result<()> {
        let engine = self.start()?;
        session.before_idle();
        let mut groups = Vec::new();
        for index in 0..session.task.addresses() {
            groups.push(listen(&engine, &session, index)?);
        }
        session.listening();
        match session.task.work {
            Work::OneWay | Work::Producers => receive_all(&engine, &session, groups, self.0),
            Work::RoundTrip | Work::Paced => {
                let (group, mut inbox) = groups.remove(0);
                let measured = answer(&group, &mut inbox, &session.task)?;
                session.finish(with_passes(measured, &engine), None)
            }
            Work::Loaded => {
                let (stream, trips) = (groups.remove(1), groups.remove(0));
                answer_loaded(&session, stream, trips)
            }
            Work::FanOut => {
                let (group, mut inbox) = groups.remove(0);
                fan_out(&session, &group, &mut inbox)
            }
            Work::Cycles | Work::Calls => {
                let (group, mut inbox) = groups.remove(0);
                serve_cycles(&group, &mut inbox)
            }
            Work::Idle => {
                let (idle, mut idle_inbox) = groups.remove(1);
                accept(&idle, &mut idle_inbox, session.task.channels)?;
                let resident = session.resident_each()?;
                let (group, mut inbox) = groups.remove(0);
                accept(&group, &mut inbox, 1)?;
                session.ready()?;
                let sink = receive(&group, &mut inbox, Sink::new(&session.task, 1))?;
                session.finish(Sink::measured([sink]).beside(resident), None)
            }
            Work::Poller => bail!("this is no work for two processes"),
        }
    }

    fn connect(&self, session: Session) -> Result<()> {
        let engine = self.start()?;
        session.before_idle();
        match session.task.work {
            Work::OneWay if self.0 == Manner::PostsSingly => send_singly(&engine, &session),
            Work::OneWay | Work::Producers => send_all(&engine, &session, self.0),
            Work::RoundTrip | Work::Paced => {
                let (group, mut inbox, channel) = connect(&engine, &session, 0)?;
                let started = session.ready()?;
                let measured = ask(&group, &mut inbox, channel, &session.task)?;
                session.finish(with_passes(measured, &engine), Some(started))
            }
            Work::Loaded => ask_loaded(&engine, &session),
            Work::FanOut => subscribe(&engine, &session),
            Work::Cycles => cycle(&engine, &session),
            Work::Calls => call(&engine, &session),
            Work::Idle => {
                let address = session.url(1, "tcp://", "uds://").parse()?;
                let (idle, mut inbox) = group(&engine, &session)?;
                for _ in 0..session.task.channels {
                    idle.connect(&address)?;
                }
                await_connected(&mut inbox, session.task.channels)?;
                let resident = session.resident_each()?;
                let (group, mut inbox, channel) = connect(&engine, &session, 0)?;
                let started = session.ready()?;
                let mut source = Source::new(&session.task, 0);
                send(&group, &mut inbox, channel, &mut source, self.0)?;
                let messages = source.sent();
                session.finish(Measured::sent(messages).beside(resident), Some(started))
            }
            Work::Poller => bail!("this is no work for two processes"),
        }
    }
}

type Group = (ChannelGroup, Inbox);

/// A group that can do what the task's transport asks for.
fn group(engine: &Engine, session: &Session) -> Result<Group> {
    let mut options = GroupOptions::default();
    if session.task.transport == Transport::Tls {
        options.tls = Some(tls::options()?);
    }
    Ok(engine.group(options)?)
}

fn with_passes(measured: Measured, engine: &Engine) -> Measured {
    Measured {
        passes: Some(engine.statistics().passes),
        ..measured
    }
}

fn message(group: &ChannelGroup, body: &[u8]) -> Result<Message> {
    group.message().with_body(body).context("a body fits")
}

fn listen(engine: &Engine, session: &Session, index: usize) -> Result<Group> {
    let (group, mut inbox) = group(engine, session)?;
    group.listen(&session.url(index, "tcp://", "uds://").parse()?)?;
    match inbox.recv()? {
        Event::Listening(_) => Ok((group, inbox)),
        other => bail!("cannot listen: {other:?}"),
    }
}

fn connect(
    engine: &Engine,
    session: &Session,
    index: usize,
) -> Result<(ChannelGroup, Inbox, Channel)> {
    let (group, mut inbox) = group(engine, session)?;
    let channel = group.connect(&session.url(index, "tcp://", "uds://").parse()?)?;
    await_connected(&mut inbox, 1)?;
    Ok((group, inbox, channel))
}

fn await_connected(inbox: &mut Inbox, count: usize) -> Result<()> {
    let mut accepted = 0;
    while accepted < count {
        match inbox.recv()? {
            Event::Opened(_) => {}
            Event::Accepted(_) => accepted += 1,
            other => bail!("cannot connect: {other:?}"),
        }
    }
    Ok(())
}

/// Accepts so many connections before anything else happens.
fn accept(group: &ChannelGroup, inbox: &mut Inbox, count: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(count);
    while channels.len() < count {
        match inbox.recv()? {
            Event::Hello(hello) => {
                channels.push(hello.channel());
                group.post(hello.accept(group.message()))?;
            }
            other => bail!("unexpected {other:?}"),
        }
    }
    Ok(channels)
}

/// Receives until the last lane's last message.
fn receive(group: &ChannelGroup, inbox: &mut Inbox, mut sink: Sink) -> Result<Sink> {
    let mut is_over = false;
    while !is_over {
        for event in inbox.recv_many()? {
            is_over |= take(group, event, &mut sink)?;
        }
    }
    Ok(sink)
}

/// The same in a task.
async fn receive_async(group: &ChannelGroup, inbox: &mut Inbox, mut sink: Sink) -> Result<Sink> {
    while !take(group, inbox.recv_async().await?, &mut sink)? {}
    Ok(sink)
}

/// Takes what came in; `true` if it was the last lane's last message.
#[inline]
fn take(group: &ChannelGroup, event: Event, sink: &mut Sink) -> Result<bool> {
    match event {
        Event::Signal(signal) => return Ok(sink.take(signal.body())),
        Event::Hello(hello) => {
            group.post(hello.accept(group.message()))?;
        }
        other => bail!("unexpected {other:?}"),
    }
    Ok(false)
}

/// Each group has a thread, which receives from the senders that are its own.
fn receive_all(
    engine: &Engine,
    session: &Session,
    groups: Vec<Group>,
    manner: Manner,
) -> Result<()> {
    let task = &session.task;
    let count = groups.len();
    let sinks: Result<Vec<Sink>> = std::thread::scope(|scope| {
        let receive_from = |(index, (group, mut inbox)): (usize, Group)| {
            let lanes = (index..task.senders).step_by(count).len();
            scope.spawn(move || {
                let sink = Sink::new(task, lanes);
                let sink = match manner {
                    Manner::ReceivesInTask => {
                        futures::executor::block_on(receive_async(&group, &mut inbox, sink))
                    }
                    _ => receive(&group, &mut inbox, sink),
                }?;
                std::mem::forget(inbox); // what is dropped is closed, and the sender is not done yet
                Ok(sink)
            })
        };
        let threads: Vec<_> = groups.into_iter().enumerate().map(receive_from).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("a receiver does not panic"))
            .collect()
    });
    session.finish(with_passes(Sink::measured(sinks?), engine), None)
}

/// Each sender has a thread and a channel; its group it may have to share.
fn send_all(engine: &Engine, session: &Session, manner: Manner) -> Result<()> {
    let task = &session.task;
    let mut groups = Vec::new();
    let mut senders = Vec::new();
    for index in 0..task.groups {
        let (group, mut inbox) = group(engine, session)?;
        let address = session.url(index, "tcp://", "uds://").parse()?;
        for lane in (index..task.senders).step_by(task.groups) {
            senders.push((group.clone(), group.connect(&address)?, lane));
            await_connected(&mut inbox, 1)?;
        }
        groups.push(inbox);
    }
    let started = session.ready()?;
    let sent: Result<Vec<u64>> = if let [(group, channel, lane)] = &senders[..] {
        let mut source = Source::new(task, *lane);
        send(group, &mut groups[0], *channel, &mut source, manner).map(|()| vec![source.sent()])
    } else {
        std::thread::scope(|scope| {
            let send_from = |(group, channel, lane): (ChannelGroup, Channel, usize)| {
                scope.spawn(move || {
                    let mut source = Source::new(task, lane);
                    send_beside_others(&group, channel, &mut source, manner).map(|()| source.sent())
                })
            };
            let threads: Vec<_> = senders.into_iter().map(send_from).collect();
            threads
                .into_iter()
                .map(|it| it.join().expect("a sender does not panic"))
                .collect()
        })
    };
    let measured = Measured::sent(sent?.iter().sum());
    session.finish(with_passes(measured, engine), Some(started))
}

/// Sends from one thread, each message by a call of its own.
fn send_singly(engine: &Engine, session: &Session) -> Result<()> {
    let (group, mut inbox, channel) = connect(engine, session, 0)?;
    let started = session.ready()?;
    let mut source = Source::new(&session.task, 0);
    while let Some(body) = source.next() {
        let mut post = message(&group, body)?.signal(channel);
        while let Err(refused) = group.post(post) {
            match (refused.why, inbox.recv()?) {
                (PostError::Full(_), Event::Room(_)) => post = refused.post,
                (why, other) => bail!("{why}, then {other:?}"),
            }
        }
    }
    let measured = Measured::sent(source.sent());
    session.finish(with_passes(measured, engine), Some(started))
}

/// Sends from the only thread of a group: the inbox says when there is room.
fn send(
    group: &ChannelGroup,
    inbox: &mut Inbox,
    channel: Channel,
    source: &mut Source,
    manner: Manner,
) -> Result<()> {
    post_all(group, channel, source, manner, || match inbox.recv()? {
        Event::Opened(_) | Event::Room(_) => Ok(()),
        other => bail!("unexpected {other:?}"),
    })
}

/// Sends from one of a group's threads: each waits for room on its own channel.
fn send_beside_others(
    group: &ChannelGroup,
    channel: Channel,
    source: &mut Source,
    manner: Manner,
) -> Result<()> {
    post_all(group, channel, source, manner, || {
        Ok(futures::executor::block_on(group.room(channel))?)
    })
}

fn post_all(
    group: &ChannelGroup,
    channel: Channel,
    source: &mut Source,
    manner: Manner,
    wait_for_room: impl FnMut() -> Result<()>,
) -> Result<()> {
    if manner == Manner::PostsMany || source.size() > BUFFERED_MAX {
        post_by_many(group, channel, source, wait_for_room)
    } else {
        post_buffered(group, channel, source, wait_for_room)
    }
}

fn post_buffered(
    group: &ChannelGroup,
    channel: Channel,
    source: &mut Source,
    mut wait_for_room: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut buffer = SignalBuffer::new();
    let mut is_over = false;
    while !is_over || !buffer.is_empty() {
        while !is_over && buffer.bytes() < BUFFER_BYTES {
            match source.next() {
                Some(body) => buffer.push(body)?,
                None => is_over = true,
            }
        }
        match group.post_signals(channel, &mut buffer) {
            Ok(()) => {}
            Err(PostError::Full(_)) => wait_for_room()?,
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

fn post_by_many(
    group: &ChannelGroup,
    channel: Channel,
    source: &mut Source,
    mut wait_for_room: impl FnMut() -> Result<()>,
) -> Result<()> {
    let (mut posts, mut posted) = (VecDeque::with_capacity(POSTS), Vec::with_capacity(POSTS));
    let mut is_over = false;
    while !is_over || !posts.is_empty() {
        while !is_over && posts.len() < POSTS {
            match source.next() {
                Some(body) => posts.push_back(message(group, body)?.signal(channel)),
                None => is_over = true,
            }
        }
        posted.clear();
        match group.post_many(&mut posts, &mut posted) {
            Ok(()) => {}
            Err(PostError::Full(_)) => wait_for_room()?,
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

fn ask(group: &ChannelGroup, inbox: &mut Inbox, channel: Channel, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    loop {
        if let Some(pause) = task.pause() {
            std::thread::sleep(pause);
        }
        let Some(body) = trips.ask() else {
            return Ok(trips.measured());
        };
        group.post(message(group, body)?.request(channel))?;
        match inbox.recv()? {
            Event::Response(response) => trips.answered(response.body()),
            other => bail!("unexpected {other:?}"),
        }
    }
}

fn answer(group: &ChannelGroup, inbox: &mut Inbox, task: &Task) -> Result<Measured> {
    let mut sink = Sink::new(task, 1);
    loop {
        match inbox.recv()? {
            Event::Request(request) => {
                let is_over = sink.take(request.body());
                group.post(request.echo())?;
                if is_over {
                    return Ok(Sink::measured([sink]));
                }
            }
            Event::Hello(hello) => {
                group.post(hello.accept(group.message()))?;
            }
            other => bail!("unexpected {other:?}"),
        }
    }
}

fn ask_loaded(engine: &Engine, session: &Session) -> Result<()> {
    let task = &session.task;
    let (trips, mut trips_inbox, trips_channel) = connect(engine, session, 0)?;
    let (stream, mut stream_inbox, stream_channel) = connect(engine, session, 1)?;
    let started = session.ready()?;
    let asked = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut source = Source::longer(task, super::BESIDE);
            send(
                &stream,
                &mut stream_inbox,
                stream_channel,
                &mut source,
                Manner::Usual,
            )
        });
        let asked = ask(&trips, &mut trips_inbox, trips_channel, task)?;
        beside.join().expect("a sender does not panic")?;
        anyhow::Ok(asked)
    })?;
    session.finish(asked, Some(started))
}

fn answer_loaded(session: &Session, stream: Group, trips: Group) -> Result<()> {
    let task = &session.task;
    let ((stream, mut stream_inbox), (trips, mut trips_inbox)) = (stream, trips);
    let sink = std::thread::scope(|scope| {
        let answers = scope.spawn(|| answer(&trips, &mut trips_inbox, task));
        let sink = receive(&stream, &mut stream_inbox, Sink::new(task, 1))?;
        answers.join().expect("an answerer does not panic")?;
        anyhow::Ok(sink)
    })?;
    session.finish(Sink::measured([sink]), None)
}

fn fan_out(session: &Session, group: &ChannelGroup, inbox: &mut Inbox) -> Result<()> {
    let channels = accept(group, inbox, session.task.channels)?;
    let started = session.ready()?;
    let mut source = Source::unhurried(&session.task);
    let mut posts = VecDeque::with_capacity(channels.len());
    let mut posted = Vec::with_capacity(channels.len());
    while let Some(body) = source.next() {
        let mut publication = message(group, body)?;
        publication.share_body();
        for &channel in &channels {
            posts.push_back(publication.clone().signal(channel));
        }
        posted.clear();
        while let Err(why) = group.post_many(&mut posts, &mut posted) {
            match (why, inbox.recv()?) {
                (PostError::Full(_), Event::Room(_)) => {}
                (why, other) => bail!("{why}, then {other:?}"),
            }
        }
    }
    finish_fan_out(session, &source, started)
}

fn finish_fan_out(session: &Session, source: &Source, started: Started) -> Result<()> {
    let messages = source.sent();
    session.finish(Measured::sent(messages), Some(started))
}

fn subscribe(engine: &Engine, session: &Session) -> Result<()> {
    let task = &session.task;
    let (group, mut inbox) = group(engine, session)?;
    let address = session.url(0, "tcp://", "uds://").parse()?;
    let mut sinks = std::collections::HashMap::new();
    for _ in 0..task.channels {
        sinks.insert(group.connect(&address)?, Sink::new(task, 1));
    }
    await_connected(&mut inbox, task.channels)?;
    session.ready()?;
    let mut open = task.channels;
    while open > 0 {
        for event in inbox.recv_many()? {
            match event {
                Event::Signal(signal) => {
                    let sink = sinks
                        .get_mut(&signal.channel())
                        .context("a channel of ours")?;
                    open -= usize::from(sink.take(signal.body()));
                }
                other => bail!("unexpected {other:?}"),
            }
        }
    }
    session.finish(Sink::measured(sinks.into_values()), None)
}

/// Connections that live from their hello to their goodbye, with one request between, so many at once.
fn cycle(engine: &Engine, session: &Session) -> Result<()> {
    let task = &session.task;
    let (group, mut inbox) = group(engine, session)?;
    let address: ampe::Address = session.url(0, "tcp://", "uds://").parse()?;
    let started = session.ready()?;
    let time = Duration::from_secs_f64(task.seconds);
    let body = vec![7; task.size];
    let (mut open, mut cycles) = (0, 0);
    while open < task.channels {
        group.connect(&address)?;
        open += 1;
    }
    while open > 0 {
        let event = inbox.recv()?;
        let channel = event.channel().context("an event of a channel")?;
        match event {
            Event::Accepted(_) => {
                group.post(message(&group, &body)?.request(channel))?;
            }
            Event::Response(response) => {
                anyhow::ensure!(
                    response.body() == body,
                    "an answer is not that of the question"
                );
                group.post(group.message().bye(channel))?;
            }
            Event::Opened(_) | Event::ByeResponse(_) => {}
            Event::Closed(_) => {
                cycles += 1;
                if started.at.elapsed() < time {
                    group.connect(&address)?;
                } else {
                    open -= 1;
                }
            }
            other => bail!("unexpected {other:?}"),
        }
    }
    let seconds = started.at.elapsed().as_secs_f64();
    session.finish(Measured::sent(cycles).within(seconds), Some(started))
}

fn serve_cycles(group: &ChannelGroup, inbox: &mut Inbox) -> Result<()> {
    let (mut posts, mut posted) = (VecDeque::new(), Vec::new());
    loop {
        for event in inbox.recv_many()? {
            posts.extend(match event {
                Event::Hello(hello) => Some(hello.accept(group.message())),
                Event::Request(request) => Some(request.echo()),
                Event::Bye(bye) => Some(bye.echo()),
                _ => None,
            });
        }
        posted.clear();
        group.post_many(&mut posts, &mut posted)?;
    }
}

/// Tasks on one tokio thread, which share a channel.
fn call(engine: &Engine, session: &Session) -> Result<()> {
    let (group, mut inbox, channel) = connect(engine, session, 0)?;
    let started = session.ready()?;
    let time = Duration::from_secs_f64(session.task.seconds);
    let (begun, size) = (started.at, session.task.size);
    let client = |group: ChannelGroup| async move {
        let body = vec![7; size];
        let mut calls = 0;
        while begun.elapsed() < time {
            let request = message(&group, &body)?;
            let answer = group.call(channel, request, begun + time + PATIENCE);
            ensure!(
                answer.await?.body() == body,
                "an answer is not that of the question"
            );
            calls += 1;
        }
        anyhow::Ok(calls)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let calls: Result<Vec<u64>> = runtime.block_on(async {
        let passes = engine.clone();
        tokio::spawn(async move { passes.run_in_tokio().await });
        let clients = (0..session.task.channels).map(|_| tokio::spawn(client(group.clone())));
        let clients: Vec<_> = clients.collect();
        try_join_all(clients).await?.into_iter().collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    while inbox.try_recv()?.is_some() {}
    let measured = Measured::sent(calls?.iter().sum()).within(seconds);
    session.finish(measured, Some(started))
}
