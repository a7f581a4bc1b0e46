//! What a group proves about itself, and whom it trusts.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, InconsistentKeys, RootCertStore, ServerConfig, ServerConnection,
};
use zeroize::{Zeroize, Zeroizing};

use crate::address::Host;

use super::handle::Tls;
use super::identity::{KeyHash, Verified};
use super::records::Records;
use super::verify::{self, Clients, Pins, Servers};
use super::{Codec, Fault, Suite};

/// What is spoken over TLS, as the two ends tell each other (ALPN).
const PROTOCOL: &[u8] = b"ampe/1";

/// What goes into [`Tls`]: a certificate of one's own, and whom one trusts.
///
/// Whoever connects has to trust somebody: an [authority](TlsOptions::authorities_pem), or certain
/// [keys](TlsOptions::pin). Where both are given, a peer needs both: a certificate that an authority issued, for
/// a key that is pinned. Whoever listens needs a [certificate](TlsOptions::certificate_pem). It asks those who
/// connect for theirs where it trusts somebody, and accepts those who show none, unless it
/// [requires](TlsOptions::require_certificate) one.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = ampe::TlsOptions::new()
///     .certificate_pem_files("own.pem", "own.key")?
///     .authorities_pem_file("authority.pem")?
///     .build()?;
/// let mut options = ampe::GroupOptions::default();
/// options.tls = Some(tls);
/// # let engine = ampe::Engine::start(ampe::Options::default())?;
/// let (group, inbox) = engine.group(options)?;
/// group.connect(&"tls://orders.example:7099".parse()?)?;
/// # Ok(()) }
/// ```
#[must_use = "options do nothing until they are built and given to a group"]
pub struct TlsOptions {
    own: Option<Own>,
    roots: RootCertStore,
    pins: Vec<KeyHash>,
    name: Option<String>,
    requires_certificate: bool,
}

/// What is wrong with [`TlsOptions`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// What should be certificates or a key in PEM is not, or there is none.
    #[error("{what}: {why}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate cannot be used: it cannot be read, or the key is not its key or of an unknown kind.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// An authority's certificate cannot be used.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(String),
    /// The system trusts no authority, or its certificates cannot be read.
    #[error("no authority's certificate can be had of the system: {0}")]
    SystemAuthorities(String),
    /// A name that no server can have.
    #[error("`{0}` is no name of a server: write one as orders.example, or an IP address")]
    Name(String),
    /// Certificates are required, and nobody is trusted.
    #[error(
        "certificates are required of those who connect, and none would be accepted: give an authority or a pin"
    )]
    NobodyTrusted,
    /// Options with a certificate were to be [replaced](Tls::replace) by some without: whoever listens would refuse all.
    #[error(
        "there is no certificate to take the place of the one in use: give the options that replace it one, too"
    )]
    NoCertificate,
}

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions::new()
    }
}

impl TlsOptions {
    /// Without a certificate, and trusting nobody.
    pub fn new() -> Self {
        TlsOptions {
            own: None,
            roots: RootCertStore::empty(),
            pins: Vec::new(),
            name: None,
            requires_certificate: false,
        }
    }

    /// Shows this certificate to peers: a chain in PEM, one's own certificate first, and its key in PEM
    /// (PKCS #8, PKCS #1 or SEC1, not encrypted).
    ///
    /// # Errors
    ///
    /// [`TlsError::Pem`]. Whether both belong together [`build`](TlsOptions::build) says.
    pub fn certificate_pem(self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain, "the certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Pem {
            what: "the key",
            why: error.to_string(),
        })?;
        Ok(TlsOptions {
            own: Some(Own::new(chain, key)),
            ..self
        })
    }

    /// As [`certificate_pem`](TlsOptions::certificate_pem), out of two files, which may be the same.
    ///
    /// # Errors
    ///
    /// [`TlsError::File`], and as for `certificate_pem`.
    pub fn certificate_pem_files(
        self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        // Both: they may be one file.
        let key = Zeroizing::new(read(key.as_ref())?);
        let chain = Zeroizing::new(read(chain.as_ref())?);
        self.certificate_pem(&chain, &key)
    }

    /// As [`certificate_pem`](TlsOptions::certificate_pem), in DER: each certificate of the chain, and the key.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`]: the key is of no known form.
    pub fn certificate_der(self, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, TlsError> {
        let key = Zeroizing::new(key);
        let parsed = PrivateKeyDer::try_from(key.as_slice());
        let parsed = parsed.map_err(|why| TlsError::Certificate(why.to_owned()))?;
        let key = parsed.clone_key();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(TlsOptions {
            own: Some(Own::new(chain, key)),
            ..self
        })
    }

    /// Trusts these authorities, and those given before: certificates in PEM, one or several.
    ///
    /// # Errors
    ///
    /// [`TlsError::Pem`], [`TlsError::Authority`].
    pub fn authorities_pem(mut self, pem: &[u8]) -> Result<Self, TlsError> {
        for certificate in certificates(pem, "the authority's certificate")? {
            self = self.trust(certificate)?;
        }
        Ok(self)
    }

    /// As [`authorities_pem`](TlsOptions::authorities_pem), out of a file.
    ///
    /// # Errors
    ///
    /// [`TlsError::File`], and as for `authorities_pem`.
    pub fn authorities_pem_file(self, path: impl AsRef<Path>) -> Result<Self, TlsError> {
        self.authorities_pem(&read(path.as_ref())?)
    }

    /// Trusts this authority: a certificate in DER.
    ///
    /// # Errors
    ///
    /// [`TlsError::Authority`].
    pub fn authority_der(self, certificate: Vec<u8>) -> Result<Self, TlsError> {
        self.trust(certificate.into())
    }

    /// Trusts the authorities that this system trusts, as browsers and other programs do: for servers that have a
    /// certificate of a public authority.
    ///
    /// They are read once, now: on Unix from the files that OpenSSL uses, elsewhere from the system's store. Where the
    /// environment variables `SSL_CERT_FILE` or `SSL_CERT_DIR` are set, their certificates are taken in their place. One
    /// that cannot be used is left out.
    ///
    /// A listener that trusts them accepts the certificate of anybody to whom a public authority gave one: decide there
    /// by [`Identity::names`](crate::Identity::names), or trust an authority of your own.
    ///
    /// # Errors
    ///
    /// [`TlsError::SystemAuthorities`]: there are none, or none that can be read.
    pub fn system_authorities(mut self) -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = self.roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first();
            let why = why.map_or_else(|| "there are none".to_owned(), ToString::to_string);
            return Err(TlsError::SystemAuthorities(why));
        }
        Ok(self)
    }

    fn trust(mut self, certificate: CertificateDer<'static>) -> Result<Self, TlsError> {
        let added = self.roots.add(certificate);
        added.map_err(|error| TlsError::Authority(error.to_string()))?;
        Ok(self)
    }

    /// Trusts the holder of this key, whatever its certificate says of names and dates, and who issued it; with
    /// [authorities](TlsOptions::authorities_pem) beside it, these have to agree. Of several pins one has to
    /// match.
    pub fn pin(mut self, key: KeyHash) -> Self {
        self.pins.push(key);
        self
    }

    /// Demands a certificate for this name, a DNS name or an IP address, of those that are connected to,
    /// instead of one for the host of the address.
    ///
    /// # Errors
    ///
    /// [`TlsError::Name`].
    pub fn server_name(self, name: &str) -> Result<Self, TlsError> {
        if ServerName::try_from(name).is_err() {
            return Err(TlsError::Name(name.to_owned()));
        }
        Ok(TlsOptions {
            name: Some(name.to_owned()),
            ..self
        })
    }

    /// Demands a certificate of those who connect. Without this they are asked for one where an authority or a
    /// key is trusted, and one that they show has to be accepted, but they may show none.
    pub fn require_certificate(self) -> Self {
        TlsOptions {
            requires_certificate: true,
            ..self
        }
    }

    /// Checks the options, and makes of them what a group needs. What is to become of them later,
    /// [`Tls::replace`] replaces.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`], [`TlsError::Authority`], [`TlsError::NobodyTrusted`].
    pub fn build(self) -> Result<Tls, TlsError> {
        self.check().map(Tls::new)
    }

    pub(super) fn check(self) -> Result<Configured, TlsError> {
        let TlsOptions {
            own,
            roots,
            pins,
            name,
            requires_certificate,
        } = self;
        if requires_certificate && roots.is_empty() && pins.is_empty() {
            return Err(TlsError::NobodyTrusted);
        }
        let verified = match (roots.is_empty(), pins.is_empty()) {
            (_, true) => Verified::Authority,
            (true, false) => Verified::Pin,
            (false, false) => Verified::AuthorityAndPin,
        };
        let of_own = |error: rustls::Error| TlsError::Certificate(error.to_string());
        let own_key = own.as_ref().and_then(|own| own.chain.first());
        let own_key = own_key.map(verify::key_hash).transpose().map_err(of_own)?;
        let provider = Arc::new(ring::default_provider());
        let (roots, pins) = (Arc::new(roots), Pins::new(pins, &provider));
        let clients = Clients::new(&roots, pins.clone(), requires_certificate);
        let clients = clients.map_err(|error| TlsError::Authority(error.to_string()))?;
        let servers = Servers::new(&roots, pins);
        let servers = servers.map_err(|error| TlsError::Authority(error.to_string()))?;
        let own = own.map(|own| own.certified()).transpose().map_err(of_own)?;
        let server = match &own {
            Some(own) => Some(server(own, clients, &provider).map_err(of_own)?),
            None => None,
        };
        let client = match servers {
            Some(servers) => Some(client(own, servers, &provider).map_err(of_own)?),
            None => None,
        };
        Ok(Configured {
            client: client.map(Arc::new),
            server: server.map(Arc::new),
            name,
            own_key,
            verified,
        })
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsOptions")
            .field("has_certificate", &self.own.is_some())
            .field("authorities", &self.roots.len())
            .field("pins", &self.pins)
            .field("server_name", &self.name)
            .field("requires_certificate", &self.requires_certificate)
            .finish()
    }
}

/// Options that were checked.
pub(super) struct Configured {
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<ServerConfig>>,
    /// Demanded of those that are connected to, instead of their host.
    name: Option<String>,
    pub(super) own_key: Option<KeyHash>,
    /// How certificates of peers are accepted.
    verified: Verified,
}

impl fmt::Debug for Configured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("own_key_hash", &self.own_key)
            .field("server_name", &self.name)
            .field("verified", &self.verified)
            .finish_non_exhaustive()
    }
}

impl Suite for Configured {
    fn client(&self, host: &Host) -> io::Result<Box<dyn Codec>> {
        let nobody = "the TLS options trust nobody: give an authority or a pin to connect";
        let config = self.client.as_ref();
        let config = config.ok_or_else(|| not_set_up(nobody))?;
        let name = match &self.name {
            Some(name) => name.clone(),
            // No certificate names a zone: it means something on this machine alone.
            None => host
                .to_string()
                .split('%')
                .next()
                .unwrap_or_default()
                .into(),
        };
        let name = ServerName::try_from(name)
            .map_err(|error| Fault::Handshake(format!("the host is no name of a server: {error}")))
            .map_err(|fault| fault.of_kind(io::ErrorKind::InvalidInput))?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(failed)?;
        Ok(Box::new(Records::new(connection, self.verified)))
    }

    fn server(&self) -> io::Result<Box<dyn Codec>> {
        let none = "the TLS options have no certificate: give one to listen";
        let config = self.server.as_ref().ok_or_else(|| not_set_up(none))?;
        let connection = ServerConnection::new(Arc::clone(config)).map_err(failed)?;
        Ok(Box::new(Records::new(connection, self.verified)))
    }
}

fn not_set_up(words: &'static str) -> io::Error {
    Fault::NotSetUp(words).of_kind(io::ErrorKind::Unsupported)
}

fn failed(error: rustls::Error) -> io::Error {
    Fault::Handshake(error.to_string()).of_kind(io::ErrorKind::Other)
}

/// A certificate of one's own, and its key, which is overwritten when this is dropped.
struct Own {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Own {
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Own { chain, key }
    }

    /// What both ends show and sign with.
    fn certified(&self) -> Result<Arc<SingleCertAndKey>, rustls::Error> {
        let key = ring::sign::any_supported_type(&self.key)?;
        let certified = CertifiedKey::new(self.chain.clone(), key);
        match certified.keys_match() {
            // A kind of key that does not tell its public half: the handshake will show.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Arc::new(SingleCertAndKey::from(certified)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn client(
    own: Option<Arc<SingleCertAndKey>>,
    servers: Servers,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(servers));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(own),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(
    own: &Arc<SingleCertAndKey>,
    clients: Option<Clients>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::<SingleCertAndKey>::clone(own));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let why = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => "there is no certificate in it".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(TlsError::Pem { what, why })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File {
        path: path.display().to_string(),
        error,
    })
}
