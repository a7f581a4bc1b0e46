//! Whether there is room for what is to be received.

use std::fs;
use std::path::Path;

use crate::output;

/// So much is left free.
const SLACK: u64 = 4 << 20;

/// Says why so many bytes do not fit into a directory, if that can be said beforehand. What is there already may be of
/// it, from a transfer that was broken off, and is not stored once more.
pub(super) fn check_all(directory: &Path, size: u64) -> Result<(), String> {
    // Where the system does not say, writing will.
    let Ok(free) = fs4::available_space(directory) else {
        return Ok(());
    };
    check_fits(size, free).or_else(|why| {
        let missing = size.saturating_add(SLACK) - free;
        match stored(directory, missing) >= missing {
            true => Ok(()),
            false => Err(why),
        }
    })
}

/// Says why a file of so many bytes does not fit, of which so many are there.
pub(super) fn check_file(directory: &Path, size: u64, there: u64) -> Result<(), String> {
    match fs4::available_space(directory) {
        Ok(free) => check_fits(size.saturating_sub(there), free),
        Err(_) => Ok(()), // as above
    }
}

fn check_fits(size: u64, free: u64) -> Result<(), String> {
    if size.saturating_add(SLACK) <= free || size == 0 {
        return Ok(());
    }
    Err(format!(
        "{} do not fit, {} are free: free space there",
        output::bytes(size),
        output::bytes(free)
    ))
}

/// The bytes of all files in a directory and below, unfinished ones among them, counted until there are `enough`.
fn stored(directory: &Path, enough: u64) -> u64 {
    let mut directories = vec![directory.to_owned()];
    let mut bytes = 0_u64;
    while bytes < enough
        && let Some(directory) = directories.pop()
    {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => directories.push(entry.path()),
                Ok(found) if found.is_file() => bytes = bytes.saturating_add(found.len()),
                _ => {} // a link, or gone
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_leaves_a_little_free() {
        const LEFT: u64 = 4 << 20;
        assert_eq!(check_fits(1, LEFT + 1), Ok(()));
        assert_eq!(check_fits(0, 0), Ok(()), "what is empty takes no room");
        assert!(check_fits(1, LEFT).unwrap_err().contains("do not fit"));
        assert!(check_fits(u64::MAX, u64::MAX - 1).is_err());
    }

    #[test]
    fn what_is_stored_counts_with_what_lies_below_until_it_is_enough() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(place.path().join(".ampe-partial-1"), [0; 100]).unwrap();
        fs::write(below.join("file"), [0; 1000]).unwrap();
        assert_eq!(stored(place.path(), 1200), 1100);
        assert_eq!(stored(place.path(), 50), 100, "and no further");
        assert_eq!(stored(&place.path().join("missing"), 1), 0);
    }

    #[test]
    fn what_is_larger_than_all_there_is_does_not_fit() {
        let place = tempfile::tempdir().unwrap();
        assert!(check_all(place.path(), u64::MAX).is_err());
        assert!(check_file(place.path(), u64::MAX, 1).is_err());
        assert_eq!(check_file(place.path(), u64::MAX, u64::MAX), Ok(()));
    }
}
