//! `ampe send`.

use std::path::PathBuf;
use std::time::Duration;

use ampe::Account;
use serde_json::{Value, json};

use crate::args::Send;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;
use crate::transfer::sender::{Outgoing, Sender, Sent};

/// What became of each file that was tried, in order: one that was being sent when the connection
/// broke, and those behind it, have no result.
type Results = Vec<Result<Sent, String>>;

pub(crate) fn run(arguments: &Send) -> Result<(), Failure> {
    let mut results = Results::with_capacity(arguments.files.len());
    let mut account = None;
    let ended = send(arguments, &mut results, &mut account);
    if arguments.json {
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
    // A wrong name is found before anything is sent.
    let checked = arguments.files.iter().map(|path| Outgoing::check(path));
    let files: Vec<Outgoing> = checked.collect::<Result<_, _>>().map_err(Failure::Failed)?;
    let mut session = Session::start(crate::transfer::options(arguments.timeout))?;
    let ended = send_all(&mut session, arguments, &files, results);
    *account = session.end(Duration::ZERO);
    ended
}

fn send_all(
    session: &mut Session,
    arguments: &Send,
    files: &[Outgoing],
    results: &mut Results,
) -> Result<(), Failure> {
    let progress = Progress::new(arguments.quiet);
    let mut sender = Sender::connect(session, &arguments.to, arguments.timeout)?;
    for file in files {
        let bar = progress.bytes(file.name(), file.size());
        let result = sender.send(file, &bar);
        bar.finish_and_clear();
        let result = result?;
        match &result {
            Ok(sent) => tell_sent(file, sent, arguments, &progress)?,
            Err(why) => progress.note(why),
        }
        results.push(result);
    }
    sender.finish().map(drop)
}

fn tell_sent(
    file: &Outgoing,
    sent: &Sent,
    arguments: &Send,
    progress: &Progress,
) -> Result<(), Failure> {
    if !arguments.json {
        progress.line(format!("{}  {}", sent.sha256, file.name()))?;
    }
    if !arguments.quiet {
        let rate = output::megabytes_per_second(sent.bytes, sent.seconds);
        progress.note(&format!(
            "sent {}: {} in {:.3} s, {rate:.0} MB/s",
            file.name(),
            output::bytes(sent.bytes),
            sent.seconds,
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
    let name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let names = arguments.files.iter().map(name);
    let files: Vec<Value> = names
        .enumerate()
        .map(|(at, name)| match results.get(at) {
            Some(Ok(sent)) => json!({
                "name": name,
                "bytes": sent.bytes,
                "seconds": sent.seconds,
                "sha256": sent.sha256.to_string(),
            }),
            Some(Err(why)) => json!({ "name": name, "error": why }),
            None => json!({ "name": name, "error": broken }),
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
