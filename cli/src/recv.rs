//! `ampe recv`.

use std::path::Path;
use std::time::{Duration, Instant};

use ampe::Address;
use serde_json::json;

use crate::args::Recv;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;
use crate::transfer::connection::Report;
use crate::transfer::directory::{Directory, Policy};
use crate::transfer::receiver::{Happening, Receiver};

/// How long a silent sender is waited for, if nothing else was asked for.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the last answers may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Recv) -> Result<(), Failure> {
    let result = receive(arguments);
    if let (true, Err(Failure::Failed(why))) = (arguments.json, &result) {
        // It concerns no file, and nobody who sends.
        output::json(&json!({ "event": "failed", "error": why }))?;
    }
    result
}

fn receive(arguments: &Recv) -> Result<(), Failure> {
    check_reach(arguments)?;
    let policy = Policy {
        overwrite: arguments.overwrite,
        sync: arguments.sync,
    };
    let directory = Directory::open(&arguments.out, policy)?;
    let silence = arguments.timeout.unwrap_or(SILENCE);
    let session = Session::start(crate::transfer::options(silence))?;
    let progress = Progress::new(arguments.quiet);
    let mut receiver = Receiver::new(session, directory, progress.clone(), silence);
    if arguments.once {
        receiver = receiver.once();
    }
    receiver.listen(&arguments.listen)?;
    let served = serve(&mut receiver, arguments, &progress);
    receiver.end(FAREWELL);
    served
}

fn check_reach(arguments: &Recv) -> Result<(), Failure> {
    if arguments.anyone || arguments.listen.is_loopback() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} can be reached from other machines, and nothing authenticates a sender: listen on \
         127.0.0.1, or add --anyone to let anyone send",
        output::shown(&arguments.listen)
    )))
}

fn serve(receiver: &mut Receiver, arguments: &Recv, progress: &Progress) -> Result<(), Failure> {
    let patience = arguments.timeout.filter(|_| arguments.once);
    let given_up = patience.map(|patience| Instant::now() + patience);
    loop {
        match receiver.next(given_up)? {
            Happening::Listening(address) => tell_address(&address, arguments, progress)?,
            Happening::Report(Report::Ended { is_good, .. }) if arguments.once => {
                return if is_good { Ok(()) } else { Err(Failure::Told) };
            }
            Happening::Report(report) => tell(&report, arguments, progress)?,
            Happening::Woken => {} // a report waits
            Happening::NobodyCame => {
                return Err(Failure::new(format!(
                    "no sender came to {}: start one, or wait longer with --timeout",
                    output::shown(&arguments.listen)
                )));
            }
        }
    }
}

fn tell_address(address: &Address, arguments: &Recv, progress: &Progress) -> Result<(), Failure> {
    let (to, is_whole) = reachable(address);
    let paste = format!("ampe send --to {} FILE", quoted(&to));
    if arguments.json {
        return output::json(&json!({
            "event": "listening",
            "address": address.to_string(),
            "paste": paste,
        }));
    }
    if !is_whole {
        progress.note("put the name or address of this machine in place of THIS-MACHINE");
    }
    progress.line(paste)
}

/// The address that another process can connect to, and whether that is all of it.
fn reachable(address: &Address) -> (String, bool) {
    match (address, address.socket_addr()) {
        (_, Some(socket)) if socket.ip().is_unspecified() => {
            (format!("tcp://THIS-MACHINE:{}", socket.port()), false)
        }
        // The other side may run in another directory.
        (Address::Uds(path), _) => match std::path::absolute(path.as_path()) {
            Ok(absolute) => (format!("uds://{}", absolute.display()), true),
            Err(_) => (address.to_string(), true),
        },
        _ => (address.to_string(), true),
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@%+,=".contains(char);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn tell(report: &Report, arguments: &Recv, progress: &Progress) -> Result<(), Failure> {
    match report {
        Report::Stored(stored) if arguments.json => output::json(&json!({
            "event": "received",
            "path": stored.path.to_string_lossy(),
            "bytes": stored.bytes,
            "seconds": stored.seconds,
            "sha256": stored.sha256.to_string(),
            "peer": stored.peer,
        })),
        Report::Stored(stored) => {
            progress.line(checksum_line(&stored.sha256.to_string(), &stored.path))?;
            let rate = output::megabytes_per_second(stored.bytes, stored.seconds);
            progress.note(&format!(
                "received {} from {}: {} in {:.3} s, {rate:.0} MB/s",
                output::shown(stored.path.display()),
                stored.peer,
                output::bytes(stored.bytes),
                stored.seconds,
            ));
            Ok(())
        }
        Report::Failed {
            peer,
            name,
            why,
            came,
            account,
        } => {
            let what = match name {
                Some(name) => format!("{name} from {peer}"),
                None => peer.clone(),
            };
            progress.note(&format!("{what}: {why}"));
            if arguments.json {
                output::json(&json!({
                    "event": "failed",
                    "peer": peer,
                    "name": name,
                    "received": came.map(|came| came.received),
                    "bytes": came.map(|came| came.size),
                    "error": why,
                    "account": account.map(output::account),
                }))?;
            }
            Ok(())
        }
        Report::Ended { .. } => Ok(()),
    }
}

/// A line as `sha256sum` prints it, byte for byte, for its `--check` to read. Where it would end
/// early or read otherwise, a backslash in front says that the path is escaped.
#[cfg(unix)]
fn checksum_line(sha256: &str, path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'\\' => escaped.extend(br"\\"),
            b'\n' => escaped.extend(br"\n"),
            b'\r' => escaped.extend(br"\r"),
            _ => escaped.push(byte),
        }
    }
    let is_escaped = escaped.len() > path.as_os_str().len();
    let mark = if is_escaped { "\\" } else { "" };
    [mark.as_bytes(), sha256.as_bytes(), b"  ", &escaped].concat()
}

/// No path holds line ends here, and backslashes separate its parts: without a mark in front they
/// are read as they are.
#[cfg(not(unix))]
fn checksum_line(sha256: &str, path: &Path) -> String {
    format!("{sha256}  {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pasted_is_one_word() {
        assert_eq!(quoted("tcp://127.0.0.1:80"), "tcp://127.0.0.1:80");
        assert_eq!(quoted("uds:///a b"), "'uds:///a b'");
        assert_eq!(quoted("uds:///it's"), r"'uds:///it'\''s'");
        assert_eq!(quoted("tcp://[::1]:80"), "'tcp://[::1]:80'");
    }

    #[test]
    fn a_line_of_a_checksum_stays_one_line() {
        let line = |path: &str| {
            String::from_utf8_lossy(checksum_line("0a", path.as_ref()).as_ref()).into_owned()
        };
        assert_eq!(line("out/it's a file"), "0a  out/it's a file");
        if cfg!(unix) {
            assert_eq!(line("two\nlines/file"), r"\0a  two\nlines/file");
            assert_eq!(line("a\rb\\n/file"), r"\0a  a\rb\\n/file");
        } else {
            assert_eq!(line(r"C:\new\file"), r"0a  C:\new\file");
        }
    }

    #[test]
    fn any_interface_is_no_address_to_connect_to() {
        let (address, is_whole) = reachable(&"tcp://0.0.0.0:7099".parse().unwrap());
        assert_eq!(
            (address.as_str(), is_whole),
            ("tcp://THIS-MACHINE:7099", false)
        );
    }
}
