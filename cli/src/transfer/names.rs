//! Which names may come from the network: plain file names, on every system.

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
    #[error("the name is not UTF-8")]
    NotUtf8,
    #[error("the name is that of a directory")]
    Directory,
    #[error("the name holds {0:?}, which no plain file name has everywhere")]
    Character(char),
    #[error("the name ends with {0:?}, which some systems drop")]
    End(char),
    #[error("the name is that of a device on some systems")]
    Device,
    #[error("names that start with `.ampe-partial-` are those of unfinished files")]
    Partial,
}

/// The name if it is plain: it names a file in the directory it is used in, and the same file on
/// every system. Separators and colons of other systems are refused too, as a directory may be one
/// that another system reads.
pub(crate) fn plain(name: &[u8]) -> Result<&str, UnsafeName> {
    let name = str::from_utf8(name).map_err(|_| UnsafeName::NotUtf8)?;
    if name.is_empty() {
        return Err(UnsafeName::Empty);
    }
    if name.len() > NAME_LEN_MAX {
        return Err(UnsafeName::TooLong);
    }
    if name == "." || name == ".." {
        return Err(UnsafeName::Directory);
    }
    if let Some(character) = name.chars().find(|&character| is_unsafe(character)) {
        return Err(UnsafeName::Character(character));
    }
    if let Some(end) = name.chars().last().filter(|end| matches!(end, '.' | ' ')) {
        return Err(UnsafeName::End(end));
    }
    if is_device(name) {
        return Err(UnsafeName::Device);
    }
    // File systems that ignore case would find an unfinished file by any spelling.
    if name.to_lowercase().starts_with(PARTIAL_PREFIX) {
        return Err(UnsafeName::Partial);
    }
    Ok(name)
}

/// Separators, the colon of drives and streams, what acts on terminals, and what makes a name read
/// otherwise than it is written (marks that change the direction of writing).
fn is_unsafe(character: char) -> bool {
    matches!(character, '/' | '\\' | ':' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || character.is_control()
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

    #[test]
    fn plain_names_pass() {
        for name in [
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
            "a;b|c",
            "%2e%2e%2f",
        ] {
            assert_eq!(plain(name.as_bytes()), Ok(name));
        }
        assert!(plain(&[b'x'; 255]).is_ok());
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
            "a\\b",
            "..\\a",
            "C:",
            "C:a",
            "a:stream",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "a\u{7f}",
            "a\u{85}b",
            "a.",
            "a ",
            "...",
            "CON",
            "con.txt",
            "Nul",
            "NUL .txt",
            "com1",
            "LPT9.tar.gz",
            "COM\u{b9}",
            "conin$",
            ".ampe-partial-x",
            ".AMPE-Partial-x",
            "gpj.\u{202e}exe",
        ] {
            assert!(plain(name.as_bytes()).is_err(), "{name:?} passed");
        }
        assert_eq!(plain(&[b'x'; 256]), Err(UnsafeName::TooLong));
        assert_eq!(plain(b"\xff"), Err(UnsafeName::NotUtf8));
    }
}
