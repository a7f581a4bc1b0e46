//! Permissions and times of what was received.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::protocol::Attributes;

/// The permissions and the time that a sender wants the copy to have, if it does.
pub(super) fn set_attributes(file: &File, attributes: Attributes) -> io::Result<()> {
    let Some(mode) = attributes.mode else {
        return Ok(());
    };
    set_time(file, attributes)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = mode; // there it is a matter of access lists
    Ok(())
}

/// The time alone.
pub(super) fn set_time(file: &File, attributes: Attributes) -> io::Result<()> {
    match attributes.modified.and_then(time) {
        Some(time) => file.set_modified(time),
        None => Ok(()),
    }
}

/// From nanoseconds since 1970.
fn time(nanoseconds: i128) -> Option<SystemTime> {
    let since = u64::try_from(nanoseconds.unsigned_abs() / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanoseconds.unsigned_abs() % 1_000_000_000).ok()?;
    let since = Duration::new(since, rest);
    match nanoseconds >= 0 {
        true => UNIX_EPOCH.checked_add(since),
        false => UNIX_EPOCH.checked_sub(since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_before_and_after_1970() {
        let after = UNIX_EPOCH + Duration::new(7, 5);
        assert_eq!(time(7_000_000_005), Some(after));
        let before = UNIX_EPOCH - Duration::new(7, 5);
        assert_eq!(time(-7_000_000_005), Some(before));
        assert_eq!(time(i128::MAX), None);
    }
}
