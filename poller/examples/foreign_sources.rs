//! Sources that are not this crate's: a datagram socket of the standard library on every system, and on Linux a
//! timer and a process that ends, which have descriptors there.
//!
//!     cargo run -p ampe-poller --example foreign_sources

use std::io;
use std::net::UdpSocket;

use ampe_poller::{Events, Interest, Poller};

/// Whatever has a descriptor, or on Windows a socket, is a source; and so is an enum of such.
enum Source {
    Datagrams(UdpSocket),
    #[cfg(target_os = "linux")]
    Timer(std::os::fd::OwnedFd),
    #[cfg(target_os = "linux")]
    Process(std::os::fd::OwnedFd),
}

#[cfg(unix)]
impl std::os::fd::AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Source::Datagrams(socket) => socket.as_fd(),
            #[cfg(target_os = "linux")]
            Source::Timer(descriptor) | Source::Process(descriptor) => descriptor.as_fd(),
        }
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Source {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        match self {
            Source::Datagrams(socket) => socket.as_socket(),
        }
    }
}

/// A timer that runs out in 50 milliseconds, and a process that ends soon.
#[cfg(target_os = "linux")]
fn of_linux() -> io::Result<[(Source, &'static str); 2]> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let setting = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
    let child = std::process::Command::new("true").spawn()?;
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    Ok([
        (Source::Timer(timer), "a timer"),
        (Source::Process(process), "a process"),
    ])
}

/// Says what a source had to tell.
fn hear(source: &Source) -> io::Result<String> {
    match source {
        Source::Datagrams(socket) => {
            let mut datagram = [0; 64];
            let (length, sender) = socket.recv_from(&mut datagram)?;
            let text = String::from_utf8_lossy(&datagram[..length]);
            Ok(format!("{text:?} of port {}", sender.port()))
        }
        #[cfg(target_os = "linux")]
        Source::Timer(timer) => {
            let mut count = [0; 8];
            rustix::io::read(timer, &mut count)?;
            Ok(format!("it ran out {} times", u64::from_ne_bytes(count)))
        }
        #[cfg(target_os = "linux")]
        Source::Process(process) => {
            use rustix::process::{WaitId, WaitIdOptions, waitid};
            let status = waitid(
                WaitId::PidFd(std::os::fd::AsFd::as_fd(process)),
                WaitIdOptions::EXITED,
            )?;
            let code = status.and_then(|status| status.exit_status());
            Ok(format!("it ended with {code:?}"))
        }
    }
}

/// Hears each source once.
pub(crate) fn main() -> io::Result<()> {
    let mut poller: Poller<Source, &str> = Poller::with_data()?;
    let mut events = Events::with_capacity(8);

    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", socket.local_addr()?)?;
    let mut sources = vec![(Source::Datagrams(socket), "a datagram socket")];
    #[cfg(target_os = "linux")]
    sources.extend(of_linux()?);
    for (source, name) in sources.drain(..) {
        let key = poller.insert_with(source, name)?;
        poller.set_interest(key, Interest::READABLE);
    }

    while !poller.is_empty() {
        poller.wait(&mut events, None)?;
        while let Some(event) = poller.next_event(&mut events) {
            if let Some(error) = event.error() {
                return Err(error); // the system refuses to poll this one
            }
            let key = event.key();
            let (Some(source), Some(name)) = (poller.get(key), poller.data(key)) else {
                continue;
            };
            match hear(source) {
                Ok(text) => println!("{name}: {text}"),
                // A report is a hint.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            poller.close(key);
        }
    }
    Ok(())
}
