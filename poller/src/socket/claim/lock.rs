//! The lock under which a path is bound.
//!
//! It is on an empty file beside the socket, which is there only for as long as binding takes. Not on
//! the directory: who may read a directory may lock it, and in one for temporary files that is
//! everybody. This file is created for one user alone, who has to own it, so that nobody else can
//! open it. What somebody else puts in its place is no lock, and keeps nobody from binding.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, open, unlink};
use rustix::io::Errno;

use super::{FileIdentity, identity, is_ours};

/// How often the file may be gone, or be another one, before this counts as locked by others. Each
/// time somebody else has bound meanwhile.
const TRIES: u32 = 16;

/// Keeps other processes of this user, and of this crate, from binding a path, until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    identity: FileIdentity,
    /// Closed last: the lock is held while the file is removed.
    _file: OwnedFd,
}

impl Lock {
    /// Nothing if there can be no lock: the file system does not know locks, or the file's name is
    /// taken by something else. Would block while another process has it.
    pub(super) fn take(socket: &Path) -> io::Result<Option<Lock>> {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        Lock::take_by(socket, |file| flock(file, exclusive))
    }

    fn take_by(
        socket: &Path,
        mut lock: impl FnMut(&OwnedFd) -> Result<(), Errno>,
    ) -> io::Result<Option<Lock>> {
        let Some(path) = file_for(socket) else {
            return Ok(None);
        };
        for _ in 0..TRIES {
            let Some(file) = open_or_create(&path)? else {
                return Ok(None);
            };
            let stat = fstat(&file)?;
            if stat.st_nlink == 0 {
                continue;
            }
            if !is_lock_of_this_user(&stat) {
                return Ok(None);
            }
            let outcome = loop {
                match lock(&file) {
                    Err(Errno::INTR) => {}
                    outcome => break outcome,
                }
            };
            match outcome {
                // Who had it may have removed the file since it was opened here.
                Ok(()) if is_in_place(&path, identity(&stat)) => {
                    return Ok(Some(Lock {
                        identity: identity(&stat),
                        path,
                        _file: file,
                    }));
                }
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(Errno::WOULDBLOCK.into()),
                Err(refusal) => {
                    // Where nobody can have a lock nobody needs the file. Otherwise, as with a
                    // system that has no more locks, others may have one on it.
                    if refusal == Errno::OPNOTSUPP || refusal == Errno::NOSYS {
                        let _ = unlink(&path);
                    }
                    return Ok(None);
                }
            }
        }
        Err(Errno::WOULDBLOCK.into())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if is_in_place(&self.path, self.identity) {
            // What cannot be removed is taken over by the next who binds there.
            let _ = unlink(&self.path);
        }
    }
}

fn is_in_place(path: &Path, file: FileIdentity) -> bool {
    lstat(path).is_ok_and(|found| identity(&found) == file)
}

/// The lock's file of a socket: hidden, and named after it.
fn file_for(socket: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(socket.file_name()?);
    name.push(".binding");
    Some(socket.with_file_name(name))
}

/// Nothing if something else has the name, or no file can be created.
fn open_or_create(path: &Path) -> io::Result<Option<OwnedFd>> {
    // Not blocking: somebody may have put a pipe there.
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loop {
        match open(path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok(Some(file)),
            Err(Errno::INTR) => {}
            Err(lack @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(lack.into()),
            Err(_) => return Ok(None),
        }
    }
}

/// Whether it is what `open_or_create` creates, and no file of other use or for other users.
fn is_lock_of_this_user(stat: &Stat) -> bool {
    let strangers = Mode::RWXG | Mode::RWXO;
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && is_ours(stat)
        && stat.st_nlink == 1
        && stat.st_size == 0
        && !Mode::from_raw_mode(stat.st_mode).intersects(strangers)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files_in(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_lock_keeps_out_others_of_its_path_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("a"), directory.path().join("b"));
        for _ in 0..2 {
            let lock = Lock::take(&path).unwrap().unwrap();
            let refusal = Lock::take(&path).unwrap_err();
            assert_eq!(refusal.kind(), io::ErrorKind::WouldBlock);
            Lock::take(&other).unwrap().unwrap();
            assert_eq!(files_in(directory.path()), 1);
            drop(lock);
            assert_eq!(files_in(directory.path()), 0);
        }
    }

    /// Who comes second has the file open when the first is done with it and removes it.
    #[test]
    fn a_lock_on_a_file_that_was_removed_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut first = Lock::take(&path).unwrap();
        let mut third = None;
        let mut locked = 0;
        let second = Lock::take_by(&path, |file| {
            if first.take().is_some() {
                third = Lock::take(&path).unwrap();
            }
            locked += 1;
            flock(file, FlockOperation::NonBlockingLockExclusive)
        });
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(locked, 2);
        assert!(is_in_place(
            &file_for(&path).unwrap(),
            third.unwrap().identity
        ));
    }

    #[test]
    fn a_file_that_is_always_another_one_counts_as_locked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let outcome = Lock::take_by(&path, |_| unlink(file_for(&path).unwrap()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_system_without_locks_goes_without_and_a_signal_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        // What others may have a lock on stays.
        for (refusal, left) in [
            (Errno::OPNOTSUPP, 0),
            (Errno::NOSYS, 0),
            (Errno::NOLCK, 1),
            (Errno::INVAL, 1),
        ] {
            let mut refusals = [Errno::INTR, refusal].into_iter();
            let lock = Lock::take_by(&path, |_| Err(refusals.next().unwrap()));
            assert!(lock.unwrap().is_none(), "{refusal}");
            assert_eq!(files_in(directory.path()), left, "{refusal}");
        }
    }
}
