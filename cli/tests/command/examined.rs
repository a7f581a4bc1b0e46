//! `ampe doctor --to`: what answers is told, and whatever is wrong is told apart.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme, client::danger::HandshakeSignatureValid, crypto::ring,
};
use serde_json::Value;

use crate::common::{self, Finished, Place, echo, nobody, run, stranger};

const ANY: &str = "tls://127.0.0.1:0";

/// What the doctor says in JSON, and how it ends. In words it says the same.
#[track_caller]
fn examined(to: &str, more: &[&str], code: i32) -> Value {
    let arguments = [&["doctor", "--to", to][..], more].concat();
    let text = run(&arguments);
    assert_eq!(text.code, Some(code), "{text:?}");
    let json = run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(json.code, Some(code), "{json:?}");
    assert_eq!(
        (json.stdout.len(), json.stderr.as_str()),
        (1, ""),
        "{json:?}"
    );
    let document: Value = serde_json::from_str(&json.stdout[0]).unwrap();
    assert_eq!(document["to"], to);
    let problems = document["problems"].as_array().unwrap();
    assert_eq!(problems.is_empty(), code == 0, "{document}");
    let wrong = |line: &&String| line.starts_with("wrong ");
    assert_eq!(text.stdout.iter().filter(wrong).count(), problems.len());
    for line in &text.stdout {
        assert!(
            line.chars().count() <= 80 || line.contains("sha256:"),
            "{line}"
        );
    }
    document
}

/// As [`examined`], of what is wrong: the one line about it holds these parts.
#[track_caller]
fn wrong(to: &str, more: &[&str], code: i32, parts: &[&str]) -> Value {
    let document = examined(to, more, code);
    let problems = document["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{document}");
    for part in parts {
        let said = problems[0].as_str().unwrap();
        assert!(said.contains(part), "no {part:?} in {said:?}");
    }
    document
}

/// An authority, and files of certificates that it issues for 127.0.0.1.
struct Authority {
    place: Place,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let place = Place::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let own = params.self_signed(&key).unwrap();
        fs::write(place.path().join("ca.pem"), own.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Authority { place, issuer }
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).to_str().unwrap().to_owned()
    }

    /// What a command is given to show such a certificate.
    fn holder(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> [String; 4] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, private) = (self.path(&format!("{name}.pem")), self.path("own.key"));
        fs::write(&chain, own.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        ["--cert".to_owned(), chain, "--cert-key".to_owned(), private]
    }
}

fn words(words: &[String; 4]) -> [&str; 4] {
    words.each_ref().map(String::as_str)
}

#[test]
fn who_answers_is_told_with_all_that_its_certificate_says() {
    let authority = Authority::new("first");
    let own = authority.holder("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2001, 2, 3);
    });
    let (_echo, to) = echo(ANY, &words(&own));
    let ca = authority.path("ca.pem");
    let seen = examined(&to, &[], 0);
    let tls = &seen["tls"];
    assert_eq!(
        (&tls["version"], &tls["alpn"]),
        (&"1.3".into(), &"ampe/1".into())
    );
    assert!(tls["handshake_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(tls["asks_for_certificate"], false);
    let certificate = &tls["certificate"];
    assert_eq!(certificate["names"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(certificate["not_before"], "2001-02-03T00:00:00Z");
    assert_eq!(
        (&certificate["valid_now"], &certificate["self_issued"]),
        (&true.into(), &false.into())
    );
    assert!(seen["trusted"]["accepted"].is_null());
    assert_eq!(
        (&seen["ampe"]["answers"], &seen["ampe"]["accepts"]),
        (&true.into(), &true.into())
    );
    // The hash is what a command takes.
    let hash = certificate["key_hash"].as_str().unwrap();
    run(&["call", "--to", &to, "--pin", hash, "x"]).assert_succeeds();
    for given in [
        &["--pin", hash][..],
        &["--ca", &ca],
        &["--ca", &ca, "--pin", hash],
    ] {
        assert_eq!(examined(&to, given, 0)["trusted"]["accepted"], true);
    }
}

#[test]
fn who_is_not_trusted_is_told_with_the_reason() {
    let (authority, other) = (Authority::new("first"), Authority::new("other"));
    let (ca, other) = (authority.path("ca.pem"), other.path("ca.pem"));
    let refuses = |to: &str, given: &[&str], parts: &[&str]| {
        let seen = wrong(to, given, 1, parts);
        assert_eq!(seen["trusted"]["accepted"], false);
        // What it is has been found out all the same.
        assert_eq!(seen["ampe"]["answers"], true);
        seen
    };
    let (_echo, to) = echo(ANY, &words(&authority.holder("127.0.0.1", |_| {})));
    refuses(
        &to,
        &["--pin", &"0".repeat(64)],
        &["pinned", "compare the hash"],
    );
    refuses(&to, &["--ca", &other], &["CN=first", "--ca"]);
    let (_named, to) = echo(ANY, &words(&authority.holder("orders.example", |_| {})));
    refuses(&to, &["--ca", &ca], &["not valid for name", "as host"]);
    let (_old, to) = echo(
        ANY,
        &words(&authority.holder("127.0.0.1", |params| {
            params.not_after = date_time_ymd(2020, 1, 2);
        })),
    );
    let seen = refuses(&to, &["--ca", &ca], &["renewed", "clock"]);
    assert_eq!(seen["tls"]["certificate"]["valid_now"], false);
}

#[test]
fn who_lets_nobody_in_is_told_with_what_would() {
    let authority = Authority::new("first");
    let ca = authority.path("ca.pem");
    let own = authority.holder("127.0.0.1", |_| {});
    let demands = [&words(&own)[..], &["--ca", &ca, "--require-cert"]].concat();
    let (_echo, to) = echo(ANY, &demands);
    let seen = wrong(&to, &[], 1, &["demands", "--key-file", "--cert"]);
    assert_eq!(seen["tls"]["asks_for_certificate"], true);
    assert!(seen["ampe"]["answers"].is_null());
    let seen = wrong(
        &to,
        &["--ca", &ca],
        1,
        &["does not accept", "demands a certificate"],
    );
    assert_eq!(seen["trusted"]["accepted"], true);
    examined(&to, &[&["--ca", &ca][..], &words(&own)].concat(), 0);
    // And the same with a key.
    let (key, wrong_key) = (authority.path("key"), authority.path("wrong"));
    for name in [&key, &wrong_key] {
        run(&["key", name]).assert_succeeds();
    }
    let (_echo, to) = echo(ANY, &["--key-file", &format!("{key}.listen")]);
    examined(&to, &["--key-file", &format!("{key}.connect")], 0);
    let wrong_key = format!("{wrong_key}.connect");
    wrong(
        &to,
        &["--key-file", &wrong_key],
        1,
        &["pinned", "makes another"],
    );
}

#[test]
fn whatever_answers_instead_is_told_apart() {
    let says = |answer: &'static [u8]| {
        move |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 4096]);
        }
    };
    let ssh = stranger("tls", says(b"SSH-2.0-OpenSSH_9.9\r\n"));
    wrong(
        &ssh,
        &[],
        1,
        &["does not speak TLS", "SSH-2.0", "check host and port"],
    );
    let http = stranger("tls", says(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    wrong(&http, &[], 1, &["does not speak TLS", "HTTP/1.1 400"]);
    let closes = stranger("tls", |mut stream| drop(stream.read(&mut [0; 4096])));
    wrong(&closes, &[], 1, &["closed the connection at the handshake"]);
    // The alert protocol_version.
    let old = stranger("tls", says(b"\x15\x03\x03\x00\x02\x02\x46"));
    wrong(&old, &[], 1, &["not TLS 1.3", "updated"]);
    // The alert internal_error.
    let failing = stranger("tls", says(b"\x15\x03\x03\x00\x02\x02\x50"));
    wrong(&failing, &[], 1, &["no handshake", "InternalError"]);
    let mut kept = Vec::new();
    let silent = stranger("tls", move |stream| kept.push(stream));
    wrong(
        &silent,
        &["--timeout", "0.2"],
        124,
        &["said nothing for 0.2 s", "--timeout"],
    );
    let tcp = silent.replace("tls://", "tcp://");
    wrong(
        &tcp,
        &["--timeout", "0.2"],
        124,
        &["said nothing for 0.2 s"],
    );
    let closes = stranger("tcp", drop);
    wrong(&closes, &[], 1, &["another program"]);
    let (_keeper, address) = nobody();
    let nobody = format!("tls://{address}");
    let seen = wrong(
        &nobody,
        &[],
        1,
        &["could not connect", "see that something listens"],
    );
    assert_eq!(seen["port"]["open"], false);
    wrong(
        "tls://nosuchhost.invalid:1",
        &[],
        1,
        &["resolved", "spelling"],
    );
    wrong(
        "tcp://nosuchhost.invalid:1",
        &[],
        1,
        &["resolved", "spelling"],
    );
}

#[test]
fn a_web_server_and_one_that_speaks_of_nothing_are_told_apart() {
    let (web, _) = tls_server(&[b"http/1.1", b"h2"]);
    let seen = wrong(
        &web,
        &[],
        1,
        &["web server (http/1.1)", "check host and port"],
    );
    assert_eq!(seen["tls"]["alpn"], "http/1.1");
    assert!(seen["tls"]["certificate"]["key_hash"].is_string());
    let (mail, _) = tls_server(&[b"imap"]);
    wrong(&mail, &[], 1, &["another protocol over TLS"]);
    let (unsaid, _) = tls_server(&[]);
    let seen = wrong(&unsaid, &[], 1, &["does not speak this protocol"]);
    assert_eq!(
        (&seen["tls"]["alpn"], &seen["ampe"]["answers"]),
        (&Value::Null, &false.into())
    );
}

#[test]
fn ampe_with_and_without_tls_is_told_from_the_other() {
    let (_plain, plain) = echo("tcp://127.0.0.1:0", &[]);
    assert_eq!(examined(&plain, &[], 0)["ampe"]["accepts"], true);
    let to = plain.replace("tcp://", "tls://");
    let seen = wrong(&to, &[], 1, &["without TLS", &plain]);
    assert_eq!(seen["ampe"]["answers"], true);
    let (_keyed, keyed) = echo(ANY, &["--keyed"]);
    let to = keyed.replace("tls://", "tcp://");
    wrong(&to, &[], 1, &["speaks TLS", &keyed, "--key-file"]);
    if common::has_unix_sockets() {
        let place = Place::new();
        let (_local, local) = echo(&place.uds("socket"), &[]);
        assert_eq!(examined(&local, &[], 0)["ampe"]["accepts"], true);
        wrong(
            &place.uds("missing"),
            &[],
            1,
            &["no socket", "correct the path"],
        );
    }
}

/// It is no sender: a receiver of one connection waits for that.
#[test]
fn a_receiver_is_not_disturbed() {
    let place = Place::new();
    let (receiver, to) = place.receiver("tcp://127.0.0.1:0", &["--once"]);
    let seen = examined(&to, &[], 0);
    let refusal = seen["ampe"]["refusal"].as_str().unwrap();
    assert!(refusal.contains("receiver of files"), "{refusal}");
    let file = place.file("file", 10);
    run(&["send", "--to", &to, file.to_str().unwrap()]).assert_succeeds();
    receiver.finish().assert_succeeds();
}

#[test]
fn nobody_who_is_not_trusted_is_shown_a_certificate() {
    let authority = Authority::new("first");
    let own = authority.holder("127.0.0.1", |_| {});
    let (to, shown) = tls_server(&[b"ampe/1"]);
    for given in [
        &["--pin", &"0".repeat(64)][..],
        &["--ca", &authority.path("ca.pem")],
        &[],
    ] {
        let arguments = [&["doctor", "--to", &to][..], given, &words(&own)].concat();
        let told: Finished = run(&arguments);
        assert_eq!(told.code, Some(1), "{told:?}");
    }
    assert_eq!(shown.load(Ordering::Relaxed), 0);
    // It would have noticed: who is trusted is shown it.
    let seen = wrong(&to, &[], 1, &[]);
    let hash = seen["tls"]["certificate"]["key_hash"].as_str().unwrap();
    run(&[&["doctor", "--to", &to, "--pin", hash][..], &words(&own)].concat());
    assert_eq!(shown.load(Ordering::Relaxed), 1);
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let pin = "0".repeat(64);
    run(&["doctor", "--pin", &pin]).assert_fails(2, &["--to"]);
    run(&["doctor", "--to", "1", "--verify"]).assert_fails(2, &["cannot be used with"]);
    run(&["doctor", "--to", "1", "--pin", &pin]).assert_fails(2, &["tls://"]);
    run(&["doctor", "--to", "tls://127.0.0.1:1", "--key", "x"]).assert_fails(2, &["no key"]);
    run(&["doctor", "--to", "nonsense"]).assert_fails(2, &["nonsense"]);
}

/// Accepts every certificate of who connects, or none, and counts them.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl ClientCertVerifier for Counting {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("there is no TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// A TLS server that speaks these protocols, answers whatever is said as a web server does, and counts the
/// certificates that it is shown.
fn tls_server(protocols: &[&[u8]]) -> (String, Arc<AtomicUsize>) {
    let shown = Arc::new(AtomicUsize::new(0));
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let chain = vec![own.self_signed(&key).unwrap().der().clone()];
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let counting = Arc::new(Counting(Arc::clone(&shown)));
    let mut config = builder
        .with_client_cert_verifier(counting)
        .with_single_cert(chain, private)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    let (sender, receiver) = mpsc::channel::<TcpStream>();
    thread::spawn(move || {
        for mut stream in receiver {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            let _ = tls.read(&mut [0; 4096]);
            let _ = tls.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    let serve = move |stream| sender.send(stream).unwrap();
    (stranger("tls", serve), shown)
}
