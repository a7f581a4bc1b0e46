//! Workers that die of their jobs, or hang in them.

use super::*;

/// A job that ends every worker that takes it does not end them all.
#[test]
fn a_job_that_kills_its_workers_ends_as_unknown_and_the_others_are_done() {
    let engine = engine();
    let (group, mut inbox, address) = listening(&engine);
    let mut queue = WorkQueue::new(group.clone());
    let add =
        |queue: &mut WorkQueue, body| queue.add(group.message().with_body(body).unwrap()).unwrap();
    let (first, poison, last) = (
        add(&mut queue, b"job"),
        add(&mut queue, b"poison"),
        add(&mut queue, b"job"),
    );
    let workers = thread::spawn(move || {
        let mut marks = Vec::new();
        for _ in 0..4 {
            let engine = common::engine();
            let (group, mut inbox) = common::group(&engine);
            let mut worker = Worker::new(group.clone(), address.clone(), 1).with_pauses(SHORT);
            loop {
                match worker.recv(&mut inbox).unwrap() {
                    Working::Job(job) if job.body() == b"poison" => {
                        marks.push(job.is_maybe_twice());
                        let _ = group.post(Post::abort(job.channel()));
                        break;
                    }
                    Working::Job(job) => job.done(group.message()),
                    Working::Down(_) => break,
                    _ => {}
                }
            }
        }
        marks
    });
    let (mut done, mut again, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    while !queue.is_empty() {
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => queue.accept(hello),
            Queued::Done(it) => {
                assert!(!it.is_maybe_twice);
                done.push(it.job);
            }
            Queued::Gone(gone) => {
                again.extend(gone.again);
                unknown.extend(gone.unknown);
            }
            other => panic!("{other:?}"),
        }
    }
    queue.dismiss();
    while queue.workers() > 0 {
        next(&mut queue, &mut inbox);
    }
    assert_eq!(workers.join().unwrap(), [false, true, true]);
    assert_eq!(
        (done, again, unknown),
        (vec![first, last], vec![poison; 2], vec![poison])
    );
}

/// The jobs that are at hand beside one that ends every worker which takes it are lost once, and done then.
#[test]
fn a_job_that_kills_its_workers_takes_no_others_with_it() {
    let engine = engine();
    let (group, mut inbox, address) = listening(&engine);
    let mut queue = WorkQueue::new(group.clone());
    let jobs: Vec<u64> = [&b"job"[..], b"job", b"poison", b"job", b"job", b"job"]
        .into_iter()
        .map(|body| queue.add(group.message().with_body(body).unwrap()).unwrap())
        .collect();
    let workers = thread::spawn(move || {
        // One after another, each in place of the last.
        for _ in 0..4 {
            let engine = common::engine();
            let (group, mut inbox) = common::group(&engine);
            let mut worker = Worker::new(group.clone(), address.clone(), 8).with_pauses(SHORT);
            let mut at_hand = Vec::new();
            loop {
                match worker.recv(&mut inbox).unwrap() {
                    Working::Job(job) if job.body() == b"poison" => {
                        let _ = group.post(Post::abort(job.channel()));
                        break;
                    }
                    // What is done is said when there is time, so at first not before the poison is taken.
                    Working::Job(job) if job.is_maybe_twice() => job.done(group.message()),
                    Working::Job(job) => at_hand.push(job),
                    Working::Down(_) => return,
                    _ => {}
                }
            }
        }
    });
    let mut ends = BTreeMap::new();
    while !queue.is_empty() {
        match next(&mut queue, &mut inbox) {
            Queued::Hello(hello) => queue.accept(hello),
            queued => ends.extend(ends_of(queued)),
        }
    }
    queue.dismiss();
    while queue.workers() > 0 {
        next(&mut queue, &mut inbox);
    }
    drop((queue, inbox)); // who dials now does so in vain
    workers.join().unwrap();
    for job in jobs {
        let expected = match job {
            3 => End::Unknown,
            _ => End::Done(true),
        };
        assert_eq!(ends[&job], expected, "{job}: {ends:?}");
    }
}

#[test]
fn a_worker_that_hangs_is_let_go_and_its_jobs_go_to_another() {
    let engine = engine();
    let (group, mut inbox, address) = listening(&engine);
    let mut options = QueueOptions::default();
    options.patience = Some(Duration::from_millis(300));
    options.losses = 1_000; // a machine may be so slow that it is lost again
    let mut queue = WorkQueue::with_options(group.clone(), options);
    let (hang, good) = (
        queue.add(group.message()).unwrap(),
        queue.add(group.message()).unwrap(),
    );
    let worker = thread::spawn(move || {
        let engine = common::engine();
        let (group, mut inbox) = common::group(&engine);
        let mut worker = Worker::new(group.clone(), address, 2).with_pauses(SHORT);
        let mut hung = Vec::new();
        loop {
            match worker.recv(&mut inbox).unwrap() {
                Working::Job(job) if hung.len() < 2 => hung.push(job),
                Working::Job(job) => {
                    assert!(job.is_maybe_twice());
                    job.done(group.message());
                }
                Working::Down(down) if down.closed.reason() == Reason::Bye => return,
                _ => {}
            }
        }
    });
    let (mut again, mut done) = (Vec::new(), BTreeSet::new());
    while !queue.is_empty() {
        match queue.recv(&mut inbox).unwrap() {
            Queued::Hello(hello) => queue.accept(hello),
            Queued::Done(it) => assert!(it.is_maybe_twice && done.insert(it.job)),
            Queued::Gone(gone) => {
                assert_eq!(gone.let_go, Some("you take too long for a job"));
                again.extend(gone.again);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(again.starts_with(&[hang, good]), "{again:?}");
    assert_eq!(done, BTreeSet::from([hang, good]));
    queue.dismiss();
    while queue.workers() > 0 {
        next(&mut queue, &mut inbox);
    }
    assert_eq!(queue.due(), None);
    worker.join().unwrap();
}
