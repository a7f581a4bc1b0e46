//! The second process of the demo: receives until its stdin ends.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ampe::{Address, ChannelGroup, Reason, platform};

use crate::args::DemoReceiver;
use crate::error::Failure;
use crate::listen::Place;
use crate::output;
use crate::progress::Progress;
use crate::session::Session;
use crate::transfer;
use crate::transfer::connection::Target;
use crate::transfer::directory::{Directory, Policy};
use crate::transfer::receiver::{Happening, Receiver};

/// How many transports the receiver listens on.
pub(super) fn transports() -> usize {
    if skipped().is_some() { 1 } else { 2 }
}

/// Why it does not listen on a Unix socket, if so.
pub(super) fn skipped() -> Option<String> {
    (!platform::has_unix_sockets()).then(|| Reason::NoUnixSockets.to_string())
}

/// The Unix socket in the demo's directory.
pub(super) fn socket_path(directory: &Path) -> PathBuf {
    directory.join("s")
}

/// Where a file of this name is received.
pub(super) fn received_path(directory: &Path, name: &std::ffi::OsStr) -> PathBuf {
    directory.join("received").join(name)
}

pub(crate) fn run(arguments: &DemoReceiver) -> Result<(), Failure> {
    if let Some(numbers) = arguments.ledger {
        let served = super::ledger::serve(&arguments.directory, numbers);
        return match served {
            Err(Failure::Interrupted) => Ok(()),
            served => served,
        };
    }
    let result = receive(&arguments.directory, arguments.timeout);
    // The first process does this too, unless it was killed.
    let _ = fs::remove_dir_all(&arguments.directory);
    match result {
        // From a terminal both are interrupted, and the first says so.
        Err(Failure::Interrupted) => Ok(()),
        result => result,
    }
}

fn receive(path: &Path, timeout: Duration) -> Result<(), Failure> {
    let failure = |what: &dyn std::fmt::Display| {
        Failure::new(format!(
            "the second process cannot work: {what}: run the demo again"
        ))
    };
    let received = path.join("received");
    fs::create_dir(&received).map_err(|error| failure(&error))?;
    let directory = Directory::open(&received, Policy::default())?;
    let target = Target::Directory(Arc::new(directory));
    let session = Session::start(transfer::options(timeout))?;
    let mut receiver = Receiver::new(session, target, Progress::new(true), timeout);
    let has_ended = Arc::new(AtomicBool::new(false));
    watch_stdin(Arc::clone(&has_ended), receiver.group().clone()).map_err(|e| failure(&e))?;
    let tcp = Address::tcp("127.0.0.1", 0).map_err(|error| failure(&error))?;
    let uds = Address::uds(socket_path(path)).map_err(|error| failure(&error))?;
    let served = receiver
        .listen(Place::Address(tcp))
        .and_then(|()| match skipped() {
            Some(_) => Ok(()),
            None => receiver.listen(Place::Address(uds)),
        })
        .and_then(|()| serve(&mut receiver, &has_ended));
    receiver.end(Duration::ZERO);
    served
}

fn serve(receiver: &mut Receiver, has_ended: &AtomicBool) -> Result<(), Failure> {
    while !has_ended.load(Ordering::Relaxed) {
        if let Happening::Listening(address) = receiver.next()? {
            output::line(address.to_string())?;
        }
    }
    Ok(())
}

/// Wakes the receiver when stdin ends: the first process is done, or gone.
pub(super) fn watch_stdin(has_ended: Arc<AtomicBool>, group: ChannelGroup) -> std::io::Result<()> {
    let watch = move || {
        let _ = std::io::copy(&mut std::io::stdin().take(u64::MAX), &mut std::io::sink());
        has_ended.store(true, Ordering::Relaxed);
        // Refused where events wait already: the receiver looks after each.
        let _ = group.notify(group.message());
    };
    thread::Builder::new().spawn(watch).map(drop)
}
