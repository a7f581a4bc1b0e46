//! Which names files may have: one plain component each, and what the receiving system can hold.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::output;

/// Temporary files of receivers start with this; no file may be received under such a name.
pub(crate) const PARTIAL_PREFIX: &str = ".ampe-partial-";

/// The longest name, in bytes: what common file systems take.
const NAME_LEN_MAX: usize = 255;

/// Why a name is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum UnsafeName {
    #[error("the name is empty")]
    Empty,
    #[error("the name is longer than 255 bytes")]
    TooLong,
    #[error("the path is longer than 4096 bytes")]
    PathTooLong,
    #[error("the name is not UTF-8, as this system wants it")]
    NotUtf8,
    #[error("the name is that of a directory")]
    Directory,
    #[error("the name holds {0:?}, which no file name has")]
    Separator(char),
    #[error("the name holds {0:?}, which no file name has on this system")]
    Character(char),
    #[error("the name ends with {0:?}, which this system drops")]
    End(char),
    #[error("the name is that of a device on this system")]
    Device,
    #[error("names that start with `.ampe-partial-` are those of unfinished files")]
    Partial,
}

/// The name of a file: a plain component of a path, as the bytes that it has on the wire. On Unix
/// those are any but `/` and 0; elsewhere they are UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// The name of a file here that is to be sent. Whether the receiver can hold it is the
    /// receiver's to say.
    pub(crate) fn from_os(name: &OsStr) -> Result<Name, UnsafeName> {
        #[cfg(unix)]
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(name);
        #[cfg(not(unix))]
        let bytes = name.to_str().ok_or(UnsafeName::NotUtf8)?.as_bytes();
        check_plain(bytes)?;
        Ok(Name(bytes.to_owned()))
    }

    /// A name that came from the network, if it names a file in the directory that it is used in.
    pub(crate) fn from_wire(name: &[u8]) -> Result<Name, UnsafeName> {
        check_plain(name)?;
        // File systems that ignore case would find an unfinished file by any spelling.
        let start = name.get(..PARTIAL_PREFIX.len());
        if start.is_some_and(|start| start.eq_ignore_ascii_case(PARTIAL_PREFIX.as_bytes())) {
            return Err(UnsafeName::Partial);
        }
        #[cfg(not(unix))]
        check_windows(name)?;
        Ok(Name(name.to_owned()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as this system has it.
    pub(crate) fn to_os(&self) -> OsString {
        #[cfg(unix)]
        let name = std::os::unix::ffi::OsStringExt::from_vec(self.0.clone());
        #[cfg(not(unix))]
        let name = OsString::from(String::from_utf8_lossy(&self.0).into_owned());
        name
    }

    /// Whether any file system holds such a name: letters, digits, and `.`, `_`, `-` and blanks
    /// within.
    pub(crate) fn is_portable(&self) -> bool {
        const LEN_MAX: usize = 100;
        let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte);
        self.0.len() <= LEN_MAX && self.0.iter().all(is_plain) && check_windows(&self.0).is_ok()
    }
}

/// For people: one line that does nothing to a terminal.
impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&output::shown(text(&self.0)))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What can be read of a name.
pub(crate) fn text(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// What holds everywhere: it is one component, and not one that leads elsewhere.
fn check_plain(name: &[u8]) -> Result<(), UnsafeName> {
    if name.is_empty() {
        return Err(UnsafeName::Empty);
    }
    if name.len() > NAME_LEN_MAX {
        return Err(UnsafeName::TooLong);
    }
    if name == b"." || name == b".." {
        return Err(UnsafeName::Directory);
    }
    match name.iter().find(|&&byte| matches!(byte, b'/' | 0)) {
        Some(&separator) => Err(UnsafeName::Separator(separator.into())),
        None => Ok(()),
    }
}

/// What Windows cannot hold, or takes for something else than a file.
fn check_windows(name: &[u8]) -> Result<(), UnsafeName> {
    let name = str::from_utf8(name).map_err(|_| UnsafeName::NotUtf8)?;
    let is_taken = |&char: &char| r#"\/:*?"<>|"#.contains(char) || char.is_ascii_control();
    if let Some(character) = name.chars().find(is_taken) {
        return Err(UnsafeName::Character(character));
    }
    if let Some(end) = name.chars().last().filter(|end| matches!(end, '.' | ' ')) {
        return Err(UnsafeName::End(end));
    }
    if is_device(name) {
        return Err(UnsafeName::Device);
    }
    Ok(())
}

/// Names that Windows gives to devices in every directory, whatever their extension.
fn is_device(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches(' ');
    let stem = stem.to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) {
        return true;
    }
    let number = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"));
    let mut digits = number.unwrap_or_default().chars();
    let is_digit = |digit| matches!(digit, '0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}');
    digits.next().is_some_and(is_digit) && digits.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that every system holds.
    const EVERYWHERE: [&str; 17] = [
        "a",
        "a.txt",
        ".profile",
        "..a",
        "a b",
        "tar.gz",
        "naïve.txt",
        "日本.txt",
        "-rf",
        "~",
        "COM",
        "COM10",
        "console.log",
        "nulls",
        "$HOME",
        "a;b",
        "%2e%2e%2f",
    ];

    /// Names that Unix holds and Windows does not.
    const UNIX_ONLY: [&str; 26] = [
        "..\\a",
        "a\\b",
        "C:",
        "C:a",
        "log-2026-11-28T12:00:00.txt",
        "a|b",
        "a*",
        "why?",
        "\"a\"",
        "<a>",
        "a\nb",
        "a\r",
        "\u{1b}[2J",
        "a\u{7f}",
        "a.",
        "a ",
        "...",
        " ",
        "CON",
        "con.txt",
        "aux.c",
        "NUL .txt",
        "com1",
        "LPT9.tar.gz",
        "COM\u{b9}",
        "conin$",
    ];

    #[test]
    fn names_that_this_system_holds_pass() {
        for name in EVERYWHERE {
            let read = Name::from_wire(name.as_bytes()).unwrap();
            assert_eq!(read.to_os(), OsStr::new(name));
            assert_eq!(Name::from_os(OsStr::new(name)), Ok(read));
            assert_eq!(check_windows(name.as_bytes()), Ok(()), "{name}");
        }
        for name in UNIX_ONLY {
            let passes = Name::from_wire(name.as_bytes()).is_ok();
            assert_eq!(passes, cfg!(unix), "{name:?}");
            assert!(check_windows(name.as_bytes()).is_err(), "{name:?} passed");
        }
        assert_eq!(Name::from_wire(b"\xff").is_ok(), cfg!(unix));
        assert_eq!(check_windows(b"\xff"), Err(UnsafeName::NotUtf8));
        assert!(Name::from_wire(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "/",
            "/etc/passwd",
            "../a",
            "a/b",
            "a/",
            "a\0b",
        ] {
            assert!(Name::from_wire(name.as_bytes()).is_err(), "{name:?} passed");
            assert!(Name::from_os(OsStr::new(name)).is_err(), "{name:?} passed");
        }
        for name in [".ampe-partial-x", ".AMPE-Partial-x", ".ampe-partial-"] {
            let refused = Name::from_wire(name.as_bytes());
            assert_eq!(refused, Err(UnsafeName::Partial));
        }
        assert_eq!(Name::from_wire(&[b'x'; 256]), Err(UnsafeName::TooLong));
    }

    #[test]
    fn what_is_portable_is_held_everywhere() {
        let is_portable = |name: &str| Name(name.into()).is_portable();
        assert!(is_portable("photo 1_a-b.tar.gz"));
        for name in UNIX_ONLY.iter().chain(&["naïve", "a;b", &"x".repeat(101)]) {
            assert!(!is_portable(name), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_shown_on_one_harmless_line() {
        let shown = |name: &[u8]| Name(name.to_owned()).to_string();
        assert_eq!(shown(b"it's a file"), "it's a file");
        assert_eq!(shown(b"a\nb\x1b[2J"), r#""a\nb\u{1b}[2J""#);
        assert_eq!(shown("gpj.\u{202e}exe".as_bytes()), r#""gpj.\u{202e}exe""#);
    }
}
