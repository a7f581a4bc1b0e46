//! `ampe send`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ampe::Account;
use serde_json::{Value, json};

use crate::args::Send;
use crate::aside;
use crate::checksum;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;
use crate::transfer::outgoing::Outgoing;
use crate::transfer::sender::{Sender, Sent};

/// What became of each file that was tried, in order: one that was being sent when the connection
/// broke, and those behind it, have no result.
type Results = Vec<Result<Sent, String>>;

/// A file to be sent, or why it cannot be.
type Checked = Result<Arc<Outgoing>, String>;

pub(crate) fn run(arguments: &Send) -> Result<(), Failure> {
    let mut results = Results::with_capacity(arguments.files.len());
    let mut account = None;
    let ended = send(arguments, &mut results, &mut account);
    if let (true, false) = (arguments.json, matches!(ended, Err(Failure::Usage(_)))) {
        output::json(&document(arguments, &results, &ended, account))?;
    }
    ended?;
    if results.iter().all(Result::is_ok) {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

/// The account is there once there was a connection, whatever became of it.
fn send(
    arguments: &Send,
    results: &mut Results,
    account: &mut Option<Account>,
) -> Result<(), Failure> {
    // What is wrong here is found before anything is sent.
    let files = check(arguments)?;
    let progress = Progress::new(arguments.quiet);
    if let [Err(why)] = &files[..] {
        return Err(Failure::new(why));
    }
    if files.iter().all(Result::is_err) {
        for why in files.into_iter().filter_map(Result::err) {
            progress.note(&why);
            results.push(Err(why));
        }
        return Ok(());
    }
    let mut session = Session::start(crate::transfer::options(arguments.timeout))?;
    let ended = send_all(&mut session, arguments, &files, &progress, results);
    *account = session.end(Duration::ZERO);
    ended
}

/// Looks at all files, within the time limit for each.
fn check(arguments: &Send) -> Result<Vec<Checked>, Failure> {
    if arguments.name.is_some() && arguments.files.len() > 1 {
        let said = "--as names one file: send each of several in a command of its own";
        return Err(Failure::Usage(said.to_owned()));
    }
    let name = arguments.name.as_deref();
    let named: Vec<_> = arguments
        .files
        .iter()
        .map(|path| Outgoing::new(path, name).map(Arc::new))
        .collect();
    refuse_same_names(&named, &arguments.files)?;
    named
        .into_iter()
        .map(|named| named.map_or_else(|why| Ok(Err(why)), |file| check_file(file, arguments)))
        .collect()
}

fn check_file(file: Arc<Outgoing>, arguments: &Send) -> Result<Checked, Failure> {
    let checking = Arc::clone(&file);
    let checked = aside::run(arguments.timeout, move || checking.check())?;
    let hangs = || Err(file.hangs(arguments.timeout.as_secs_f64()));
    Ok(checked.unwrap_or_else(hangs).map(|()| file))
}

/// The second of two files of one name would be refused there, or would replace the first.
fn refuse_same_names(named: &[Checked], paths: &[PathBuf]) -> Result<(), Failure> {
    let mut seen = HashMap::new();
    for (file, path) in named.iter().zip(paths) {
        let Ok(file) = file else { continue };
        if let Some(other) = seen.insert(file.name(), path) {
            return Err(Failure::Usage(format!(
                "{} and {} would have the same name there, and nothing was sent: send one of them \
                 with --as NAME",
                output::shown(other.display()),
                output::shown(path.display()),
            )));
        }
    }
    Ok(())
}

fn send_all(
    session: &mut Session,
    arguments: &Send,
    files: &[Checked],
    progress: &Progress,
    results: &mut Results,
) -> Result<(), Failure> {
    let mut sender = Sender::connect(session, &arguments.to, arguments.timeout)?;
    for file in files {
        let result = match file {
            Ok(file) => send_file(&mut sender, file, arguments, progress)?,
            Err(why) => Err(why.clone()),
        };
        if let Err(why) = &result {
            progress.note(why);
        }
        results.push(result);
    }
    sender.finish().map(drop)
}

fn send_file(
    sender: &mut Sender<'_>,
    file: &Arc<Outgoing>,
    arguments: &Send,
    progress: &Progress,
) -> Result<Result<Sent, String>, Failure> {
    let bar = progress.bytes(file.name(), 0);
    let result = sender.send(file, &bar);
    bar.finish_and_clear();
    let result = result?;
    if let Ok(sent) = &result {
        tell_sent(file, sent, arguments, progress)?;
    }
    Ok(result)
}

fn tell_sent(
    file: &Outgoing,
    sent: &Sent,
    arguments: &Send,
    progress: &Progress,
) -> Result<(), Failure> {
    if !arguments.json {
        let name = file.name().to_os();
        checksum::print(progress, &sent.sha256.to_string(), name.as_ref())?;
    }
    if !arguments.quiet {
        progress.note(&format!(
            "sent {}: {}",
            file.name(),
            output::bytes_in(sent.bytes, sent.seconds),
        ));
    }
    Ok(())
}

fn document(
    arguments: &Send,
    results: &Results,
    ended: &Result<(), Failure>,
    account: Option<Account>,
) -> Value {
    let broken = ended.as_ref().err().map(ToString::to_string);
    let files: Vec<Value> = arguments
        .files
        .iter()
        .enumerate()
        .map(|(at, path)| {
            let mut file = match results.get(at) {
                Some(Ok(sent)) => json!({
                    "bytes": sent.bytes,
                    "seconds": sent.seconds,
                    "sha256": sent.sha256.to_string(),
                }),
                Some(Err(why)) => json!({ "error": why }),
                None => json!({ "error": broken }),
            };
            let name = arguments.name.as_deref().or(path.file_name());
            let name = name.unwrap_or(path.as_os_str());
            output::put(&mut file, "name", name.as_encoded_bytes());
            file
        })
        .collect();
    let mut document = json!({
        "to": arguments.to.to_string(),
        "files": files,
        "account": account.map(output::account),
    });
    if let Some(why) = broken {
        document["error"] = why.into();
    }
    document
}
