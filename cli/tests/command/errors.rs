//! What goes wrong before anything is sent: exit codes, and what is said.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;

use serde_json::Value;

use crate::common::{self, Place, has_unix_sockets, os_text, run, start, start_with, stranger};

fn recv(place: &Place, listen: &str, out: &str) -> common::Finished {
    let out = if out.is_empty() {
        place.out().display().to_string()
    } else {
        out.to_owned()
    };
    run(&["recv", "--listen", listen, "--out", &out])
}

/// What the systems call it; these texts are theirs.
const ADDRESS_IN_USE: i32 = if cfg!(windows) { 10048 } else { 98 };
const REFUSED: i32 = if cfg!(windows) { 10061 } else { 111 };
const NO_SUCH_FILE: i32 = 2;
const NOT_A_DIRECTORY: i32 = if cfg!(windows) { 3 } else { 20 };

#[test]
fn address_in_use() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let in_use = os_text(ADDRESS_IN_USE);
    recv(&place, &to, "").assert_fails(1, &["could not listen", &in_use, "port 0"]);
    run(&["echo", "--listen", &to]).assert_fails(1, &["could not listen", &in_use]);
    if !has_unix_sockets() {
        return;
    }
    let (_receiver, to) = place.receiver(&place.uds("socket"), &[]);
    recv(&place, &to, "").assert_fails(1, &["could not listen", "another path"]);
}

/// Once a port is known that is free, or was.
#[test]
fn two_addresses_of_one_command_that_overlap() {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let (first, second) = (
        format!("tcp://0.0.0.0:{port}"),
        format!("tcp://[::]:{port}"),
    );
    if TcpListener::bind("[::1]:0").is_err() {
        common::skip("listening on [::]: this machine has no IPv6");
        return;
    }
    let echo = run(&["echo", "--listen", &first, "--listen", &second]);
    echo.assert_fails(
        1,
        &[
            "this command listens on",
            "already",
            "leave one of them out",
        ],
    );
}

#[test]
fn refused() {
    let place = Place::new();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    receiver.kill();
    let (file, refused) = (place.file("file", 10), os_text(REFUSED));
    let parts = [
        "could not connect",
        &refused,
        "see that something listens there",
    ];
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_fails(1, &parts);
    run(&["ping", "--to", &to]).assert_fails(1, &parts);
}

#[test]
fn no_socket_at_the_path() {
    let place = Place::new();
    if !has_unix_sockets() {
        let parts = ["this system has no Unix sockets", "use a TCP address"];
        let uds = place.uds("missing");
        run(&["ping", "--to", &uds]).assert_fails(1, &parts);
        run(&["echo", "--listen", &uds]).assert_fails(1, &parts);
        return;
    }
    let parts = ["there is no socket at", "start what listens there"];
    run(&["ping", "--to", &place.uds("missing")]).assert_fails(1, &parts);
    place.file("file", 10);
    let parts = ["what is there is no socket", "correct the path"];
    run(&["ping", "--to", &place.uds("file")]).assert_fails(1, &parts);
    // What is left of a listener that was killed.
    #[cfg(unix)]
    {
        drop(std::os::unix::net::UnixListener::bind(place.path().join("left")).unwrap());
        let parts = ["refused", "start what listens there"];
        run(&["ping", "--to", &place.uds("left")]).assert_fails(1, &parts);
    }
}

#[track_caller]
fn assert_stranger(to: &str, parts: &[&str]) {
    let place = Place::new();
    let file = place.file("file", 10);
    for arguments in [&["ping", "--to", to][..], &["send", "--to", to]] {
        let mut arguments = [arguments, &["--timeout", "2"]].concat();
        if arguments[0] == "send" {
            arguments.push(file.to_str().unwrap());
        }
        let finished = run(&arguments);
        finished.assert_fails(1, parts);
        assert!(finished.stderr.contains(to), "{finished:?}");
        assert!(!finished.stderr.contains("try again"), "{finished:?}");
    }
}

#[test]
fn an_answer_in_another_protocol() {
    for answer in [
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 400",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "220 mail.example.org ESMTP\r\n",
    ] {
        let to = stranger("tcp", |mut stream| {
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            // Closed with something unread, the connection would be reset, and the answer lost.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        assert_stranger(
            &to,
            &[
                "does not speak this protocol",
                "check that the address is right",
            ],
        );
    }
}

#[test]
fn no_answer_at_all() {
    let parts = ["closed the connection without an answer", "another program"];
    assert_stranger(&stranger("tcp", drop), &parts);
    let reads_first = |mut stream: TcpStream| drop(stream.read(&mut [0; 4096]));
    assert_stranger(&stranger("tcp", reads_first), &parts);
    let mut kept = Vec::new();
    let keeps = move |stream| kept.push(stream);
    let parts = ["said nothing for 2 s", "another program", "--timeout"];
    assert_stranger(&stranger("tcp", keeps), &parts);
}

#[test]
fn unresolvable_name() {
    let place = Place::new();
    let file = place.file("file", 10);
    let to = "tcp://nosuchhost.invalid:7099";
    let sent = run(&["send", "--to", to, file.to_str().unwrap()]);
    sent.assert_fails(
        1,
        &[
            "nosuchhost.invalid",
            "cannot be resolved",
            "check its spelling",
        ],
    );
}

#[test]
fn addresses_that_are_none_are_wrong_usage() {
    let long = format!("uds:///{}", "x".repeat(107));
    for (address, said) in [
        ("http://127.0.0.1:80", "the scheme `http` is unknown"),
        ("tcp://127.0.0.1:70000", "70000"),
        ("tcp://127.0.0.1", "no port"),
        ("tcp://::1:80", "brackets"),
        (&long, "108 bytes"),
        ("", "empty"),
    ] {
        let place = Place::new();
        recv(&place, address, "").assert_fails(2, &[said]);
        run(&["ping", "--to", address]).assert_fails(2, &[said]);
        run(&["echo", "--listen", address]).assert_fails(2, &[said]);
        run(&["send", "--to", address, "file"]).assert_fails(2, &[said]);
    }
    run(&["ping", "--to", "tcp://127.0.0.1:0"]).assert_fails(2, &["port 0"]);
}

#[test]
fn wrong_usage() {
    for arguments in [
        &[][..],
        &["dance"],
        &["send", "--to", "tcp://127.0.0.1:1"],
        &["recv", "--listen", "tcp://127.0.0.1:0"],
        &["ping", "--to", "tcp://127.0.0.1:1", "--count", "0"],
        &["ping", "--to", "tcp://127.0.0.1:1", "--size", "65536"],
        &["ping", "--to", "tcp://127.0.0.1:1", "--timeout", "-1"],
        &["echo"],
    ] {
        assert_eq!(run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_budget_too_small_names_the_least() {
    let finished = run(&["echo", "--listen", "tcp://127.0.0.1:0", "--budget", "1000"]);
    finished.assert_fails(2, &["--budget is too small", "1000", "at least"]);
}

#[test]
fn help_has_examples() {
    for command in [
        "demo", "recv", "send", "echo", "ping", "call", "reply", "tell", "tail",
    ] {
        let finished = run(&[command, "--help"]);
        finished.assert_succeeds();
        let text = finished.stdout.join("\n");
        assert!(
            text.contains(&format!("Examples:\n  ampe {command}")),
            "{text}"
        );
        assert!(
            text.contains("--timeout") && text.contains("--json"),
            "{text}"
        );
    }
}

#[test]
fn beyond_this_machine_only_for_anyone() {
    let place = Place::new();
    for address in [
        "tcp://0.0.0.0:0",
        "tcp://:0",
        "tcp://[::]:0",
        "tcp://example.com:0",
    ] {
        let finished = recv(&place, address, "");
        finished.assert_fails(2, &["nothing authenticates a sender", "--anyone"]);
        assert!(finished.stdout.is_empty());
    }
    let (_receiver, to) = place.receiver("tcp://0.0.0.0:0", &["--anyone"]);
    let port = to.rsplit(':').next().unwrap();
    let file = place.file("file", 10);
    let to = format!("127.0.0.1:{port}");
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
}

#[test]
fn a_regular_file_is_no_socket_and_stays() {
    if !has_unix_sockets() {
        return;
    }
    let place = Place::new();
    let file = place.file("file", 10);
    let finished = recv(&place, &place.uds("file"), "");
    finished.assert_fails(1, &["could not listen", "no socket", "choose another path"]);
    assert_eq!(fs::read(&file).unwrap(), common::content(10));
    run(&["echo", "--listen", &place.uds("file")]).assert_fails(1, &["could not listen"]);
    assert_eq!(fs::read(&file).unwrap(), common::content(10));
}

#[test]
fn files_that_cannot_be_sent() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let missing = place.path().join("missing");
    let good = place.file("good", 10);
    // What is wrong with one does not stop the others.
    let sent = run(&[
        "send",
        "--quiet",
        "--to",
        &to,
        missing.to_str().unwrap(),
        good.to_str().unwrap(),
    ]);
    sent.assert_fails(1, &["missing", &os_text(NO_SUCH_FILE), "check the name"]);
    assert_eq!(place.out_entries(), ["good"]);
    assert_eq!(sent.stdout.len(), 1, "{sent:?}");
    run(&["send", "--to", &to, "/"]).assert_fails(1, &["the name is empty", "--as"]);
    if cfg!(unix) {
        run(&["send", "--to", &to, "/dev/zero"]).assert_fails(1, &["no regular file"]);
    }
    run(&["demo", missing.to_str().unwrap()]).assert_fails(1, &[&os_text(NO_SUCH_FILE)]);
}

/// Nobody is connected to: there is nothing that could be sent.
#[test]
fn where_no_file_can_be_sent_each_is_told() {
    let place = Place::new();
    let missing = ["first", "second"].map(|name| place.path().join(name).display().to_string());
    let send = ["send", "--to", "tcp://127.0.0.1:1"];
    let sent = run(&[&send[..], &missing.each_ref().map(String::as_str)].concat());
    assert_eq!(sent.code, Some(1), "{sent:?}");
    let lines: Vec<_> = sent.stderr.lines().collect();
    assert!(
        lines[0].contains("first") && lines[1].contains("second"),
        "{sent:?}"
    );
    assert_eq!(lines.len(), 2, "{sent:?}");
}

#[test]
fn two_files_of_one_name_are_refused_before_anything_is_sent() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--overwrite"]);
    let good = place.file("good", 10);
    fs::create_dir(place.path().join("below")).unwrap();
    let (first, second) = (place.file("same", 10), place.file("below/same", 20));
    let files = [&good, &first, &second].map(|file| file.to_str().unwrap());
    let sent = run(&[&["send", "--to", &to], &files[..]].concat());
    sent.assert_fails(2, &["same", "below", "nothing was sent", "--as"]);
    assert!(place.out_entries().is_empty());
    let sent = run(&[&["send", "--as", "x", "--to", &to], &files[..]].concat());
    sent.assert_fails(2, &["--as names one file"]);
}

/// A failure is one line on stderr, and does nothing to a terminal, whatever files are called.
#[cfg(unix)] // elsewhere no file has such a name
#[test]
fn names_with_line_ends_and_escapes_stay_on_one_line() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let odd = place.path().join("two\nlines\u{1b}[2J");
    let name = odd.to_str().unwrap();
    let listen = "tcp://127.0.0.1:0";
    let fails = |arguments: &[&str], part: &str| {
        let finished = run(arguments);
        finished.assert_fails(1, &[part, r"two\nlines\u{1b}[2J"]);
        assert!(!finished.stderr.contains('\u{1b}'), "{finished:?}");
    };
    let below = format!("{name}/missing");
    fails(&["send", "--to", &to, &below], "check the name");
    fails(&["demo", &below], "check the name");
    fails(&["recv", "--listen", listen, "--out", name], "create it");
    fs::write(&odd, "").unwrap();
    fails(&["recv", "--listen", listen, "--out", name], "no directory");
    fs::remove_file(&odd).unwrap();
    fs::create_dir(&odd).unwrap();
    // Addresses hold no line ends; the rest of it they may.
    let uds = place.uds("\u{1b}[2J");
    let file = place.file("file", 10);
    let file = file.to_str().unwrap();
    for arguments in [
        &["ping", "--to", &uds][..],
        &["send", "--to", &uds, file],
        &["echo", "--listen", &format!("{uds}/socket")],
        &["recv", "--listen", &format!("{uds}/socket"), "--out", "."],
    ] {
        let finished = run(arguments);
        finished.assert_fails(1, &[r"/\u{1b}[2J"]);
        assert!(!finished.stderr.contains('\u{1b}'), "{finished:?}");
    }
    // What goes well is told on one line, too.
    let into = ["recv", "--once", "--listen", listen, "--out", name];
    let mut receiver = start(&into);
    let line = receiver.line();
    let to = line.split(' ').nth(3).unwrap();
    run(&["send", "--to", to, file]).assert_succeeds();
    let received = receiver.finish();
    received.assert_succeeds();
    assert_eq!(
        received.stderr.lines().count(),
        2,
        "and the account: {received:?}"
    );
    assert!(!received.stderr.contains('\u{1b}'), "{received:?}");
}

#[test]
fn directories_that_cannot_be_received_into() {
    let place = Place::new();
    let file = place.file("file", 10);
    let listen = "tcp://127.0.0.1:0";
    let missing = place.path().join("missing").display().to_string();
    recv(&place, listen, &missing).assert_fails(1, &[&os_text(NO_SUCH_FILE), "create it first"]);
    let file = file.display().to_string();
    recv(&place, listen, &file).assert_fails(1, &["no directory"]);
    let below = format!("{file}/below");
    recv(&place, listen, &below).assert_fails(1, &[&os_text(NOT_A_DIRECTORY)]);
}

#[test]
fn an_interruption_ends_with_130() {
    let mut echo = start(&["echo", "--listen", "tcp://127.0.0.1:0"]);
    echo.line();
    if echo.interrupt() {
        echo.finish().assert_fails(130, &["interrupted"]);
    }
}

#[test]
fn nobody_at_stdout_is_no_panic() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let file = place.file("file", 10);
    let sent = start_with(&["send", "--to", &to, file.to_str().unwrap()], |command| {
        command.stdout(Stdio::piped());
    });
    sent.finish().assert_succeeds();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ampe"));
    let output = command
        .args(["demo", file.to_str().unwrap()])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[cfg(target_os = "linux")] // elsewhere there is no such device
#[test]
fn what_cannot_be_written_is_a_failure() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["recv", "--help"],
        &["doctor"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ampe"))
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("ampe: cannot write to stdout"), "{said}");
    }
}

#[test]
fn a_socket_in_a_directory_that_is_missing() {
    if !has_unix_sockets() {
        return;
    }
    let finished = run(&["echo", "--listen", "uds:///nonexistent/directory/socket"]);
    finished.assert_fails(1, &["could not listen", "a directory that exists"]);
}

/// A program that reads JSON need not read stderr, nor guess from silence.
#[test]
fn what_fails_before_anything_is_sent_is_told_in_json_too() {
    let place = Place::new();
    let has_unix_sockets = has_unix_sockets();
    let (nobody, said) = if has_unix_sockets {
        (place.uds("nobody"), "there is no socket at".to_owned())
    } else {
        ("tcp://127.0.0.1:1".to_owned(), os_text(REFUSED))
    };
    let (file, out) = (place.file("file", 10), place.out());
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let send = ["send", "--json", "--to", &nobody, file];
    let document = told(&run(&send), &said);
    assert_eq!(document["files"][0]["name"], "file");
    // The Hello, for which there was no connection.
    let account = &document["account"];
    assert_eq!(
        (&account["posted"], &account["sent"]),
        (&1.into(), &0.into())
    );
    assert_eq!(account["returned"], 1);
    assert_eq!(document["files"][0]["error"], document["error"]);
    let missing = ["send", "--json", "--to", &nobody, "missing"];
    let document = told(&run(&missing), "cannot read missing");
    assert_eq!(document["files"][0]["name"], "missing");
    assert_eq!(document["account"], Value::Null, "nobody was spoken to");
    told(&run(&["ping", "--json", "--to", &nobody]), &said);
    told(&run(&["demo", "--json", "missing"]), "missing");
    let listen = "tcp://127.0.0.1:0";
    let recv = ["recv", "--json", "--once", "--timeout", "0.1"];
    let recv = [&recv[..], &["--listen", listen, "--out", out]].concat();
    assert_eq!(told(&run(&recv), "no sender came")["event"], "failed");
    let recv = ["recv", "--json", "--listen", listen, "--out", file];
    assert_eq!(told(&run(&recv), "file")["event"], "failed");
}

/// The last document on stdout, which holds the very words that stderr does.
#[track_caller]
fn told(finished: &common::Finished, part: &str) -> Value {
    finished.assert_fails(1, &[part]);
    let last = finished.stdout.last().expect("a document");
    let document: Value = serde_json::from_str(last).unwrap();
    let why = document["error"].as_str().unwrap();
    assert_eq!(finished.stderr, format!("ampe: {why}\n"));
    document
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_directory_without_write_permission() {
        let place = Place::new();
        fs::set_permissions(place.out(), fs::Permissions::from_mode(0o555)).unwrap();
        let probe = place.out().join("probe");
        let directory = if fs::write(&probe, "").is_ok() {
            // Permissions do not bind this user: a directory that nobody can write to.
            fs::remove_file(&probe).unwrap();
            "/proc".to_owned()
        } else {
            place.out().display().to_string()
        };
        let finished = recv(&place, "tcp://127.0.0.1:0", &directory);
        finished.assert_fails(1, &["cannot write into", "choose a directory"]);
        assert!(
            finished.stdout.is_empty(),
            "found before a sender is told to come"
        );
    }

    #[test]
    fn interruptions_end_with_130_and_unlink_sockets() {
        for name in ["INT", "TERM"] {
            if name == "INT" && common::ignored_signals(std::process::id()) & 0b10 != 0 {
                // What runs in the background of a shell has it ignored, and so has what it starts.
                common::skip("SIGINT: whoever runs the tests has it ignored");
                continue;
            }
            let place = Place::new();
            let socket = place.path().join("socket");
            let mut echo = start(&["echo", "--listen", &place.uds("socket")]);
            echo.line();
            let found = fs::symlink_metadata(&socket).unwrap();
            assert!(found.file_type().is_socket());
            assert_eq!(found.permissions().mode() & 0o777, 0o600);
            echo.signal(name);
            echo.finish().assert_fails(130, &["interrupted"]);
            assert!(!socket.exists());

            let mut echo = start(&["echo", "--listen", "tcp://127.0.0.1:0"]);
            let to = echo.line();
            let count = u64::MAX.to_string();
            let ping = start(&["ping", "--to", &to, "--count", &count]);
            common::until("ping catches signals", || catches_interrupts(ping.id()));
            ping.signal(name);
            let pinged = ping.finish();
            pinged.assert_fails(130, &["interrupted"]);
        }
    }

    /// Whether a process has handlers for interruptions, SIGTERM among them, rather than to die of it.
    fn catches_interrupts(id: u32) -> bool {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        u64::from_str_radix(caught.unwrap().trim(), 16).unwrap() & (1 << 14) != 0
    }
}
