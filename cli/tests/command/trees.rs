//! Directories, links, stdin and stdout, and how much fits.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

#[cfg(unix)]
use crate::common::peer::Peer;
use crate::common::{self, Place, content, on_each_transport, run, start_with};

/// Everything below a directory: its path, and the content of a file.
fn tree(top: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let name = name.replace('\\', "/");
            let is_directory = entry.file_type().unwrap().is_dir();
            found.push((
                name,
                (!is_directory).then(|| fs::read(&path).unwrap_or_default()),
            ));
            if is_directory {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

fn planted(place: &Place) -> std::path::PathBuf {
    let top = place.path().join("project");
    fs::create_dir_all(top.join("a/empty/below")).unwrap();
    fs::create_dir_all(top.join("b")).unwrap();
    for (name, len) in [
        ("one", 0),
        ("a/two", 10),
        ("b/three", 61_441),
        ("a/long", 3_000_000),
    ] {
        fs::write(top.join(name), content(len)).unwrap();
    }
    top
}

#[test]
fn a_directory_arrives_with_all_that_is_in_it() {
    on_each_transport(|place, listen| {
        let top = planted(place);
        let (receiver, to) = place.receiver(listen, &["--once"]);
        let sent = run(&["send", "--to", &to, top.to_str().unwrap()]);
        sent.assert_succeeds();
        assert_eq!(sent.stdout.len(), 4, "a line for each file: {sent:?}");
        assert!(
            sent.stderr.contains("posted") && sent.stderr.contains("3.06 MB"),
            "{sent:?}"
        );
        let received = receiver.finish();
        received.assert_succeeds();
        assert!(received.stderr.contains("3.06 MB"), "{received:?}");
        assert_eq!(tree(&place.out().join("project")), tree(&top));
    });
}

/// A second time only what is missing is sent; what is there and differs is kept and told.
#[test]
fn a_directory_is_sent_again_for_what_is_missing() {
    let place = Place::new();
    let top = planted(&place);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let send = ["send", "--json", "--to", &to, top.to_str().unwrap()];
    run(&send).assert_succeeds();
    let there = place.out().join("project");
    fs::remove_file(there.join("a/two")).unwrap();
    let again = run(&send);
    again.assert_succeeds();
    assert_eq!(tree(&there), tree(&top));
    let document: Value = serde_json::from_str(&again.stdout[0]).unwrap();
    let files = document["files"].as_array().unwrap();
    let long = files
        .iter()
        .find(|file| file["name"] == "project/a/long")
        .unwrap();
    assert_eq!(long["resumed"], 3_000_000, "{document}");
    // Of the same length, and another.
    fs::write(there.join("a/long"), vec![1; 3_000_000]).unwrap();
    fs::write(there.join("a/two"), vec![1; 10]).unwrap();
    let other = run(&send);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other.stderr.contains("long") && other.stderr.contains("two"),
        "{other:?}"
    );
    assert_eq!(fs::read(there.join("a/long")).unwrap(), vec![1; 3_000_000]);
    assert_eq!(fs::read(there.join("a/two")).unwrap(), vec![1; 10]);
}

#[test]
fn what_is_excluded_stays_here() {
    let place = Place::new();
    let top = planted(&place);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let top = top.to_str().unwrap();
    run(&[
        "send",
        "--to",
        &to,
        "--exclude",
        "a/e*",
        "--exclude",
        "t*",
        top,
    ])
    .assert_succeeds();
    let there: Vec<_> = tree(&place.out().join("project"))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(there, ["a", "a/long", "b", "one"]);
}

#[cfg(unix)] // elsewhere there are no such links
#[test]
fn links_are_left_out_or_sent_as_links_and_never_lead_out() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    let top = planted(&place);
    symlink("../one", top.join("a/inside")).unwrap();
    symlink("../../secret", top.join("a/outside")).unwrap();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let top = top.to_str().unwrap();
    let without = run(&["send", "--to", &to, "--as", "without", top]);
    without.assert_succeeds();
    assert!(
        without
            .stderr
            .contains("inside: it is a symbolic link: send links with --links")
    );
    assert!(!place.out().join("without/a/inside").exists());
    let with = run(&["send", "--to", &to, "--links", "--as", "with", top]);
    with.assert_fails_among(&["outside", "leads out of what is sent"]);
    let link = fs::read_link(place.out().join("with/a/inside")).unwrap();
    assert_eq!(link, Path::new("../one"));
    assert!(fs::symlink_metadata(place.out().join("with/a/outside")).is_err());
    assert!(place.out().join("with/b/three").exists());
}

/// A link, whoever made it, is no way out of the directory.
#[cfg(unix)] // elsewhere there are no such links
#[test]
fn nothing_is_received_through_a_link() {
    let place = Place::new();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--overwrite"]);
    let mut sender = Peer::sender(&to);
    let mut ask = |words: &[(&str, &str)], body: &[u8]| {
        let message = words
            .iter()
            .fold(sender.group.message(), |message, (name, value)| {
                message.with_header(name, value).unwrap()
            });
        let id = sender.post(message.with_body(body).unwrap().request(sender.channel));
        sender.answer(id)
    };
    let link =
        |path: &str| [("Do", "link"), ("Path", path)].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let mut make_link = |path: &str, target: &str| {
        let words = link(&path.len().to_string());
        let words: Vec<_> = words
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        ask(&words, format!("{path}{target}").as_bytes()).0
    };
    assert_eq!(
        make_link("up", "outside"),
        "refused",
        "it is in no directory that was sent"
    );
    for target in [
        "/etc",
        "..",
        "../..",
        "d/../../../outside",
        "",
        "../outside",
    ] {
        assert_eq!(make_link("top/link", target), "refused", "{target:?}");
    }
    let made = |answer: (String, String)| assert_eq!(answer.0, "made");
    made(ask(&[("Do", "directory")], b"top"));
    made(ask(&[("Do", "directory")], b"top/d"));
    // Made by somebody else, and by the sender.
    std::os::unix::fs::symlink(&outside, place.out().join("top/out")).unwrap();
    std::os::unix::fs::symlink(&outside, place.out().join("away")).unwrap();
    made(ask(&[("Do", "link"), ("Path", "8")], b"top/linkd"));
    for path in ["top/out/file", "away/file", "top/link/file"] {
        let (answer, reason) = ask(&[("Do", "offer"), ("Size", "1")], path.as_bytes());
        assert_eq!(
            (answer.as_str(), reason.contains("symbolic link")),
            ("refused", true),
            "{path}"
        );
        let (answer, reason) = ask(&[("Do", "directory")], path.as_bytes());
        assert_eq!(
            (answer.as_str(), reason.contains("symbolic link")),
            ("refused", true),
            "{path}"
        );
    }
    let (answer, _) = ask(&[("Do", "directory")], b"top/link");
    assert_eq!(answer, "refused", "a link is no directory");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.out().join("top/d")).unwrap().count(), 0);
}

#[cfg(unix)] // elsewhere there are no such permissions
#[test]
fn permissions_and_times_are_those_of_the_originals_on_request() {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};
    let place = Place::new();
    let top = planted(&place);
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let set = |path: &Path, mode: u32| {
        let file = fs::File::open(path).unwrap();
        file.set_modified(then).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode))
            .unwrap();
    };
    set(&top.join("a/long"), 0o4750);
    set(&top.join("a/two"), 0o640);
    set(&top.join("a/empty"), 0o500);
    set(&top.join("a"), 0o700);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    run(&["send", "--preserve", "--to", &to, top.to_str().unwrap()]).assert_succeeds();
    for (name, mode) in [
        ("a", 0o700),
        ("a/long", 0o750),
        ("a/two", 0o640),
        ("a/empty", 0o500),
    ] {
        let found = fs::metadata(place.out().join("project").join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(found.modified().unwrap(), then, "{name}");
    }
}

#[test]
fn stdin_goes_to_stdout() {
    on_each_transport(|place, listen| {
        for len in [0, 5_000_000] {
            let bytes = content(len);
            let ready = place.path().join(format!("ready-{len}"));
            let output = place.path().join(format!("output-{len}"));
            let file = fs::File::create(&output).unwrap();
            let ready_file = ready.to_str().unwrap();
            let arguments = [
                "recv",
                "--listen",
                listen,
                "-o",
                "-",
                "--ready-file",
                ready_file,
            ];
            let receiver = std::process::Command::new(env!("CARGO_BIN_EXE_ampe"))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(file)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            common::until("it listens", || {
                fs::read_to_string(&ready).is_ok_and(|text| text.ends_with('\n'))
            });
            let to = fs::read_to_string(&ready).unwrap();
            let send = ["send", "--to", to.trim(), "--as", "name", "-"];
            let mut sender = start_with(&send, |command| {
                command.stdin(Stdio::piped());
            });
            sender.stdin().write_all(&bytes).unwrap();
            sender.finish().assert_succeeds();
            let ended = receiver.wait_with_output().unwrap();
            assert!(ended.status.success(), "{ended:?}");
            assert_eq!(fs::read(&output).unwrap(), bytes);
            assert!(!ready.exists(), "it is removed at the end");
        }
    });
}

#[test]
fn stdin_has_a_name_and_arrives_as_a_file() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    run(&["send", "--to", &to, "-"]).assert_fails(2, &["stdin has no name", "--as"]);
    run(&["send", "--to", &to, "--as", "empty", "-"]).assert_succeeds();
    assert_eq!(fs::read(place.out().join("empty")).unwrap(), b"");
}

/// Whoever reads the receiver's stdout ends early: both sides fail, and say so.
#[cfg(unix)] // elsewhere it is not asked for whether a pipe has a reader
#[test]
fn a_broken_pipe_is_told_by_both() {
    let place = Place::new();
    let ready = place.path().join("ready");
    let arguments = [
        "recv",
        "--listen",
        "127.0.0.1:0",
        "--stdout",
        "--ready-file",
    ];
    let mut receiver = std::process::Command::new(env!("CARGO_BIN_EXE_ampe"))
        .args(arguments)
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(receiver.stdout.take());
    common::until("it listens", || {
        fs::read_to_string(&ready).is_ok_and(|text| text.ends_with('\n'))
    });
    let to = fs::read_to_string(&ready).unwrap();
    let file = place.file("file", 1_000_000);
    let sent = run(&["send", "--to", to.trim(), file.to_str().unwrap()]);
    sent.assert_fails(1, &["file was not stored there", "stdout has ended"]);
    let ended = receiver.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("stdout has ended"), "{said}");
}

#[test]
fn what_cannot_fit_is_told_before_a_byte_is_sent() {
    let place = Place::new();
    let file = place.path().join("huge");
    fs::File::create(&file).unwrap().set_len(1 << 42).unwrap();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let sent = run(&["send", "--json", "--to", &to, file.to_str().unwrap()]);
    sent.assert_fails(1, &["nothing was sent", "4.40 TB do not fit", "free space"]);
    let document: Value = serde_json::from_str(&sent.stdout[0]).unwrap();
    assert_eq!(
        document["account"]["posted"], 2,
        "hello and goodbye: {document}"
    );
    receiver.finish().assert_fails(1, &["do not fit"]);
    assert!(place.out_entries().is_empty());
}

#[test]
fn a_limit_slows_it_down() {
    let place = Place::new();
    let file = place.file("file", 300_000);
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let started = std::time::Instant::now();
    run(&[
        "send",
        "--limit",
        "500kB",
        "--to",
        &to,
        file.to_str().unwrap(),
    ])
    .assert_succeeds();
    // No measurement: sooner it would be faster than it may be. What may be caught up with, a tenth of a
    // second's worth, and the first part are less than half of it.
    assert!(started.elapsed().as_millis() >= 300);
    assert_eq!(
        fs::read(place.out().join("file")).unwrap(),
        content(300_000)
    );
}

/// A pipe says nothing for longer than either side waits for the other.
#[test]
fn a_slow_pipe_is_waited_for() {
    let place = Place::new();
    let (_receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--timeout", "1.2"]);
    let send = ["send", "--timeout", "1.2", "--to", &to, "--as", "log", "-"];
    let mut sender = start_with(&send, |command| {
        command.stdin(Stdio::piped());
    });
    let mut stdin = sender.stdin();
    for line in ["one\n", "two\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2500));
    }
    drop(stdin);
    sender.finish().assert_succeeds();
    let received = fs::read_to_string(place.out().join("log")).unwrap();
    assert_eq!(received, "one\ntwo\n");
}
