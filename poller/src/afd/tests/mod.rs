//! The proof: everything that can happen to a small port, much that can happen to a large one, and
//! defects that have to be found.

mod bare;
#[cfg_attr(
    any(ampe_mutants, windows),
    allow(
        unused_imports,
        unused_macros,
        dead_code,
        reason = "what looks for defects is left out"
    )
)]
mod canaries;
mod digest;
mod economy;
mod exhaustive;
mod handles;
mod lab;
mod memory;
#[cfg(not(any(ampe_mutants, windows)))]
mod sanitizer;
mod scenarios;
mod swarm;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

#[cfg(not(debug_assertions))]
pub(crate) use self::canaries::StateMoves;
use self::lab::Oracle;

/// Whether there is time for part of the runs only. What they go through is the same on every system,
/// and is gone through whole on Unix.
const IS_PARTIAL: bool = cfg!(any(debug_assertions, windows));

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a piece of a run; an assertion that fails is an oracle like the others.
fn guarded<T>(run: impl FnOnce() -> Result<T, Oracle>) -> Result<T, Oracle> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_QUIET.get() {
                MESSAGE.set(info.to_string());
            } else {
                usual(info);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    IS_QUIET.set(before);
    outcome.unwrap_or_else(|_| Err(Oracle::Assertion(MESSAGE.take())))
}
