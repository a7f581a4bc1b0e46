//! Addresses `tls://`: who is trusted, and what is said of who is not.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::common::{Running, run, start, start_with};

const ANY: &str = "tls://127.0.0.1:0";

/// An authority and one who has a certificate of it for 127.0.0.1, as files in a directory.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let write = |name: &str, pem: String| fs::write(directory.path().join(name), pem).unwrap();
        write("ca.pem", authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        write("own.pem", own.signed_by(&key, &issuer).unwrap().pem());
        write("own.key", key.serialize_pem());
        Files { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// What shows the certificate.
    fn own(&self) -> [String; 4] {
        [
            "--cert".to_owned(),
            self.path("own.pem"),
            "--cert-key".to_owned(),
            self.path("own.key"),
        ]
    }

    fn authority(&self) -> [String; 2] {
        ["--ca".to_owned(), self.path("ca.pem")]
    }
}

fn words<'a>(words: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    let more = more.iter().map(String::as_str);
    words.iter().copied().chain(more).collect()
}

fn replying(files: &Files, more: &[String]) -> (Running, String) {
    let own = [&files.own()[..], more].concat();
    let arguments = words(&["reply", "--listen", ANY, "--body", "pong"], &own);
    let mut replying = start(&arguments);
    let address = replying.line();
    assert!(address.starts_with("tls://127.0.0.1:"), "{address}");
    (replying, address)
}

#[test]
fn a_call_is_answered_by_who_is_trusted() {
    let files = Files::new();
    let (_replying, to) = replying(&files, &[]);
    let called = run(&words(&["call", "--to", &to, "ping"], &files.authority()));
    called.assert_succeeds();
    assert_eq!(called.stdout, ["pong"]);
    let other = Files::new();
    for (trust, said) in [
        (other.authority().to_vec(), "certificate is not accepted"),
        (vec!["--pin".to_owned(), "0".repeat(64)], "pinned"),
    ] {
        let refused = run(&words(&["call", "--to", &to, "ping"], &trust));
        refused.assert_fails_among(&["could not connect securely", said]);
    }
    let refused = run(&["call", "--to", &to, "ping"]);
    refused.assert_fails(2, &["--ca", "--pin"]);
}

#[test]
fn the_system_says_which_authorities_are_trusted() {
    let files = Files::new();
    let (_replying, to) = replying(&files, &[]);
    let call = |certificates: String| {
        let arguments = ["call", "--to", &to, "--system-ca", "ping"];
        let called = start_with(&arguments, |command| {
            command.env("SSL_CERT_FILE", certificates);
            command.env_remove("SSL_CERT_DIR");
        });
        called.finish()
    };
    call(files.path("ca.pem")).assert_succeeds();
    call(Files::new().path("ca.pem")).assert_fails_among(&["certificate is not accepted"]);
    call(files.path("own.key")).assert_fails(2, &["no authority's certificate can be had"]);
}

#[test]
fn a_listener_may_demand_a_certificate() {
    let files = Files::new();
    let demands = [&files.authority()[..], &["--require-cert".to_owned()]].concat();
    let (_replying, to) = replying(&files, &demands);
    let both = [&files.authority()[..], &files.own()].concat();
    run(&words(&["call", "--to", &to, "ping"], &both)).assert_succeeds();
    let refused = run(&words(&["call", "--to", &to, "ping"], &files.authority()));
    refused.assert_fails_among(&["it demands a certificate"]);
}

#[test]
fn a_file_goes_to_who_has_the_key_that_was_printed() {
    let files = Files::new();
    fs::write(Path::new(&files.path("a.txt")), "content").unwrap();
    let out = files.path("out");
    fs::create_dir(&out).unwrap();
    let own = files.own();
    let arguments = ["recv", "--listen", ANY, "--out", &out, "--once"];
    let mut receiving = start(&words(&arguments, &own));
    let paste = receiving.line();
    assert!(paste.contains(" --pin sha256:"), "{paste}");
    let pasted = paste.replace("FILE", &files.path("a.txt"));
    let arguments: Vec<&str> = pasted.split(' ').skip(1).collect();
    run(&arguments).assert_succeeds();
    receiving.finish().assert_succeeds();
    let received = fs::read_to_string(Path::new(&out).join("a.txt"));
    assert_eq!(received.unwrap(), "content");
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let files = Files::new();
    let (authority, own) = (files.authority(), files.own());
    let listening = run(&["reply", "--listen", ANY, "--body", "x"]);
    listening.assert_fails(2, &["--cert"]);
    let stray = words(&["call", "--to", "tcp://127.0.0.1:9", "x"], &authority);
    run(&stray).assert_fails(2, &["tls://"]);
    let far = words(&["recv", "--listen", "tls://0.0.0.0:0", "--out", "."], &own);
    run(&far).assert_fails(2, &["--require-cert"]);
    let missing = run(&[
        "call",
        "--to",
        "tls://127.0.0.1:9",
        "--ca",
        "/no/such/file",
        "x",
    ]);
    missing.assert_fails(2, &["/no/such/file"]);
    let proxy = run(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "tls://127.0.0.1:9",
    ]);
    proxy.assert_fails(2, &["tcp://"]);
}

#[test]
fn who_comes_is_shown_with_the_names_that_an_authority_vouches_for() {
    let files = Files::new();
    let demands = [&files.authority()[..], &["--require-cert".to_owned()]].concat();
    let own = [&files.own()[..], &demands].concat();
    let mut tailing = start(&words(&["tail", "--listen", ANY], &own));
    let to = tailing.line();
    let both = [&files.authority()[..], &files.own()].concat();
    run(&words(&["call", "--to", &to, "ping"], &both)).assert_succeeds();
    let line = tailing.line();
    assert!(line.contains(", 127.0.0.1 (sha256:"), "{line}");
}
