//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of so few bytes in the place of a directory, until it is dropped.
pub(crate) struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// `None`, and a line that says what is skipped, where none can be mounted.
    pub(crate) fn mount(directory: PathBuf, size: u64) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "ampe-test"])
            .arg(&directory)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { directory });
        }
        super::skip("a disk that becomes full: mounting a small tmpfs is not permitted here");
        None
    }

    /// Nothing is open there any more.
    pub(crate) fn unmount(self) {
        assert!(unmounted(&[], &self.directory));
        std::mem::forget(self);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmounted(&["--lazy"], &self.directory);
    }
}

fn unmounted(options: &[&str], directory: &Path) -> bool {
    let status = Command::new("umount").args(options).arg(directory).status();
    status.is_ok_and(|status| status.success())
}
