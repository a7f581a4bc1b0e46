//! Where a file goes below the receiver's directory, and where links may lead.

use std::fmt;
use std::path::PathBuf;

use super::names::{Name, UnsafeName};
use crate::output;

/// The longest path, in bytes: what common systems take.
const PATH_LEN_MAX: usize = 4096;

/// The names of directories and, at the end, of a file: each a plain component, so that the path leads
/// nowhere but down.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TreePath(Vec<Name>);

impl TreePath {
    pub(crate) fn of(name: Name) -> TreePath {
        TreePath(vec![name])
    }

    pub(crate) fn join(&self, name: Name) -> TreePath {
        let mut names = self.0.clone();
        names.push(name);
        TreePath(names)
    }

    /// Reads a path as it is on the wire: its names with `/` between them.
    pub(crate) fn from_wire(path: &[u8]) -> Result<TreePath, UnsafeName> {
        if path.len() > PATH_LEN_MAX {
            return Err(UnsafeName::PathTooLong);
        }
        let names = path.split(|&byte| byte == b'/').map(Name::from_wire);
        names.collect::<Result<_, _>>().map(TreePath)
    }

    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let names: Vec<_> = self.0.iter().map(Name::as_bytes).collect();
        names.join(&b'/')
    }

    pub(crate) fn to_os(&self) -> PathBuf {
        self.0.iter().map(Name::to_os).collect()
    }

    /// The names of the directories that it is in, from the top.
    pub(crate) fn parents(&self) -> &[Name] {
        self.0.split_last().map_or(&[], |(_, parents)| parents)
    }

    /// What one argument of the sender's is called.
    pub(crate) fn top(&self) -> &Name {
        self.0.first().expect("a path has a name")
    }

    pub(crate) fn last(&self) -> &Name {
        self.0.last().expect("a path has a name")
    }

    /// Whether it is in the receiver's directory itself.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.len() == 1
    }

    /// Checks that a symbolic link here does not lead out of its tree, whose top is the first name.
    ///
    /// `..` may stand at the beginning of the target only: there it means the directory above, since
    /// all that the link is in are directories and no links. Behind the name of another link it could
    /// mean any.
    pub(crate) fn check_link(&self, target: &[u8]) -> Result<(), &'static str> {
        const OUT: &str = "the link leads out of what is sent";
        if target.is_empty() || target.len() > PATH_LEN_MAX || target.contains(&0) {
            return Err("the link leads nowhere");
        }
        if target.starts_with(b"/") || (cfg!(windows) && target.contains(&b'\\')) {
            return Err(OUT);
        }
        let mut above = self.0.len().saturating_sub(2);
        let mut is_down = false;
        for part in target.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if is_down || above == 0 => return Err(OUT),
                b".." => above -= 1,
                _ => is_down = true,
            }
        }
        match self.is_plain() {
            true => Err(OUT),
            false => Ok(()),
        }
    }
}

/// For people: one line that does nothing to a terminal.
impl fmt::Display for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&output::shown(String::from_utf8_lossy(&self.to_wire())))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_down_and_nowhere_else() {
        for path in ["a", "a/b", "a/b c/.d"] {
            let read = TreePath::from_wire(path.as_bytes()).unwrap();
            assert_eq!(read.to_wire(), path.as_bytes());
            assert_eq!(read.to_os(), PathBuf::from(path));
        }
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/..",
            "a/../b",
            "./a",
            "a/.ampe-partial-x",
        ] {
            assert!(
                TreePath::from_wire(path.as_bytes()).is_err(),
                "{path:?} passed"
            );
        }
        // 2048 names, of which the first has two letters.
        let mut path = vec![b"x".as_slice(); 2048];
        path[0] = b"xx";
        let longest = path.join(&b'/');
        assert_eq!(longest.len(), 4096);
        assert_eq!(TreePath::from_wire(&longest).unwrap().to_wire(), longest);
        let long = [&b"x"[..], &longest].concat();
        assert_eq!(TreePath::from_wire(&long), Err(UnsafeName::PathTooLong));
        let path = TreePath::from_wire(b"a/b/c").unwrap();
        assert_eq!(path.parents().len(), 2);
        assert_eq!(
            (path.top().as_bytes(), path.last().as_bytes()),
            (&b"a"[..], &b"c"[..])
        );
    }

    #[test]
    fn links_stay_in_their_tree() {
        let check = |link: &str, target: &str| {
            let link = TreePath::from_wire(link.as_bytes()).unwrap();
            link.check_link(target.as_bytes()).is_ok()
        };
        for (link, target) in [
            ("top/l", "file"),
            ("top/l", "./d/file"),
            ("top/d/l", ".."),
            ("top/d/l", "./../f"),
            ("top/d/e/l", "..//.././f"),
            ("top/d/e/l", "../../f/"),
            ("top/l", &"x/".repeat(2048)),
        ] {
            assert!(check(link, target), "{link} -> {target}");
        }
        assert_eq!(
            check("top/l", "a\\b"),
            cfg!(unix),
            "there it is a letter as others"
        );
        for (link, target) in [
            ("l", "file"),
            ("top/l", ""),
            ("top/l", ".."),
            ("top/l", "/etc/passwd"),
            ("top/l", "a\0b"),
            ("top/l", &"x".repeat(4097)),
            ("top/d/l", "../.."),
            ("top/d/l", "../../top/file"),
            // Where `x` is a link to a directory far above, this is not the directory of `x`.
            ("top/d/l", "x/.."),
            ("top/d/l", "../x/../y"),
        ] {
            assert!(!check(link, target), "{link} -> {target} passed");
        }
    }
}
