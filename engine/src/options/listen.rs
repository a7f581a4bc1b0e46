//! How a listener listens.

use std::collections::BTreeSet;
use std::io;

use crate::address::Address;
use crate::peer::{Credentials, Peer};

/// How a listener listens.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = ampe::Engine::start(ampe::Options::default())?;
/// # let (group, _inbox) = engine.group(ampe::GroupOptions::default())?;
/// let mut options = ampe::ListenOptions::default();
/// options.unix_mode = 0o660; // its user, and its group
/// group.listen_with(&"uds:///run/shop/orders".parse()?, &options)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Who may connect to a Unix socket: the permissions of its file as in chmod(2), of which the last nine
    /// bits count. To connect takes the right to write. Default 0o600: processes of the same user. Does
    /// nothing on Windows, and for TCP.
    pub unix_mode: u32,
    /// The group of a Unix socket's file, by its number: one that the process's user is in, unless that is
    /// root. Where it may not be given, the listener ends with
    /// [`Reason::ListenFailed`](crate::Reason::ListenFailed). Default `None`: what the system gives it. Does
    /// nothing on Windows, and for TCP.
    pub unix_group: Option<u32>,
    /// The users whose processes may connect to a Unix socket, by their numbers; beside them those that
    /// [`unix_allowed_groups`](ListenOptions::unix_allowed_groups) allow. Who is in neither is refused before anything of
    /// it is read: it counts in [`Statistics::refused`](crate::Statistics::refused), and makes no event. Root is a user
    /// like any other here. Default `None`, for both: whoever the permissions of the file let connect, which these do not
    /// widen: [`unix_mode`](ListenOptions::unix_mode) is to let all in who are allowed.
    ///
    /// It is the effective user that a process had when it connected which counts. A process of a user that has no number
    /// in this one's user namespace counts as the system's overflow user, mostly 65534: do not allow that.
    ///
    /// # Platform notes
    ///
    /// Linux (`SO_PEERCRED`), macOS and the BSDs tell who connects. Elsewhere, as on Windows, and at an address that is no
    /// Unix socket's, a listener that is to allow some ends with
    /// [`Reason::ListenFailed`](crate::Reason::ListenFailed) and says so, rather than to let all in.
    #[doc(alias = "SO_PEERCRED")]
    pub unix_allowed_users: Option<BTreeSet<u32>>,
    /// The groups whose processes may connect to a Unix socket, by their numbers, as
    /// [`unix_allowed_users`](ListenOptions::unix_allowed_users). A process counts with its effective group alone: the
    /// system does not tell the others that its user is in. For these there is
    /// [`unix_group`](ListenOptions::unix_group), with a mode such as 0o660.
    pub unix_allowed_groups: Option<BTreeSet<u32>>,
    /// Whether the application is asked about each connection before anything of it is read. Default
    /// [`Admission::All`].
    pub admission: Admission,
}

/// Who decides whether a connection is served, before anything of its peer is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Admission {
    /// Nobody: all are served that get as far as a HelloRequest, which may be [refused](crate::Hello::refuse).
    #[default]
    All,
    /// The application: each connection that was accepted, and over `tls://` has ended its handshake, is told by an
    /// [`Event::Incoming`](crate::Event::Incoming), with its [`Peer`]. Until it is
    /// [admitted](crate::Incoming::admit) nothing is read from it but its handshake. What it sends meanwhile waits in the
    /// system's buffers; that it leaves is noticed as long as it has sent nothing, and else once it is admitted, or at
    /// [`hello_timeout`](crate::Options::hello_timeout).
    Ask,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            unix_mode: 0o600,
            unix_group: None,
            unix_allowed_users: None,
            unix_allowed_groups: None,
            admission: Admission::All,
        }
    }
}

impl ListenOptions {
    fn allows_some_alone(&self) -> bool {
        self.unix_allowed_users.is_some() || self.unix_allowed_groups.is_some()
    }

    /// Whether a listener can tell at this address who is allowed. `tells` is whether the system says who connects to a
    /// Unix socket.
    pub(crate) fn check_address(&self, address: &Address, tells: bool) -> io::Result<()> {
        let words = match (self.allows_some_alone(), address, tells) {
            (false, ..) | (true, Address::Uds(_), true) => return Ok(()),
            (true, Address::Uds(_), false) => {
                "this system does not tell who connects to a Unix socket: allow no users and groups, or ask who comes \
                 to prove himself at tls://"
            }
            (true, Address::Tcp { .. } | Address::Tls { .. }, _) => {
                "users and groups are allowed at Unix sockets alone: nobody tells whose process it is that connects to \
                 this address"
            }
        };
        Err(io::Error::new(io::ErrorKind::Unsupported, words))
    }

    /// Whether somebody may connect. Of whom nothing is known may not, where some are allowed.
    pub(crate) fn allows(&self, peer: &Peer) -> bool {
        let is_in =
            |set: &Option<BTreeSet<u32>>, id| set.as_ref().is_some_and(|it| it.contains(&id));
        let is_allowed = |it: Credentials| {
            is_in(&self.unix_allowed_users, it.user_id)
                || is_in(&self.unix_allowed_groups, it.group_id)
        };
        !self.allows_some_alone() || peer.credentials().is_some_and(is_allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(users: Option<&[u32]>, groups: Option<&[u32]>) -> ListenOptions {
        let set = |ids: &[u32]| ids.iter().copied().collect();
        ListenOptions {
            unix_allowed_users: users.map(set),
            unix_allowed_groups: groups.map(set),
            ..ListenOptions::default()
        }
    }

    #[test]
    fn who_connects_where_some_are_allowed_is_known_or_nobody_listens() {
        let [uds, tcp, tls] =
            ["uds:///a", "tcp://127.0.0.1:1", "tls://127.0.0.1:1"].map(|it| it.parse().unwrap());
        let all = ListenOptions::default();
        for some in [allowing(Some(&[1]), None), allowing(None, Some(&[]))] {
            for (address, tells) in [(&tcp, true), (&tls, true), (&uds, false)] {
                assert!(all.check_address(address, tells).is_ok());
                let error = some.check_address(address, tells).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            }
            assert!(some.check_address(&uds, true).is_ok());
        }
    }

    #[test]
    fn of_whom_nothing_is_known_is_let_in_only_where_all_are() {
        let unknown = Peer::at(crate::Endpoint::Uds(None));
        assert!(ListenOptions::default().allows(&unknown));
        for some in [allowing(Some(&[0]), None), allowing(None, Some(&[0]))] {
            assert!(!some.allows(&unknown));
        }
    }
}
