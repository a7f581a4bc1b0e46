//! A work queue whose workers are lost, leave, and come back.

mod lost;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ampe::{Address, ChannelGroup, Engine, Event, Inbox, Options, Post, Reason};
use ampe_patterns::Pauses;
use ampe_patterns::work_queue::{
    Job, QueueOptions, Queued, WhyNotAdded, WorkQueue, Worker, Working,
};

use crate::common::{self, deadline, dice, engine, group, local, number, tight};

const SHORT: Pauses = Pauses {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(20),
    seed: None,
};

/// The engine of a queue, its group, and where it listens.
fn listening(engine: &Engine) -> (ChannelGroup, Inbox, Address) {
    let (group, mut inbox) = group(engine);
    group.listen(&local()).unwrap();
    let Event::Listening(it) = inbox.recv().unwrap() else {
        panic!("it listens");
    };
    (group, inbox, it.address().clone())
}

/// The next event, with what it means.
#[track_caller]
fn next(queue: &mut WorkQueue, inbox: &mut Inbox) -> Queued {
    loop {
        let event = inbox.recv_until(deadline()).unwrap();
        let event = event.unwrap_or_else(|| panic!("nothing happens: {queue:?}"));
        match queue.observe(event) {
            None | Some(Queued::Other(Event::ByeResponse(_))) => {}
            Some(queued) => return queued,
        }
    }
}

/// A worker that does what it is given, and ends with its connection.
fn does_all(address: Address, credit: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let engine = engine();
        let (group, mut inbox) = group(&engine);
        let mut worker = Worker::new(group.clone(), address, credit);
        while let Ok(working) = worker.recv(&mut inbox) {
            match working {
                Working::Job(job) => job.done(group.message()),
                Working::Down(_) => break,
                _ => {}
            }
        }
    })
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Said whether maybe twice.
    Done(bool),
    Failed(bool),
    Unknown,
}

const JOBS: u64 = 2_000;

/// What workers tell of themselves, past the queue.
#[derive(Default)]
struct Truth {
    /// How often each job was begun.
    begun: Mutex<BTreeMap<u64, u32>>,
    is_over: AtomicBool,
}

/// Lives as a worker, and dies, again and again.
fn live(address: &Address, truth: &Truth, mut dice: fastrand::Rng) {
    while !truth.is_over.load(Ordering::Acquire) {
        let engine = tight();
        let (group, mut inbox) = group(&engine);
        let mut worker = Worker::new(group.clone(), address.clone(), dice.usize(1..12));
        worker = worker.with_pauses(SHORT);
        let dies_after = dice.usize(0..40);
        let mut jobs = 0;
        // Says of some jobs that they are done, some time or never.
        let (late, told_late) = mpsc::channel::<Job>();
        thread::spawn({
            let group = group.clone();
            move || {
                told_late.iter().for_each(|job| job.done(group.message()));
            }
        });
        loop {
            let job = match worker.recv(&mut inbox).unwrap() {
                Working::Job(job) => job,
                Working::Left => break,
                Working::Down(_) if worker.has_left() => break,
                Working::Down(down) if down.closed.reason() == Reason::Bye => return,
                Working::Down(_) if truth.is_over.load(Ordering::Acquire) => return,
                _ => continue,
            };
            jobs += 1;
            if jobs <= dies_after {
                *truth.begun.lock().unwrap().entry(job.id()).or_default() += 1;
                assert_eq!(number(&job.body()[..8]), job.id());
                match dice.u8(..10) {
                    0 => job.failed("it cannot be done"),
                    1 => late.send(job).unwrap(),
                    _ => job.done(group.message()),
                }
            } else if dice.u8(..3) == 0 {
                worker.leaver().leave();
                job.give_back();
            } else {
                // Without a word, whatever it has at hand, has said, and has not said yet.
                let _ = group.post(Post::abort(job.channel()));
                break;
            }
        }
    }
}

/// Adds jobs of random length until there are so many, or there is no room. Returns whether there was none.
fn add_jobs(queue: &mut WorkQueue, group: &ChannelGroup, dice: &mut fastrand::Rng) -> bool {
    while queue.account().added < JOBS {
        let mut body = vec![7; dice.usize(8..40_000)];
        body[..8].copy_from_slice(&(queue.account().added + 1).to_le_bytes());
        let message = group.message().with_body(&body).unwrap();
        if let Err(refused) = queue.add(message) {
            assert_eq!(refused.why, WhyNotAdded::Full);
            return true;
        }
    }
    false
}

/// The jobs that end with an event, and how.
fn ends_of(queued: Queued) -> Vec<(u64, End)> {
    match queued {
        Queued::Done(it) => vec![(it.job, End::Done(it.is_maybe_twice))],
        Queued::Failed(it) => vec![(it.job, End::Failed(it.is_maybe_twice))],
        Queued::Gone(gone) => {
            // What was lost had been sent. What was received is a hello, answers, and maybe that it leaves.
            let account = gone.closed.account();
            let lost = (gone.again.len() + gone.unknown.len()) as u64;
            assert!(
                lost + account.received <= account.sent + 1,
                "{lost} lost: {}",
                gone.closed
            );
            gone.unknown
                .into_iter()
                .map(|it| (it, End::Unknown))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Workers are lost at random. Each job ends once, in the way in which it really did.
fn every_job_ends(losses: u32) {
    let mut dice = dice();
    let engine = tight();
    let (group, mut inbox, address) = listening(&engine);
    let mut options = QueueOptions::default();
    options.losses = losses;
    options.bytes = 2 << 20;
    let mut queue = WorkQueue::with_options(group.clone(), options);
    let truth = Arc::new(Truth::default());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (address, truth, dice) = (address.clone(), Arc::clone(&truth), dice.fork());
            thread::spawn(move || live(&address, &truth, dice))
        })
        .collect();
    let (mut ends, mut was_full) = (BTreeMap::new(), false);
    while queue.account().added < JOBS || !queue.is_empty() {
        was_full |= add_jobs(&mut queue, &group, &mut dice);
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => queue.accept(hello),
            queued => {
                for (job, end) in ends_of(queued) {
                    assert_eq!(ends.insert(job, end), None, "{job} ends twice");
                }
            }
        }
        let account = queue.account();
        let ended = account.done + account.failed + account.unknown;
        assert_eq!(account.added, ended + account.open + account.at_hand);
        assert_eq!(ended, ends.len() as u64);
    }
    truth.is_over.store(true, Ordering::Release);
    queue.dismiss();
    while queue.workers() > 0 {
        next(&mut queue, &mut inbox);
    }
    let account = queue.account();
    println!("{account}");
    drop((queue, inbox)); // who dials now does so in vain
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(ends.keys().copied().eq(1..=JOBS));
    assert!(was_full && account.returned > 0, "{account}");
    let begun = truth.begun.lock().unwrap();
    for (job, end) in ends {
        let begun = begun.get(&job).copied().unwrap_or_default();
        match end {
            End::Done(is_maybe_twice) | End::Failed(is_maybe_twice) => {
                assert!(begun >= 1, "{job} ended without being begun");
                assert!(
                    begun == 1 || is_maybe_twice,
                    "{job} was begun {begun} times"
                );
            }
            End::Unknown => {}
        }
        assert!(begun <= losses, "{job} was begun {begun} times");
    }
}

#[test]
fn every_job_ends_done_failed_or_maybe_done_though_workers_are_lost() {
    every_job_ends(3);
}

#[test]
fn no_job_is_done_twice_where_none_may_be() {
    every_job_ends(1);
}

/// The ids of jobs are not those of other requests to a worker.
#[test]
fn a_call_to_a_worker_gets_its_own_answer_beside_jobs() {
    let engine = engine();
    let (group, mut inbox, address) = listening(&engine);
    let mut queue = WorkQueue::new(group.clone());
    for number in 0..8_u8 {
        let message = group.message().with_body(&[number]).unwrap();
        queue.add(message).unwrap();
    }
    // A worker by hand, which answers once it has all that is asked.
    let worker = thread::spawn(move || {
        let engine = common::engine();
        let (group, mut inbox) = common::group(&engine);
        group.connect(&address).unwrap();
        let requests = |event| match event {
            Event::Request(request) => Some(request),
            _ => None,
        };
        let asked: Vec<_> = inbox.iter().filter_map(requests).take(9).collect();
        for request in asked {
            group.post(request.echo()).unwrap();
        }
        inbox.iter().find(|event| matches!(event, Event::Closed(_)));
    });
    let mut call = None;
    while !queue.is_empty() {
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => {
                let channel = hello.channel();
                queue.accept(hello);
                let group = group.clone();
                call = Some(thread::spawn(move || {
                    let message = group.message().with_body(b"well?").unwrap();
                    let answer = group.call(channel, message, deadline()).wait();
                    answer.unwrap().body().to_vec()
                }));
            }
            Queued::Done(done) => assert_eq!(u64::from(done.answer.body()[0]) + 1, done.job),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(call.unwrap().join().unwrap(), b"well?");
    queue.dismiss();
    while queue.workers() > 0 {
        next(&mut queue, &mut inbox);
    }
    worker.join().unwrap();
}

#[test]
fn a_worker_that_leaves_gives_back_what_it_has_not_begun() {
    let engine = engine();
    let (group, mut inbox, address) = listening(&engine);
    let mut queue = WorkQueue::new(group.clone());
    for _ in 0..8 {
        queue.add(group.message()).unwrap();
    }
    let leaving = thread::spawn({
        let address = address.clone();
        move || {
            let engine = common::engine();
            let (group, mut inbox) = common::group(&engine);
            let mut worker = Worker::new(group.clone(), address, 5);
            let mut first = None;
            loop {
                match worker.recv(&mut inbox).unwrap() {
                    Working::Job(job) => {
                        assert!(first.is_none(), "no more once it leaves");
                        worker.leaver().leave();
                        let done = job.id();
                        job.done(group.message());
                        first = Some(done);
                    }
                    Working::Down(down) => assert_eq!(down.closed.reason(), Reason::Bye),
                    Working::Left => return first.unwrap(),
                    _ => {}
                }
            }
        }
    });
    let mut done = BTreeSet::new();
    let mut reason = None;
    while reason.is_none() {
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => queue.accept(hello),
            Queued::Done(it) => assert!(done.insert(it.job) && !it.is_maybe_twice),
            Queued::Gone(gone) => {
                assert!(gone.again.is_empty() && gone.unknown.is_empty());
                reason = Some(gone.closed.reason());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reason, Some(Reason::Bye));
    assert_eq!(done, BTreeSet::from([leaving.join().unwrap()]));
    let account = queue.account();
    // One more may have been on its way.
    assert!((4..=5).contains(&account.returned), "{account}");
    assert_eq!((account.open, account.again), (7, 0), "{account}");

    does_all(address, 100);
    while !queue.is_empty() {
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => queue.accept(hello),
            Queued::Done(it) => assert!(done.insert(it.job) && !it.is_maybe_twice),
            other => panic!("{other:?}"),
        }
    }
    assert!(done.into_iter().eq(1..=8));
}

/// A worker that has no job at hand, for want of the engine's budget, gets one when there is budget again.
#[test]
fn a_job_for_which_there_is_no_room_goes_when_there_is() {
    let mut options = Options::default();
    options.outbound_bytes = 300_000;
    let engine = Engine::start(options).unwrap();
    let (group, mut inbox, address) = listening(&engine);
    // Somebody who never reads has all of the budget.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let deaf = Address::tcp("127.0.0.1", port).unwrap();
    let deaf = group.connect(&deaf).unwrap();
    assert!(matches!(inbox.recv().unwrap(), Event::Opened(_)));
    common::fill(&group, deaf, 60_000);
    let mut queue = WorkQueue::new(group.clone());
    let message = group.message().with_body(&[7; 60_000]).unwrap();
    queue.add(message).unwrap();
    let worker = does_all(address, 1);
    while !queue.is_empty() {
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => {
                queue.accept(hello);
                assert_eq!(queue.account().at_hand, 0, "there is no room");
                group.post(Post::abort(deaf)).unwrap();
            }
            Queued::Done(it) => assert!(!it.is_maybe_twice),
            Queued::Other(_) => {} // what comes back is dropped, and gives room
            other => panic!("{other:?}"),
        }
    }
    queue.dismiss();
    while queue.workers() > 0 {
        next(&mut queue, &mut inbox);
    }
    worker.join().unwrap();
}

#[test]
fn a_worker_that_has_gone_before_it_is_accepted_is_none() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut queue = WorkQueue::new(group.clone());
    let hello =
        common::hello_of_one_that_has_gone(&group, &mut inbox, |it| match queue.observe(it) {
            Some(Queued::Hello(hello)) => Some(hello),
            _ => None,
        });
    queue.accept(hello);
    assert_eq!((queue.workers(), queue.account().workers), (0, 0));
}

/// Workers that come and go while there are no jobs leave nothing behind.
#[test]
fn workers_that_have_gone_are_forgotten() {
    let engine = engine();
    let (group, mut inbox, address) = listening(&engine);
    let mut queue = WorkQueue::new(group.clone());
    for _ in 0..5 {
        let client = common::engine();
        let (client_group, _client_inbox) = common::group(&client);
        let channel = client_group.connect(&address).unwrap();
        loop {
            match next(&mut queue, &mut inbox) {
                Queued::Hello(hello) => {
                    queue.accept(hello);
                    client_group.post(Post::abort(channel)).unwrap();
                }
                Queued::Gone(_) => break,
                other => panic!("{other:?}"),
            }
        }
    }
    let shown = format!("{queue:?}");
    assert!(shown.contains("ready: 0"), "{shown}");
}

#[test]
fn what_has_not_ended_is_handed_back() {
    let engine = engine();
    let (group, _inbox) = group(&engine);
    let mut options = QueueOptions::default();
    options.bytes = 10 * 1024;
    let mut queue = WorkQueue::with_options(group.clone(), options);
    let refused = loop {
        let body = queue.account().added.to_le_bytes();
        if let Err(refused) = queue.add(group.message().with_body(&body).unwrap()) {
            break refused;
        }
    };
    assert_eq!(refused.why, WhyNotAdded::Full);
    assert_eq!(number(refused.message.body()), 9, "it is still ours");
    let unended = queue.into_jobs();
    assert_eq!(unended.len(), 9);
    for (index, it) in (0..).zip(unended) {
        assert_eq!((it.job, number(it.message.body())), (index + 1, index));
        assert!(!it.is_maybe_done);
    }
    let mut queue = WorkQueue::new(group.clone());
    let long = group
        .message()
        .with_header("Long", "x".repeat(65_510))
        .unwrap();
    let refused = queue.add(long).unwrap_err();
    assert_eq!(refused.why, WhyNotAdded::HeadersTooLong);
    queue.dismiss();
    let refused = queue.add(group.message()).unwrap_err();
    assert_eq!(refused.why, WhyNotAdded::Ending);
    assert!(queue.is_empty());
}
