//! Asks this system whether its kernel does what polling by AFD takes for granted.
//!
//! On Windows the questions go to the system's own calls, on sockets of this machine that are opened for it and
//! closed again. Nothing depends on the answers: the poller is safe whatever the kernel does, and what it needs
//! for more than that is listed in `docs/afd.md`. On other systems the simulated kernel is asked, by which the
//! poller is tested, and [`Report::is_simulated`] says so.
//!
//! ```
//! let report = ampe_poller::verify::run(&ampe_poller::verify::Options::default());
//! for finding in &report.findings {
//!     println!("{:?}: {}", finding.verdict, finding.name);
//! }
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use crate::nt::verify::{self, Ground, Here, Line, Setting, Trouble};

/// How a system is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// No question is begun after this time, which is 30 seconds unless it is set. One question takes up to 20
    /// seconds if the system does not answer, and mostly less than one.
    pub within: Duration,
    /// Whether all calls and answers are [written down](Report::trace).
    pub traces: bool,
    /// Asked before each question: whether to leave out this one and the rest. Says no unless it is set.
    pub is_over: fn() -> bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            within: Duration::from_secs(30),
            traces: false,
            is_over: || false,
        }
    }
}

/// What a system has answered.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The simulated kernel was asked, as this system has no AFD.
    pub is_simulated: bool,
    /// Windows' major and minor version and its build number.
    pub version: Option<(u32, u32, u32)>,
    /// Wine's version, where this is Wine.
    pub wine: Option<String>,
    /// Winsock's providers, layers among them, in the system's order.
    pub providers: Vec<String>,
    /// How many handles this process had before and after. A few more are the system's own: it keeps some
    /// for what was used once.
    pub handles: Option<(u32, u32)>,
    /// What came of each question.
    pub findings: Vec<Finding>,
    /// How long all of it took.
    pub took: Duration,
    /// All calls and answers, if that was asked for.
    pub trace: Option<Trace>,
}

impl Report {
    /// How many findings have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.verdict == verdict)
            .count()
    }
}

/// What came of one question.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// A sentence in lower case, the words joined by underscores: what is claimed of the system. Reports know a
    /// question by it.
    pub name: &'static str,
    /// What is expected, in words.
    pub expected: &'static str,
    /// What was seen; empty if it is what was expected and no more.
    pub seen: String,
    /// What that comes to.
    pub verdict: Verdict,
    /// Why it is known to differ here, where it is.
    pub known: Option<&'static str>,
    /// How long it took.
    pub took: Duration,
}

/// Whether what was seen is what was expected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// It is.
    Agrees,
    /// It is not. Nothing depends on it, and whoever develops the poller wants to know.
    Differs,
    /// It could not be asked.
    NotAsked,
}

/// All calls that were made and all that was answered, in order, with names in place of addresses and handles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace(Vec<Line>);

impl Trace {
    /// Reads a trace from its text.
    ///
    /// # Errors
    ///
    /// The number of the first line, from 1, that is none of a trace.
    pub fn parse(text: &str) -> Result<Trace, usize> {
        let lines = text.lines().enumerate();
        let lines = lines.map(|(at, text)| Line::parse(text).ok_or(at + 1));
        lines.collect::<Result<_, _>>().map(Trace)
    }

    /// Makes the same calls to the simulated kernel, and says where it could not have answered so. A trace that
    /// is refused shows what the poller's tests do not know of a kernel.
    #[must_use]
    pub fn check(&self) -> Check {
        let replay = verify::replay(&self.0);
        Check {
            lines: replay.lines,
            sections: replay.sections as usize,
            refusals: replay.refusals,
            choices: replay.choices.into_iter().collect(),
        }
    }
}

/// A call, a packet or a deed a line.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// What came of checking a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Check {
    /// How many lines there are.
    pub lines: usize,
    /// How many sections, each a kernel of its own.
    pub sections: usize,
    /// The line from 1 at which the simulated kernel could not have answered so, and why: the first of a section.
    pub refusals: Vec<(usize, String)>,
    /// What it may do and rarely does, and how often it was seen.
    pub choices: Vec<(&'static str, u32)>,
}

/// Asks this system. Takes some seconds, opens up to ten thousand sockets for a moment, and on Windows starts
/// `cmd.exe` to have another process with a handle.
#[must_use]
pub fn run(options: &Options) -> Report {
    run_on::<Here>(options, &Setting::of_users())
}

fn run_on<G: Ground>(options: &Options, setting: &Setting) -> Report {
    let start = Instant::now();
    let before = here::handles();
    let is_over = || (options.is_over)() || start.elapsed() >= options.within;
    let (asked, lines) = verify::ask_all::<G>(setting, is_over, options.traces);
    let findings = asked.into_iter().map(|asked| {
        let (verdict, seen) = match asked.answer {
            Ok(seen) => (Verdict::Agrees, seen),
            Err(Trouble::Differs(seen)) => (Verdict::Differs, seen),
            Err(Trouble::NotAsked(why)) => (Verdict::NotAsked, why),
        };
        Finding {
            name: asked.fact.name,
            expected: asked.fact.expected,
            seen,
            verdict,
            known: verify::known::<G>(asked.fact.name).filter(|_| verdict == Verdict::Differs),
            took: asked.took,
        }
    });
    let findings = findings.collect();
    Report {
        is_simulated: G::IS_SIMULATED,
        version: here::version(),
        wine: here::wine(),
        providers: here::providers(),
        handles: before.zip(here::handles()),
        findings,
        took: start.elapsed(),
        trace: options.traces.then_some(Trace(lines)),
    }
}

#[cfg(windows)]
mod here {
    use crate::nt::system;

    #[expect(clippy::unnecessary_wraps, reason = "there is none elsewhere")]
    pub(super) fn version() -> Option<(u32, u32, u32)> {
        Some(system::version())
    }

    pub(super) fn wine() -> Option<String> {
        system::wine_version()
    }

    pub(super) fn providers() -> Vec<String> {
        system::providers().unwrap_or_else(|error| vec![format!("not told: {error}")])
    }

    pub(super) fn handles() -> Option<u32> {
        system::handles()
    }
}

#[cfg(not(windows))]
mod here {
    pub(super) fn version() -> Option<(u32, u32, u32)> {
        None
    }

    pub(super) fn wine() -> Option<String> {
        None
    }

    pub(super) fn providers() -> Vec<String> {
        Vec::new()
    }

    pub(super) fn handles() -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_enough_is_asked_no_more() {
        let options = Options {
            is_over: || true,
            ..Options::default()
        };
        let report = run(&options);
        assert_eq!(report.count(Verdict::NotAsked), report.findings.len());
        let options = Options {
            within: Duration::ZERO,
            ..Options::default()
        };
        let report = run(&options);
        assert_eq!(report.count(Verdict::NotAsked), report.findings.len());
        assert!(report.findings.len() > 30 && report.trace.is_none());
    }

    /// A kernel that is wrong is told of as such, and by its trace.
    #[test]
    fn what_differs_is_told() {
        let options = Options {
            traces: true,
            ..Options::default()
        };
        let setting = Setting::spoilt(|mood| mood.counts_one = true);
        let report = run_on::<verify::Simulated>(&options, &setting);
        let is_different = |finding: &&Finding| finding.verdict == Verdict::Differs;
        let differing: Vec<_> = report.findings.iter().filter(is_different).collect();
        assert_eq!(report.count(Verdict::Differs), 1, "{differing:?}");
        let name = "the_handles_of_a_socket_are_counted_wherever_they_are";
        assert_eq!((differing[0].name, differing[0].known), (name, None));
        assert!(differing[0].seen.starts_with("of two"), "{differing:?}");
        let text = report.trace.unwrap().to_string();
        let check = Trace::parse(&text).unwrap().check();
        let [(line, why)] = check.refusals.as_slice() else {
            panic!("{:?}", check.refusals)
        };
        assert!(why.contains("where there are 2"), "{why}");
        let refused = text.lines().nth(line - 1).unwrap();
        assert!(refused.starts_with("count "), "{refused}");
        assert_eq!(Trace::parse("# one\nopened socket1\nnonsense"), Err(3));
    }

    /// As a user asks. On Linux that is the simulated kernel, which differs in nothing.
    #[test]
    fn a_system_is_asked_and_its_trace_is_checked() {
        let options = Options {
            traces: true,
            ..Options::default()
        };
        let report = run(&options);
        assert_eq!(report.is_simulated, cfg!(not(windows)));
        for finding in &report.findings {
            let Finding {
                name,
                seen,
                verdict,
                known,
                took,
                ..
            } = finding;
            println!("{verdict:?} {name}: {seen} {known:?} {took:?}");
            assert!(
                *verdict != Verdict::Differs || known.is_some(),
                "{name}: {seen}"
            );
        }
        println!(
            "{:?}, {:?}, {:?}",
            report.took, report.handles, report.providers
        );
        let trace = report.trace.unwrap();
        let check = trace.check();
        println!("{check:?}");
        assert_eq!(check.refusals, []);
        assert!(check.sections >= 30, "{check:?}");
        let text = trace.to_string();
        assert_eq!(Trace::parse(&text), Ok(trace));
    }
}
