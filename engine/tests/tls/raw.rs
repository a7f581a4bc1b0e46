//! A client that speaks TLS by itself and frames by hand, and so can break off wherever it likes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ampe::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::certificates::Authority;
use crate::common::PATIENCE;
use crate::common::peer::Frame;

pub(crate) struct RawClient {
    pub(crate) tls: ClientConnection,
    pub(crate) tcp: TcpStream,
}

pub(crate) fn session(authority: &Authority) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
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
        let (mut tls, mut tcp) = (session(authority), connect(address));
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).unwrap();
        }
        while tls.wants_write() {
            tls.write_tls(&mut tcp).unwrap();
        }
        RawClient { tls, tcp }
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
