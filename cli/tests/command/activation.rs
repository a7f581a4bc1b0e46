//! Listening on sockets that systemd hands over.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::common::{self, Finished, Place, Running, pasted, run, start_command};

/// Starts `ampe` with these sockets, as systemd would. `None`, and a line that says so, without python3.
fn activated(sockets: &[&str], arguments: &[&str]) -> Option<Running> {
    static HAS_PYTHON: LazyLock<bool> =
        LazyLock::new(|| Command::new("python3").arg("--version").output().is_ok());
    if !*HAS_PYTHON {
        common::skip("sockets that are handed over: there is no program `python3` to do it");
        return None;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/command/common/activate.py");
    let mut command = Command::new("python3");
    command.arg(script).args(sockets);
    command
        .args(["--", env!("CARGO_BIN_EXE_ampe")])
        .args(arguments);
    Some(start_command(command, |_| {}))
}

fn recv<'a>(out: &'a Path, listen: &'a str) -> Vec<&'a str> {
    let out = out.to_str().unwrap();
    vec!["recv", "--quiet", "--listen", listen, "--out", out]
}

fn send(to: &str, file: &Path) -> Finished {
    run(&["send", "--quiet", "--to", to, file.to_str().unwrap()])
}

#[test]
fn a_receiver_listens_on_all_sockets_that_it_was_handed() {
    let place = Place::new();
    let path = place.path().join("handed.sock");
    let unix = format!("unix:{}=local", path.display());
    let arguments = recv(&place.out(), "systemd:").join("\n");
    let arguments: Vec<&str> = arguments.lines().collect();
    let Some(mut receiver) = activated(&["tcp:127.0.0.1=files", &unix], &arguments) else {
        return;
    };
    let tcp = pasted(&receiver.line());
    assert!(tcp.starts_with("tcp://127.0.0.1:"), "{tcp}");
    let uds = pasted(&receiver.line());
    assert_eq!(uds, format!("uds://{}", path.display()));
    send(&tcp, &place.file("one", 100_000)).assert_succeeds();
    send(&uds, &place.file("two", 100)).assert_succeeds();
    assert_eq!(place.out_entries(), ["one", "two"]);
    receiver.end();
    assert!(path.exists(), "it is whoever's who made it");
}

#[test]
fn sockets_are_chosen_by_their_names() {
    let place = Place::new();
    let unix = format!("unix:{}=local", place.path().join("handed.sock").display());
    let ready = place.path().join("ready");
    for (listen, uds) in [("systemd:files", false), ("systemd:local", true)] {
        let out = place.out();
        let mut arguments = recv(&out, listen);
        arguments.extend(["--ready-file", ready.to_str().unwrap()]);
        let Some(mut receiver) = activated(&["tcp:127.0.0.1=files", &unix], &arguments) else {
            return;
        };
        let to = pasted(&receiver.line());
        assert_eq!(to.starts_with("uds://"), uds, "{to}");
        common::until("it is ready", || ready.exists());
        let told = std::fs::read_to_string(&ready).unwrap();
        assert_eq!(told, format!("{to}\n"), "the one, and no other");
        receiver.signal("TERM");
        receiver.finish();
        let _ = std::fs::remove_file(place.path().join("handed.sock"));
    }
}

#[test]
fn each_command_that_listens_takes_them() {
    for arguments in [
        &["echo", "--listen", "systemd:"][..],
        &["reply", "--listen", "systemd:", "--body", "pong"],
        &["tail", "--listen", "systemd:"],
    ] {
        let Some(mut service) = activated(&["tcp:127.0.0.1=a"], arguments) else {
            return;
        };
        let to = service.line();
        run(&["call", "--to", &to, "ping"]).assert_succeeds();
    }
}

#[test]
fn what_can_be_reached_from_elsewhere_is_refused_here_too() {
    let place = Place::new();
    let out = place.out();
    if let Some(receiver) = activated(&["tcp:0.0.0.0=a"], &recv(&out, "systemd:")) {
        receiver.finish().assert_fails(2, &["0.0.0.0", "--anyone"]);
    }
}

#[test]
fn what_was_not_handed_over_is_told() {
    let place = Place::new();
    let out = place.out();
    for (sockets, listen, said) in [
        (
            &["tcp:127.0.0.1=a", "tcp:127.0.0.1=b"][..],
            "systemd:c",
            "called a, b",
        ),
        // Meant for another process.
        (
            &["pid=1", "tcp:127.0.0.1=a"],
            "systemd:",
            "no socket was handed",
        ),
        (&["count=0"], "systemd:", "no socket was handed"),
        // What there is less than was said is nothing of ours.
        (&["count=3", "tcp:127.0.0.1=a"], "systemd:", "ListenStream="),
        (&["stdin:=a"], "systemd:", "ListenStream="),
    ] {
        let Some(receiver) = activated(sockets, &recv(&out, listen)) else {
            return;
        };
        receiver.finish().assert_fails(1, &[said]);
    }
}
