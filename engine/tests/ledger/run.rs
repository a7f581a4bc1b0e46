//! One run: starts the processes, disturbs them as planned, and joins their ledgers.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ampe::Address;
use tempfile::TempDir;

use super::book::{self, Line};
use super::checker::{self, Ledger, Sums};
use super::plan::{Action, Disturbance, Ending, Plan, Trigger};
use super::relay::Relay;
use super::{CHILD, PATIENCE, member};

/// What was done to the processes of a run, or of many.
#[derive(Clone, Default, Debug)]
pub(crate) struct Figures {
    pub(crate) runs: usize,
    pub(crate) processes: usize,
    /// Processes that were killed, or killed themselves or left without a word.
    pub(crate) deaths: usize,
    pub(crate) stops: usize,
    pub(crate) resets: usize,
    pub(crate) sums: Sums,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Figures) {
        self.runs += other.runs;
        self.processes += other.processes;
        self.deaths += other.deaths;
        self.stops += other.stops;
        self.resets += other.resets;
        self.sums.add(other.sums);
    }

    /// Whether everything that runs are there for came about at least once.
    pub(crate) fn is_telling(&self) -> bool {
        let was_stopped = self.stops > 0 || cfg!(not(unix));
        let sums = &self.sums;
        let ends = ["Bye", "ConnectFailed", "PeerDisconnected"];
        self.deaths > 0
            && was_stopped
            && self.resets > 0
            && [sums.returned, sums.refused, sums.confirmed]
                .iter()
                .all(|&count| count > 0)
            && ends.iter().all(|end| sums.channels.contains_key(*end))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            runs, processes, ..
        } = self;
        let Figures {
            deaths,
            stops,
            resets,
            sums,
            ..
        } = self;
        writeln!(
            to,
            "{runs} runs, {processes} processes: {deaths} died, {stops} stops, {resets} resets"
        )?;
        let Sums {
            posted,
            sent,
            returned,
            received,
            ..
        } = sums;
        let Sums {
            confirmed,
            refused,
            channels,
            ..
        } = sums;
        write!(
            to,
            "messages: {posted} posted, {sent} sent and {confirmed} confirmed, "
        )?;
        writeln!(
            to,
            "{returned} returned, {received} received; {refused} posts refused"
        )?;
        write!(to, "channels by their end: {channels:?}")
    }
}

/// A process of the run as its starter sees it.
struct Process {
    child: Child,
    ledger: PathBuf,
    relay: Option<Relay>,
    /// Killed from outside.
    is_killed: bool,
    goes_on_at: Option<Instant>,
    /// Whether it ended by itself and well; `None` while it lives.
    is_success: Option<bool>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_success.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Makes the run of a seed.
///
/// # Errors
///
/// What was wrong, with the folder in which the ledgers were kept.
pub(crate) fn run(seed: u64) -> Result<Figures, String> {
    let plan = Plan::new(seed);
    let directory = tempfile::tempdir().expect("a directory for the ledgers");
    let outcome = Run::start(seed, &plan, directory.path()).and_then(Run::finish);
    outcome.map_err(|error| failure(seed, &plan, directory, &error))
}

fn failure(seed: u64, plan: &Plan, directory: TempDir, error: &str) -> String {
    let mut report = format!("seed {seed}: {error}\n{plan:#?}\n");
    for process in 0..plan.processes.len() {
        let said = std::fs::read_to_string(stderr_of(directory.path(), process));
        if let Ok(said) = said
            && !said.trim().is_empty()
        {
            report += &format!("process {process} said: {}\n", said.trim());
        }
    }
    let kept = directory.keep();
    report + &format!("the ledgers are in {}\n", kept.display())
}

fn ledger_of(directory: &Path, process: usize) -> PathBuf {
    directory.join(format!("{process}.ledger"))
}

fn stderr_of(directory: &Path, process: usize) -> PathBuf {
    directory.join(format!("{process}.stderr"))
}

/// An IP address of this machine that no other run uses, where there are enough: the port of a
/// process that was killed may be given to another, and must not lead to another run.
fn own_ip() -> [u8; 4] {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if cfg!(not(any(target_os = "linux", windows))) {
        return [127, 0, 0, 1];
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let program = std::process::id() as usize % 200;
    [
        127,
        10 + program as u8,
        (number / 250) as u8,
        (number % 250) as u8 + 1,
    ]
}

struct Run<'a> {
    plan: &'a Plan,
    processes: Vec<Process>,
    pending: Vec<Disturbance>,
    started: Instant,
    deadline: Instant,
    figures: Figures,
}

impl<'a> Run<'a> {
    /// Starts the processes and lets them go once all listen.
    fn start(seed: u64, plan: &'a Plan, directory: &Path) -> Result<Run<'a>, String> {
        let ip = own_ip();
        let processes = plan.processes.iter().enumerate();
        let mut run = Run {
            plan,
            processes: processes
                .map(|(at, it)| start(seed, at, it.is_on_uds, ip, directory))
                .collect(),
            pending: plan.disturbances.clone(),
            started: Instant::now(),
            deadline: Instant::now() + PATIENCE,
            figures: Figures::default(),
        };
        let mut input = String::new();
        for at in 0..run.processes.len() {
            let Some(address) = run.wait_until_listening(at)? else {
                continue;
            };
            let address = run.behind_relay(at, address)?;
            input += &format!("{at} {address}\n");
        }
        input += "go\n";
        for process in &mut run.processes {
            let to = process.child.stdin.as_mut().expect("it has an input");
            // It may have killed itself already.
            let _ = to.write_all(input.as_bytes());
        }
        run.started = Instant::now();
        Ok(run)
    }

    /// The address of a process.
    fn wait_until_listening(&mut self, at: usize) -> Result<Option<Address>, String> {
        loop {
            let process = &mut self.processes[at];
            for line in book::read(&process.ledger).unwrap_or_default() {
                if let Line::Listening(_, address) = line {
                    let address = address.parse();
                    return address.map(Some).map_err(|error| format!("{error}"));
                }
            }
            let ended = process
                .child
                .try_wait()
                .map_err(|error| error.to_string())?;
            if let Some(status) = ended {
                return Err(format!("process {at} ended before it listened: {status}"));
            }
            self.tick(&format!("process {at} to listen"))?;
        }
    }

    fn behind_relay(&mut self, at: usize, address: Address) -> Result<Address, String> {
        let cuts = self.plan.processes[at].cuts.clone();
        let (Some(cuts), Some(socket)) = (cuts, socket_of(&address)) else {
            return Ok(address);
        };
        let relay = Relay::start(socket, cuts).map_err(|error| format!("relay: {error}"))?;
        let bound = relay.address().map_err(|error| format!("relay: {error}"))?;
        self.processes[at].relay = Some(relay);
        Address::tcp(&bound.ip().to_string(), bound.port()).map_err(|error| error.to_string())
    }

    fn tick(&self, what: &str) -> Result<(), String> {
        if Instant::now() > self.deadline {
            return Err(format!("waited in vain for {what}: it hangs"));
        }
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    /// Disturbs, waits for the ends, and checks.
    fn finish(mut self) -> Result<Figures, String> {
        loop {
            let mut living = Vec::new();
            for (at, process) in self.processes.iter_mut().enumerate() {
                process.relay(at)?;
                if process.is_success.is_none() {
                    let status = process
                        .child
                        .try_wait()
                        .map_err(|error| error.to_string())?;
                    process.is_success = status.map(|status| status.success());
                    living.extend(process.is_success.is_none().then_some(at));
                }
            }
            if living.is_empty() {
                break;
            }
            self.disturb();
            self.tick(&format!("the ends of processes {living:?}"))?;
        }
        let relays = self.processes.iter().filter_map(|it| it.relay.as_ref());
        self.figures.resets = relays.map(Relay::resets).sum();
        self.join()
    }

    fn disturb(&mut self) {
        let now = Instant::now();
        let started = self.started;
        for process in &mut self.processes {
            if process.goes_on_at.is_some_and(|at| now >= at) {
                process.go_on();
            }
        }
        let processes = &self.processes;
        let is_due = |it: &mut Disturbance| match it.trigger {
            Trigger::After(time) => now >= started + time,
            Trigger::Ledger(len) => {
                let ledger = std::fs::metadata(&processes[it.process].ledger);
                ledger.is_ok_and(|ledger| ledger.len() >= len)
            }
        };
        let due: Vec<Disturbance> = self.pending.extract_if(.., is_due).collect();
        for disturbance in due {
            let process = &mut self.processes[disturbance.process];
            match disturbance.action {
                _ if process.is_success.is_some() => {}
                Action::Kill => process.kill(),
                Action::Stop(time) => {
                    self.figures.stops += usize::from(process.stop(now + time));
                }
                Action::Reset => {
                    if let Some(relay) = &mut process.relay {
                        relay.reset_all();
                    }
                }
            }
        }
    }

    /// Checks the ledgers against each other.
    fn join(mut self) -> Result<Figures, String> {
        let mut ledgers = Vec::new();
        for (at, process) in self.processes.iter().enumerate() {
            let lines = book::read(&process.ledger)?;
            let survived = lines.last() == Some(&Line::Ended);
            let plan = &self.plan.processes[at];
            let written = lines.len() as u64;
            let killed_itself = plan.last_line.is_some_and(|last| written >= last);
            let left = matches!(plan.ending, Ending::Exit);
            let is_well = survived && process.is_success == Some(true);
            if !is_well && !process.is_killed && !killed_itself && !left {
                return Err(format!("process {at} ended before its time"));
            }
            self.figures.deaths += usize::from(!survived);
            ledgers.push(Ledger { lines, survived });
        }
        let (faults, sums) = checker::check(&ledgers);
        if !faults.is_empty() {
            return Err(tell(&faults, &ledgers));
        }
        self.figures.runs = 1;
        self.figures.processes = self.processes.len();
        self.figures.sums = sums;
        Ok(self.figures)
    }
}

/// The faults, each with the lines that name its message, or its channel.
fn tell(faults: &[checker::Fault], ledgers: &[Ledger]) -> String {
    let mut report = format!("{} faults\n", faults.len());
    for fault in faults.iter().take(10) {
        report += &format!("- {fault}\n");
        let words: Vec<String> = match (fault.identity, fault.channel) {
            (Some(identity), _) => vec![identity.to_string()],
            (None, Some(channel)) => vec![channel.to_string()],
            (None, None) => Vec::new(),
        };
        for (at, ledger) in ledgers.iter().enumerate() {
            let is_there = |line: &&Line| {
                let text = line.to_string();
                let is_event = fault.identity.is_some() || matches!(line, Line::Closed(..));
                is_event
                    && text
                        .split(' ')
                        .any(|word| words.iter().any(|it| it == word))
            };
            for line in ledger.lines.iter().filter(is_there) {
                report += &format!("    process {at}: {line}\n");
            }
        }
    }
    report
}

fn socket_of(address: &Address) -> Option<SocketAddr> {
    address.socket_addr()
}

fn start(seed: u64, at: usize, is_on_uds: bool, ip: [u8; 4], directory: &Path) -> Process {
    let ledger = ledger_of(directory, at);
    let address = match is_on_uds {
        true => Address::uds(directory.join(format!("{at}.socket"))).expect("a path"),
        false => Address::tcp(&SocketAddr::from((ip, 0)).ip().to_string(), 0).expect("an address"),
    };
    let stderr = std::fs::File::create(stderr_of(directory, at)).expect("a file");
    let child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "process_of_a_run", "--nocapture"])
        .env(CHILD, format!("{seed} {at} {address} {}", ledger.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("this program starts again");
    Process {
        child,
        ledger,
        relay: None,
        is_killed: false,
        goes_on_at: None,
        is_success: None,
    }
}

/// What a process of a run does, by what [`start`] told it.
pub(crate) fn be_process(told: &str) {
    let words: Vec<&str> = told.splitn(4, ' ').collect();
    let [seed, at, address, ledger] = words[..] else {
        panic!("{CHILD} is not understood: {told}");
    };
    let seed = seed.parse().expect("a seed");
    let at: usize = at.parse().expect("a number");
    let plan = Plan::new(seed);
    let address = address.parse().expect("an address");
    member::run(plan.processes[at].clone(), at, Path::new(ledger), &address);
}

impl Process {
    fn relay(&mut self, at: usize) -> Result<(), String> {
        let Some(relay) = &mut self.relay else {
            return Ok(());
        };
        relay.tidy();
        let accepted = relay.accept();
        accepted.map_err(|error| format!("the relay to process {at}: {error}"))
    }

    fn kill(&mut self) {
        self.is_killed = true;
        let _ = self.child.kill();
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> bool {
        let id = self.child.id() as i32;
        let id = rustix::process::Pid::from_raw(id).expect("a process has an id");
        // Not waited for yet, so the id is still its own.
        rustix::process::kill_process(id, signal).is_ok()
    }

    /// Whether it was stopped.
    fn stop(&mut self, until: Instant) -> bool {
        #[cfg(unix)]
        {
            self.goes_on_at = Some(until);
            self.signal(rustix::process::Signal::STOP)
        }
        #[cfg(not(unix))]
        {
            let _ = until;
            false
        }
    }

    fn go_on(&mut self) {
        self.goes_on_at = None;
        #[cfg(unix)]
        self.signal(rustix::process::Signal::CONT);
    }
}
