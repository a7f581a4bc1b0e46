//! Whoever stands between, repeats, changes, or pretends to be one of the two.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use bech32::primitives::decode::CheckedHrpstring;
use rcgen::{CertificateParams, KeyPair};

use super::{lasting, receiver, run_with_key, tool};
use crate::common::peer::raw_hello;
use crate::common::{Place, WATCHDOG, run};

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Program(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The certificate of a stranger, and its key, as files.
fn stranger(place: &Place) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let write = |name: &str, pem: String| {
        let path = place.path().join(name);
        fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    [
        write("stranger.pem", certificate.pem()),
        write("stranger.key", key.serialize_pem()),
    ]
}

/// Which of the two ends says something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Caller,
    Listener,
}

/// Passes the bytes of one connection on, and keeps what each side said.
struct Relay {
    port: u16,
    said: Arc<Mutex<[Vec<u8>; 2]>>,
    done: thread::JoinHandle<()>,
}

impl Relay {
    /// With one bit changed that this side says at this place.
    fn start(to: u16, changed: Option<(Side, usize)>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let kept = Arc::clone(&said);
        let done = thread::spawn(move || {
            let caller = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (back, forth) = (server.try_clone().unwrap(), caller.try_clone().unwrap());
            let also = Arc::clone(&kept);
            let other = thread::spawn(move || pass(back, forth, Side::Listener, &also, changed));
            pass(caller, server, Side::Caller, &kept, changed);
            other.join().unwrap();
        });
        Relay { port, said, done }
    }

    fn said(self) -> [Vec<u8>; 2] {
        self.done.join().unwrap();
        let mut said = self.said.lock().unwrap();
        std::mem::take(&mut *said)
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    side: Side,
    kept: &Mutex<[Vec<u8>; 2]>,
    changed: Option<(Side, usize)>,
) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..len];
        let before = kept.lock().unwrap()[side as usize].len();
        if let Some((_, at)) = changed.filter(|it| it.0 == side)
            && (before..before + len).contains(&at)
        {
            bytes[at - before] ^= 1;
        }
        kept.lock().unwrap()[side as usize].extend_from_slice(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[test]
fn nothing_that_was_said_can_be_said_again() {
    let place = Place::new();
    let (_receiver, to, key) = receiver(&place, &[]);
    let secret = "a line that is in plain text nowhere";
    let file = place.path().join("a");
    fs::write(&file, secret.repeat(10)).unwrap();
    let relay = Relay::start(port(&to), None);
    let via = format!("tls://127.0.0.1:{}", relay.port);
    run_with_key(&["send", "--to", &via, file.to_str().unwrap()], &key).assert_succeeds();
    assert_eq!(place.out_entries(), ["a"]);
    let [caller, listener] = relay.said();
    assert!(caller.len() > 1000 && listener.len() > 500);
    for said in [&caller, &listener] {
        let text = String::from_utf8_lossy(said);
        assert!(!text.contains(secret) && !text.contains("ampe-file"));
    }
    fs::remove_file(place.out().join("a")).unwrap();
    // All of it, to the same listener with the same key.
    let mut again = TcpStream::connect(("127.0.0.1", port(&to))).unwrap();
    again.set_read_timeout(Some(WATCHDOG)).unwrap();
    let _ = again.write_all(&caller); // refused from the record that is wrong on
    let mut answer = Vec::new();
    let _ = again.read_to_end(&mut answer);
    assert_ne!(answer, listener, "the listener's part is another each time");
    assert!(place.out_entries().is_empty());
    // It serves who has the key as before.
    run_with_key(&["send", "--to", &to, file.to_str().unwrap()], &key).assert_succeeds();
}

#[test]
fn a_bit_that_was_changed_on_the_way_ends_the_connection() {
    let place = Place::new();
    let (_receiver, to, key) = receiver(&place, &["--overwrite"]);
    let file = place.file("a", 1000);
    let file = file.to_str().unwrap();
    let send = |changed| {
        let relay = Relay::start(port(&to), changed);
        let via = format!("tls://127.0.0.1:{}", relay.port);
        let sent = run_with_key(&["send", "--to", &via, "--timeout", "5", file], &key);
        (sent, relay.said())
    };
    let (sent, lens) = send(None);
    sent.assert_succeeds();
    let whole = fs::read(place.out().join("a")).unwrap();
    for (side, said) in [Side::Caller, Side::Listener].into_iter().zip(lens) {
        for eighth in [0, 1, 3, 5] {
            // Beyond the header of a record, which may make the other side wait for more.
            let at = 20 + said.len() * eighth / 8;
            let (sent, _) = send(Some((side, at)));
            assert_eq!(sent.code, Some(1), "{side:?} {at}: {sent:?}");
            assert_eq!(fs::read(place.out().join("a")).unwrap(), whole);
        }
    }
}

/// Python's ssl ends both connections with a certificate of its own: neither end says anything to it.
#[test]
fn a_man_in_the_middle_reads_nothing() {
    let asks = ["-c", "import ssl; print(ssl.HAS_TLSv1_3)"];
    for shows in [&[][..], &["shows"]] {
        let Some(mut python) = tool(&["python3", "python"], &asks, "True") else {
            return;
        };
        let place = Place::new();
        let (_receiver, to, key) = receiver(&place, &[]);
        let [chain, private] = stranger(&place);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/common/mitm.py");
        let arguments = [script, &port(&to).to_string(), &chain, &private];
        let mut middle = Program::start(python.args(arguments).args(shows));
        let mut lines = BufReader::new(middle.0.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let via = format!("tls://127.0.0.1:{}", line());
        let file = place.file("a", 1000);
        let file = file.to_str().unwrap();
        let refused = run_with_key(&["send", "--to", &via, file], &key);
        refused.assert_fails(1, &["could not connect securely", "pinned"]);
        let seen = line();
        let words: Vec<&str> = seen.split(' ').collect();
        assert_ne!(words[0], "done", "{seen}");
        assert_eq!(words[2..], ["0", "0"], "{seen}");
        // One who trusts everybody here would have been read: the man is no worse than he could be.
        if shows.is_empty() {
            let [_, other] = lasting(&place, "other");
            let refused = run(&["send", "--to", &via, file, "--key-file", &other]);
            refused.assert_fails(1, &["pinned"]);
            let doctor = run(&["doctor", "--to", &via, "--timeout", "5"]);
            assert_eq!(doctor.code, Some(1), "{doctor:?}");
        }
        assert!(place.out_entries().is_empty());
    }
}

fn openssl() -> Option<Command> {
    let lists_tls13 = ["ciphers", "-s", "-tls1_3"];
    tool(&["openssl"], &lists_tls13, "TLS_AES_128_GCM_SHA256")
}

/// The private key of who connects, as other programs have it: RFC 8410 in PEM.
fn private(key: &str) -> String {
    let checked = CheckedHrpstring::new::<bech32::Bech32m>(key).unwrap();
    let seed: Vec<u8> = checked.byte_iter().skip(33).collect();
    let head = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    let key = KeyPair::try_from([&head[..], &seed].concat()).unwrap();
    key.serialize_pem()
}

/// What a listener answers to a hello by `openssl s_client`.
fn answer_to_openssl(openssl: &mut Command, to: &str, own: &[&str]) -> Vec<u8> {
    let to = format!("127.0.0.1:{}", port(to));
    let arguments = ["s_client", "-quiet", "-alpn", "ampe/1", "-connect", &to];
    let mut client = Program::start(openssl.args(arguments).args(own));
    let mut input = client.0.stdin.take().unwrap();
    // Refused where it was ended before.
    let _ = input.write_all(&raw_hello().bytes());
    let _ = input.flush();
    let mut answer = vec![0; 16];
    let mut output = client.0.stdout.take().unwrap();
    let len = output.read(&mut answer).unwrap();
    answer.truncate(len);
    answer
}

/// Beside the one who has the key, so that it is seen that the others are refused for want of it.
#[test]
fn openssl_is_served_with_the_key_and_refused_without() {
    if openssl().is_none() {
        return;
    }
    let place = Place::new();
    let (_receiver, to, key) = receiver(&place, &[]);
    let path = place.path().join("own.key");
    let own = path.to_str().unwrap();
    fs::write(own, private(&key)).unwrap();
    let certificate = place.path().join("own.pem");
    let certificate = certificate.to_str().unwrap();
    let request = [
        "req",
        "-x509",
        "-subj",
        "/CN=x",
        "-key",
        own,
        "-out",
        certificate,
    ];
    assert!(
        openssl()
            .unwrap()
            .args(request)
            .output()
            .unwrap()
            .status
            .success()
    );
    let answer = |own: &[&str]| answer_to_openssl(&mut openssl().unwrap(), &to, own);
    assert!(!answer(&["-cert", certificate, "-key", own]).is_empty());
    let [chain, other] = stranger(&place);
    assert!(answer(&[]).is_empty());
    assert!(answer(&["-cert", &chain, "-key", &other]).is_empty());
    assert!(place.out_entries().is_empty());
}
