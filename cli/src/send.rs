//! `ampe send`.

use std::time::Duration;

use ampe::Account;
use serde_json::{Value, json};

use crate::args::Send;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;
use crate::transfer::sender::{Outgoing, Sender, Sent};

pub(crate) fn run(arguments: &Send) -> Result<(), Failure> {
    // A wrong name is found before anything is sent.
    let checked = arguments.files.iter().map(|path| Outgoing::check(path));
    let files: Vec<Outgoing> = checked.collect::<Result<_, _>>().map_err(Failure::Failed)?;
    let progress = Progress::new(arguments.quiet);
    let mut session = Session::start(crate::transfer::options(arguments.timeout))?;
    let result = send_all(&mut session, arguments, &files, &progress);
    session.end(Duration::ZERO);
    result
}

fn send_all(
    session: &mut Session,
    arguments: &Send,
    files: &[Outgoing],
    progress: &Progress,
) -> Result<(), Failure> {
    let mut sender = Sender::connect(session, &arguments.to, arguments.timeout)?;
    let mut results = Vec::with_capacity(files.len());
    for file in files {
        let bar = progress.bytes(file.name(), file.size());
        let result = sender.send(file, &bar);
        bar.finish_and_clear();
        let result = result?;
        match &result {
            Ok(sent) => tell_sent(file, sent, arguments, progress)?,
            Err(why) => progress.note(why),
        }
        results.push((file, result));
    }
    let account = sender.finish()?;
    if arguments.json {
        output::json(&document(arguments, &results, account))?;
    }
    if results.iter().all(|(_, result)| result.is_ok()) {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

fn tell_sent(
    file: &Outgoing,
    sent: &Sent,
    arguments: &Send,
    progress: &Progress,
) -> Result<(), Failure> {
    if !arguments.json {
        progress.line(&format!("{}  {}", sent.sha256, file.name()))?;
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
    results: &[(&Outgoing, Result<Sent, String>)],
    account: Account,
) -> Value {
    let files: Vec<Value> = results
        .iter()
        .map(|(file, result)| match result {
            Ok(sent) => json!({
                "name": file.name(),
                "bytes": sent.bytes,
                "seconds": sent.seconds,
                "sha256": sent.sha256.to_string(),
            }),
            Err(why) => json!({ "name": file.name(), "error": why }),
        })
        .collect();
    json!({
        "to": arguments.to.to_string(),
        "files": files,
        "account": output::account(account),
    })
}
