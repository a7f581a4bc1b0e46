//! Unfinished files: how they are called, whose they are, and what their file system can do.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use fs4::{FileExt, TryLockError};
use sha2::{Digest as _, Sha256};
use tempfile::{Builder, NamedTempFile, TempPath};

use super::names::{Name, PARTIAL_PREFIX};

/// Random characters at the end of an unfinished file's name.
const RANDOM_LEN: usize = 12;

/// Digits at the end of the name of one that can be gone on with: they stand for what it is of.
const IDENTITY_LEN: usize = 32;

/// What is shorter is not worth being kept.
pub(crate) const KEPT_MIN: u64 = 1 << 20;

/// How long an unfinished file is kept for its sender to come back.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a directory's file system can do, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Files can be locked, so that those of living receivers are told from leftovers.
    pub(crate) locks: bool,
    /// A file can be given a name in one step that fails if the name is taken.
    pub(crate) exclusive_names: bool,
}

/// Finds out what can be done in a directory, and removes what killed receivers of this machine left
/// there, but what is `kept` to be gone on with. Fails if no files can be created there.
pub(crate) fn prepare(directory: &Path, kept: bool) -> io::Result<Abilities> {
    let locks = has_locks(directory)?;
    if locks {
        remove_leftovers(directory, kept)?;
    }
    Ok(Abilities {
        locks,
        exclusive_names: has_exclusive_names(directory)?,
    })
}

/// Whether a lock keeps a second one out.
fn has_locks(directory: &Path) -> io::Result<bool> {
    let first = create(directory)?;
    match FileExt::try_lock(first.as_file()) {
        Ok(()) => {}
        // Another receiver looks whether this is a leftover.
        Err(TryLockError::WouldBlock) => return Ok(true),
        Err(TryLockError::Error(_)) => return Ok(false),
    }
    let second = match first.reopen() {
        Ok(second) => second,
        // It thought so, before the lock.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let kept_out = FileExt::try_lock(&second);
    Ok(matches!(kept_out, Err(TryLockError::WouldBlock)))
}

/// Whether a file gets a name that is free without replacing: tried with a name that is free, since
/// for others the system answers without asking the file system.
fn has_exclusive_names(directory: &Path) -> io::Result<bool> {
    let file = create(directory)?;
    let free = create(directory)?.path().to_owned();
    match file.persist_noclobber(&free) {
        Ok(_) => fs::remove_file(free).map(|()| true),
        // Another receiver took it for a leftover: it could be removed, the rest shows later.
        Err(refused) => Ok(refused.error.kind() == io::ErrorKind::NotFound),
    }
}

/// A new unfinished file, locked where there are locks.
pub(crate) fn unfinished(directory: &Path, abilities: Abilities) -> io::Result<NamedTempFile> {
    const ATTEMPTS: usize = 16;
    if !abilities.locks {
        return create(directory);
    }
    for _ in 0..ATTEMPTS {
        let file = create(directory)?;
        match FileExt::try_lock(file.as_file()) {
            Ok(()) => {}
            // Another receiver looks whether this is a leftover, and thinks so.
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // It may have thought so, and be done, between creation and lock.
        if fs::symlink_metadata(file.path()).is_ok() {
            return Ok(file);
        }
    }
    Err(io::Error::other("other receivers remove our files at once"))
}

/// A new unfinished file for a moment, which is not locked.
pub(crate) fn brief(directory: &Path) -> io::Result<NamedTempFile> {
    create(directory)
}

/// The unfinished file of this identity, locked: what was kept of it, or a new one. `None` if somebody
/// else has it, or something else has its name.
pub(crate) fn resumable(directory: &Path, identity: &[u8]) -> io::Result<Option<NamedTempFile>> {
    let path = directory.join(identified(identity));
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits(),
    );
    let is_there = fs::symlink_metadata(&path);
    if is_there.is_ok_and(|found| !found.is_file()) {
        return Ok(None);
    }
    let file = match options.open(&path) {
        Ok(file) => file,
        // Perhaps another user's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    match FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // It may have been removed between the two, or be a file that has another name too.
    if !is_alone(&file, &path) {
        return Ok(None);
    }
    let path = TempPath::try_from_path(path)?;
    Ok(Some(NamedTempFile::from_parts(file, path)))
}

/// Whether this file has this name, and no other.
fn is_alone(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
        same && opened.is_file() && opened.nlink() == 1
    }
    #[cfg(not(unix))]
    {
        opened.is_file() && named.is_file()
    }
}

fn identified(identity: &[u8]) -> String {
    let digits: String = Sha256::digest(identity)
        .iter()
        .take(IDENTITY_LEN / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{PARTIAL_PREFIX}{}-{digits}", machine())
}

/// Writes pieces with as few calls as the system makes of it; how many bytes they have.
pub(crate) fn write_all(file: &mut impl Write, content: &[&[u8]]) -> io::Result<u64> {
    let mut slices: Vec<IoSlice<'_>> = content.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    // Of those without content there is nothing to write.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(content.iter().map(|piece| piece.len() as u64).sum())
}

/// Leaves an unfinished file to be gone on with.
pub(crate) fn keep(file: NamedTempFile) -> io::Result<PathBuf> {
    let (_, path) = file.keep().map_err(|kept| kept.error)?;
    Ok(path)
}

fn create(directory: &Path) -> io::Result<NamedTempFile> {
    let prefix = format!("{PARTIAL_PREFIX}{}-", machine());
    let mut builder = Builder::new();
    builder.prefix(&prefix).rand_bytes(RANDOM_LEN);
    #[cfg(unix)]
    let permissions: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions); // less the umask, as any new file
    builder.tempfile_in(directory)
}

/// Whether a file of this name can be made in the directory: tried, in a directory of its own there,
/// where the name is one that some file systems do not hold.
pub(crate) fn try_name(directory: &Path, name: &Name) -> io::Result<()> {
    if name.is_portable() {
        return Ok(());
    }
    let mut builder = Builder::new();
    builder.prefix(PARTIAL_PREFIX).rand_bytes(RANDOM_LEN);
    // Where no directory can be made, it shows at the end whether the name can be had.
    let Ok(place) = builder.tempdir_in(directory) else {
        return Ok(());
    };
    match File::create_new(place.path().join(name.to_os())) {
        // Somebody has removed the directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        created => created.map(drop),
    }
}

/// Eight hexadecimal digits that tell this machine's files from those of others that share the
/// directory: their locks may be unknown here.
fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(find_machine)
}

fn find_machine() -> String {
    #[cfg(unix)]
    let name = nix::unistd::gethostname().unwrap_or_default();
    #[cfg(not(unix))]
    let name = std::env::var_os("COMPUTERNAME").unwrap_or_default();
    let id = fs::read("/etc/machine-id").unwrap_or_default();
    let hash = Sha256::new()
        .chain_update(name.as_encoded_bytes())
        .chain_update(id)
        .finalize();
    hash.iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Removes unfinished files that nobody holds a lock on: their receivers were killed. Those that are
/// `kept`, long enough and not too old, stay.
fn remove_leftovers(directory: &Path, kept: bool) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // Files can be created there nevertheless.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(may_be_ours);
        // The type is that of the entry itself: a link is no leftover of ours.
        if !is_ours || !entry.file_type().is_ok_and(|found| found.is_file()) {
            continue;
        }
        if kept && name.to_str().is_some_and(is_identified) && is_worth_keeping(&entry) {
            continue;
        }
        // What vanished meanwhile, or belongs to somebody else, is not ours to remove.
        let Ok(file) = File::options().read(true).write(true).open(entry.path()) else {
            continue;
        };
        if FileExt::try_lock(&file).is_ok() {
            // The lock is held while it is removed, so its creator cannot take it for its own.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn is_identified(name: &str) -> bool {
    let end = name.rsplit('-').next().unwrap_or_default();
    end.len() == IDENTITY_LEN && end.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn is_worth_keeping(entry: &fs::DirEntry) -> bool {
    let Ok(found) = entry.metadata() else {
        return false;
    };
    let written = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let age = SystemTime::now().duration_since(written);
    found.len() >= KEPT_MIN && age.unwrap_or_default() < KEPT_FOR
}

/// Whether an unfinished file of this name is none of another machine's.
fn may_be_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PARTIAL_PREFIX) else {
        return false;
    };
    match rest.split_once('-') {
        Some((machine, rest))
            if machine.len() == 8 && [RANDOM_LEN, IDENTITY_LEN].contains(&rest.len()) =>
        {
            machine == self::machine()
        }
        _ => true,
    }
}

/// Flushes a directory's names, where the system and the file system have a way to.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(path)?.sync_all() {
        Err(error) if has_no_flush(&error) => Ok(()),
        result => result,
    }
}

/// Whether an error of a directory's fsync says that there is no such thing.
fn has_no_flush(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// Closes a file, and says of errors that a file system keeps for close(2), as
/// [`check_close`] does.
pub(crate) fn close(file: File) -> io::Result<()> {
    #[cfg(unix)]
    nix::unistd::close(file)?;
    #[cfg(not(unix))]
    drop(file); // closing says nothing there
    Ok(())
}

/// Asks for the errors that a file system keeps for close(2): those of a quota, or of a server.
pub(crate) fn check_close(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    nix::unistd::close(file.try_clone()?)?;
    #[cfg(not(unix))]
    let _ = file; // closing says nothing there
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_system_can_do_all() {
        let directory = tempfile::tempdir().unwrap();
        let abilities = prepare(directory.path(), true).unwrap();
        assert!(abilities.exclusive_names && abilities.locks);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_other_machines_stay() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: String| {
            let path = directory.path().join(name);
            fs::write(&path, "half").unwrap();
            path
        };
        let others = write(format!("{PARTIAL_PREFIX}00000000-abcdefghijkl"));
        let ours = write(format!("{PARTIAL_PREFIX}{}-abcdefghijkl", machine()));
        let older = write(format!("{PARTIAL_PREFIX}abcdefghijkl"));
        // No machine's: what should say which one, or what stands behind it, has another length.
        let no_machines = ["1234567-abcdefghijkl", "12345678-abcdefghijk"]
            .map(|name| write(format!("{PARTIAL_PREFIX}{name}")));
        prepare(directory.path(), true).unwrap();
        assert!(others.exists() && !ours.exists() && !older.exists());
        assert!(no_machines.iter().all(|path| !path.exists()));
    }

    #[test]
    fn an_unfinished_file_says_whose_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = brief(directory.path()).unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap();
        let machine = &name[PARTIAL_PREFIX.len()..];
        let (machine, random) = machine.split_once('-').unwrap();
        assert_eq!((machine.len(), random.len()), (8, RANDOM_LEN), "{name}");
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(machine.bytes().all(is_digit), "{name}");
    }

    #[test]
    fn what_can_be_gone_on_with_stays_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let begin = |identity: &[u8], len: u64| {
            let file = resumable(directory.path(), identity).unwrap().unwrap();
            assert_eq!(file.as_file().metadata().unwrap().len(), 0);
            file.as_file().set_len(len).unwrap();
            keep(file).unwrap()
        };
        let (kept, short) = (begin(b"kept", KEPT_MIN), begin(b"short", KEPT_MIN - 1));
        let old = begin(b"old", KEPT_MIN);
        let long_ago = SystemTime::now() - KEPT_FOR - Duration::from_secs(1);
        let file = File::options().write(true).open(&old).unwrap();
        file.set_modified(long_ago).unwrap();
        drop(file);
        prepare(directory.path(), true).unwrap();
        assert!(kept.exists() && !short.exists() && !old.exists());
        let again = resumable(directory.path(), b"kept").unwrap().unwrap();
        assert_eq!(again.as_file().metadata().unwrap().len(), KEPT_MIN);
        assert!(
            resumable(directory.path(), b"kept").unwrap().is_none(),
            "it is locked"
        );
        keep(again).unwrap();
        prepare(directory.path(), false).unwrap();
        assert!(!kept.exists());
    }

    #[test]
    fn what_is_kept_is_kept_for_a_week() {
        let directory = tempfile::tempdir().unwrap();
        let stays = |days: f64| {
            let file = resumable(directory.path(), b"x").unwrap().unwrap();
            file.as_file().set_len(KEPT_MIN).unwrap();
            let written = SystemTime::now() - Duration::from_secs_f64(days * 24.0 * 3600.0);
            file.as_file().set_modified(written).unwrap();
            let path = keep(file).unwrap();
            prepare(directory.path(), true).unwrap();
            path.exists()
        };
        assert!(stays(0.0) && stays(6.9) && !stays(7.1));
    }

    #[test]
    fn what_cannot_be_gone_on_with_is_not_kept_however_long_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let long = |end: &str| {
            let path = directory
                .path()
                .join(format!("{PARTIAL_PREFIX}{}-{end}", machine()));
            File::create(&path).unwrap().set_len(KEPT_MIN).unwrap();
            path
        };
        // Random letters, which may all be hexadecimal digits; and no digits, as many as there would be.
        let others = [long("abcdef012345"), long(&"x".repeat(IDENTITY_LEN))];
        let kept = long(&"0".repeat(IDENTITY_LEN));
        prepare(directory.path(), true).unwrap();
        assert!(others.iter().all(|path| !path.exists()) && kept.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_stands_for_another_file_is_not_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (
            directory.path().join(identified(b"x")),
            directory.path().join("y"),
        );
        fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(resumable(directory.path(), b"x").unwrap().is_none());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(resumable(directory.path(), b"x").unwrap().is_none());
    }

    #[test]
    fn a_directory_that_is_gone_is_no_file_of_somebody_else() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        for error in [
            resumable(&gone, b"x").unwrap_err(),
            remove_leftovers(&gone, true).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn without_locks_files_are_created_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let without = Abilities {
            locks: false,
            exclusive_names: false,
        };
        let file = unfinished(directory.path(), without).unwrap();
        assert!(FileExt::try_lock(&file.reopen().unwrap()).is_ok());
    }

    #[test]
    fn what_has_no_flush_is_told_from_what_fails() {
        // EINVAL, ENOTSUP, and what Linux says of a file system without fsync.
        #[cfg(target_os = "linux")]
        for code in [22, 95, 38] {
            assert!(has_no_flush(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(!has_no_flush(&io::Error::from_raw_os_error(5)), "EIO");
    }

    #[test]
    fn odd_names_are_tried_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let odd = Name::from_wire("na\u{ef}ve".as_bytes()).unwrap();
        try_name(directory.path(), &odd).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    /// Paths on Linux have 4095 bytes at most, and this directory leaves fewer than the name has.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_the_directory_cannot_hold_is_told_and_nothing_is_left() {
        let top = tempfile::tempdir().unwrap();
        let mut directory = top.path().to_owned();
        while directory.as_os_str().len() < 3900 {
            directory.push("d".repeat(100));
        }
        fs::create_dir_all(&directory).unwrap();
        let long = Name::from_wire("\u{e9}".repeat(127).as_bytes()).unwrap();
        try_name(&directory, &long).unwrap_err();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    /// Takes a few bytes at a time, and is interrupted in between.
    struct Reluctant(Vec<u8>, usize);

    impl Write for Reluctant {
        fn write(&mut self, content: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = content.len().min(3);
            self.0.extend(&content[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Has no room at its first call, and would have some later.
    struct FullOnce(usize);

    impl Write for FullOnce {
        fn write(&mut self, content: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(content.len()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_pieces_are_written_however_few_bytes_the_system_takes() {
        let mut file = Reluctant(Vec::new(), 0);
        let pieces: [&[u8]; 6] = [b"", b"one", b"", b"and two", b"!", b""];
        assert_eq!(write_all(&mut file, &pieces).unwrap(), 11);
        assert_eq!(file.0, b"oneand two!");
        assert_eq!(write_all(&mut file, &[]).unwrap(), 0);
        let error = write_all(&mut FullOnce(0), &pieces).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut full: &mut [u8] = &mut [0; 4];
        let error = write_all(&mut full, &pieces).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
