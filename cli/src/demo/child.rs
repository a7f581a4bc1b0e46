//! The second process of the demo, as the first sees it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ampe::{Address, ChannelGroup, Event};

use super::receiver::transports;
use crate::error::Failure;
use crate::output;
use crate::session::Session;

/// How long the child may take to clean up before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running receiver. Dropped, it is ended and waited for.
pub(super) struct Child {
    process: process::Child,
    stdout: Option<process::ChildStdout>,
}

impl Child {
    pub(super) fn start(directory: &Path, timeout: Duration) -> Result<Child, Failure> {
        Child::start_with(directory, timeout, &[])
    }

    /// One that answers so many numbered Requests.
    pub(super) fn start_ledger(
        directory: &Path,
        timeout: Duration,
        numbers: usize,
    ) -> Result<Child, Failure> {
        Child::start_with(directory, timeout, &["--ledger", &numbers.to_string()])
    }

    fn start_with(directory: &Path, timeout: Duration, more: &[&str]) -> Result<Child, Failure> {
        let failure = |error: std::io::Error| {
            Failure::new(format!(
                "cannot start a second process: {error}: close other programs"
            ))
        };
        let executable = std::env::current_exe().map_err(failure)?;
        let mut process = Command::new(executable)
            .arg("demo-receiver")
            .arg(directory)
            .args(["--timeout", &timeout.as_secs_f64().to_string()])
            .args(more)
            // It holds nothing but our end of the pipe: when we end, however that comes, so does it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failure)?;
        let stdout = process.stdout.take();
        Ok(Child { process, stdout })
    }

    /// Where a child listens that has one address only.
    pub(super) fn one_address(
        &mut self,
        session: &mut Session,
        timeout: Duration,
    ) -> Result<Address, Failure> {
        let address = self.addresses_of(1, session, timeout)?.pop();
        address.ok_or_else(|| Failure::new("the second process has no address: run it again"))
    }

    /// Kills it, so that it can do nothing about that.
    pub(super) fn kill(&mut self) {
        // One that has ended by itself shows by the end of its connection.
        let _ = self.process.kill();
    }

    /// Where the child listens, one address for each transport. Waits for it to say so.
    pub(super) fn addresses(
        &mut self,
        session: &mut Session,
        timeout: Duration,
    ) -> Result<Vec<Address>, Failure> {
        self.addresses_of(transports(), session, timeout)
    }

    fn addresses_of(
        &mut self,
        count: usize,
        session: &mut Session,
        timeout: Duration,
    ) -> Result<Vec<Address>, Failure> {
        let Some(stdout) = self.stdout.take() else {
            return Ok(Vec::new()); // they were asked for before
        };
        // The lines come through the inbox, so that an interruption is seen meanwhile.
        let group = session.group().clone();
        let reader = thread::Builder::new().spawn(move || pass_lines(stdout, &group));
        reader.map_err(|error| {
            Failure::new(format!(
                "cannot start a thread: {error}: close other programs"
            ))
        })?;
        let deadline = Instant::now() + timeout;
        let mut addresses = Vec::new();
        while addresses.len() < count {
            match session.next(Some(deadline))? {
                // The end of a child's before this one.
                Some(Event::Notified(line)) if line.body().is_empty() && self.is_alive() => {}
                Some(Event::Notified(line)) => addresses.push(self.address(line.body())?),
                Some(_) => {}
                None => {
                    return Err(Failure::new(format!(
                        "the second process said nothing for {} s: wait longer with --timeout",
                        timeout.as_secs_f64()
                    )));
                }
            }
        }
        Ok(addresses)
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn address(&mut self, line: &[u8]) -> Result<Address, Failure> {
        let line = String::from_utf8_lossy(line);
        line.parse().map_err(|_| {
            let status = self.process.try_wait().ok().flatten();
            let status = status.map_or(String::new(), |status| format!(" ({status})"));
            Failure::new(format!(
                "the second process ended early{status}: run the demo again"
            ))
        })
    }

    /// Returns whether it had to be killed.
    fn end(&mut self) -> std::io::Result<bool> {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.process.kill()?;
                self.process.wait()?;
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(false)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // What can fail is waiting for a process that is gone.
        if let Ok(true) = self.end() {
            output::note("the second process did not end by itself and was killed");
        }
    }
}

/// Notifies the group of each line, and of the end by an empty one.
fn pass_lines(stdout: process::ChildStdout, group: &ChannelGroup) {
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    loop {
        let line = lines.next();
        let message = group
            .message()
            .with_body(line.as_deref().unwrap_or("").as_bytes());
        if let Ok(message) = message {
            // Refused once the demo is over.
            let _ = group.notify(message);
        }
        if line.is_none() {
            return;
        }
    }
}
