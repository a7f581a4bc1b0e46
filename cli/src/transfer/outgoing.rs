//! What is to be sent: its path there, and its content as it is when its turn comes.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::names::Name;
use super::path::TreePath;
use super::protocol::Attributes;
use crate::advice;
use crate::output;

/// A file that says it is no longer than this is read before it is offered: what is sent then is all
/// that there is at one time, whatever length the file says it has. Files of a system's own, as in
/// /proc, say 0 or a page.
const SHORT_MAX: u64 = 1 << 20;

/// The most that is read of such a file.
const READ_MAX: u64 = 8 << 20;

/// How often a short file is read again that was written to meanwhile.
const ATTEMPTS: usize = 3;

/// What something is that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    /// Whatever comes from stdin, until it ends.
    Stdin,
    Directory,
    /// A directory whose permissions and time are to be set, now that all that is in it was sent.
    Finished,
    /// A symbolic link with this target.
    Link(Vec<u8>),
}

/// Something to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    source: PathBuf,
    path: TreePath,
    kind: Kind,
    /// How long it was when it was looked at.
    size: u64,
}

impl Outgoing {
    pub(crate) fn new(source: PathBuf, path: TreePath, kind: Kind, size: u64) -> Outgoing {
        Outgoing {
            source,
            path,
            kind,
            size,
        }
    }

    /// The file at `path`, to be sent under its own name or under `name`.
    pub(crate) fn file(path: &Path, name: Option<&std::ffi::OsStr>) -> Result<Outgoing, String> {
        let path_there = TreePath::of(own_name(path, name)?);
        let outgoing = Outgoing::new(path.to_owned(), path_there, Kind::File, 0);
        let (_, metadata) = outgoing.open_file()?;
        let size = metadata.len();
        Ok(Outgoing { size, ..outgoing })
    }

    pub(crate) fn path(&self) -> &TreePath {
        &self.path
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The content, as it is now.
    pub(crate) fn open(&self) -> Result<Content, String> {
        if self.kind == Kind::Stdin {
            return Ok(Content::Stream);
        }
        let (file, metadata) = self.open_file()?;
        if metadata.len() <= SHORT_MAX {
            let content = self.read_short(&file, &metadata)?;
            return Ok(Content::Short(content, attributes(&metadata)));
        }
        Ok(Content::Long(Long {
            file,
            attributes: attributes(&metadata),
            offered: Stamp::of(&metadata),
        }))
    }

    /// The permissions and the time of a directory.
    pub(crate) fn attributes(&self) -> Result<Attributes, String> {
        let metadata = std::fs::symlink_metadata(&self.source);
        let metadata = metadata.map_err(|error| self.unreadable(&error))?;
        Ok(attributes(&metadata))
    }

    /// That its disk does not answer.
    pub(crate) fn hangs(&self, seconds: f64) -> String {
        hangs(&self.source, seconds)
    }

    fn shown(&self) -> String {
        output::shown(self.source.display())
    }

    fn unreadable(&self, error: &io::Error) -> String {
        unreadable(&self.source, error)
    }

    fn open_file(&self) -> Result<(File, Metadata), String> {
        let shown = self.shown();
        let unreadable = |error| self.unreadable(&error);
        let no_file =
            || format!("cannot send {shown}: it is no regular file: name a file, or pack it first");
        // Looked at before it is opened: opening a pipe would wait for a writer.
        if !std::fs::metadata(&self.source)
            .map_err(unreadable)?
            .is_file()
        {
            return Err(no_file());
        }
        let file = File::open(&self.source).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file() {
            Ok((file, metadata))
        } else {
            Err(no_file())
        }
    }

    fn read_short(&self, file: &File, metadata: &Metadata) -> Result<Vec<u8>, String> {
        let mut is_first = true;
        let read = || {
            let len = usize::try_from(metadata.len()).unwrap_or(0);
            let (mut content, mut file) = (Vec::with_capacity(len + 1), file);
            if !std::mem::take(&mut is_first) {
                file.rewind()?;
            }
            file.take(READ_MAX + 1).read_to_end(&mut content)?;
            Ok(content)
        };
        let stamp = || file.metadata().map(|now| Stamp::of(&now));
        let content = read_unchanged(Stamp::of(metadata), read, stamp);
        let content = content.map_err(|error| self.unreadable(&error))?;
        let content =
            content.ok_or_else(|| format!("cannot send {}: {WRITTEN_TO}", self.shown()))?;
        if content.len() as u64 > READ_MAX {
            return Err(format!(
                "cannot send {}: it says that it has {} bytes, and more than {} can be read: send a \
                 copy of it",
                self.shown(),
                metadata.len(),
                output::bytes(READ_MAX),
            ));
        }
        Ok(content)
    }
}

/// What an argument is called there.
pub(crate) fn own_name(path: &Path, name: Option<&std::ffi::OsStr>) -> Result<Name, String> {
    // `.` and `d/..` have a name too.
    let whole = match (name, path.file_name()) {
        (None, None) => std::fs::canonicalize(path).unwrap_or_default(),
        _ => PathBuf::new(),
    };
    let name = name.or(path.file_name()).or(whole.file_name());
    Name::from_os(name.unwrap_or_default()).map_err(|error| {
        let shown = output::shown(path.display());
        format!("cannot send {shown}: {error}: choose a name with --as")
    })
}

/// That the disk of what is there does not answer.
pub(crate) fn hangs(path: &Path, seconds: f64) -> String {
    format!(
        "cannot read {}: its disk has not answered for {seconds} s: see whether it is sound, or \
         wait longer with --timeout",
        output::shown(path.display())
    )
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    let by_kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            "check the name and its permissions"
        }
        _ => "see whether its disk is sound",
    };
    let advice = advice::of_limit(error).unwrap_or(by_kind);
    let shown = output::shown(path.display());
    format!("cannot read {shown}: {error}: {advice}")
}

fn attributes(metadata: &Metadata) -> Attributes {
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    #[cfg(not(unix))]
    let mode = match metadata.permissions().readonly() {
        true => 0o444,
        false => 0o644,
    };
    Attributes {
        modified: metadata.modified().ok().map(nanoseconds),
        mode: Some(mode),
    }
}

/// Since 1970; negative before.
fn nanoseconds(time: SystemTime) -> i128 {
    let count = |since: std::time::Duration| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => count(since),
        Err(before) => -count(before.duration()),
    }
}

/// What a write to a file changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            len: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// Reads a file between two equal stamps; `None` if it is written to all the time.
fn read_unchanged(
    mut before: Stamp,
    mut read: impl FnMut() -> io::Result<Vec<u8>>,
    mut stamp: impl FnMut() -> io::Result<Stamp>,
) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..ATTEMPTS {
        let content = read()?;
        let after = stamp()?;
        if after == before {
            return Ok(Some(content));
        }
        before = after;
    }
    Ok(None)
}

const WRITTEN_TO: &str =
    "the file was written to while it was sent: send it again when nothing writes to it";

/// The content of a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Short(Vec<u8>, Attributes),
    Long(Long),
    /// What comes from stdin.
    Stream,
}

/// A file too long to be read before it is offered.
#[derive(Debug)]
pub(crate) struct Long {
    file: File,
    attributes: Attributes,
    offered: Stamp,
}

impl Content {
    /// How long it is, if that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Content::Short(content, _) => Some(content.len() as u64),
            Content::Long(long) => Some(long.offered.len),
            Content::Stream => None,
        }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        match self {
            Content::Short(_, attributes) => *attributes,
            Content::Long(long) => long.attributes,
            Content::Stream => Attributes::default(),
        }
    }

    /// Fills `buffer` with the bytes from `at` on, which must be the next; how many there were. What has
    /// no known length may yield less, and none at its end.
    pub(crate) fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, String> {
        match self {
            Content::Short(content, _) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let part = content.get(at..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or("less is there than was offered")?);
                Ok(buffer.len())
            }
            Content::Long(long) => {
                let read = long.file.read_exact(buffer);
                read.map(|()| buffer.len()).map_err(|error| unread(&error))
            }
            Content::Stream => read_some(&mut io::stdin().lock(), buffer),
        }
    }

    /// Begins again at the start.
    pub(crate) fn rewind(&mut self) -> Result<(), String> {
        match self {
            Content::Long(long) => long.file.rewind().map_err(|error| unread(&error)),
            _ => Ok(()),
        }
    }

    /// Checks, when all was read, that it is still what was offered.
    pub(crate) fn check_end(&mut self) -> Result<(), String> {
        let Content::Long(Long { file, offered, .. }) = self else {
            return Ok(());
        };
        let rest = file.read(&mut [0]).map_err(|error| unread(&error))?;
        let now = file.metadata().map_err(|error| unread(&error))?;
        let now = Stamp::of(&now);
        if rest > 0 || now.len > offered.len {
            return Err(
                "the file became longer while it was sent: send it again when nothing \
                        writes to it"
                    .to_owned(),
            );
        }
        if now != *offered {
            return Err(WRITTEN_TO.to_owned());
        }
        Ok(())
    }
}

/// What there is next, however often a signal comes before it.
fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, String> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(|error| unread(&error)),
        }
    }
}

fn unread(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the file became shorter while it was sent: send it again when nothing writes to it"
                .to_owned()
        }
        _ => format!("the file cannot be read to its end: {error}: see whether its disk is sound"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(path: &Path) -> Content {
        Outgoing::file(path, None).unwrap().open().unwrap()
    }

    #[test]
    fn a_short_file_is_sent_as_it_was_when_it_was_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("short");
        std::fs::write(&path, "content").unwrap();
        let mut content = open(&path);
        std::fs::write(&path, "other").unwrap();
        let mut buffer = [0; 4];
        assert_eq!(content.size(), Some(7));
        content.read(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"cont");
        content.read(4, &mut buffer[..3]).unwrap();
        assert_eq!(&buffer[..3], b"ent");
        content.check_end().unwrap();
        assert!(content.read(7, &mut buffer).is_err());
    }

    #[test]
    fn a_short_file_is_read_again_when_it_was_written_to() {
        let read_after = |writes: u64| {
            let (mut reads, mut stamps) = (0, 0);
            let read = || {
                reads += 1;
                Ok(vec![reads])
            };
            let stamp = || {
                stamps += 1;
                let len = writes.min(stamps);
                Ok(Stamp {
                    len,
                    modified: None,
                })
            };
            let before = Stamp {
                len: 0,
                modified: None,
            };
            read_unchanged(before, read, stamp).unwrap()
        };
        assert_eq!(read_after(0), Some(vec![1]));
        assert_eq!(read_after(1), Some(vec![2]));
        assert_eq!(read_after(2), Some(vec![3]));
        assert_eq!(read_after(3), None);
    }

    #[test]
    fn a_long_file_that_is_written_to_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("long");
        let len = usize::try_from(SHORT_MAX).unwrap() + 1;
        let mut buffer = vec![0; len];
        for (change, said) in [
            ("grow", "became longer"),
            ("shrink", "written to"),
            ("touch", "written to"),
        ] {
            std::fs::write(&path, vec![7; len]).unwrap();
            let mut content = open(&path);
            assert!(matches!(content, Content::Long(_)));
            content.read(0, &mut buffer).unwrap();
            content.check_end().unwrap();
            let mut file = File::options().append(true).open(&path).unwrap();
            match change {
                "grow" => file.write_all(b"more"),
                "shrink" => file.set_len(5),
                _ => file.set_modified(SystemTime::UNIX_EPOCH),
            }
            .unwrap();
            let why = content.check_end().unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        let mut content = open(&path);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(5)
            .unwrap();
        let why = content.read(0, &mut buffer).unwrap_err();
        assert!(why.contains("became shorter"), "{why}");
    }

    #[test]
    fn a_long_file_that_has_more_than_it_says_is_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("long");
        let len = usize::try_from(SHORT_MAX).unwrap() + 2;
        std::fs::write(&path, vec![7; len]).unwrap();
        let mut content = open(&path);
        // As if it had said one byte less.
        content.read(0, &mut vec![0; len - 1]).unwrap();
        let why = content.check_end().unwrap_err();
        assert!(why.contains("became longer"), "{why}");
    }

    #[test]
    fn a_signal_is_no_end_of_what_is_read_and_an_error_is() {
        struct Failing(Vec<io::ErrorKind>);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.pop() {
                    Some(kind) => Err(kind.into()),
                    None => (&b"more"[..]).read(buffer),
                }
            }
        }
        let read = |failing: Vec<io::ErrorKind>| read_some(&mut Failing(failing), &mut [0; 3]);
        assert_eq!(read(vec![io::ErrorKind::Interrupted; 2]), Ok(3));
        let why = read(vec![io::ErrorKind::PermissionDenied]).unwrap_err();
        assert!(why.contains("cannot be read to its end"), "{why}");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_to_do() {
        for (kind, advice) in [
            (io::ErrorKind::NotFound, "check the name"),
            (io::ErrorKind::PermissionDenied, "check the name"),
            (io::ErrorKind::InvalidData, "whether its disk is sound"),
        ] {
            let why = unreadable(Path::new("d/file"), &kind.into());
            assert!(why.contains("d/file") && why.contains(advice), "{why}");
        }
        let directory = std::env::temp_dir();
        let why = Outgoing::file(&directory, None).unwrap_err();
        assert!(why.contains(&output::shown(directory.display())), "{why}");
        assert!(why.contains("no regular file"), "{why}");
        let why = hangs(Path::new("d/file"), 1.5);
        assert!(why.contains("d/file") && why.contains("1.5 s"), "{why}");
    }

    #[test]
    fn what_is_named_by_dots_has_the_name_that_it_has() {
        let temporary = tempfile::tempdir().unwrap();
        let (top, below) = (temporary.path().join("top"), temporary.path().join("top/d"));
        std::fs::create_dir_all(&below).unwrap();
        for path in [&top, &top.join("."), &below.join("..")] {
            assert_eq!(own_name(path, None).unwrap().as_bytes(), b"top");
            let other = own_name(path, Some("other".as_ref())).unwrap();
            assert_eq!(other.as_bytes(), b"other");
        }
        let why = own_name(Path::new("/"), None).unwrap_err();
        assert!(why.contains("--as"), "{why}");
    }

    #[cfg(unix)] // elsewhere there are no such permissions
    #[test]
    fn nobody_is_told_that_a_program_gives_the_rights_of_another_user() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, "content").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4750)).unwrap();
        assert_eq!(open(&path).attributes().mode, Some(0o750));
    }

    #[test]
    fn times_before_1970_are_negative() {
        let of = std::time::Duration::new(7, 500); // Windows counts hundreds of nanoseconds
        assert_eq!(nanoseconds(UNIX_EPOCH + of), 7_000_000_500);
        assert_eq!(nanoseconds(UNIX_EPOCH - of), -7_000_000_500);
        assert_eq!(nanoseconds(UNIX_EPOCH), 0);
    }

    #[test]
    fn a_short_file_that_was_written_to_is_read_again_from_its_beginning_and_not_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("short");
        std::fs::write(&path, "content").unwrap();
        let outgoing = Outgoing::file(&path, None).unwrap();
        let (file, before) = outgoing.open_file().unwrap();
        let write = |content: &[u8]| std::fs::write(&path, content).unwrap();
        write(b"other content");
        let read = outgoing.read_short(&file, &before);
        assert_eq!(read.as_deref(), Ok(&b"other content"[..]));
        let most = usize::try_from(READ_MAX).unwrap();
        for (len, is_sent) in [(most, true), (most + 1, false)] {
            write(&vec![7; len]);
            file.try_clone().unwrap().rewind().unwrap();
            let read = outgoing.read_short(&file, &before);
            let sent = read.map(|read| read.len()).ok();
            assert_eq!(sent, is_sent.then_some(len), "it is never cut");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_says_it_is_empty_is_read_to_its_end() {
        let path = Path::new("/proc/version");
        assert_eq!(std::fs::metadata(path).unwrap().len(), 0);
        let expected = std::fs::read(path).unwrap();
        assert!(!expected.is_empty());
        let Content::Short(content, _) = open(path) else {
            panic!("it is long");
        };
        assert_eq!(content, expected);
    }
}
