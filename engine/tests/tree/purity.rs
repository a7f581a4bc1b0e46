//! The protocol, the wire format and the storage of messages do no input or output: time, sockets
//! and threads are the driver's. Here their sources are searched for the names of such things.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders below `src/` that must be free of input and output, with the fewest files that each has:
/// a search of nothing would find nothing.
const PURE: [(&str, usize); 3] = [("protocol", 10), ("storage", 4), ("wire", 4)];

/// Names of clocks, sockets, threads and other ways to the system, each a whole identifier.
const FORBIDDEN: [&str; 19] = [
    "SystemTime",
    "UNIX_EPOCH",
    "elapsed",
    "thread",
    "sleep",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "ampe_poller",
    "rustix",
    "File",
    "fs",
    "env",
    "process",
    "RandomState",
];

/// The same, as paths: a part of each is a name of good repute.
const FORBIDDEN_PATHS: [&str; 4] = ["Instant::now", "crate::driver", "crate::engine", "io::std"];

/// Lines of `source`, counted from 1, that name something forbidden, and what they name. Comments
/// do not count.
fn breaches(source: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let names: Vec<&str> = code.split(|letter| !is_of_name(letter)).collect();
        let by_name = FORBIDDEN.into_iter().filter(|name| names.contains(name));
        let dense: String = code.split_whitespace().collect();
        let by_path = FORBIDDEN_PATHS
            .into_iter()
            .filter(|path| dense.contains(path));
        found.extend(by_name.chain(by_path).map(|what| (index + 1, what)));
    }
    found
}

/// The sources below `folder`, without the unit tests.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("its entries can be read").path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn what_is_pure_names_no_clock_no_socket_and_no_thread() {
    let mut all = Vec::new();
    for (folder, files_min) in PURE {
        let mut files = Vec::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(folder);
        sources(&folder, &mut files);
        assert!(
            files.len() >= files_min,
            "{}: only {} files",
            folder.display(),
            files.len()
        );
        for file in files {
            let source = fs::read_to_string(&file).unwrap();
            for (line, what) in breaches(&source) {
                all.push(format!("{}:{line} names {what}", file.display()));
            }
        }
    }
    assert!(all.is_empty(), "not pure:\n{}", all.join("\n"));
}

#[test]
fn canary_each_way_to_the_system_is_found() {
    for (line, what) in [
        ("let now = Instant::now();", "Instant::now"),
        ("let now = std::time::Instant :: now();", "Instant::now"),
        ("use std::time::{Duration, SystemTime};", "SystemTime"),
        ("if since.elapsed() > limit {", "elapsed"),
        ("use std::{collections, thread};", "thread"),
        ("std::thread::spawn(|| ());", "thread"),
        ("sleep(pause);", "sleep"),
        ("use std::net::{SocketAddr, TcpStream};", "TcpStream"),
        ("use std::os::unix::net::UnixListener;", "UnixListener"),
        ("use ampe_poller::socket::Stream;", "ampe_poller"),
        ("let seed = std::env::var(NAME);", "env"),
        ("use crate::driver::Driver;", "crate::driver"),
    ] {
        let source = format!("use std::time::Instant;\n{line}\n");
        assert_eq!(breaches(&source), [(2, what)], "{line}");
    }
}

#[test]
fn what_only_sounds_like_the_system_is_let_pass() {
    let source = "\
        use std::net::SocketAddr; // a TcpStream is the driver's\n\
        /// No thread, no sleep, and never Instant::now().\n\
        fn handle(&mut self, now: Instant, is_thread_told: bool) -> io::Error {\n\
        use crate::sync::{Mutex, lock};\n";
    assert_eq!(breaches(source), []);
}
