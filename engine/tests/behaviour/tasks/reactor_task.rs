//! A task that makes its engine's passes.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::task::Wake;
use std::task::ready;
use std::thread::ThreadId;

use ampe::{Pass, ReactorTask};

use super::*;
use crate::common;

/// Whether there is anything to test here.
fn is_supported() -> bool {
    let is_supported = cfg!(any(target_os = "linux", target_os = "android"));
    if !is_supported {
        let refused = engine().reactor_task().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        common::skip("no task can make an engine's passes without epoll");
    }
    is_supported
}

/// Makes passes under smol, until the engine has ended.
async fn run_in_smol(mut task: ReactorTask) {
    let descriptor = smol::Async::new(task.as_fd().try_clone_to_owned().unwrap()).unwrap();
    poll_fn(|context| {
        loop {
            let readable = descriptor.poll_readable(context);
            match task.pass(context, readable.is_ready()) {
                Pass::Ended => return Poll::Ready(()),
                Pass::LeavesReady => return Poll::Pending,
                Pass::Idle => ready!(readable).unwrap(),
            }
        }
    })
    .await;
}

#[test]
fn a_task_asks_whose_runtime_makes_the_passes() {
    if !is_supported() {
        return;
    }
    for transport in transports() {
        let pair = pair(transport);
        let [serving, asking] = pair._engines.each_ref().map(Engine::reactor_task);
        let executor = smol::LocalExecutor::new();
        let passes = [serving, asking].map(|task| executor.spawn(run_in_smol(task.unwrap())));
        let answered = smol::block_on(executor.run(async {
            let server = executor.spawn(serve(pair.server.0, pair.server.1));
            ask(pair.client.0, pair.client.1, pair.address, CALLS).await;
            server.await
        }));
        assert_eq!(answered, CALLS);
        // They end with their engines, which nothing keeps alive.
        drop(pair._engines);
        for passes in passes {
            smol::block_on(executor.run(passes));
        }
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_asks_whose_tokio_runtime_makes_the_passes() {
    if !is_supported() {
        return;
    }
    for threads in [0, 1, 2] {
        let mut builder = match threads {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder
            .worker_threads(threads.max(1))
            .enable_io()
            .build()
            .unwrap();
        for transport in transports() {
            let pair = pair(transport);
            let passes = pair._engines.each_ref().map(Engine::run_in_tokio);
            let passes = passes.map(|passes| runtime.spawn(passes));
            let answered = runtime.block_on(async {
                let server = tokio::spawn(serve(pair.server.0, pair.server.1));
                ask(pair.client.0, pair.client.1, pair.address, CALLS).await;
                server.await.unwrap()
            });
            assert_eq!(answered, CALLS);
            drop(pair._engines);
            for passes in passes {
                runtime.block_on(passes).unwrap().unwrap();
            }
        }
    }
}

/// Many tasks ask at the same time, on one channel: what they post is written together, and none is forgotten.
#[cfg(feature = "tokio")]
#[test]
fn many_tasks_call_whose_tokio_runtime_makes_the_passes() {
    if !is_supported() {
        return;
    }
    const CALLERS: u64 = 100;
    const ROUNDS: u64 = 20;
    let pair = pair(Transport::Tcp);
    let server = thread::spawn(move || block_on(serve(pair.server.0, pair.server.1)));
    let (group, mut inbox) = pair.client;
    let channel = group.connect(&pair.address).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let caller = |number: u64| {
        let group = group.clone();
        async move {
            for round in 0..ROUNDS {
                // Some have nothing to post for a while, though they were woken.
                if (number + round).is_multiple_of(3) {
                    tokio::task::yield_now().await;
                }
                let body = [number.to_be_bytes(), round.to_be_bytes()].concat();
                let request = group.message().with_body(&body).unwrap();
                let answer = group.call(channel, request, deadline).await.unwrap();
                assert_eq!(answer.body(), body);
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let _passes = runtime.spawn(pair._engines[1].run_in_tokio());
    runtime.block_on(async {
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| tokio::spawn(caller(number)))
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        group.post(group.message().bye(channel)).unwrap();
        while !matches!(inbox.recv_async().await.unwrap(), Event::Closed(_)) {}
    });
    assert_eq!(server.join().unwrap(), CALLERS * ROUNDS);
}

/// Which threads have woken a task.
struct Woken(std::sync::Mutex<Vec<ThreadId>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn a_task_is_woken_by_the_thread_that_makes_the_passes() {
    if !is_supported() {
        return;
    }
    let pair = pair(Transport::Tcp);
    let mut task = pair._engines[1].reactor_task().unwrap();
    let server = thread::spawn(move || block_on(serve(pair.server.0, pair.server.1)));
    let woken = Arc::new(Woken(std::sync::Mutex::default()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut asking = std::pin::pin!(ask(pair.client.0, pair.client.1, pair.address, CALLS));
    while asking.as_mut().poll(&mut context).is_pending() {
        task.pass(&mut context, true);
    }
    assert_eq!(server.join().unwrap(), CALLS);
    let woken = woken.0.lock().unwrap();
    let here = thread::current().id();
    assert!(
        woken.contains(&here),
        "the engine's own thread has done all"
    );
}

/// So many calls, asked in this thread and answered in another.
fn converse(pair: Pair, calls: u64) {
    let server = thread::spawn(move || block_on(serve(pair.server.0, pair.server.1)));
    block_on(ask(pair.client.0, pair.client.1, pair.address, calls));
    assert_eq!(server.join().unwrap(), calls);
}

#[test]
fn a_runtime_that_is_busy_or_gone_delays_messages_and_loses_none() {
    if !is_supported() {
        return;
    }
    let pair = pair(Transport::Tcp);
    let task = pair._engines[1].reactor_task().unwrap();
    converse(pair, 50); // the task is never polled
    drop(task);
}

#[test]
fn one_task_at_a_time_makes_passes_and_the_engines_thread_does_after_it() {
    if !is_supported() {
        return;
    }
    let pair = pair(Transport::Tcp);
    let task = pair._engines[1].reactor_task().unwrap();
    let refused = pair._engines[1].reactor_task().unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    drop(task);
    drop(pair._engines[1].reactor_task().unwrap());
    converse(pair, CALLS);
}

#[test]
fn an_engine_stops_whose_runtime_waits_for_that() {
    if !is_supported() {
        return;
    }
    let engine = engine();
    let mut task = engine.reactor_task().unwrap();
    let woken = Arc::new(Woken(std::sync::Mutex::default()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    while task.pass(&mut context, true) == Pass::LeavesReady {}
    woken.0.lock().unwrap().clear();
    engine.stop(PATIENCE); // blocks, so nobody polls the task
    assert!(!woken.0.lock().unwrap().is_empty(), "it is to see the end");
    assert_eq!(task.pass(&mut context, false), Pass::Ended);
}

/// A receiver makes passes in another thread, and the task in its own.
#[test]
fn a_thread_receives_beside_a_task_that_makes_passes() {
    if !is_supported() {
        return;
    }
    let engine = engine();
    let (mut server, client) = (group(&engine), group(&engine));
    let place = place(Transport::Tcp);
    let (_, address) = common::listen(&server.0, &mut server.1, &place.address);
    let serving = thread::spawn(move || {
        loop {
            let answer = match next(&mut server.1, "a request") {
                Event::Hello(hello) => hello.accept(server.0.message()),
                Event::Request(request) => request.echo(),
                Event::Bye(bye) => bye.echo(),
                Event::Closed(_) => return,
                _ => continue,
            };
            server.0.post(answer).unwrap();
        }
    });
    let executor = smol::LocalExecutor::new();
    executor
        .spawn(run_in_smol(engine.reactor_task().unwrap()))
        .detach();
    smol::block_on(executor.run(ask(client.0, client.1, address, CALLS)));
    serving.join().unwrap();
}
