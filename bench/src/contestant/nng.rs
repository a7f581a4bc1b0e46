//! nng: push0 and pull0 one way, req0 and rep0 for round trips, by its synchronous calls.

use std::time::Duration;

use anyhow::{Result, bail};
use nng::options::protocol::pubsub::Subscribe;
use nng::options::transport::tcp::NoDelay;
use nng::options::{Options, RecvBufferSize, SendBufferSize};
use nng::{Message, Protocol, Socket};

use super::{Contestant, NO_CALLS, NO_GOODBYE, queue_of};
use crate::body::{Sink, Source};
use crate::session::Session;
use crate::task::{Measured, Task, Transport, Work};
use crate::trips::Trips;

/// The most messages that its queues take.
const QUEUE_MAX: usize = 8192;

/// In which the last connections come about on the publisher's side.
const TO_SUBSCRIBE: Duration = Duration::from_millis(500);

pub struct Nng;

impl Contestant for Nng {
    fn name(&self) -> &'static str {
        "nng"
    }

    fn settings(&self) -> String {
        format!(
            "push0/pull0, req0/rep0, synchronous calls; queues of 16 MiB of bodies, 1,000 to {QUEUE_MAX} \
             messages; NODELAY"
        )
    }

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        match task.work {
            _ if task.groups > 1 => Some("it has no groups"),
            Work::Cycles => Some(NO_GOODBYE),
            Work::Calls => Some(NO_CALLS),
            Work::FanOut if task.count.is_none_or(|count| count > QUEUE_MAX as u64) => {
                Some("its pub0 drops what is queued above 8,192 messages")
            }
            _ => None,
        }
    }

    fn listen(&self, session: Session) -> Result<()> {
        let task = session.task.clone();
        let bind = |protocol, index| -> Result<Socket> {
            let socket = socket(&task, protocol)?;
            socket.listen(&session.endpoint(index))?;
            Ok(socket)
        };
        let sink = match task.work {
            Work::OneWay | Work::Producers => {
                let socket = bind(Protocol::Pull0, 0)?;
                session.listening();
                receive(&socket, Sink::new(&task, task.senders))?
            }
            Work::RoundTrip | Work::Paced => {
                let socket = bind(Protocol::Rep0, 0)?;
                session.listening();
                answer(&socket, &task)?
            }
            Work::Loaded => {
                let (trips, stream) = (bind(Protocol::Rep0, 0)?, bind(Protocol::Pull0, 1)?);
                session.listening();
                std::thread::scope(|scope| {
                    let answers = scope.spawn(|| answer(&trips, &task));
                    let sink = receive(&stream, Sink::new(&task, 1))?;
                    answers.join().expect("an answerer does not panic")?;
                    anyhow::Ok(sink)
                })?
            }
            Work::Idle => {
                let (stream, idle) = (bind(Protocol::Pull0, 0)?, bind(Protocol::Pull0, 1)?);
                session.before_idle();
                session.listening();
                for _ in 0..task.channels {
                    idle.recv()?;
                }
                let resident = session.resident_each()?;
                session.ready()?;
                let sink = receive(&stream, Sink::new(&task, 1))?;
                return session.finish(Sink::measured([sink]).beside(resident), None);
            }
            Work::FanOut => {
                let socket = bind(Protocol::Pub0, 0)?;
                session.listening();
                let started = session.ready()?;
                std::thread::sleep(TO_SUBSCRIBE);
                let messages = send(&socket, Source::unhurried(&task))?;
                return session.finish(Measured::sent(messages), Some(started));
            }
            other => bail!("{other:?} is not done here"),
        };
        session.finish(Sink::measured([sink]), None)
    }

    fn connect(&self, session: Session) -> Result<()> {
        let task = session.task.clone();
        let dial = |protocol, index| -> Result<Socket> {
            let socket = socket(&task, protocol)?;
            socket.dial(&session.endpoint(index))?;
            Ok(socket)
        };
        match task.work {
            Work::OneWay | Work::Producers => {
                let sockets: Result<Vec<_>> = (0..task.senders)
                    .map(|_| dial(Protocol::Push0, 0))
                    .collect();
                let sockets = sockets?;
                let started = session.ready()?;
                let messages = send_all(&task, &sockets)?;
                session.finish(Measured::sent(messages), Some(started))
            }
            Work::RoundTrip | Work::Paced => {
                let socket = dial(Protocol::Req0, 0)?;
                let started = session.ready()?;
                session.finish(ask(&socket, &task)?, Some(started))
            }
            Work::Loaded => {
                let (trips, stream) = (dial(Protocol::Req0, 0)?, dial(Protocol::Push0, 1)?);
                let started = session.ready()?;
                let asked = std::thread::scope(|scope| {
                    let source = Source::longer(&task, super::BESIDE);
                    let beside = scope.spawn(|| send(&stream, source));
                    let asked = ask(&trips, &task)?;
                    beside.join().expect("a sender does not panic")?;
                    anyhow::Ok(asked)
                })?;
                session.finish(asked, Some(started))
            }
            Work::Idle => send_beside_idle(&session, &dial(Protocol::Push0, 0)?),
            Work::FanOut => {
                let mut all = Vec::with_capacity(task.channels);
                for _ in 0..task.channels {
                    let socket = dial(Protocol::Sub0, 0)?;
                    socket.set_opt::<Subscribe>(Vec::new())?;
                    all.push((socket, Sink::new(&task, 1)));
                }
                session.ready()?;
                subscribe(&session, all)
            }
            other => bail!("{other:?} is not done here"),
        }
    }
}

fn send_beside_idle(session: &Session, stream: &Socket) -> Result<()> {
    let task = &session.task;
    let idle = socket(task, Protocol::Push0)?;
    session.before_idle();
    for _ in 0..task.channels {
        idle.dial(&session.endpoint(1))?;
    }
    for _ in 0..task.channels {
        idle.send(&[7; 8][..]).map_err(|(_, why)| why)?;
    }
    let started = session.ready()?;
    let resident = session.resident_each()?;
    let messages = send(stream, Source::new(task, 0))?;
    let measured = Measured::sent(messages).beside(resident);
    session.finish(measured, Some(started))
}

/// Receives from all sockets in turn: each gets as many messages as the others.
fn subscribe(session: &Session, mut all: Vec<(Socket, Sink)>) -> Result<()> {
    let mut open = all.len();
    while open > 0 {
        for (socket, sink) in &mut all {
            open -= usize::from(sink.take(&socket.recv()?));
        }
    }
    let (_sockets, sinks): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    session.finish(Sink::measured(sinks), None)
}

fn socket(task: &Task, protocol: Protocol) -> Result<Socket> {
    let socket = Socket::new(protocol)?;
    let queue = match protocol {
        Protocol::Pub0 | Protocol::Sub0 => QUEUE_MAX,
        _ => queue_of(task).min(QUEUE_MAX),
    };
    let queue = i32::try_from(queue)?;
    // req0 and rep0 have no queues and refuse these.
    if matches!(protocol, Protocol::Push0 | Protocol::Pub0) {
        let _ = socket.set_opt::<SendBufferSize>(queue);
    }
    if matches!(protocol, Protocol::Pull0 | Protocol::Sub0) {
        let _ = socket.set_opt::<RecvBufferSize>(queue);
    }
    if task.transport == Transport::Tcp {
        let _ = socket.set_opt::<NoDelay>(true); // which is its default, where it is not an option
    }
    Ok(socket)
}

fn receive(socket: &Socket, mut sink: Sink) -> Result<Sink> {
    while !sink.take(&socket.recv()?) {}
    Ok(sink)
}

fn send(socket: &Socket, mut source: Source) -> Result<u64> {
    while let Some(body) = source.next() {
        socket.send(Message::from(body)).map_err(|(_, why)| why)?;
    }
    Ok(source.sent())
}

fn send_all(task: &Task, sockets: &[Socket]) -> Result<u64> {
    std::thread::scope(|scope| {
        let send_on = |(lane, socket)| scope.spawn(move || send(socket, Source::new(task, lane)));
        let threads: Vec<_> = sockets.iter().enumerate().map(send_on).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("a sender does not panic"))
            .sum()
    })
}

fn ask(socket: &Socket, task: &Task) -> Result<Measured> {
    let mut trips = Trips::new(task);
    loop {
        if let Some(pause) = task.pause() {
            std::thread::sleep(pause);
        }
        let Some(body) = trips.ask() else {
            return Ok(trips.measured());
        };
        socket.send(Message::from(body)).map_err(|(_, why)| why)?;
        trips.answered(&socket.recv()?);
    }
}

fn answer(socket: &Socket, task: &Task) -> Result<Sink> {
    let mut sink = Sink::new(task, 1);
    loop {
        let message = socket.recv()?;
        let is_over = sink.take(&message);
        socket.send(message).map_err(|(_, why)| why)?;
        if is_over {
            return Ok(sink);
        }
    }
}
