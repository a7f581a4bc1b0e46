//! Commands that answer Requests, several at the same time.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ampe::{Channel, ChannelGroup, Message, Post, Request};

use crate::args::Reply;
use crate::aside;
use crate::content::{self, BODY_MAX, Header};
use crate::error::Failure;
use crate::output;

/// The most that a command may say, in bytes.
const OUTPUT_MAX: u64 = 64 << 20;

/// The answer to a Request of this channel, in parts.
type Done = (Channel, Vec<Post>);

/// Threads that run a command for each Request. They end with the process.
pub(super) struct Commands {
    work: mpsc::Sender<(Request, String)>,
    done: mpsc::Receiver<Done>,
}

/// What the threads have in common.
struct Shop {
    command: OsString,
    headers: Vec<Header>,
    group: ChannelGroup,
    /// Requests, and who asks.
    work: Mutex<mpsc::Receiver<(Request, String)>>,
}

impl Commands {
    pub(super) fn start(
        command: &OsStr,
        arguments: &Reply,
        group: &ChannelGroup,
    ) -> Result<Commands, Failure> {
        let (work, given) = mpsc::channel();
        let (answers, done) = mpsc::channel();
        let shop = Arc::new(Shop {
            command: command.to_owned(),
            headers: arguments.headers.clone(),
            group: group.clone(),
            work: Mutex::new(given),
        });
        for _ in 0..arguments.jobs {
            let (shop, answers) = (Arc::clone(&shop), answers.clone());
            let thread = thread::Builder::new().name("ampe-command".to_owned());
            thread
                .spawn(move || shop.run(&answers))
                .map_err(|error| aside::no_thread(&error))?;
        }
        Ok(Commands { work, done })
    }

    pub(super) fn give(&self, request: Request, peer: String) {
        // The threads end only after this sender.
        let _ = self.work.send((request, peer));
    }

    pub(super) fn take(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Shop {
    fn run(&self, answers: &mpsc::Sender<Done>) {
        loop {
            let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            let next = work.recv();
            drop(work);
            let Ok((request, peer)) = next else { return };
            let posts = self.answer(&request, &peer);
            if answers.send((request.channel(), posts)).is_err() {
                return;
            }
            // Refused where events wait already: answers are looked for after each.
            let _ = self.group.notify(self.group.message());
        }
    }

    fn answer(&self, request: &Request, peer: &str) -> Vec<Post> {
        let (body, exit) = match run(&self.command, request, peer) {
            Ok((body, status)) if status.success() => (body, None),
            Ok((body, status)) => (body, Some(code(status))),
            Err(error) => {
                output::note(&format!(
                    "the command could not be run to its end: {error}: see whether it can be started \
                     by hand"
                ));
                (Vec::new(), Some("none".to_owned()))
            }
        };
        let mut parts: Vec<&[u8]> = body.chunks(BODY_MAX).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len() - 1;
        let answer = |(at, part): (usize, &&[u8])| {
            let post = request.reply(self.message(part, exit.as_deref()));
            if at < last { post.more() } else { post }
        };
        parts.iter().enumerate().map(answer).collect()
    }

    fn message(&self, part: &[u8], exit: Option<&str>) -> Message {
        let message = content::with(self.group.message(), &self.headers);
        let mut message = message.unwrap_or_else(|_| self.group.message()); // they were checked
        if let Some(exit) = exit {
            let added = message.add_header("Exit-Code", exit);
            debug_assert!(added.is_ok(), "it is short, and has no line ends");
        }
        let set = message.set_body(part);
        debug_assert!(set.is_ok(), "parts are no longer than a body");
        message
    }
}

/// Runs the command with the Request's body as its stdin: its stdout, and how it ended.
fn run(command: &OsStr, request: &Request, peer: &str) -> io::Result<(Vec<u8>, ExitStatus)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let headers: String = request
        .text_headers()
        .into_iter()
        .map(|(name, value)| format!("{}:{}\n", text(name), text(value)))
        .collect();
    let mut child = shell(command)
        .env("AMPE_PEER", peer)
        // A byte 0 cannot be in an environment.
        .env("AMPE_HEADERS", headers.replace('\0', "\u{fffd}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut said = Vec::new();
    let read = thread::scope(|scope| {
        // Beside the reading: a pipe may hold less than either.
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A command that has heard enough closes its end.
                let _ = stdin.write_all(request.body());
            }
        });
        stdout.map_or(Ok(0), |stdout| {
            stdout.take(OUTPUT_MAX + 1).read_to_end(&mut said)
        })
    });
    let is_too_long = said.len() as u64 > OUTPUT_MAX;
    if is_too_long || read.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    read?;
    match is_too_long {
        true => Err(io::Error::other(format!(
            "it says more than {}",
            output::bytes(OUTPUT_MAX)
        ))),
        false => Ok((said, status)),
    }
}

fn shell(command: &OsStr) -> Command {
    let (shell, option) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let mut shell = Command::new(shell);
    shell.arg(option).arg(command);
    shell
}

/// As a shell says it: a signal's number is added to 128.
fn code(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return (128 + signal).to_string();
    }
    status
        .code()
        .map_or("none".to_owned(), |code| code.to_string())
}
