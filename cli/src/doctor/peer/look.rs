//! A handshake that accepts every certificate, to see it. Nothing is said over such a connection, and nothing is
//! shown that this side has.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};

/// What ampe speaks, and what web servers do: which of them it is, the server says.
const AMPE: &[u8] = b"ampe/1";
const OFFERED: [&[u8]; 3] = [AMPE, b"http/1.1", b"h2"];

/// So much of an answer that is no TLS is kept.
const KEPT: usize = 64;

pub(super) enum Seen {
    NotResolved(io::Error),
    NotConnected(io::Error),
    Connected {
        at: SocketAddr,
        took: Duration,
        spoken: Spoken,
    },
}

/// What is spoken on a connection.
pub(super) enum Spoken {
    Tls(Box<Handshake>),
    /// TLS, but not the version that ampe takes.
    OtherVersion,
    /// TLS, but no handshake came about, in these words.
    Failed(String),
    /// Something else, which begins like this.
    Plain(Vec<u8>),
    /// It was closed without a word.
    Closed,
    Silent,
}

/// A handshake that was done.
pub(super) struct Handshake {
    pub(super) took: Duration,
    pub(super) cipher: String,
    pub(super) protocol: Protocol,
    /// The first is the server's, and it has its key.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The server wants one of who connects, or demands it.
    pub(super) asks_for_certificate: bool,
}

/// What is to be spoken inside.
pub(super) enum Protocol {
    Ampe,
    /// A protocol of web servers.
    Web(String),
    /// The server knows nothing of it.
    Unsaid,
    /// The server knows others only.
    Refused,
}

/// Connects to this host, and shakes hands.
pub(super) fn look(host: &str, port: u16, limit: Duration) -> Seen {
    let (stream, at, took) = match connect(host, port, limit) {
        Ok(connected) => connected,
        Err(seen) => return seen,
    };
    let spoken = match shake(stream, host, &OFFERED, limit) {
        Err(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            let again = TcpStream::connect_timeout(&at, limit);
            let again = again.map(|stream| shake(stream, host, &[], limit));
            match again {
                Ok(Ok(Spoken::Tls(mut handshake))) => {
                    handshake.protocol = Protocol::Refused;
                    Spoken::Tls(handshake)
                }
                Ok(Ok(spoken)) => spoken,
                Ok(Err(error)) => failed(&error),
                Err(_) => Spoken::Closed,
            }
        }
        Err(error) => failed(&error),
        Ok(spoken) => spoken,
    };
    Seen::Connected { at, took, spoken }
}

fn failed(error: &Error) -> Spoken {
    match error {
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            Spoken::OtherVersion
        }
        _ => Spoken::Failed(error.to_string()),
    }
}

type Connected = (TcpStream, SocketAddr, Duration);

fn connect(host: &str, port: u16, limit: Duration) -> Result<Connected, Seen> {
    let addresses = (host, port).to_socket_addrs().map_err(Seen::NotResolved)?;
    let begun = Instant::now();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let left = limit.saturating_sub(begun.elapsed());
        let from = Instant::now();
        if left.is_zero() {
            last = io::ErrorKind::TimedOut.into();
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok((stream, address, from.elapsed())),
            Err(error) => last = error,
        }
    }
    Err(Seen::NotConnected(last))
}

/// An error is what TLS says; what the network says is what is seen.
fn shake(
    mut stream: TcpStream,
    host: &str,
    offered: &[&[u8]],
    limit: Duration,
) -> Result<Spoken, Error> {
    let recorder = Arc::new(Recorder::new());
    let config = config(&recorder, offered)?;
    // No certificate names a zone: it means something on this machine alone.
    let name = host.split('%').next().unwrap_or_default().to_owned();
    let name = ServerName::try_from(name)
        .map_err(|error| Error::General(format!("the host is no name of a server: {error}")))?;
    let mut tls = ClientConnection::new(Arc::new(config), name)?;
    let begun = Instant::now();
    let mut first = Vec::new();
    let ended = exchange(&mut tls, &mut stream, begun + limit, &mut first);
    let took = begun.elapsed();
    // An alert, or the end: whoever does not take it does not matter.
    if matches!(ended, Ended::Done) {
        tls.send_close_notify();
    }
    while tls.wants_write() && tls.write_tls(&mut stream).is_ok_and(|len| len > 0) {}
    Ok(match ended {
        Ended::Done => Spoken::Tls(Box::new(Handshake {
            took,
            cipher: cipher(&tls),
            protocol: protocol(&tls),
            chain: recorder.chain(),
            asks_for_certificate: recorder.is_asked.load(Ordering::Relaxed),
        })),
        Ended::Wrong(Error::InvalidMessage(_)) if !begins_like_tls(&first) => Spoken::Plain(first),
        Ended::Wrong(error) => return Err(error),
        Ended::Closed if !first.is_empty() && !begins_like_tls(&first) => Spoken::Plain(first),
        Ended::Closed => Spoken::Closed,
        Ended::Late if !first.is_empty() && !begins_like_tls(&first) => Spoken::Plain(first),
        Ended::Late => Spoken::Silent,
    })
}

/// Whether this is the beginning of a record of the handshake, or of an alert.
fn begins_like_tls(first: &[u8]) -> bool {
    matches!(first, [0x15 | 0x16, 0x03, ..] | [0x15 | 0x16])
}

enum Ended {
    Done,
    Wrong(Error),
    Closed,
    Late,
}

/// Sends and receives until the handshake is done. `first` is what came first.
fn exchange(
    tls: &mut ClientConnection,
    stream: &mut TcpStream,
    deadline: Instant,
    first: &mut Vec<u8>,
) -> Ended {
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_set = !left.is_zero()
            && stream.set_read_timeout(Some(left)).is_ok()
            && stream.set_write_timeout(Some(left)).is_ok();
        if !is_set {
            return Ended::Late;
        }
        while tls.wants_write() {
            if tls.write_tls(stream).is_err() {
                return Ended::Closed;
            }
        }
        if !tls.is_handshaking() {
            return Ended::Done;
        }
        let len = match stream.read(&mut buffer) {
            Ok(0) => return Ended::Closed,
            Ok(len) => len,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ended::Late,
                _ => return Ended::Closed,
            },
        };
        let mut came = &buffer[..len];
        first.extend(came.iter().take(KEPT - first.len()));
        while !came.is_empty() {
            let taken = tls.read_tls(&mut came);
            if let Err(error) = tls.process_new_packets() {
                return Ended::Wrong(error);
            }
            if !taken.is_ok_and(|len| len > 0) {
                return Ended::Closed;
            }
        }
    }
}

fn config(recorder: &Arc<Recorder>, offered: &[&[u8]]) -> Result<ClientConfig, Error> {
    let verifier = Arc::clone(recorder) as Arc<dyn ServerCertVerifier>;
    let resolver = Arc::clone(recorder) as Arc<dyn ResolvesClientCert>;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&recorder.provider));
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(resolver);
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn cipher(tls: &ClientConnection) -> String {
    let suite = tls.negotiated_cipher_suite();
    suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite()))
}

fn protocol(tls: &ClientConnection) -> Protocol {
    match tls.alpn_protocol() {
        None => Protocol::Unsaid,
        Some(AMPE) => Protocol::Ampe,
        Some(other) => Protocol::Web(String::from_utf8_lossy(other).into_owned()),
    }
}

/// Keeps what a server shows, accepts it, and has nothing to show.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
    is_asked: AtomicBool,
}

impl Recorder {
    fn new() -> Recorder {
        Recorder {
            provider: Arc::new(ring::default_provider()),
            chain: Mutex::default(),
            is_asked: AtomicBool::new(false),
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut *self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        let shown = shown.map(|certificate| certificate.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Recorder {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.is_asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        // Else it is not asked for any.
        true
    }
}
