//! Lines of checksums, as `sha256sum` prints and reads them.

use std::io::{self, IsTerminal};
use std::path::Path;

use crate::error::Failure;
use crate::output;
use crate::progress::Progress;

/// Prints the line of a file. On a terminal, a name that would act on it is quoted.
pub(crate) fn print(progress: &Progress, sha256: &str, path: &Path) -> Result<(), Failure> {
    let shown = output::shown(path.display());
    if shown.starts_with('"') && io::stdout().is_terminal() {
        return progress.line(format!("{sha256}  {shown}"));
    }
    progress.line(line(sha256, path))
}

/// A line as `sha256sum` prints it, byte for byte, for its `--check` to read. Where it would end
/// early or read otherwise, a backslash in front says that the path is escaped.
#[cfg(unix)]
fn line(sha256: &str, path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'\\' => escaped.extend(br"\\"),
            b'\n' => escaped.extend(br"\n"),
            b'\r' => escaped.extend(br"\r"),
            _ => escaped.push(byte),
        }
    }
    let is_escaped = escaped.len() > path.as_os_str().len();
    let mark = if is_escaped { "\\" } else { "" };
    [mark.as_bytes(), sha256.as_bytes(), b"  ", &escaped].concat()
}

/// No path holds line ends here, and backslashes separate its parts: without a mark in front they
/// are read as they are.
#[cfg(not(unix))]
fn line(sha256: &str, path: &Path) -> String {
    format!("{sha256}  {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_checksum_stays_one_line() {
        let line =
            |path: &str| String::from_utf8_lossy(line("0a", path.as_ref()).as_ref()).into_owned();
        assert_eq!(line("out/it's a file"), "0a  out/it's a file");
        if cfg!(unix) {
            assert_eq!(line("two\nlines/file"), r"\0a  two\nlines/file");
            assert_eq!(line("a\rb\\n/file"), r"\0a  a\rb\\n/file");
        } else {
            assert_eq!(line(r"C:\new\file"), r"0a  C:\new\file");
        }
    }
}
