//! tokio with the length-delimited codec of tokio-util: what one writes without a messaging library.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::try_join_all;
use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::either::Either;

use super::{Contestant, NO_TLS};
use crate::body::{Sink, Source};
use crate::session::Session;
use crate::task::{Measured, Task, Transport, Work};
use crate::trips::Trips;

/// What a connection with a stream reads into and gathers before it writes.
const BUFFER: usize = 64 << 10;
/// The same of a connection that has few messages, as it is by default.
const SMALL_BUFFER: usize = 8 << 10;

pub struct TokioCodec;

type Stream = Either<TcpStream, UnixStream>;
type Frames = Framed<Stream, LengthDelimitedCodec>;

impl Contestant for TokioCodec {
    fn name(&self) -> &'static str {
        "tokio-codec"
    }

    fn settings(&self) -> String {
        "LengthDelimitedCodec; a runtime of one thread, for several producers one of as many threads; \
         NODELAY; buffers of 64 KiB and feed with one flush at the end one way, of 8 KiB to many; send for each trip"
            .to_owned()
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        (task.groups > 1).then_some("it has no groups")
    }

    fn listen(&self, session: Session) -> Result<()> {
        runtime(&session.task)?.block_on(listen(session))
    }

    fn connect(&self, session: Session) -> Result<()> {
        runtime(&session.task)?.block_on(connect(session))
    }
}

fn runtime(task: &Task) -> Result<Runtime> {
    let mut builder = match task.senders {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(task.senders).enable_all().build()?)
}

enum Listener {
    Tcp(TcpListener),
    Uds(UnixListener),
}

impl Listener {
    async fn bind(session: &Session, index: usize) -> Result<Listener> {
        let address = session.address(index);
        Ok(match session.task.transport {
            Transport::Tcp => Listener::Tcp(TcpListener::bind(address).await?),
            Transport::Uds => Listener::Uds(UnixListener::bind(address)?),
            Transport::Tls => anyhow::bail!(NO_TLS),
        })
    }

    async fn accept(&self) -> Result<Stream> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Either::Left(stream)
            }
            Listener::Uds(listener) => Either::Right(listener.accept().await?.0),
        })
    }

    async fn accept_many(&self, count: usize, buffer: usize) -> Result<Vec<Frames>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(framed(self.accept().await?, buffer));
        }
        Ok(all)
    }
}

async fn dial(session: &Session, index: usize) -> Result<Stream> {
    let address = session.address(index);
    Ok(match session.task.transport {
        Transport::Tcp => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Either::Left(stream)
        }
        Transport::Uds => Either::Right(UnixStream::connect(address).await?),
        Transport::Tls => anyhow::bail!(NO_TLS),
    })
}

async fn dial_many(
    session: &Session,
    index: usize,
    count: usize,
    buffer: usize,
) -> Result<Vec<Frames>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(framed(dial(session, index).await?, buffer));
    }
    Ok(all)
}

fn framed(stream: Stream, buffer: usize) -> Frames {
    let mut frames = Framed::with_capacity(stream, LengthDelimitedCodec::new(), buffer);
    frames.set_backpressure_boundary(buffer);
    frames
}

/// Runs all of these at once, on all threads of the runtime.
async fn spawn_all<F, T>(futures: impl Iterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = futures.map(tokio::spawn).collect();
    try_join_all(tasks).await?.into_iter().collect()
}

async fn listen(session: Session) -> Result<()> {
    let mut listeners = Vec::new();
    for index in 0..session.task.addresses() {
        listeners.push(Listener::bind(&session, index).await?);
    }
    session.before_idle();
    session.listening();
    let task = session.task.clone();
    let listener = &listeners[0];
    let sinks = match task.work {
        Work::OneWay | Work::Producers => {
            let all = listener.accept_many(task.senders, BUFFER).await?;
            spawn_all(all.into_iter().map(|it| receive(it, Sink::new(&task, 1)))).await?
        }
        Work::RoundTrip | Work::Paced => {
            vec![answer(framed(listener.accept().await?, SMALL_BUFFER), task).await?]
        }
        Work::Loaded => {
            let trips = framed(listener.accept().await?, SMALL_BUFFER);
            let stream = framed(listeners[1].accept().await?, BUFFER);
            let answers = tokio::spawn(answer(trips, task.clone()));
            let sink = receive(stream, Sink::new(&task, 1)).await?;
            answers.await??;
            vec![sink]
        }
        Work::FanOut => return publish(&session, listener).await,
        Work::Cycles => return serve_cycles(listener).await,
        Work::Calls => return serve_calls(listener).await,
        Work::Idle => {
            let _idle = listeners[1]
                .accept_many(task.channels, SMALL_BUFFER)
                .await?;
            let resident = session.resident_each()?;
            let stream = framed(listener.accept().await?, BUFFER);
            session.ready_async().await?;
            let sink = receive(stream, Sink::new(&task, 1)).await?;
            let measured = Sink::measured([sink]).beside(resident);
            return session.finish_async(measured, None).await;
        }
        Work::Poller => bail!("this is no work for two processes"),
    };
    session.finish_async(Sink::measured(sinks), None).await
}

async fn connect(session: Session) -> Result<()> {
    session.before_idle();
    let task = session.task.clone();
    let (measured, started) = match task.work {
        Work::OneWay | Work::Producers => {
            let all = dial_many(&session, 0, task.senders, BUFFER).await?;
            let started = session.ready_async().await?;
            let lanes = all.into_iter().enumerate();
            let sent =
                spawn_all(lanes.map(|(lane, it)| send(it, Source::new(&task, lane)))).await?;
            (Measured::sent(sent.iter().sum()), started)
        }
        Work::RoundTrip | Work::Paced => {
            let frames = framed(dial(&session, 0).await?, SMALL_BUFFER);
            let started = session.ready_async().await?;
            (ask(frames, &task).await?, started)
        }
        Work::Loaded => {
            let trips = framed(dial(&session, 0).await?, SMALL_BUFFER);
            let stream = framed(dial(&session, 1).await?, BUFFER);
            let started = session.ready_async().await?;
            let beside = tokio::spawn(send(stream, Source::longer(&task, super::BESIDE)));
            let asked = ask(trips, &task).await?;
            beside.await??;
            (asked, started)
        }
        Work::FanOut => return subscribe(&session).await,
        Work::Cycles => return cycle(session).await,
        Work::Calls => return call(session).await,
        Work::Idle => {
            let _idle = dial_many(&session, 1, task.channels, SMALL_BUFFER).await?;
            let resident = session.resident_each()?;
            let stream = framed(dial(&session, 0).await?, BUFFER);
            let started = session.ready_async().await?;
            let messages = send(stream, Source::new(&task, 0)).await?;
            let measured = Measured::sent(messages).beside(resident);
            return session.finish_async(measured, Some(started)).await;
        }
        Work::Poller => bail!("this is no work for two processes"),
    };
    session.finish_async(measured, Some(started)).await
}

async fn receive(mut frames: Frames, mut sink: Sink) -> Result<Sink> {
    while let Some(body) = frames.next().await {
        if sink.take(&body?) {
            std::mem::forget(frames); // open until the process ends
            return Ok(sink);
        }
    }
    bail!("the sender left")
}

async fn send(mut frames: Frames, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        frames.feed(Bytes::copy_from_slice(body)).await?;
    }
    SinkExt::<Bytes>::flush(&mut frames).await?;
    std::mem::forget(frames);
    Ok(source.sent())
}

async fn ask(mut frames: Frames, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    loop {
        if let Some(pause) = task.pause() {
            tokio::time::sleep(pause).await;
        }
        let Some(body) = trips.ask() else {
            std::mem::forget(frames);
            return Ok(trips.measured());
        };
        frames.send(Bytes::copy_from_slice(body)).await?;
        trips.answered(&frames.next().await.context("the answerer left")??);
    }
}

async fn answer(mut frames: Frames, task: Task) -> Result<Sink> {
    let mut sink = Sink::new(&task, 1);
    loop {
        let body: BytesMut = frames.next().await.context("the asker left")??;
        let is_over = sink.take(&body);
        frames.send(body.freeze()).await?;
        if is_over {
            std::mem::forget(frames);
            return Ok(sink);
        }
    }
}

async fn publish(session: &Session, listener: &Listener) -> Result<()> {
    let mut all = listener
        .accept_many(session.task.channels, SMALL_BUFFER)
        .await?;
    let started = session.ready_async().await?;
    let mut source = Source::unhurried(&session.task);
    while let Some(body) = source.next() {
        let body = Bytes::copy_from_slice(body);
        for frames in &mut all {
            frames.feed(body.clone()).await?;
        }
    }
    for frames in &mut all {
        SinkExt::<Bytes>::flush(frames).await?;
    }
    let measured = Measured::sent(source.sent());
    session.finish_async(measured, Some(started)).await
}

async fn subscribe(session: &Session) -> Result<()> {
    let task = &session.task;
    let all = dial_many(session, 0, task.channels, SMALL_BUFFER).await?;
    session.ready_async().await?;
    let sinks = spawn_all(all.into_iter().map(|it| receive(it, Sink::new(task, 1)))).await?;
    session.finish_async(Sink::measured(sinks), None).await
}

/// A task for each of the connections that are there at once, which makes them one after another.
async fn cycle(session: Session) -> Result<()> {
    let started = session.ready_async().await?;
    let task = &session.task;
    let time = Duration::from_secs_f64(task.seconds);
    let body = Bytes::from(vec![7; task.size]);
    let client = || async {
        let mut cycles = 0;
        while started.at.elapsed() < time {
            let mut frames = framed(dial(&session, 0).await?, SMALL_BUFFER);
            frames.send(body.clone()).await?;
            let answer = frames.next().await.context("the answerer left")??;
            ensure!(answer == body, "an answer is not that of the question");
            cycles += 1;
        }
        anyhow::Ok(cycles)
    };
    let cycles = try_join_all((0..task.channels).map(|_| client())).await?;
    let seconds = started.at.elapsed().as_secs_f64();
    let measured = Measured::sent(cycles.iter().sum()).within(seconds);
    session.finish_async(measured, Some(started)).await
}

/// Echoes whatever comes, until it is killed.
async fn serve_cycles(listener: &Listener) -> Result<()> {
    loop {
        let mut frames = framed(listener.accept().await?, SMALL_BUFFER);
        tokio::spawn(async move {
            while let Some(Ok(body)) = frames.next().await {
                if frames.send(body.freeze()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Who waits for which answer.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<BytesMut>>>>;

/// Tasks that share a connection: one more writes what they ask, and one more hands out the answers, by a number that
/// is before each body.
async fn call(session: Session) -> Result<()> {
    let (mut writing, mut reading) = framed(dial(&session, 0).await?, BUFFER).split();
    let started = session.ready_async().await?;
    let task = &session.task;
    let time = Duration::from_secs_f64(task.seconds);
    let waiting = Waiting::default();
    let (ask, mut asked) = mpsc::channel::<Bytes>(task.channels.max(1));
    let writer = tokio::spawn(async move {
        let mut bodies = Vec::new();
        while asked.recv_many(&mut bodies, 128).await > 0 {
            for body in bodies.drain(..) {
                writing.feed(body).await?;
            }
            writing.flush().await?;
        }
        anyhow::Ok(())
    });
    let answered = Arc::clone(&waiting);
    let reader = tokio::spawn(async move {
        while let Some(frame) = reading.next().await {
            let mut frame = frame?;
            let number = frame.get_u64();
            let waiting = answered.lock().expect("no panic").remove(&number);
            let _ = waiting.context("an answer to nobody")?.send(frame);
        }
        anyhow::Ok(())
    });
    let clients = (0..task.channels as u64).map(|number| {
        let (ask, waiting) = (ask.clone(), Arc::clone(&waiting));
        let (size, count) = (task.size, task.channels as u64);
        tokio::spawn(async move {
            let body = vec![7; size];
            let (mut number, mut calls) = (number, 0);
            while started.at.elapsed() < time {
                let mut frame = BytesMut::with_capacity(8 + size);
                frame.put_u64(number);
                frame.put_slice(&body);
                let (tell, told) = oneshot::channel();
                waiting.lock().expect("no panic").insert(number, tell);
                ask.send(frame.freeze()).await?;
                ensure!(told.await? == body, "an answer is not that of the question");
                number += count;
                calls += 1;
            }
            anyhow::Ok(calls)
        })
    });
    let calls: Vec<_> = clients.collect();
    let mut sum = 0;
    for calls in try_join_all(calls).await? {
        sum += calls?;
    }
    let seconds = started.at.elapsed().as_secs_f64();
    let _ = (writer, reader); // they go on until the process ends
    session
        .finish_async(Measured::sent(sum).within(seconds), Some(started))
        .await
}

/// Echoes whatever comes, and writes what is there together, until it is killed.
async fn serve_calls(listener: &Listener) -> Result<()> {
    let (writing, reading) = framed(listener.accept().await?, BUFFER).split();
    reading.map_ok(BytesMut::freeze).forward(writing).await?;
    std::future::pending().await
}
