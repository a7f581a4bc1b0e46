//! The two processes of a measurement: started, told to go, heard, and killed when left behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::arguments::{ChildArguments, Side};
use crate::session::{DONE, GO, LISTENING, READY, RESULT, STOP};
use crate::task::{Measured, Task, Transport};

/// What both sides of a run found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub listener: Measured,
    pub connector: Measured,
}

impl Found {
    /// Processor time of both processes together for each of so many messages, in microseconds.
    pub fn processor_per(&self, messages: u64) -> f64 {
        (self.listener.processor + self.connector.processor) / messages.max(1) as f64
    }
}

/// Ports below those that systems give to outgoing connections, which thousands of idle ones use up.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % u32::from(PORTS.end - PORTS.start))?;
    for _ in PORTS {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + offset % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

fn addresses(task: &Task, directory: &Path) -> Result<Vec<String>> {
    let address = |index| match task.transport {
        Transport::Tcp | Transport::Tls => Ok(format!("127.0.0.1:{}", free_port()?)),
        Transport::Uds => Ok(directory.join(format!("{index}")).display().to_string()),
    };
    (0..task.addresses()).map(address).collect()
}

enum Heard {
    Line(String),
    /// Its output has ended, and so has it, or will.
    End,
}

/// A child of this program, killed if it is left behind.
struct Process {
    child: Child,
    orders: ChildStdin,
    complaints: Option<JoinHandle<String>>,
}

impl Process {
    fn start(
        side: Side,
        contestant: &str,
        task: &Task,
        addresses: &[String],
        limit: Duration,
        wrapper: &[String],
        heard: Sender<(Side, Heard)>,
    ) -> Result<Process> {
        let program = std::env::current_exe().context("this program has no path")?;
        let child = ChildArguments {
            side,
            contestant: contestant.to_owned(),
            task: serde_json::to_string(task)?,
            addresses: addresses.to_vec(),
            // By itself it ends somewhat later than it is killed.
            limit: limit.as_secs_f64() + 5.0,
        };
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.arg("child").args(child.to_arguments());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("a child cannot be started")?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(orders), Some(out), Some(mut err)) = streams else {
            bail!("a child has no pipes");
        };
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if heard.send((side, Heard::Line(line))).is_err() {
                    return;
                }
            }
            let _ = heard.send((side, Heard::End));
        });
        let complaints = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = err.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Process {
            child,
            orders,
            complaints: Some(complaints),
        })
    }

    fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}").context("a child takes no orders")
    }

    /// Kills it and says what it wrote to its standard error, in short.
    fn last_words(&mut self) -> String {
        self.kill();
        let text = self
            .complaints
            .take()
            .and_then(|it| it.join().ok())
            .unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("note: "))
            .collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A run in the making.
struct Pair {
    listener: Process,
    connector: Option<Process>,
    heard: Receiver<(Side, Heard)>,
    deadline: Instant,
}

impl Pair {
    fn next(&mut self) -> Result<(Side, String)> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.heard.recv_timeout(left) {
            Ok((side, Heard::Line(line))) => Ok((side, line)),
            Ok((side, Heard::End)) => {
                let words = self.process(side)?.last_words();
                Err(anyhow!("the side that {side}s ended early: {words}"))
            }
            Err(RecvTimeoutError::Timeout) => {
                let words = self.listener.last_words();
                let more = self
                    .connector
                    .as_mut()
                    .map(Process::last_words)
                    .unwrap_or_default();
                Err(anyhow!("not done within the time limit {words} {more}").context("timed out"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("both sides are gone")),
        }
    }

    /// Gives what wraps the sides time to write down what it counted.
    fn await_ends(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        for process in [Some(&mut self.listener), self.connector.as_mut()]
            .into_iter()
            .flatten()
        {
            while matches!(process.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn process(&mut self, side: Side) -> Result<&mut Process> {
        match side {
            Side::Listen => Ok(&mut self.listener),
            Side::Connect => self.connector.as_mut().context("there is no connector yet"),
        }
    }

    /// Waits until `count` sides have said `word`, and returns them.
    fn await_word(&mut self, word: &str, count: usize) -> Result<Vec<Side>> {
        let mut sides = Vec::new();
        while sides.len() < count {
            let (side, line) = self.next()?;
            if line == word {
                sides.push(side);
            } else {
                bail!("the side that {side}s said {line:?} before {word:?}");
            }
        }
        Ok(sides)
    }
}

/// Measures one contestant once.
pub fn measure(contestant: &str, task: &Task, limit: Duration) -> Result<Found> {
    measure_wrapped(contestant, task, limit, &[], &[])
}

/// As [`measure`], with each side started by a program of its own, such as one that counts.
pub fn measure_wrapped(
    contestant: &str,
    task: &Task,
    limit: Duration,
    listener_wrapper: &[String],
    connector_wrapper: &[String],
) -> Result<Found> {
    let directory = tempfile::Builder::new().prefix("ampe-bench").tempdir()?;
    let addresses = addresses(task, directory.path())?;
    let (sender, heard) = channel();
    let start = |side, wrapper: &[String]| {
        Process::start(
            side,
            contestant,
            task,
            &addresses,
            limit,
            wrapper,
            sender.clone(),
        )
    };
    let listener = start(Side::Listen, listener_wrapper)?;
    let deadline = Instant::now() + limit;
    let mut pair = Pair {
        listener,
        connector: None,
        heard,
        deadline,
    };
    pair.await_word(LISTENING, 1)?;
    pair.connector = Some(start(Side::Connect, connector_wrapper)?);
    let found = run(&mut pair, task)?;
    if !listener_wrapper.is_empty() {
        pair.await_ends();
    }
    Ok(found)
}

fn run(pair: &mut Pair, task: &Task) -> Result<Found> {
    for side in pair.await_word(READY, if task.work.awaits_both() { 2 } else { 1 })? {
        pair.process(side)?.order(GO)?;
    }
    stop(
        pair,
        if task.work.has_report_of_listener() {
            2
        } else {
            1
        },
        task,
    )
}

/// Waits until all are done, and has them say what they found.
fn stop(pair: &mut Pair, reports: usize, task: &Task) -> Result<Found> {
    // The driver stops last, so that what it waits for is not cut off.
    let mut done = pair.await_word(DONE, reports)?;
    done.sort_by_key(|side| (*side == Side::Listen) == task.work.is_driven_by_listener());
    for side in &done {
        pair.process(*side)?.order(STOP)?;
    }
    let mut found = Found::default();
    for _ in done {
        // Whoever has said its result may end before the other says its own.
        let (side, line) = loop {
            match pair
                .heard
                .recv_timeout(pair.deadline.saturating_duration_since(Instant::now()))
            {
                Ok((side, Heard::Line(line))) => break (side, line),
                Ok((_, Heard::End)) => {}
                Err(_) => bail!("a side ended without a result"),
            }
        };
        let json = line
            .strip_prefix(RESULT)
            .with_context(|| format!("{line:?} is no result"))?;
        let measured = serde_json::from_str(json)?;
        match side {
            Side::Listen => found.listener = measured,
            Side::Connect => found.connector = measured,
        }
    }
    Ok(found)
}

/// Measures one that needs no peer.
pub fn measure_alone(contestant: &str, task: &Task, limit: Duration) -> Result<Found> {
    let (sender, heard) = channel();
    let listener = Process::start(Side::Listen, contestant, task, &[], limit, &[], sender)?;
    let mut pair = Pair {
        listener,
        connector: None,
        heard,
        deadline: Instant::now() + limit,
    };
    stop(&mut pair, 1, task)
}
