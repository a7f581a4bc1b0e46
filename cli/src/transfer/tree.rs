//! What is in the directories that are to be sent.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::names::{Name, PARTIAL_PREFIX};
use super::outgoing::{Kind, Outgoing, own_name, unreadable};
use super::path::TreePath;
use crate::output;

/// What is sent of a directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Symbolic links are sent, as links; else they are left out.
    pub(crate) links: bool,
    /// Directories are told twice, the second time with their permissions and times.
    pub(crate) preserve: bool,
    exclude: Option<GlobSet>,
}

impl Choice {
    /// What matches one of the patterns is left out: by its path below the argument, or by its name.
    pub(crate) fn new(links: bool, preserve: bool, exclude: &[String]) -> Result<Choice, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in exclude {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|error| format!("{error}: give a pattern such as '*.o'"))?);
        }
        let set = set.build().map_err(|error| error.to_string())?;
        Ok(Choice {
            links,
            preserve,
            exclude: (!exclude.is_empty()).then_some(set),
        })
    }

    fn excludes(&self, below: &Path) -> bool {
        let name = below.file_name().map(Path::new);
        self.exclude
            .as_ref()
            .is_some_and(|set| set.is_match(below) || name.is_some_and(|name| set.is_match(name)))
    }
}

/// What was found at an argument.
#[derive(Debug)]
pub(crate) enum Found {
    Item(Outgoing),
    /// It cannot be sent: its path here, and why.
    Failed(PathBuf, String),
    /// It was not asked for: its path here, and why.
    LeftOut(PathBuf, String),
}

/// Looks at an argument, which is sent under its own name or under `name`: one file, or a directory
/// with all that is in it. `seen` counts what was looked at.
pub(crate) fn look(
    path: &Path,
    name: Option<&std::ffi::OsStr>,
    choice: &Choice,
    seen: &AtomicU64,
) -> Vec<Found> {
    // A link that was named is followed.
    let is_directory = fs::metadata(path).is_ok_and(|found| found.is_dir());
    let failed = |why| vec![Found::Failed(path.to_owned(), why)];
    if !is_directory {
        return match Outgoing::file(path, name) {
            Ok(item) => vec![Found::Item(item)],
            Err(why) => failed(why),
        };
    }
    let top = match own_name(path, name) {
        Ok(top) => TreePath::of(top),
        Err(why) => return failed(why),
    };
    let mut walk = Walk {
        choice,
        seen,
        top: path,
        found: Vec::new(),
    };
    walk.directory(path, &top);
    walk.found
}

struct Walk<'a> {
    choice: &'a Choice,
    seen: &'a AtomicU64,
    top: &'a Path,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn directory(&mut self, source: &Path, path: &TreePath) {
        let entries = fs::read_dir(source).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.fail(source, unreadable(source, &error)),
        };
        entries.sort_by_key(DirEntry::file_name);
        self.item(source, path, Kind::Directory, 0);
        for entry in entries {
            self.seen.fetch_add(1, Ordering::Relaxed);
            self.entry(&entry, path);
        }
        if self.choice.preserve {
            self.item(source, path, Kind::Finished, 0);
        }
    }

    fn entry(&mut self, entry: &DirEntry, parent: &TreePath) {
        let source = entry.path();
        let below = source.strip_prefix(self.top).unwrap_or(&source);
        if self.choice.excludes(below) {
            return; // as was asked for
        }
        let name = entry.file_name();
        if name
            .as_encoded_bytes()
            .starts_with(PARTIAL_PREFIX.as_bytes())
        {
            let why = "it is an unfinished file of a receiver's".to_owned();
            return self.found.push(Found::LeftOut(source, why));
        }
        let shown = output::shown(source.display());
        let path = match Name::from_os(&name) {
            Ok(name) => parent.join(name),
            Err(error) => return self.fail(&source, format!("cannot send {shown}: {error}")),
        };
        // Of the entry itself: links are not followed.
        match entry.metadata() {
            Ok(found) => self.thing(source, &path, &found),
            Err(error) => self.fail(&source, unreadable(&source, &error)),
        }
    }

    fn thing(&mut self, source: PathBuf, path: &TreePath, found: &Metadata) {
        let shown = output::shown(source.display());
        if found.is_dir() {
            self.directory(&source, path);
        } else if found.is_file() {
            self.item(&source, path, Kind::File, found.len());
        } else if found.is_symlink() && self.choice.links {
            self.link(&source, path);
        } else if found.is_symlink() {
            let why = "it is a symbolic link: send links with --links".to_owned();
            self.found.push(Found::LeftOut(source, why));
        } else {
            let why = format!(
                "cannot send {shown}: it is no file, directory or link: leave it out \
                               with --exclude"
            );
            self.fail(&source, why);
        }
    }

    fn link(&mut self, source: &Path, path: &TreePath) {
        let target = match fs::read_link(source) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(error) => return self.fail(source, unreadable(source, &error)),
        };
        match path.check_link(&target) {
            Ok(()) => self.item(source, path, Kind::Link(target), 0),
            Err(why) => {
                let shown = output::shown(source.display());
                let to = output::shown(String::from_utf8_lossy(&target));
                let why = format!(
                    "cannot send {shown}, a link to {to}: {why}: name what it leads to as well, or \
                     leave it out with --exclude"
                );
                self.fail(source, why);
            }
        }
    }

    fn item(&mut self, source: &Path, path: &TreePath, kind: Kind, size: u64) {
        let item = Outgoing::new(source.to_owned(), path.clone(), kind, size);
        self.found.push(Found::Item(item));
    }

    fn fail(&mut self, source: &Path, why: String) {
        self.found.push(Found::Failed(source.to_owned(), why));
    }
}

/// How much there is to be sent in all, if that is known.
pub(crate) fn total(items: &Arc<[Outgoing]>) -> Option<u64> {
    let is_known = items.iter().all(|item| *item.kind() != Kind::Stdin);
    is_known.then(|| items.iter().map(Outgoing::size).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(directory: &Path, choice: &Choice) -> Vec<String> {
        let seen = AtomicU64::new(0);
        let found = look(directory, Some("top".as_ref()), choice, &seen);
        let shown = |found| match found {
            Found::Item(item) => format!("{} {:?}", item.path(), item.kind()),
            Found::Failed(path, _) => format!("failed {}", path.file_name().unwrap().display()),
            Found::LeftOut(path, _) => format!("left out {}", path.file_name().unwrap().display()),
        };
        found.into_iter().map(shown).collect()
    }

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("b/empty")).unwrap();
        for name in ["a.o", "b/c.o", "b/d", ".ampe-partial-x"] {
            fs::write(at(name), "content").unwrap();
        }
        directory
    }

    #[test]
    fn a_directory_is_all_that_is_in_it() {
        let tree = tree();
        let all = [
            "top Directory",
            "left out .ampe-partial-x",
            "top/a.o File",
            "top/b Directory",
            "top/b/c.o File",
            "top/b/d File",
            "top/b/empty Directory",
        ];
        assert_eq!(paths(tree.path(), &Choice::default()), all);
        let preserved = paths(tree.path(), &Choice::new(false, true, &[]).unwrap());
        assert_eq!(
            preserved[7..],
            ["top/b/empty Finished", "top/b Finished", "top Finished"]
        );
    }

    #[test]
    fn how_much_there_is_to_be_sent_is_known_unless_a_pipe_is_among_it() {
        let of = |items: &[(Kind, u64)]| {
            let path = TreePath::from_wire(b"a").unwrap();
            let item = |(kind, size): &(Kind, u64)| {
                Outgoing::new(PathBuf::new(), path.clone(), kind.clone(), *size)
            };
            total(&items.iter().map(item).collect())
        };
        assert_eq!(of(&[]), Some(0));
        let files = [(Kind::File, 7), (Kind::Directory, 0), (Kind::File, 5)];
        assert_eq!(of(&files), Some(12));
        assert_eq!(of(&[(Kind::File, 7), (Kind::Stdin, 0)]), None);
    }

    #[test]
    fn what_is_excluded_is_left_out_with_all_that_is_in_it() {
        let tree = tree();
        let without = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            paths(tree.path(), &Choice::new(false, false, &patterns).unwrap()).len()
        };
        assert_eq!(without(&["*.o"]), 5);
        assert_eq!(without(&["b/*.o"]), 6);
        assert_eq!(without(&["b"]), 3);
        assert_eq!(without(&["b/**", ".ampe*"]), 3);
        assert!(Choice::new(false, false, &["[".to_owned()]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_sent_on_request_and_only_within_the_tree() {
        let tree = tree();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, tree.path().join(name)).unwrap();
        };
        link("../a.o", "b/e-inside");
        link("../../x", "b/f-outside");
        let without = paths(tree.path(), &Choice::default());
        assert!(
            without.contains(&"left out e-inside".to_owned()),
            "{without:?}"
        );
        assert!(
            without.contains(&"left out f-outside".to_owned()),
            "{without:?}"
        );
        let with = paths(tree.path(), &Choice::new(true, false, &[]).unwrap());
        let inside = |found: &String| found.starts_with("top/b/e-inside Link(");
        assert!(with.iter().any(inside), "{with:?}");
        assert!(with.contains(&"failed f-outside".to_owned()), "{with:?}");
    }
}
