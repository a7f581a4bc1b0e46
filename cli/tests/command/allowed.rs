//! Unix sockets that some users and groups may connect to, and no others.

use crate::common::{run, start};

#[test]
fn users_and_groups_are_for_unix_sockets() {
    for option in ["--allow-uid", "--allow-gid"] {
        for command in [&["echo"][..], &["tail"], &["reply", "--body", "x"]] {
            let listening = ["--listen", "tcp://127.0.0.1:0", option, "0"];
            let refused = run(&[command, &listening].concat());
            refused.assert_fails(2, &["Unix sockets", "127.0.0.1"]);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let refused = run(&["recv", "--listen", "7099", "--out", out, "--allow-uid", "0"]);
    refused.assert_fails(2, &["Unix sockets"]);
    let wrong = run(&["echo", "--listen", "uds:///tmp/x", "--allow-uid", "root"]);
    wrong.assert_fails(2, &["--allow-uid"]);
}

#[cfg(unix)]
#[test]
fn who_is_allowed_is_served_and_another_is_not() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let directory = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(directory.path()).unwrap();
    let (user, group) = (own.uid().to_string(), own.gid().to_string());
    let other = |own: u32| (own + 1).to_string();
    let (other_user, other_group) = (other(own.uid()), other(own.gid()));
    let path = directory.path().join("socket");
    let socket = format!("uds://{}", path.display());
    for (options, is_served) in [
        (&["--allow-uid", &user][..], true),
        (&["--allow-uid", &other_user, "--allow-uid", &user], true),
        (&["--allow-uid", &other_user, "--allow-gid", &group], true),
        (&["--allow-gid", &group], true),
        (&["--allow-uid", &other_user], false),
        (
            &["--allow-uid", &other_user, "--allow-gid", &other_group],
            false,
        ),
    ] {
        let listening = ["reply", "--listen", &socket, "--body", "pong"];
        let mut replying = start(&[&listening[..], options].concat());
        assert_eq!(replying.line(), socket);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "others may try");
        let called = run(&["call", "--to", &socket, "ping"]);
        match is_served {
            true => {
                called.assert_succeeds();
                assert_eq!(called.stdout, ["pong"]);
            }
            // Whose end comes before his request was written hears of it as a reset.
            false => {
                assert_eq!((called.code, called.stdout.len()), (Some(1), 0));
                let words = ["disconnected", "reset", "Broken pipe"];
                let is_told = words.iter().any(|word| called.stderr.contains(word));
                assert!(is_told, "{called:?}");
            }
        }
    }
}

#[cfg(not(unix))]
#[test]
fn where_nobody_tells_who_connects_nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let socket = format!("uds://{}", path.display());
    let refused = run(&["echo", "--listen", &socket, "--allow-uid", "0"]);
    refused.assert_fails(1, &["does not tell who connects"]);
    assert!(
        start(&["echo", "--listen", "tcp://127.0.0.1:0"])
            .line()
            .starts_with("tcp://")
    );
}
