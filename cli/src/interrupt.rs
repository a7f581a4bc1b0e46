//! Interruption: a signal ends whatever waits for events, in order, with exit code 130.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ampe::ChannelGroup;

use crate::error::Failure;

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whose receiver is to be woken.
static WAITING: Mutex<Option<ChannelGroup>> = Mutex::new(None);

/// Makes SIGINT, SIGTERM and SIGHUP interrupt this process in order: temporary files are removed
/// and Unix sockets unlinked. A second signal ends it at once.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if IS_INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        if let Some(group) = waiting().as_ref() {
            // Refused where events wait already: the receiver looks at the flag after each.
            let _ = group.notify(group.message());
        }
    })
    .map_err(|error| Failure::new(format!("cannot catch signals: {error}: run it again")))
}

/// From now on an interruption wakes the receiver of this group.
pub(crate) fn wake(group: &ChannelGroup) {
    *waiting() = Some(group.clone());
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
