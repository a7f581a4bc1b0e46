//! `ampe doctor`: what it says is what is so.

use serde_json::Value;

use crate::common::{self, run};

#[test]
fn what_is_told_in_json_is_told_in_words() {
    let told = run(&["doctor", "--json"]);
    told.assert_succeeds();
    assert_eq!(told.stdout.len(), 1, "{told:?}");
    let document: Value = serde_json::from_str(&told.stdout[0]).unwrap();
    let text = run(&["doctor"]);
    text.assert_succeeds();
    let text = text.stdout.join("\n");
    for name in ["version", "build", "architecture", "system", "backend"] {
        let value = document[name].as_str().unwrap();
        assert!(!value.is_empty() && text.contains(value), "{name}: {text}");
    }
    // What only Windows has is there, and in words too, or it is not.
    for name in ["control", "provider"] {
        let value = document[name].as_str();
        assert_eq!(value.is_some(), cfg!(windows), "{name}");
        assert!(
            value.is_none_or(|value| text.contains(value)),
            "{name}: {text}"
        );
    }
    let has_unix_sockets = document["unix_sockets"].as_bool().unwrap();
    assert_eq!(has_unix_sockets, ampe::platform::has_unix_sockets());
}

/// A lower limit, set before it starts, is the one that it tells.
#[cfg(unix)]
#[test]
fn the_limit_that_holds_is_told() {
    let ampe = env!("CARGO_BIN_EXE_ampe");
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -Sn 123 && exec \"$0\" doctor --json", ampe])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["descriptors"]["soft"], 123);
    assert!(
        document["descriptors"]["hard"]
            .as_u64()
            .is_none_or(|hard| hard >= 123)
    );
}

#[test]
fn shells_and_man_are_told_of_each_command() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = run(&["completions", shell]);
        script.assert_succeeds();
        let script = script.stdout.join("\n");
        assert!(
            script.contains("doctor") && script.contains("overwrite"),
            "{shell}"
        );
    }
    let place = common::Place::new();
    let out = place.out();
    let written = run(&["man", out.to_str().unwrap()]);
    written.assert_succeeds();
    assert_eq!(written.stdout.len(), place.out_entries().len());
    let page = std::fs::read_to_string(out.join("ampe-recv.1")).unwrap();
    assert!(
        page.contains("overwrite") && page.contains("sha256sum"),
        "{page}"
    );
    let nowhere = out.join("missing");
    let failed = run(&["man", nowhere.to_str().unwrap()]);
    failed.assert_fails(1, &["cannot write", "a directory that exists"]);
}

/// What is told of the kernel in JSON is told in words, within 80 columns, and the trace passes its check.
#[test]
fn what_the_kernel_answers_is_told() {
    let place = common::Place::new();
    let trace = place.path().join("trace.txt");
    let trace = trace.to_str().unwrap();
    let told = run(&["doctor", "--verify", "--json", "--trace", trace]);
    told.assert_succeeds();
    assert_eq!(told.stdout.len(), 1, "{told:?}");
    let document: Value = serde_json::from_str(&told.stdout[0]).unwrap();
    let verified = &document["verify"];
    assert_eq!(verified["simulated"], cfg!(not(windows)));
    assert_eq!(verified["windows"].is_null(), cfg!(not(windows)));
    let findings = verified["findings"].as_array().unwrap();
    assert!(findings.len() > 30, "{findings:?}");
    for finding in findings {
        let is_expected = finding["verdict"] != "differs" || !finding["known"].is_null();
        assert!(is_expected, "{finding}");
    }
    assert_eq!(
        verified["trace"]["refusals"],
        serde_json::json!([]),
        "{verified}"
    );
    let written = std::fs::read_to_string(trace).unwrap();
    assert_eq!(verified["trace"]["lines"], written.lines().count());

    let text = run(&["doctor", "--verify"]);
    text.assert_succeeds();
    for line in &text.stdout {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let text = text.stdout.join("\n");
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    for finding in findings {
        let name = finding["name"].as_str().unwrap().replace('_', " ");
        let name = name.replace("else s", "else's");
        let verdict = finding["verdict"].as_str().unwrap();
        // On a busy machine either of the two may have had no time for the last questions.
        let says = |verdict: &str| text.contains(&format!("{verdict} {name}"));
        assert!(
            says(verdict) || says("not asked") || (verdict == "not asked" && says("agrees")),
            "{verdict} {name}: {text}"
        );
    }
}

#[test]
fn a_trace_that_cannot_be_written_is_a_failure() {
    let place = common::Place::new();
    let nowhere = place.path().join("missing/trace.txt");
    let failed = run(&["doctor", "--verify", "--trace", nowhere.to_str().unwrap()]);
    failed.assert_fails(1, &["cannot write", "that you may write to"]);
    let alone = run(&["doctor", "--trace", "trace.txt"]);
    alone.assert_fails(2, &["--verify"]);
}
