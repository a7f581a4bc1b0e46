//! Keys for two machines: who has one is served, and nobody else.

mod attacks;

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::common::{self, Finished, Place, Running, run, start, start_with};

const ANY: &str = "tls://127.0.0.1:0";

/// A receiver that made a key, its address and the key.
fn receiver(place: &Place, options: &[&str]) -> (Running, String, String) {
    let out = place.out();
    let listen = ["recv", "--listen", ANY, "--out", out.to_str().unwrap()];
    let mut receiver = start(&[&listen, options].concat());
    let line = receiver.line();
    let words: Vec<&str> = line.split(' ').collect();
    let ["ampe", "send", "--to", address, "--key", key, "FILE"] = words[..] else {
        panic!("not a line to paste: {} words", words.len());
    };
    (receiver, address.to_owned(), key.to_owned())
}

/// Runs a command with a key in its environment.
fn run_with_key(arguments: &[&str], key: &str) -> Finished {
    start_with(arguments, |command| {
        command.env("AMPE_KEY", key);
    })
    .finish()
}

/// A key with one letter that is another.
fn mistyped(key: &str) -> String {
    let other = if &key[20..21] == "q" { "p" } else { "q" };
    [&key[..20], other, &key[21..]].concat()
}

/// The two files of a key that lasts.
fn lasting(place: &Place, name: &str) -> [String; 2] {
    let path = place.path().join(name);
    let made = run(&["key", path.to_str().unwrap()]);
    made.assert_succeeds();
    let paths: [String; 2] = made.stdout.try_into().unwrap();
    assert!(paths[0].ends_with(".listen") && paths[1].ends_with(".connect"));
    paths
}

#[test]
fn what_is_pasted_sends_a_file_and_so_does_a_key_that_is_in_no_command_line() {
    let place = Place::new();
    let (_receiver, to, key) = receiver(&place, &[]);
    let files = ["a", "b", "c"].map(|name| place.file(name, 100_000).display().to_string());
    let send = |file| vec!["send", "--to", &to, file];
    run(&[&send(&files[0])[..], &["--key", &key]].concat()).assert_succeeds();
    run_with_key(&send(&files[1]), &key).assert_succeeds();
    let file = place.path().join("key");
    fs::write(&file, format!("{key}\n")).unwrap();
    let read = ["--key-file", file.to_str().unwrap()];
    // What is typed counts, and not what is in the environment.
    let typed = [&send(&files[2])[..], &read].concat();
    run_with_key(&typed, "nonsense").assert_succeeds();
    assert_eq!(place.out_entries(), ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        let received = fs::read(place.out().join(name)).unwrap();
        assert_eq!(received, common::content(100_000));
    }
}

#[test]
fn who_has_another_key_or_none_is_refused() {
    let place = Place::new();
    let (_receiver, to, _) = receiver(&place, &[]);
    let (_other, _, other) = receiver(&place, &[]);
    let file = place.file("a", 10);
    let send = ["send", "--to", &to, file.to_str().unwrap()];
    let refused = run_with_key(&send, &other);
    refused.assert_fails(1, &["could not connect securely", "pinned", "ampe doctor"]);
    run(&send).assert_fails(2, &["--key-file", "--pin", "--ca"]);
    // The hash of the listener's key lets nobody in: `doctor` finds it out.
    let doctor = run(&["doctor", "--json", "--to", &to]);
    let seen: Value = serde_json::from_str(&doctor.stdout[0]).unwrap();
    let hash = seen["tls"]["certificate"]["key_hash"].as_str().unwrap();
    let refused = run(&[&send[..], &["--pin", hash]].concat());
    refused.assert_fails_among(&["it demands a certificate"]);
    assert!(place.out_entries().is_empty());
}

#[test]
fn a_key_is_for_every_command_that_listens_and_connects() {
    let place = Place::new();
    let [listen, connect] = lasting(&place, "k");
    for listening in [&["echo"][..], &["reply", "--body", "pong"], &["tail"]] {
        let keyed = ["--listen", ANY, "--key-file", &listen];
        let mut server = start(&[listening, &keyed].concat());
        let to = server.line();
        let calls: &[&[&str]] = match listening[0] {
            "echo" => &[
                &["ping", "--count", "3"],
                &["bench", "--for", "0.01"],
                &["call", "x"],
            ],
            "reply" => &[&["call", "x"]],
            _ => &[&["tell", "x"]],
        };
        for call in calls {
            let called = run(&[call, &["--to", &to, "--key-file", &connect][..]].concat());
            called.assert_succeeds();
        }
        server.end();
    }
}

/// A key that was made for this one time is on stderr, where talk goes, and in nothing that a program reads.
#[test]
fn a_key_is_printed_where_it_is_asked_for_and_nowhere_else() {
    let place = Place::new();
    let out = place.out();
    let recv = ["recv", "--listen", ANY, "--out", out.to_str().unwrap()];
    for arguments in [
        &[&recv[..], &["--json", "--once"]].concat()[..],
        &["echo", "--json", "--listen", ANY, "--keyed"],
        &["tail", "--listen", ANY, "--keyed"],
        &["reply", "--listen", ANY, "--keyed", "--body", "x"],
    ] {
        let mut listener = start(arguments);
        let told = listener.line();
        listener.end();
        let listened = listener.finish();
        assert!(told.contains("tls://127.0.0.1:"), "{told}");
        let printed = listened.stdout.concat();
        assert!(!printed.contains("ampekey1"), "{arguments:?}");
        assert_eq!(told.contains("--key KEY"), arguments.contains(&"recv"));
        let times = listened.stderr.matches("--key ampekey1").count();
        assert_eq!(times, 1, "{arguments:?}");
    }
    // What fails repeats nothing of a key, whatever is wrong.
    let (_receiver, to, key) = receiver(&place, &[]);
    let mistyped = mistyped(&key);
    let tcp = "tcp://127.0.0.1:9";
    for wrong in [
        &["call", "--to", &to, "--key", &mistyped, "x"][..],
        &["call", "--to", &to, "--key", &key[..100], "x"],
        &["call", "--to", tcp, "--key", &key, "x"],
        &["call", "--to", &to, "--key", &key],
        &["call", "--to", &to, "--key", &key, "--pin", "00", "x"],
        &["call", "--to", &to, "--key", &key, "--nonsense"],
        &["send", "--to", &to, "--key", &key],
    ] {
        let failed = run(wrong);
        let said = failed.stdout.concat() + &failed.stderr;
        assert_ne!(failed.code, Some(0), "{said}");
        assert!(
            !said.contains(&key[8..24]) && !said.contains(&key[30..50]),
            "{said}"
        );
    }
}

#[test]
fn a_key_that_is_not_right_is_told_before_anything_is_sent() {
    let place = Place::new();
    let (_receiver, _, key) = receiver(&place, &[]);
    // Nobody is there: who gets as far as connecting fails with 1.
    let call = ["call", "--to", "tls://127.0.0.1:9", "x", "--timeout", "5"];
    let with = |more: &[&str]| run(&[&call[..], more].concat());
    with(&["--key", &key[..key.len() - 1]]).assert_fails(2, &["--key: ", "checksum"]);
    with(&["--key", "secret"]).assert_fails(2, &["--key: ", "no key", "ampekey1"]);
    run_with_key(&call, &mistyped(&key)).assert_fails(2, &["AMPE_KEY: ", "checksum"]);
    with(&["--key-file", "/no/such/file"]).assert_fails(2, &["/no/such/file"]);
    let [listen, connect] = lasting(&place, "k");
    with(&["--key-file", &listen]).assert_fails(2, &["k.listen", ".connect"]);
    let listening = ["echo", "--listen", ANY, "--key-file", &connect];
    run(&listening).assert_fails(2, &["k.connect", ".listen"]);
    with(&["--key", &key, "--key-file", &connect]).assert_fails(2, &["cannot be used with"]);
    with(&["--key", &key, "--ca", "ca.pem"]).assert_fails(2, &["cannot be used with"]);
    with(&["--key", &key]).assert_fails_among(&["could not connect"]);
}

/// What was to be secret never goes in the open by a slip.
#[test]
fn a_key_with_an_address_that_is_not_tls_is_wrong_usage() {
    let place = Place::new();
    let (_receiver, _, key) = receiver(&place, &[]);
    let call = ["call", "--to", "tcp://127.0.0.1:9", "x"];
    run(&[&call[..], &["--key", &key]].concat()).assert_fails(2, &["tls://"]);
    run_with_key(&call, &key).assert_fails(2, &["AMPE_KEY", "tls://", "unset"]);
    let echo = ["echo", "--listen", "tcp://127.0.0.1:0", "--keyed"];
    run(&echo).assert_fails(2, &["tls://"]);
}

#[test]
fn who_demands_a_key_may_listen_beyond_this_machine() {
    let place = Place::new();
    let out = place.out();
    let out = out.to_str().unwrap();
    let mut receiver = start(&["recv", "--listen", "tls://0.0.0.0:0", "--out", out]);
    let line = receiver.line();
    let start_of_it = "ampe send --to tls://THIS-MACHINE:";
    assert!(line.starts_with(start_of_it) && line.contains(" --key ampekey1"));
    let mut replying = start(&[
        "reply",
        "--listen",
        "tls://0.0.0.0:0",
        "--body",
        "x",
        "--keyed",
    ]);
    assert!(replying.line().starts_with("tls://0.0.0.0:"));
    let open = ["reply", "--listen", "tcp://0.0.0.0:0", "--body", "x"];
    run(&open).assert_fails(2, &["--anyone"]);
}

#[test]
fn a_key_that_lasts_outlives_the_listener() {
    let place = Place::new();
    let [listen, connect] = lasting(&place, "k");
    let (out, file) = (place.out(), place.file("a", 10));
    let recv = ["recv", "--overwrite", "--listen", ANY, "--out"];
    let keyed = ["--key-file", &listen];
    for _ in 0..2 {
        let mut receiver = start(&[&recv[..], &[out.to_str().unwrap()], &keyed].concat());
        let line = receiver.line();
        // A log of it holds no key.
        assert!(line.ends_with(" --key-file k.connect FILE"), "{line}");
        let to = line.split(' ').nth(3).unwrap();
        let send = ["send", "--to", to, file.to_str().unwrap()];
        run(&[&send[..], &["--key-file", &connect]].concat()).assert_succeeds();
        receiver.end();
    }
    #[cfg(unix)]
    for path in [&listen, &connect] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    let again = run(&["key", place.path().join("k").to_str().unwrap()]);
    again.assert_fails(1, &["k.listen", "not replaced"]);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let [listen, connect] = lasting(&place, "k");
    let mut echo = start(&["echo", "--listen", ANY, "--key-file", &listen]);
    let to = echo.line();
    let call = ["call", "--to", &to, "--key-file", &connect, "x"];
    assert!(!run(&call).stderr.contains("chmod"));
    fs::set_permissions(&connect, fs::Permissions::from_mode(0o644)).unwrap();
    let called = run(&call);
    called.assert_succeeds();
    assert!(called.stderr.contains("chmod 600"), "{called:?}");
}

/// The help shows that there is such a variable, and not what is in it.
#[test]
fn help_and_completions_hold_no_key() {
    let place = Place::new();
    let (_receiver, _, key) = receiver(&place, &[]);
    for arguments in [
        &["send", "--help"][..],
        &["--help"],
        &["completions", "bash"],
    ] {
        let told = run_with_key(arguments, &key);
        told.assert_succeeds();
        assert!(!told.stdout.concat().contains(&key), "{arguments:?}");
    }
}

/// A tool, if it is here and says this of itself.
fn tool(names: &[&str], arguments: &[&str], wanted: &str) -> Option<Command> {
    let is_it = |name: &&&str| {
        let output = Command::new(name).args(arguments).output();
        output.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(wanted))
    };
    let found = names.iter().find(is_it);
    if found.is_none() {
        let name = names[0];
        common::skip(&format!(
            "an intruder by `{name}`: there is none with TLS 1.3"
        ));
    }
    found.map(Command::new)
}
