//! The directory that files are received into: unfinished files, final names, directories below it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, TempPath};

use super::attributes::set_attributes;
#[cfg(unix)]
use super::attributes::set_time;
use super::partial::{self, Abilities};
use super::path::TreePath;
use super::protocol::Attributes;
use super::space;
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
    /// What is broken off is kept, to be gone on with.
    pub(crate) keep: bool,
}

/// The directory that files are received into.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    absolute: PathBuf,
    policy: Policy,
    abilities: Abilities,
    /// Paths being received, so that two senders of one path do not meet at the end.
    paths: Mutex<HashSet<TreePath>>,
}

/// A file on its way: under a temporary name in the directory, locked as long as it lives where there
/// are locks, so that other receivers can tell it from a leftover. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Partial {
    file: NamedTempFile,
    /// The path it is to have, given back after the file is removed.
    path: Reserved,
    unflushed: u64,
    attributes: Attributes,
    /// Whether it is found again by what it is of.
    is_resumable: bool,
}

/// A path that is being received.
#[derive(Debug)]
struct Reserved {
    path: TreePath,
    directory: Arc<Directory>,
}

/// How a file begins.
#[derive(Debug)]
pub(crate) enum Begun {
    /// With so many bytes that are here already, if the sender proves that they are its own.
    Partial(Partial, u64),
    /// A file of this path and length is here already, and is not replaced.
    Existing(Existing),
}

/// A file that has its name already.
#[derive(Debug)]
pub(crate) struct Existing {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// What a sender says of a file before its content.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offered {
    /// How long it is, if that is known.
    pub(crate) size: Option<u64>,
    pub(crate) attributes: Attributes,
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
        let abilities = partial::prepare(path, policy.keep).map_err(failure)?;
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
            // So that nobody asks where that is for each file.
            absolute: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            policy,
            abilities,
            paths: Mutex::default(),
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

    /// Says why so many bytes do not fit, if so.
    pub(crate) fn check_space(&self, size: u64) -> Result<(), String> {
        space::check_all(&self.path, size)
    }

    /// Begins to receive a file, or says why not, and what to do. No content is needed for that.
    pub(crate) fn begin(self: &Arc<Self>, path: &[u8], offered: Offered) -> Result<Begun, String> {
        let path = read_path(path)?;
        let place = self.place(&path)?;
        let Offered { size, attributes } = offered;
        if let Err(why) = self.check_free(&place) {
            return match size {
                Some(size) if is_file_of(&place, size) => {
                    Ok(Begun::Existing(Existing { path: place, size }))
                }
                _ => Err(why),
            };
        }
        let path = self.reserve(&path)?;
        let (file, is_resumable) = self.unfinished(&path.path, offered)?;
        self.try_name(&path.path)?;
        let there = file.as_file().metadata().map_or(0, |found| found.len());
        if let Some(size) = size {
            space::check_file(&self.path, size, there)?;
        }
        let from = if size.is_some_and(|size| there <= size) {
            there
        } else {
            0
        };
        let mut partial = Partial {
            file,
            path,
            unflushed: 0,
            attributes,
            is_resumable,
        };
        if from < there {
            partial.go_on(from)?;
        }
        Ok(Begun::Partial(partial, from))
    }

    /// Stores a file that came whole, unless it is here already.
    pub(crate) fn put(
        self: &Arc<Self>,
        path: &[u8],
        content: &[u8],
        attributes: Attributes,
    ) -> Result<PathBuf, String> {
        let path = read_path(path)?;
        let place = self.place(&path)?;
        if let Err(why) = self.check_free(&place) {
            let is_same = is_file_of(&place, content.len() as u64)
                && fs::read(&place).is_ok_and(|there| there == content);
            return if is_same { Ok(place) } else { Err(why) };
        }
        let _reserved = self.reserve(&path)?;
        self.try_name(&path)?;
        // It has its name sooner than another receiver takes it for a leftover. If not, it is locked.
        let brief = partial::brief(&self.absolute);
        match self.put_file(brief, false, &place, content, attributes) {
            Err(PutError::Vanished) => {
                let file = partial::unfinished(&self.absolute, self.abilities);
                self.put_file(file, true, &place, content, attributes)
            }
            done => done,
        }
        .map_err(|error| match error {
            PutError::Vanished => VANISHED.to_owned(),
            PutError::Other(why) => why,
        })
    }

    fn put_file(
        &self,
        file: io::Result<NamedTempFile>,
        is_locked: bool,
        place: &Path,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<PathBuf, PutError> {
        let written = file.and_then(|mut file| {
            file.write_all(content)?;
            Ok(file)
        });
        let file = written.map_err(|error| PutError::Other(not_stored(&error)))?;
        self.finish(file, is_locked, place.to_owned(), attributes)
    }

    /// Makes a directory, if it is not here already. Where attributes are given it gets them.
    pub(crate) fn make_directory(
        &self,
        path: &[u8],
        attributes: Attributes,
    ) -> Result<PathBuf, String> {
        let place = self.place(&read_path(path)?)?;
        match fs::create_dir(&place) {
            Ok(()) => self
                .sync_parent(&place)
                .map_err(|error| not_stored(&error))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_directory = fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir());
                if !is_directory {
                    return Err(
                        "something of this name exists that is no directory: rename one of \
                                them"
                            .to_owned(),
                    );
                }
            }
            Err(error) => return Err(not_stored(&error)),
        }
        #[cfg(unix)] // elsewhere a directory is not opened as a file
        if let Some(mode) = attributes.mode {
            let set = || {
                let directory = File::open(&place)?;
                set_time(&directory, attributes)?;
                directory.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
            };
            set().map_err(|error| not_stored(&error))?;
        }
        #[cfg(not(unix))]
        let _ = attributes;
        Ok(place)
    }

    /// Makes a symbolic link that leads nowhere out of its tree.
    #[cfg(unix)]
    pub(crate) fn make_link(&self, path: &[u8], target: &[u8]) -> Result<PathBuf, String> {
        use std::os::unix::ffi::OsStrExt;

        let path = read_path(path)?;
        path.check_link(target).map_err(str::to_owned)?;
        let place = self.place(&path)?;
        let target = Path::new(std::ffi::OsStr::from_bytes(target));
        if let Err(why) = self.check_free(&place) {
            let is_same = fs::read_link(&place).is_ok_and(|there| there == target);
            return if is_same { Ok(place) } else { Err(why) };
        }
        // Whatever is there is no directory, and may be replaced.
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(not_stored(&error)),
            _ => std::os::unix::fs::symlink(target, &place)
                .map(|()| place)
                .map_err(|error| not_stored(&error)),
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "elsewhere it makes one")]
    pub(crate) fn make_link(&self, _: &[u8], _: &[u8]) -> Result<PathBuf, String> {
        Err("no symbolic links are made on this system: send what it leads to".to_owned())
    }

    /// A new unfinished file, or what is here of it; and whether it can be found again.
    fn unfinished(
        &self,
        path: &TreePath,
        offered: Offered,
    ) -> Result<(NamedTempFile, bool), String> {
        if self.policy.keep
            && self.abilities.locks
            && let (Some(size), Some(modified)) = (offered.size, offered.attributes.modified)
            && size >= partial::KEPT_MIN
        {
            let mut identity = path.to_wire();
            identity.extend(format!("\0{size} {modified}").bytes());
            let file = partial::resumable(&self.absolute, &identity);
            if let Some(file) = file.map_err(|error| not_stored(&error))? {
                return Ok((file, true));
            }
        }
        let file = partial::unfinished(&self.absolute, self.abilities);
        Ok((file.map_err(|error| not_stored(&error))?, false))
    }

    /// Tries the last name of a path, if not every file system holds it.
    fn try_name(&self, path: &TreePath) -> Result<(), String> {
        partial::try_name(&self.path, path.last()).map_err(|error| {
            let cause = cause(&error);
            format!("the directory cannot hold a file of this name: {cause}: {OTHER_NAME}")
        })
    }

    /// Where a path leads. All that it goes through must be directories: a link among them, whoever made
    /// it, could lead anywhere.
    fn place(&self, path: &TreePath) -> Result<PathBuf, String> {
        let mut place = self.path.clone();
        for name in path.parents() {
            place.push(name.to_os());
            match fs::symlink_metadata(&place) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => {
                    return Err(format!(
                        "{name} is a symbolic link, which nothing is received through: {OTHER_NAME}"
                    ));
                }
                Ok(_) => return Err(format!("{name} is no directory: {OTHER_NAME}")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(format!("there is no directory {name}: {OTHER_NAME}"));
                }
                Err(error) => return Err(not_stored(&error)),
            }
        }
        place.push(path.last().to_os());
        Ok(place)
    }

    fn reserve(self: &Arc<Self>, path: &TreePath) -> Result<Reserved, String> {
        if !self.paths().insert(path.clone()) {
            return Err("a file of this name is being received now: send it later".to_owned());
        }
        Ok(Reserved {
            path: path.clone(),
            directory: Arc::clone(self),
        })
    }

    fn check_free(&self, place: &Path) -> Result<(), String> {
        // Links are looked at, not followed: replacing one replaces the name, not its target.
        match fs::symlink_metadata(place) {
            Ok(found) if found.is_dir() => {
                Err("a directory of this name exists: send it under another name".to_owned())
            }
            Ok(_) if !self.policy.overwrite => Err(exists()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(not_stored(&error)),
        }
    }

    /// Gives a file that is whole its attributes and its name. One that is locked stays open, and so
    /// locked, until its temporary name is gone.
    fn finish(
        &self,
        file: NamedTempFile,
        is_locked: bool,
        place: PathBuf,
        attributes: Attributes,
    ) -> Result<PathBuf, PutError> {
        let (file, path) = file.into_parts();
        let prepare = || {
            set_attributes(&file, attributes)?;
            if self.policy.sync {
                file.sync_all()?;
            }
            match is_locked {
                true => partial::check_close(&file).map(|()| Some(file)),
                false => partial::close(file).map(|()| None),
            }
        };
        let _open = prepare().map_err(|error| PutError::Other(not_stored(&error)))?;
        self.name_file(path, &place)?;
        if let Err(error) = self.sync_parent(&place) {
            // What was asked for, that it survives a power failure, cannot be said of it.
            let _ = fs::remove_file(&place);
            return Err(PutError::Other(not_stored(&error)));
        }
        Ok(place)
    }

    /// Gives a finished file its name.
    fn name_file(&self, file: TempPath, place: &Path) -> Result<(), PutError> {
        // Renaming replaces a name, whatever it stands for, and never follows a link.
        let named = if self.policy.overwrite {
            file.persist(place)
        } else if self.abilities.exclusive_names {
            file.persist_noclobber(place)
        } else {
            // Looked at last, for there is no way to do both in one step.
            self.check_free(place).map_err(PutError::Other)?;
            file.persist(place)
        };
        match named {
            Ok(()) => Ok(()),
            Err(refused) => Err(match refused.error.kind() {
                io::ErrorKind::AlreadyExists => PutError::Other(exists()),
                io::ErrorKind::NotFound => PutError::Vanished,
                _ => PutError::Other(not_stored(&refused.error)),
            }),
        }
    }

    /// Flushes the name of what is there to the disk, if that is wanted.
    fn sync_parent(&self, place: &Path) -> io::Result<()> {
        match self.policy.sync {
            true => partial::sync_directory(place.parent().unwrap_or(&self.path)),
            false => Ok(()),
        }
    }

    fn paths(&self) -> MutexGuard<'_, HashSet<TreePath>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partial {
    /// What is here of it, from the beginning on.
    pub(crate) fn reader(&self) -> io::Result<impl Read + use<>> {
        let mut file = self.file.as_file().try_clone()?;
        file.rewind()?;
        Ok(file)
    }

    /// Content is to come from here on: what is behind it is dropped.
    pub(crate) fn go_on(&mut self, from: u64) -> Result<(), String> {
        let file = self.file.as_file_mut();
        let set = file.set_len(from);
        let set = set.and_then(|()| file.seek(io::SeekFrom::Start(from)));
        set.map(drop).map_err(|error| not_stored(&error))
    }

    /// Appends these pieces of content, or says why not, and what to do.
    pub(crate) fn write(&mut self, content: &[&[u8]]) -> Result<(), String> {
        let mut write = |file: &mut File| {
            self.unflushed += partial::write_all(file, content)?;
            if self.path.directory.policy.sync && self.unflushed >= FLUSH_BYTES {
                file.sync_data()?;
                self.unflushed = 0;
            }
            Ok(())
        };
        write(self.file.as_file_mut()).map_err(|error| not_stored(&error))
    }

    /// Leaves it for its sender to go on with, if there is enough of it. Whether it does.
    pub(crate) fn leave(self) -> bool {
        let len = self
            .file
            .as_file()
            .metadata()
            .map_or(0, |found| found.len());
        let is_kept = self.is_resumable && len >= partial::KEPT_MIN;
        is_kept && partial::keep(self.file).is_ok()
    }

    /// Gives the file its name, in one step. On failure it is removed.
    pub(crate) fn store(self) -> Result<PathBuf, String> {
        let Partial {
            file,
            path,
            attributes,
            ..
        } = self;
        let directory = &*path.directory;
        let place = directory.place(&path.path)?;
        let finished = directory.finish(file, true, place, attributes);
        finished.map_err(|error| match error {
            PutError::Vanished => VANISHED.to_owned(),
            PutError::Other(why) => why,
        })
    }
}

impl Existing {
    pub(crate) fn reader(&self) -> io::Result<impl Read + use<>> {
        File::open(&self.path)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.directory.paths().remove(&self.path);
    }
}

/// Why a file did not get its name.
enum PutError {
    /// Its unfinished file is gone.
    Vanished,
    /// Why, and what to do.
    Other(String),
}

const VANISHED: &str = "its unfinished file was removed by somebody else: see who removes files \
                        there, and send it again";

const OTHER_NAME: &str = "rename it, or choose another name with `ampe send --as`";

fn read_path(path: &[u8]) -> Result<TreePath, String> {
    TreePath::from_wire(path).map_err(|error| format!("{error}: {OTHER_NAME}"))
}

/// Whether there is a regular file of this length, and no link to one.
fn is_file_of(place: &Path, size: u64) -> bool {
    let found = fs::symlink_metadata(place);
    found.is_ok_and(|found| found.is_file() && found.len() == size)
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
mod tests;
