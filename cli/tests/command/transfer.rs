//! `ampe send` to `ampe recv`: what arrives is what was sent.

use std::fs;
#[cfg(unix)]
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::peer::Peer;
use crate::common::{self, Place, content, on_each_transport, run, sha256, start};

#[test]
fn files_of_all_sizes_arrive_over_each_transport() {
    on_each_transport(|place, listen| {
        let sizes = [0, 1, 61_439, 61_440, 61_441, 65_535, 65_536, 3_000_017];
        let files: Vec<_> = sizes
            .map(|size| place.file(&format!("file-{size}"), size))
            .to_vec();
        let (receiver, to) = place.receiver(listen, &["--once"]);
        let mut arguments = vec!["send", "--to", &to];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let sent = run(&arguments);
        sent.assert_succeeds();
        let received = receiver.finish();
        received.assert_succeeds();
        for (at, (file, size)) in files.iter().zip(sizes).enumerate() {
            let name = format!("file-{size}");
            assert_eq!(fs::read(place.out().join(&name)).unwrap(), content(size));
            let digest = sha256(file);
            assert_eq!(sent.stdout[at], format!("{digest}  {name}"));
            let path = place.out().join(&name);
            assert_eq!(
                received.stdout[at + 1],
                format!("{digest}  {}", path.display())
            );
        }
        assert_eq!(place.out_entries().len(), sizes.len());
        assert!(!place.path().join("socket").exists());
    });
}

#[test]
fn an_existing_file_is_refused_and_the_others_are_sent() {
    let place = Place::new();
    let (old, new) = (place.file("old", 10), place.file("new", 20));
    fs::write(place.out().join("old"), "kept").unwrap();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let sent = run(&[
        "send",
        "--quiet",
        "--to",
        &to,
        old.to_str().unwrap(),
        new.to_str().unwrap(),
    ]);
    sent.assert_fails(1, &["old was refused", "exists", "--overwrite"]);
    receiver
        .finish()
        .assert_fails_among(&["old", "exists", "--overwrite"]);
    assert_eq!(fs::read(place.out().join("old")).unwrap(), b"kept");
    assert_eq!(fs::read(place.out().join("new")).unwrap(), content(20));
}

#[test]
fn an_existing_file_is_refused_before_its_bytes_are_sent() {
    let place = Place::new();
    fs::write(place.out().join("old"), "kept").unwrap();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let mut sender = Peer::sender(&to);
    let (_, answer, reason) = sender.offer(b"old", 1 << 40);
    assert_eq!(answer, "refused");
    assert!(reason.contains("--overwrite"));
    // A HelloRequest, the offer and the goodbye: no content.
    assert_eq!(sender.bye().posted, 3);
}

#[test]
fn overwrite_replaces() {
    let place = Place::new();
    let file = place.file("file", 100_000);
    fs::write(place.out().join("file"), "old").unwrap();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once", "--overwrite"]);
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
    receiver.finish().assert_succeeds();
    assert_eq!(
        fs::read(place.out().join("file")).unwrap(),
        content(100_000)
    );
    assert_eq!(place.out_entries(), ["file"]);
}

#[test]
fn flushing_to_the_disk_stores_the_same() {
    let place = Place::new();
    let file = place.file("file", 100_000);
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once", "--sync"]);
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
    receiver.finish().assert_succeeds();
    assert_eq!(
        fs::read(place.out().join("file")).unwrap(),
        content(100_000)
    );
}

#[test]
fn several_senders_at_the_same_time() {
    let place = Place::new();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let names = ["a", "b", "c", "d"];
    let senders = names.map(|name| {
        let file = place.file(name, 2_000_000);
        start(&["send", "--to", &to, file.to_str().unwrap()])
    });
    for sender in senders {
        sender.finish().assert_succeeds();
    }
    for name in names {
        assert_eq!(
            fs::read(place.out().join(name)).unwrap(),
            content(2_000_000)
        );
    }
    if receiver.interrupt() {
        assert_eq!(receiver.finish().code, Some(130));
    }
}

#[test]
fn one_name_from_two_senders_is_taken_once() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let (mut first, mut second) = (Peer::sender(&to), Peer::sender(&to));
    assert_eq!(first.offer(b"name", 0).1, "accepted");
    let (_, answer, reason) = second.offer(b"name", 0);
    assert_eq!(answer, "refused");
    assert!(reason.contains("being received now"));
    drop(first);
    common::until("the first gives the name back", || {
        second.offer(b"name", 0).1 == "accepted"
    });
}

#[test]
fn a_second_connection_is_refused_by_a_receiver_of_one() {
    let place = Place::new();
    let file = place.file("file", 10);
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let first = Peer::sender(&to);
    let second = run(&["send", "--to", &to, file.to_str().unwrap()]);
    second.assert_fails(1, &["takes one connection only"]);
    first.bye();
    assert_eq!(receiver.finish().code, Some(0));
}

#[test]
fn json_is_one_document_per_line() {
    let place = Place::new();
    let (file, taken) = (place.file("file", 100_000), place.file("taken", 5));
    fs::write(place.out().join("taken"), "kept").unwrap();
    let out = place.out();
    let mut receiver = start(&[
        "recv",
        "--json",
        "--once",
        "--listen",
        "tcp://127.0.0.1:0",
        "--out",
        out.to_str().unwrap(),
    ]);
    let listening: Value = serde_json::from_str(&receiver.line()).unwrap();
    assert_eq!(listening["event"], "listening");
    let to = listening["address"].as_str().unwrap().to_owned();
    let sent = run(&[
        "send",
        "--json",
        "--to",
        &to,
        file.to_str().unwrap(),
        taken.to_str().unwrap(),
    ]);
    assert_eq!(sent.code, Some(1));
    assert_eq!(sent.stdout.len(), 1);
    let sent: Value = serde_json::from_str(&sent.stdout[0]).unwrap();
    assert_eq!(sent["files"][0]["sha256"], sha256(&file));
    assert!(
        sent["files"][1]["error"]
            .as_str()
            .unwrap()
            .contains("exists")
    );
    assert_eq!(sent["account"]["posted"], sent["account"]["confirmed"]);
    let received = receiver.finish();
    assert_eq!(received.code, Some(1));
    let lines: Vec<Value> = received.stdout[1..]
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["event"], "received");
    assert_eq!(lines[0]["bytes"], 100_000);
    assert_eq!(lines[0]["sha256"], sha256(&file));
    assert_eq!(
        (&lines[1]["event"], &lines[1]["name"]),
        (&"failed".into(), &"taken".into())
    );
    let stored = &lines[2]["stored"];
    assert_eq!(lines[2]["event"], "closed");
    let of = |name: &str| {
        let found = stored.as_array().unwrap().iter();
        found.clone().find(|of| of["name"] == name).unwrap()
    };
    assert_eq!(
        (&of("taken")["files"], &of("taken")["failed"]),
        (&0.into(), &1.into())
    );
    let account = &lines[2]["account"];
    assert_eq!(account["posted"], account["sent"]);
}

#[test]
fn quiet_says_nothing() {
    let place = Place::new();
    let file = place.file("file", 10);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let sent = run(&["send", "--quiet", "--to", &to, file.to_str().unwrap()]);
    sent.assert_succeeds();
    assert_eq!(sent.stderr, "");
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--quiet", "--once", "--overwrite"]);
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
    assert_eq!(receiver.finish().stderr, "");
}

#[cfg(unix)] // elsewhere there are no such rights
#[test]
fn a_received_file_has_the_rights_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;

    for (mask, expected) in [("027", 0o640), ("000", 0o666)] {
        let place = Place::new();
        let file = place.file("file", 10);
        let (receiver, to) = place.receiver_after(&format!("umask {mask}"), &["--once"]);
        run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
        receiver.finish().assert_succeeds();
        let found = fs::metadata(place.out().join("file")).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, expected);
    }
}

#[test]
fn a_file_is_sent_under_another_name() {
    let place = Place::new();
    let file = place.file("file", 10);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let file = file.to_str().unwrap();
    let sent = run(&["send", "--quiet", "--to", &to, "--as", "other", file]);
    sent.assert_succeeds();
    assert!(sent.stdout[0].ends_with("  other"), "{sent:?}");
    assert_eq!(place.out_entries(), ["other"]);
    for name in ["", "..", "a/b"] {
        let sent = run(&["send", "--to", &to, "--as", name, file]);
        sent.assert_fails(1, &["the name", "--as"]);
    }
    assert_eq!(place.out_entries(), ["other"]);
}

#[cfg(target_os = "linux")] // others have no such files
#[test]
fn a_file_of_the_system_that_says_it_is_empty_is_sent_to_its_end() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    run(&["send", "--to", &to, "/proc/version"]).assert_succeeds();
    let received = fs::read(place.out().join("version")).unwrap();
    assert_eq!(received, fs::read("/proc/version").unwrap());
    assert!(!received.is_empty());
}

/// Its own path is longer than an address may be.
#[cfg(unix)] // elsewhere Unix sockets are rare
#[test]
fn the_line_to_paste_is_usable_in_a_directory_with_a_long_path() {
    let place = Place::new();
    let long = place.path().join("d".repeat(120));
    fs::create_dir(&long).unwrap();
    fs::write(long.join("file"), "content").unwrap();
    let here = |command: &mut Command| {
        command.current_dir(&long);
    };
    let out = place.out();
    let recv = ["recv", "--once", "--listen", "./in.sock", "--out"];
    let recv = [&recv[..], &[out.to_str().unwrap()]].concat();
    let mut receiver = common::start_with(&recv, here);
    let to = common::pasted(&receiver.line());
    let sent = common::start_with(&["send", "--to", &to, "file"], here).finish();
    sent.assert_succeeds();
    let received = receiver.finish();
    received.assert_succeeds();
    assert!(
        received.stderr.contains("in this directory only"),
        "{received:?}"
    );
}

/// Whatever Unix holds arrives under the name that it has, is told in lines that `sha256sum` reads,
/// and exactly in JSON.
#[cfg(target_os = "linux")] // elsewhere file systems take UTF-8 only
#[test]
fn names_of_every_kind_arrive_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let long = [b'x'; 255];
    let names: [&[u8]; 14] = [
        b"log-2026-11-28T12:00:00.txt",
        b"C:\\new\\file",
        b"con.txt",
        b"aux.c",
        b"dot.",
        b"blank ",
        b" ",
        b"...",
        b"two\nlines\r",
        b"\x1b[2J",
        b"\"quoted\"",
        b"no \xff UTF-8",
        "gpj.\u{202e}exe".as_bytes(),
        &long,
    ];
    let place = Place::new();
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            let path = place.path().join(OsStr::from_bytes(name));
            fs::write(&path, name).unwrap();
            path
        })
        .collect();
    let out = place.out();
    let recv = ["recv", "--json", "--once", "--listen", "tcp://127.0.0.1:0"];
    let mut receiver = start(&[&recv[..], &["--out", out.to_str().unwrap()]].concat());
    let listening: Value = serde_json::from_str(&receiver.line()).unwrap();
    let send = ["send", "--to", listening["address"].as_str().unwrap()];
    let mut arguments: Vec<&OsStr> = send.iter().map(OsStr::new).collect();
    arguments.extend(files.iter().map(|file| file.as_os_str()));
    let sent = Command::new(env!("CARGO_BIN_EXE_ampe"))
        .args(&arguments)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
    let said = String::from_utf8_lossy(&sent.stderr);
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
    let lines = said.lines().filter(|line| line.starts_with("ampe: sent "));
    assert_eq!(lines.count(), names.len(), "{said}");
    for name in names {
        let received = fs::read(out.join(OsStr::from_bytes(name))).unwrap();
        assert_eq!(received, name);
    }
    let received = receiver.finish();
    received.assert_succeeds();
    for (line, name) in received.stdout[1..].iter().zip(names) {
        let document: Value = serde_json::from_str(line).unwrap();
        let path = out.join(OsStr::from_bytes(name));
        let told = match &document["path_hex"] {
            Value::Null => document["path"].as_str().unwrap().as_bytes().to_owned(),
            hex => unhex(hex.as_str().unwrap()),
        };
        assert_eq!(told, path.as_os_str().as_bytes());
    }
    let lines = place.path().join("lines");
    fs::write(&lines, &sent.stdout).unwrap();
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet"])
        .arg(&lines)
        .current_dir(&out)
        .output();
    match checked {
        Ok(checked) => assert!(checked.status.success(), "{checked:?}"),
        Err(_) => common::skip("lines of checksums: there is no program `sha256sum`"),
    }
}

#[cfg(target_os = "linux")]
fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| text[at..at + 2].to_owned();
    let digits = (0..text.len()).step_by(2).map(digit);
    digits
        .map(|two| u8::from_str_radix(&two, 16).expect("hexadecimal digits"))
        .collect()
}

#[test]
fn no_progress_bar_is_drawn_where_nobody_watches() {
    let place = Place::new();
    let file = place.file("file", 5_000_000);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let sent = run(&["send", "--to", &to, file.to_str().unwrap()]);
    sent.assert_succeeds();
    assert_eq!(
        sent.stderr.lines().count(),
        2,
        "the file and the account: {sent:?}"
    );
    assert!(!sent.stderr.contains(['\r', '\u{1b}']), "{sent:?}");
}

#[cfg(unix)] // elsewhere no program makes a terminal
#[test]
fn a_progress_bar_is_drawn_on_a_terminal_unless_quiet() {
    let place = Place::new();
    let file = place.file("file", 5_000_000);
    for (quiet, is_drawn) in [("", true), ("--quiet", false)] {
        let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--overwrite"]);
        let ampe = env!("CARGO_BIN_EXE_ampe");
        let command = format!("{ampe} send {quiet} --to {to} {}", file.display());
        let Some(text) = on_terminal(&command) else {
            return;
        };
        assert!(text.contains(&sha256(&file)), "{text}");
        assert_eq!(text.contains("MB/5.00 MB"), is_drawn, "{text}");
    }
}

/// What a command that succeeds writes on a terminal; nothing where no program makes one, which is said.
#[cfg(unix)]
fn on_terminal(command: &str) -> Option<String> {
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        common::skip("a progress bar: there is no program `script` to make a terminal");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

/// A bar that does not fit into one line would leave a part of itself behind.
#[cfg(unix)] // elsewhere no program makes a terminal
#[test]
fn a_progress_bar_fits_into_a_narrow_terminal() {
    let place = Place::new();
    let file = place.file("a very long name of a file that is sent", 30_000_000);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let ampe = env!("CARGO_BIN_EXE_ampe");
    let command = format!(
        "stty rows 24 cols 40; {ampe} send --to {to} '{}'",
        file.display()
    );
    let Some(text) = on_terminal(&command) else {
        return;
    };
    let bars: Vec<_> = text
        .split(['\r', '\n', '\u{1b}'])
        .filter(|part| part.contains('%'))
        .collect();
    assert!(!bars.is_empty(), "{text}");
    for bar in bars {
        // Behind the escape there are the letters of what it does.
        let bar = bar.trim_start_matches(|char: char| "[0123456789;".contains(char));
        assert!(bar.chars().count() <= 41, "{bar:?}");
    }
}

/// Whether the program for checksums accepts the line that it writes itself of a file in a directory.
#[cfg(unix)]
fn reads_its_own(check: &[&str], directory: &std::path::Path) -> std::io::Result<bool> {
    use std::io::Write;

    let own = directory.join("its own");
    fs::write(&own, "checksum")?;
    let written = Command::new("sha256sum").arg(own).output()?.stdout;
    let mut reader = Command::new("sha256sum")
        .args(check)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = reader.stdin.take() {
        // One that knows no such option may end before it is written to.
        let _ = stdin.write_all(&written);
    }
    Ok(reader.wait()?.success())
}

/// Whatever the directory is called, a file has one line, and the program that it is for reads it.
#[cfg(unix)] // elsewhere no directory has such a name
#[test]
fn lines_of_checksums_are_read_by_the_program_for_it() {
    use std::ffi::OsStr;
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let file = place.file("file", 10_000);
    // As it is printed, which need not be UTF-8.
    let line_of_checksum = |out: &std::path::Path| {
        let mut receiver = Command::new(env!("CARGO_BIN_EXE_ampe"))
            .args(["recv", "--once", "--quiet", "--timeout", "60"])
            .args(["--listen", "tcp://127.0.0.1:0", "--out"])
            .arg(out)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(receiver.stdout.take().unwrap());
        let mut paste = String::new();
        stdout.read_line(&mut paste).unwrap();
        let to = paste.split(' ').nth(3).unwrap();
        run(&["send", "--quiet", "--to", to, file.to_str().unwrap()]).assert_succeeds();
        let mut line = Vec::new();
        stdout.read_to_end(&mut line).unwrap();
        assert!(receiver.wait().unwrap().success());
        line
    };
    for name in [
        &b"plain, with spaces"[..],
        b"two\nlines",
        br"back\slash\\n",
        b"carriage\rreturn\r\n",
        b"no \xff UTF-8",
    ] {
        let out = place.path().join(OsStr::from_bytes(name));
        fs::create_dir(&out).unwrap();
        let line = line_of_checksum(&out);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let lines = place.path().join("lines");
        fs::write(&lines, &line).unwrap();
        let check = ["--check", "--strict", "--quiet"];
        let checked = Command::new("sha256sum").args(check).arg(lines).output();
        let Ok(checked) = checked else {
            common::skip("lines of checksums: there is no program `sha256sum` to read them");
            return;
        };
        if !reads_its_own(&check, &out).unwrap() {
            common::skip("lines of checksums: this `sha256sum` does not read such names");
            return;
        }
        let line = String::from_utf8_lossy(&line);
        assert!(checked.status.success(), "{line}: {checked:?}");
    }
}
