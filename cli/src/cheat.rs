//! `ampe cheat`: what to type for what.

use crate::args::Cheat;
use crate::error::Failure;
use crate::output;

/// A topic: its name, what it is about, and what it says.
type Sheet = (&'static str, &'static str, &'static str);

const SHEETS: &[Sheet] = &[
    ("files", "move files and directories", FILES),
    ("messages", "ask, answer, tell and listen", MESSAGES),
    #[cfg(feature = "tls")]
    (
        "secure",
        "encrypted, and nobody in who does not belong",
        SECURE,
    ),
    ("services", "run under systemd and in scripts", SERVICES),
    ("watch", "see what passes between two programs", WATCH),
    ("measure", "latency, throughput, and what is lost", MEASURE),
];

const FILES: &str = "\
# Here, and there the line that it prints:
ampe recv --listen 127.0.0.1:7099 --out .
ampe send --to 127.0.0.1:7099 photo.jpg
# A directory, with permissions, times and links:
ampe send --to 7099 --preserve --links project
# Without what a build makes, at 5 MB a second:
ampe send --to 7099 --exclude target --limit 5MB project
# Broken off? The same line again goes on.
# One way through, without a file:
ampe recv --listen 7099 --stdout | tar x
tar c project | ampe send --to 7099 --as p.tar -
# Let other machines send, whoever they are:
ampe recv --listen 0.0.0.0:7099 --out in --anyone
";

const MESSAGES: &str = "\
# A service in one line, and a question:
ampe reply --listen 7099 --command 'jq .name'
ampe call --to 7099 '{\"name\":\"ampe\"}'
# With a text header, the body from a file:
ampe call --to 7099 -H Kind:job @ticket.xml
# Each line of stdin a question:
seq 1000 | ampe call --to 7099 --lines
# Tell, without an answer; and print what is told:
ampe tell --to 7099 'the door is open'
ampe tail --listen 7099
# Answers for a program:
ampe call --to 7099 --json hello | jq .
";

#[cfg(feature = "tls")]
const SECURE: &str = "\
# Here, and there the line that it prints, which holds a key:
ampe recv --listen tls://0.0.0.0:7099 --out in
# A key that lasts, in two files: one for here, one for there:
ampe key home
ampe recv --listen tls://0.0.0.0:7099 --out in --key-file home.listen
ampe send --to tls://host:7099 --key-file home.connect photo.jpg
# Anything that listens, for who has the key:
ampe reply --listen tls://0.0.0.0:7099 --keyed --body pong
# Pasted where nobody sees it:
read -rs AMPE_KEY && export AMPE_KEY
ampe call --to tls://host:7099 hello
# By certificates:
ampe call --to tls://host:7099 --ca ca.pem hello
# What answers there, and is it who it should be?
ampe doctor --to tls://host:7099 --ca ca.pem
";

const SERVICES: &str = "\
# Wait until it listens, and learn where:
ampe echo --listen 127.0.0.1:0 --ready-file ready
# Until nothing came for a minute:
ampe tail --listen 7099 --timeout 60
# Defaults, in ~/.config/ampe/config:
#   to = uds:///run/app.sock
#   [send]
#   limit = 5MB
# and in the environment:
AMPE_TO=7099 ampe call hello
# On the sockets of a .socket unit:
ampe reply --listen systemd: --body pong
# Unit files are in cli/examples.
";

const WATCH: &str = "\
# Put it between a client and its server:
ampe proxy --listen 7098 --to 7099 --trace
# For a program; only what is asked:
ampe proxy --listen 7098 --to 7099 --json | jq 'select(.op==\"Request\")'
# For Wireshark:
ampe proxy --listen 7098 --to 7099 --pcap a.pcap
tshark -X lua_script:ampe.lua -r a.pcap
";

const MEASURE: &str = "\
# What answers everything:
ampe echo --listen 7099
# Round trips, one after the other:
ampe ping --to 7099
# 50,000 a second, each timed from when it was due:
ampe bench --to 7099 --rate 50000 --for 10
# As many as are answered, on 8 connections:
ampe bench --to 7099 --connections 8
# What is lost when a receiver is killed:
ampe demo --kill
";

pub(crate) fn run(arguments: &Cheat) -> Result<(), Failure> {
    let Some(topic) = &arguments.topic else {
        for (name, about, _) in SHEETS {
            output::line(format!("{name:<9} {about}"))?;
        }
        return Ok(());
    };
    match SHEETS.iter().find(|(name, ..)| name == topic) {
        Some((_, _, text)) => output::line(text.trim_end()),
        None => {
            let names: Vec<&str> = SHEETS.iter().map(|(name, ..)| *name).collect();
            let names = names.join(", ");
            let said = format!("{topic:?} is no topic: give one of {names}");
            Err(Failure::Usage(said))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;

    /// As a shell takes it apart, where nothing is quoted but by single quotes.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        parts
            .flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect(),
                _ => vec![part.to_owned()],
            })
            .collect()
    }

    #[test]
    fn every_line_can_be_typed_and_fits_a_narrow_terminal() {
        let mut count = 0;
        for (_, _, text) in SHEETS {
            for line in text.lines() {
                assert!(line.len() <= 80, "{line}");
                for part in line.split(" | ").filter(|_| !line.starts_with('#')) {
                    let Some(at) = part.find("ampe ").filter(|_| !part.starts_with("tshark"))
                    else {
                        continue;
                    };
                    let mut typed = words(&part[at..]);
                    if part.starts_with("AMPE_TO") {
                        typed.extend(["--to", "7099"].map(str::to_owned));
                    }
                    assert!(Arguments::try_parse_from(typed).is_ok(), "{line}");
                    count += 1;
                }
            }
        }
        assert!(count >= 25, "{count}");
    }
}
