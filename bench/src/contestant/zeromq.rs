//! zeromq, in Rust over tokio: PUSH and PULL one way, REQ and REP for round trips.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket, SocketRecv, SocketSend,
    SubSocket, ZmqMessage,
};

use super::{Contestant, NO_CALLS, NO_GOODBYE};
use crate::body::{Sink, Source};
use crate::session::Session;
use crate::task::{Measured, Task, Work};
use crate::trips::Trips;

/// In which a publisher hears of subscriptions: it cannot be asked how many there are.
const TO_SUBSCRIBE: Duration = Duration::from_millis(500);

pub struct Zeromq;

impl Contestant for Zeromq {
    fn name(&self) -> &'static str {
        "zeromq"
    }

    fn settings(&self) -> String {
        "a tokio runtime of one thread, for several producers one of as many threads; PUSH/PULL, REQ/REP, \
         PUB/SUB by default options"
            .to_owned()
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Cycles => Some(NO_GOODBYE),
            Work::Calls => Some(NO_CALLS),
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
    let mut builder = match task.senders {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(task.senders).enable_all().build()?)
}

async fn bound<S: Socket>(session: &Session, index: usize) -> Result<S> {
    let mut socket = S::new();
    socket.bind(&session.endpoint(index)).await?;
    Ok(socket)
}

async fn connected<S: Socket>(session: &Session, index: usize) -> Result<S> {
    let mut socket = S::new();
    socket.connect(&session.endpoint(index)).await?;
    Ok(socket)
}

async fn listen(session: Session) -> Result<()> {
    let task = session.task.clone();
    let mut resident = None;
    let sink = match task.work {
        Work::OneWay | Work::Producers => {
            let socket: PullSocket = bound(&session, 0).await?;
            session.listening();
            receive(socket, Sink::new(&task, task.senders)).await?
        }
        Work::RoundTrip | Work::Paced => {
            let socket: RepSocket = bound(&session, 0).await?;
            session.listening();
            answer(socket, task).await?
        }
        Work::Loaded => {
            let trips: RepSocket = bound(&session, 0).await?;
            let stream: PullSocket = bound(&session, 1).await?;
            session.listening();
            let answers = tokio::spawn(answer(trips, task.clone()));
            let sink = receive(stream, Sink::new(&task, 1)).await?;
            answers.await??;
            sink
        }
        Work::FanOut => return publish(&session).await,
        Work::Idle => {
            let stream: PullSocket = bound(&session, 0).await?;
            let mut idle: PullSocket = bound(&session, 1).await?;
            session.before_idle();
            session.listening();
            for _ in 0..task.channels {
                idle.recv().await?;
            }
            resident = session.resident_each()?;
            session.ready_async().await?;
            let sink = receive(stream, Sink::new(&task, 1)).await?;
            std::mem::forget(idle);
            sink
        }
        other => bail!("{other:?} is not done here"),
    };
    session
        .finish_async(Sink::measured([sink]).beside(resident), None)
        .await
}

async fn connect(session: Session) -> Result<()> {
    let task = session.task.clone();
    let (measured, started) = match task.work {
        Work::OneWay | Work::Producers => {
            let mut sockets = Vec::new();
            for _ in 0..task.senders {
                sockets.push(connected::<PushSocket>(&session, 0).await?);
            }
            let started = session.ready_async().await?;
            let send_on = |(lane, socket)| tokio::spawn(send(socket, Source::new(&task, lane)));
            let tasks: Vec<_> = sockets.into_iter().enumerate().map(send_on).collect();
            let sent: Result<Vec<u64>> = try_join_all(tasks).await?.into_iter().collect();
            (Measured::sent(sent?.iter().sum()), started)
        }
        Work::RoundTrip | Work::Paced => {
            let socket: ReqSocket = connected(&session, 0).await?;
            let started = session.ready_async().await?;
            (ask(socket, &task).await?, started)
        }
        Work::Loaded => {
            let trips: ReqSocket = connected(&session, 0).await?;
            let stream: PushSocket = connected(&session, 1).await?;
            let started = session.ready_async().await?;
            let beside = tokio::spawn(send(stream, Source::longer(&task, super::BESIDE)));
            let asked = ask(trips, &task).await?;
            beside.await??;
            (asked, started)
        }
        Work::FanOut => return subscribe(&session).await,
        Work::Idle => {
            let stream: PushSocket = connected(&session, 0).await?;
            let mut idle = PushSocket::new();
            session.before_idle();
            for _ in 0..task.channels {
                idle.connect(&session.endpoint(1)).await?;
            }
            for _ in 0..task.channels {
                idle.send(ZmqMessage::from(vec![7; 8])).await?;
            }
            let started = session.ready_async().await?;
            let resident = session.resident_each()?;
            let messages = send(stream, Source::new(&task, 0)).await?;
            std::mem::forget(idle);
            (Measured::sent(messages).beside(resident), started)
        }
        other => bail!("{other:?} is not done here"),
    };
    session.finish_async(measured, Some(started)).await
}

fn body_of(message: &ZmqMessage) -> Result<&[u8]> {
    Ok(message.get(0).context("a message has a frame")?)
}

async fn receive(mut socket: PullSocket, mut sink: Sink) -> Result<Sink> {
    while !sink.take(body_of(&socket.recv().await?)?) {}
    std::mem::forget(socket); // open until the process ends
    Ok(sink)
}

async fn send(mut socket: PushSocket, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        socket.send(Bytes::copy_from_slice(body).into()).await?;
    }
    std::mem::forget(socket);
    Ok(source.sent())
}

async fn ask(mut socket: ReqSocket, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    loop {
        if let Some(pause) = task.pause() {
            tokio::time::sleep(pause).await;
        }
        let Some(body) = trips.ask() else {
            std::mem::forget(socket);
            return Ok(trips.measured());
        };
        socket.send(Bytes::copy_from_slice(body).into()).await?;
        trips.answered(body_of(&socket.recv().await?)?);
    }
}

async fn answer(mut socket: RepSocket, task: Task) -> Result<Sink> {
    let mut sink = Sink::new(&task, 1);
    loop {
        let message = socket.recv().await?;
        let is_over = sink.take(body_of(&message)?);
        socket.send(message).await?;
        if is_over {
            std::mem::forget(socket);
            return Ok(sink);
        }
    }
}

async fn publish(session: &Session) -> Result<()> {
    let mut socket: PubSocket = bound(session, 0).await?;
    session.listening();
    let started = session.ready_async().await?;
    tokio::time::sleep(TO_SUBSCRIBE).await;
    let mut source = Source::unhurried(&session.task);
    while let Some(body) = source.next() {
        socket.send(Bytes::copy_from_slice(body).into()).await?;
        tokio::task::consume_budget().await; // its queues drop what is above their limit
    }
    let measured = Measured::sent(source.sent());
    session.finish_async(measured, Some(started)).await
}

async fn subscribe(session: &Session) -> Result<()> {
    let task = &session.task;
    let mut all = Vec::with_capacity(task.channels);
    for _ in 0..task.channels {
        let mut socket: SubSocket = connected(session, 0).await?;
        socket.subscribe("").await?;
        all.push((socket, Sink::new(task, 1)));
    }
    session.ready_async().await?;
    let mut open = all.len();
    while open > 0 {
        for (socket, sink) in &mut all {
            open -= usize::from(sink.take(body_of(&socket.recv().await?)?));
        }
    }
    session
        .finish_async(Sink::measured(all.into_iter().map(|(_, sink)| sink)), None)
        .await
}
