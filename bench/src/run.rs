//! Runs: each contestant in turn, as often as is asked for.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::arguments::RunArguments;
use crate::contestant::{self, Contestant, MISSING, NO_TLS};
use crate::machine::Machine;
use crate::pair::{self, Found};
use crate::report;
use crate::row::{self, Results};
use crate::task::{Task, Transport, Work, name_of};
use crate::work::{self, Figure, Value};

/// After so many failures of a contestant at a task it is not asked again.
const FAILURES_MAX: usize = 2;

/// Who takes part, by which names.
struct Field {
    contestants: Vec<Box<dyn Contestant>>,
    pollers: Vec<&'static str>,
}

impl Field {
    fn choose(names: &[String]) -> Result<Field> {
        let mut field = Field {
            contestants: contestant::all(),
            pollers: work::POLLERS.iter().map(|(name, _)| *name).collect(),
        };
        for name in names {
            let is_known = field.contestants.iter().any(|it| it.name() == name)
                || field.pollers.contains(&name.as_str());
            if let Some((_, feature)) = MISSING.iter().find(|(missing, _)| missing == name) {
                bail!("{name} is not built in: run with --features {feature}");
            }
            if !is_known {
                let known: Vec<&str> = field.contestants.iter().map(|it| it.name()).collect();
                bail!(
                    "no contestant is called {name}: {}, {}",
                    known.join(", "),
                    field.pollers.join(", ")
                );
            }
        }
        if !names.is_empty() {
            field
                .contestants
                .retain(|it| names.iter().any(|name| name == it.name()));
            field
                .pollers
                .retain(|it| names.iter().any(|name| name == it));
        }
        Ok(field)
    }

    /// Who can do a task; the others are said to be skipped, with their reasons.
    fn of(&self, task: &Task) -> Vec<&'static str> {
        if task.work == Work::Poller {
            return self.pollers.clone();
        }
        let mut able = Vec::new();
        for contestant in &self.contestants {
            let is_secured = task.transport == Transport::Tls;
            let has_no_tls = (is_secured && !contestant.has_tls()).then_some(NO_TLS);
            match has_no_tls.or_else(|| contestant.cannot(task)) {
                None => able.push(contestant.name()),
                Some(reason) => eprintln!(
                    "skipped: {} of {}: {reason}",
                    describe(task),
                    contestant.name()
                ),
            }
        }
        able
    }
}

fn describe(task: &Task) -> String {
    let mut text = format!(
        "{}, {}, {} B",
        name_of(&task.work),
        name_of(&task.transport),
        task.size
    );
    if task.work == Work::Producers {
        text += &format!(", {} senders, {} groups", task.senders, task.groups);
    }
    if task.channels > 0 {
        text += &format!(", {} channels", task.channels);
    }
    if let Some(piece) = &task.piece {
        text = format!("poller, {piece}");
    }
    text
}

/// One task, and what became of it so far.
struct Course {
    task: Task,
    field: Vec<(&'static str, usize)>,
}

pub fn run(arguments: &RunArguments) -> Result<()> {
    let field = Field::choose(&arguments.contestants)?;
    let machine = Machine::look();
    print_settings(&field, &machine);
    let works = match &arguments.work[..] {
        [] => Work::value_variants(),
        some => some,
    };
    let tasks = works.iter().flat_map(|work| work::tasks(*work, arguments));
    let course = |task| Course {
        field: field.of(&task).into_iter().map(|name| (name, 0)).collect(),
        task,
    };
    let mut courses: Vec<Course> = tasks.map(course).collect();
    let (mut results, mut failed) = (Results::default(), 0);
    let begin = Instant::now();
    for round in 0..usize::from(arguments.runs) {
        eprintln!(
            "run {} of {}, {:.0} s so far",
            round + 1,
            arguments.runs,
            begin.elapsed().as_secs_f64()
        );
        for course in &mut courses {
            // Another one begins each time, so that nobody always follows the same one.
            let count = course.field.len();
            for index in 0..count {
                failed += measure(course, (index + round) % count, &mut results);
            }
        }
    }
    let rows = results.rows();
    let tables = row::markdown(&rows);
    println!("{tables}");
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&rows)?)
            .with_context(|| format!("{path:?}"))?;
    }
    if let Some(path) = &arguments.markdown {
        let head = machine.lines().join("; ");
        fs::write(path, format!("{head}\n\n{tables}")).with_context(|| format!("{path:?}"))?;
    }
    if let Some(path) = &arguments.report {
        report::write(path, &rows, Some(&machine), &settings(&field))?;
    }
    eprintln!(
        "took {:.0} s, {failed} failures",
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Measures one contestant of a course once; returns how many failures that were.
fn measure(course: &mut Course, index: usize, results: &mut Results) -> usize {
    let (name, failures) = &mut course.field[index];
    if *failures >= FAILURES_MAX {
        return 0;
    }
    let task = &course.task;
    let limit = work::limit(task);
    let found = match task.work {
        Work::Poller => pair::measure_alone(name, task, limit),
        _ => pair::measure(name, task, limit),
    };
    let label = format!("  {} {name}:", describe(task));
    match found {
        Ok(found) => {
            let figures = work::figures(task, &found);
            let shown: Vec<String> = figures.iter().map(show).collect();
            eprintln!("{label} {}{}", shown.join(", "), note(&found));
            for figure in &figures {
                results.add(task, name, figure);
            }
            0
        }
        Err(why) => {
            *failures += 1;
            let again = if *failures == FAILURES_MAX {
                "; not tried again"
            } else {
                ""
            };
            eprintln!("{label} FAILED: {why:#}{again}");
            1
        }
    }
}

fn show(figure: &Figure) -> String {
    match figure.value {
        Value::Number(number) => format!("{} {}", row::short(number), figure.unit),
        Value::Times(it) => format!("p50 {:.1} p99 {:.1} p999 {:.1} us", it.p50, it.p99, it.p999),
    }
}

fn note(found: &Found) -> &'static str {
    match found.listener.allocations {
        Some(_) => " (allocations are counted, which costs time: build without that feature)",
        None => "",
    }
}

fn settings(field: &Field) -> Vec<(String, String)> {
    let of = |it: &dyn Contestant| (it.name().to_owned(), it.settings());
    field.contestants.iter().map(|it| of(it.as_ref())).collect()
}

fn print_settings(field: &Field, machine: &Machine) {
    for line in machine.lines() {
        println!("{line}");
    }
    println!();
    for (name, settings) in settings(field) {
        println!("- {name}: {settings}");
    }
    for (name, feature) in MISSING {
        println!("- {name}: not built in; run with --features {feature}");
    }
    println!();
}
