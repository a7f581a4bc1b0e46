//! Lines of stdin, each posted as a message, on a thread of its own.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ampe::{ChannelGroup, Post, PostError};

use crate::aside::{self, Aside};
use crate::content::BODY_MAX;
use crate::error::Failure;
use crate::output;

/// Makes a line into what is posted.
pub(crate) type Make = Box<dyn Fn(&[u8]) -> Result<Post, Failure> + Send>;

/// Ids of lines begin here: far from those that an engine gives by itself.
const FIRST_ID: u64 = 1 << 32;

/// The thread that reads stdin. Left behind, if it waits for a line when the command ends.
pub(crate) struct Feeder {
    _thread: Aside<()>,
    room: mpsc::Sender<()>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_done: AtomicBool,
    posted: AtomicU64,
    refused: AtomicU64,
    /// Ids of lines that were posted, and when.
    open: Mutex<HashMap<u64, Instant>>,
}

impl Feeder {
    /// Posts each line of stdin. When they are all posted the group is notified.
    pub(crate) fn start(group: ChannelGroup, make: Make) -> Result<Feeder, Failure> {
        let (room, told) = mpsc::channel();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = Aside::spawn("ampe-lines", move || {
            feed(&group, &make, &told, &shared);
            shared.is_done.store(true, Ordering::Release);
            let _ = group.notify(group.message());
        });
        Ok(Feeder {
            _thread: thread.map_err(|error| aside::no_thread(&error))?,
            room,
            state,
        })
    }

    /// Passes on that the channel has room again.
    pub(crate) fn room(&self) {
        let _ = self.room.send(());
    }

    /// Whether all lines were posted.
    pub(crate) fn is_done(&self) -> bool {
        self.state.is_done.load(Ordering::Acquire)
    }

    pub(crate) fn posted(&self) -> u64 {
        self.state.posted.load(Ordering::Relaxed)
    }

    /// Lines that were too long.
    pub(crate) fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// How many lines wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.state.open().len()
    }

    /// Which line an id stands for, from 1 on, and when it was posted, if it waits for its answer.
    pub(crate) fn line(&self, id: u64) -> Option<(u64, Instant)> {
        let posted = self.state.open().get(&id).copied()?;
        Some((id - FIRST_ID + 1, posted))
    }

    /// A line has its answer.
    pub(crate) fn close(&self, id: u64) {
        self.state.open().remove(&id);
    }
}

impl State {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn feed(group: &ChannelGroup, make: &Make, room: &mpsc::Receiver<()>, state: &State) {
    let mut stdin = BufReader::new(io::stdin());
    let mut number = 0;
    while let Some(line) = next_line(&mut stdin) {
        number += 1;
        let id = FIRST_ID + number - 1;
        let post = match line.map(|line| make(&line)) {
            Some(Ok(post)) => post.with_id(id),
            Some(Err(why)) => return refuse(state, number, &why.to_string()),
            None => {
                let why = format!("it is longer than {BODY_MAX} bytes");
                refuse(state, number, &why);
                continue;
            }
        };
        state.open().insert(id, Instant::now());
        if !post_line(group, post, room) {
            state.open().remove(&id);
            return; // the channel has ended, and its end is told
        }
        state.posted.fetch_add(1, Ordering::Relaxed);
    }
}

fn refuse(state: &State, number: u64, why: &str) {
    state.refused.fetch_add(1, Ordering::Relaxed);
    output::note(&format!("line {number} was not sent: {why}"));
}

/// Whether it was posted, for which room is waited.
fn post_line(group: &ChannelGroup, mut post: Post, room: &mpsc::Receiver<()>) -> bool {
    loop {
        match group.post(post) {
            Ok(_) => return true,
            Err(refused) if matches!(refused.why, PostError::Full(_)) => {
                if room.recv().is_err() {
                    return false;
                }
                post = refused.post;
            }
            Err(_) => return false,
        }
    }
}

/// The next line without its end; `None` at the end of all. A line that is too long is passed over:
/// `Some(None)`.
fn next_line(source: &mut impl BufRead) -> Option<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = BODY_MAX as u64 + 2; // and its end
    let read = source.by_ref().take(most).read_until(b'\n', &mut line);
    if read.ok()? == 0 {
        return None;
    }
    let has_end = line.last() == Some(&b'\n');
    if has_end {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() <= BODY_MAX {
        return Some(Some(line));
    }
    if !has_end {
        source.skip_until(b'\n').ok()?;
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bodies_and_what_is_too_long_is_passed_over() {
        let longest = "x".repeat(BODY_MAX);
        let text = format!("one\r\n\n{longest}\n{longest}y\n{longest}yyyy\nlast");
        let mut source = text.as_bytes();
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut source) {
            lines.push(line.map(|line| line.len()));
        }
        let expected = [Some(3), Some(0), Some(BODY_MAX), None, None, Some(4)];
        assert_eq!(lines, expected);
    }
}
