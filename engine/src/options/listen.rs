//! How a listener listens.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// [`Event::Incoming`](crate::Event::Incoming), with its [`Peer`](crate::Peer). Until it is
    /// [admitted](crate::Incoming::admit) nothing is read from it. What it sends meanwhile waits in the system's
    /// buffers; that it leaves is noticed as long as it has sent nothing, and else once it is admitted, or at
    /// [`hello_timeout`](crate::Options::hello_timeout).
    Ask,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            unix_mode: 0o600,
            unix_group: None,
            admission: Admission::All,
        }
    }
}
