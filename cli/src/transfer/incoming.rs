//! A file on its way in: where its content goes, and how far it has come.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ampe::Message;
use sha2::{Digest as _, Sha256};

use super::BODY_LEN;
use super::connection::{Came, Target};
use super::conversation::write_stdout;
use super::digest::{Digest, DigestThread};
use super::directory::{Begun, Existing, Offered, Partial};
use super::protocol::Attributes;
use crate::progress::FileBar;

/// After how much more of a file, and not sooner than after this time, the sender is told how far it has
/// come: what is on its way to us may be more than its system still shows it.
const PROGRESS: u64 = 4 * BODY_LEN as u64;
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Messages whose content is written and hashed together, at most: a file system takes half a MiB at once
/// with less work than eight pieces of it.
const BATCH: usize = 8;

/// Where the content of a file goes.
pub(super) enum Place {
    Partial(Partial),
    /// It is here already, perhaps.
    Existing(Existing),
    Stdout,
}

impl Place {
    /// Where a file goes, and how much of it is here already.
    pub(super) fn begin(
        target: &Target,
        path: &[u8],
        size: Option<u64>,
        attributes: Attributes,
    ) -> Result<(Place, u64), String> {
        match target {
            Target::Directory(directory) => {
                match directory.begin(path, Offered { size, attributes })? {
                    Begun::Partial(partial, from) => Ok((Place::Partial(partial), from)),
                    Begun::Existing(existing) => {
                        let size = existing.size;
                        Ok((Place::Existing(existing), size))
                    }
                }
            }
            Target::Stdout(is_taken) => match is_taken.swap(true, Ordering::Relaxed) {
                false => Ok((Place::Stdout, 0)),
                true => Err(
                    "this receiver writes one file to its stdout, and has had it: start \
                             another"
                        .to_owned(),
                ),
            },
        }
    }

    fn reader(&self) -> io::Result<Box<dyn Read>> {
        match self {
            Place::Partial(partial) => Ok(Box::new(partial.reader()?)),
            Place::Existing(existing) => Ok(Box::new(existing.reader()?)),
            Place::Stdout => Ok(Box::new(io::empty())),
        }
    }

    /// Content is to come from here on.
    fn go_on(&mut self, from: u64) -> Result<(), String> {
        match self {
            Place::Partial(partial) => partial.go_on(from),
            Place::Existing(existing) if from != existing.size => Err(
                "another file of this name and length exists: rename one of them, or receive with \
                 --overwrite"
                    .to_owned(),
            ),
            Place::Existing(_) | Place::Stdout => Ok(()),
        }
    }
}

/// A file being received.
pub(super) struct Incoming {
    id: u64,
    path: Vec<u8>,
    size: Option<u64>,
    received: u64,
    /// Content that came and is not written yet: of as many bytes as `received` has more than `written`.
    waiting: Vec<Message>,
    written: u64,
    /// How much is here that the sender may prove to be the beginning of its file.
    offered: Option<u64>,
    resumed: u64,
    place: Place,
    digest: DigestThread,
    bar: FileBar,
    started: Instant,
    /// How much the sender was told of last, and when.
    told: (u64, Instant),
}

impl Incoming {
    pub(super) fn new(
        id: u64,
        path: Vec<u8>,
        size: Option<u64>,
        place: Place,
        from: u64,
        bar: FileBar,
    ) -> Result<Incoming, String> {
        let started = Instant::now();
        Ok(Incoming {
            id,
            path,
            size,
            received: 0,
            waiting: Vec::with_capacity(BATCH),
            written: 0,
            offered: (from > 0).then_some(from),
            resumed: 0,
            place,
            digest: digest(Sha256::new())?,
            bar,
            started,
            told: (0, started),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(super) fn came(&self) -> Came {
        Came {
            received: self.written,
            size: self.size,
        }
    }

    pub(super) fn resumed(&self) -> u64 {
        self.resumed
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// How much is here that the sender may go on behind.
    pub(super) fn may_resume(&self) -> Option<u64> {
        self.offered
    }

    /// Where content is to come from: behind what is here, if that is what the sender has hashed, and
    /// else from the beginning. `tell` is told how much was looked at, now and then.
    pub(super) fn resume(
        &mut self,
        theirs: Digest,
        tell: &mut dyn FnMut(u64),
    ) -> Result<u64, String> {
        let Some(from) = self.offered.take() else {
            return Ok(self.received);
        };
        let hashed = self.hash_what_is_here(from, tell);
        // What cannot be read is not gone on with.
        let ours = hashed
            .ok()
            .filter(|hasher| Digest::of_hasher(hasher.clone()) == theirs);
        let Some(hasher) = ours else {
            self.place.go_on(0)?;
            return Ok(0);
        };
        self.place.go_on(from)?;
        self.digest = digest(hasher)?;
        self.received = from;
        self.written = from;
        self.resumed = from;
        self.told = (from, Instant::now());
        self.bar.set_position(from);
        Ok(from)
    }

    fn hash_what_is_here(&self, from: u64, tell: &mut dyn FnMut(u64)) -> io::Result<Sha256> {
        let mut reader = self.place.reader()?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 4 * BODY_LEN];
        let (mut at, mut told) = (0, Instant::now());
        while at < from {
            let left = usize::try_from(from - at).unwrap_or(usize::MAX);
            let len = left.min(buffer.len());
            let part = &mut buffer[..len];
            reader.read_exact(part)?;
            hasher.update(&*part);
            at += part.len() as u64;
            if told.elapsed() >= PROGRESS_PAUSE {
                told = Instant::now();
                tell(at);
            }
        }
        Ok(hasher)
    }

    /// How much there is, if the sender is to be told.
    pub(super) fn progress(&mut self) -> Option<u64> {
        let (told, when) = self.told;
        if self.written - told < PROGRESS || when.elapsed() < PROGRESS_PAUSE {
            return None;
        }
        self.told = (self.written, Instant::now());
        Some(self.written)
    }

    /// Takes content, which is written at the latest by the next [`flush`](Incoming::flush).
    pub(super) fn write(&mut self, content: Message) -> Result<(), String> {
        // A sender that does not go on with what is here begins anew.
        if self.offered.take().is_some() {
            self.place.go_on(0)?;
        }
        let len = content.body().len() as u64;
        if self.size.is_some_and(|size| len > size - self.received) {
            return Err("the sender sent more than it announced: send it again".to_owned());
        }
        self.received += len;
        self.waiting.push(content);
        match self.waiting.len() >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes what waits, and has it hashed. To be called before more is waited for, which may need the
    /// budget that it is charged to.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        match &mut self.place {
            Place::Partial(partial) => {
                let bodies: Vec<&[u8]> = self.waiting.iter().map(Message::body).collect();
                partial.write(&bodies)?;
            }
            Place::Existing(existing) if self.received > self.written => {
                let path = existing.path.display();
                return Err(format!("{} exists: rename it", crate::output::shown(path)));
            }
            Place::Existing(_) => {}
            Place::Stdout => {
                for content in &self.waiting {
                    write_stdout(content.body())?;
                }
            }
        }
        self.written = self.received;
        self.bar.set_position(self.written);
        let waiting = std::mem::replace(&mut self.waiting, Vec::with_capacity(BATCH));
        self.digest.update(waiting);
        Ok(())
    }

    /// Stores what was written, if it is what the sender announced; where it is.
    pub(super) fn store(
        self,
        size: Option<u64>,
        announced: Digest,
    ) -> Result<Option<PathBuf>, String> {
        let received = self.received;
        let sha256 = self.digest.finish();
        for size in [self.size, size].into_iter().flatten() {
            if received != size {
                return Err(format!(
                    "only {received} of {size} bytes arrived: send it again"
                ));
            }
        }
        if sha256 != announced {
            return Err("it arrived damaged: send it again".to_owned());
        }
        match self.place {
            Place::Partial(partial) => partial.store().map(Some),
            Place::Existing(existing) => Ok(Some(existing.path)),
            Place::Stdout => Ok(None),
        }
    }

    /// Leaves what is here for the sender to go on with. Whether anything is.
    pub(super) fn leave(self) -> bool {
        match self.place {
            Place::Partial(partial) => partial.leave(),
            Place::Existing(_) | Place::Stdout => false,
        }
    }
}

fn digest(hasher: Sha256) -> Result<DigestThread, String> {
    DigestThread::spawn(hasher)
        .map_err(|error| format!("no thread can be started: {error}: try again"))
}
