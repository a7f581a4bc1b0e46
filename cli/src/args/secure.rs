//! Options for addresses `tls://`: who this is, and whom it trusts.

#[cfg(feature = "tls")]
use std::path::PathBuf;

use ampe::Address;
use clap::Args;

use crate::error::Failure;
use crate::listen::Place;
#[cfg(feature = "tls")]
use crate::output;

/// What secures connections.
#[cfg(feature = "tls")]
pub(crate) type Security = ampe::Tls;

/// Without the feature nothing does.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug)]
pub(crate) enum Security {}

#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options for tls:// addresses")]
pub(crate) struct Secure {
    /// The certificate to show, in PEM, those of the authorities between behind it
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// Trust who has a certificate of this authority, in PEM; one or several times
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Trust who has the key with this hash, which a listener prints; one or several times. With --ca both are
    /// demanded
    #[arg(long, value_name = "HASH")]
    pin: Vec<ampe::KeyHash>,
}

#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Secure {}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SecureListening {
    #[command(flatten)]
    secure: Secure,
    /// Refuse who shows no certificate, or one that is not trusted
    #[cfg(feature = "tls")]
    #[arg(long, help_heading = "Options for tls:// addresses")]
    require_cert: bool,
}

#[cfg(feature = "tls")]
const STRAY: &str = "--cert, --ca, --pin and --require-cert are for addresses tls://HOST:PORT: write one, or leave \
                     them out";

#[cfg(feature = "tls")]
impl Secure {
    fn is_given(&self) -> bool {
        let Secure { cert, ca, pin, .. } = self;
        cert.is_some() || !ca.is_empty() || !pin.is_empty()
    }

    fn options(&self) -> Result<ampe::TlsOptions, ampe::TlsError> {
        let mut options = ampe::TlsOptions::new();
        if let (Some(cert), Some(key)) = (&self.cert, &self.cert_key) {
            options = options.certificate_pem_files(cert, key)?;
        }
        for authority in &self.ca {
            options = options.authorities_pem_file(authority)?;
        }
        Ok(self.pin.iter().fold(options, |it, &pin| it.pin(pin)))
    }

    /// What secures a connection to this address, if anything is to.
    pub(crate) fn dialling(&self, to: &Address) -> Result<Option<Security>, Failure> {
        match (to.is_tls(), self.is_given()) {
            (false, false) => Ok(None),
            (false, true) => Err(Failure::Usage(STRAY.to_owned())),
            (true, _) if self.ca.is_empty() && self.pin.is_empty() => Err(Failure::Usage(format!(
                "nobody is trusted to be {}: give the authority of its certificate by --ca, or the hash of its key by \
                 --pin",
                output::shown(to)
            ))),
            (true, _) => build(self.options()).map(Some),
        }
    }
}

#[cfg(feature = "tls")]
fn build(options: Result<ampe::TlsOptions, ampe::TlsError>) -> Result<Security, Failure> {
    let built = options.and_then(ampe::TlsOptions::build);
    built.map_err(|error| Failure::Usage(error.to_string()))
}

#[cfg(feature = "tls")]
impl SecureListening {
    /// What secures connections from these addresses, if anything is to.
    pub(crate) fn listening(&self, places: &[Place]) -> Result<Option<Security>, Failure> {
        let mut addresses = places.iter().map(Place::address);
        let tls = addresses.find(|address| address.is_tls());
        let is_given = self.secure.is_given() || self.require_cert;
        match tls {
            None if is_given => Err(Failure::Usage(STRAY.to_owned())),
            None => Ok(None),
            Some(address) if self.secure.cert.is_none() => Err(Failure::Usage(format!(
                "there is no certificate to listen on {} with: give one by --cert and --cert-key",
                output::shown(address)
            ))),
            Some(_) => {
                let options = self.secure.options();
                let options = options.map(|options| match self.require_cert {
                    true => options.require_certificate(),
                    false => options,
                });
                let built = build(options)?;
                if let Some(hash) = built.own_key_hash() {
                    output::note(&format!("who connects may trust this by --pin {hash}"));
                }
                Ok(Some(built))
            }
        }
    }

    /// Whether who connects to this address has to prove who he is.
    pub(crate) fn authenticates(&self, address: &Address) -> bool {
        address.is_tls() && self.require_cert
    }

    /// What who connects has to type in addition.
    pub(crate) fn to_connect(&self, security: Option<&Security>) -> String {
        let hash = security.and_then(ampe::Tls::own_key_hash);
        let pin = hash.map_or_else(String::new, |hash| format!(" --pin {hash}"));
        match self.require_cert {
            true => format!("{pin} --cert CERTIFICATE --cert-key KEY"),
            false => pin,
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Secure {
    /// The engine says that there is no TLS.
    pub(crate) fn dialling(&self, _: &Address) -> Result<Option<Security>, Failure> {
        Ok(None)
    }
}

#[cfg(not(feature = "tls"))]
impl SecureListening {
    /// The engine says that there is no TLS.
    pub(crate) fn listening(&self, _: &[Place]) -> Result<Option<Security>, Failure> {
        Ok(None)
    }

    pub(crate) fn authenticates(&self, _: &Address) -> bool {
        false
    }

    pub(crate) fn to_connect(&self, _: Option<&Security>) -> String {
        String::new()
    }
}
