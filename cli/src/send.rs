//! `ampe send`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ampe::Account;
use serde_json::{Value, json};

use crate::args::Send;
use crate::aside::{self, Aside};
use crate::checksum;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;
use crate::summary::{self, Row};
use crate::transfer::names::Name;
use crate::transfer::outgoing::{self, Kind, Outgoing};
use crate::transfer::path::TreePath;
use crate::transfer::sender::{Sender, Sent};
use crate::transfer::source::Manner;
use crate::transfer::tree::{self, Choice, Found};

/// What was found at the arguments, and what became of it.
struct Plan {
    /// What there is to send, and at which place of `entries` it stands.
    items: Arc<[Outgoing]>,
    places: Vec<usize>,
    entries: Vec<Entry>,
}

/// Something at an argument.
struct Entry {
    /// Which argument.
    argument: usize,
    name: Vec<u8>,
    what: What,
    /// One that was being sent when the connection broke, and those behind it, have none.
    result: Option<Result<Sent, String>>,
}

enum What {
    File,
    Directory,
    /// The permissions and time of a directory.
    Finished,
    Link,
    /// What was not asked for: why.
    LeftOut(String),
}

pub(crate) fn run(arguments: &Send) -> Result<(), Failure> {
    let mut plan = plan(arguments)?;
    let mut account = None;
    let ended = send(arguments, &mut plan, &mut account);
    if let (true, false) = (arguments.json, matches!(ended, Err(Failure::Usage(_)))) {
        output::json(&document(arguments, &plan, &ended, account))?;
    }
    ended?;
    let is_stored = |entry: &Entry| matches!(entry.result, Some(Ok(_)));
    if !arguments.json && !arguments.quiet && plan.entries.iter().any(is_stored) {
        summary::tell(&rows(&plan), account.as_ref());
    }
    let has_failed = |entry: &Entry| matches!(entry.result, Some(Err(_)));
    match plan.entries.iter().any(has_failed) {
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

/// Looks at all arguments: what is wrong here is found before anything is sent.
fn plan(arguments: &Send) -> Result<Plan, Failure> {
    if arguments.name.is_some() && arguments.files.len() > 1 {
        let said = "--as names one file: send each of several in a command of its own";
        return Err(Failure::Usage(said.to_owned()));
    }
    let choice = Choice::new(arguments.links, arguments.preserve, &arguments.exclude);
    let choice = choice.map_err(|why| Failure::Usage(format!("--exclude: {why}")))?;
    let mut found = Vec::new();
    for (argument, path) in arguments.files.iter().enumerate() {
        let here = look(path, arguments, &choice)?;
        found.extend(here.into_iter().map(|found| (argument, found)));
    }
    refuse_same_names(&found, &arguments.files)?;
    let (mut items, mut places, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for (argument, found) in found {
        let entry = |name: Vec<u8>, what, result| Entry {
            argument,
            name,
            what,
            result,
        };
        entries.push(match found {
            Found::Item(item) => {
                let what = match item.kind() {
                    Kind::File | Kind::Stdin => What::File,
                    Kind::Directory => What::Directory,
                    Kind::Finished => What::Finished,
                    Kind::Link(_) => What::Link,
                };
                let name = item.path().to_wire();
                places.push(entries.len());
                items.push(item);
                entry(name, what, None)
            }
            Found::Failed(path, why) => {
                let name = name_of(&path, &arguments.files[argument], arguments);
                entry(name, What::File, Some(Err(why)))
            }
            Found::LeftOut(path, why) => {
                let name = path.into_os_string().into_encoded_bytes();
                entry(name, What::LeftOut(why), None)
            }
        });
    }
    Ok(Plan {
        items: items.into(),
        places,
        entries,
    })
}

/// What something that cannot be sent is called: as it would be there, if it is an argument.
fn name_of(path: &Path, argument: &Path, arguments: &Send) -> Vec<u8> {
    let name = match path == argument {
        true => arguments.name.as_deref().or(path.file_name()),
        false => None,
    };
    let name = name.unwrap_or(path.as_os_str());
    name.as_encoded_bytes().to_owned()
}

/// Looks at an argument, for as long as something is found there within the time limit.
fn look(path: &Path, arguments: &Send, choice: &Choice) -> Result<Vec<Found>, Failure> {
    let name = arguments.name.clone();
    if path == Path::new("-") {
        let name = name.ok_or_else(|| {
            Failure::Usage("what comes from stdin has no name: give it one with --as".to_owned())
        })?;
        let name = Name::from_os(&name);
        let name = name.map_err(|error| Failure::Usage(format!("--as: {error}")))?;
        let item = Outgoing::new(PathBuf::new(), TreePath::of(name), Kind::Stdin, 0);
        return Ok(vec![Found::Item(item)]);
    }
    let seen = Arc::new(AtomicU64::new(0));
    let (here, choice, counter) = (path.to_owned(), choice.clone(), Arc::clone(&seen));
    let looking = move || tree::look(&here, name.as_deref(), &choice, &counter);
    let looking = Aside::spawn("ampe-aside", looking).map_err(|error| aside::no_thread(&error))?;
    let found = looking.wait_while_moving(arguments.timeout, || seen.load(Ordering::Relaxed))?;
    Ok(found.unwrap_or_else(|| {
        let why = outgoing::hangs(path, arguments.timeout.as_secs_f64());
        vec![Found::Failed(path.to_owned(), why)]
    }))
}

/// The second of two files of one name would be refused there, or would replace the first.
fn refuse_same_names(found: &[(usize, Found)], paths: &[PathBuf]) -> Result<(), Failure> {
    let mut seen = HashMap::new();
    for (argument, found) in found {
        let Found::Item(item) = found else { continue };
        let other = *seen.entry(item.path().top()).or_insert(*argument);
        if other != *argument {
            return Err(Failure::Usage(format!(
                "{} and {} would have the same name there, and nothing was sent: send one of them \
                 with --as NAME",
                output::shown(paths[other].display()),
                output::shown(paths[*argument].display()),
            )));
        }
    }
    Ok(())
}

/// The account is there once there was a connection, whatever became of it.
fn send(arguments: &Send, plan: &mut Plan, account: &mut Option<Account>) -> Result<(), Failure> {
    let progress = Progress::new(arguments.quiet);
    if let [
        Entry {
            result: Some(Err(why)),
            ..
        },
    ] = &plan.entries[..]
    {
        return Err(Failure::new(why));
    }
    for entry in &plan.entries {
        match (&entry.what, &entry.result) {
            (What::LeftOut(why), _) if !arguments.quiet => {
                let name = output::shown(String::from_utf8_lossy(&entry.name));
                progress.note(&format!("left out {name}: {why}"));
            }
            (_, Some(Err(why))) => progress.note(why),
            _ => {}
        }
    }
    if plan.items.is_empty() {
        return Ok(());
    }
    let security = arguments.secure.dialling(&arguments.to)?;
    let options = crate::transfer::options(arguments.timeout);
    let mut session = Session::start_with(options, security)?;
    let ended = send_all(&mut session, arguments, plan, &progress);
    *account = session.end(Duration::ZERO);
    ended
}

fn send_all(
    session: &mut Session,
    arguments: &Send,
    plan: &mut Plan,
    progress: &Progress,
) -> Result<(), Failure> {
    let total = tree::total(&plan.items);
    let mut sender = Sender::connect(session, &arguments.to, total, arguments.timeout)?;
    let manner = Manner {
        preserve: arguments.preserve,
        limit: arguments.limit,
    };
    let bars = progress.files(plan.items.len(), total);
    let items = Arc::clone(&plan.items);
    let (places, entries) = (&plan.places, &mut plan.entries);
    let mut on_result = |index: usize, result: Result<Sent, String>| {
        match &result {
            Ok(sent) => tell_sent(items[index].path(), sent, arguments, progress)?,
            Err(why) => progress.note(why),
        }
        entries[places[index]].result = Some(result);
        Ok(())
    };
    let sent = sender.send(&items, manner, &bars, &mut on_result);
    bars.finish();
    sent?;
    sender.finish().map(drop)
}

fn tell_sent(
    path: &TreePath,
    sent: &Sent,
    arguments: &Send,
    progress: &Progress,
) -> Result<(), Failure> {
    let Some(sha256) = sent.sha256 else {
        return Ok(()); // there is no content to tell of
    };
    if !arguments.json {
        checksum::print(progress, &sha256.to_string(), &path.to_os())?;
    }
    let resumed = match sent.resumed {
        0 => String::new(),
        bytes => format!(", {} of it before", output::bytes(bytes)),
    };
    if !arguments.quiet && path.is_plain() {
        progress.note(&format!(
            "sent {path}: {}{resumed}",
            output::bytes_in(sent.bytes, sent.seconds),
        ));
    }
    Ok(())
}

/// What was stored, a row for each argument.
fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for entry in &plan.entries {
        if rows.last().is_none_or(|(of, _)| *of != entry.argument) {
            let name = entry.name.split(|&byte| byte == b'/').next();
            let name = String::from_utf8_lossy(name.unwrap_or_default());
            let row = Row {
                name: output::shown(name),
                files: 0,
                bytes: 0,
                others: 0,
                failed: 0,
            };
            rows.push((entry.argument, row));
        }
        let Some((_, row)) = rows.last_mut() else {
            continue;
        };
        match (&entry.what, &entry.result) {
            (What::File, Some(Ok(sent))) => {
                row.files += 1;
                row.bytes += sent.bytes;
            }
            (What::Directory | What::Link, Some(Ok(_))) => row.others += 1,
            (_, Some(Err(_))) => row.failed += 1,
            _ => {}
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

fn document(
    arguments: &Send,
    plan: &Plan,
    ended: &Result<(), Failure>,
    account: Option<Account>,
) -> Value {
    let broken = ended.as_ref().err().map(ToString::to_string);
    let entries = plan.entries.iter();
    let files: Vec<Value> = entries
        .filter(|entry| !matches!(entry.what, What::Finished))
        .map(|entry| {
            let mut file = match (&entry.what, &entry.result) {
                (What::LeftOut(why), _) => json!({ "left_out": why }),
                (What::Directory, Some(Ok(_))) => json!({ "kind": "directory" }),
                (What::Link, Some(Ok(_))) => json!({ "kind": "link" }),
                (_, Some(Ok(sent))) => json!({
                    "bytes": sent.bytes,
                    "resumed": sent.resumed,
                    "seconds": sent.seconds,
                    "sha256": sent.sha256.map(|sha256| sha256.to_string()),
                }),
                (_, Some(Err(why))) => json!({ "error": why }),
                (_, None) => json!({ "error": broken }),
            };
            output::put(&mut file, "name", &entry.name);
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
