//! Threads that post, and write down each post before and after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use ampe::{ChannelGroup, Message, Post, PostError, Refused};

use super::book::{Book, Channel, Identity, Line, Verb};
use super::content;
use super::plan::{Dice, ProcessPlan};

/// A thread that posts, and writes down each post before and after.
pub(crate) struct Poster {
    pub(crate) process: u16,
    pub(crate) number: u8,
    pub(crate) sequence: u32,
    pub(crate) group: ChannelGroup,
    pub(crate) book: Arc<Book>,
    pub(crate) dice: Dice,
    pub(crate) plan: ProcessPlan,
}

impl Poster {
    pub(crate) fn identity(&mut self) -> Identity {
        self.sequence += 1;
        Identity {
            process: self.process,
            poster: self.number,
            sequence: self.sequence,
        }
    }

    /// A message with content, and whether only its id can say who it is.
    pub(crate) fn message(&mut self, identity: Identity, may_be_bare: bool) -> (Message, bool) {
        let len = self.plan.sizes.draw(&mut self.dice);
        let is_bare = may_be_bare && len == 0 && self.dice.percent(50);
        let mut message = self.group.message();
        content::fill(&mut message, identity, len, is_bare);
        (message, is_bare)
    }

    pub(crate) fn post(&self, identity: Identity, post: Post) -> Result<ampe::Channel, Refused> {
        let channel = post.channel().map(Channel::from);
        let verb = Verb::of(post.op_code()).expect("what is posted here travels");
        self.book
            .write(&Line::Intent(self.number, identity, verb, channel));
        match self.group.post(post) {
            Ok(posted) => {
                let channel = Channel::from(posted.channel);
                let line = Line::Posted(self.number, identity, channel, posted.id);
                self.book.write(&line);
                Ok(posted.channel)
            }
            Err(refused) => {
                let why = format!("{:?}", refused.why);
                self.book.write(&Line::Refused(self.number, identity, why));
                Err(refused)
            }
        }
    }

    /// Posts a new message, made into a post by `verb`.
    pub(crate) fn ask(
        &mut self,
        verb: impl FnOnce(Message) -> Post,
    ) -> Result<ampe::Channel, Refused> {
        let identity = self.identity();
        let (message, is_bare) = self.message(identity, true);
        let post = match is_bare {
            true => content::name(verb(message), identity),
            false => verb(message),
        };
        self.post(identity, post)
    }

    /// Posts an answer, whose id is not its own.
    pub(crate) fn answer(
        &mut self,
        verb: impl FnOnce(Message) -> Post,
    ) -> Result<ampe::Channel, Refused> {
        let identity = self.identity();
        let (message, _) = self.message(identity, false);
        self.post(identity, verb(message))
    }

    pub(crate) fn refuse(&mut self, hello: ampe::Hello) {
        let identity = self.identity();
        let mut post = hello.refuse("as planned");
        content::mark(&mut post, identity);
        let _ = self.post(identity, post);
    }
}

/// Posts signals to whatever is open, and waits for room where there is none.
pub(crate) fn flood(mut poster: Poster, open: &Mutex<Vec<ampe::Channel>>, is_over: &AtomicBool) {
    let mut left = poster.plan.quota;
    while left > 0 && !is_over.load(Ordering::Relaxed) {
        let open = open.lock().expect("not poisoned").clone();
        if open.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let channel = poster.dice.pick(&open);
        let identity = poster.identity();
        let (message, is_bare) = poster.message(identity, true);
        let mut post = message.signal(channel);
        if is_bare {
            post = content::name(post, identity);
        }
        left -= 1;
        // Full is tried again: the same message, which was not posted yet.
        while let Err(refused) = poster.post(identity, post) {
            if !matches!(refused.why, PostError::Full(_))
                || left == 0
                || is_over.load(Ordering::Relaxed)
            {
                break;
            }
            post = refused.post;
            left -= 1;
            // An error is one that the next post brings as well.
            let _ = block_on(poster.group.room(channel));
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a task in this thread.
fn block_on<T>(task: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut task = std::pin::pin!(task);
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => std::thread::park(),
        }
    }
}
