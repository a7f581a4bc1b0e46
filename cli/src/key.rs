//! Keys for two machines: with one, each end of a connection proves to the other who it is.
//!
//! There are two pairs of keys, one of who listens and one of who connects, and each end knows the hash of the
//! other's public one. What is called a key here is what who connects has: the hash of the listener's, and the
//! own private one.

mod files;
mod text;

use std::fmt;
use std::path::Path;

use ampe::{KeyHash, TlsError, TlsOptions};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

pub(crate) use self::files::connecting;
use crate::args::Key;
use crate::error::Failure;
use crate::output;

/// A text that is never shown by accident, and overwritten when it is dropped.
#[derive(Clone, Default)]
pub(crate) struct Secret(Zeroizing<String>);

/// What who listens has.
pub(crate) struct Listening {
    own: Private,
    /// Of who may connect.
    caller: KeyHash,
}

/// What who connects has.
pub(crate) struct Dialling {
    own: Private,
    /// Of who is connected to.
    listener: KeyHash,
}

/// A pair of keys.
struct Private(KeyPair);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text, for where it is meant to be.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Private {
    fn generate() -> Result<Private, Failure> {
        KeyPair::generate_for(&PKCS_ED25519)
            .map(Private)
            .map_err(|error| {
                Failure::new(format!(
                    "cannot make a key: {error}: see that this system has random numbers"
                ))
            })
    }

    /// Out of PKCS #8.
    fn from_pkcs8(pkcs8: &[u8]) -> Option<Private> {
        let key = PrivatePkcs8KeyDer::from(pkcs8);
        KeyPair::try_from(&key).ok().map(Private)
    }

    fn hash(&self) -> KeyHash {
        hash(&self.0.subject_public_key_info())
    }

    /// To show a certificate for this key, which says nothing else, and to accept that one key of a peer.
    fn options(&self, peer: KeyHash) -> Result<TlsOptions, TlsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ampe");
        let certificate = params.self_signed(&self.0);
        let certificate = certificate.map_err(|error| TlsError::Certificate(error.to_string()))?;
        let chain = vec![certificate.der().to_vec()];
        let options = TlsOptions::new().certificate_der(chain, self.0.serialize_der())?;
        Ok(options.pin(peer))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The hash of a public key as a certificate holds it.
fn hash(public: &[u8]) -> KeyHash {
    KeyHash::from(<[u8; 32]>::from(Sha256::digest(public)))
}

/// A key that did not exist before: what who listens has of it, and what who connects.
fn generate() -> Result<(Listening, Dialling), Failure> {
    let (listener, caller) = (Private::generate()?, Private::generate()?);
    let (of_listener, of_caller) = (listener.hash(), caller.hash());
    let listening = Listening {
        own: listener,
        caller: of_caller,
    };
    let dialling = Dialling {
        own: caller,
        listener: of_listener,
    };
    Ok((listening, dialling))
}

impl Listening {
    /// One for as long as this process listens, and the key for who connects, as text.
    pub(crate) fn fresh() -> Result<(Listening, Secret), Failure> {
        let (listening, dialling) = generate()?;
        Ok((listening, dialling.to_text()?))
    }

    /// Out of a file that `ampe key` has made.
    pub(crate) fn read(path: &Path) -> Result<Listening, Failure> {
        files::read_listening(path)
    }

    /// To prove who this is, and to demand the same of who connects.
    pub(crate) fn options(&self) -> Result<TlsOptions, TlsError> {
        let options = self.own.options(self.caller)?;
        Ok(options.require_certificate())
    }
}

impl Dialling {
    /// Out of a text that was typed or pasted, the whole of a file perhaps; `from` says where.
    pub(crate) fn from_text(text: &str, from: &str) -> Result<Dialling, Failure> {
        let line = files::significant(text).unwrap_or_default();
        text::read(line).map_err(|wrong| Failure::Usage(format!("{from}: {wrong}")))
    }

    /// Out of a file that holds the text.
    pub(crate) fn read(path: &Path) -> Result<Dialling, Failure> {
        files::read_dialling(path)
    }

    /// To prove who this is, and to accept that one listener.
    pub(crate) fn options(&self) -> Result<TlsOptions, TlsError> {
        self.own.options(self.listener)
    }

    fn to_text(&self) -> Result<Secret, Failure> {
        let text = text::write(self);
        text.ok_or_else(|| Failure::new("cannot make a key of this kind: report it"))
    }
}

/// `ampe key`.
pub(crate) fn run(arguments: &Key) -> Result<(), Failure> {
    let (listening, dialling) = generate()?;
    for path in files::write(&arguments.name, &listening, &dialling)? {
        output::line(path.as_os_str().as_encoded_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_shown_by_debug() {
        let (listening, secret) = Listening::fresh().unwrap();
        let text = secret.reveal().to_owned();
        assert_eq!(format!("{secret:?}"), "Secret");
        let told = format!("{:?}", listening.options().unwrap());
        assert!(!told.contains(&text) && told.contains("sha256:"), "{told}");
    }

    #[test]
    fn each_end_pins_the_other_and_no_two_keys_are_alike() {
        let (listening, dialling) = generate().unwrap();
        assert_eq!(listening.caller, dialling.own.hash());
        assert_eq!(dialling.listener, listening.own.hash());
        let tls = listening.options().unwrap().build().unwrap();
        assert_eq!(tls.own_key_hash(), Some(dialling.listener));
        let (other, _) = generate().unwrap();
        assert_ne!(other.own.hash(), listening.own.hash());
        assert_ne!(other.caller, listening.caller);
    }
}
