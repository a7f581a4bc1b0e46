//! The arguments of `ampe key`.

use std::path::PathBuf;

use clap::Args;

/// Make a key for two machines that talk over tls://, in two files: NAME.listen and NAME.connect.
///
/// Who listens keeps the first and gives it by --key-file; the second goes to who connects, by a way that nobody
/// listens to, for --key-file there or as AMPE_KEY. Each end proves to the other that it has its part, so nobody
/// else can be either. Several who have the same file are one and the same to a listener. A file that exists is
/// not replaced. Prints the path of each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ampe key backup
  ampe recv --listen tls://0.0.0.0:7099 --out in --key-file backup.listen
  ampe send --to tls://example.org:7099 --key-file backup.connect photo.jpg")]
pub(crate) struct Key {
    /// What the files' names begin with
    pub(crate) name: PathBuf,
}
