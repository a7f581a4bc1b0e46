//! The directory that files are received into: unfinished files, final names, leftovers.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use super::names::Name;
use super::partial::{self, Abilities};
use crate::advice;
use crate::error::Failure;
use crate::output;

/// How much is written between two flushes to the disk, where files are flushed. It bounds how long
/// a sender waits for its last answer.
const FLUSH_BYTES: u64 = 256 << 20;

/// What a receiver does in its directory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Existing files may be replaced.
    pub(crate) overwrite: bool,
    /// Files are flushed to the disk before they get their names.
    pub(crate) sync: bool,
}

/// The directory that files are received into.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    policy: Policy,
    abilities: Abilities,
    /// Names being received, so that two senders of one name do not meet at the end.
    names: Mutex<HashSet<Name>>,
}

/// A file on its way: under a temporary name in the directory, locked as long as it lives where there
/// are locks, so that other receivers can tell it from a leftover. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Partial {
    file: NamedTempFile,
    /// The name it is to have, given back after the file is removed.
    name: Reserved,
    unflushed: u64,
}

/// A name that is being received.
#[derive(Debug)]
struct Reserved {
    name: Name,
    directory: Arc<Directory>,
}

impl Directory {
    /// Opens a directory for receiving and removes what killed receivers left in it.
    pub(crate) fn open(path: &Path, policy: Policy) -> Result<Directory, Failure> {
        let shown = output::shown(path.display());
        let metadata = fs::metadata(path).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::NotFound => "create it first",
                _ => "choose another directory",
            };
            Failure::new(format!("cannot receive into {shown}: {error}: {advice}"))
        })?;
        if !metadata.is_dir() {
            return Err(Failure::new(format!(
                "cannot receive into {shown}: it is no directory: name one with --out"
            )));
        }
        let failure = |error: io::Error| {
            let advice = advice::of_limit(&error);
            let advice = advice.unwrap_or("choose a directory that you may write to");
            Failure::new(format!(
                "cannot write into {shown}: {}: {advice}",
                cause(&error)
            ))
        };
        // All that a directory lacks is found now rather than when the first file comes.
        let abilities = partial::prepare(path).map_err(failure)?;
        drop(partial::unfinished(path, abilities).map_err(failure)?);
        if policy.sync {
            partial::sync_directory(path).map_err(|error| {
                Failure::new(format!(
                    "cannot flush {shown} to its disk: {error}: leave --sync out, or choose a directory \
                     that you may read and that can be flushed"
                ))
            })?;
        }
        Ok(Directory {
            path: path.to_owned(),
            policy,
            abilities,
            names: Mutex::default(),
        })
    }

    /// What its file system cannot do, and what follows from it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let shown = output::shown(self.path.display());
        let mut warnings = Vec::new();
        if !self.abilities.locks {
            warnings.push(format!(
                "there are no file locks in {shown}: unfinished files of receivers that were killed \
                 are not removed"
            ));
        }
        if !self.abilities.exclusive_names && !self.policy.overwrite {
            warnings.push(format!(
                "in {shown} a file is renamed by replacing: one that another program creates under \
                 the same name at that moment is lost"
            ));
        }
        warnings
    }

    /// Begins to receive a file, or says why not, and what to do. No content is needed for that.
    pub(crate) fn begin(self: &Arc<Self>, name: &[u8]) -> Result<Partial, String> {
        const OTHER_NAME: &str = "rename it, or choose another name with `ampe send --as`";
        let name = Name::from_wire(name).map_err(|error| format!("{error}: {OTHER_NAME}"))?;
        self.check_free(&name)?;
        let name = self.reserve(&name)?;
        let file = partial::unfinished(&self.path, self.abilities);
        let file = file.map_err(|error| not_stored(&error))?;
        // Behind the first file, which fails for all other reasons.
        partial::try_name(&self.path, &name.name).map_err(|error| {
            let cause = cause(&error);
            format!("the directory cannot hold a file of this name: {cause}: {OTHER_NAME}")
        })?;
        Ok(Partial {
            file,
            name,
            unflushed: 0,
        })
    }

    fn reserve(self: &Arc<Self>, name: &Name) -> Result<Reserved, String> {
        if !self.names().insert(name.clone()) {
            return Err("a file of this name is being received now: send it later".to_owned());
        }
        Ok(Reserved {
            name: name.clone(),
            directory: Arc::clone(self),
        })
    }

    fn check_free(&self, name: &Name) -> Result<(), String> {
        // Links are looked at, not followed: replacing one replaces the name, not its target.
        match fs::symlink_metadata(self.path.join(name.to_os())) {
            Ok(found) if found.is_dir() => {
                Err("a directory of this name exists: send it under another name".to_owned())
            }
            Ok(_) if !self.policy.overwrite => Err(exists()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(not_stored(&error)),
        }
    }

    /// Gives a finished file its name.
    fn name_file(&self, file: NamedTempFile, name: &Name) -> Result<PathBuf, String> {
        let final_path = self.path.join(name.to_os());
        // Renaming replaces a name, whatever it stands for, and never follows a link. The file
        // stays open, and so locked, until its temporary name is gone.
        let named = if self.policy.overwrite {
            file.persist(&final_path)
        } else if self.abilities.exclusive_names {
            file.persist_noclobber(&final_path)
        } else {
            // Looked at last, for there is no way to do both in one step.
            self.check_free(name)?;
            file.persist(&final_path)
        };
        match named {
            Ok(_) => Ok(final_path),
            Err(refused) => Err(match refused.error.kind() {
                io::ErrorKind::AlreadyExists => exists(),
                io::ErrorKind::NotFound => "its unfinished file was removed by somebody else: see \
                                            who removes files there, and send it again"
                    .to_owned(),
                _ => not_stored(&refused.error),
            }),
        }
    }

    fn names(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partial {
    pub(crate) fn name(&self) -> &Name {
        &self.name.name
    }

    /// Appends content, or says why not, and what to do.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), String> {
        let mut write = |file: &mut File| {
            file.write_all(content)?;
            self.unflushed += content.len() as u64;
            if self.name.directory.policy.sync && self.unflushed >= FLUSH_BYTES {
                file.sync_data()?;
                self.unflushed = 0;
            }
            Ok(())
        };
        write(self.file.as_file_mut()).map_err(|error| not_stored(&error))
    }

    /// Gives the file its name, in one step. On failure it is removed.
    pub(crate) fn store(self) -> Result<PathBuf, String> {
        let Partial { file, name, .. } = self;
        let directory = &*name.directory;
        if directory.policy.sync {
            let synced = file.as_file().sync_all();
            synced.map_err(|error| not_stored(&error))?;
        }
        partial::check_close(file.as_file()).map_err(|error| not_stored(&error))?;
        let path = directory.name_file(file, &name.name)?;
        if directory.policy.sync
            && let Err(error) = partial::sync_directory(&directory.path)
        {
            // What was asked for, that it survives a power failure, cannot be said of it.
            let _ = fs::remove_file(&path);
            return Err(not_stored(&error));
        }
        Ok(path)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.directory.names().remove(&self.name);
    }
}

fn exists() -> String {
    "a file of this name exists: rename one of them, or receive with --overwrite".to_owned()
}

/// What the system said. Errors that carry a temporary name are told without it: nobody can do
/// anything about that.
fn cause(error: &io::Error) -> String {
    if error.get_ref().is_some() {
        error.kind().to_string()
    } else {
        error.to_string()
    }
}

fn not_stored(error: &io::Error) -> String {
    let by_kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there",
        io::ErrorKind::PermissionDenied => "receive into another directory",
        io::ErrorKind::FileTooLarge => {
            "raise the limit (`ulimit -f`), or receive onto a disk that holds such files"
        }
        _ => "receive into another directory, or on another disk",
    };
    let advice = advice::of_limit(error).unwrap_or(by_kind);
    format!("it cannot be stored: {}: {advice}", cause(error))
}

#[cfg(test)]
mod tests {
    use super::super::names::PARTIAL_PREFIX;
    use super::*;

    fn open(path: &Path, overwrite: bool) -> Arc<Directory> {
        let policy = Policy {
            overwrite,
            sync: true,
        };
        Arc::new(Directory::open(path, policy).unwrap())
    }

    fn entries(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_stored() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = open(temporary.path(), false);
        let mut partial = directory.begin(b"a").unwrap();
        partial.write(b"content").unwrap();
        assert!(entries(temporary.path())[0].starts_with(PARTIAL_PREFIX));
        let path = partial.store().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"content");
        assert_eq!(entries(temporary.path()), ["a"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_and_frees_its_name() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = open(temporary.path(), false);
        let partial = directory.begin(b"a").unwrap();
        assert!(
            directory
                .begin(b"a")
                .unwrap_err()
                .contains("being received now")
        );
        drop(partial);
        assert!(entries(temporary.path()).is_empty());
        directory.begin(b"a").unwrap();
    }

    #[test]
    fn an_existing_file_is_kept_also_when_it_appears_late() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = open(temporary.path(), false);
        let mut partial = directory.begin(b"a").unwrap();
        partial.write(b"new").unwrap();
        fs::write(temporary.path().join("a"), "old").unwrap();
        assert!(partial.store().unwrap_err().contains("exists"));
        assert!(directory.begin(b"a").unwrap_err().contains("exists"));
        assert_eq!(fs::read(temporary.path().join("a")).unwrap(), b"old");
        assert_eq!(entries(temporary.path()), ["a"]);
    }

    #[test]
    fn without_exclusive_names_an_existing_file_is_looked_for_last() {
        let temporary = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(temporary.path(), Policy::default()).unwrap();
        assert!(directory.warnings().is_empty());
        directory.abilities.exclusive_names = false;
        assert!(directory.warnings()[0].contains("by replacing"));
        let directory = Arc::new(directory);
        let mut partial = directory.begin(b"a").unwrap();
        partial.write(b"new").unwrap();
        fs::write(temporary.path().join("a"), "old").unwrap();
        assert!(partial.store().unwrap_err().contains("exists"));
        assert_eq!(fs::read(temporary.path().join("a")).unwrap(), b"old");
        assert_eq!(entries(temporary.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_or_refused_and_never_followed() {
        let (temporary, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().join("target");
        fs::write(&target, "untouched").unwrap();
        for name in ["link", "dangling"] {
            let target = if name == "link" {
                &target
            } else {
                Path::new("/nonexistent/x")
            };
            std::os::unix::fs::symlink(target, temporary.path().join(name)).unwrap();
            let strict = open(temporary.path(), false);
            assert!(
                strict
                    .begin(name.as_bytes())
                    .unwrap_err()
                    .contains("exists")
            );
            let replacing = open(temporary.path(), true);
            let mut partial = replacing.begin(name.as_bytes()).unwrap();
            partial.write(b"new").unwrap();
            let path = partial.store().unwrap();
            assert!(fs::symlink_metadata(path).unwrap().is_file());
        }
        assert_eq!(fs::read(&target).unwrap(), b"untouched");
    }

    #[test]
    fn leftovers_are_removed_and_living_files_are_not() {
        let temporary = tempfile::tempdir().unwrap();
        let leftover = temporary.path().join(format!("{PARTIAL_PREFIX}leftover"));
        fs::write(&leftover, "half").unwrap();
        let first = open(temporary.path(), false);
        assert!(!leftover.exists());
        let mut partial = first.begin(b"a").unwrap();
        partial.write(b"living").unwrap();
        drop(open(temporary.path(), false));
        assert_eq!(fs::read(partial.store().unwrap()).unwrap(), b"living");
    }

    #[test]
    fn a_directory_of_the_name_is_never_replaced() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("a")).unwrap();
        let directory = open(temporary.path(), true);
        assert!(directory.begin(b"a").unwrap_err().contains("directory"));
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [
            &file,
            &file.join("below"),
            &temporary.path().join("missing"),
        ] {
            let failure = Directory::open(path, Policy::default()).unwrap_err();
            assert!(matches!(failure, Failure::Failed(_)));
        }
    }
}
