//! Whether a peer's certificate is accepted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::identity::{Identity, KeyHash, Verified};
use super::names::names;

/// The hash of the key of a certificate that can be read.
pub(super) fn key_hash(certificate: &CertificateDer<'_>) -> Result<KeyHash, Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(KeyHash(sha256(&key)))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("a suite of TLS 1.3");
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The keys that are pinned: with some, a peer's has to be one of them.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    hashes: Vec<KeyHash>,
    provider: Arc<CryptoProvider>,
}

impl Pins {
    pub(super) fn new(hashes: Vec<KeyHash>, provider: &Arc<CryptoProvider>) -> Self {
        Pins {
            hashes,
            provider: Arc::clone(provider),
        }
    }

    fn check(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        if self.hashes.is_empty() || self.hashes.contains(&key_hash(end_entity)?) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    /// Whether the peer has the key of its certificate.
    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// No connection gets that far: TLS 1.2 is not spoken.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}

/// Whom one connects to.
#[derive(Debug)]
pub(super) struct Servers {
    by_authority: Option<Arc<WebPkiServerVerifier>>,
    pins: Pins,
}

impl Servers {
    /// With neither authorities nor pins nobody is trusted: none of this kind then.
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        pins: Pins,
    ) -> Result<Option<Self>, rustls::client::VerifierBuilderError> {
        let by_authority = match roots.is_empty() {
            true if pins.hashes.is_empty() => return Ok(None),
            true => None,
            false => {
                let (roots, provider) = (Arc::clone(roots), Arc::clone(&pins.provider));
                Some(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?)
            }
        };
        Ok(Some(Servers { by_authority, pins }))
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(it) = &self.by_authority {
            it.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        self.pins.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.pins.verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.pins.schemes()
    }
}

/// Whom one accepts.
#[derive(Debug)]
pub(super) struct Clients {
    by_authority: Option<Arc<dyn ClientCertVerifier>>,
    pins: Pins,
    is_mandatory: bool,
}

impl Clients {
    /// With neither authorities nor pins nobody is asked for a certificate: none of this kind then.
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        pins: Pins,
        is_mandatory: bool,
    ) -> Result<Option<Self>, rustls::server::VerifierBuilderError> {
        let by_authority = match roots.is_empty() {
            true if pins.hashes.is_empty() => return Ok(None),
            true => None,
            false => {
                let (roots, provider) = (Arc::clone(roots), Arc::clone(&pins.provider));
                Some(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
            }
        };
        Ok(Some(Clients {
            by_authority,
            pins,
            is_mandatory,
        }))
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Not told: it would say to anybody which authorities are trusted here.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(it) = &self.by_authority {
            it.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.pins.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.pins.verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.pins.schemes()
    }
}

/// What a certificate that was accepted says.
pub(super) fn identity(certificate: &CertificateDer<'_>, verified: Verified) -> Option<Identity> {
    let key_hash = key_hash(certificate).ok()?;
    let names = names(certificate);
    Some(Identity {
        names: names.alternatives.into(),
        left_out: names.left_out,
        common_name: names.common_name,
        key_hash,
        verified,
    })
}
