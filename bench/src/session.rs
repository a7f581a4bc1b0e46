//! A child's talk with the process that started it: lines on its standard input and output.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use async_channel::Receiver;

use crate::task::{Measured, Task, Transport};
use crate::usage::{self, Usage};

pub const LISTENING: &str = "listening";
pub const READY: &str = "ready";
pub const DONE: &str = "done";
pub const RESULT: &str = "result ";
pub const GO: &str = "go";
pub const STOP: &str = "stop";

/// What a child has to do, and with whom it talks about it.
pub struct Session {
    pub task: Task,
    addresses: Vec<String>,
    orders: Receiver<String>,
    /// In bytes, once it was looked at.
    resident_before: AtomicU64,
}

/// When a child was told to go, and what it had used by then.
#[derive(Clone, Copy)]
pub struct Started {
    pub at: Instant,
    usage: Usage,
}

impl Session {
    /// The child ends with its parent, and in any case when `limit` has passed.
    pub fn start(task: Task, addresses: Vec<String>, limit: Duration) -> Session {
        usage::raise_descriptor_limit();
        let (orders_in, orders) = async_channel::unbounded();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if orders_in.send_blocking(line).is_err() {
                    return;
                }
            }
            std::process::exit(0); // nobody is there to be told anything
        });
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            std::process::exit(3);
        });
        Session {
            task,
            addresses,
            orders,
            resident_before: AtomicU64::new(0),
        }
    }

    /// An address as the system's calls want it: a host with its port, or a path.
    pub fn address(&self, index: usize) -> &str {
        &self.addresses[index]
    }

    /// An address with the scheme of its transport before it.
    pub fn url(&self, index: usize, tcp: &str, uds: &str) -> String {
        let scheme = match self.task.transport {
            Transport::Tcp => tcp,
            Transport::Uds => uds,
            Transport::Tls => "tls://",
        };
        format!("{scheme}{}", self.addresses[index])
    }

    /// As ZeroMQ and its kin write addresses.
    pub fn endpoint(&self, index: usize) -> String {
        self.url(index, "tcp://", "ipc://")
    }

    pub fn listening(&self) {
        say(LISTENING);
    }

    /// Says that everything is connected, and waits for the word to go.
    pub fn ready(&self) -> Result<Started> {
        say(READY);
        self.await_order(GO)?;
        Ok(Started {
            at: Instant::now(),
            usage: Usage::now(),
        })
    }

    /// As [`ready`](Session::ready), in a task.
    pub async fn ready_async(&self) -> Result<Started> {
        say(READY);
        self.await_order_async(GO).await?;
        Ok(Started {
            at: Instant::now(),
            usage: Usage::now(),
        })
    }

    /// Says that the work is done, and stays until the other side has done its own. What the process
    /// used until then is counted, if it was `started`; a receiver counts that itself.
    pub fn finish(&self, measured: Measured, started: Option<Started>) -> Result<()> {
        say(DONE);
        self.await_order(STOP)?;
        report(measured, started)
    }

    /// As [`finish`](Session::finish), in a task.
    pub async fn finish_async(&self, measured: Measured, started: Option<Started>) -> Result<()> {
        say(DONE);
        self.await_order_async(STOP).await?;
        report(measured, started)
    }

    /// Notes the memory that is there before idle connections are.
    pub fn before_idle(&self) {
        self.resident_before
            .store(usage::resident_bytes().unwrap_or(0), Ordering::Relaxed);
    }

    /// The resident bytes of each idle connection, once all are there: which is looked at, as libraries
    /// may say that they have connected what they have not.
    pub fn resident_each(&self) -> Result<Option<f64>> {
        let channels = self.task.channels;
        let open = usage::open_descriptors();
        ensure!(
            open.is_none_or(|open| open >= channels),
            "{channels} connections were asked for, and {} descriptors are open",
            open.unwrap_or(0)
        );
        let before = self.resident_before.load(Ordering::Relaxed);
        let grown = usage::resident_bytes().map(|now| now.saturating_sub(before) as f64);
        Ok(grown
            .filter(|_| channels > 0)
            .map(|grown| grown / channels as f64))
    }

    fn await_order(&self, wanted: &str) -> Result<()> {
        expect(
            wanted,
            &self.orders.recv_blocking().context("the parent is gone")?,
        )
    }

    async fn await_order_async(&self, wanted: &str) -> Result<()> {
        expect(
            wanted,
            &self.orders.recv().await.context("the parent is gone")?,
        )
    }
}

fn expect(wanted: &str, order: &str) -> Result<()> {
    if order == wanted {
        Ok(())
    } else {
        Err(anyhow!("told to {order}, not to {wanted}"))
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Without a parent there is nothing left to do, which the thread that reads its orders sees.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The last word. Libraries are not given time to take themselves down: that is not measured.
fn report(mut measured: Measured, started: Option<Started>) -> Result<()> {
    if let Some(started) = started {
        (Usage::now() - started.usage).write_to(&mut measured);
    }
    say(&format!("{RESULT}{}", serde_json::to_string(&measured)?));
    std::process::exit(0)
}
