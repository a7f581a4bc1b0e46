//! An example as a process, for the tests of whichever crate has it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use crate::common::{PATIENCE, skip};

pub(crate) const LOCAL: &str = "tcp://127.0.0.1:0";

/// An example that runs. Dropped, it is killed.
pub(crate) struct Example {
    name: &'static str,
    pub(crate) child: Child,
    pub(crate) input: Option<ChildStdin>,
    /// Lines of both its outputs.
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the example is, beside this test's folder, if it was built.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    if path.exists() {
        return Some(path);
    }
    skip(&format!(
        "the example {name}: `cargo build --examples` makes it"
    ));
    None
}

/// Starts it, or says that it was not built.
pub(crate) fn start(name: &'static str, arguments: &[&str]) -> Option<Example> {
    let mut command = Command::new(path(name)?);
    command.args(arguments).stdin(Stdio::piped());
    Some(run(name, command))
}

pub(crate) fn run(name: &'static str, mut command: Command) -> Example {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let outputs: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for output in outputs {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    Example {
        name,
        input: child.stdin.take(),
        child,
        lines,
        seen: Vec::new(),
    }
}

impl Example {
    /// Waits for a line with `text` in it, and returns what follows that.
    pub(crate) fn line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{} does not say `{text}`: {:#?}", self.name, self.seen);
            };
            let after = line.split_once(text).map(|(_, after)| after.to_owned());
            self.seen.push(line);
            if let Some(after) = after {
                return after;
            }
        }
    }

    pub(crate) fn address(&mut self) -> String {
        self.line("listening on ")
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end. Returns how it ended, and all that it said.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("{} does not end: {:#?}", self.name, self.seen)
                }
            }
        }
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.seen))
    }

    /// As [`end`](Example::end), in good order.
    pub(crate) fn end_well(self) -> Vec<String> {
        let name = self.name;
        let (status, said) = self.end();
        assert!(status.success(), "{name}: {status}, {said:#?}");
        said
    }
}

pub(crate) fn says(said: &[String], text: &str) -> bool {
    said.iter().any(|line| line.contains(text))
}

/// Asserts that the examples in a folder are short: what is typed in from their pages has to be.
pub(crate) fn check_lengths(directory: &str) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            continue;
        }
        let lines = fs::read_to_string(entry.path()).unwrap().lines().count();
        assert!(lines < 120, "{:?} has {lines} lines", entry.file_name());
    }
}
