//! `ampe doctor --verify`: what the system's kernel answers, beside what is expected of it.

use std::fs;
use std::path::Path;

use ampe::verify::{self, Check, Finding, Options, Report, Verdict};
use serde_json::{Value, json};

use crate::error::Failure;
use crate::interrupt;
use crate::output;

/// How wide a line is at most.
const WIDTH: usize = 80;
/// Where the text of a table begins.
const INDENT: usize = 14;

/// What was answered, and what came of the trace if there is one.
pub(super) struct Verified {
    report: Report,
    traced: Option<Traced>,
}

/// A trace that was written, and what the check of it gave.
struct Traced {
    path: String,
    check: Check,
}

/// Asks the system, and writes the trace to this file.
pub(super) fn run(trace: Option<&Path>) -> Result<Verified, Failure> {
    // A file that cannot be written is noticed before half a minute is spent.
    trace.map_or(Ok(()), |path| write(path, ""))?;
    let mut options = Options::default();
    options.traces = trace.is_some();
    options.is_over = || interrupt::check().is_err();
    let seconds = options.within.as_secs();
    output::note(&format!(
        "asking this system, for {seconds} seconds at most"
    ));
    let mut report = verify::run(&options);
    interrupt::check()?;
    let traced = match trace.zip(report.trace.take()) {
        None => None,
        Some((path, trace)) => {
            write(path, &trace.to_string())?;
            Some(Traced {
                path: output::shown(path.display()),
                check: trace.check(),
            })
        }
    };
    Ok(Verified { report, traced })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| {
        Failure::new(format!(
            "cannot write {}: {error}: name a file that you may write to",
            output::shown(path.display())
        ))
    })
}

/// A label, and text beside it that continues below itself.
pub(super) fn entry(lines: &mut Vec<String>, label: &str, text: &str) {
    let mut line = format!("{label:<INDENT$}");
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let length = line.chars().count() + 1 + word.chars().count();
        if !is_empty && length > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(INDENT)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line.trim_end().to_owned());
}

fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Differs => "differs",
        Verdict::NotAsked => "not asked",
    }
}

/// A finding's name as a sentence.
fn sentence(finding: &Finding) -> String {
    finding.name.replace("else_s", "else's").replace('_', " ")
}

impl Verified {
    fn asked(&self) -> String {
        let report = &self.report;
        let wine = report.wine.as_ref();
        let wine = wine.map_or(String::new(), |version| format!(", Wine {version}"));
        match report.version {
            Some((major, minor, build)) => format!("Windows {major}.{minor}, build {build}{wine}"),
            None => "the simulated kernel, as this system is no Windows".to_owned(),
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let report = &self.report;
        let mut lines = Vec::new();
        entry(&mut lines, "asked", &self.asked());
        for provider in &report.providers {
            entry(&mut lines, "", provider);
        }
        if let Some((before, after)) = report.handles {
            entry(
                &mut lines,
                "handles",
                &format!("{before} before, {after} after"),
            );
        }
        lines.push(String::new());
        for finding in &report.findings {
            let milliseconds = finding.took.as_millis();
            let text = format!("{} ({milliseconds}ms)", sentence(finding));
            entry(&mut lines, label(finding.verdict), &text);
            if finding.verdict == Verdict::Differs {
                entry(&mut lines, "", &format!("expected: {}", finding.expected));
            }
            let what = match finding.verdict {
                Verdict::NotAsked => "why",
                _ => "seen",
            };
            if !finding.seen.is_empty() {
                entry(&mut lines, "", &format!("{what}: {}", finding.seen));
            }
            if let Some(known) = finding.known {
                entry(&mut lines, "", &format!("known: {known}"));
            }
        }
        lines.push(String::new());
        let [agree, differ, not_asked] =
            [Verdict::Agrees, Verdict::Differs, Verdict::NotAsked].map(|it| report.count(it));
        let seconds = report.took.as_secs_f64();
        let told = format!(
            "{agree} agree, {differ} differ, {not_asked} could not be asked, in {seconds:.1} s. \
             Nothing depends on the answers. Where one differs and is not known, please report all of this."
        );
        entry(&mut lines, "together", &told);
        if let Some(traced) = &self.traced {
            traced.lines(&mut lines);
        }
        lines
    }

    /// For reports.
    pub(super) fn document(&self) -> Value {
        let report = &self.report;
        let findings = report.findings.iter().map(|finding| {
            json!({
                "name": finding.name,
                "verdict": label(finding.verdict),
                "expected": finding.expected,
                "seen": finding.seen,
                "known": finding.known,
                "microseconds": u64::try_from(finding.took.as_micros()).unwrap_or(u64::MAX),
            })
        });
        json!({
            "simulated": report.is_simulated,
            "windows": report.version.map(|(major, minor, build)| json!({
                "major": major,
                "minor": minor,
                "build": build,
            })),
            "wine": report.wine,
            "providers": report.providers,
            "handles": report.handles.map(|(before, after)| json!({
                "before": before,
                "after": after,
            })),
            "seconds": report.took.as_secs_f64(),
            "findings": findings.collect::<Vec<_>>(),
            "trace": self.traced.as_ref().map(Traced::document),
        })
    }
}

impl Traced {
    fn lines(&self, lines: &mut Vec<String>) {
        let Check {
            lines: count,
            sections,
            refusals,
            choices,
            ..
        } = &self.check;
        let told = format!("{}: {count} lines in {sections} sections", self.path);
        entry(lines, "trace", &told);
        for (choice, count) in choices {
            entry(lines, "", &format!("{choice}: {count}"));
        }
        match refusals.is_empty() {
            true => entry(lines, "", "The simulated kernel could have answered so."),
            false => entry(
                lines,
                "",
                "The simulated kernel could not have answered so:",
            ),
        }
        for (at, why) in refusals {
            entry(lines, "", &format!("line {at}: {why}"));
        }
    }

    fn document(&self) -> Value {
        let Check {
            lines,
            sections,
            refusals,
            choices,
            ..
        } = &self.check;
        let refusals = refusals
            .iter()
            .map(|(line, why)| json!({ "line": line, "why": why }));
        let choices = choices
            .iter()
            .map(|(choice, count)| json!({ "choice": choice, "count": count }));
        json!({
            "file": self.path,
            "lines": lines,
            "sections": sections,
            "refusals": refusals.collect::<Vec<_>>(),
            "choices": choices.collect::<Vec<_>>(),
        })
    }
}
