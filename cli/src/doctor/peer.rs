//! `ampe doctor --to`: what answers at an address, and what to do where that is not what it should be.

#[cfg(feature = "tls")]
mod certificate;
mod hello;
#[cfg(feature = "tls")]
mod look;
#[cfg(feature = "tls")]
mod secured;

use std::time::Duration;

use ampe::{Address, Reason};
use serde_json::{Value, json};

use self::hello::{Answer, Asked};
use super::verification::entry;
use crate::args::Doctor;
use crate::error::Failure;
use crate::output;

/// What was found out.
struct Report {
    /// For people.
    lines: Vec<String>,
    /// For programs.
    document: Value,
    /// What is wrong, each with what to do.
    problems: Vec<String>,
    /// Whether something did not come in time.
    is_late: bool,
}

pub(super) fn run(arguments: &Doctor, to: &Address) -> Result<(), Failure> {
    let mut report = Report {
        lines: Vec::new(),
        document: json!({
            "to": to.to_string(),
            "port": null,
            "tls": null,
            "trusted": null,
            "ampe": null,
        }),
        problems: Vec::new(),
        is_late: false,
    };
    report.tell("address", &output::shown(to));
    match to.is_tls() {
        true => secured(&mut report, arguments, to)?,
        false => open(&mut report, arguments, to)?,
    }
    report.end(arguments.json)
}

#[cfg(feature = "tls")]
fn secured(report: &mut Report, arguments: &Doctor, to: &Address) -> Result<(), Failure> {
    secured::examine(report, arguments, to)
}

/// The engine says that there is no TLS.
#[cfg(not(feature = "tls"))]
fn secured(report: &mut Report, arguments: &Doctor, to: &Address) -> Result<(), Failure> {
    open(report, arguments, to)
}

/// Without TLS.
fn open(report: &mut Report, arguments: &Doctor, to: &Address) -> Result<(), Failure> {
    let security = arguments.secure.dialling(to)?;
    let asked = hello::ask(to, security, arguments.timeout)?;
    report.port(asked.connected.map(|took| (None, took)));
    if asked.connected.is_some() && !asked.is_ampe() && speaks_tls(arguments, to)? {
        let said = format!(
            "{} speaks TLS: give {}, with --key-file, --pin or --ca",
            output::shown(to),
            output::shown(to.to_string().replacen("tcp://", "tls://", 1))
        );
        report.ampe("no: TLS is spoken there", json!({ "answers": false }));
        report.wrong(said);
        return Ok(());
    }
    report.answer(to, &asked, arguments.timeout);
    Ok(())
}

#[cfg(feature = "tls")]
fn speaks_tls(arguments: &Doctor, to: &Address) -> Result<bool, Failure> {
    secured::speaks_tls(to, arguments.timeout)
}

#[cfg(not(feature = "tls"))]
fn speaks_tls(_: &Doctor, _: &Address) -> Result<bool, Failure> {
    Ok(false)
}

/// A time as people read it.
fn shown(took: Duration) -> String {
    format!("{:.1} ms", milliseconds(took))
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

impl Report {
    fn tell(&mut self, label: &str, text: &str) {
        entry(&mut self.lines, label, text);
    }

    /// Something is wrong: what, and what to do.
    fn wrong(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Something is wrong, and it is that nothing came.
    fn late(&mut self, problem: String) {
        self.is_late = true;
        self.wrong(problem);
    }

    /// Whether somebody listens, where, and how long it took to connect.
    fn port(&mut self, connected: Option<(Option<String>, Duration)>) {
        let Some((at, took)) = connected else {
            self.tell("port", "no connection came about");
            self.document["port"] = json!({ "open": false });
            return self.ampe("not asked", json!({ "answers": null }));
        };
        let shown_at = at
            .as_deref()
            .map_or(String::new(), |at| format!(" at {at}"));
        self.tell(
            "port",
            &format!("open{shown_at}, connected in {}", shown(took)),
        );
        self.document["port"] = json!({
            "open": true,
            "address": at,
            "connect_ms": milliseconds(took),
        });
    }

    fn ampe(&mut self, text: &str, document: Value) {
        self.tell("ampe", text);
        self.document["ampe"] = document;
    }

    /// What became of a hello.
    fn answer(&mut self, to: &Address, asked: &Asked, timeout: Duration) {
        match &asked.answer {
            Answer::Accepted(took) => {
                let text = format!(
                    "answers: it accepts a hello, in {} with connecting",
                    shown(*took)
                );
                let document = json!({
                    "answers": true,
                    "accepts": true,
                    "hello_ms": milliseconds(*took),
                });
                self.ampe(&text, document);
            }
            Answer::Refused(why) => {
                let because = why.as_deref().unwrap_or("it does not say why");
                let text = format!("answers, and refuses a hello that says nothing: {because}");
                let document = json!({ "answers": true, "accepts": false, "refusal": why });
                self.ampe(&text, document);
            }
            Answer::NotSecured(words) => {
                self.ampe("not asked", json!({ "answers": null }));
                let to = output::shown(to);
                self.wrong(format!(
                    "no handshake with {to} came about: {words}: run it again"
                ));
            }
            Answer::Ended { reason, said } => {
                if asked.connected.is_some() {
                    self.ampe(NO_AMPE, json!({ "answers": false }));
                }
                match reason {
                    Reason::ConnectTimedOut => self.late(said.clone()),
                    _ => self.wrong(said.clone()),
                }
            }
            Answer::Silent => {
                self.ampe("no: it says nothing", json!({ "answers": false }));
                self.late(silent(to, timeout));
            }
        }
    }

    fn end(mut self, json: bool) -> Result<(), Failure> {
        for problem in &self.problems {
            entry(&mut self.lines, "wrong", problem);
        }
        if json {
            self.document["problems"] = self.problems.clone().into();
            output::json(&self.document)?;
        } else {
            for line in &self.lines {
                output::line(line)?;
            }
        }
        match (self.problems.is_empty(), self.is_late) {
            (true, _) => Ok(()),
            (false, true) => Err(Failure::ToldLate),
            (false, false) => Err(Failure::Told),
        }
    }
}

const NO_AMPE: &str = "no: what answers is not ampe, or ended at once";

/// That something listens and does not answer.
fn silent(to: &Address, timeout: Duration) -> String {
    let seconds = timeout.as_secs_f64();
    format!(
        "{} said nothing for {seconds} s: see that ampe listens there, and not another program, or wait longer with \
         --timeout",
        output::shown(to)
    )
}
