//! What this system is and offers: what a report of a defect should say.

use std::fmt;
use std::io;

use crate::sys::{Backend, DefaultBackend};

pub use crate::socket::has_unix_sockets;

/// What this system is and offers, looked at now.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Platform {
    /// The system's name and version.
    pub system: String,
    /// The processor architecture that this program was compiled for.
    pub architecture: &'static str,
    /// The mechanism by which sockets are polled, as `epoll`.
    pub backend: &'static str,
    /// On what a TCP socket is polled, where that differs from socket to socket: on Windows.
    pub polled_on: Option<PolledOn>,
    /// The Winsock provider of TCP sockets, on Windows.
    pub provider: Option<String>,
    /// Whether there are Unix sockets.
    pub unix_sockets: bool,
    /// How many descriptors this process may have, where there is such a limit.
    pub descriptors: Option<Descriptors>,
}

/// On what a socket is polled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolledOn {
    /// On the socket itself, because no helper can be opened. A socket that has a completion port of its own, or
    /// whose handle is a layered service provider's, cannot be polled so.
    Direct,
    /// On a handle of the socket driver's that it shares with others, a helper.
    Helper,
    /// Not at all, for this reason.
    Refused(String),
}

/// Limits of a process's descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    /// The one that holds; `None` stands for no limit.
    pub soft: Option<u64>,
    /// The one up to which the process may raise it itself.
    pub hard: Option<u64>,
}

impl Platform {
    /// Looks at this system. Opens a socket or two, and closes them again.
    ///
    /// # Errors
    ///
    /// The system does not even open the sockets that are needed to look.
    pub fn probe() -> io::Result<Platform> {
        let polling = system::polling()?;
        Ok(Platform {
            system: system::name(),
            architecture: std::env::consts::ARCH,
            backend: <DefaultBackend as Backend>::NAME,
            polled_on: polling.as_ref().map(|(polled_on, _)| polled_on.clone()),
            provider: polling.map(|(_, provider)| provider),
            unix_sockets: has_unix_sockets(),
            descriptors: system::descriptors(),
        })
    }
}

impl fmt::Display for PolledOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolledOn::Direct => f.write_str("direct"),
            PolledOn::Helper => f.write_str("helper"),
            PolledOn::Refused(why) => write!(f, "none: {why}"),
        }
    }
}

/// Whether this is Wine, which differs from Windows in places that its users may want to know of.
pub fn is_wine() -> bool {
    system::is_wine()
}

#[cfg(windows)]
mod system {
    use std::io;

    use super::{Descriptors, PolledOn};
    use crate::nt::system::{self, Polled};

    pub(super) fn polling() -> io::Result<Option<(PolledOn, String)>> {
        let (outcome, provider) = system::polling()?;
        let polled_on = match outcome {
            Polled::OnAHelper => PolledOn::Helper,
            Polled::OnItself => PolledOn::Direct,
            Polled::Not(error) => PolledOn::Refused(error.to_string()),
        };
        Ok(Some((polled_on, provider)))
    }

    pub(super) fn name() -> String {
        let (major, minor, build) = system::version();
        let wine = system::wine_version();
        let wine = wine.map_or(String::new(), |version| format!(", under Wine {version}"));
        format!("Windows {major}.{minor}.{build}{wine}")
    }

    /// Handles are bounded by memory alone.
    pub(super) fn descriptors() -> Option<Descriptors> {
        None
    }

    pub(super) fn is_wine() -> bool {
        system::wine_version().is_some()
    }
}

#[cfg(not(windows))]
mod system {
    use std::io;

    use super::{Descriptors, PolledOn};

    #[expect(clippy::unnecessary_wraps, reason = "as on Windows, where it can fail")]
    pub(super) fn polling() -> io::Result<Option<(PolledOn, String)>> {
        Ok(None)
    }

    #[cfg(unix)]
    pub(super) fn name() -> String {
        let known = rustix::system::uname();
        let [name, release] = [known.sysname(), known.release()].map(|it| it.to_string_lossy());
        match distribution() {
            Some(distribution) => format!("{name} {release}, {distribution}"),
            None => format!("{name} {release}"),
        }
    }

    /// As most Linux systems call themselves.
    #[cfg(unix)]
    fn distribution() -> Option<String> {
        let release = std::fs::read_to_string("/etc/os-release").ok()?;
        let name = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(name.trim_matches('"').to_owned())
    }

    #[cfg(not(unix))]
    pub(super) fn name() -> String {
        std::env::consts::OS.to_owned()
    }

    #[cfg(unix)]
    pub(super) fn descriptors() -> Option<Descriptors> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Some(Descriptors {
            soft: limit.current,
            hard: limit.maximum,
        })
    }

    #[cfg(not(unix))]
    pub(super) fn descriptors() -> Option<Descriptors> {
        None
    }

    pub(super) fn is_wine() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_so() {
        let platform = Platform::probe().unwrap();
        let has_unix_sockets =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        assert_eq!(platform.unix_sockets, has_unix_sockets.is_ok());
        assert_eq!(platform.polled_on.is_some(), cfg!(windows));
        assert_eq!(platform.provider.is_some(), cfg!(windows));
        assert_eq!(platform.descriptors.is_some(), cfg!(unix));
        assert_eq!(platform.system.contains("Wine"), is_wine());
        if let Some(Descriptors { soft, hard }) = platform.descriptors {
            assert!(soft.unwrap_or(u64::MAX) <= hard.unwrap_or(u64::MAX));
        }
        let backend = format!(
            "{:?}",
            std::any::type_name::<crate::backend::DefaultBackend>()
        );
        let backend = backend.to_lowercase();
        assert!(
            backend.contains(&platform.backend.to_lowercase()),
            "{backend}"
        );
    }

    /// Poller and probe come to the same answer by different ways.
    #[cfg(windows)]
    #[test]
    fn a_socket_is_polled_as_is_said() {
        use std::time::Duration;

        use crate::backend::PollingMode;
        use crate::socket::{Listener, SocketAddress};
        use crate::{Events, Interest, Poller};

        let address = SocketAddress::Tcp(([127, 0, 0, 1], 0).into());
        let mut events = Events::with_capacity(1);
        let mut is_polled = |mode| {
            let mut poller = Poller::with_mode(mode).unwrap();
            let listener = Listener::bind(&address, 1).unwrap();
            let Ok(key) = poller.insert(listener) else {
                return false;
            };
            poller.set_interest(key, Interest::READABLE);
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            // Who is refused is reported.
            events.is_empty()
        };
        let expected = match is_polled(PollingMode::Helper) {
            true => Some(PolledOn::Helper),
            false => is_polled(PollingMode::Direct).then_some(PolledOn::Direct),
        };
        let polled_on = Platform::probe().unwrap().polled_on;
        match expected {
            Some(expected) => assert_eq!(polled_on, Some(expected)),
            None => assert!(
                matches!(polled_on, Some(PolledOn::Refused(_))),
                "{polled_on:?}"
            ),
        }
    }
}
