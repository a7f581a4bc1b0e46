//! Options that say who may connect to a Unix socket.

use ampe::ListenOptions;
use clap::Args;

use crate::error::Failure;
use crate::listen::Place;
use crate::output;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Allowed {
    /// Let processes of this user connect to Unix sockets, by number as `id -u` prints it; one or several
    /// times. Who is not allowed by it or by --allow-gid is refused. Not on Windows
    #[arg(long, value_name = "UID", help_heading = "Options for Unix sockets")]
    allow_uid: Vec<u32>,
    /// Let processes with this group connect to Unix sockets, by number as `id -g` prints it; one or several
    /// times
    #[arg(long, value_name = "GID", help_heading = "Options for Unix sockets")]
    allow_gid: Vec<u32>,
}

/// The file of a socket that is open to all: the engine says who may connect.
const ALL: u32 = 0o666;

impl Allowed {
    /// How to listen at these places.
    pub(crate) fn listening(&self, places: &[Place]) -> Result<ListenOptions, Failure> {
        let mut options = ListenOptions::default();
        if self.allow_uid.is_empty() && self.allow_gid.is_empty() {
            return Ok(options);
        }
        let mut addresses = places.iter().map(Place::address);
        if let Some(other) = addresses.find(|it| it.path().is_none()) {
            return Err(Failure::Usage(format!(
                "--allow-uid and --allow-gid are for Unix sockets, and nobody tells whose process connects to {}: \
                 leave one of them out",
                output::shown(other)
            )));
        }
        options.unix_mode = ALL;
        options.unix_allowed_users = Some(self.allow_uid.iter().copied().collect());
        options.unix_allowed_groups = Some(self.allow_gid.iter().copied().collect());
        Ok(options)
    }
}
