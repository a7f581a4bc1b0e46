//! Interruption: a signal ends whatever waits for events, in order, with exit code 130.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ampe::ChannelGroup;

use crate::error::Failure;

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whose receiver is to be woken.
static WAITING: Mutex<Option<ChannelGroup>> = Mutex::new(None);

/// Makes SIGINT, SIGTERM and SIGHUP interrupt this process in order: temporary files are removed
/// and Unix sockets unlinked. A second signal ends it at once. On Linux those that whoever started
/// the process has it ignore stay ignored, as nohup(1) and shells want it.
///
/// A file that outgrows `ulimit -f` is an error of that file, and no signal.
pub(crate) fn install() -> Result<(), Failure> {
    catch().map_err(|error| Failure::new(format!("cannot catch signals: {error}: run it again")))
}

#[cfg(unix)]
fn catch() -> std::io::Result<()> {
    use std::sync::Arc;

    use nix::sys::signal::{SigSet, SigmaskHow};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;

    // With a handler, which has nothing to do, the write fails instead.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let ignored = ignored();
    let is_ignored = |&signal: &i32| ignored & (1 << (signal - 1)) != 0;
    let mut wanted = vec![SIGINT, SIGTERM, SIGHUP];
    wanted.retain(|signal| !is_ignored(signal));
    // One that comes while its handler is installed would be lost, so they all wait until then.
    let usual = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let installed = Signals::new(wanted);
    usual.thread_set_mask()?;
    let mut signals = installed?;
    std::thread::Builder::new()
        .name("ampe-signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| interrupt()))?;
    Ok(())
}

/// The signals that this process was started to ignore: a bit for each, the lowest for number 1.
#[cfg(unix)]
fn ignored() -> u64 {
    // Asking the system itself takes unsafe code. Where this file does not exist, none count.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(windows)]
fn catch() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(interrupt)
}

fn interrupt() {
    if IS_INTERRUPTED.swap(true, Ordering::SeqCst) {
        std::process::exit(130);
    }
    if let Some(group) = waiting().as_ref() {
        // Refused where events wait already: the receiver looks at the flag after each.
        let _ = group.notify(group.message());
    }
}

/// From now on an interruption wakes the receiver of this group.
pub(crate) fn wake(group: &ChannelGroup) {
    *waiting() = Some(group.clone());
    // One that came before found nobody to wake.
    if IS_INTERRUPTED.load(Ordering::SeqCst) {
        let _ = group.notify(group.message());
    }
}

/// Fails if an interruption came.
pub(crate) fn check() -> Result<(), Failure> {
    if IS_INTERRUPTED.load(Ordering::SeqCst) {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}

fn waiting() -> MutexGuard<'static, Option<ChannelGroup>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
