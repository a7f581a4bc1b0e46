//! omq, in Rust over tokio: PUSH and PULL one way, REQ and REP for round trips, PUB and SUB for many.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use omq_tokio::exclusive::{Options as ExclusiveOptions, Socket as ExclusiveSocket};
use omq_tokio::options::WorkloadProfile;
use omq_tokio::{
    Context, Endpoint, Error, Message, Options, Socket, SocketType, TrySendError, blocking,
};
use tokio::runtime::{Builder, Runtime};

use super::{Contestant, NO_CALLS, NO_GOODBYE, queue_of};
use crate::body::{Sink, Source};
use crate::session::Session;
use crate::task::{Measured, Task, Transport, Work};
use crate::trips::Trips;

const TO_CONNECT: Duration = Duration::from_secs(10);

/// Idle connections that it makes in a few seconds.
const IDLE_MAX: usize = 2_000;

pub struct Omq;

impl Contestant for Omq {
    fn name(&self) -> &'static str {
        "omq"
    }

    fn settings(&self) -> String {
        "PUSH/PULL on a tokio runtime of one thread with the throughput profile; REQ/REP by its exclusive \
         sockets over TCP, by the latency profile over Unix sockets; several threads by its blocking sockets \
         with an I/O thread; high-water marks as libzmq's"
            .to_owned()
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Cycles => Some(NO_GOODBYE),
            Work::Calls => Some(NO_CALLS),
            Work::Idle if task.channels > IDLE_MAX => Some(
                "the time in which it makes connections grows with their square: 4,000 took 18 s",
            ),
            _ => None,
        }
    }

    fn listen(&self, session: Session) -> Result<()> {
        match session.task.work {
            Work::Producers | Work::Loaded => listen_blocking(&session),
            _ => runtime()?.block_on(listen(session)),
        }
    }

    fn connect(&self, session: Session) -> Result<()> {
        match session.task.work {
            Work::Producers => produce(&session),
            Work::Loaded => ask_loaded(&session),
            _ => runtime()?.block_on(connect(session)),
        }
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn endpoint(session: &Session, index: usize) -> Result<Endpoint> {
    Ok(session.endpoint(index).parse()?)
}

fn for_stream(task: &Task) -> Options {
    let queue = queue_of(task) as u32;
    let options = Options::default().workload_profile(WorkloadProfile::Throughput);
    options.send_hwm(queue).recv_hwm(queue)
}

fn for_trips() -> Options {
    Options::default().workload_profile(WorkloadProfile::Latency)
}

fn body_of(message: &Message) -> Result<&[u8]> {
    ensure!(message.len() == 1, "a message has one frame");
    message.get(0).context("a message has a frame")
}

fn message(body: &[u8]) -> Message {
    Message::single(Bytes::copy_from_slice(body))
}

/// Its caller drives such a socket itself; it has them for TCP only.
fn is_exclusive(task: &Task) -> bool {
    task.transport == Transport::Tcp
}

async fn listen(session: Session) -> Result<()> {
    let (task, context) = (session.task.clone(), Context::current());
    let mut resident = None;
    let sink = match task.work {
        Work::OneWay => {
            let socket = context.socket(SocketType::Pull, for_stream(&task));
            socket.bind(endpoint(&session, 0)?).await?;
            session.listening();
            receive(&socket, Sink::new(&task, 1)).await?
        }
        Work::RoundTrip | Work::Paced if is_exclusive(&task) => {
            let address = endpoint(&session, 0)?;
            // Binding includes accepting, so that it says so before.
            session.listening();
            let (socket, _) =
                ExclusiveSocket::bind(SocketType::Rep, address, ExclusiveOptions::default())
                    .await?;
            answer_exclusively(socket, &task).await?
        }
        Work::RoundTrip | Work::Paced => {
            let socket = context.socket(SocketType::Rep, for_trips());
            socket.bind(endpoint(&session, 0)?).await?;
            session.listening();
            answer(&socket, &task).await?
        }
        Work::Idle => {
            let stream = context.socket(SocketType::Pull, for_stream(&task));
            stream.bind(endpoint(&session, 0)?).await?;
            let idle = context.socket(SocketType::Pull, for_stream(&task));
            idle.bind(endpoint(&session, 1)?).await?;
            session.before_idle();
            session.listening();
            idle.wait_connected(task.channels, TO_CONNECT).await?;
            resident = session.resident_each()?;
            session.ready_async().await?;
            let sink = receive(&stream, Sink::new(&task, 1)).await?;
            std::mem::forget(idle);
            sink
        }
        Work::FanOut => {
            let options = Options {
                xpub_nodrop: true,
                ..for_stream(&task)
            };
            let socket = context.socket(SocketType::Pub, options);
            socket.bind(endpoint(&session, 0)?).await?;
            session.listening();
            socket
                .wait_subscribed(task.channels as u64, TO_CONNECT)
                .await?;
            let started = session.ready_async().await?;
            let messages = send(&socket, Source::unhurried(&task)).await?;
            let measured = Measured::sent(messages);
            return session.finish_async(measured, Some(started)).await;
        }
        other => bail!("{other:?} is not done here"),
    };
    session
        .finish_async(Sink::measured([sink]).beside(resident), None)
        .await
}

async fn connect(session: Session) -> Result<()> {
    let (task, context) = (session.task.clone(), Context::current());
    let address = endpoint(&session, 0)?;
    let (measured, started) = match task.work {
        Work::OneWay => {
            let socket = dial_push(&context, &task, address).await?;
            let started = session.ready_async().await?;
            let messages = send(&socket, Source::new(&task, 0)).await?;
            std::mem::forget(socket);
            (Measured::sent(messages), started)
        }
        Work::RoundTrip | Work::Paced if is_exclusive(&task) => {
            let socket = dial_exclusively(address).await?;
            let started = session.ready_async().await?;
            (ask_exclusively(socket, &task).await?, started)
        }
        Work::RoundTrip | Work::Paced => {
            let socket = context.socket(SocketType::Req, for_trips());
            socket.connect(address).await?;
            socket.wait_connected(1, TO_CONNECT).await?;
            let started = session.ready_async().await?;
            (ask(&socket, &task).await?, started)
        }
        Work::Idle => {
            let stream = dial_push(&context, &task, address).await?;
            let idle = context.socket(SocketType::Push, for_stream(&task));
            session.before_idle();
            for there in 0..task.channels {
                idle.connect(endpoint(&session, 1)?).await?;
                // All at once are more than its listener keeps waiting.
                idle.wait_connected(there + 1, TO_CONNECT).await?;
            }
            let resident = session.resident_each()?;
            let started = session.ready_async().await?;
            let messages = send(&stream, Source::new(&task, 0)).await?;
            std::mem::forget((stream, idle));
            (Measured::sent(messages).beside(resident), started)
        }
        Work::FanOut => {
            let mut all = Vec::with_capacity(task.channels);
            for _ in 0..task.channels {
                let socket = context.socket(SocketType::Sub, for_stream(&task));
                socket.subscribe("").await?;
                socket.connect(address.clone()).await?;
                all.push((socket, Sink::new(&task, 1)));
            }
            session.ready_async().await?;
            return subscribe(&session, all).await;
        }
        other => bail!("{other:?} is not done here"),
    };
    session.finish_async(measured, Some(started)).await
}

async fn dial_push(context: &Context, task: &Task, address: Endpoint) -> Result<Socket> {
    let socket = context.socket(SocketType::Push, for_stream(task));
    socket.connect(address).await?;
    socket.wait_connected(1, TO_CONNECT).await?;
    Ok(socket)
}

/// The other side says that it listens before it does.
async fn dial_exclusively(address: Endpoint) -> Result<ExclusiveSocket> {
    let options = ExclusiveOptions::default;
    for _ in 0..100 {
        match ExclusiveSocket::connect(SocketType::Req, address.clone(), options()).await {
            Ok(socket) => return Ok(socket),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    Ok(ExclusiveSocket::connect(SocketType::Req, address, options()).await?)
}

/// Messages that are received before others have a turn, as in its authors' own benchmark.
const TURN: usize = 128;

async fn receive(socket: &Socket, mut sink: Sink) -> Result<Sink> {
    loop {
        for _ in 0..TURN {
            let message = match socket.try_recv() {
                Err(Error::WouldBlock) => socket.recv().await?,
                outcome => outcome?,
            };
            if sink.take(body_of(&message)?) {
                return Ok(sink);
            }
        }
        tokio::task::coop::consume_budget().await;
    }
}

async fn send(socket: &Socket, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        match socket.try_send(message(body)) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => socket.send(message).await?,
            Err(why) => bail!("cannot send: {why}"),
        }
    }
    Ok(source.sent())
}

async fn ask(socket: &Socket, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    loop {
        if let Some(pause) = task.pause() {
            tokio::time::sleep(pause).await;
        }
        let Some(body) = trips.ask() else {
            return Ok(trips.measured());
        };
        socket.send(message(body)).await?;
        trips.answered(body_of(&socket.recv().await?)?);
    }
}

async fn answer(socket: &Socket, task: &Task) -> Result<Sink> {
    let mut sink = Sink::new(task, 1);
    loop {
        let message = socket.recv().await?;
        let is_over = sink.take(body_of(&message)?);
        socket.send(message).await?;
        if is_over {
            return Ok(sink);
        }
    }
}

async fn ask_exclusively(mut socket: ExclusiveSocket, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    loop {
        if let Some(pause) = task.pause() {
            tokio::time::sleep(pause).await;
        }
        let Some(body) = trips.ask() else {
            std::mem::forget(socket);
            return Ok(trips.measured());
        };
        socket.send(&message(body)).await?;
        trips.answered(body_of(&socket.recv().await?)?);
    }
}

async fn answer_exclusively(mut socket: ExclusiveSocket, task: &Task) -> Result<Sink> {
    let mut sink = Sink::new(task, 1);
    loop {
        let message = socket.recv().await?;
        let is_over = sink.take(body_of(&message)?);
        socket.send(&message).await?;
        if is_over {
            std::mem::forget(socket);
            return Ok(sink);
        }
    }
}

/// Receives from all sockets in turn: each gets as many messages as the others.
async fn subscribe(session: &Session, mut all: Vec<(Socket, Sink)>) -> Result<()> {
    let mut open = all.len();
    while open > 0 {
        for (socket, sink) in &mut all {
            open -= usize::from(sink.take(body_of(&socket.recv().await?)?));
        }
    }
    let (_sockets, sinks): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    session.finish_async(Sink::measured(sinks), None).await
}

fn listen_blocking(session: &Session) -> Result<()> {
    let (task, context) = (&session.task, Context::new());
    let bind = |kind, options, index| -> Result<blocking::Socket> {
        let socket = context.blocking_socket(kind, options);
        socket.bind(endpoint(session, index)?)?;
        Ok(socket)
    };
    let sink = if task.work == Work::Loaded {
        let trips = bind(SocketType::Rep, for_trips(), 0)?;
        let stream = bind(SocketType::Pull, for_stream(task), 1)?;
        session.listening();
        std::thread::scope(|scope| {
            let answers = scope.spawn(|| answer_blocking(&trips, task));
            let sink = receive_blocking(&stream, Sink::new(task, 1))?;
            answers.join().expect("an answerer does not panic")?;
            anyhow::Ok(sink)
        })?
    } else {
        let socket = bind(SocketType::Pull, for_stream(task), 0)?;
        session.listening();
        receive_blocking(&socket, Sink::new(task, task.senders))?
    };
    session.finish(Sink::measured([sink]), None)
}

fn dial_blocking(
    session: &Session,
    context: &Context,
    kind: SocketType,
    index: usize,
) -> Result<blocking::Socket> {
    let options = match kind {
        SocketType::Push => for_stream(&session.task),
        _ => for_trips(),
    };
    let socket = context.blocking_socket(kind, options);
    socket.connect(endpoint(session, index)?)?;
    socket.wait_connected(1, TO_CONNECT)?;
    Ok(socket)
}

fn produce(session: &Session) -> Result<()> {
    let (task, context) = (&session.task, Context::new());
    let dial = |_| dial_blocking(session, &context, SocketType::Push, 0);
    let sockets: Result<Vec<_>> = (0..task.senders).map(dial).collect();
    let sockets = sockets?;
    let started = session.ready()?;
    let sent: Result<u64> = std::thread::scope(|scope| {
        let send_on =
            |(lane, socket)| scope.spawn(move || send_blocking(socket, Source::new(task, lane)));
        let threads: Vec<_> = sockets.iter().enumerate().map(send_on).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("a sender does not panic"))
            .sum()
    });
    session.finish(Measured::sent(sent?), Some(started))
}

fn ask_loaded(session: &Session) -> Result<()> {
    let (task, context) = (&session.task, Context::new());
    let trips = dial_blocking(session, &context, SocketType::Req, 0)?;
    let stream = dial_blocking(session, &context, SocketType::Push, 1)?;
    let started = session.ready()?;
    let asked = std::thread::scope(|scope| {
        let source = Source::longer(task, super::BESIDE);
        let beside = scope.spawn(|| send_blocking(&stream, source));
        let asked = ask_blocking(&trips, task)?;
        beside.join().expect("a sender does not panic")?;
        anyhow::Ok(asked)
    })?;
    session.finish(asked, Some(started))
}

fn receive_blocking(socket: &blocking::Socket, mut sink: Sink) -> Result<Sink> {
    const MOST: usize = 1024;
    let mut messages = Vec::with_capacity(MOST);
    loop {
        messages.clear();
        socket.recv_many_into(MOST, &mut messages)?;
        for message in &messages {
            if sink.take(body_of(message)?) {
                return Ok(sink);
            }
        }
    }
}

fn send_blocking(socket: &blocking::Socket, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        match socket.try_send(message(body)) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => socket.send(message)?,
            Err(why) => bail!("cannot send: {why}"),
        }
    }
    Ok(source.sent())
}

fn ask_blocking(socket: &blocking::Socket, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    while let Some(body) = trips.ask() {
        socket.send(message(body))?;
        trips.answered(body_of(&socket.recv()?)?);
    }
    Ok(trips.measured())
}

fn answer_blocking(socket: &blocking::Socket, task: &Task) -> Result<Sink> {
    let mut sink = Sink::new(task, 1);
    loop {
        let message = socket.recv()?;
        let is_over = sink.take(body_of(&message)?);
        socket.send(message)?;
        if is_over {
            return Ok(sink);
        }
    }
}
