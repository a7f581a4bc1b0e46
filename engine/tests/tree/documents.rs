//! The documents' links lead somewhere, and the tests and files that they cite exist.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where documents are, from the root of the repository.
const DIRECTORIES: [&str; 5] = [".", "docs", "fuzz", "patterns", "engine/tests/interop"];

/// Where what they cite is.
const CODE: [&str; 7] = ["engine", "patterns", "poller", "cli", "bench", "fuzz", "ci"];

/// Cites the tests of other projects.
const CITES_OTHERS: &str = "parity.md";

#[test]
fn every_link_in_the_documents_resolves() {
    let Some(root) = repository() else { return };
    assert_eq!(broken_links(&documents(&root)), Vec::<String>::new());
}

#[test]
fn every_test_and_file_that_the_documents_cite_exists() {
    let Some(root) = repository() else { return };
    assert_eq!(
        missing_citations(&root, &documents(&root)),
        Vec::<String>::new()
    );
}

/// Without it a check that reads nothing would pass, too.
#[test]
fn canary_links_and_citations_that_lead_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("engine/a.rs", "fn a_test_that_is_there() {}\n");
    write("engine/tests/behaviour/main.rs", "mod calls;\n");
    write(
        "engine/tests/behaviour/calls.rs",
        "    // no two\n    fn one() {}\n",
    );
    write(
        "README.md",
        "# Poll(2), and `a_name`: twice\n## Twice\n## Twice\n\
         [a](docs/b.md) [a](docs/b.md#b) [a](#poll2-and-a_name-twice) [a](#twice-1)\n\
         [a](https://example.org/c.md#d) `[a](in-code)` `a_test_that_is_there` `engine/a.rs`\n\
         ```\n[a](in-a-block)\n# Not a heading\n```\n\
         [gone](docs/c.md) [gone](#not-a-heading)\n[gone](docs/b.md#twice) [gone](#twice-2)\n\
         `a_test_that_is` `engine/b.rs`\n\
         `cargo test -p ampe --test behaviour` `cargo test -p ampe --test behaviour calls::one`\n\
         ```\ncargo test -p ampe --test behaviour calls -- --nocapture\n\
         cargo test -p ampe --test behaviour calls::two\ncargo test -p ampe --test gone\n```\n",
    );
    write("docs/b.md", "# B\r\n[a](../README.md#twice)\r\n");
    let documents = documents(root.path());
    let targets = |found: Vec<String>| -> Vec<String> {
        let last = |line: &String| line.rsplit(' ').next().map(str::to_owned);
        found.iter().filter_map(last).collect()
    };
    assert_eq!(
        targets(broken_links(&documents)),
        ["docs/c.md", "#not-a-heading", "docs/b.md#twice", "#twice-2"]
    );
    assert_eq!(
        targets(missing_citations(root.path(), &documents)),
        ["calls::two", "gone", "a_test_that_is", "engine/b.rs"]
    );
}

/// The root, or nothing where the crate was taken out of its repository.
fn repository() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if root.join("docs").is_dir() {
        return Some(root);
    }
    println!("skipped: the documents are not part of this package");
    None
}

fn documents(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let Ok(entries) = fs::read_dir(root.join(directory)) else {
            continue;
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    assert!(!found.is_empty(), "there are documents");
    found.sort();
    found
}

/// Links to files that do not exist, and to headings that their file does not have.
fn broken_links(documents: &[PathBuf]) -> Vec<String> {
    let mut broken = Vec::new();
    for document in documents {
        for (number, line) in prose(&read(document)) {
            let prose: String = line.split('`').step_by(2).collect();
            for (_, rest) in prose
                .match_indices("](")
                .map(|(at, _)| prose.split_at(at + 2))
            {
                let target = rest.split(')').next().unwrap_or_default();
                if !resolves(document, target) {
                    broken.push(format!("{}:{number}: {target}", document.display()));
                }
            }
        }
    }
    broken
}

fn resolves(document: &Path, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let file = match file {
        "" => document.to_owned(),
        _ => document.with_file_name(file),
    };
    file.exists() && anchor.is_none_or(|anchor| anchors(&read(&file)).contains(anchor))
}

/// What a document calls by the name of a test or the path of a file, and nothing in the tree is.
fn missing_citations(root: &Path, documents: &[PathBuf]) -> Vec<String> {
    let mut code = String::new();
    for directory in CODE {
        read_code(&root.join(directory), &mut code);
    }
    let mut missing = Vec::new();
    for document in documents {
        missing.extend(missing_programs(root, document));
        if document.file_name().is_some_and(|it| it == CITES_OTHERS) {
            continue;
        }
        for (number, line) in prose(&read(document)) {
            for cited in line.split('`').skip(1).step_by(2) {
                let exists = match cited {
                    _ if is_path(cited) => root.join(cited).exists(),
                    _ if is_test(cited) => ["(", "<"]
                        .iter()
                        .any(|end| code.contains(&format!("fn {cited}{end}"))),
                    _ => true,
                };
                if !exists {
                    missing.push(format!("{}:{number}: {cited}", document.display()));
                }
            }
        }
    }
    missing
}

/// Programs of tests that a document has cargo run, in blocks of code as well, and that their crate does not have, or
/// that have no such test.
fn missing_programs(root: &Path, document: &Path) -> Vec<String> {
    let text = read(document).replace('`', "\n");
    let commands = text
        .lines()
        .filter_map(|line| line.split_once("cargo test ")?.1.split(" -- ").next());
    let mut missing = Vec::new();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        let after = |option: &str| {
            let at = words.iter().position(|&word| word == option)?;
            words.get(at + 1).copied()
        };
        let Some(program) = after("--test") else {
            continue;
        };
        let directory = match after("-p") {
            Some("ampe") => "engine",
            Some(package) => package.trim_start_matches("ampe-"),
            None => "",
        };
        let tests = root.join(directory).join("tests");
        let mut code = String::new();
        read_code(&tests.join(program), &mut code);
        if let Ok(more) = fs::read_to_string(tests.join(format!("{program}.rs"))) {
            code.push_str(&more);
        }
        let filter = words.iter().skip_while(|&&word| word != program).nth(1);
        let names = |line: &str, name: &str| {
            let line = line.trim_start();
            (line.starts_with("mod ") || line.starts_with("fn ")) && line.contains(name)
        };
        let has_test = filter.is_none_or(|filter| {
            filter
                .split("::")
                .all(|name| code.lines().any(|line| names(line, name)))
        });
        if code.is_empty() || !has_test {
            missing.push(format!("{}: {command}", document.display()));
        }
    }
    missing
}

fn is_path(cited: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-".contains(it);
    let first = cited.split_once('/').map(|(first, _)| first);
    first.is_some_and(|it| it == "docs" || CODE.contains(&it)) && cited.chars().all(is_plain)
}

/// Names of tests are sentences: three words or more.
fn is_test(cited: &str) -> bool {
    let is_word = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    cited.matches('_').count() >= 2 && cited.chars().all(is_word)
}

/// Adds all Rust code below a directory.
fn read_code(directory: &Path, code: &mut String) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            read_code(&path, code);
        } else if path.extension().is_some_and(|it| it == "rs") {
            code.push_str(&read(&path));
        }
    }
}

/// A document's lines outside blocks of code, counted from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push((number, line));
        }
    }
    lines
}

/// By what its headings can be linked to.
fn anchors(text: &str) -> HashSet<String> {
    let mut anchors = HashSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor = anchor(title);
        let mut numbered = anchor.clone();
        let mut number = 0;
        while !anchors.insert(numbered) {
            number += 1;
            numbered = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// As code hosts form it: in lower case, blanks are hyphens, and punctuation is left out.
fn anchor(title: &str) -> String {
    let title = title.trim().to_lowercase();
    let kept = title.chars().filter_map(|it| match it {
        ' ' => Some('-'),
        '-' | '_' => Some(it),
        _ => it.is_alphanumeric().then_some(it),
    });
    kept.collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
