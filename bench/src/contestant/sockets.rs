//! Blocking sockets and threads: the floor. Frames are a length of four bytes and a body.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Contestant, NO_CALLS, tls};
use crate::body::{Sink, Source};
use crate::session::Session;
use crate::task::{Measured, Task, Transport, Work};
use crate::trips::Trips;

/// What one call reads or writes at most, of small messages.
const BUFFER: usize = 64 << 10;
/// The same where there are many connections.
const SMALL_BUFFER: usize = 8 << 10;
const LENGTH: usize = 4;

pub struct Sockets;

impl Contestant for Sockets {
    fn name(&self) -> &'static str {
        "sockets"
    }

    fn settings(&self) -> String {
        "blocking calls, a thread for each connection; NODELAY; reads and writes of 64 KiB one way, \
         of 8 KiB to many, one read and one write for each trip; over TLS by StreamOwned of rustls"
            .to_owned()
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Calls => Some(NO_CALLS),
            _ => None,
        }
    }

    fn has_tls(&self) -> bool {
        true
    }

    fn listen(&self, session: Session) -> Result<()> {
        let mut listeners = Vec::new();
        for index in 0..session.task.addresses() {
            listeners.push(Listener::bind(
                session.task.transport,
                session.address(index),
            )?);
        }
        session.before_idle();
        session.listening();
        let task = &session.task;
        let sinks = match task.work {
            Work::OneWay => vec![receive(listeners[0].accept()?, Sink::new(task, 1))?],
            Work::Producers => receive_all(task, &listeners[0])?,
            Work::RoundTrip | Work::Paced => vec![answer(listeners[0].accept()?, task)?],
            Work::Loaded => {
                let (trips, stream) = (listeners[0].accept()?, listeners[1].accept()?);
                let sink = std::thread::scope(|scope| {
                    let answers = scope.spawn(|| answer(trips, task));
                    let sink = receive(stream, Sink::new(task, 1))?;
                    answers.join().expect("an answerer does not panic")?;
                    anyhow::Ok(sink)
                });
                vec![sink?]
            }
            Work::FanOut => return publish(&session, &listeners[0]),
            Work::Cycles => serve_cycles(task, &listeners[0])?,
            Work::Idle => {
                let idle: Result<Vec<_>> =
                    (0..task.channels).map(|_| listeners[1].accept()).collect();
                let (_idle, resident) = (idle?, session.resident_each()?);
                let stream = listeners[0].accept()?;
                session.ready()?;
                let sink = receive(stream, Sink::new(task, 1))?;
                return session.finish(Sink::measured([sink]).beside(resident), None);
            }
            Work::Calls | Work::Poller => bail!("this is no work for two processes"),
        };
        session.finish(Sink::measured(sinks), None)
    }

    fn connect(&self, session: Session) -> Result<()> {
        session.before_idle();
        let task = &session.task;
        let connect = |index| Stream::connect(task.transport, session.address(index));
        match task.work {
            Work::OneWay | Work::Producers => {
                let streams: Result<Vec<_>> = (0..task.senders).map(|_| connect(0)).collect();
                let streams = streams?;
                let started = session.ready()?;
                let messages = send_all(task, streams)?;
                session.finish(Measured::sent(messages), Some(started))
            }
            Work::RoundTrip | Work::Paced => {
                let stream = connect(0)?;
                let started = session.ready()?;
                session.finish(ask(stream, task)?, Some(started))
            }
            Work::Loaded => {
                let (trips, stream) = (connect(0)?, connect(1)?);
                let started = session.ready()?;
                let asked = std::thread::scope(|scope| {
                    let source = Source::longer(task, super::BESIDE);
                    let beside = scope.spawn(|| send(stream, source));
                    let asked = ask(trips, task)?;
                    beside.join().expect("a sender does not panic")?;
                    anyhow::Ok(asked)
                })?;
                session.finish(asked, Some(started))
            }
            Work::FanOut => {
                let streams: Result<Vec<_>> = (0..task.channels).map(|_| connect(0)).collect();
                subscribe(&session, streams?)
            }
            Work::Cycles => cycle(&session),
            Work::Idle => {
                let idle: Result<Vec<_>> = (0..task.channels).map(|_| connect(1)).collect();
                let (_idle, resident) = (idle?, session.resident_each()?);
                let stream = connect(0)?;
                let started = session.ready()?;
                let messages = send(stream, Source::new(task, 0))?;
                session.finish(Measured::sent(messages).beside(resident), Some(started))
            }
            Work::Calls | Work::Poller => bail!("this is no work for two processes"),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Uds(UnixListener),
    Tls(TcpListener),
}

enum Stream {
    Tcp(TcpStream),
    Uds(UnixStream),
    Tls(tls::Stream),
}

impl Listener {
    fn bind(transport: Transport, address: &str) -> Result<Listener> {
        Ok(match transport {
            Transport::Tcp => Listener::Tcp(TcpListener::bind(address)?),
            Transport::Uds => Listener::Uds(UnixListener::bind(address)?),
            Transport::Tls => Listener::Tls(TcpListener::bind(address)?),
        })
    }

    fn accept(&self) -> Result<Stream> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Listener::Uds(listener) => Stream::Uds(listener.accept()?.0),
            Listener::Tls(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Stream::Tls(tls::Stream::server(stream)?)
            }
        })
    }
}

impl Stream {
    fn connect(transport: Transport, address: &str) -> Result<Stream> {
        Ok(match transport {
            Transport::Tcp => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Transport::Uds => Stream::Uds(UnixStream::connect(address)?),
            Transport::Tls => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Stream::Tls(tls::Stream::client(stream)?)
            }
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Uds(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Uds(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes),
        }
    }
}

/// Cuts frames from what is read, and lends their bodies.
struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Reader {
    fn new(task: &Task) -> Reader {
        Reader::holding(BUFFER.max(2 * (LENGTH + task.size)))
    }

    fn holding(bytes: usize) -> Reader {
        Reader {
            buffer: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    /// The next body; `None` at the end of the stream.
    fn next(&mut self, stream: &mut Stream) -> Result<Option<&[u8]>> {
        loop {
            let there = &self.buffer[self.start..self.end];
            if let Some((length, rest)) = there.split_first_chunk::<LENGTH>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    let body = self.start + LENGTH;
                    self.start = body + length;
                    return Ok(Some(&self.buffer[body..self.start]));
                }
                ensure!(
                    LENGTH + length <= self.buffer.len(),
                    "a frame is longer than agreed"
                );
            }
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            match stream.read(&mut self.buffer[self.end..])? {
                0 if self.end > 0 => bail!("the stream ended within a frame"),
                0 => return Ok(None),
                read => self.end += read,
            }
        }
    }
}

fn write_frame(buffer: &mut Vec<u8>, body: &[u8]) {
    buffer.extend_from_slice(&(body.len() as u32).to_be_bytes());
    buffer.extend_from_slice(body);
}

fn receive(mut stream: Stream, mut sink: Sink) -> Result<Sink> {
    let mut reader = Reader::holding(2 * BUFFER);
    while let Some(body) = reader.next(&mut stream)? {
        if sink.take(body) {
            return Ok(sink);
        }
    }
    bail!("the sender left")
}

fn receive_all(task: &Task, listener: &Listener) -> Result<Vec<Sink>> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..task.senders {
            let stream = listener.accept()?;
            threads.push(scope.spawn(move || receive(stream, Sink::new(task, 1))));
        }
        threads
            .into_iter()
            .map(|it| it.join().expect("a receiver does not panic"))
            .collect()
    })
}

fn send(mut stream: Stream, mut source: Source) -> Result<u64> {
    let mut buffer = Vec::with_capacity(2 * BUFFER);
    while let Some(body) = source.next() {
        if buffer.len() + LENGTH + body.len() > BUFFER && !buffer.is_empty() {
            stream.write_all(&buffer)?;
            buffer.clear();
        }
        write_frame(&mut buffer, body);
    }
    stream.write_all(&buffer)?;
    std::mem::forget(stream); // open until the process ends, as the receiver may be behind
    Ok(source.sent())
}

fn send_all(task: &Task, streams: Vec<Stream>) -> Result<u64> {
    std::thread::scope(|scope| {
        let send_on = |(lane, stream)| scope.spawn(move || send(stream, Source::new(task, lane)));
        let threads: Vec<_> = streams.into_iter().enumerate().map(send_on).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("a sender does not panic"))
            .sum()
    })
}

fn ask(mut stream: Stream, task: &Task) -> Result<Measured> {
    let (mut trips, mut reader) = (Trips::new(task), Reader::new(task));
    let mut frame = Vec::new();
    loop {
        if let Some(pause) = task.pause() {
            std::thread::sleep(pause);
        }
        let Some(body) = trips.ask() else {
            std::mem::forget(stream);
            return Ok(trips.measured());
        };
        frame.clear();
        write_frame(&mut frame, body);
        stream.write_all(&frame)?;
        trips.answered(reader.next(&mut stream)?.context("the answerer left")?);
    }
}

fn answer(mut stream: Stream, task: &Task) -> Result<Sink> {
    let (mut sink, mut reader) = (Sink::new(task, 1), Reader::new(task));
    let mut frame = Vec::new();
    loop {
        let body = reader.next(&mut stream)?.context("the asker left")?;
        let is_over = sink.take(body);
        frame.clear();
        write_frame(&mut frame, body);
        stream.write_all(&frame)?;
        if is_over {
            std::mem::forget(stream);
            return Ok(sink);
        }
    }
}

fn publish(session: &Session, listener: &Listener) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..session.task.channels {
        all.push((listener.accept()?, Vec::with_capacity(SMALL_BUFFER)));
    }
    let started = session.ready()?;
    let mut source = Source::unhurried(&session.task);
    while let Some(body) = source.next() {
        for (stream, buffer) in &mut all {
            if buffer.len() + LENGTH + body.len() > SMALL_BUFFER {
                stream.write_all(buffer)?;
                buffer.clear();
            }
            write_frame(buffer, body);
        }
    }
    for (stream, buffer) in &mut all {
        stream.write_all(buffer)?;
    }
    let messages = source.sent();
    session.finish(Measured::sent(messages), Some(started))
}

/// Reads all streams in turn: each has as many messages as the others.
fn subscribe(session: &Session, streams: Vec<Stream>) -> Result<()> {
    let task = &session.task;
    let subscriber = |stream| {
        (
            stream,
            Reader::holding(SMALL_BUFFER.max(2 * (LENGTH + task.size))),
            Sink::new(task, 1),
        )
    };
    let mut subscribers: Vec<_> = streams.into_iter().map(subscriber).collect();
    session.ready()?;
    let mut open = subscribers.len();
    while open > 0 {
        for (stream, reader, sink) in &mut subscribers {
            let body = reader.next(stream)?.context("the publisher left")?;
            open -= usize::from(sink.take(body));
        }
    }
    session.finish(
        Sink::measured(subscribers.into_iter().map(|(_, _, sink)| sink)),
        None,
    )
}

/// A thread for each of the connections that are there at once, which makes them one after another.
fn cycle(session: &Session) -> Result<()> {
    let task = &session.task;
    let started = session.ready()?;
    let time = Duration::from_secs_f64(task.seconds);
    let cycles: Result<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..task.channels)
            .map(|_| {
                scope.spawn(|| {
                    let (body, mut frame) = (vec![7; task.size], Vec::new());
                    write_frame(&mut frame, &body);
                    let mut cycles = 0;
                    while started.at.elapsed() < time {
                        let mut stream = Stream::connect(task.transport, session.address(0))?;
                        stream.write_all(&frame)?;
                        let mut reader = Reader::holding(2 * frame.len());
                        let answer = reader.next(&mut stream)?.context("the answerer left")?;
                        ensure!(answer == body, "an answer is not that of the question");
                        cycles += 1;
                    }
                    anyhow::Ok(cycles)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("a client does not panic"))
            .sum()
    });
    let seconds = started.at.elapsed().as_secs_f64();
    session.finish(Measured::sent(cycles?).within(seconds), Some(started))
}

/// As many threads as there are connections at once, all of which accept; until it is killed.
fn serve_cycles(task: &Task, listener: &Listener) -> Result<Vec<Sink>> {
    std::thread::scope(|scope| {
        for _ in 0..task.channels {
            scope.spawn(|| {
                while let Ok(mut stream) = listener.accept() {
                    let mut reader = Reader::holding(2 * (LENGTH + task.size));
                    let mut frame = Vec::new();
                    while let Ok(Some(body)) = reader.next(&mut stream) {
                        frame.clear();
                        write_frame(&mut frame, body);
                        if stream.write_all(&frame).is_err() {
                            break; // the next client may fare better
                        }
                    }
                }
            });
        }
    });
    bail!("nothing can be accepted any more")
}
