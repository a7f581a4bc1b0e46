//! libzmq: PUSH and PULL one way, REQ and REP for round trips, XPUB and SUB for many.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use zmq::{Context, Message, Socket, SocketType};

use super::{Contestant, NO_CALLS, queue_of};
use crate::body::{Sink, Source};
use crate::session::Session;
use crate::task::{Measured, Task, Work};
use crate::trips::Trips;

pub struct Libzmq;

impl Contestant for Libzmq {
    fn name(&self) -> &'static str {
        "libzmq"
    }

    fn settings(&self) -> String {
        let (major, minor, patch) = zmq::version();
        format!(
            "{major}.{minor}.{patch}, one I/O thread; PUSH/PULL, REQ/REP; high-water marks of 16 MiB of \
             bodies, 1,000 to 100,000 messages; XPUB/SUB without high-water marks; NODELAY by default"
        )
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Calls => Some(NO_CALLS),
            _ => None,
        }
    }

    fn listen(&self, session: Session) -> Result<()> {
        let context = Context::new();
        let task = session.task.clone();
        let bind = |kind, index| bound(&context, &session, kind, index);
        match task.work {
            Work::OneWay | Work::Producers => {
                let socket = bind(SocketType::PULL, 0)?;
                session.listening();
                let sink = receive(&socket, Sink::new(&task, task.senders))?;
                session.finish(Sink::measured([sink]), None)
            }
            Work::RoundTrip | Work::Paced => {
                let socket = bind(SocketType::REP, 0)?;
                session.listening();
                session.finish(Sink::measured([answer(&socket, &task)?]), None)
            }
            Work::Loaded => {
                let (trips, stream) = (bind(SocketType::REP, 0)?, bind(SocketType::PULL, 1)?);
                session.listening();
                let (sink, _trips) = std::thread::scope(|scope| {
                    let task = &task;
                    let answers = scope.spawn(move || answer(&trips, task).map(|_| trips));
                    let sink = receive(&stream, Sink::new(task, 1))?;
                    anyhow::Ok((sink, answers.join().expect("an answerer does not panic")?))
                })?;
                session.finish(Sink::measured([sink]), None)
            }
            Work::FanOut => publish(&session, &context),
            Work::Cycles => {
                let socket = bind(SocketType::REP, 0)?;
                session.listening();
                let mut message = Message::new();
                loop {
                    socket.recv(&mut message, 0)?;
                    socket.send(&message[..], 0)?;
                }
            }
            Work::Idle => {
                let (stream, idle) = (bind(SocketType::PULL, 0)?, bind(SocketType::PULL, 1)?);
                session.before_idle();
                session.listening();
                let mut message = Message::new();
                for _ in 0..task.channels {
                    idle.recv(&mut message, 0)?;
                }
                let resident = session.resident_each()?;
                session.ready()?;
                let sink = receive(&stream, Sink::new(&task, 1))?;
                session.finish(Sink::measured([sink]).beside(resident), None)
            }
            Work::Calls | Work::Poller => bail!("this is no work for two processes"),
        }
    }

    fn connect(&self, session: Session) -> Result<()> {
        let context = Context::new();
        let task = session.task.clone();
        let connect = |kind, index| connected(&context, &session, kind, index);
        match task.work {
            Work::OneWay | Work::Producers => {
                let sockets: Result<Vec<_>> = (0..task.senders)
                    .map(|_| connect(SocketType::PUSH, 0))
                    .collect();
                let sockets = sockets?;
                let started = session.ready()?;
                let (messages, _sockets) = send_all(&task, sockets)?;
                session.finish(Measured::sent(messages), Some(started))
            }
            Work::RoundTrip | Work::Paced => {
                let socket = connect(SocketType::REQ, 0)?;
                let started = session.ready()?;
                session.finish(ask(&socket, &task)?, Some(started))
            }
            Work::Loaded => {
                let (trips, stream) = (connect(SocketType::REQ, 0)?, connect(SocketType::PUSH, 1)?);
                let started = session.ready()?;
                let (asked, _stream) = std::thread::scope(|scope| {
                    let source = Source::longer(&task, super::BESIDE);
                    let beside = scope.spawn(move || send(&stream, source).map(|_| stream));
                    let asked = ask(&trips, &task)?;
                    anyhow::Ok((asked, beside.join().expect("a sender does not panic")?))
                })?;
                session.finish(asked, Some(started))
            }
            Work::FanOut => subscribe(&session, &context),
            Work::Cycles => cycle(&session, &context),
            Work::Idle => {
                let stream = connect(SocketType::PUSH, 0)?;
                let idle = context.socket(SocketType::PUSH)?;
                session.before_idle();
                for _ in 0..task.channels {
                    idle.connect(&session.endpoint(1))?;
                }
                // Each connection gets one of these, so they arrive once all connections are there.
                for _ in 0..task.channels {
                    idle.send(&[7; 8][..], 0)?;
                }
                let started = session.ready()?;
                let resident = session.resident_each()?;
                let messages = send(&stream, Source::new(&task, 0))?;
                session.finish(Measured::sent(messages).beside(resident), Some(started))
            }
            Work::Calls | Work::Poller => bail!("this is no work for two processes"),
        }
    }
}

fn socket(context: &Context, task: &Task, kind: SocketType) -> Result<Socket> {
    let socket = context.socket(kind)?;
    let messages = match kind {
        SocketType::XPUB | SocketType::SUB => 0, // no limit, as a publisher drops what is above it
        _ => i32::try_from(queue_of(task))?,
    };
    socket.set_sndhwm(messages)?;
    socket.set_rcvhwm(messages)?;
    Ok(socket)
}

fn bound(context: &Context, session: &Session, kind: SocketType, index: usize) -> Result<Socket> {
    let socket = socket(context, &session.task, kind)?;
    socket.bind(&session.endpoint(index))?;
    Ok(socket)
}

fn connected(
    context: &Context,
    session: &Session,
    kind: SocketType,
    index: usize,
) -> Result<Socket> {
    let socket = socket(context, &session.task, kind)?;
    socket.connect(&session.endpoint(index))?;
    Ok(socket)
}

fn receive(socket: &Socket, mut sink: Sink) -> Result<Sink> {
    let mut message = Message::new();
    loop {
        socket.recv(&mut message, 0)?;
        if sink.take(&message) {
            return Ok(sink);
        }
    }
}

fn send(socket: &Socket, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        socket.send(body, 0)?;
    }
    Ok(source.sent())
}

fn send_all(task: &Task, sockets: Vec<Socket>) -> Result<(u64, Vec<Socket>)> {
    std::thread::scope(|scope| {
        let send_on = |(lane, socket)| {
            scope.spawn(move || send(&socket, Source::new(task, lane)).map(|sent| (sent, socket)))
        };
        let threads: Vec<_> = sockets.into_iter().enumerate().map(send_on).collect();
        let (mut sent, mut sockets) = (0, Vec::new());
        for thread in threads {
            let (messages, socket) = thread.join().expect("a sender does not panic")?;
            sent += messages;
            sockets.push(socket);
        }
        Ok((sent, sockets))
    })
}

fn ask(socket: &Socket, task: &Task) -> Result<Measured> {
    let (mut trips, mut message) = (Trips::new(task), Message::new());
    loop {
        if let Some(pause) = task.pause() {
            std::thread::sleep(pause);
        }
        let Some(body) = trips.ask() else {
            return Ok(trips.measured());
        };
        socket.send(body, 0)?;
        socket.recv(&mut message, 0)?;
        trips.answered(&message);
    }
}

fn answer(socket: &Socket, task: &Task) -> Result<Sink> {
    let (mut sink, mut message) = (Sink::new(task, 1), Message::new());
    loop {
        socket.recv(&mut message, 0)?;
        let is_over = sink.take(&message);
        socket.send(std::mem::replace(&mut message, Message::new()), 0)?;
        if is_over {
            return Ok(sink);
        }
    }
}

fn publish(session: &Session, context: &Context) -> Result<()> {
    let socket = socket(context, &session.task, SocketType::XPUB)?;
    socket.set_xpub_verbose(true)?; // so that each subscription is seen, and not only the first
    socket.bind(&session.endpoint(0))?;
    session.listening();
    let mut message = Message::new();
    for _ in 0..session.task.channels {
        socket.recv(&mut message, 0)?;
    }
    let started = session.ready()?;
    let messages = send(&socket, Source::unhurried(&session.task))?;
    session.finish(Measured::sent(messages), Some(started))
}

/// Receives from all sockets in turn: each gets as many messages as the others.
fn subscribe(session: &Session, context: &Context) -> Result<()> {
    let task = &session.task;
    let mut subscribers = Vec::with_capacity(task.channels);
    for _ in 0..task.channels {
        let socket = socket(context, task, SocketType::SUB)?;
        socket.set_subscribe(b"")?;
        socket.connect(&session.endpoint(0))?;
        subscribers.push((socket, Sink::new(task, 1)));
    }
    session.ready()?;
    let (mut message, mut open) = (Message::new(), subscribers.len());
    while open > 0 {
        for (socket, sink) in &mut subscribers {
            socket.recv(&mut message, 0)?;
            open -= usize::from(sink.take(&message));
        }
    }
    session.finish(
        Sink::measured(subscribers.into_iter().map(|(_, sink)| sink)),
        None,
    )
}

/// A thread for each of the connections that are there at once, which makes them one after another.
fn cycle(session: &Session, context: &Context) -> Result<()> {
    let task = &session.task;
    let started = session.ready()?;
    let time = Duration::from_secs_f64(task.seconds);
    let cycles: Result<u64> = std::thread::scope(|scope| {
        let client = || {
            let (body, mut message) = (vec![7; task.size], Message::new());
            let mut cycles = 0;
            while started.at.elapsed() < time {
                let socket = connected(context, session, SocketType::REQ, 0)?;
                socket.send(&body[..], 0)?;
                socket.recv(&mut message, 0)?;
                ensure!(message[..] == body, "an answer is not that of the question");
                cycles += 1;
            }
            anyhow::Ok(cycles)
        };
        let threads: Vec<_> = (0..task.channels).map(|_| scope.spawn(client)).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("a client does not panic"))
            .sum()
    });
    let seconds = started.at.elapsed().as_secs_f64();
    session.finish(Measured::sent(cycles?).within(seconds), Some(started))
}
