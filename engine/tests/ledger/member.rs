//! One process of a run: an engine, a ledger, and habits that its plan gives it.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ampe::{Address, Engine, Event, GroupOptions, Inbox, Post, PostError, Refused, Returned};

use super::book::{Book, Identity, Line, Verb};
use super::plan::{Dice, Ending, ProcessPlan, Receiver};
use super::poster::{Poster, flood};
use super::{content, facts};

/// The thread that receives also posts; the flooder only posts.
const MAIN: u8 = 0;
const FLOODER: u8 = 1;

/// Events taken in a row before it is time to post again.
const TURN: usize = 50;

/// What the main thread knows of a channel.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The process that it was opened to.
    target: Option<usize>,
    is_closed_to_posts: bool,
}

/// The process as its main thread sees it.
pub(crate) struct Member {
    engine: Engine,
    inbox: Inbox,
    poster: Poster,
    channels: BTreeMap<ampe::Channel, Open>,
    /// What the flooder may post to.
    shared: Arc<Mutex<Vec<ampe::Channel>>>,
    addresses: BTreeMap<usize, Address>,
    kept: Vec<Event>,
    owed: Vec<(Identity, Post)>,
    left_to_post: usize,
    left_to_open: usize,
    deadline: Instant,
}

/// Runs the process to its end. Without an `ended` at the end of its ledger, it did not get there.
pub(crate) fn run(plan: ProcessPlan, process: usize, ledger: &Path, address: &Address) {
    let book = Arc::new(Book::create(ledger, plan.last_line).expect("a new ledger"));
    let engine = Engine::start(plan.limits.options()).expect("an engine");
    let (group, inbox) = engine.group(GroupOptions::default()).expect("a group");
    let poster = |number: u8| Poster {
        process: process as u16,
        number,
        sequence: 0,
        group: group.clone(),
        book: Arc::clone(&book),
        dice: Dice::new(plan.seed ^ u64::from(number)),
        plan: plan.clone(),
    };
    let mut member = Member {
        engine,
        inbox,
        poster: poster(MAIN),
        channels: BTreeMap::new(),
        shared: Arc::default(),
        addresses: BTreeMap::new(),
        kept: Vec::new(),
        owed: Vec::new(),
        left_to_post: plan.quota,
        left_to_open: 8,
        deadline: Instant::now(),
    };
    member.listen(address);
    member.addresses = wait_for_start();
    member.deadline = Instant::now() + plan.lifetime;
    let is_over = Arc::new(AtomicBool::new(false));
    let flooder = plan.has_flooder.then(|| {
        let (poster, shared) = (poster(FLOODER), Arc::clone(&member.shared));
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || flood(poster, &shared, &is_over))
    });
    for &target in &plan.targets {
        member.open(target);
    }
    member.live();
    member.end();
    is_over.store(true, Ordering::Relaxed);
    if let Some(flooder) = flooder {
        flooder.join().expect("the flooder ends");
    }
    book.write(&Line::Ended);
}

/// Waits for the addresses of all processes. Whoever started this one holds the other end of its
/// input: when that ends, nobody is left to look after it.
fn wait_for_start() -> BTreeMap<usize, Address> {
    let mut addresses = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("readable input");
        let Some((process, address)) = line.split_once(' ') else {
            break;
        };
        let address = address.parse().expect("an address");
        addresses.insert(process.parse().expect("a number"), address);
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().lines().count();
        std::process::exit(1);
    });
    addresses
}

impl Member {
    fn write(&self, line: &Line) {
        self.poster.book.write(line);
    }

    fn listen(&mut self, address: &Address) {
        let channel = self.poster.group.listen(address).expect("a listener");
        self.write(&Line::Listen(channel.into()));
        let deadline = Instant::now() + super::PATIENCE;
        let event = self.inbox.recv_until(deadline).expect("a group");
        match event.expect("an answer to listening") {
            Event::Listening(it) => {
                let line = Line::Listening(channel.into(), it.address().to_string());
                self.write(&line);
            }
            other => panic!("expected Listening, got {other:?}"),
        }
    }

    fn open(&mut self, target: usize) {
        if self.left_to_open == 0 {
            return;
        }
        self.left_to_open -= 1;
        let address = self.addresses[&target].clone();
        if let Ok(channel) = self.poster.ask(|message| message.hello(&address)) {
            self.add(channel, Some(target));
        }
    }

    fn add(&mut self, channel: ampe::Channel, target: Option<usize>) {
        let open = Open {
            target,
            is_closed_to_posts: false,
        };
        self.channels.insert(channel, open);
        self.shared.lock().expect("not poisoned").push(channel);
    }

    /// Nothing more is posted to a channel.
    fn shut(&mut self, channel: ampe::Channel) {
        if let Some(open) = self.channels.get_mut(&channel) {
            open.is_closed_to_posts = true;
        }
        let mut shared = self.shared.lock().expect("not poisoned");
        shared.retain(|other| *other != channel);
    }

    fn any_open(&mut self) -> Option<ampe::Channel> {
        let open = self
            .channels
            .iter()
            .filter(|(_, open)| !open.is_closed_to_posts);
        let open: Vec<ampe::Channel> = open.map(|(channel, _)| *channel).collect();
        (!open.is_empty()).then(|| self.poster.dice.pick(&open))
    }

    /// Posts and receives in turns until its time is over.
    fn live(&mut self) {
        while Instant::now() < self.deadline {
            self.settle();
            self.post_some();
            self.disrupt();
            let pause = Duration::from_micros(self.poster.dice.between(0, 3000) as u64);
            self.receive_some((Instant::now() + pause).min(self.deadline), TURN);
        }
    }

    fn post_some(&mut self) {
        let Some(channel) = self.any_open() else {
            return;
        };
        let burst = self.poster.dice.between(1, self.poster.plan.burst);
        for _ in 0..burst.min(self.left_to_post) {
            self.left_to_post -= 1;
            let is_signal = self.poster.dice.percent(50);
            let posted = self.poster.ask(|message| match is_signal {
                true => message.signal(channel),
                false => message.request(channel),
            });
            match posted.map_err(|refused| refused.why) {
                Ok(_) => {}
                Err(PostError::Full(_)) => return,
                Err(_) => return self.shut(channel),
            }
        }
    }

    /// Ends a channel now and then, in the good way or the bad.
    fn disrupt(&mut self) {
        let (aborts, byes) = (self.poster.plan.aborts, self.poster.plan.byes);
        if self.poster.dice.percent(aborts)
            && let Some(channel) = self.any_open()
        {
            self.shut(channel);
            let _ = self.poster.group.post(Post::abort(channel));
        }
        if self.poster.dice.percent(byes)
            && let Some(channel) = self.any_open()
        {
            self.say_goodbye(channel);
        }
    }

    fn say_goodbye(&mut self, channel: ampe::Channel) {
        let said = self.poster.ask(|message| message.bye(channel));
        if !matches!(
            said,
            Err(Refused {
                why: PostError::Full(_),
                ..
            })
        ) {
            self.shut(channel);
        }
    }

    fn receive_some(&mut self, until: Instant, most: usize) {
        for _ in 0..most {
            match self.inbox.recv_until(until) {
                Ok(Some(event)) => self.take(event),
                Ok(None) => return,
                Err(ended) => panic!("the inbox ended: {ended}"),
            }
        }
    }

    /// Writes an event down, then reacts to it.
    fn take(&mut self, event: Event) {
        facts::record(&self.poster.book, &event);
        match event {
            Event::Hello(hello) => self.greet(hello),
            Event::Request(request) if self.poster.dice.percent(self.poster.plan.answers) => {
                let _ = self.poster.answer(|message| request.reply(message));
                self.keep(Event::Request(request));
            }
            Event::Bye(bye) => {
                // Its peer posts nothing more, ours may.
                match self.poster.dice.below(3) {
                    0 => facts::leave(&self.poster.book, Event::Bye(bye)),
                    1 => self.keep(Event::Bye(bye)),
                    _ => {
                        let identity = self.poster.identity();
                        let (message, _) = self.poster.message(identity, false);
                        self.shut(bye.channel());
                        self.owed.push((identity, bye.answer(message)));
                        self.settle();
                    }
                }
            }
            Event::Returned(returned) => self.post_again(returned),
            Event::Closed(closed) => {
                let channel = closed.channel();
                self.shut(channel);
                let was = self.channels.remove(&channel);
                let target = was.and_then(|open| open.target);
                if let Some(target) = target.filter(|_| self.poster.dice.percent(60)) {
                    self.open(target);
                }
            }
            other => self.keep(other),
        }
    }

    /// Posts the answers to goodbyes that are still owed: there may have been no room for them.
    fn settle(&mut self) {
        for (identity, post) in std::mem::take(&mut self.owed) {
            let posted = self.poster.post(identity, post);
            // Anything but Full means that another end came first.
            if let Err(Refused {
                why: PostError::Full(_),
                post,
            }) = posted
            {
                self.owed.push((identity, post));
            }
        }
    }

    fn greet(&mut self, hello: ampe::Hello) {
        self.add(hello.channel(), None);
        match self.poster.dice.below(10) {
            0 => {
                let channel = hello.channel();
                self.poster.refuse(hello);
                self.shut(channel);
            }
            1 => self.keep(Event::Hello(hello)),
            _ => {
                let _ = self.poster.answer(|message| hello.accept(message));
            }
        }
    }

    fn post_again(&mut self, returned: Returned) {
        if !self.poster.dice.percent(self.poster.plan.reposts) {
            return;
        }
        let Some(channel) = self.any_open() else {
            return;
        };
        let is_bye = matches!(Verb::of(returned.op_code()), Ok(Verb::Bye));
        let identity = content::identify(returned.message(), returned.id());
        if let (Ok(Some(identity)), Ok(post)) = (identity, returned.repost(channel)) {
            let posted = self.poster.post(identity, post);
            if is_bye && posted.is_ok() {
                self.shut(channel);
            }
        }
    }

    fn keep(&mut self, event: Event) {
        match self.poster.plan.receiver {
            Receiver::Prompt => facts::leave(&self.poster.book, event),
            Receiver::Slow(micros) => {
                std::thread::sleep(Duration::from_micros(micros));
                facts::leave(&self.poster.book, event);
            }
            Receiver::Keeps(most) => {
                self.kept.push(event);
                if self.kept.len() >= most {
                    self.let_go();
                }
            }
        }
    }

    fn let_go(&mut self) {
        for event in std::mem::take(&mut self.kept) {
            facts::leave(&self.poster.book, event);
        }
    }

    /// Ends as planned, and writes down all that is left in the inbox.
    fn end(mut self) {
        let millis = |number| Duration::from_millis(number);
        let within = match self.poster.plan.ending {
            Ending::Exit => std::process::exit(0),
            Ending::Close(within) | Ending::Stop(within) => millis(within),
            Ending::Goodbye(patience) => {
                self.part(Instant::now() + millis(patience));
                millis(patience)
            }
            Ending::FullGoodbye => {
                self.part(Instant::now() + super::PATIENCE / 2);
                if !self.channels.is_empty() {
                    let what = format!("goodbye was said in vain on {:?}", self.channels);
                    self.write(&Line::Fault(what));
                }
                Duration::ZERO
            }
        };
        self.let_go();
        self.write(&Line::Ending);
        let Member {
            engine,
            mut inbox,
            poster: Poster { book, plan, .. },
            ..
        } = self;
        if let Ending::Stop(_) = plan.ending {
            engine.stop(within);
            while let Ok(event) = inbox.recv() {
                facts::record(&book, &event);
                facts::leave(&book, event);
            }
            return;
        }
        let report = inbox.close(within);
        for returned in report.returned {
            facts::record(&book, &Event::Returned(returned));
        }
        for event in report.unread {
            facts::record(&book, &event);
            facts::leave(&book, event);
        }
    }

    /// Says goodbye on every channel and waits until all have ended.
    fn part(&mut self, deadline: Instant) {
        self.left_to_open = 0;
        self.left_to_post = 0;
        while Instant::now() < deadline && !self.channels.is_empty() {
            let open = self
                .channels
                .iter()
                .filter(|(_, open)| !open.is_closed_to_posts);
            let open: Vec<ampe::Channel> = open.map(|(channel, _)| *channel).collect();
            for channel in open {
                self.say_goodbye(channel);
            }
            self.settle();
            self.let_go();
            let soon = Instant::now() + Duration::from_millis(5);
            self.receive_some(soon.min(deadline), TURN);
        }
    }
}
