//! rzmq, in Rust over tokio: PUSH and PULL one way, REQ and REP for round trips.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use rzmq::socket::options;
use rzmq::{Context, Msg, Socket, SocketType};
use tokio::runtime::{Builder, Runtime};

use super::{Contestant, NO_CALLS, NO_GOODBYE, queue_of};
use crate::body::{Sink, Source};
use crate::session::{Session, Started};
use crate::task::{Measured, Task, Work};
use crate::trips::Trips;

/// Messages and bytes that it reads or writes at once, one way.
const BATCH: i32 = 512;
const BATCH_BYTES: i32 = 1 << 20;
/// In which connections come about: it cannot be asked whether they have.
const TO_CONNECT: Duration = Duration::from_millis(200);

/// The same for subscriptions.
const TO_SUBSCRIBE: Duration = Duration::from_secs(1);

/// Idle connections that it has held.
const IDLE_MAX: usize = 1_000;

/// Subscribers with which most of its runs failed; with 100 none did.
const SUBSCRIBERS_TOO_MANY: usize = 1_000;

pub struct Rzmq;

impl Contestant for Rzmq {
    fn name(&self) -> &'static str {
        "rzmq"
    }

    fn settings(&self) -> String {
        format!(
            "a tokio runtime of several threads for streams, of one for trips alone; PUSH/PULL in batches of \
             {BATCH} messages and 1 MiB; REQ/REP; high-water marks as libzmq's; without io_uring"
        )
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Cycles => Some(NO_GOODBYE),
            Work::Calls => Some(NO_CALLS),
            Work::FanOut if task.channels >= SUBSCRIBERS_TOO_MANY => Some(
                "with 1,000 subscribers most runs do not end in time, or with a socket that is closing",
            ),
            Work::Idle if task.channels > IDLE_MAX => {
                Some("its PULL ends with an error before it has 2,000 connections")
            }
            _ => None,
        }
    }

    fn listen(&self, session: Session) -> Result<()> {
        // What is spawned runs on a worker, as in its authors' own benchmarks.
        runtime(&session.task)?.block_on(async { tokio::spawn(listen(session)).await? })
    }

    fn connect(&self, session: Session) -> Result<()> {
        runtime(&session.task)?.block_on(async { tokio::spawn(connect(session)).await? })
    }
}

fn runtime(task: &Task) -> Result<Runtime> {
    let mut builder = match task.work {
        Work::RoundTrip | Work::Paced => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.enable_all().build()?)
}

async fn socket(context: &Context, task: &Task, kind: SocketType) -> Result<Socket> {
    let socket = context.socket(kind)?;
    let queue = i32::try_from(queue_of(task))?;
    socket.set_option(options::SNDHWM, queue).await?;
    socket.set_option(options::RCVHWM, queue).await?;
    if matches!(kind, SocketType::Push | SocketType::Pull) {
        socket.set_option(options::SNDBATCH_COUNT, BATCH).await?;
        socket
            .set_option(options::SNDBATCH_BYTES, BATCH_BYTES)
            .await?;
        socket.set_option(options::RCVBATCH_COUNT, BATCH).await?;
        socket
            .set_option(options::RCVBATCH_BYTES, BATCH_BYTES)
            .await?;
    }
    Ok(socket)
}

async fn listen(session: Session) -> Result<()> {
    let (task, context) = (session.task.clone(), Context::new()?);
    let bind = async |kind, index| -> Result<Socket> {
        let socket = socket(&context, &task, kind).await?;
        socket.bind(&session.endpoint(index)).await?;
        Ok(socket)
    };
    let mut resident = None;
    let sink = match task.work {
        Work::OneWay | Work::Producers => {
            let socket = bind(SocketType::Pull, 0).await?;
            session.listening();
            receive(&socket, Sink::new(&task, task.senders)).await?
        }
        Work::RoundTrip | Work::Paced => {
            let socket = bind(SocketType::Rep, 0).await?;
            session.listening();
            answer(socket, task).await?
        }
        Work::Loaded => {
            let (trips, stream) = (
                bind(SocketType::Rep, 0).await?,
                bind(SocketType::Pull, 1).await?,
            );
            session.listening();
            let answers = tokio::spawn(answer(trips, task.clone()));
            let sink = receive(&stream, Sink::new(&task, 1)).await?;
            answers.await??;
            sink
        }
        Work::Idle => {
            let stream = bind(SocketType::Pull, 0).await?;
            let idle = bind(SocketType::Pull, 1).await?;
            session.before_idle();
            session.listening();
            for _ in 0..task.channels {
                idle.recv().await?;
            }
            resident = session.resident_each()?;
            session.ready_async().await?;
            receive(&stream, Sink::new(&task, 1)).await?
        }
        Work::FanOut => {
            let socket = bind(SocketType::Pub, 0).await?;
            socket.set_option(options::XPUB_NODROP, 1).await?;
            session.listening();
            let started = session.ready_async().await?;
            tokio::time::sleep(TO_SUBSCRIBE).await;
            let messages = send(socket, Source::unhurried(&task)).await?;
            let measured = Measured::sent(messages);
            return session.finish_async(measured, Some(started)).await;
        }
        other => bail!("{other:?} is not done here"),
    };
    session
        .finish_async(Sink::measured([sink]).beside(resident), None)
        .await
}

async fn dial(
    context: &Context,
    session: &Session,
    kind: SocketType,
    index: usize,
) -> Result<Socket> {
    let socket = socket(context, &session.task, kind).await?;
    socket.connect(&session.endpoint(index)).await?;
    Ok(socket)
}

async fn connect(session: Session) -> Result<()> {
    let (task, context) = (session.task.clone(), Context::new()?);
    let dial = |kind, index| dial(&context, &session, kind, index);
    let (measured, started) = match task.work {
        Work::OneWay | Work::Producers => {
            let mut sockets = Vec::new();
            for _ in 0..task.senders {
                sockets.push(dial(SocketType::Push, 0).await?);
            }
            tokio::time::sleep(TO_CONNECT).await;
            let started = session.ready_async().await?;
            let send_on = |(lane, socket)| tokio::spawn(send(socket, Source::new(&task, lane)));
            let tasks: Vec<_> = sockets.into_iter().enumerate().map(send_on).collect();
            let sent: Result<Vec<u64>> = try_join_all(tasks).await?.into_iter().collect();
            (Measured::sent(sent?.iter().sum()), started)
        }
        Work::RoundTrip | Work::Paced => {
            let socket = dial(SocketType::Req, 0).await?;
            tokio::time::sleep(TO_CONNECT).await;
            let started = session.ready_async().await?;
            (ask(&socket, &task).await?, started)
        }
        Work::Loaded => {
            let (trips, stream) = (
                dial(SocketType::Req, 0).await?,
                dial(SocketType::Push, 1).await?,
            );
            tokio::time::sleep(TO_CONNECT).await;
            let started = session.ready_async().await?;
            let beside = tokio::spawn(send(stream, Source::longer(&task, super::BESIDE)));
            let asked = ask(&trips, &task).await?;
            beside.await??;
            (asked, started)
        }
        Work::Idle => send_beside_idle(&session, &context).await?,
        Work::FanOut => {
            let mut all = Vec::with_capacity(task.channels);
            for _ in 0..task.channels {
                all.push((dial(SocketType::Sub, 0).await?, Sink::new(&task, 1)));
            }
            return subscribe(&session, all).await;
        }
        other => bail!("{other:?} is not done here"),
    };
    session.finish_async(measured, Some(started)).await
}

async fn receive(socket: &Socket, mut sink: Sink) -> Result<Sink> {
    loop {
        let message = socket.recv().await?;
        ensure!(!message.is_more(), "a message has one frame");
        if sink.take(message.data().context("a body")?) {
            return Ok(sink);
        }
    }
}

async fn send(socket: Socket, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        socket.send(Msg::from_vec(body.to_vec())).await?;
    }
    std::mem::forget(socket); // open until the process ends
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
        socket.send(Msg::from_vec(body.to_vec())).await?;
        trips.answered(socket.recv().await?.data().context("a body")?);
    }
}

async fn answer(socket: Socket, task: Task) -> Result<Sink> {
    let mut sink = Sink::new(&task, 1);
    loop {
        let message = socket.recv().await?;
        let is_over = sink.take(message.data().context("a body")?);
        socket.send(message).await?;
        if is_over {
            std::mem::forget(socket);
            return Ok(sink);
        }
    }
}

async fn send_beside_idle(session: &Session, context: &Context) -> Result<(Measured, Started)> {
    let task = &session.task;
    let stream = dial(context, session, SocketType::Push, 0).await?;
    session.before_idle();
    let mut idle = Vec::with_capacity(task.channels);
    for _ in 0..task.channels {
        // A socket connects to one address once, so that each connection takes a socket.
        let socket = dial(context, session, SocketType::Push, 1).await?;
        socket.send(Msg::from_vec(vec![7; 8])).await?;
        idle.push(socket);
    }
    let started = session.ready_async().await?;
    let resident = session.resident_each()?;
    let messages = send(stream, Source::new(task, 0)).await?;
    std::mem::forget(idle);
    let measured = Measured::sent(messages).beside(resident);
    Ok((measured, started))
}

/// Receives from all sockets in turn: each gets as many messages as the others.
async fn subscribe(session: &Session, mut all: Vec<(Socket, Sink)>) -> Result<()> {
    for (socket, _) in &all {
        socket.set_option_raw(options::SUBSCRIBE, b"").await?;
    }
    session.ready_async().await?;
    let mut open = all.len();
    while open > 0 {
        for (socket, sink) in &mut all {
            let message = socket.recv().await?;
            open -= usize::from(sink.take(message.data().context("a body")?));
        }
    }
    let (_sockets, sinks): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    session.finish_async(Sink::measured(sinks), None).await
}
