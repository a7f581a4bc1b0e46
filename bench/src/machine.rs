//! The machine that figures are from.

use std::fs;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub system: String,
    pub processor: String,
    pub cores: usize,
    /// The load when the measurements began: beside much of it figures tell little.
    pub load: String,
    pub socket_buffers: String,
    pub compiler: String,
    pub commit: String,
    pub date: String,
}

impl Machine {
    pub fn look() -> Machine {
        let uname = nix::sys::utsname::uname().ok();
        let system = uname.map_or_else(String::new, |it| {
            let text = |field: &std::ffi::OsStr| field.to_string_lossy().into_owned();
            format!(
                "{} {} {}",
                text(it.sysname()),
                text(it.release()),
                text(it.machine())
            )
        });
        Machine {
            system,
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            load: first_words("/proc/loadavg", 1),
            socket_buffers: socket_buffers(),
            compiler: output_of("rustc", &["--version"]),
            commit: output_of("git", &["describe", "--always", "--dirty"]),
            date: output_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        }
    }

    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("{}, ampe {}", self.date, self.commit),
            format!(
                "{}, {} cores of {}, load {}",
                self.system, self.cores, self.processor, self.load
            ),
            format!("{}; {}", self.compiler, self.socket_buffers),
        ]
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(
        || "an unknown processor".to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

/// Nobody sets the sizes of sockets' buffers, so all have the system's: least, first and most.
fn socket_buffers() -> String {
    let of = |name| first_words(&format!("/proc/sys/net/ipv4/{name}"), 3);
    format!(
        "socket buffers as the system has them: tcp_rmem {}, tcp_wmem {}",
        of("tcp_rmem"),
        of("tcp_wmem")
    )
}

fn first_words(path: &str, count: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().take(count).collect();
    words.join(" ")
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    text.ok()
        .filter(|it| !it.is_empty())
        .unwrap_or_else(|| format!("({program} says nothing)"))
}
