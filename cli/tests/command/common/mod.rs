//! The command as a process, and peers made by hand.

pub(crate) mod peer;
pub(crate) mod receiving;
#[cfg(unix)] // elsewhere none can be made
pub(crate) mod small_disk;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// No test needs nearly as long; one that hangs fails by it.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// The length of a file that takes longer to send than any test does. So much has to be free.
pub(crate) const ENDLESS: u64 = 4 << 30;

/// A running `ampe`. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
    seen: Vec<String>,
}

/// How an `ampe` ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

/// Which of two processes was killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Killed {
    Receiver,
    Sender,
}

/// Starts `ampe` with these arguments.
pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Running {
    start_with(arguments, |_| {})
}

/// As [`start`], with a change to the command.
pub(crate) fn start_with<S: AsRef<std::ffi::OsStr>>(
    arguments: &[S],
    change: impl FnOnce(&mut Command),
) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ampe"));
    command.args(arguments);
    start_command(command, change)
}

/// Starts `ampe` in a shell, after what `prelude` does there.
#[cfg(unix)]
pub(crate) fn start_after(prelude: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new("sh");
    let script = format!("{prelude}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ampe")]);
    command.args(arguments);
    start_command(command, |_| {})
}

pub(crate) fn start_command(mut command: Command, change: impl FnOnce(&mut Command)) -> Running {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A process group of its own, since that is what can be interrupted.
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(
        &mut command,
        windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP,
    );
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut stderr = child.stderr.take().unwrap();
    let (sender, stderr_text) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    Running {
        child,
        lines,
        stderr: stderr_text,
        seen: Vec::new(),
    }
}

/// Runs `ampe` to its end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Finished {
    start(arguments).finish()
}

impl Running {
    /// The next line on stdout.
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(_) => {
                let _ = self.child.kill();
                let stderr = self.stderr();
                panic!("no line on stdout; stderr: {stderr}");
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its stdin, if that is a pipe: closed when this is dropped.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child
            .stdin
            .take()
            .expect("stdin is a pipe, taken once")
    }

    /// Whether it has ended.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it, unless it has ended.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Interrupts it as a user would, unless that cannot be done here.
    #[must_use]
    pub(crate) fn interrupt(&self) -> bool {
        interrupt(self.id())
    }

    /// Ends it without giving it a chance to do anything about that.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let finished = self.finish();
        // Windows gives the code that was asked for, Unix none.
        let expected = if cfg!(unix) { None } else { Some(1) };
        assert_eq!(finished.code, expected, "{finished:?}");
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for the end.
    pub(crate) fn finish(self) -> Finished {
        self.finish_before(Instant::now() + WATCHDOG)
    }

    fn finish_before(mut self, deadline: Instant) -> Finished {
        let code = self.wait(deadline);
        let stderr = self.stderr();
        let mut stdout = std::mem::take(&mut self.seen);
        stdout.extend(self.lines.iter());
        Finished {
            code,
            stdout,
            stderr,
        }
    }

    /// As [`finish`](Running::finish), where the process at the other end of the connection to `address`
    /// was killed. `None` if Wine has kept that process's socket, so that nobody can notice: this is
    /// said, and counted as skipped.
    #[must_use]
    pub(crate) fn finish_alone(mut self, address: &str, killed: Killed) -> Option<Finished> {
        let start = Instant::now();
        let has_ended = self.ends_before(start + WATCHDOG / 6);
        if !has_ended && ampe::platform::is_wine() && wine_keeps(address, killed) {
            skip("a killed process: Wine has kept its socket");
            return None;
        }
        // Sooner than it would give up a peer that says nothing: it has to notice the end.
        Some(self.finish_before(start + WATCHDOG / 2))
    }

    /// All of stderr, once it has ended: in processes started by this one, too.
    fn stderr(&self) -> String {
        let text = self.stderr.recv_timeout(WATCHDOG);
        text.expect("nobody holds stderr open after the end")
    }

    fn wait(&mut self, deadline: Instant) -> Option<i32> {
        if !self.ends_before(deadline) {
            let _ = self.child.kill();
            let stderr = self.stderr();
            panic!("it did not end; stderr: {stderr}");
        }
        self.child.wait().unwrap().code()
    }

    fn ends_before(&mut self, deadline: Instant) -> bool {
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Asserts the exit code, and that stderr is one line which holds all of `parts`.
    #[track_caller]
    pub(crate) fn assert_fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
        if code == 1 {
            assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
            assert!(self.stderr.starts_with("ampe: "), "{self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }

    /// Asserts exit code 1 and a line on stderr, perhaps among others, that holds all of `parts`.
    #[track_caller]
    pub(crate) fn assert_fails_among(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        let says = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(self.stderr.lines().any(says), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn assert_succeeds(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}

/// Says why a test cannot run here, past the capture of the test runner.
pub(crate) fn skip(reason: &str) {
    use std::io::Write;
    // In one piece: other tests write at the same time.
    let line = format!("\nskipped: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether this system has Unix sockets. If not, says what is skipped.
pub(crate) fn has_unix_sockets() -> bool {
    let has_them = ampe::platform::has_unix_sockets();
    if !has_them {
        skip("Unix sockets: this system has none");
    }
    has_them
}

/// Whether Wine's server keeps the killed end of a connection to this address open. Its processes'
/// sockets are Linux's, whose table says so.
fn wine_keeps(address: &str, killed: Killed) -> bool {
    let Some(port) = address.strip_prefix("tcp://127.0.0.1:") else {
        return false;
    };
    let address = format!("0100007F:{:04X}", port.parse::<u16>().unwrap());
    let table = fs::read_to_string(r"Z:\proc\net\tcp").unwrap();
    let established = "01";
    table.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let end = match killed {
            Killed::Receiver => words[1],
            Killed::Sender => words[2],
        };
        words[3] == established && end == address
    })
}

/// The system's words for an error of this code, as they are told.
pub(crate) fn os_text(code: i32) -> String {
    std::io::Error::from_raw_os_error(code).to_string()
}

#[cfg(unix)]
fn interrupt(id: u32) -> bool {
    // Whoever runs the tests in the background has this one ignored.
    let is_ignored = ignored_signals(id) & 0b10 != 0;
    signal(id, if is_ignored { "TERM" } else { "INT" });
    true
}

/// The signals that a process ignores: a bit for each, the lowest for number 1.
#[cfg(unix)]
pub(crate) fn ignored_signals(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap())
}

#[cfg(windows)]
fn interrupt(group: u32) -> bool {
    use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
    // SAFETY: nothing is pointed to.
    let done = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) };
    if done == 0 {
        let error = std::io::Error::last_os_error();
        skip(&format!(
            "an interruption: there is no console here ({error})"
        ));
    }
    done != 0
}

#[cfg(unix)]
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &id.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// The states of a process's threads of this name: `S` for each that waits for something.
#[cfg(target_os = "linux")]
pub(crate) fn states(id: u32, name: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    // One may have ended meanwhile.
    let stats =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let of_name = stats.filter(|stat| stat.contains(&format!("({name}) ")));
    let state = |stat: String| stat.rsplit(") ").next().unwrap()[..1].to_owned();
    of_name.map(state).collect()
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A directory with a directory `out` in it, removed on drop.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::Builder::new()
            .prefix("ampe-test-")
            .tempdir()
            .unwrap();
        fs::create_dir(directory.path().join("out")).unwrap();
        Place { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    pub(crate) fn out_entries(&self) -> Vec<String> {
        entries(&self.out())
    }

    /// A file with content that repeats nowhere near.
    pub(crate) fn file(&self, name: &str, len: usize) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content(len)).unwrap();
        path
    }

    /// A file that takes longer to send than any test does, and no room on the disk.
    pub(crate) fn endless_file(&self) -> PathBuf {
        let path = self.path().join("endless");
        File::create(&path).unwrap().set_len(ENDLESS).unwrap();
        path
    }

    /// The address of a Unix socket here.
    pub(crate) fn uds(&self, name: &str) -> String {
        format!("uds://{}", self.path().join(name).display())
    }

    /// A receiver into `out`, and the address that it printed.
    pub(crate) fn receiver(&self, listen: &str, options: &[&str]) -> (Running, String) {
        self.started(listen, options, |arguments| start(arguments))
    }

    /// As [`receiver`](Place::receiver), over TCP, which prints JSON.
    pub(crate) fn receiver_in_json(&self, options: &[&str]) -> (Running, String) {
        let out = self.out();
        let listen = ["recv", "--json", "--listen", "tcp://127.0.0.1:0", "--out"];
        let arguments = [&listen[..], &[out.to_str().unwrap()], options].concat();
        let mut receiver = start(&arguments);
        let line: serde_json::Value = serde_json::from_str(&receiver.line()).unwrap();
        let address = line["address"].as_str().unwrap().to_owned();
        (receiver, address)
    }

    /// As [`receiver`](Place::receiver), in a shell after what `prelude` does there.
    #[cfg(unix)]
    pub(crate) fn receiver_after(&self, prelude: &str, options: &[&str]) -> (Running, String) {
        let start = |arguments: &[&str]| start_after(prelude, arguments);
        self.started("tcp://127.0.0.1:0", options, start)
    }

    fn started(
        &self,
        listen: &str,
        options: &[&str],
        start: impl FnOnce(&[&str]) -> Running,
    ) -> (Running, String) {
        let out = self.out();
        let mut arguments = vec!["recv", "--listen", listen, "--out", out.to_str().unwrap()];
        arguments.extend(options);
        let mut receiver = start(&arguments);
        let address = pasted(&receiver.line());
        (receiver, address)
    }
}

/// The address in the line that a receiver prints.
pub(crate) fn pasted(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[..3], ["ampe", "send", "--to"]);
    assert_eq!(words[4..], ["FILE"]);
    words[3].trim_matches('\'').to_owned()
}

pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub(crate) fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether an unfinished file with some content is there.
pub(crate) fn has_partial(path: &Path) -> bool {
    fs::read_dir(path).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        name.starts_with(".ampe-partial-") && entry.metadata().is_ok_and(|found| found.len() > 0)
    })
}

/// Whether there is nothing but, perhaps, what is kept to go on with.
pub(crate) fn has_no_file(path: &Path) -> bool {
    let names = entries(path);
    names.iter().all(|name| name.starts_with(".ampe-partial-"))
}

/// Runs a test on each transport that this system has, with a place of its own and an address to
/// listen on.
pub(crate) fn on_each_transport(test: impl Fn(&Place, &str)) {
    test(&Place::new(), "tcp://127.0.0.1:0");
    if has_unix_sockets() {
        let place = Place::new();
        test(&place, &place.uds("socket"));
    }
}

/// The SHA-256 of a file, by a library where there is no program for it.
/// An `ampe echo` that listens there, and at which address.
pub(crate) fn echo(listen: &str, more: &[&str]) -> (Running, String) {
    let mut echo = start(&[&["echo", "--listen", listen], more].concat());
    let address = echo.line();
    (echo, address)
}

/// An address where nobody listens, for as long as the socket lives that keeps it from others.
pub(crate) fn nobody() -> (socket2::Socket, SocketAddr) {
    let keeper = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    keeper.bind(&any.into()).unwrap();
    let address = keeper.local_addr().unwrap().as_socket().unwrap();
    (keeper, address)
}

/// The address of a program that does this with each connection.
pub(crate) fn stranger(scheme: &str, mut serve: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("{scheme}://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap());
        }
    });
    address
}

#[cfg(not(unix))]
pub(crate) fn sha256(path: &Path) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file, by a program of its own.
#[cfg(unix)]
pub(crate) fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}
