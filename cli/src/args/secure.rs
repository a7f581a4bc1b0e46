//! Options for addresses `tls://`: who this is, and whom it trusts.

use std::ops::Deref;
#[cfg(feature = "tls")]
use std::path::{Path, PathBuf};

use ampe::Address;
use clap::Args;
#[cfg(feature = "tls")]
use zeroize::Zeroizing;

use crate::error::Failure;
#[cfg(feature = "tls")]
use crate::key::{self, Secret};
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
const HEADING: &str = "Options for tls:// addresses";

/// Where a key may be instead of the command line, which others on a machine can read.
#[cfg(feature = "tls")]
const VARIABLE: &str = "AMPE_KEY";

#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = HEADING)]
struct Certificates {
    /// The certificate to show, in PEM, those of the authorities between behind it
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// Trust who has a certificate of this authority, in PEM; one or several times
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Trust the authorities that this system trusts, as for a server with a public certificate
    #[arg(long)]
    system_ca: bool,
    /// Trust who has the key with this hash, which a listener prints; one or several times. With --ca both are
    /// demanded
    #[arg(long, value_name = "HASH")]
    pin: Vec<ampe::KeyHash>,
}

#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Secure {
    #[command(flatten)]
    certificates: Certificates,
    /// The key that a listener printed: trust that listener, and prove to it that this is who it expects. Others on
    /// this machine can see it here: rather give it in the environment, as AMPE_KEY, or by --key-file
    #[arg(long, value_name = "KEY", help_heading = HEADING, value_parser = secret,
          conflicts_with_all = ["key_file", "cert", "ca", "system_ca", "pin"])]
    key: Option<Secret>,
    /// As --key, out of a file: one with the key alone, or NAME.connect, which `ampe key` makes
    #[arg(long, value_name = "FILE", help_heading = HEADING, conflicts_with_all = ["cert", "ca", "system_ca", "pin"])]
    key_file: Option<PathBuf>,
}

#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Secure {}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SecureListening {
    #[cfg(feature = "tls")]
    #[command(flatten)]
    certificates: Certificates,
    /// Refuse who shows no certificate, or one that is not trusted
    #[cfg(feature = "tls")]
    #[arg(long, help_heading = HEADING)]
    require_cert: bool,
    /// Make a key for as long as this listens, print what the other side has to give, and refuse who does not have it
    #[cfg(feature = "tls")]
    #[arg(long, help_heading = HEADING,
          conflicts_with_all = ["key_file", "cert", "ca", "system_ca", "pin", "require_cert"])]
    keyed: bool,
    /// As --keyed, with a key that lasts: NAME.listen, which `ampe key` makes
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", help_heading = HEADING,
          conflicts_with_all = ["cert", "ca", "system_ca", "pin", "require_cert"])]
    key_file: Option<PathBuf>,
}

/// What secures the connections to a listener, and what who connects has to type for it.
#[derive(Debug, Default)]
pub(crate) struct Secured {
    security: Option<Security>,
    #[cfg(feature = "tls")]
    to_connect: ToConnect,
}

/// What who connects has to type in addition to the address.
#[cfg(feature = "tls")]
#[derive(Debug, Default)]
enum ToConnect {
    #[default]
    Nothing,
    Words(String),
    Key(Secret),
}

#[cfg(feature = "tls")]
const STRAY: &str = "--cert, --ca, --system-ca, --pin, --require-cert, --key, --key-file and --keyed are for addresses \
                     tls://HOST:PORT: write one, or leave them out";

/// Whatever it is, no error of the parser's repeats it.
#[cfg(feature = "tls")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

#[cfg(feature = "tls")]
impl Certificates {
    fn is_given(&self) -> bool {
        self.cert.is_some() || self.trusts_somebody()
    }

    fn trusts_somebody(&self) -> bool {
        !self.ca.is_empty() || self.system_ca || !self.pin.is_empty()
    }

    fn options(&self) -> Result<ampe::TlsOptions, ampe::TlsError> {
        let mut options = ampe::TlsOptions::new();
        if let (Some(cert), Some(key)) = (&self.cert, &self.cert_key) {
            options = options.certificate_pem_files(cert, key)?;
        }
        for authority in &self.ca {
            options = options.authorities_pem_file(authority)?;
        }
        if self.system_ca {
            options = options.system_authorities()?;
        }
        Ok(self.pin.iter().fold(options, |it, &pin| it.pin(pin)))
    }
}

#[cfg(feature = "tls")]
impl Secure {
    /// Whether anything is typed.
    pub(crate) fn is_given(&self) -> bool {
        self.certificates.is_given() || self.key.is_some() || self.key_file.is_some()
    }

    /// The key that is given, if it is not certificates that are.
    fn key(&self, variable: Option<&Secret>) -> Result<Option<key::Dialling>, Failure> {
        let text = |secret: &Secret, from| key::Dialling::from_text(secret.reveal(), from);
        match (&self.key, &self.key_file, variable) {
            (Some(key), ..) => text(key, "--key").map(Some),
            (None, Some(path), _) => key::Dialling::read(path).map(Some),
            (None, None, Some(key)) if !self.is_given() => text(key, VARIABLE).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether something says who is trusted.
    pub(crate) fn says_whom(&self) -> bool {
        let is_keyed = self.key.is_some() || self.key_file.is_some();
        let is_certified = self.certificates.trusts_somebody();
        is_keyed || is_certified || (!self.is_given() && variable().is_some())
    }

    /// What secures a connection to this address, if anything is to.
    pub(crate) fn dialling(&self, to: &Address) -> Result<Option<Security>, Failure> {
        let variable = variable();
        if !to.is_tls() {
            // Not ignored: what was to be secret would go in the open.
            return match (self.is_given(), variable) {
                (false, None) => Ok(None),
                (false, Some(_)) => Err(Failure::Usage(format!(
                    "{VARIABLE} is set, a key for addresses tls://HOST:PORT: write one, or unset it"
                ))),
                (true, _) => Err(Failure::Usage(STRAY.to_owned())),
            };
        }
        if let Some(key) = self.key(variable.as_ref())? {
            return build(key.options()).map(Some);
        }
        if !self.says_whom() {
            return Err(Failure::Usage(format!(
                "nobody is trusted to be {}: give the key that it printed by --key-file or {VARIABLE}, the hash of \
                 its key by --pin, or the authority of its certificate by --ca",
                output::shown(to)
            )));
        }
        build(self.certificates.options()).map(Some)
    }
}

/// The key in the environment.
#[cfg(feature = "tls")]
fn variable() -> Option<Secret> {
    let found = std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
    // What is no text is no key either, and is told as such.
    Some(Secret::new(found.into_string().unwrap_or_default()))
}

#[cfg(feature = "tls")]
fn build(options: Result<ampe::TlsOptions, ampe::TlsError>) -> Result<Security, Failure> {
    let built = options.and_then(ampe::TlsOptions::build);
    built.map_err(|error| Failure::Usage(error.to_string()))
}

#[cfg(feature = "tls")]
impl SecureListening {
    fn is_keyed(&self) -> bool {
        self.keyed || self.key_file.is_some()
    }

    /// With a key of its own where nothing else is asked for.
    pub(crate) fn or_keyed(&self, places: &[Place]) -> SecureListening {
        let is_tls = places.iter().any(|place| place.address().is_tls());
        let is_given = self.certificates.is_given() || self.require_cert || self.is_keyed();
        SecureListening {
            keyed: self.keyed || (is_tls && !is_given),
            ..self.clone()
        }
    }

    /// What secures connections from these addresses, if anything is to.
    pub(crate) fn listening(&self, places: &[Place]) -> Result<Secured, Failure> {
        let mut addresses = places.iter().map(Place::address);
        let tls = addresses.find(|address| address.is_tls());
        let is_given = self.certificates.is_given() || self.require_cert || self.is_keyed();
        match tls {
            None if is_given => Err(Failure::Usage(STRAY.to_owned())),
            None => Ok(Secured::default()),
            Some(_) if self.is_keyed() => self.with_key(),
            Some(address) if self.certificates.cert.is_none() => Err(Failure::Usage(format!(
                "there is nothing to listen on {} with: give --keyed or --key-file, or a certificate by --cert and \
                 --cert-key",
                output::shown(address)
            ))),
            Some(_) => self.with_certificates(),
        }
    }

    fn with_certificates(&self) -> Result<Secured, Failure> {
        let options = self.certificates.options();
        let options = options.map(|options| match self.require_cert {
            true => options.require_certificate(),
            false => options,
        });
        let built = build(options)?;
        let hash = built.own_key_hash();
        if let Some(hash) = hash {
            output::note(&format!("who connects may trust this by --pin {hash}"));
        }
        let mut words = hash.map_or_else(String::new, |hash| format!(" --pin {hash}"));
        if self.require_cert {
            words.push_str(" --cert CERTIFICATE --cert-key KEY");
        }
        Ok(Secured {
            security: Some(built),
            to_connect: ToConnect::Words(words),
        })
    }

    fn with_key(&self) -> Result<Secured, Failure> {
        let (listening, to_connect) = match &self.key_file {
            Some(path) => {
                let words = format!(" --key-file {}", to_type(path));
                (key::Listening::read(path)?, ToConnect::Words(words))
            }
            None => {
                let (listening, key) = key::Listening::fresh()?;
                (listening, ToConnect::Key(key))
            }
        };
        Ok(Secured {
            security: Some(build(listening.options())?),
            to_connect,
        })
    }

    /// Whether who connects to this address has to prove who he is.
    pub(crate) fn authenticates(&self, address: &Address) -> bool {
        address.is_tls() && (self.require_cert || self.is_keyed())
    }
}

/// The other side's file of a key, as it may be typed: where it is there, nobody here knows.
#[cfg(feature = "tls")]
fn to_type(listening: &Path) -> String {
    let name = key::connecting(listening);
    let name = name.and_then(|name| name.into_os_string().into_string().ok());
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let plain = name.filter(|name| name.chars().all(is_plain));
    plain.unwrap_or_else(|| "KEY-FILE".to_owned())
}

impl Secured {
    pub(crate) fn security(&self) -> Option<Security> {
        self.security.clone()
    }
}

#[cfg(feature = "tls")]
impl Secured {
    /// Says which key who connects has to give, if there is one that nobody knows yet.
    pub(crate) fn tell(&self) {
        if let ToConnect::Key(key) = &self.to_connect {
            let said = ["who connects has to give --key ", key.reveal()].concat();
            output::note(&Zeroizing::new(said));
        }
    }

    /// A command for who connects: `address` is followed by what he has to give, and that by `rest`. The key itself
    /// is in it only if that is asked for.
    pub(crate) fn paste(
        &self,
        address: &str,
        rest: &str,
        shows_key: bool,
    ) -> impl Deref<Target = String> + use<> {
        Zeroizing::new(match &self.to_connect {
            ToConnect::Nothing => [address, rest].concat(),
            ToConnect::Words(words) => [address, words, rest].concat(),
            ToConnect::Key(key) if shows_key => [address, " --key ", key.reveal(), rest].concat(),
            ToConnect::Key(_) => [address, " --key KEY", rest].concat(),
        })
    }
}

#[cfg(not(feature = "tls"))]
impl Secured {
    pub(crate) fn tell(&self) {}

    pub(crate) fn paste(
        &self,
        address: &str,
        rest: &str,
        _: bool,
    ) -> impl Deref<Target = String> + use<> {
        Box::new([address, rest].concat())
    }
}

#[cfg(not(feature = "tls"))]
impl Secure {
    pub(crate) fn is_given(&self) -> bool {
        false
    }

    /// The engine says that there is no TLS.
    pub(crate) fn dialling(&self, _: &Address) -> Result<Option<Security>, Failure> {
        Ok(None)
    }
}

#[cfg(not(feature = "tls"))]
impl SecureListening {
    pub(crate) fn or_keyed(&self, _: &[Place]) -> SecureListening {
        SecureListening {}
    }

    /// The engine says that there is no TLS.
    pub(crate) fn listening(&self, _: &[Place]) -> Result<Secured, Failure> {
        Ok(Secured::default())
    }

    pub(crate) fn authenticates(&self, _: &Address) -> bool {
        false
    }
}
