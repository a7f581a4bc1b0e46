//! monocoque: PUSH and PULL one way, REQ and REP for round trips, a runtime for each thread.

use std::io;
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use compio_io::{AsyncRead, AsyncWrite};
use monocoque::rt::{self, LocalRuntime, TcpStream, UnixListener, UnixStream};
use monocoque::zmq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, SocketOptions, SubSocket,
};

use super::{Contestant, NO_CALLS, NO_GOODBYE, NO_TLS, queue_of};
use crate::body::{Sink, Source};
use crate::session::{Session, Started};
use crate::task::{Measured, Task, Transport, Work};
use crate::trips::Trips;

/// What a connection with a stream reads and gathers.
const BUFFER: usize = 64 << 10;
/// The same of one with round trips, as its authors' own benchmarks have it.
const SMALL_BUFFER: usize = 4 << 10;

/// In which a publisher hears of subscriptions: it cannot be asked how many there are.
const TO_SUBSCRIBE: Duration = Duration::from_millis(500);

pub struct Monocoque;

impl Contestant for Monocoque {
    fn name(&self) -> &'static str {
        "monocoque"
    }

    fn settings(&self) -> String {
        "over tokio, LocalRuntime; PUSH/PULL with write coalescing, buffers of 64 KiB and one flush at the \
         end, high-water marks as libzmq's; REQ/REP eager, buffers of 4 KiB; NODELAY"
            .to_owned()
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Cycles => Some(NO_GOODBYE),
            Work::Calls => Some(NO_CALLS),
            Work::FanOut if task.transport == Transport::Uds => Some("its PUB is for TCP only"),
            _ => None,
        }
    }

    fn listen(&self, session: Session) -> Result<()> {
        match session.task.transport {
            Transport::Tcp => LocalRuntime::new()?.block_on(listen::<TcpStream>(session)),
            Transport::Uds => LocalRuntime::new()?.block_on(listen::<UnixStream>(session)),
            Transport::Tls => anyhow::bail!(NO_TLS),
        }
    }

    fn connect(&self, session: Session) -> Result<()> {
        match session.task.transport {
            Transport::Tcp => connect::<TcpStream>(session),
            Transport::Uds => connect::<UnixStream>(session),
            Transport::Tls => anyhow::bail!(NO_TLS),
        }
    }
}

/// A transport's streams: its sockets are generic over them, but for how they come about.
trait Stream: AsyncRead + AsyncWrite + Unpin + Sized + 'static {
    type Listener;
    async fn bind(address: &str) -> io::Result<Self::Listener>;
    async fn accept(listener: &Self::Listener) -> io::Result<Self>;
    async fn dial(address: &str) -> io::Result<Self>;
}

impl Stream for TcpStream {
    type Listener = std::net::TcpListener;

    async fn bind(address: &str) -> io::Result<Self::Listener> {
        std::net::TcpListener::bind(address)
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self> {
        without_delay(listener.accept()?.0)
    }

    async fn dial(address: &str) -> io::Result<Self> {
        without_delay(std::net::TcpStream::connect(address)?)
    }
}

fn without_delay(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

impl Stream for UnixStream {
    type Listener = UnixListener;

    async fn bind(address: &str) -> io::Result<Self::Listener> {
        UnixListener::bind(address).await
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self> {
        Ok(listener.accept().await?.0)
    }

    async fn dial(address: &str) -> io::Result<Self> {
        UnixStream::connect(address).await
    }
}

fn for_stream(task: &Task) -> SocketOptions {
    SocketOptions::default()
        .with_buffer_sizes(BUFFER, BUFFER)
        .with_write_coalescing(true)
        .with_recv_hwm(queue_of(task))
        .with_send_hwm(queue_of(task))
}

fn for_trips() -> SocketOptions {
    SocketOptions::default().with_buffer_sizes(SMALL_BUFFER, SMALL_BUFFER)
}

async fn listen<S: Stream>(session: Session) -> Result<()> {
    if session.task.work == Work::FanOut {
        return publish(&session).await;
    }
    let mut listeners = Vec::new();
    for index in 0..session.task.addresses() {
        listeners.push(S::bind(session.address(index)).await?);
    }
    session.before_idle();
    session.listening();
    let task = session.task.clone();
    let pull = async |listener| {
        let stream = S::accept(listener).await?;
        PullSocket::with_options(stream, for_stream(&task)).await
    };
    let rep = async || RepSocket::with_options(S::accept(&listeners[0]).await?, for_trips()).await;
    let mut resident = None;
    let mut idle = Vec::new();
    let sinks = match task.work {
        Work::OneWay => vec![receive(pull(&listeners[0]).await?, Sink::new(&task, 1)).await?],
        Work::Producers => {
            let mut tasks = Vec::new();
            for _ in 0..task.senders {
                let socket = pull(&listeners[0]).await?;
                tasks.push(rt::spawn(receive(socket, Sink::new(&task, 1))));
            }
            let mut sinks = Vec::new();
            for receiver in tasks {
                sinks.push(rt::join(receiver).await?);
            }
            sinks
        }
        Work::RoundTrip | Work::Paced => vec![answer(rep().await?, task).await?],
        Work::Loaded => {
            let (trips, stream) = (rep().await?, pull(&listeners[1]).await?);
            let answers = rt::spawn(answer(trips, task.clone()));
            let sink = receive(stream, Sink::new(&task, 1)).await?;
            rt::join(answers).await?;
            vec![sink]
        }
        Work::Idle => {
            for _ in 0..task.channels {
                idle.push(pull(&listeners[1]).await?);
            }
            resident = session.resident_each()?;
            let stream = pull(&listeners[0]).await?;
            session.ready_async().await?;
            vec![receive(stream, Sink::new(&task, 1)).await?]
        }
        other => bail!("{other:?} is not done here"),
    };
    session
        .finish_async(
            Measured {
                resident,
                ..Sink::measured(sinks)
            },
            None,
        )
        .await
}

fn connect<S: Stream>(session: Session) -> Result<()> {
    match session.task.work {
        Work::Producers => return produce::<S>(&session),
        Work::FanOut => return LocalRuntime::new()?.block_on(subscribe(&session)),
        _ => {}
    }
    LocalRuntime::new()?.block_on(async {
        let (measured, started) = drive::<S>(&session).await?;
        session.finish_async(measured, Some(started)).await
    })
}

async fn dial_push<S: Stream>(session: &Session, index: usize) -> io::Result<PushSocket<S>> {
    let stream = S::dial(session.address(index)).await?;
    PushSocket::with_options(stream, for_stream(&session.task)).await
}

async fn drive<S: Stream>(session: &Session) -> Result<(Measured, Started)> {
    let task = &session.task;
    let req =
        async || ReqSocket::with_options(S::dial(session.address(0)).await?, for_trips()).await;
    match task.work {
        Work::OneWay => {
            let socket = dial_push::<S>(session, 0).await?;
            let started = session.ready_async().await?;
            let messages = send(socket, Source::new(task, 0)).await?;
            Ok((Measured::sent(messages), started))
        }
        Work::RoundTrip | Work::Paced => {
            let socket = req().await?;
            let started = session.ready_async().await?;
            Ok((ask(socket, task).await?, started))
        }
        Work::Loaded => {
            let (trips, stream) = (req().await?, dial_push::<S>(session, 1).await?);
            let started = session.ready_async().await?;
            let beside = rt::spawn(send(stream, Source::longer(task, super::BESIDE)));
            let asked = ask(trips, task).await?;
            rt::join(beside).await?;
            Ok((asked, started))
        }
        Work::Idle => {
            session.before_idle();
            let mut idle = Vec::with_capacity(task.channels);
            for _ in 0..task.channels {
                idle.push(dial_push::<S>(session, 1).await?);
            }
            let resident = session.resident_each()?;
            let stream = dial_push::<S>(session, 0).await?;
            let started = session.ready_async().await?;
            let messages = send(stream, Source::new(task, 0)).await?;
            std::mem::forget(idle);
            Ok((Measured::sent(messages).beside(resident), started))
        }
        other => bail!("{other:?} is not done here"),
    }
}

/// Each producer has a thread with a runtime of its own: what a socket needs is bound to its thread.
fn produce<S: Stream>(session: &Session) -> Result<()> {
    let task = &session.task;
    let barrier = Barrier::new(task.senders + 1);
    std::thread::scope(|scope| {
        let producer = |lane| {
            let barrier = &barrier;
            move || {
                LocalRuntime::new()?.block_on(async {
                    let socket = dial_push::<S>(session, 0).await;
                    barrier.wait(); // all are connected, or have failed
                    barrier.wait(); // all may go
                    send(socket?, Source::new(task, lane)).await
                })
            }
        };
        let threads: Vec<_> = (0..task.senders)
            .map(|lane| scope.spawn(producer(lane)))
            .collect();
        barrier.wait();
        let started = session.ready();
        barrier.wait();
        let sent: Result<u64> = threads
            .into_iter()
            .map(|it| it.join().expect("a sender does not panic"))
            .sum();
        let measured = Measured::sent(sent?);
        session.finish(measured, Some(started?))
    })
}

async fn receive<S: Stream>(mut socket: PullSocket<S>, mut sink: Sink) -> Result<Sink> {
    let mut frames: Vec<Bytes> = Vec::with_capacity(4);
    loop {
        ensure!(socket.recv_into(&mut frames).await?, "the sender left");
        // What came by the same read costs no wait.
        loop {
            ensure!(frames.len() == 1, "a message has one frame");
            if sink.take(&frames[0]) {
                std::mem::forget(socket); // open until the process ends
                return Ok(sink);
            }
            if !socket.try_recv_into(&mut frames)? {
                break;
            }
        }
    }
}

async fn send<S: Stream>(mut socket: PushSocket<S>, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        socket.send_one(Bytes::copy_from_slice(body)).await?;
    }
    socket.flush().await?;
    std::mem::forget(socket);
    Ok(source.sent())
}

async fn ask<S: Stream>(mut socket: ReqSocket<S>, task: &Task) -> Result<Measured> {
    let (mut trips, mut frames) = (Trips::new(task), Vec::<Bytes>::with_capacity(4));
    loop {
        if let Some(pause) = task.pause() {
            rt::sleep(pause).await;
        }
        let Some(body) = trips.ask() else {
            std::mem::forget(socket);
            return Ok(trips.measured());
        };
        socket.send_one(Bytes::copy_from_slice(body)).await?;
        ensure!(socket.recv_into(&mut frames).await?, "the answerer left");
        ensure!(frames.len() == 1, "a message has one frame");
        trips.answered(&frames[0]);
    }
}

async fn answer<S: Stream>(mut socket: RepSocket<S>, task: Task) -> Result<Sink> {
    let mut sink = Sink::new(&task, 1);
    loop {
        let frames = socket.recv().await?.context("the asker left")?;
        ensure!(frames.len() == 1, "a message has one frame");
        let is_over = sink.take(&frames[0]);
        socket.send(frames).await?;
        if is_over {
            std::mem::forget(socket);
            return Ok(sink);
        }
    }
}

async fn publish(session: &Session) -> Result<()> {
    let task = &session.task;
    let options = for_stream(task).with_send_hwm(usize::MAX >> 1); // what is above it is dropped
    let mut socket = PubSocket::bind_with_options(session.address(0), options).await?;
    session.listening();
    for _ in 0..task.channels {
        socket.accept_subscriber().await?;
    }
    let started = session.ready_async().await?;
    rt::sleep(TO_SUBSCRIBE).await;
    let mut source = Source::unhurried(task);
    while let Some(body) = source.next() {
        socket.send_frames(&[Bytes::copy_from_slice(body)]).await?;
    }
    let measured = Measured::sent(source.sent());
    session.finish_async(measured, Some(started)).await
}

/// Receives from all sockets in turn: each gets as many messages as the others.
async fn subscribe(session: &Session) -> Result<()> {
    let task = &session.task;
    let mut all = Vec::with_capacity(task.channels);
    for _ in 0..task.channels {
        let mut socket = SubSocket::from_tcp_with_options(
            TcpStream::dial(session.address(0)).await?,
            for_trips(),
        )
        .await?;
        socket.subscribe(b"").await?;
        all.push((socket, Sink::new(task, 1)));
    }
    session.ready_async().await?;
    let (mut open, mut frames) = (all.len(), Vec::<Bytes>::with_capacity(4));
    while open > 0 {
        for (socket, sink) in &mut all {
            ensure!(socket.recv_into(&mut frames).await?, "the publisher left");
            open -= usize::from(sink.take(&frames[0]));
        }
    }
    session
        .finish_async(Sink::measured(all.into_iter().map(|(_, sink)| sink)), None)
        .await
}
