//! `ampe proxy`: passes connections on, and shows what passes.

mod capture;
mod socket;
mod trace;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ampe::Address;
use socket2::Socket;

use crate::advice;
use crate::args::{Proxy, SecureListening};
use crate::error::Failure;
use crate::interrupt;
use crate::listen::Place;
use crate::output;
use crate::ready::Ready;
use capture::{Capture, Conversation};
use socket::{Listener, shutdown};
use trace::{Direction, Trace};

/// How soon an interruption is noticed.
const INTERRUPTION: Duration = Duration::from_millis(50);

/// How long it is waited when no connection can be accepted, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections have in common.
#[derive(Clone)]
struct Common {
    to: Address,
    is_traced: bool,
    json: bool,
    capture: Option<Arc<Mutex<Capture>>>,
    failed: mpsc::Sender<Failure>,
}

pub(crate) fn run(arguments: &Proxy) -> Result<(), Failure> {
    if arguments.listen.is_tls() || arguments.to.is_tls() {
        let said = "a proxy passes on what it can read: give it addresses tcp:// or uds://";
        return Err(Failure::Usage(said.to_owned()));
    }
    crate::reply::check_reach(
        &[Place::Address(arguments.listen.clone())],
        arguments.anyone,
        &SecureListening::default(),
    )?;
    let capture = match &arguments.pcap {
        Some(path) => Some(Capture::create(path).map_err(|error| {
            let shown = output::shown(path.display());
            Failure::new(format!(
                "cannot write {shown}: {error}: choose another --pcap"
            ))
        })?),
        None => None,
    };
    let (listener, bound) = Listener::bind(&arguments.listen).map_err(|error| {
        let shown = output::shown(&arguments.listen);
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "end the program that uses it, or remove what it left",
            _ => "choose another address",
        };
        Failure::new(format!("cannot listen on {shown}: {error}: {advice}"))
    })?;
    let path = listener.path.clone();
    let (failed, failures) = mpsc::channel();
    let common = Common {
        to: arguments.to.clone(),
        is_traced: arguments.trace || arguments.json,
        json: arguments.json,
        capture: capture.map(|capture| Arc::new(Mutex::new(capture))),
        failed,
    };
    let mut ready = Ready::new(arguments.ready_file.as_deref(), 1);
    crate::listeners::tell(&bound, arguments.json)?;
    ready.tell(&bound)?;
    spawn(move || accept(&listener, &common))?;
    let ended = wait(&failures);
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
    ended
}

/// Waits for an interruption, or a failure that concerns all connections.
fn wait(failures: &mpsc::Receiver<Failure>) -> Result<(), Failure> {
    loop {
        interrupt::check()?;
        match failures.recv_timeout(INTERRUPTION) {
            Ok(failure) => return Err(failure),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = thread::Builder::new().name("ampe-proxy".to_owned());
    let spawned = thread.spawn(work).map(drop);
    spawned.map_err(|error| crate::aside::no_thread(&error))
}

fn accept(listener: &Listener, common: &Common) {
    let mut number = 0;
    loop {
        match listener.accept() {
            Ok((client, peer)) => {
                number += 1;
                let of = common.clone();
                // What cannot be served is closed.
                if let Err(failure) = spawn(move || serve(client, peer, number, &of)) {
                    output::note(&failure.to_string());
                }
            }
            Err(error) => {
                let advice = advice::of_limit(&error).unwrap_or("it is tried again");
                output::note(&format!("cannot accept a connection: {error}: {advice}"));
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// Passes one connection on, until both directions have ended.
fn serve(client: Socket, peer: Option<SocketAddr>, number: u64, common: &Common) {
    let server = socket::connect(&common.to).and_then(|server| {
        let (client_twin, server_twin) = (client.try_clone()?, server.try_clone()?);
        Ok((server, client_twin, server_twin))
    });
    let (server, client_twin, server_twin) = match server {
        Ok(streams) => streams,
        Err(error) => {
            let to = output::shown(&common.to);
            output::note(&format!(
                "#{number}: cannot connect to {to}: {error}: it is closed"
            ));
            return;
        }
    };
    let conversation = Conversation::new(number, v4(peer));
    let conversation = Arc::new(Mutex::new(conversation));
    let way = |from, to, direction| Way {
        from,
        to,
        direction,
        trace: Trace::new(number, direction, common.json),
        conversation: Arc::clone(&conversation),
        common: common.clone(),
    };
    let there = way(client, server, Direction::There);
    let back = way(server_twin, client_twin, Direction::Back);
    there.capture(Capture::begin);
    match spawn(move || back.run()) {
        Ok(()) => there.run(),
        Err(failure) => output::note(&failure.to_string()),
    }
}

fn v4(address: Option<SocketAddr>) -> Option<SocketAddrV4> {
    match address {
        Some(SocketAddr::V4(address)) => Some(address),
        _ => None,
    }
}

/// One direction of a connection. What is read is passed on before more is read, so that the one who
/// sends is held back by the one who does not read.
struct Way {
    from: Socket,
    to: Socket,
    direction: Direction,
    trace: Trace,
    conversation: Arc<Mutex<Conversation>>,
    common: Common,
}

impl Way {
    fn run(mut self) {
        let mut buffer = vec![0; 64 << 10];
        let why = loop {
            let len = match self.from.read(&mut buffer) {
                Ok(0) => {
                    shutdown(&self.to, Shutdown::Write);
                    break "ends".to_owned();
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    shutdown(&self.to, Shutdown::Both);
                    break format!("breaks: {error}");
                }
            };
            // Before anybody can answer it.
            self.note(&buffer[..len]);
            let passed = self.to.write_all(&buffer[..len]);
            if let Err(error) = passed {
                shutdown(&self.from, Shutdown::Both);
                break format!("cannot be passed on: {error}");
            }
        };
        let end = self.end();
        self.capture(|capture, of| capture.end(of, end));
        let why = format!("{why} after {} frames", self.trace.frames);
        if self.common.is_traced
            && let Err(failure) = self.trace.end(&why)
        {
            let _ = self.common.failed.send(failure);
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let end = self.end();
        self.capture(|capture, of| capture.content(of, end, bytes));
        if self.common.is_traced
            && let Err(failure) = self.trace.add(bytes)
        {
            let _ = self.common.failed.send(failure);
        }
    }

    /// Which end of the connection it comes from.
    fn end(&self) -> usize {
        usize::from(self.direction == Direction::Back)
    }

    fn capture(&self, write: impl FnOnce(&mut Capture, &mut Conversation) -> io::Result<()>) {
        let Some(capture) = &self.common.capture else {
            return;
        };
        let mut capture = capture.lock().unwrap_or_else(PoisonError::into_inner);
        let of = self.conversation.lock();
        let mut of = of.unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write(&mut capture, &mut of) {
            let said = format!("cannot write the capture: {error}: free space there");
            let _ = self.common.failed.send(Failure::new(said));
        }
    }
}
