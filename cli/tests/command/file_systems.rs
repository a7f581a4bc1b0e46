//! Receiving into and sending from file systems that lack something, fail late, or hang.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::common::peer::Peer;
use crate::common::receiving::Receiving;
use crate::common::{self, Finished, Place, Running, run, start};

/// A little file system in memory, mounted at `out`. Dropped, it is unmounted.
struct LittleFs {
    place: Place,
    process: Child,
}

impl LittleFs {
    /// `None`, and a line that says why, where it cannot be mounted.
    fn mount(options: &[&str]) -> Option<LittleFs> {
        let place = Place::new();
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/command/common/little_fs.py");
        let process = Command::new("python3")
            .arg(script)
            .arg(place.out())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut process) = process else {
            common::skip("a file system of our own: there is no program `python3` to run it");
            return None;
        };
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        if line.is_empty() {
            let output = process.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let why = said.trim_end().lines().last().unwrap_or_default();
            common::skip(&format!(
                "a file system of our own cannot be mounted: {why}"
            ));
            return None;
        }
        Some(LittleFs { place, process })
    }

    /// Sends a file into it: how the sender and the receiver end, and what is there then.
    fn receive(&self, options: &[&str]) -> (Finished, Finished, Vec<String>) {
        let file = self.place.file("file", 100_000);
        let options = [&["--once"], options].concat();
        let (receiver, to) = self.place.receiver("tcp://127.0.0.1:0", &options);
        let sent = run(&["send", "--quiet", "--to", &to, file.to_str().unwrap()]);
        (sent, receiver.finish(), self.place.out_entries())
    }

    /// A file there of which nothing is in memory; `None`, and a line that says why, where that cannot be.
    fn file_on_disk(&self, name: &str, len: usize) -> Option<PathBuf> {
        let path = self.place.out().join(name);
        fs::write(&path, common::content(len)).unwrap();
        let dropped = Command::new("dd")
            .arg(format!("if={}", path.display()))
            .args(["iflag=nocache", "count=0", "status=none"])
            .status();
        if !dropped.is_ok_and(|status| status.success()) {
            common::skip(
                "a disk that is slow or hangs: there is no `dd` to have a file read again",
            );
            return None;
        }
        Some(path)
    }
}

impl Drop for LittleFs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.place.out())
            .status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn without_exclusive_names_files_are_stored_and_it_is_said() {
    let Some(little) = LittleFs::mount(&[]) else {
        return;
    };
    let (sent, received, left) = little.receive(&[]);
    sent.assert_succeeds();
    received.assert_succeeds();
    assert!(
        received.stderr.contains("renamed by replacing"),
        "{received:?}"
    );
    assert_eq!(left, ["file"]);
    assert_eq!(
        fs::read(little.place.out().join("file")).unwrap(),
        common::content(100_000)
    );
    // What exists and differs is kept there, too, and replaced only if that is wanted.
    let path = little.place.out().join("file");
    fs::write(&path, vec![7; 100_000]).unwrap();
    let (sent, _, left) = little.receive(&[]);
    sent.assert_fails(1, &["exists", "--overwrite"]);
    assert_eq!(left, ["file"]);
    assert_eq!(fs::read(&path).unwrap(), vec![7; 100_000]);
    let (sent, received, left) = little.receive(&["--overwrite", "--quiet"]);
    sent.assert_succeeds();
    assert_eq!(received.stderr, "");
    assert_eq!(left, ["file"]);
}

#[test]
fn a_quota_that_shows_when_a_file_is_closed_is_told_by_both() {
    for options in [&[][..], &["--overwrite"]] {
        let Some(little) = LittleFs::mount(&["flush=EDQUOT"]) else {
            return;
        };
        let (sent, received, left) = little.receive(options);
        sent.assert_fails(1, &["file was not stored there", "quota", "free space"]);
        received.assert_fails_among(&["file from", "quota", "free space"]);
        assert!(left.is_empty(), "{left:?}");
        // A short one is refused.
        let short = little.place.file("short", 10);
        let (receiver, to) = little.place.receiver("tcp://127.0.0.1:0", &["--once"]);
        let sent = run(&["send", "--quiet", "--to", &to, short.to_str().unwrap()]);
        sent.assert_fails(1, &["short was refused", "quota", "free space"]);
        receiver.finish().assert_fails_among(&["short", "quota"]);
        assert!(little.place.out_entries().is_empty());
    }
}

#[test]
fn a_name_that_is_not_held_there_is_refused_before_content_comes() {
    let Some(little) = LittleFs::mount(&["names=ascii"]) else {
        return;
    };
    let (_receiver, to) = little.place.receiver("tcp://127.0.0.1:0", &[]);
    let mut sender = Peer::sender(&to);
    let (_, answer, reason) = sender.offer("na\u{ef}ve".as_bytes(), 3);
    assert_eq!(answer, "refused");
    assert!(
        reason.contains("cannot hold a file of this name"),
        "{reason}"
    );
    assert!(little.place.out_entries().is_empty());
    // Not every file system holds this one, and that one does.
    assert_eq!(sender.offer(b"a;b", 3).1, "accepted");
}

#[test]
fn a_directory_that_has_no_flush_is_as_good_as_flushed() {
    for error in ["EINVAL", "ENOTSUP"] {
        let Some(little) = LittleFs::mount(&[&format!("fsyncdir={error}")]) else {
            return;
        };
        let (sent, received, left) = little.receive(&["--sync", "--overwrite"]);
        sent.assert_succeeds();
        received.assert_succeeds();
        assert_eq!(left, ["file"]);
    }
}

#[test]
fn a_flush_that_fails_leaves_no_file() {
    let Some(little) = LittleFs::mount(&["fsync=EIO"]) else {
        return;
    };
    let (sent, received, left) = little.receive(&["--sync", "--overwrite"]);
    sent.assert_fails(1, &["file was not stored there", "another disk"]);
    received.assert_fails(1, &["another disk"]);
    assert!(left.is_empty(), "{left:?}");
}

/// The first flush of the directory is that of the start.
#[test]
fn a_flush_of_the_directory_that_fails_leaves_no_file_that_is_denied() {
    let Some(little) = LittleFs::mount(&["fsyncdir=EIO", "spared=1"]) else {
        return;
    };
    let (sent, received, left) = little.receive(&["--sync", "--overwrite"]);
    sent.assert_fails(1, &["file was not stored there", "another disk"]);
    received.assert_fails(1, &["another disk"]);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_directory_that_cannot_be_flushed_is_refused_at_the_start() {
    let Some(little) = LittleFs::mount(&["fsyncdir=EIO"]) else {
        return;
    };
    let out = little.place.out();
    let recv = ["recv", "--listen", "tcp://127.0.0.1:0", "--sync", "--out"];
    let refused = run(&[&recv[..], &[out.to_str().unwrap()]].concat());
    refused.assert_fails_among(&["cannot flush", "leave --sync out"]);
    assert!(refused.stdout.is_empty(), "{refused:?}");
}

/// A receiver whose calls of flock(2) have this outcome; `None`, and a line that says why, where there
/// is no program to have it so.
fn with_locks(place: &Place, outcome: &str, options: &[&str]) -> Option<(Running, String)> {
    let traced = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    if !traced.is_ok_and(|status| status.success()) {
        common::skip(
            "locks that fail or deceive: there is no program `strace` that may trace here",
        );
        return None;
    }
    let log = place.path().join("trace");
    let prelude = format!(
        "exec strace -f -qq -o '{}' -e trace=flock -e inject=flock:{outcome} \"$0\" \"$@\"",
        log.display()
    );
    Some(place.receiver_after(&prelude, options))
}

#[test]
fn without_locks_files_are_received_and_no_leftover_is_removed() {
    for error in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        let place = Place::new();
        let leftover = place.out().join(".ampe-partial-leftover");
        fs::write(&leftover, "half").unwrap();
        let file = place.file("file", 10);
        let outcome = format!("error={error}");
        let Some((receiver, to)) = with_locks(&place, &outcome, &["--once"]) else {
            return;
        };
        run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
        let received = receiver.finish();
        received.assert_succeeds();
        assert!(received.stderr.contains("no file locks"), "{received:?}");
        assert_eq!(place.out_entries(), [".ampe-partial-leftover", "file"]);
    }
}

/// As those of a file system that knows only the locks of its own machine.
#[test]
fn locks_that_keep_nobody_out_are_none() {
    let place = Place::new();
    let (_first, to) = place.receiver("tcp://127.0.0.1:0", &[]);
    let mut sender = common::peer::Peer::sender(&to);
    let (id, ..) = sender.offer(b"file", 3);
    sender.content(id, &common::content(2));
    common::until("it is being received", || common::has_partial(&place.out()));
    // It ends by itself: killed, the program that has it so would leave it behind.
    let options = ["--once", "--timeout", "0.2"];
    let Some((second, _)) = with_locks(&place, "retval=0", &options) else {
        return;
    };
    second.finish().assert_fails_among(&["no sender came"]);
    assert!(common::has_partial(&place.out()), "the living file stays");
    sender.content(id, &common::content(3)[2..]);
    let hash = common::sha256(&place.file("three", 3));
    assert_eq!(sender.store(id, &hash).0, "stored");
}

/// Nor is the sender silent meanwhile, which the receiver would take for its end. The disk answers again
/// after a while, so that the process can end, whose thread it holds.
#[test]
fn a_file_whose_disk_hangs_is_told_and_the_others_are_sent() {
    // A long file has been offered when it hangs; a short one is read before.
    for (len, hang_at, told) in [(6_000_000, "2000000", true), (500_000, "100000", false)] {
        let hang = format!("hang_read_at={hang_at}");
        let Some(little) = LittleFs::mount(&[&hang, "hang=4"]) else {
            return;
        };
        let Some(hung) = little.file_on_disk("hung", len) else {
            return;
        };
        let elsewhere = Place::new();
        let [before, last_before, next] =
            ["before", "last before", "next"].map(|name| elsewhere.file(name, 10));
        let (receiver, to) =
            elsewhere.receiver("tcp://127.0.0.1:0", &["--once", "--timeout", "1.2"]);
        let files = [&before, &last_before, &hung, &next].map(|file| file.to_str().unwrap());
        let send = ["send", "--quiet", "--timeout", "2", "--to", &to];
        let sent = start(&[&send[..], &files].concat()).finish();
        sent.assert_fails(1, &["hung", "its disk has not answered for 2 s"]);
        let received = receiver.finish();
        match told {
            true => received.assert_fails_among(&["hung", "the sender gave up"]),
            false => received.assert_succeeds(),
        }
        assert_eq!(elsewhere.out_entries(), ["before", "last before", "next"]);
    }
}

/// The others are sent by then, or are on their way.
#[test]
fn what_was_read_too_late_is_not_sent() {
    let Some(little) = LittleFs::mount(&["hang_read_at=100000", "hang=2"]) else {
        return;
    };
    let Some(hung) = little.file_on_disk("hung", 150_000) else {
        return;
    };
    let next = little.place.file("next", 100_000);
    let mut receiving = Receiving::small();
    let send = ["send", "--timeout", "1", "--to", &receiving.address];
    let files = [&hung, &next].map(|file| file.to_str().unwrap());
    let sender = start(&[&send[..], &files].concat());
    let offer = receiving.greet();
    assert_eq!(offer.body(), b"next");
    common::until("the disk has answered", || {
        // So that the sender waits as long.
        let progress = receiving.message(&[("Received", "0")]);
        let progress = progress.signal(offer.channel()).with_id(offer.id());
        receiving.group.post(progress).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        common::states(sender.id(), "ampe-source").len() == 1
    });
    receiving.answer(&offer, &[("Answer", "accepted")]);
    let store = receiving.request(|_| {});
    assert_eq!(store.text_headers().get("Do").unwrap(), b"store");
    let hash = common::sha256(&next);
    receiving.answer(&store, &[("Answer", "stored"), ("SHA-256", &hash)]);
    receiving.closed();
    sender
        .finish()
        .assert_fails_among(&["hung", "has not answered for 1 s"]);
}

/// All that is there already is read for several times as long as the time limit, while nothing goes out.
#[test]
fn a_slow_disk_is_waited_for_while_what_is_there_is_hashed() {
    const LEN: usize = 8_000_000;
    let Some(little) = LittleFs::mount(&["read=0.06"]) else {
        return;
    };
    let Some(file) = little.file_on_disk("file", LEN) else {
        return;
    };
    let hash = common::sha256(&little.place.file("same", LEN));
    let mut receiving = Receiving::small();
    let send = ["send", "--timeout", "1", "--to", &receiving.address];
    let sender = start(&[&send[..], &[file.to_str().unwrap()]].concat());
    let offer = receiving.greet();
    let accepted = [("Answer", "accepted"), ("From", "7900000")];
    receiving.answer(&offer, &accepted);
    // It says that it works, meanwhile.
    let resume = receiving.request(|said| assert!(said.body().is_empty()));
    assert_eq!(resume.text_headers().get("Do").unwrap(), b"resume");
    receiving.answer(&resume, &accepted);
    let store = receiving.request(|_| {});
    assert_eq!(
        store.text_headers().get("SHA-256").unwrap(),
        hash.as_bytes()
    );
    receiving.answer(&store, &[("Answer", "stored"), ("SHA-256", &hash)]);
    receiving.closed();
    sender.finish().assert_succeeds();
}
