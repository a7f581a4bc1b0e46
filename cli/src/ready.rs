//! A file that says where a command listens, for whoever starts it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ampe::Address;

use crate::error::Failure;
use crate::output;

/// The file, once it is written. Dropped, it is removed.
#[derive(Default)]
pub(crate) struct Ready {
    path: Option<PathBuf>,
    /// How many listeners there are to be.
    listeners: usize,
    addresses: Vec<String>,
    is_written: bool,
}

impl Ready {
    pub(crate) fn new(path: Option<&Path>, listeners: usize) -> Ready {
        Ready {
            path: path.map(Path::to_owned),
            listeners,
            addresses: Vec::new(),
            is_written: false,
        }
    }

    /// A listener has this address. With the last of them the file is there, a line for each.
    pub(crate) fn tell(&mut self, bound: &Address) -> Result<(), Failure> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        self.addresses.push(bound.to_string());
        if self.addresses.len() < self.listeners {
            return Ok(());
        }
        let text = self.addresses.join("\n") + "\n";
        write(path, &text).map_err(|error| {
            Failure::new(format!(
                "cannot write {}: {error}: choose another --ready-file",
                output::shown(path.display())
            ))
        })?;
        self.is_written = true;
        Ok(())
    }
}

/// In one step, so that nobody reads a part of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    let file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    fs::write(file.path(), text)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let (true, Some(path)) = (self.is_written, &self.path) {
            // Whoever removed it before had its reasons.
            let _ = fs::remove_file(path);
        }
    }
}
