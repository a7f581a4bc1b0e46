//! What a message costs in things that can be counted rather than timed.
//!
//! Each work is done once with so many messages and once with twice as many, so that what connecting
//! and ending cost falls out of the difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::allocations;
use crate::arguments::CountsArguments;
use crate::pair::{self, Found};
use crate::task::{Task, Work, name_of};

/// What is traced is slow.
const LIMIT: Duration = Duration::from_secs(120);
/// System calls that are named, of all that are counted.
const NAMED: usize = 6;

pub fn run(arguments: &CountsArguments) -> Result<()> {
    let has_strace = Command::new("strace")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_strace {
        println!("system calls are not counted: there is no strace");
    }
    if allocations::so_far().is_none() {
        println!("allocations are not counted: run with --features allocations");
    }
    println!(
        "for each message, or round trip, of {} B over {}; both processes together",
        arguments.size,
        name_of(&arguments.transport)
    );
    println!(
        "\n| | system calls | thread switches | allocations | passes of the engines | which calls |"
    );
    println!("|---|---|---|---|---|---|");
    for work in [Work::OneWay, Work::RoundTrip] {
        for contestant in &arguments.contestants {
            let task = Task {
                count: Some(arguments.messages),
                ..Task::new(work, arguments.transport, arguments.size, 0.0)
            };
            match row(contestant, &task, has_strace) {
                Ok(row) => println!("| {}, {contestant} | {row} |", name_of(&work)),
                Err(why) => println!("| {}, {contestant} | failed: {why:#} |", name_of(&work)),
            }
        }
    }
    println!(
        "\nOne way, what is done for many messages at once depends on how many there are by then: on the machine, \
         and for system calls on strace, which slows them."
    );
    Ok(())
}

fn row(contestant: &str, task: &Task, has_strace: bool) -> Result<String> {
    let messages = task.count.context("counts have a count")?;
    let twice = Task {
        count: Some(2 * messages),
        ..task.clone()
    };
    let (one, two) = (
        pair::measure(contestant, task, LIMIT)?,
        pair::measure(contestant, &twice, LIMIT)?,
    );
    let per_message = |of: fn(&Found) -> Option<u64>| {
        let difference = of(&two)
            .zip(of(&one))
            .map(|(two, one)| two as f64 - one as f64);
        difference.map_or_else(
            || "-".to_owned(),
            |it| format!("{:.3}", it / messages as f64),
        )
    };
    let switches = per_message(|found| Some(found.listener.switches + found.connector.switches));
    let allocations = per_message(|found| {
        found
            .listener
            .allocations
            .zip(found.connector.allocations)
            .map(|(one, other)| one + other)
    });
    let passes = per_message(|found| {
        found
            .listener
            .passes
            .zip(found.connector.passes)
            .map(|(one, other)| one + other)
    });
    let (calls, named) = if has_strace {
        let (one, two) = (traced(contestant, task)?, traced(contestant, &twice)?);
        difference(&one, &two, messages)
    } else {
        ("-".to_owned(), String::new())
    };
    Ok(format!(
        "{calls} | {switches} | {allocations} | {passes} | {named}"
    ))
}

type Calls = BTreeMap<String, f64>;

/// The system calls of both processes, from their beginning to their end.
fn traced(contestant: &str, task: &Task) -> Result<Calls> {
    let directory = tempfile::Builder::new().prefix("ampe-bench").tempdir()?;
    let files = ["listener", "connector"].map(|name| directory.path().join(name));
    let wrapper = |file: &Path| {
        let words = ["strace", "-f", "-qq", "-c", "-o"].map(str::to_owned);
        words
            .into_iter()
            .chain([file.display().to_string()])
            .collect::<Vec<String>>()
    };
    pair::measure_wrapped(
        contestant,
        task,
        LIMIT,
        &wrapper(&files[0]),
        &wrapper(&files[1]),
    )?;
    let mut calls = Calls::new();
    for file in &files {
        let text = fs::read_to_string(file).context("strace has written nothing")?;
        for (name, count) in text.lines().filter_map(parse) {
            *calls.entry(name).or_default() += count;
        }
    }
    Ok(calls)
}

/// A line of strace's summary: the share of the time, seconds, microseconds a call, calls, errors if there
/// were any, and the call's name.
fn parse(line: &str) -> Option<(String, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = words.last().filter(|name| **name != "total")?;
    let is_line = words.len() >= 5 && words[0].parse::<f64>().is_ok();
    let count = if is_line {
        words[3].parse().ok()?
    } else {
        return None;
    };
    Some(((*name).to_owned(), count))
}

fn difference(one: &Calls, two: &Calls, messages: u64) -> (String, String) {
    let mut each: Vec<(&str, f64)> = two
        .iter()
        .map(|(name, count)| {
            (
                name.as_str(),
                (count - one.get(name).unwrap_or(&0.0)) / messages as f64,
            )
        })
        .collect();
    each.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = each.iter().map(|(_, count)| count).sum();
    let named = each
        .iter()
        .take(NAMED)
        .filter(|(_, count)| *count >= 0.0005);
    let named: Vec<String> = named
        .map(|(name, count)| format!("{name} {count:.3}"))
        .collect();
    (format!("{all:.3}"), named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_with_and_without_errors() {
        let lines = [
            "% time     seconds  usecs/call     calls    errors syscall",
            "------ ----------- ----------- --------- --------- ----------------",
            " 50.00    0.000020           1        20         4 futex",
            " 50.00    0.000020           2        10           sendmsg",
            "100.00    0.000040           1        30         4 total",
        ];
        let calls: Vec<(String, f64)> = lines.iter().filter_map(|line| parse(line)).collect();
        assert_eq!(
            calls,
            [("futex".to_owned(), 20.0), ("sendmsg".to_owned(), 10.0)]
        );
    }
}
