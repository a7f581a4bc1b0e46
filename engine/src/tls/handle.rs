//! What a group holds of TLS, which can be replaced while it is in use.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use crate::address::Host;
use crate::sync::lock;

use super::identity::KeyHash;
use super::options::{Configured, TlsError, TlsOptions};
use super::{Codec, Security, Suite};

/// How a group's connections to and from `tls://` addresses are secured. Made by [`TlsOptions::build`], for
/// [`GroupOptions::tls`](crate::GroupOptions::tls). Clones share it, and so do all groups that it was given to:
/// [`replace`](Tls::replace) renews a certificate without a restart.
///
/// TLS 1.3, nothing older, without early data and without resumption: each connection begins with a whole
/// handshake. What is written of it anywhere, also by `Debug`, holds no key.
#[derive(Clone)]
pub struct Tls(Arc<Replaceable>);

/// What each connection is made with is taken once, at its beginning: all of it is of one time.
struct Replaceable(Mutex<Arc<Configured>>);

impl Replaceable {
    fn current(&self) -> Arc<Configured> {
        Arc::clone(&lock(&self.0))
    }
}

impl Suite for Replaceable {
    fn client(&self, host: &Host) -> io::Result<Box<dyn Codec>> {
        self.current().client(host)
    }

    fn server(&self) -> io::Result<Box<dyn Codec>> {
        self.current().server()
    }
}

impl fmt::Debug for Replaceable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(formatter)
    }
}

impl Tls {
    pub(super) fn new(configured: Configured) -> Self {
        Tls(Arc::new(Replaceable(Mutex::new(Arc::new(configured)))))
    }

    /// Puts these options in the place of those that it was built with, or last replaced by, here and in all
    /// clones: certificate, key, authorities, pins and what is demanded, all or nothing. Any thread may do so, while
    /// groups are in use.
    ///
    /// A connection whose handshake has begun goes on with what it was made with, as long as it lives. Those that begin
    /// later, accepted or dialled, are made with the new options. Listeners go on listening, and no port is bound
    /// anew. Nothing is left of the old options once the last connection that was made with them has ended.
    ///
    /// That a pin or an authority is no longer trusted ends no connection: look at the
    /// [`Peer::identity`](crate::Peer::identity) of the channels that are open, and [abort](crate::Post::abort) those
    /// whose peers are not to stay.
    ///
    /// ```no_run
    /// # use ampe::{Tls, TlsError, TlsOptions};
    /// /// Called when the files have been renewed, as on SIGHUP.
    /// fn reload(tls: &Tls) -> Result<(), TlsError> {
    ///     let options = TlsOptions::new()
    ///         .certificate_pem_files("own.pem", "own.key")?
    ///         .authorities_pem_file("authority.pem")?;
    ///     tls.replace(options)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TlsOptions::build`], and [`TlsError::NoCertificate`]. All is as it was then.
    #[doc(alias = "reload")]
    pub fn replace(&self, options: TlsOptions) -> Result<(), TlsError> {
        let new = Arc::new(options.check()?);
        let mut current = lock(&self.0.0);
        if current.own_key.is_some() && new.own_key.is_none() {
            return Err(TlsError::NoCertificate);
        }
        let old = std::mem::replace(&mut *current, new);
        drop(current);
        drop(old); // which may be the last of it: not under the lock, for which the reactor may wait
        Ok(())
    }

    /// The hash of the own certificate's key, for others to pin. None without a certificate.
    pub fn own_key_hash(&self) -> Option<KeyHash> {
        self.0.current().own_key
    }

    pub(crate) fn security(&self) -> Security {
        Security(Arc::clone(&self.0) as Arc<dyn Suite>)
    }
}

impl PartialEq for Tls {
    /// Whether one is a clone of the other.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
