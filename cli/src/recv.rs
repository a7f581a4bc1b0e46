//! `ampe recv`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ampe::Address;
use serde_json::{Value, json};

use crate::args::{Recv, Secured};
use crate::checksum;
use crate::error::Failure;
use crate::listen;
use crate::output;
use crate::progress::Progress;
use crate::ready::Ready;
use crate::session::Session;
use crate::summary::{self, Row};
use crate::transfer::connection::{Came, Ended, Report, Stored, Tally, Target};
use crate::transfer::directory::{Directory, Policy};
use crate::transfer::names;
use crate::transfer::path::TreePath;
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
    let places = listen::places(std::slice::from_ref(&arguments.listen))?;
    let secure = arguments.secure.or_keyed(&places);
    listen::check_reach(&places, arguments.anyone, &secure, "a sender", "send")?;
    let target = target(arguments)?;
    let silence = arguments.timeout.unwrap_or(SILENCE);
    let allowed = arguments.allowed.listening(&places)?;
    let secured = secure.listening(&places)?;
    if arguments.json {
        // The line to paste goes where programs read, and maybe keep it.
        secured.tell();
    }
    let session = Session::start_with(crate::transfer::options(silence), secured.security())?;
    let progress = Progress::new(arguments.quiet);
    let receiver = Receiver::new(session, target, progress.clone(), silence);
    let mut receiver = receiver.listening_with(allowed);
    if arguments.once || is_stdout(arguments) {
        receiver = receiver.once(arguments.timeout);
    }
    let mut ready = Ready::new(arguments.ready_file.as_deref(), places.len());
    for place in places {
        receiver.listen(place)?;
    }
    let served = serve(&mut receiver, arguments, &secured, &progress, &mut ready);
    receiver.end(FAREWELL);
    served
}

/// Where files go: one may also be asked for at stdout by the name that other programs have for it.
fn is_stdout(arguments: &Recv) -> bool {
    arguments.stdout || arguments.out.as_deref() == Some(Path::new("-"))
}

fn target(arguments: &Recv) -> Result<Target, Failure> {
    let out = match &arguments.out {
        Some(out) if !is_stdout(arguments) => out,
        _ if arguments.json => {
            let said = "--json and the content cannot both have stdout: leave one of them out";
            return Err(Failure::Usage(said.to_owned()));
        }
        _ => return Ok(Target::Stdout(Arc::new(AtomicBool::new(false)))),
    };
    let policy = Policy {
        overwrite: arguments.overwrite,
        sync: arguments.sync,
        keep: !arguments.no_resume,
    };
    let directory = Directory::open(out, policy)?;
    for warning in directory.warnings() {
        output::note(&warning);
    }
    Ok(Target::Directory(Arc::new(directory)))
}

fn serve(
    receiver: &mut Receiver,
    arguments: &Recv,
    secured: &Secured,
    progress: &Progress,
    ready: &mut Ready,
) -> Result<(), Failure> {
    loop {
        match receiver.next()? {
            Happening::Listening(address) => {
                tell_address(&address, arguments, secured, progress)?;
                ready.tell(&address)?;
            }
            Happening::Report(Report::Ended(ended)) => {
                tell_ended(&ended, arguments)?;
                if arguments.once || is_stdout(arguments) {
                    return outcome(&ended, arguments);
                }
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

/// A receiver to stdout has to have received something.
fn outcome(ended: &Ended, arguments: &Recv) -> Result<(), Failure> {
    let has_stored = ended.tallies.values().any(|tally| tally.files > 0);
    match ended.is_good {
        true if is_stdout(arguments) && !has_stored => Err(Failure::new(
            "the sender sent no file: see what it says".to_owned(),
        )),
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// What was stored where, and the account.
fn tell_ended(ended: &Ended, arguments: &Recv) -> Result<(), Failure> {
    if arguments.json {
        return output::json(&ended_document(ended));
    }
    let has_stored = |tally: &Tally| tally.files + tally.directories + tally.links > 0;
    if arguments.quiet || !ended.tallies.values().any(has_stored) {
        return Ok(());
    }
    let rows: Vec<Row> = ended
        .tallies
        .iter()
        .map(|(name, tally)| Row {
            name: match &tally.path {
                Some(path) => output::shown(path.display()),
                None => shown(name),
            },
            files: tally.files,
            bytes: tally.bytes,
            others: tally.directories + tally.links,
            failed: tally.failed,
        })
        .collect();
    summary::tell(&rows, Some(&ended.account));
    Ok(())
}

fn ended_document(ended: &Ended) -> Value {
    let stored: Vec<Value> = ended
        .tallies
        .iter()
        .map(|(name, tally)| {
            let mut document = json!({
                "files": tally.files,
                "bytes": tally.bytes,
                "directories": tally.directories,
                "links": tally.links,
                "failed": tally.failed,
            });
            output::put(&mut document, "name", name);
            if let Some(path) = &tally.path {
                output::put(&mut document, "path", path.as_os_str().as_encoded_bytes());
            }
            document
        })
        .collect();
    json!({
        "event": "closed",
        "peer": ended.peer,
        "stored": stored,
        "account": output::account(ended.account),
    })
}

fn tell_address(
    address: &Address,
    arguments: &Recv,
    secured: &Secured,
    progress: &Progress,
) -> Result<(), Failure> {
    let (to, hint) = reachable(address);
    let command = format!("ampe send --to {}", quoted(&to));
    let paste = secured.paste(&command, " FILE", !arguments.json);
    if arguments.json {
        return output::json(&json!({
            "event": "listening",
            "address": address.to_string(),
            "paste": *paste,
        }));
    }
    if let Some(hint) = hint {
        progress.note(&hint);
    }
    if is_stdout(arguments) {
        progress.note(&paste);
        return Ok(());
    }
    progress.line(&*paste)
}

/// The address that another process can connect to, and what to mind about it.
fn reachable(address: &Address) -> (String, Option<String>) {
    match (address, address.socket_addr()) {
        (_, Some(socket)) if socket.ip().is_unspecified() => {
            let hint = "put the name or address of this machine in place of THIS-MACHINE";
            let scheme = if address.is_tls() { "tls" } else { "tcp" };
            let to = format!("{scheme}://THIS-MACHINE:{}", socket.port());
            (to, Some(hint.to_owned()))
        }
        // The other side may run in another directory.
        (Address::Uds(path), _) if path.as_path().is_relative() => {
            let absolute = std::path::absolute(path.as_path());
            match absolute.ok().and_then(|path| Address::uds(path).ok()) {
                Some(absolute) => (absolute.to_string(), None),
                None => {
                    let hint = "this address holds in this directory only, whose own path is too \
                                long for a Unix socket's";
                    (address.to_string(), Some(hint.to_owned()))
                }
            }
        }
        _ => (address.to_string(), None),
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
        Report::Stored(stored) => tell_stored(stored, arguments, progress),
        Report::Failed {
            peer,
            name,
            why,
            came,
            account,
        } => {
            let what = match name {
                Some(name) => format!("{} from {peer}", shown(name)),
                None => peer.clone(),
            };
            progress.note(&format!("{what}: {why}"));
            if !arguments.json {
                return Ok(());
            }
            let came: Option<&Came> = came.as_ref();
            let mut document = json!({
                "event": "failed",
                "peer": peer,
                "name": null,
                "received": came.map(|came| came.received),
                "bytes": came.and_then(|came| came.size),
                "error": why,
                "account": account.map(output::account),
            });
            if let Some(name) = name {
                output::put(&mut document, "name", name);
            }
            output::json(&document)
        }
        Report::Ended(_) => Ok(()),
    }
}

fn tell_stored(stored: &Stored, arguments: &Recv, progress: &Progress) -> Result<(), Failure> {
    let sha256 = stored.sha256.to_string();
    let path = stored.path.as_deref();
    if arguments.json {
        let mut document = json!({
            "event": "received",
            "bytes": stored.bytes,
            "resumed": stored.resumed,
            "seconds": stored.seconds,
            "sha256": sha256,
            "peer": stored.peer,
        });
        let path = path.unwrap_or(Path::new("-")).as_os_str();
        output::put(&mut document, "path", path.as_encoded_bytes());
        return output::json(&document);
    }
    if let Some(path) = path {
        checksum::print(progress, &sha256, path)?;
    }
    if !arguments.quiet && stored.is_alone {
        let resumed = match stored.resumed {
            0 => String::new(),
            bytes => format!(", {} of it before", output::bytes(bytes)),
        };
        progress.note(&format!(
            "received {} from {}: {}{resumed}",
            output::shown(path.unwrap_or(Path::new("-")).display()),
            stored.peer,
            output::bytes_in(stored.bytes, stored.seconds),
        ));
    }
    Ok(())
}

/// A name that came from the network, plain or not, and not at any length.
fn shown(name: &[u8]) -> String {
    const CHARS_MAX: usize = 80;
    match TreePath::from_wire(name) {
        Ok(name) => name.to_string(),
        Err(_) => {
            let text = names::text(name);
            match text.char_indices().nth(CHARS_MAX) {
                Some((end, _)) => format!("{}...", output::quoted(&text[..end])),
                None => output::quoted(&text),
            }
        }
    }
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
    fn any_interface_is_no_address_to_connect_to() {
        let (address, hint) = reachable(&"tcp://0.0.0.0:7099".parse().unwrap());
        assert_eq!(address, "tcp://THIS-MACHINE:7099");
        assert!(hint.unwrap().contains("THIS-MACHINE"));
    }
}
