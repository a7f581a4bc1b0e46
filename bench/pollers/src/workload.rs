//! The work. All of it begins with some rounds that are not measured.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Ready, Wanted};

const MESSAGE: [u8; 64] = [7; 64];
/// More than a message, so that one read shows that there is no more.
const BUFFER: usize = 256;
const WARM_UP: u32 = 20;
/// After which a thread that was about to sleep does so.
const TO_FALL_ASLEEP: Duration = Duration::from_millis(2);

pub struct Outcome {
    pub events: u64,
    pub seconds: f64,
}

/// Where the measured part begins and ends, between the lines of a trace on standard error.
fn mark(has_marks: bool, name: &str) {
    if has_marks {
        let line = format!("pollers: {name}\n");
        // Whoever counts sees that it is missing.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// A stream to poll, and its blocking peer.
fn pairs(count: usize) -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let pair = |_| {
        let peer = TcpStream::connect(address)?;
        let (ours, _) = listener.accept()?;
        ours.set_nonblocking(true)?;
        ours.set_nodelay(true)?;
        peer.set_nodelay(true)?;
        Ok((ours, peer))
    };
    (0..count).map(pair).collect()
}

/// How many seconds so many rounds take, after some that are not measured.
fn measure(
    rounds: u32,
    has_marks: bool,
    mut round: impl FnMut() -> io::Result<()>,
) -> io::Result<f64> {
    for _ in 0..WARM_UP {
        round()?;
    }
    mark(has_marks, "begin");
    let start = Instant::now();
    for _ in 0..rounds {
        round()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    mark(has_marks, "end");
    Ok(seconds)
}

/// `active` of `count` sockets get a message each round, and are read as they are reported.
pub fn busy<C: Contestant>(
    count: usize,
    active: usize,
    rounds: u32,
    has_marks: bool,
) -> io::Result<Outcome> {
    let mut poller = C::new()?;
    let mut peers = Vec::with_capacity(count);
    for (ours, peer) in pairs(count)? {
        poller.add(ours, Wanted::Reading)?;
        peers.push(peer);
    }
    let mut ready = Vec::new();
    let round = || -> io::Result<()> {
        for peer in peers.iter_mut().step_by(count / active) {
            peer.write_all(&MESSAGE)?;
        }
        read_all(&mut poller, &mut ready, active * MESSAGE.len())
    };
    let seconds = measure(rounds, has_marks, round)?;
    let events = u64::from(rounds) * active as u64;
    Ok(Outcome { events, seconds })
}

/// Waits and reads until so much has come.
fn read_all<C: Contestant>(
    poller: &mut C,
    ready: &mut Vec<Ready<C::Id>>,
    length: usize,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let mut left = length;
    while left > 0 {
        poller.wait(ready, None)?;
        for Ready { id, .. } in ready.drain(..) {
            left -= poller.read(id, &mut buffer)?;
        }
    }
    Ok(())
}

/// The message comes from another thread, when the poller sleeps.
pub fn late<C: Contestant>(rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    let mut poller = C::new()?;
    let mut ready = Vec::new();
    let mut helper = None;
    for (ours, mut peer) in pairs(1)? {
        poller.add(ours, Wanted::Reading)?;
        helper = Some(Helper::start(Some(TO_FALL_ASLEEP), move || {
            peer.write_all(&MESSAGE)
        }));
    }
    let helper = helper.ok_or(io::ErrorKind::NotConnected)?;
    let mut seconds = 0.0;
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            mark(has_marks, "begin");
            seconds = 0.0;
        }
        helper.ask()?;
        read_all(&mut poller, &mut ready, MESSAGE.len())?;
        let end = Instant::now();
        let (start, _) = helper.answer()?;
        seconds += (end - start).as_secs_f64();
    }
    mark(has_marks, "end");
    let events = u64::from(rounds);
    Ok(Outcome { events, seconds })
}

/// One round reads a message and answers it, each when the poller says that it may.
pub fn flip<C: Contestant>(rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    let mut poller = C::new()?;
    let Some((ours, mut peer)) = pairs(1)?.pop() else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let id = poller.add(ours, Wanted::Reading)?;
    let mut ready = Vec::new();
    let round = || -> io::Result<()> {
        peer.write_all(&MESSAGE)?;
        read_all(&mut poller, &mut ready, MESSAGE.len())?;
        poller.want(id, Wanted::Writing)?;
        let mut may_write = false;
        while !may_write {
            poller.wait(&mut ready, None)?;
            may_write = ready.drain(..).any(|it| it.for_what == Wanted::Writing);
        }
        poller.write(id, &MESSAGE)?;
        poller.want(id, Wanted::Reading)?;
        let mut answer = MESSAGE;
        peer.read_exact(&mut answer)
    };
    let seconds = measure(rounds, has_marks, round)?;
    let events = 2 * u64::from(rounds);
    Ok(Outcome { events, seconds })
}

/// What is measured of a wake of a sleeping poller is the time until its wait is over; of one that
/// is awake, the wake and the wait that reports it.
pub fn wake<C: Contestant>(is_asleep: bool, rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    let mut poller = C::new()?;
    let mut ready = Vec::new();
    let waker = poller.waker()?;
    let helper = Helper::start(is_asleep.then_some(TO_FALL_ASLEEP), waker);
    let mut seconds = 0.0;
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            mark(has_marks, "begin");
            seconds = 0.0;
        }
        helper.ask()?;
        if is_asleep {
            while !poller.wait(&mut ready, None)? {}
            let end = Instant::now();
            seconds += (end - helper.answer()?.0).as_secs_f64();
        } else {
            let (_, wake) = helper.answer()?;
            let start = Instant::now();
            while !poller.wait(&mut ready, None)? {}
            seconds += (start.elapsed() + wake).as_secs_f64();
        }
    }
    mark(has_marks, "end");
    let events = u64::from(rounds);
    Ok(Outcome { events, seconds })
}

/// Sources are taken in, polled by one wait that finds nothing, and closed, one after the other,
/// beside others that rest.
pub fn register<C: Contestant>(rounds: u32, has_marks: bool) -> io::Result<Outcome> {
    let mut poller = C::new()?;
    let mut ready = Vec::new();
    let mut peers = Vec::new();
    let mut sources = Vec::new();
    for (ours, peer) in pairs(100 + (WARM_UP + rounds) as usize)? {
        peers.push(peer);
        sources.push(ours);
    }
    for idle in sources.split_off((WARM_UP + rounds) as usize) {
        poller.add(idle, Wanted::Reading)?;
    }
    let mut start = Instant::now();
    for (round, source) in (0..).zip(sources) {
        if round == WARM_UP {
            mark(has_marks, "begin");
            start = Instant::now();
        }
        let id = poller.add(source, Wanted::Reading)?;
        poller.wait(&mut ready, Some(Duration::ZERO))?;
        poller.close(id)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    mark(has_marks, "end");
    let events = u64::from(rounds);
    Ok(Outcome { events, seconds })
}

/// A thread that does something when asked to, and says when it began and how long it took.
struct Helper {
    asks: Sender<()>,
    answers: Receiver<(Instant, Duration)>,
}

impl Helper {
    fn start(
        delay: Option<Duration>,
        mut action: impl FnMut() -> io::Result<()> + Send + 'static,
    ) -> Helper {
        let (asks, asked) = channel::<()>();
        let (said, answers) = channel();
        thread::spawn(move || {
            for () in asked {
                if let Some(delay) = delay {
                    thread::sleep(delay);
                }
                let start = Instant::now();
                // Without an answer the other side sees that this has ended.
                if action().is_err() || said.send((start, start.elapsed())).is_err() {
                    return;
                }
            }
        });
        Helper { asks, answers }
    }

    fn ask(&self) -> io::Result<()> {
        self.asks.send(()).map_err(|_| ended())
    }

    fn answer(&self) -> io::Result<(Instant, Duration)> {
        self.answers.recv().map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("the helping thread has ended")
}
