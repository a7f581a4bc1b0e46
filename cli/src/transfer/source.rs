//! The content of a file on its way out: read, hashed and posted on a thread of its own, so that
//! the thread that receives answers never waits for a disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::thread::{self, JoinHandle};

use ampe::{Channel, ChannelGroup, Post, PostError};
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};

use super::BODY_LEN;
use super::digest::Digest;
use super::protocol::Demand;

/// Messages posted under one lock.
const BATCH: usize = 8;

/// What is to be sent, and where.
pub(crate) struct Job {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) group: ChannelGroup,
    pub(crate) channel: Channel,
    /// The id of the offer, which all messages of the file carry.
    pub(crate) id: u64,
    pub(crate) bar: ProgressBar,
}

/// The thread that sends a file's content, and then asks for it to be stored.
pub(crate) struct Source {
    thread: JoinHandle<Result<Digest, Stopped>>,
    room: mpsc::Sender<()>,
    posted: Arc<AtomicU64>,
}

/// Why not all was sent.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The file could not be read to its end: why, and what to do. The receiver was told.
    Unreadable(String),
    /// The channel ended, or [`Source::finish`] was called before all was sent.
    NotWanted,
}

impl Source {
    pub(crate) fn spawn(job: Job) -> io::Result<Source> {
        let (room, room_told) = mpsc::channel();
        let posted = Arc::new(AtomicU64::new(0));
        let sending = Sending {
            job,
            room: room_told,
            posted: Arc::clone(&posted),
            batch: VecDeque::with_capacity(BATCH),
        };
        let thread = thread::Builder::new()
            .name("ampe-source".to_owned())
            .spawn(move || sending.run())?;
        Ok(Source {
            thread,
            room,
            posted,
        })
    }

    /// Passes on that the channel has room again.
    pub(crate) fn room(&self) {
        // A thread that has ended needs none.
        let _ = self.room.send(());
    }

    /// Bytes posted so far.
    pub(crate) fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// Stops if it has not ended yet, and returns the hash of what was sent.
    pub(crate) fn finish(self) -> Result<Digest, Stopped> {
        drop(self.room);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct Sending {
    job: Job,
    room: mpsc::Receiver<()>,
    posted: Arc<AtomicU64>,
    batch: VecDeque<Post>,
}

impl Sending {
    fn run(mut self) -> Result<Digest, Stopped> {
        let sha256 = match self.send_content() {
            Ok(sha256) => sha256,
            Err(Stopped::Unreadable(reason)) => {
                self.demand(&Demand::Cancel {
                    reason: reason.clone(),
                })?;
                return Err(Stopped::Unreadable(reason));
            }
            Err(stopped) => return Err(stopped),
        };
        self.demand(&Demand::Store { sha256 })?;
        Ok(sha256)
    }

    fn send_content(&mut self) -> Result<Digest, Stopped> {
        let mut hasher = Sha256::new();
        let mut left = self.job.size;
        while left > 0 {
            let len = usize::try_from(left).map_or(BODY_LEN, |left| left.min(BODY_LEN));
            let mut message = self.job.group.message();
            // Every byte is read, or the message is dropped.
            let body = message
                .resize_body_dirty(len)
                .expect("our bodies are shorter than the longest");
            self.job.file.read_exact(body).map_err(unreadable)?;
            hasher.update(&*body);
            left -= len as u64;
            let content = message.signal(self.job.channel).with_id(self.job.id);
            self.batch.push_back(content.more());
            if self.batch.len() >= BATCH || left == 0 {
                self.post_batch()?;
                self.count(self.job.size - left);
            }
        }
        Ok(Digest::of_hasher(hasher))
    }

    fn count(&self, posted: u64) {
        self.posted.store(posted, Ordering::Relaxed);
        self.job.bar.set_position(posted);
    }

    fn demand(&mut self, demand: &Demand) -> Result<(), Stopped> {
        let message = demand.write(self.job.group.message());
        let request = message.request(self.job.channel).with_id(self.job.id);
        self.batch.push_back(request);
        self.post_batch()
    }

    fn post_batch(&mut self) -> Result<(), Stopped> {
        let mut posted = Vec::with_capacity(self.batch.len());
        loop {
            if self.room.try_recv() == Err(TryRecvError::Disconnected) {
                self.batch.clear();
                return Err(Stopped::NotWanted);
            }
            match self.job.group.post_many(&mut self.batch, &mut posted) {
                Ok(()) => return Ok(()),
                Err(PostError::Full(_)) => self.room.recv().map_err(|_| Stopped::NotWanted)?,
                // The channel has ended; its `Closed` says why.
                Err(_) => return Err(Stopped::NotWanted),
            }
        }
    }
}

fn unreadable(error: io::Error) -> Stopped {
    Stopped::Unreadable(match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the file became shorter while it was sent: send it again when nothing writes to it"
                .to_owned()
        }
        _ => format!("the file cannot be read to its end: {error}: see whether its disk is sound"),
    })
}
