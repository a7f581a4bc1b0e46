//! Defects of memory, and who notices when the kernel writes where it must not.
//!
//! The simulated kernel asks whether a slot is taken before it writes, and so it notes each of these
//! defects. Under the address sanitizer it is told to write all the same, in a process of its own,
//! and the sanitizer has to end that process: so the memory that the kernel writes to in the runs
//! without a defect, where the sanitizer finds nothing, is really what it is taken for.

use std::sync::Arc;

use super::super::defects::Defects;
use super::super::port::{PollingMode, Port};
use super::canaries::{FreesAtShutdown, FreesOnCancel, Small, StateMoves, StatusOnStack};
use crate::nt::flag;
use crate::nt::sim::{Kernel, Sim, Socket, Violation};
use crate::{Events, Interest, Key, Poller};

/// The same in large blocks: the memory is given back to its block, which stays.
#[derive(Debug)]
struct FreesIntoItsBlock;

impl Defects for FreesIntoItsBlock {
    const FREES_ON_CANCEL: bool = true;
}

struct UnderSanitizer<D: Defects> {
    kernel: Arc<Kernel>,
    poller: Poller<Socket, (), Port<Sim, D>>,
}

impl<D: Defects> UnderSanitizer<D> {
    fn new(corrupts: bool) -> Self {
        let kernel = Arc::<Kernel>::default();
        {
            let mut state = kernel.state();
            state.mood.corrupts = corrupts;
            state.mood.is_slow = true;
        }
        let port = Port::with_mode(Sim::new(&kernel), PollingMode::Helper).unwrap();
        UnderSanitizer {
            poller: Poller::over(port),
            kernel,
        }
    }

    /// A source that is polled.
    fn add(&mut self) -> Key {
        let key = self.poller.insert(Socket::bare(&self.kernel)).unwrap();
        assert!(self.poller.set_interest(key, Interest::READABLE));
        self.wait();
        key
    }

    fn wait(&mut self) {
        let mut events = Events::with_capacity(8);
        self.poller
            .wait(&mut events, Some(std::time::Duration::ZERO))
            .unwrap();
    }

    /// How often the kernel was to write where no operation's memory was.
    fn end(self) -> usize {
        let UnderSanitizer { kernel, poller } = self;
        drop(poller);
        let state = kernel.state();
        let writes = state.violations.iter();
        writes
            .filter(|found| **found == Violation::WritesToFreed)
            .count()
    }
}

/// A poll ends after another source has come.
fn another_source_comes<D: Defects>(corrupts: bool) -> usize {
    let mut bench = UnderSanitizer::<D>::new(corrupts);
    let key = bench.add();
    let handle = bench.poller.get(key).unwrap().handle();
    bench.add();
    bench.kernel.set_events(handle, flag::RECEIVE);
    bench.kernel.deliver(0);
    bench.wait();
    bench.end()
}

/// Two sources are taken back. The packet of one of them comes, of the first or the second.
fn sources_are_taken_back<D: Defects>(corrupts: bool, first: usize) -> usize {
    let mut bench = UnderSanitizer::<D>::new(corrupts);
    bench.add();
    let sources = [bench.add(), bench.add()];
    for key in sources {
        drop(bench.poller.remove(key));
    }
    bench.kernel.deliver(first);
    bench.wait();
    bench.end()
}

/// The poller goes; what it has polled is closed, which ends the polls.
fn the_poller_goes<D: Defects>(corrupts: bool) -> usize {
    let mut bench = UnderSanitizer::<D>::new(corrupts);
    bench.kernel.state().mood.writes_early = true;
    bench.add();
    bench.end()
}

/// What is told of a defect: its name, and what the sanitizer calls the write.
macro_rules! dies {
    ($($test:ident: $run:expr => $($report:literal)|+;)*) => {$(
        #[test]
        fn $test() {
            let run: fn(bool) -> usize = $run;
            #[cfg(ampe_poison)]
            child::assert_dies(stringify!($test), run, &[$($report),+]);
            #[cfg(not(ampe_poison))]
            assert_ne!(run(false), 0, "by the kernel's own account; {:?}", [$($report),+]);
        }
    )*};
}

dies! {
    state_that_moves_is_written_where_it_was:
        another_source_comes::<StateMoves> => "heap-use-after-free";
    a_status_block_on_the_stack_is_written_when_the_function_is_over:
        another_source_comes::<StatusOnStack>
            => "stack-use-after-return" | "stack-buffer-overflow" | "stack-buffer-underflow";
    what_is_freed_on_cancel_is_written_in_the_block_that_is_kept:
        |corrupts| sources_are_taken_back::<FreesOnCancel>(corrupts, 0) => "use-after-poison";
    what_is_freed_on_cancel_is_written_in_a_block_that_is_freed:
        |corrupts| sources_are_taken_back::<FreesOnCancel>(corrupts, 1) => "heap-use-after-free";
    what_is_freed_on_cancel_is_written_in_a_block_that_is_used:
        |corrupts| sources_are_taken_back::<FreesIntoItsBlock>(corrupts, 0) => "use-after-poison";
    what_is_freed_at_the_end_is_written_when_the_socket_is_closed:
        the_poller_goes::<FreesAtShutdown> => "heap-use-after-free";
}

/// Without a defect the kernel may be told to write whatever its account says.
#[test]
fn without_a_defect_all_of_that_harms_nobody() {
    let run = |corrupts: bool| {
        another_source_comes::<Small>(corrupts)
            + sources_are_taken_back::<Small>(corrupts, 0)
            + sources_are_taken_back::<Small>(corrupts, 1)
            + the_poller_goes::<Small>(corrupts)
    };
    assert_eq!(run(false), 0);
    assert_eq!(run(true), 0);
}

/// The sanitizer ends the process in which it finds something.
#[cfg(ampe_poison)]
mod child {
    use std::process::Command;

    const VARIABLE: &str = "AMPE_CORRUPTS";

    /// The sanitizer asks for it before anything else runs. Memory is left behind on purpose: by the
    /// end that cannot be waited for, and by runs that were stopped.
    // SAFETY: the name is the sanitizer's, for a function of this type.
    #[unsafe(no_mangle)]
    extern "C" fn __asan_default_options() -> *const std::ffi::c_char {
        c"detect_leaks=0:detect_stack_use_after_return=1".as_ptr()
    }

    /// In a process of its own, which runs this very test again, the run makes the kernel write
    /// where it must not, and the sanitizer reports one of these.
    #[track_caller]
    pub(super) fn assert_dies(test: &str, run: fn(bool) -> usize, reports: &[&str]) {
        if std::env::var_os(VARIABLE).is_some() {
            let writes = run(true);
            println!("survived {writes} writes to memory that was freed");
            return;
        }
        assert_ne!(run(false), 0, "by the kernel's own account");
        let path = module_path!().trim_end_matches("::child");
        let (_, path) = path.split_once("::").unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{path}::{test}"), "--nocapture"])
            .env(VARIABLE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let found = text
            .lines()
            .find(|line| line.contains("ERROR: AddressSanitizer"));
        let found = found.unwrap_or_else(|| {
            let printed = String::from_utf8_lossy(&output.stdout);
            panic!("the sanitizer notices nothing: {printed}{text}")
        });
        assert!(!output.status.success());
        let is_expected = |report: &&str| found.contains(&format!("AddressSanitizer: {report} "));
        assert!(reports.iter().any(|report| is_expected(&report)), "{text}");
        assert!(text.contains("WRITE of size"), "{text}");
        let report = found.split("AddressSanitizer: ").nth(1).unwrap_or(found);
        println!("{test}: {}", report.split(' ').next().unwrap_or(report));
    }
}
