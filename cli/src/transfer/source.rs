//! The content of a file on its way out: read, hashed and posted on a thread of its own, so that
//! the thread that receives answers never waits for a disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use ampe::{Channel, ChannelGroup, Post, PostError};
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};

use super::BODY_LEN;
use super::digest::Digest;
use super::outgoing::Content;
use super::protocol::Demand;
use crate::aside::Aside;
use crate::error::Failure;

/// Messages posted under one lock.
const BATCH: usize = 8;

/// What is to be sent, and where.
pub(crate) struct Job {
    pub(crate) content: Content,
    pub(crate) group: ChannelGroup,
    pub(crate) channel: Channel,
    /// The id of the offer, which all messages of the file carry.
    pub(crate) id: u64,
    pub(crate) bar: ProgressBar,
}

/// The thread that sends a file's content, and then asks for it to be stored. Dropped, it sends
/// nothing more; where it hangs in its disk, it is left behind.
pub(crate) struct Source {
    thread: Aside<Result<Digest, Stopped>>,
    room: mpsc::Sender<()>,
    posted: Arc<AtomicU64>,
    is_reading: Arc<AtomicBool>,
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
        let is_reading = Arc::new(AtomicBool::new(false));
        let sending = Sending {
            job,
            room: room_told,
            posted: Arc::clone(&posted),
            is_reading: Arc::clone(&is_reading),
            batch: VecDeque::with_capacity(BATCH),
        };
        let thread = Aside::spawn("ampe-source", move || sending.run())?;
        Ok(Source {
            thread,
            room,
            posted,
            is_reading,
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

    /// Whether it waits for its disk.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Relaxed)
    }

    /// Stops if it has not ended yet, and returns the hash of what was sent. One that hangs for as
    /// long as `limit` is left behind.
    pub(crate) fn finish(self, limit: Duration) -> Result<Result<Digest, Stopped>, Failure> {
        drop(self.room);
        let ended = self.thread.wait(limit)?;
        Ok(ended.unwrap_or(Err(Stopped::NotWanted)))
    }
}

struct Sending {
    job: Job,
    room: mpsc::Receiver<()>,
    posted: Arc<AtomicU64>,
    is_reading: Arc<AtomicBool>,
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
        let size = self.job.content.size();
        let mut done = 0;
        while done < size {
            let left = size - done;
            let len = usize::try_from(left).map_or(BODY_LEN, |left| left.min(BODY_LEN));
            let mut message = self.job.group.message();
            // Every byte is read, or the message is dropped.
            let body = message
                .resize_body_dirty(len)
                .expect("our bodies are shorter than the longest");
            self.read(|content| content.read(done, body))?;
            hasher.update(&*body);
            done += len as u64;
            let content = message.signal(self.job.channel).with_id(self.job.id);
            self.batch.push_back(content.more());
            if self.batch.len() >= BATCH || done == size {
                self.post_batch()?;
                self.count(done);
            }
        }
        self.read(Content::check_end)?;
        Ok(Digest::of_hasher(hasher))
    }

    fn read(
        &mut self,
        read: impl FnOnce(&mut Content) -> Result<(), String>,
    ) -> Result<(), Stopped> {
        self.is_reading.store(true, Ordering::Relaxed);
        let done = read(&mut self.job.content);
        self.is_reading.store(false, Ordering::Relaxed);
        done.map_err(Stopped::Unreadable)
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
