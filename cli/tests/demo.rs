//! `ampe demo`: two processes, both transports, nothing left behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by it")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Place, Running, entries, has_partial, start_with, until};
use serde_json::Value;

fn demo(temporary: &Path, arguments: &[&str]) -> Running {
    let arguments: Vec<&str> = ["demo"].iter().chain(arguments).copied().collect();
    start_with(&arguments, |command| {
        command.env("TMPDIR", temporary);
    })
}

#[test]
fn json_names_both_transports_and_all_is_accounted_for() {
    let place = Place::new();
    let file = place.file("file", 1_000_003);
    let finished = demo(&place.out(), &[file.to_str().unwrap(), "--json"]).finish();
    finished.assert_succeeds();
    assert_eq!(finished.stdout.len(), 1);
    let document: Value = serde_json::from_str(&finished.stdout[0]).unwrap();
    let transports = document["transports"].as_object().unwrap();
    assert_eq!(transports.keys().collect::<Vec<_>>(), ["tcp", "uds"]);
    for measured in transports.values() {
        assert_eq!(measured["bytes"], 1_000_003);
        assert_eq!(measured["sha256"], common::sha256(&file));
        assert_eq!(measured["verified"], true);
        assert_eq!(measured["round_trips"], 2000);
        assert!(measured["rtt_us"]["p50"].as_f64().unwrap() > 0.0);
        assert!(measured["rtt_us"]["p99"].as_f64() >= measured["rtt_us"]["p50"].as_f64());
        let account = &measured["account"];
        assert!(account["posted"].as_u64().unwrap() > 2000);
        assert_eq!(account["posted"], account["sent"]);
        assert_eq!(account["returned"], 0);
        assert_eq!(account["confirmed"], account["sent"]);
    }
    assert!(place.out_entries().is_empty());
}

#[test]
fn without_a_file_its_own_executable_is_sent_and_a_table_printed() {
    let place = Place::new();
    let finished = demo(&place.out(), &[]).finish();
    finished.assert_succeeds();
    let size = fs::metadata(env!("CARGO_BIN_EXE_ampe")).unwrap().len();
    let rows: Vec<Vec<&str>> = finished
        .stdout
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 3);
    for (row, transport) in rows[1..].iter().zip(["tcp", "uds"]) {
        assert_eq!(row[..2], [transport, &size.to_string()]);
        assert_eq!(row.len(), 10);
    }
    assert!(place.out_entries().is_empty());
}

#[test]
fn an_empty_file_is_a_file_and_the_second_process_ends_at_once() {
    let place = Place::new();
    let file = place.file("empty", 0);
    let started = Instant::now();
    demo(&place.out(), &[file.to_str().unwrap()])
        .finish()
        .assert_succeeds();
    // It is killed, and the demo ends all the same, after five seconds.
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_directory_too_deep_for_a_socket_is_gone_around() {
    let place = Place::new();
    let deep = place.out().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let file = place.file("file", 10);
    let finished = demo(&deep, &[file.to_str().unwrap()]).finish();
    finished.assert_succeeds();
    assert!(entries(&deep).is_empty());
}

/// A demo in the middle of a file, and the id of its second process.
fn in_the_middle(place: &Place) -> (Running, u32) {
    let file = place.endless_file();
    let running = demo(&place.out(), &[file.to_str().unwrap()]);
    let id = running.id();
    until("a file is being received", || {
        place.out_entries().first().is_some_and(|directory| {
            let received = place.out().join(directory).join("received");
            received.exists() && has_partial(&received)
        })
    });
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let child = children.split_whitespace().next().unwrap().parse().unwrap();
    (running, child)
}

fn is_running(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"));
    // A process that nobody has waited for yet has ended too.
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    let place = Place::new();
    let (running, child) = in_the_middle(&place);
    running.signal("INT");
    let finished = running.finish();
    finished.assert_fails(130, &["interrupted"]);
    assert!(!is_running(child));
    assert!(place.out_entries().is_empty());
}

#[test]
fn when_its_second_process_is_killed_it_says_so_and_leaves_nothing_behind() {
    let place = Place::new();
    let (running, child) = in_the_middle(&place);
    common::signal(child, "KILL");
    let finished = running.finish();
    finished.assert_fails(1, &["broke"]);
    assert!(place.out_entries().is_empty());
}

#[test]
fn killed_it_takes_its_second_process_along() {
    let place = Place::new();
    let (running, child) = in_the_middle(&place);
    running.signal("KILL");
    assert_eq!(running.finish().code, None);
    until("the second process ends", || !is_running(child));
    assert!(place.out_entries().is_empty());
}
