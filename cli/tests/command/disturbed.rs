//! Transfers that are disturbed at random: their processes are killed, interrupted and stopped, the disk is
//! full, files are changed, renamed and removed while they are sent, and what is kept of them is damaged.
//! Nothing but a whole file ever has a file's name, and what does not arrive is told. Undisturbed, the same
//! command then brings everything.
//!
//! `AMPE_DISTURBED_RUNS=500` makes more runs; `AMPE_SEED=<seed>` repeats the plan of one. The timing is the
//! system's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::common::small_disk::SmallDisk;
use crate::common::{Finished, Place, Running, entries, sha256, start, until};

const PARTIAL: &str = ".ampe-partial-";

/// How many runs there are, if nothing else is asked for.
const RUNS: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Disturbance {
    Kill(Side),
    Interrupt(Side),
    /// For so many milliseconds.
    Pause(Side, u64),
    /// The file of this number.
    Change(usize, Change),
    FillDisk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Shorten,
    Lengthen,
    Overwrite,
    Replace,
    Remove,
}

impl Disturbance {
    fn label(&self) -> String {
        match self {
            Disturbance::Kill(side) => format!("{side:?} killed"),
            Disturbance::Interrupt(side) => format!("{side:?} interrupted"),
            Disturbance::Pause(side, _) => format!("{side:?} stopped"),
            Disturbance::Change(_, change) => format!("file changed: {change:?}"),
            Disturbance::FillDisk => "disk full".to_owned(),
        }
    }
}

/// A file to be sent, and all that was ever whole under its name.
struct Source {
    path: PathBuf,
    versions: Vec<Vec<u8>>,
    is_removed: bool,
}

impl Source {
    fn name(&self) -> String {
        self.path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn now(&self) -> &[u8] {
        self.versions.last().unwrap()
    }
}

/// What became of all runs together.
#[derive(Debug, Default)]
struct Figures {
    /// Files sent, those that arrived in spite of all, and those of which nobody lived to tell.
    files: u64,
    arrived: u64,
    untold: u64,
    told: u64,
    /// Disturbances that came in time.
    disturbances: BTreeMap<String, u64>,
    kept: u64,
    resumed: u64,
}

struct Run {
    rng: Rng,
    /// The receiver's own, if it has one: gone before the place is.
    disk: Option<SmallDisk>,
    place: Place,
    sources: Vec<Source>,
    interrupted: Vec<Side>,
    /// Those that ended at once, whatever they had to say.
    killed: Vec<Side>,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_files_arrive_whole_or_it_is_told() {
    let seed = number("AMPE_SEED");
    let runs = number("AMPE_DISTURBED_RUNS").unwrap_or(seed.map_or(RUNS, |_| 1));
    let first = seed.unwrap_or_else(|| fastrand::u64(..1 << 48));
    let mut figures = Figures::default();
    let can_mount = can_mount();
    for seed in first..first + runs {
        println!("AMPE_SEED={seed}");
        Run::new(seed, can_mount).make(&mut figures);
    }
    eprintln!("{runs} runs from AMPE_SEED={first} on: {figures:#?}");
}

/// Whether a little disk can be mounted; if not, it is said.
fn can_mount() -> bool {
    let place = Place::new();
    let disk = SmallDisk::mount(place.out(), 1 << 20);
    disk.is_some()
}

impl Run {
    fn new(seed: u64, can_mount: bool) -> Run {
        let mut rng = Rng::with_seed(seed);
        let place = Place::new();
        let mut lens = vec![rng.usize(1_200_000..5_000_000)];
        lens.extend((0..rng.usize(..4)).map(|_| 1 << rng.usize(..18)));
        rng.shuffle(&mut lens);
        let sources: Vec<Source> = lens
            .into_iter()
            .enumerate()
            .map(|(index, len)| {
                let content: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
                let path = place.path().join(format!("file-{index}"));
                fs::write(&path, &content).unwrap();
                Source {
                    path,
                    versions: vec![content],
                    is_removed: false,
                }
            })
            .collect();
        let total: usize = sources.iter().map(|source| source.now().len()).sum();
        // Four MiB are to be left free, or nothing is sent; a changed file may be there twice.
        let has_own_disk = can_mount && rng.u8(..4) == 0;
        let size = 4 * total as u64 + (16 << 20);
        let disk = has_own_disk.then(|| SmallDisk::mount(place.out(), size));
        Run {
            rng,
            place,
            sources,
            disk: disk.flatten(),
            interrupted: Vec::new(),
            killed: Vec::new(),
        }
    }

    fn make(mut self, figures: &mut Figures) {
        let disturbances = self.plan();
        println!(
            "{disturbances:?}, a disk of its own: {}",
            self.disk.is_some()
        );
        let options: &[&str] = match self.rng.u8(..8) {
            0 => &["--no-resume"],
            1 => &["--sync"],
            _ => &[],
        };
        let (mut receiver, mut sender) = self.start(options, true);
        for (after, disturbance) in disturbances {
            let is_in_time = wait_for(&self.place, after, &mut sender, &mut receiver);
            if is_in_time {
                *figures.disturbances.entry(disturbance.label()).or_default() += 1;
            }
            self.disturb(&disturbance, &mut sender, &mut receiver);
        }
        let (sent, received) = (sender.finish(), receiver.finish());
        let _ = fs::remove_file(self.place.out().join("filler"));
        self.check(&sent, &received, figures);
        figures.kept += u64::from(!self.partials().is_empty());
        if self.rng.u8(..4) == 0 {
            self.damage_what_is_kept();
        }
        self.send_again(figures);
    }

    /// What happens, and when: once so many bytes of a file are there.
    fn plan(&mut self) -> Vec<(u64, Disturbance)> {
        let count = self.rng.usize(1..=3);
        let most = self.sources.iter().map(|source| source.now().len()).max();
        let most = most.unwrap() as u64;
        let mut times: Vec<u64> = (0..count).map(|_| self.rng.u64(..most)).collect();
        times.sort_unstable();
        times
            .into_iter()
            .map(|at| (at, self.disturbance()))
            .collect()
    }

    fn disturbance(&mut self) -> Disturbance {
        let side = match self.rng.bool() {
            true => Side::Sender,
            false => Side::Receiver,
        };
        match self.rng.u8(..12) {
            0..3 => Disturbance::Kill(side),
            3..5 => Disturbance::Interrupt(side),
            5..7 => Disturbance::Pause(side, self.rng.u64(1..200)),
            7 | 8 if self.disk.is_some() => Disturbance::FillDisk,
            _ => {
                let change = [
                    Change::Shorten,
                    Change::Lengthen,
                    Change::Overwrite,
                    Change::Replace,
                    Change::Remove,
                ];
                let change = self.rng.choice(change).unwrap();
                Disturbance::Change(self.rng.usize(..self.sources.len()), change)
            }
        }
    }

    /// A receiver, and a sender of all that is there.
    fn start(&mut self, options: &[&str], is_slow: bool) -> (Running, Running) {
        // A sender may be killed before it connects.
        let once = ["--once", "--json", "--timeout", "10"];
        let listen = match self.rng.bool() {
            true => "tcp://127.0.0.1:0".to_owned(),
            false => self.place.uds("socket"),
        };
        let out = self.place.out();
        let mut arguments = vec!["recv", "--listen", &listen, "--out", out.to_str().unwrap()];
        arguments.extend([&once[..], options].concat());
        let mut receiver = start(&arguments);
        let listening: Value = serde_json::from_str(&receiver.line()).unwrap();
        let to = listening["address"].as_str().unwrap();
        let mut arguments = vec!["send", "--json", "--timeout", "10", "--to", to];
        let rate = self.rng.u64(15_000_000..60_000_000).to_string();
        if is_slow {
            arguments.extend(["--limit", &rate]);
        }
        let there = self.sources.iter().filter(|source| !source.is_removed);
        arguments.extend(there.map(|source| source.path.to_str().unwrap()));
        let sender = start(&arguments);
        (receiver, sender)
    }

    fn disturb(&mut self, what: &Disturbance, sender: &mut Running, receiver: &mut Running) {
        let mut signal = |side: Side, name: &str| {
            let process = match side {
                Side::Sender => &mut *sender,
                Side::Receiver => &mut *receiver,
            };
            if !process.has_ended() {
                process.signal(name);
            }
        };
        match *what {
            Disturbance::Kill(side) => {
                signal(side, "KILL");
                self.killed.push(side);
            }
            Disturbance::Interrupt(side) => {
                signal(side, "TERM");
                // The second ends it at once.
                match self.interrupted.contains(&side) {
                    true => self.killed.push(side),
                    false => self.interrupted.push(side),
                }
            }
            Disturbance::Pause(side, milliseconds) => {
                signal(side, "STOP");
                thread::sleep(Duration::from_millis(milliseconds));
                signal(side, "CONT");
            }
            Disturbance::FillDisk => {
                let mut filler = File::create(self.place.out().join("filler")).unwrap();
                while filler.write_all(&[1; 1 << 16]).is_ok() {}
            }
            Disturbance::Change(index, change) => self.change(index, change),
        }
    }

    fn change(&mut self, index: usize, change: Change) {
        let source = &mut self.sources[index];
        if source.versions.len() > 1 || source.is_removed {
            return;
        }
        let mut content = source.now().to_owned();
        let file = File::options().write(true).open(&source.path).unwrap();
        match change {
            Change::Shorten => {
                content.truncate(self.rng.usize(..content.len()));
                file.set_len(content.len() as u64).unwrap();
            }
            Change::Lengthen => {
                let len = content.len() as u64;
                let more = vec![9; self.rng.usize(1..70_000)];
                file.write_all_at(&more, len).unwrap();
                content.extend(more);
            }
            Change::Overwrite => {
                // In one step for whoever reads.
                let at = self.rng.usize(..content.len());
                content[at] ^= 1;
                file.write_all_at(&content[at..=at], at as u64).unwrap();
            }
            Change::Replace => {
                content = vec![3; self.rng.usize(..3_000_000)];
                let other = self.place.path().join("other");
                fs::write(&other, &content).unwrap();
                fs::rename(&other, &source.path).unwrap();
            }
            Change::Remove => {
                fs::remove_file(&source.path).unwrap();
                source.is_removed = true;
                return;
            }
        }
        source.versions.push(content);
    }

    fn partials(&self) -> Vec<PathBuf> {
        let out = self.place.out();
        let names = entries(&out).into_iter();
        let partials = names.filter(|name| name.starts_with(PARTIAL));
        partials.map(|name| out.join(name)).collect()
    }

    /// Whoever else writes there.
    fn damage_what_is_kept(&mut self) {
        for path in self.partials() {
            let file = File::options().write(true).open(&path).unwrap();
            let len = file.metadata().unwrap().len();
            match self.rng.u8(..3) {
                0 => file.set_len(self.rng.u64(..=len)).unwrap(),
                // Perhaps more than the whole file has.
                1 => file.set_len(len + self.rng.u64(..6_000_000)).unwrap(),
                _ => file.write_all_at(b"?", self.rng.u64(..=len)).unwrap(),
            }
        }
    }

    /// Nothing but whole files, and what is not there was told.
    fn check(&self, sent: &Finished, received: &Finished, figures: &mut Figures) {
        let both = format!("{sent:?}\n{received:?}");
        assert!(!both.contains("panicked"), "{both}");
        let out = self.place.out();
        for name in entries(&out)
            .iter()
            .filter(|name| !name.starts_with(PARTIAL))
        {
            let source = self.sources.iter().find(|source| source.name() == *name);
            let source = source.unwrap_or_else(|| panic!("{name} is there: {both}"));
            let there = fs::read(out.join(name)).unwrap();
            assert!(
                source.versions.contains(&there),
                "{name} is neither what it was nor what it is: {both}"
            );
        }
        let lines: Vec<Value> = received
            .stdout
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in lines.iter().filter(|line| line["event"] == "received") {
            let path = line["path"].as_str().unwrap();
            assert_eq!(line["sha256"], sha256(path.as_ref()).as_str(), "{both}");
        }
        let receiver_tells = lines.iter().any(|line| line["event"] == "failed");
        let sender_tells = !(self.killed.contains(&Side::Sender) && sent.stdout.is_empty());
        let results = match sender_tells {
            true => self.results(sent, &both),
            false => BTreeMap::new(),
        };
        let mut lost = 0;
        for source in &self.sources {
            figures.files += 1;
            let is_there = out.join(source.name()).exists();
            figures.arrived += u64::from(is_there);
            lost += u64::from(!is_there);
            if sender_tells && !is_there {
                assert_eq!(results[&source.name()], None, "{both}");
            }
        }
        match (lost, sender_tells || receiver_tells) {
            (0, _) => {}
            (_, true) => figures.told += lost,
            // Both were killed, or the receiver before anybody had come.
            (_, false) => {
                figures.untold += lost;
                assert!(
                    self.killed.contains(&Side::Sender)
                        && (self.killed.contains(&Side::Receiver) || received.code != Some(0)),
                    "nobody tells: {both}"
                );
            }
        }
    }

    /// What the sender says of each file: its hash if it is stored, which is so, or else why not.
    fn results(&self, sent: &Finished, both: &str) -> BTreeMap<String, Option<String>> {
        assert_eq!(sent.stdout.len(), 1, "one document: {both}");
        let document: Value = serde_json::from_str(&sent.stdout[0]).unwrap();
        let files = document["files"].as_array().unwrap();
        let mut results = BTreeMap::new();
        for file in files {
            let name = file["name"].as_str().unwrap().to_owned();
            let hash = file["sha256"].as_str().map(str::to_owned);
            match &hash {
                Some(hash) => assert_eq!(*hash, sha256(&self.place.out().join(&name)), "{both}"),
                None => assert!(
                    file["error"].is_string() || document["error"].is_string(),
                    "nothing is said of {name}: {both}"
                ),
            }
            results.insert(name, hash);
        }
        assert_eq!(results.len(), self.sources.len(), "{both}");
        let is_good = results.values().all(Option::is_some) && document["error"].is_null();
        assert_eq!(sent.code == Some(0), is_good, "{both}");
        results
    }

    /// Undisturbed, it brings all that is here now.
    fn send_again(&mut self, figures: &mut Figures) {
        if self.sources.iter().all(|source| source.is_removed) {
            return;
        }
        let (receiver, sender) = self.start(&["--overwrite"], false);
        let (sent, received) = (sender.finish(), receiver.finish());
        sent.assert_succeeds();
        received.assert_succeeds();
        for source in self.sources.iter().filter(|source| !source.is_removed) {
            let there = fs::read(self.place.out().join(source.name())).unwrap();
            assert!(there == source.now(), "{}: {sent:?}", source.name());
        }
        let document: Value = serde_json::from_str(&sent.stdout[0]).unwrap();
        let files = document["files"].as_array().unwrap().iter();
        let resumed = files.filter_map(|file| file["resumed"].as_u64());
        figures.resumed += resumed.filter(|&bytes| bytes > 0).count() as u64;
    }
}

/// Waits until so much of an unfinished file is there, or one side has ended. Whether both are at work.
fn wait_for(place: &Place, bytes: u64, sender: &mut Running, receiver: &mut Running) -> bool {
    let mut are_at_work = true;
    until("something has come, or an end", || {
        are_at_work = !sender.has_ended() && !receiver.has_ended();
        let found = fs::read_dir(place.out()).unwrap().flatten();
        let mut lens = found.filter_map(|entry| {
            let is_partial = entry.file_name().to_str()?.starts_with(PARTIAL);
            Some(entry.metadata().ok().filter(|_| is_partial)?.len())
        });
        !are_at_work || bytes == 0 || lens.any(|len| len >= bytes)
    });
    are_at_work
}
