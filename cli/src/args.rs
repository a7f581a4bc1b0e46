//! The command line: everything that can be checked without a network is checked here.

mod allowed;
mod bench;
mod doctor;
#[cfg(feature = "tls")]
mod key;
mod secure;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use ampe::Address;
use clap::{Args, Parser, Subcommand};

use crate::content::{self, Header};
use crate::listen::Listen;
pub(crate) use allowed::Allowed;
pub(crate) use bench::Bench;
pub(crate) use doctor::Doctor;
#[cfg(feature = "tls")]
pub(crate) use key::Key;
pub(crate) use secure::{Secure, SecureListening, Secured, Security};
use values::{bytes, peer, rate, seconds};

pub(crate) use values::address;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, a line on stderr says what and what to do; 2 wrong usage or address; \
124 no answer in time; 130 interrupted.

Addresses: tcp://HOST:PORT (an IPv4 address, an IPv6 address in brackets, or a name), \
tls://HOST:PORT, which is encrypted and authenticated, \
uds:///PATH; HOST:PORT, a PORT of 127.0.0.1 alone, a path with a slash, unix:PATH and ipc:PATH are \
understood too. Of --listen also systemd:, the sockets that systemd hands to a service that a .socket unit \
starts (but not for `ampe proxy`), or systemd:NAME, those with this FileDescriptorName=.

Defaults: an option that is not given is taken from the environment (AMPE_TO, AMPE_LISTEN, AMPE_OUT, \
AMPE_LIMIT, AMPE_TIMEOUT; AMPE_KEY, of who connects to tls://) or from the file ampe/config in $XDG_CONFIG_HOME, ~/.config or %APPDATA%, \
which AMPE_CONFIG may name: lines `option = value`, those of one command below `[command]`, flags \
true or false.";

/// Send files and messages, answer them, and measure, over ampe, an asynchronous message passing engine.
///
/// Data goes to stdout, talk to stderr.
#[derive(Debug, Parser)]
#[command(name = "ampe", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Recv(Recv),
    Send(Send),
    Echo(Echo),
    Ping(Ping),
    Bench(Bench),
    Call(Call),
    Reply(Reply),
    Tell(Tell),
    Tail(Tail),
    Proxy(Proxy),
    Doctor(Doctor),
    #[cfg(feature = "tls")]
    Key(Key),
    Cheat(Cheat),
    Completions(Completions),
    #[command(name = "man")]
    Manual(Manual),
    #[command(hide = true)]
    DemoReceiver(DemoReceiver),
}

/// Move a file between two processes and measure: over TCP, then over a Unix socket.
///
/// Starts a second process of itself as receiver, sends FILE to it, verifies the copy by its
/// SHA-256, measures 2,000 round trips of 64 bytes, and prints a table. Leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe demo
  ampe demo big.iso
  ampe demo --kill
  ampe demo --json | jq .transports.tcp.rtt_us.p50")]
pub(crate) struct Demo {
    /// The file to send [default: the ampe executable]
    pub(crate) file: Option<PathBuf>,
    /// Instead, send numbered messages to a process that is killed again and again, and show what was
    /// returned, what was in doubt, and what a socket alone would have lost
    #[arg(long, conflicts_with = "file")]
    pub(crate) kill: bool,
    /// With --kill: how many messages
    #[arg(long, value_name = "N", default_value = "1000000",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000), requires = "kill")]
    pub(crate) messages: u64,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when the other process says nothing for this long
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// Receive files and directories into a directory, or one file to stdout.
///
/// Prints the command to run on the other side, then a line "SHA-256  PATH" per file received, as
/// `sha256sum --check` reads it: on Unix a line that starts with a backslash has \\, \n and \r in
/// PATH for a backslash and for line ends. A file has its name only once it is whole and verified.
/// In JSON, a name or path that is no UTF-8 has its bytes beside it, in hexadecimal, as name_hex or
/// path_hex. At the end of each connection it says what was stored, and the account.
///
/// What is broken off after 1 MiB or more is kept for a week, as a file whose name begins with
/// .ampe-partial-: a sender of the same file goes on behind it, once both have hashed it. Into a
/// directory that is here already, files are added; nothing is received through a symbolic link.
///
/// At tls:// it makes a key, if it is given neither one nor a certificate: the line to paste holds it, and who
/// does not have it is refused. A key is good until this ends; one that lasts is made by `ampe key`.
///
/// Nothing authenticates a sender but a key or --require-cert over tls://, so any other address that other
/// machines can reach is refused unless --anyone says that anyone may send.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe recv --listen tcp://127.0.0.1:0 --out received
  ampe recv --listen uds:///tmp/inbox.sock --out received --once
  ampe recv --listen tls://0.0.0.0:7099 --out received
  ampe recv --listen tls://0.0.0.0:7099 --out received --key-file own.listen
  ampe recv --listen uds:///srv/inbox.sock --out received --allow-uid 1000 --allow-uid 1001
  ampe recv --listen tcp://0.0.0.0:7099 --out received --anyone
  ampe recv --listen tls://0.0.0.0:7099 --out received --cert own.pem --cert-key own.key --ca ca.pem --require-cert
  ampe recv --listen 127.0.0.1:7099 --stdout | tar x")]
pub(crate) struct Recv {
    /// Where to listen; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", env = "AMPE_LISTEN")]
    pub(crate) listen: Listen,
    /// Write the address here, a line for each, once it listens; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// The directory to receive into; - is --stdout
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "AMPE_OUT",
        required_unless_present = "stdout"
    )]
    pub(crate) out: Option<PathBuf>,
    /// Write the content of one file to stdout as it comes, whatever --out says, and end; the line to paste goes to stderr.
    /// What was written is whole and verified only if the exit code is 0
    #[arg(long, conflicts_with_all = ["overwrite", "sync", "json"])]
    pub(crate) stdout: bool,
    /// End after one connection, with exit code 0 if all of its files were received
    #[arg(long)]
    pub(crate) once: bool,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Listen beyond this machine: anyone who can reach the address may send
    #[arg(long)]
    pub(crate) anyone: bool,
    /// Flush each file to the disk before it gets its name: slower, and survives a power failure
    #[arg(long)]
    pub(crate) sync: bool,
    /// Remove what is broken off, and what was kept of it before
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Show no progress, and say nothing of files that were received
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print one JSON document per line: listening, received, failed, and closed with the account
    #[arg(long)]
    pub(crate) json: bool,
    /// Disconnect a sender that is silent for this long [default: 60]; with --once, also give up
    /// when none came for this long [default: never]
    #[arg(long, value_name = "SECONDS", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) allowed: Allowed,
    #[command(flatten)]
    pub(crate) secure: SecureListening,
}

/// Send files and directories to `ampe recv`.
///
/// Prints a line "SHA-256  NAME" per file once the receiver has verified and stored it, as
/// `sha256sum` does. A file that cannot be sent does not stop the others. At the end it says what was
/// stored, and the account. In JSON, a name that is no UTF-8 has its bytes beside it, in hexadecimal,
/// as name_hex.
///
/// A directory is sent with all that is in it; run again, only what is not there yet. A file that was
/// broken off goes on where it ended, if neither it nor what came of it has changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe send --to tcp://127.0.0.1:7099 photo.jpg
  ampe send --to uds:///tmp/inbox.sock --quiet a.log b.log c.log
  ampe send --to 127.0.0.1:7099 --as aux-driver.c aux.c
  ampe send --to [::1]:7099 backup.tar --timeout 300
  ampe send --to tls://example.org:7099 --key-file key photo.jpg
  ampe send --to 127.0.0.1:7099 --preserve --exclude '*.o' --limit 5MB project
  tar c project | ampe send --to 127.0.0.1:7099 --as project.tar -")]
pub(crate) struct Send {
    /// The address that `ampe recv` printed
    #[arg(long, value_name = "ADDR", env = "AMPE_TO", value_parser = peer)]
    pub(crate) to: Address,
    /// The files and directories to send, under their own names; - is stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Send the one FILE under this name, which stdin needs
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<OsString>,
    /// Send the symbolic links in directories, as links; those that lead out of their directory are
    /// refused. Without this, links are left out and told
    #[arg(long)]
    pub(crate) links: bool,
    /// Give copies the permissions, without set-user-ID and the like, and the times of the originals
    #[arg(long)]
    pub(crate) preserve: bool,
    /// Leave out what matches in directories, by its name or its path below FILE, one or several times:
    /// '*.o', 'target', 'docs/**'
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Send so many bytes a second at most, as 500kB or 2MiB
    #[arg(long, value_name = "RATE", env = "AMPE_LIMIT", value_parser = rate)]
    pub(crate) limit: Option<u64>,
    /// Show no progress, and say nothing of files that were sent
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print one JSON document, also if the transfer fails
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when connecting takes this long, or nothing moves for this long
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) secure: Secure,
}

/// Send back what comes: every message with the id, headers, body and `more` that it came with.
///
/// Answers HelloRequest with HelloResponse, Request with Response, Signal with Signal, and
/// ByeRequest with ByeResponse. Prints the address of each listener at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe echo --listen tcp://127.0.0.1:0
  ampe echo --listen tcp://127.0.0.1:7099 --listen uds:///tmp/echo.sock --budget 1MiB")]
pub(crate) struct Echo {
    /// Where to listen, one or several times; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", env = "AMPE_LISTEN", required = true)]
    pub(crate) listen: Vec<Listen>,
    /// Write the address here, a line for each, once it listens; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Memory for messages received and not yet echoed, as 4194304 or 4MiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes)]
    pub(crate) budget: usize,
    /// Print one JSON document per line: listening, and the totals at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// End when nothing came for this long [default: never]
    #[arg(long, value_name = "SECONDS", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) allowed: Allowed,
    #[command(flatten)]
    pub(crate) secure: SecureListening,
}

/// Measure round trips to `ampe echo`, in microseconds.
///
/// Interrupted, it says what it measured until then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe ping --to tcp://127.0.0.1:7099
  ampe ping --to uds:///tmp/echo.sock --count 100000 --size 1024 --json")]
pub(crate) struct Ping {
    /// The address that `ampe echo` printed
    #[arg(long, value_name = "ADDR", env = "AMPE_TO", value_parser = peer)]
    pub(crate) to: Address,
    /// How many round trips, one after the other
    #[arg(long, value_name = "N", default_value = "1000",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Wait this long between two round trips [default: not at all]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) interval: Option<Duration>,
    /// Bytes in each message, at most 65535
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(crate) size: u16,
    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when connecting, or a response, takes this long
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) secure: Secure,
}

/// Send a Request and print the body of its Response.
///
/// On stderr it says how long the answer took, and the account of the connection: what was posted,
/// sent, returned and confirmed. Without an answer in time it exits with 124 and says whether the
/// Request was returned, so that it may be sent again, or sent, so that it may have been served.
///
/// BODY is a text, @FILE for what a file holds, or - for all of stdin; without it the body is empty.
/// A body has 65,535 bytes at most. An answer in several parts is printed part by part.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe call --to 127.0.0.1:7099 hello
  ampe call --to uds:///tmp/service.sock -H Job-Ticket:JDF @ticket.xml > answer.xml
  seq 1000 | ampe call --to 127.0.0.1:7099 --lines
  ampe call --to 127.0.0.1:7099 --json hello | jq -r 'select(.event==\"answer\").body'")]
pub(crate) struct Call {
    /// Whom to ask
    #[arg(long, value_name = "ADDR", env = "AMPE_TO", value_parser = peer)]
    pub(crate) to: Address,
    /// The body of the Request
    pub(crate) body: Option<OsString>,
    /// A text header of each Request, one or several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE", value_parser = content::header)]
    pub(crate) headers: Vec<Header>,
    /// A text header of the HelloRequest, one or several times
    #[arg(long, value_name = "NAME:VALUE", value_parser = content::header)]
    pub(crate) hello: Vec<Header>,
    /// Ask this many times, each when the answer before has come
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Ask once for each line of stdin, without waiting for the answer before; the answers are
    /// printed, a line each, as they come
    #[arg(long)]
    pub(crate) lines: bool,
    /// Print the answers only
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print one JSON document per line: each answer, and the account at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when an answer takes this long, connecting included
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) secure: Secure,
}

/// Answer Requests: with a text, or with what a command makes of them.
///
/// Prints the address of each listener at once. Greets everybody, and ignores Signals. At the end it
/// says how many it answered.
///
/// With --command each Request starts CMD in a shell: the body is its stdin, its stdout the body of
/// the Response, in parts if it is longer than 65,535 bytes. AMPE_PEER is the peer's address, and
/// AMPE_HEADERS the Request's text headers, a line each. If it fails, the Response has the header
/// Exit-Code.
///
/// Nothing authenticates who asks but a key or --require-cert over tls://, so any other address that other
/// machines can reach is refused unless --anyone says that anyone may ask.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe reply --listen 127.0.0.1:7099 --body pong
  ampe reply --listen uds:///tmp/service.sock --command 'jq .name'
  ampe reply --listen 127.0.0.1:0 --command 'sort' -H Content-Type:text/plain
  ampe reply --listen tls://0.0.0.0:7099 --keyed --body pong")]
pub(crate) struct Reply {
    /// Where to listen, one or several times; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", env = "AMPE_LISTEN", required = true)]
    pub(crate) listen: Vec<Listen>,
    /// Write the address here, a line for each, once it listens; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// The body of each Response: a text, or @FILE for what a file holds
    #[arg(long, value_name = "BODY", required_unless_present = "command")]
    pub(crate) body: Option<OsString>,
    /// A command for the shell, run for each Request
    #[arg(long, value_name = "CMD", conflicts_with = "body")]
    pub(crate) command: Option<OsString>,
    /// Run this many commands at the same time
    #[arg(long, value_name = "N", default_value = "8",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) jobs: u16,
    /// A text header of each Response, one or several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE", value_parser = content::header)]
    pub(crate) headers: Vec<Header>,
    /// Listen beyond this machine: anyone who can reach the address may ask
    #[arg(long)]
    pub(crate) anyone: bool,
    /// Print one JSON document per line: listening, and the totals at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// End when nothing came for this long [default: never]
    #[arg(long, value_name = "SECONDS", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) allowed: Allowed,
    #[command(flatten)]
    pub(crate) secure: SecureListening,
}

/// Send Signals, which have no answer: each line of stdin, or one body.
///
/// Ends with a goodbye, which the other side answers when it has received everything, and says what
/// was confirmed by it. BODY is a text, @FILE for what a file holds, or - for all of stdin.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe tell --to 127.0.0.1:7099 'the door is open'
  tail -f app.log | ampe tell --to uds:///tmp/log.sock --timeout 60
  ampe tell --to 127.0.0.1:7099 -H Kind:reading --json @reading.bin")]
pub(crate) struct Tell {
    /// Whom to tell
    #[arg(long, value_name = "ADDR", env = "AMPE_TO", value_parser = peer)]
    pub(crate) to: Address,
    /// The body of one Signal [default: a Signal for each line of stdin]
    pub(crate) body: Option<OsString>,
    /// A text header of each Signal, one or several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE", value_parser = content::header)]
    pub(crate) headers: Vec<Header>,
    /// A text header of the HelloRequest, one or several times
    #[arg(long, value_name = "NAME:VALUE", value_parser = content::header)]
    pub(crate) hello: Vec<Header>,
    /// Say nothing if all goes well
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print one JSON document at the end: the account
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when connecting, or the goodbye, takes this long
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) secure: Secure,
}

/// Print every message that comes, a line each.
///
/// A line has the time of day in UTC, the peer, what kind of message it is, its id, its text headers, and
/// its body: its length, and what can be read of its beginning. Requests and goodbyes are answered, with
/// nothing in it. Prints the address of each listener at once, and the account of each connection at
/// its end.
///
/// Nothing authenticates who sends but a key or --require-cert over tls://, so any other address that other
/// machines can reach is refused unless --anyone says that anyone may.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe tail --listen 127.0.0.1:7099
  ampe tail --listen uds:///tmp/log.sock --json | jq -r 'select(.op==\"Signal\").body'")]
pub(crate) struct Tail {
    /// Where to listen, one or several times; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", env = "AMPE_LISTEN", required = true)]
    pub(crate) listen: Vec<Listen>,
    /// Write the address here, a line for each, once it listens; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Listen beyond this machine: anyone who can reach the address may send
    #[arg(long)]
    pub(crate) anyone: bool,
    /// Print one JSON document per line, with the whole body
    #[arg(long)]
    pub(crate) json: bool,
    /// End when nothing came for this long [default: never]
    #[arg(long, value_name = "SECONDS", env = "AMPE_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) allowed: Allowed,
    #[command(flatten)]
    pub(crate) secure: SecureListening,
}

/// Pass connections on to another address, and show every frame that passes.
///
/// A line has the time of day in UTC, the connection's number, > for what comes from who connected and < for
/// what goes back, what kind of message it is, its id, its text headers, and its body: its length, and
/// what can be read of its beginning. Bytes are passed on as they are, no faster than the other side
/// reads; what is no frame passes unseen.
///
/// Nothing authenticates who connects, so an address that other machines can reach is refused unless
/// --anyone says that anyone may.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe proxy --listen 127.0.0.1:7098 --to 127.0.0.1:7099 --trace
  ampe proxy --listen uds:///tmp/p.sock --to uds:///tmp/s.sock --json | jq -c '[.op, .bytes]'
  ampe proxy --listen 127.0.0.1:7098 --to 127.0.0.1:7099 --pcap frames.pcap")]
pub(crate) struct Proxy {
    /// Where to listen; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", env = "AMPE_LISTEN", value_parser = address)]
    pub(crate) listen: Address,
    /// Where to pass connections on to
    #[arg(long, value_name = "ADDR", env = "AMPE_TO", value_parser = peer)]
    pub(crate) to: Address,
    /// Print every frame, a line each
    #[arg(long)]
    pub(crate) trace: bool,
    /// Print every frame as a JSON document, one per line, with the whole body
    #[arg(long)]
    pub(crate) json: bool,
    /// Write what passes into this file, for Wireshark and its dissector wireshark/ampe.lua
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// Listen beyond this machine: anyone who can reach the address may connect
    #[arg(long)]
    pub(crate) anyone: bool,
    /// Write the address here, a line for each, once it listens; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Print what to type for what: the topics, or what there is about one.
#[derive(Debug, Args)]
pub(crate) struct Cheat {
    /// files, messages, secure, services, watch or measure
    pub(crate) topic: Option<String>,
}

/// Print what a shell needs to complete this command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe completions bash > ~/.local/share/bash-completion/completions/ampe
  ampe completions zsh > ~/.zfunc/_ampe")]
pub(crate) struct Completions {
    /// For which shell
    pub(crate) shell: clap_complete::Shell,
}

/// Write manual pages, for man(1): one for the command, and one for each of its own.
///
/// Prints the path of each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe man ~/.local/share/man/man1")]
pub(crate) struct Manual {
    /// The directory to write into
    pub(crate) directory: PathBuf,
}

/// The second process of `demo`. Ends when its stdin does, and removes the directory.
#[derive(Debug, Args)]
pub(crate) struct DemoReceiver {
    pub(crate) directory: PathBuf,
    #[arg(long)]
    pub(crate) ledger: Option<usize>,
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
