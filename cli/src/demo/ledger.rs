//! The second process of `demo --kill`: answers numbered Requests, and keeps on the disk which have come.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ampe::{Address, Event, Options, Outbox};

use crate::error::Failure;
use crate::output;
use crate::session::Session;

/// How often each number has come: a byte for each, in a file that survives the process.
pub(super) struct Ledger {
    file: File,
    times: Vec<u8>,
}

impl Ledger {
    /// The ledger of so many numbers in this directory, as it is now.
    pub(super) fn open(directory: &Path, numbers: usize) -> io::Result<Ledger> {
        let path = directory.join("ledger");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        let mut times = Vec::new();
        file.read_to_end(&mut times)?;
        times.resize(numbers, 0);
        Ok(Ledger { file, times })
    }

    /// Counts a number. A process that is killed behind this has counted it.
    fn count(&mut self, number: usize) -> io::Result<()> {
        let Some(times) = self.times.get_mut(number) else {
            return Ok(()); // nobody sends such a number
        };
        *times = times.saturating_add(1);
        self.file.seek(SeekFrom::Start(number as u64))?;
        self.file.write_all(&[*times])
    }

    pub(super) fn times(&self, number: usize) -> u8 {
        self.times.get(number).copied().unwrap_or(0)
    }
}

/// Answers until stdin ends.
pub(super) fn serve(directory: &Path, numbers: usize) -> Result<(), Failure> {
    let failure = |error: io::Error| {
        Failure::new(format!(
            "the second process cannot work: {error}: run the demo again"
        ))
    };
    let mut ledger = Ledger::open(directory, numbers).map_err(failure)?;
    let mut session = Session::start(Options::default())?;
    let group = session.group().clone();
    let mut outbox = Outbox::new(group.clone(), usize::MAX);
    let has_ended = Arc::new(AtomicBool::new(false));
    super::receiver::watch_stdin(Arc::clone(&has_ended), group.clone()).map_err(failure)?;
    let tcp = Address::tcp("127.0.0.1", 0);
    let tcp = tcp.map_err(|error| Failure::new(error.to_string()))?;
    group
        .listen(&tcp)
        .map_err(|refused| Failure::new(refused.to_string()))?;
    let mut events = Vec::new();
    while !has_ended.load(Ordering::Relaxed) {
        session.next_many(&mut events, None)?;
        for event in events.drain(..) {
            outbox.observe(&event);
            match event {
                Event::Listening(listening) => output::line(listening.address().to_string())?,
                Event::Hello(hello) => drop(outbox.post(hello.accept(group.message()))),
                Event::Request(request) => {
                    if let Some(number) = number(request.body()) {
                        ledger.count(number).map_err(failure)?;
                    }
                    let _ = outbox.post(request.reply(group.message()));
                }
                _ => {} // a Bye that is dropped is answered
            }
        }
    }
    Ok(())
}

fn number(body: &[u8]) -> Option<usize> {
    let number = u64::from_le_bytes(body.try_into().ok()?);
    usize::try_from(number).ok()
}
