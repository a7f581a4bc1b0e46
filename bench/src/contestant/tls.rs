//! Who both processes are over TLS: a certificate for this machine alone, which is its own authority. Its key is no
//! secret.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

const CERTIFICATE: &[u8] = include_bytes!("tls/own.pem");
const KEY: &[u8] = include_bytes!("tls/own.key");

/// For an engine's groups.
pub fn options() -> Result<ampe::Tls> {
    let options = ampe::TlsOptions::new().certificate_pem(CERTIFICATE, KEY)?;
    Ok(options.authorities_pem(CERTIFICATE)?.build()?)
}

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// As an engine's: TLS 1.3 by rustls and ring, a whole handshake for each connection; and the client's
/// certificate is asked for, and verified.
fn configs() -> Result<&'static Configs> {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    if let Some(configs) = CONFIGS.get() {
        return Ok(configs);
    }
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE)?;
    let key = PrivateKeyDer::from_pem_slice(KEY)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13];
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?
        .with_root_certificates(Arc::clone(&roots))
        .with_client_auth_cert(vec![certificate.clone()], key.clone_key())?;
    client.resumption = rustls::client::Resumption::disabled();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        .with_single_cert(vec![certificate], key)?;
    server.send_tls13_tickets = 0;
    let (client, server) = (Arc::new(client), Arc::new(server));
    Ok(CONFIGS.get_or_init(|| Configs { client, server }))
}

/// rustls over a blocking socket, as its documentation shows it.
pub enum Stream {
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Past its handshake.
    pub fn client(tcp: TcpStream) -> Result<Stream> {
        let name = ServerName::try_from("127.0.0.1").context("a name")?;
        let connection = ClientConnection::new(Arc::clone(&configs()?.client), name)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Stream::Client(Box::new(stream)))
    }

    /// Its handshake is made with the first read.
    pub fn server(tcp: TcpStream) -> Result<Stream> {
        let connection = ServerConnection::new(Arc::clone(&configs()?.server))?;
        Ok(Stream::Server(Box::new(StreamOwned::new(connection, tcp))))
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Stream::Client(stream) => stream.read(buffer),
            Stream::Server(stream) => stream.read(buffer),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0), // a process that has ended
            read => read,
        }
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Client(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Server(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}
