//! A service beside clients that ask much, read nothing, or leave; and its end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ampe::{
    Address, CallError, Channel, ChannelGroup, Engine, Event, Inbox, Post, Reason, WhyNotSent,
    WhyUnanswered,
};
use ampe_patterns::service::{
    Gone, Served, Service, ServiceAccount, ServiceOptions, Stopper, Taken, Workers,
};

use crate::common::{self, PATIENCE, deadline, dice, engine, group, local, number, tight};

/// A service that runs in a thread.
struct Running {
    addresses: Vec<Address>,
    stopper: Stopper,
    group: ChannelGroup,
    thread: JoinHandle<(ServiceAccount, Vec<Gone>)>,
    _engine: Engine,
}

impl Running {
    fn end(self) -> (ServiceAccount, Vec<Gone>) {
        self.stopper.drain(PATIENCE);
        self.thread.join().unwrap()
    }
}

/// Starts one that gives its requests to `take`.
fn start(
    engine: Engine,
    options: ServiceOptions,
    listeners: usize,
    mut take: impl FnMut(Taken) + Send + 'static,
) -> Running {
    let (group, mut inbox) = group(&engine);
    for _ in 0..listeners {
        group.listen(&local()).unwrap();
    }
    let mut service = Service::with_options(group.clone(), options);
    let mut addresses = Vec::new();
    while addresses.len() < listeners {
        match service.recv(&mut inbox).unwrap() {
            Served::Listening(it) => addresses.push(it.address().clone()),
            other => panic!("{other:?}"),
        }
    }
    let stopper = service.stopper();
    let thread = thread::spawn(move || {
        let mut gone = Vec::new();
        loop {
            match service.recv(&mut inbox).unwrap() {
                Served::Hello(hello) => service.accept(hello),
                Served::Request(request) => take(request),
                Served::Gone(it) => gone.push(it),
                Served::Drained(account) => return (account, gone),
                Served::Other(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    Running {
        addresses,
        stopper,
        group,
        thread,
        _engine: engine,
    }
}

fn check(account: ServiceAccount) {
    assert_eq!(
        account.taken,
        account.answered + account.refused + account.unanswered,
        "{account}"
    );
}

#[test]
fn answers_in_any_order_find_who_asked_through_any_listener() {
    const CLIENTS: u64 = 6;
    const REQUESTS: u64 = 300;
    let mut dice = dice();
    let mut at_hand = Vec::new();
    let service = start(engine(), ServiceOptions::default(), 3, move |request| {
        at_hand.push(request);
        if at_hand.len() == 100 {
            dice.shuffle(&mut at_hand);
            at_hand.drain(..).for_each(Taken::echo);
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let address = service.addresses[index as usize % 3].clone();
            thread::spawn(move || ask_all(&address, index * REQUESTS..(index + 1) * REQUESTS))
        })
        .collect();
    let out_of_order = clients.into_iter().map(|it| it.join().unwrap());
    assert!(out_of_order.sum::<usize>() > 0);
    let (account, gone) = service.end();
    check(account);
    assert_eq!(account.answered, CLIENTS * REQUESTS);
    assert_eq!(account.clients, CLIENTS);
    assert_eq!((account.returned, account.let_go), (0, 0), "{account}");
    assert_eq!(gone.len() as u64, CLIENTS);
}

/// Asks with each of the numbers at once. Returns how many answers came in front of one to an earlier request.
fn ask_all(address: &Address, numbers: Range<u64>) -> usize {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let channel = group.connect(address).unwrap();
    let mut asked = BTreeMap::new();
    for number in numbers {
        let message = group.message().with_body(&number.to_le_bytes()).unwrap();
        let posted = group.post(message.request(channel)).unwrap();
        asked.insert(posted.id, number);
    }
    let mut out_of_order = 0;
    while let Some((&first, _)) = asked.first_key_value() {
        if let Event::Response(answer) = inbox.recv().unwrap() {
            assert_eq!(asked.remove(&answer.id()), Some(number(answer.body())));
            out_of_order += usize::from(answer.id() != first);
        }
    }
    out_of_order
}

#[test]
fn a_goodbye_waits_for_the_answers_to_what_was_asked_before() {
    const REQUESTS: u64 = 200;
    let (sender, requests) = mpsc::channel::<Taken>();
    let service = start(engine(), ServiceOptions::default(), 1, move |request| {
        sender.send(request).unwrap();
    });
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let channel = group.connect(&service.addresses[0]).unwrap();
    for request in 0..REQUESTS {
        let message = group.message().with_body(&request.to_le_bytes()).unwrap();
        group.post(message.request(channel)).unwrap();
    }
    group.post(group.message().bye(channel)).unwrap();
    // All are there, and the goodbye is on its heels, before any is answered.
    let mut taken: Vec<Taken> = requests.iter().take(REQUESTS as usize).collect();
    taken.drain(..).rev().for_each(Taken::echo);
    let mut answered = 0;
    for event in inbox.iter() {
        match event {
            Event::Response(_) => answered += 1,
            Event::Closed(closed) => {
                assert_eq!(closed.reason(), Reason::Bye);
                assert_eq!(answered, REQUESTS);
                break;
            }
            _ => {}
        }
    }
    let (account, _) = service.end();
    check(account);
    assert_eq!((account.answered, account.returned), (REQUESTS, 0));
}

/// Clients ask as fast as they can while the service ends. Nothing that was asked is in doubt, but for what
/// crossed the goodbye.
#[test]
fn a_service_that_drains_answers_what_it_took() {
    let workers = Workers::start(3, Taken::echo).unwrap();
    let mut left = 2_000;
    let (sender, busy) = mpsc::channel();
    let service = start(engine(), ServiceOptions::default(), 2, move |request| {
        workers.hand(request);
        left -= 1;
        if left == 0 {
            sender.send(()).unwrap();
        }
    });
    let clients: Vec<_> = (0..8_usize)
        .map(|index| {
            let address = service.addresses[index % 2].clone();
            thread::spawn(move || ask_until_the_end(&address))
        })
        .collect();
    busy.recv().unwrap();
    let (account, gone) = service.end();
    check(account);
    let answered: u64 = clients.into_iter().map(|it| it.join().unwrap()).sum();
    // What crossed a goodbye was refused: no answer that was given is missing.
    assert_eq!(answered, account.answered, "{account}");
    assert!(account.returned <= account.refused, "{account}");
    assert_eq!((account.unanswered, account.let_go), (0, 0), "{account}");
    for it in gone {
        assert_eq!(it.closed.reason(), Reason::Bye, "{it}");
        assert_eq!(it.unanswered, 0);
    }
}

fn ask_until_the_end(address: &Address) -> u64 {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let channel = group.connect(address).unwrap();
    let receiver = thread::spawn(move || {
        // A goodbye is answered where its event is dropped.
        inbox.iter().find(|event| matches!(event, Event::Closed(_)));
        inbox
    });
    let mut answered = 0;
    loop {
        let call = group.call(channel, group.message(), deadline());
        match call.wait() {
            Ok(_) => answered += 1,
            Err(CallError::Refused { why, .. }) => assert_eq!(why, "the service is ending"),
            Err(CallError::NotSent(it)) => {
                assert_ne!(it.why, WhyNotSent::Returned(Reason::Withdrawn), "late");
                break;
            }
            Err(CallError::Unknown(it)) => {
                assert_eq!(it.why, WhyUnanswered::Lost(Reason::Bye));
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    drop(receiver.join().unwrap());
    answered
}

/// Clients are lost at random. Each request was answered or refused, and of each answer it is known whether it was sent.
#[test]
fn no_answer_is_unaccounted_for_though_clients_are_lost() {
    let mut dice = dice();
    let workers = Workers::start(3, Taken::echo).unwrap();
    let mut options = ServiceOptions::default();
    options.taken = 50;
    let service = start(tight(), options, 1, move |request| workers.hand(request));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, mut dice) = (service.addresses[0].clone(), dice.fork());
            thread::spawn(move || {
                for _ in 0..15 {
                    be_lost(&address, &mut dice);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let (account, gone) = service.end();
    println!("{account}");
    check(account);
    // How many are refused depends on who is faster, clients or workers.
    assert!(account.returned > 0, "{account}");
    assert_eq!(gone.len() as u64, account.clients);
    let accounts = || gone.iter().map(|it| it.closed.account());
    let sent: u64 = accounts().map(|it| it.sent).sum();
    let received: u64 = accounts().map(|it| it.received).sum();
    // Beside requests and answers there are a hello and its answer, and no goodbyes.
    assert_eq!(received, account.taken + account.clients);
    let answers = account.answered + account.refused - account.returned;
    assert!(
        (answers..=answers + account.clients).contains(&sent),
        "{sent} {account}"
    );
}

/// Asks without end, receives some of the answers, and is gone.
fn be_lost(address: &Address, dice: &mut fastrand::Rng) {
    let engine = tight();
    let (group, mut inbox) = group(&engine);
    let channel = group.connect(address).unwrap();
    let (mut left, body) = (dice.usize(1..200), vec![7; 20_000]);
    loop {
        let message = group.message().with_body(&body[..dice.usize(..body.len())]);
        if group.post(message.unwrap().request(channel)).is_ok() {
            continue;
        }
        if left == 0 {
            group.post(Post::abort(channel)).unwrap();
            return;
        }
        if let Event::Response(_) = inbox.recv().unwrap() {
            left -= 1;
        }
    }
}

#[test]
fn a_client_that_does_not_take_its_answers_is_let_go_and_no_other() {
    let mut options = ServiceOptions::default();
    options.patience = Duration::from_millis(200);
    let service = start(tight(), options, 1, |request| request.echo());
    let deaf_engine = tight();
    let (deaf, deaf_inbox) = group(&deaf_engine);
    let channel = deaf.connect(&service.addresses[0]).unwrap();
    // It asks until the service reads no more of it, and receives nothing.
    let asking = thread::spawn(move || {
        loop {
            let message = deaf.message().with_body(&[7; 60_000]).unwrap();
            if deaf
                .post_wait(message.request(channel), deadline())
                .is_err()
            {
                break;
            }
        }
        deaf_inbox
    });
    let engine = engine();
    let (group, inbox) = group(&engine);
    let other = group.connect(&service.addresses[0]).unwrap();
    while !asking.is_finished() {
        group
            .call(other, group.message(), deadline())
            .wait()
            .unwrap();
    }
    drop(inbox); // it would have to answer the goodbye
    let (account, gone) = service.end();
    check(account);
    assert_eq!((account.clients, account.let_go), (2, 1), "{account}");
    assert!(account.returned > 0, "{account}");
    let let_go: Vec<_> = gone.iter().filter(|it| it.let_go.is_some()).collect();
    assert_eq!(let_go.len(), 1);
    assert_eq!(let_go[0].let_go, Some("you do not take your answers"));
    assert_eq!(let_go[0].closed.reason(), Reason::Aborted);
    drop(asking.join().unwrap());
}

/// A service that sleeps while others answer is woken when answers begin to wait, and when the last is given.
#[test]
fn answers_wake_a_service_that_has_to_look_after_them() {
    let engine = tight();
    let (group, mut inbox) = group(&engine);
    group.listen(&local()).unwrap();
    let mut service = Service::new(group.clone());
    let mut client = None;
    let mut taken = Vec::new();
    while taken.len() < 50 {
        match service.recv(&mut inbox).unwrap() {
            Served::Listening(it) => {
                let engine = tight();
                let (group, inbox) = common::group(&engine);
                let channel = group.connect(it.address()).unwrap();
                for _ in 0..50 {
                    group.post(group.message().request(channel)).unwrap();
                }
                client = Some((inbox, engine)); // which receives nothing
            }
            Served::Hello(hello) => service.accept(hello),
            Served::Request(request) => taken.push(request),
            other => panic!("{other:?}"),
        }
    }
    // Shows the service what comes until there is a notification, and so many channels have ended.
    let mut until_notified = |service: &mut Service, mut ends: usize| {
        let mut is_notified = false;
        while !is_notified || ends > 0 {
            let event = inbox.recv_until(deadline()).unwrap();
            let event = event.expect("it is woken");
            is_notified |= matches!(event, Event::Notified(_));
            ends = ends.saturating_sub(usize::from(matches!(event, Event::Closed(_))));
            service.observe(event);
        }
    };
    let last = taken.pop().unwrap();
    for request in taken {
        let answer = group.message().with_body(&[7; 60_000]).unwrap();
        request.reply(answer);
    }
    until_notified(&mut service, 0);
    assert!(service.due().is_some(), "it is patient for a while");

    drop(client);
    service.stopper().drain(Duration::MAX);
    until_notified(&mut service, 2); // the client, and the listener
    assert_eq!(service.drained(), None);
    last.echo();
    until_notified(&mut service, 0);
    let account = service.drained().unwrap();
    assert_eq!((account.answered, account.unanswered), (50, 0), "{account}");
}

#[test]
fn more_answers_than_may_wait_end_their_client() {
    let mut options = ServiceOptions::default();
    options.answer_bytes = 500_000;
    options.patience = PATIENCE;
    let (sender, requests) = mpsc::channel::<Taken>();
    let service = start(tight(), options, 1, move |request| {
        sender.send(request).unwrap();
    });
    let engine = tight();
    let (group, mut inbox) = group(&engine);
    let channel = group.connect(&service.addresses[0]).unwrap();
    for _ in 0..200 {
        group.post(group.message().request(channel)).unwrap();
    }
    for request in requests.iter().take(200) {
        let answer = service.group.message().with_body(&[7; 60_000]).unwrap();
        request.reply(answer);
    }
    // Who has gone by itself was not let go.
    let mut until_closed = std::iter::from_fn(|| inbox.recv_until(deadline()).unwrap());
    assert!(until_closed.any(|it| matches!(it, Event::Closed(_))));
    let (account, gone) = service.end();
    check(account);
    assert_eq!((account.answered, account.let_go), (200, 1), "{account}");
    assert!(account.returned >= 150, "{account}");
    assert_eq!(gone[0].let_go, Some("you do not take your answers"));
}

#[test]
fn what_is_dropped_or_panics_or_is_too_much_is_refused() {
    let mut options = ServiceOptions::default();
    options.taken = 3;
    let workers = Workers::start(1, |request| match request.body() {
        b"drop" => drop(request),
        b"panic" => panic!("as asked"),
        _ => request.echo(),
    })
    .unwrap();
    let mut kept = Vec::new();
    let service = start(engine(), options, 1, move |request| match request.body() {
        b"keep" => kept.push(request),
        _ => workers.hand(request),
    });
    let engine = engine();
    let (group, _inbox) = group(&engine);
    let channel = group.connect(&service.addresses[0]).unwrap();
    let ask = |body: &[u8]| {
        let message = group.message().with_body(body).unwrap();
        match group.call(channel, message, deadline()).wait() {
            Ok(answer) => String::from_utf8(answer.body().to_vec()).unwrap(),
            Err(CallError::Refused { why, .. }) => why,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(ask(b"drop"), "nobody answered it");
    assert_eq!(ask(b"panic"), "nobody answered it");
    assert_eq!(ask(b"hello"), "hello", "the worker is there still");
    for _ in 0..3 {
        let message = group.message().with_body(b"keep").unwrap();
        group.post(message.request(channel)).unwrap();
    }
    assert_eq!(ask(b"hello"), "busy");
    // Three are never answered, so it ends at the deadline, and says how many.
    service.stopper.drain(Duration::from_millis(50));
    let (account, gone) = service.end();
    check(account);
    assert_eq!((account.taken, account.answered), (7, 1), "{account}");
    assert_eq!((account.refused, account.unanswered), (3, 3), "{account}");
    assert_eq!(gone[0].let_go, Some("the service is ending"));
    assert_eq!(gone[0].unanswered, 3);
}

#[test]
fn a_client_that_has_gone_before_it_is_accepted_is_none() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut service = Service::new(group.clone());
    let hello =
        common::hello_of_one_that_has_gone(&group, &mut inbox, |it| match service.observe(it) {
            Some(Served::Hello(hello)) => Some(hello),
            _ => None,
        });
    service.accept(hello);
    assert_eq!(service.account().clients, 0);
    service.stopper().drain(Duration::MAX);
    while service.drained().is_none() {
        let event = inbox.recv_until(deadline()).unwrap();
        service.observe(event.expect("it is drained"));
    }
}

/// Has a client of a service that begins to listen, and is accepted. Returns the client's channel.
fn connect(service: &mut Service, inbox: &mut Inbox, client: &ChannelGroup) -> Channel {
    let mut channel = None;
    while service.account().clients == 0 {
        match service.recv(inbox).unwrap() {
            Served::Listening(it) => channel = Some(client.connect(it.address()).unwrap()),
            Served::Hello(hello) => service.accept(hello),
            other => panic!("{other:?}"),
        }
    }
    channel.expect("it listens before anybody comes")
}

/// It is waited for, though nobody has heard of it.
#[test]
fn a_listener_that_is_about_to_listen_ends_with_the_drain() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    group.listen(&local()).unwrap();
    let mut service = Service::new(group.clone());
    service.stopper().drain(Duration::MAX);
    assert_eq!(service.drained(), None);
    let mut address = None;
    let account = loop {
        match service.recv(&mut inbox).unwrap() {
            Served::Listening(it) => address = Some(it.address().clone()),
            Served::Drained(account) => break account,
            Served::Other(Event::Closed(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(account.clients, 0);
    let client = common::engine();
    let (client_group, mut client_inbox) = common::group(&client);
    client_group.connect(&address.unwrap()).unwrap();
    let event = client_inbox.recv_until(deadline()).unwrap();
    let returned =
        matches!(event, Some(Event::Returned(ref it)) if it.reason() == Reason::ConnectFailed);
    assert!(returned, "{event:?}");
}

/// Though nobody shows it that a client has gone.
#[test]
fn a_drain_ends_at_its_deadline_in_any_case() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    group.listen(&local()).unwrap();
    let mut service = Service::new(group.clone());
    let client = common::engine();
    let (client_group, _client_inbox) = common::group(&client);
    connect(&mut service, &mut inbox, &client_group);
    service.stopper().drain(Duration::ZERO);
    let deadline = service.due().unwrap();
    service.advance(deadline);
    let last = service.due().expect("it looks again");
    assert!(service.drained().is_none() && last > deadline);
    service.advance(last);
    let account = service.drained().expect("it has ended");
    assert_eq!((account.let_go, service.due()), (1, None));
}

/// What is left at the deadline has gone already, and nobody has heard of it yet.
#[test]
fn who_has_gone_by_itself_was_not_let_go() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    group.listen(&local()).unwrap();
    let mut service = Service::new(group.clone());
    let client = common::engine();
    let (client_group, _client_inbox) = common::group(&client);
    let channel = connect(&mut service, &mut inbox, &client_group);
    client_group.post(Post::abort(channel)).unwrap();
    let event = inbox.recv_until(deadline()).unwrap().unwrap();
    assert!(matches!(event, Event::Closed(_)), "{event}");
    service.stopper().drain(Duration::ZERO);
    service.advance(service.due().unwrap());
    match service.observe(event) {
        Some(Served::Gone(gone)) => assert_eq!(gone.let_go, None),
        other => panic!("{other:?}"),
    }
    assert_eq!(service.account().let_go, 0);
}

/// None of them has as much waiting as may wait for one, but all together have more than any outbox keeps by itself.
#[test]
fn no_client_is_let_go_for_what_others_have_waiting() {
    const CLIENTS: usize = 5;
    const REQUESTS: usize = 230; // answers of 14 of the 16 MiB that may wait
    let engine = tight();
    let (group, mut inbox) = group(&engine);
    group.listen(&local()).unwrap();
    let mut options = ServiceOptions::default();
    options.patience = PATIENCE;
    let mut service = Service::with_options(group.clone(), options);
    let body = group
        .message()
        .with_body(&[7; 60_000])
        .unwrap()
        .share_body();
    let mut clients = Vec::new();
    while service.account().answered < (CLIENTS * REQUESTS) as u64 {
        match service.recv(&mut inbox).unwrap() {
            Served::Listening(it) => clients.extend((0..CLIENTS).map(|_| {
                let engine = tight();
                let (group, inbox) = common::group(&engine);
                let channel = group.connect(it.address()).unwrap();
                for _ in 0..REQUESTS {
                    group.post(group.message().request(channel)).unwrap();
                }
                (inbox, engine) // which receives nothing
            })),
            Served::Hello(hello) => service.accept(hello),
            Served::Request(request) => request.reply(group.message().with_shared_body(&body)),
            _ => {}
        }
    }
    let account = service.account();
    assert_eq!((account.let_go, account.returned), (0, 0), "{account}");
}

#[test]
fn notifications_of_the_applications_pass_and_its_own_do_not() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut service = Service::new(group.clone());
    group.notify(group.message()).unwrap();
    service.stopper().drain(PATIENCE);
    group
        .notify(group.message().with_body(b"mine").unwrap())
        .unwrap();
    let mut notified = Vec::new();
    for event in [(); 3].map(|()| inbox.recv().unwrap()) {
        match service.observe(event) {
            Some(Served::Other(Event::Notified(it))) => notified.push(it.body().to_vec()),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    assert_eq!(notified, [b"".to_vec(), b"mine".to_vec()]);
    assert!(service.drained().is_some());
}
