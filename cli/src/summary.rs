//! What was transferred, in a table that fits a narrow terminal.

use std::io::{self, Write};

use ampe::Account;

use crate::output;

/// The widest name that is shown whole.
const NAME_CHARS: usize = 16;

/// A line of the table.
pub(crate) struct Row {
    /// What it is called there, or where it is.
    pub(crate) name: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) others: u64,
    pub(crate) failed: u64,
}

/// Writes the table, and below it the account of the connection.
pub(crate) fn tell(rows: &[Row], account: Option<&Account>) {
    let mut text = String::new();
    if rows.len() > 1 || rows.iter().any(|row| row.files != 1 || row.others > 0) {
        for line in table(rows) {
            text += &line;
            text.push('\n');
        }
    }
    if let Some(account) = account {
        text += &format!("ampe: {}\n", output::balance(account));
    }
    // There is nowhere left to complain to.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn table(rows: &[Row]) -> Vec<String> {
    let name_columns = rows.iter().map(|row| short(&row.name).chars().count());
    let name_columns = name_columns.max().unwrap_or(0).max(4);
    let has_others = rows.iter().any(|row| row.others > 0);
    let has_failed = rows.iter().any(|row| row.failed > 0);
    let line = |name: &str, cells: [String; 4]| {
        let [files, others, failed, bytes] = cells;
        let mut line = format!("{name:name_columns$} {files:>6}");
        if has_others {
            line += &format!(" {others:>5}");
        }
        if has_failed {
            line += &format!(" {failed:>4}");
        }
        line + &format!(" {bytes:>9}")
    };
    let head = ["files", "other", "lost", "size"].map(str::to_owned);
    let mut lines = vec![line("name", head)];
    lines.extend(rows.iter().map(|row| {
        let counts = [row.files, row.others, row.failed].map(|count| count.to_string());
        let [files, others, failed] = counts;
        let bytes = output::bytes(row.bytes);
        line(&short(&row.name), [files, others, failed, bytes])
    }));
    lines
}

/// The end of a name that is too long: it tells more than its beginning.
fn short(name: &str) -> String {
    let count = name.chars().count();
    match count > NAME_CHARS {
        true => format!(
            "…{}",
            name.chars()
                .skip(count - NAME_CHARS + 1)
                .collect::<String>()
        ),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_forty_columns() {
        let row = |name: &str, files, others, failed| Row {
            name: name.to_owned(),
            files,
            bytes: 123_456_789_012,
            others,
            failed,
        };
        let rows = [
            row("a", 1, 0, 0),
            row(&"x/".repeat(40), 999_999, 9999, 9999),
        ];
        for line in table(&rows) {
            assert!(line.chars().count() <= 44, "{line}");
        }
        assert_eq!(
            table(&[row("a", 1, 0, 0), row("b", 2, 0, 1)]),
            [
                "name  files lost      size",
                "a         1    0 123.46 GB",
                "b         2    1 123.46 GB",
            ]
        );
    }
}
