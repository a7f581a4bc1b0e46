//! `ampe demo`: a file and round trips between two processes, over each transport.

mod child;
mod kill;
mod ledger;
pub(crate) mod receiver;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ampe::{Account, Address};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::args::Demo;
use crate::error::Failure;
use crate::output;
use crate::progress::Progress;
use crate::roundtrip::{self, Plan, RoundTrips};
use crate::session::Session;
use crate::transfer;
use crate::transfer::digest::Digest;
use crate::transfer::outgoing::Outgoing;
use crate::transfer::protocol::Demand;
use crate::transfer::sender::{Sender, Sent};
use crate::transfer::source::Manner;

use child::Child;

const ROUND_TRIPS: u64 = 2000;
const ROUND_TRIP_BYTES: usize = 64;

/// What was measured over one transport.
struct Measured {
    transport: &'static str,
    sent: Sent,
    times: RoundTrips,
    account: Account,
}

pub(crate) fn run(arguments: &Demo) -> Result<(), Failure> {
    if arguments.kill {
        return kill::run(arguments);
    }
    let path = match &arguments.file {
        Some(path) => path.clone(),
        None => own_executable()?,
    };
    let outgoing = Outgoing::file(&path, None).map_err(Failure::Failed)?;
    let directory = temporary_directory()?;
    // Dropped, the child is ended and waited for; only then the directory is removed.
    let mut child = Child::start(directory.path(), arguments.timeout)?;
    let measured = measure_all(&mut child, &outgoing, directory.path(), arguments.timeout);
    drop(child);
    // Mostly the child has removed it already.
    let left = directory.close();
    let measured = measured?;
    let skipped = receiver::skipped();
    if let Err(error) = left
        && error.kind() != io::ErrorKind::NotFound
    {
        let said = format!("cannot remove the temporary directory: {error}: remove it");
        return Err(Failure::Failed(said));
    }
    tell(arguments, &path, &measured, skipped)
}

fn own_executable() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::new(format!(
            "cannot find the ampe executable: {error}: name a file to send"
        ))
    })
}

/// A directory whose Unix socket has a path short enough for the system.
fn temporary_directory() -> Result<TempDir, Failure> {
    let create = |parent: &Path| {
        tempfile::Builder::new()
            .prefix("ampe-demo-")
            .tempdir_in(parent)
    };
    let usual = std::env::temp_dir();
    let created = create(&usual).and_then(|directory| {
        if Address::uds(receiver::socket_path(directory.path())).is_ok() {
            return Ok(directory);
        }
        create(Path::new(if cfg!(unix) { "/tmp" } else { "." }))
    });
    created.map_err(|error| {
        Failure::new(format!(
            "cannot create a directory in {}: {error}: name another in TMPDIR",
            output::shown(usual.display())
        ))
    })
}

fn measure_all(
    child: &mut Child,
    outgoing: &Outgoing,
    directory: &Path,
    timeout: Duration,
) -> Result<Vec<Measured>, Failure> {
    let mut session = Session::start(transfer::options(timeout))?;
    let mut all = Vec::new();
    for address in child.addresses(&mut session, timeout)? {
        let result = measure(&mut session, &address, outgoing, directory, timeout);
        // A child that was killed by the same signal is no failure of its own.
        crate::interrupt::check()?;
        all.push(result?);
    }
    session.end(Duration::ZERO);
    Ok(all)
}

fn measure(
    session: &mut Session,
    address: &Address,
    outgoing: &Outgoing,
    directory: &Path,
    timeout: Duration,
) -> Result<Measured, Failure> {
    let transport = match address {
        Address::Tcp { .. } => "tcp",
        Address::Tls { .. } => "tls",
        Address::Uds(_) => "uds",
    };
    let progress = Progress::new(false);
    let size = Some(outgoing.size());
    let mut sender = Sender::connect(session, address, size, timeout)?;
    let sent = send(&mut sender, outgoing, &progress)?;
    let received = receiver::received_path(directory, &outgoing.path().last().to_os());
    verify(&received, &sent)?;
    let bar = progress.steps(&format!("{transport}: round trips"), ROUND_TRIPS);
    let mark = |message| Demand::Echo.write(message);
    let mut times = RoundTrips::new();
    let plan = Plan {
        count: ROUND_TRIPS,
        size: ROUND_TRIP_BYTES,
        interval: None,
    };
    let measured = roundtrip::measure(sender.link(), plan, mark, &bar, &mut times);
    bar.finish_and_clear();
    measured?;
    let account = sender.finish()?;
    Ok(Measured {
        transport,
        sent,
        times,
        account,
    })
}

fn send(
    sender: &mut Sender<'_>,
    outgoing: &Outgoing,
    progress: &Progress,
) -> Result<Sent, Failure> {
    let items: Arc<[Outgoing]> = Arc::new([outgoing.clone()]);
    let mut sent = None;
    let mut on_result = |_, result: Result<Sent, String>| {
        sent = Some(result.map_err(Failure::Failed)?);
        Ok(())
    };
    let bars = progress.files(items.len(), None);
    sender.send(&items, Manner::default(), &bars, &mut on_result)?;
    sent.ok_or_else(|| Failure::new("the file was not sent: run the demo again"))
}

/// The receiver has compared hashes already, of what it wrote; this one is of what can be read.
fn verify(received: &Path, sent: &Sent) -> Result<(), Failure> {
    let shown = output::shown(received.display());
    let digest = File::open(received).and_then(Digest::of_reader);
    let digest = digest.map_err(|error| {
        Failure::new(format!(
            "cannot read {shown}: {error}: see whether its disk is sound"
        ))
    })?;
    // The next transport sends the same name.
    let removed = std::fs::remove_file(received);
    if Some(digest) != sent.sha256 {
        return Err(Failure::new(format!(
            "{shown} reads otherwise than it was sent: see whether its disk is sound"
        )));
    }
    removed.map_err(|error| Failure::new(format!("cannot remove {shown}: {error}: remove it")))
}

const HEADER: [&str; 10] = [
    "transport",
    "bytes",
    "seconds",
    "MB/s",
    "RTT p50 µs",
    "RTT p99 µs",
    "posted",
    "sent",
    "returned",
    "confirmed",
];

fn row(of: &Measured) -> [String; HEADER.len()] {
    let rate = output::megabytes_per_second(of.sent.bytes, of.sent.seconds);
    [
        of.transport.to_owned(),
        of.sent.bytes.to_string(),
        format!("{:.4}", of.sent.seconds),
        format!("{rate:.0}"),
        format!("{:.1}", of.times.quantile(0.5)),
        format!("{:.1}", of.times.quantile(0.99)),
        of.account.posted.to_string(),
        of.account.sent.to_string(),
        of.account.returned.to_string(),
        of.account.confirmed.to_string(),
    ]
}

/// Whether the whole table is wider than the terminal, if it is one.
fn is_narrow() -> bool {
    const COLUMNS: u16 = 100;
    let size = console::Term::stdout().size_checked();
    size.is_some_and(|(_, columns)| columns < COLUMNS)
}

/// Prints what was measured, and why a transport was not.
fn tell(
    arguments: &Demo,
    path: &Path,
    measured: &[Measured],
    skipped: Option<String>,
) -> Result<(), Failure> {
    if arguments.json {
        return output::json(&document(path, measured, skipped));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let rows: Vec<_> = measured.iter().map(row).collect();
    if is_narrow() {
        // A line for each figure, and a column for each transport.
        for (at, name) in HEADER.into_iter().enumerate() {
            let figures = rows.iter().map(|row| row[at].clone());
            table.add_row(std::iter::once(name.to_owned()).chain(figures));
        }
    } else {
        table.set_header(HEADER);
        table.add_rows(rows);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for of in measured {
        output::note(&format!(
            "{}: verified, SHA-256 {}",
            of.transport,
            sha256(of)
        ));
    }
    if let Some(why) = skipped {
        output::note(&format!("uds: skipped: {why}"));
    }
    output::line(table.to_string())
}

fn sha256(of: &Measured) -> String {
    of.sent
        .sha256
        .map(|sha256| sha256.to_string())
        .unwrap_or_default()
}

fn document(path: &Path, measured: &[Measured], skipped: Option<String>) -> Value {
    let mut transports: Map<String, Value> = measured
        .iter()
        .map(|of| {
            let rate = output::megabytes_per_second(of.sent.bytes, of.sent.seconds);
            let document = json!({
                "bytes": of.sent.bytes,
                "seconds": of.sent.seconds,
                "mb_per_s": rate,
                "sha256": sha256(of),
                "verified": true,
                "round_trips": of.times.count(),
                "round_trip_bytes": ROUND_TRIP_BYTES,
                "rtt_us": of.times.json(),
                "account": output::account(of.account),
            });
            (of.transport.to_owned(), document)
        })
        .collect();
    if let Some(why) = skipped {
        transports.insert("uds".to_owned(), json!({ "skipped": why }));
    }
    json!({ "file": path.to_string_lossy(), "transports": transports })
}
