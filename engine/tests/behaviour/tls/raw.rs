//! Clients and servers that speak TLS by themselves and frames by hand, and so can break off wherever they like.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ampe::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::certificates::{Authority, Holder};
use crate::common::PATIENCE;
use crate::common::peer::Frame;

pub(crate) struct RawClient {
    pub(crate) tls: ClientConnection,
    pub(crate) tcp: TcpStream,
}

pub(crate) fn session(authority: &Authority) -> ClientConnection {
    session_with(authority, |_| {})
}

/// One that does something else than others do.
pub(crate) fn session_with(
    authority: &Authority,
    change: impl FnOnce(&mut ClientConfig),
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    change(&mut config);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

pub(crate) fn connect(address: &Address) -> TcpStream {
    let tcp = TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

impl RawClient {
    /// One past its handshake.
    pub(crate) fn connect(address: &Address, authority: &Authority) -> Self {
        RawClient::shake(session(authority), connect(address)).unwrap()
    }

    /// Past its handshake, with a session of its own kind.
    pub(crate) fn shake(mut tls: ClientConnection, mut tcp: TcpStream) -> io::Result<Self> {
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut tcp)?;
        }
        Ok(RawClient { tls, tcp })
    }

    /// The records that these bytes travel in.
    pub(crate) fn records(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(bytes).unwrap();
        self.output()
    }

    /// What is to be sent.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).unwrap();
        }
        records
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let records = self.records(bytes);
        self.tcp.write_all(&records).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Frame {
        let mut bytes = vec![0; 16];
        self.read_exact(&mut bytes).unwrap();
        let content = [12, 14].map(|at| usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1]));
        bytes.resize(16 + content[0] + content[1], 0);
        self.read_exact(&mut bytes[16..]).unwrap();
        Frame::read(&bytes).0
    }
}

impl Read for RawClient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            self.tls.read_tls(&mut self.tcp)?;
            self.tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

/// The configuration of a server that has nothing to do with this crate.
pub(crate) fn server_config(holder: &Holder) -> Arc<ServerConfig> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(holder.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(holder.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// What a server answers to a client's hello, which is read from this stream.
pub(crate) fn first_flight(
    config: &Arc<ServerConfig>,
    tcp: &mut TcpStream,
) -> io::Result<(ServerConnection, Vec<u8>)> {
    let mut tls = ServerConnection::new(Arc::clone(config)).unwrap();
    while !tls.wants_write() {
        if tls.read_tls(tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight)?;
    }
    Ok((tls, flight))
}

/// The kind and the length with its head of each record in these bytes.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, ..] = bytes {
        let len = (5 + (usize::from(*high) << 8 | usize::from(*low))).min(bytes.len());
        records.push((*kind, len));
        bytes = &bytes[len..];
    }
    records
}
