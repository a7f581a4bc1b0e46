//! A publisher beside subscribers that want different things, do not keep up, and come back.

mod slow;

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ampe::{Address, Channel, ChannelGroup, Engine, Event, Inbox, Post, Reason};
use ampe_patterns::Pauses;
use ampe_patterns::publish::{
    Counts, Gone, Published, Publisher, PublisherOptions, SUBSCRIBE, Subscribed, Subscriber,
    TopicError, WhenFull,
};

use crate::common::{self, PATIENCE, deadline, dice, engine, fill, group, local, number, tight};

const SHORT: Pauses = Pauses {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(20),
    seed: None,
};

/// A publisher, and those who have gone.
struct Publishing {
    publisher: Publisher,
    group: ChannelGroup,
    inbox: Inbox,
    address: Address,
    gone: Vec<Gone>,
    _engine: Engine,
}

impl Publishing {
    fn start(engine: Engine, at: &Address, options: PublisherOptions) -> Publishing {
        let (group, mut inbox) = group(&engine);
        group.listen(at).unwrap();
        let Event::Listening(it) = inbox.recv().unwrap() else {
            panic!("it listens");
        };
        Publishing {
            publisher: Publisher::with_options(group.clone(), options),
            group,
            inbox,
            address: it.address().clone(),
            gone: Vec::new(),
            _engine: engine,
        }
    }

    fn observe(&mut self, event: Event) {
        match self.publisher.observe(event) {
            Some(Published::Hello(hello)) => self.publisher.accept(hello),
            Some(Published::Gone(gone)) => {
                let account = gone.account;
                assert_eq!(
                    account.wanted,
                    account.posted + account.dropped,
                    "{account}"
                );
                assert_eq!(account.waiting, 0);
                self.gone.push(gone);
            }
            _ => {}
        }
    }

    /// Receives until that is so.
    fn until(&mut self, mut is_so: impl FnMut(&mut Publishing) -> bool) {
        while !is_so(self) {
            let event = self.inbox.recv_until(deadline()).unwrap();
            self.observe(event.expect("something happens"));
        }
    }

    fn publish(&mut self, topic: &str, number: u64, len: usize) -> Counts {
        while let Some(event) = self.inbox.try_recv().unwrap() {
            self.observe(event);
        }
        let mut body = vec![7; len.max(8)];
        body[..8].copy_from_slice(&number.to_le_bytes());
        let message = self.group.message().with_body(&body).unwrap();
        self.publisher.publish(topic, message).unwrap()
    }

    fn say_goodbye(&mut self) {
        self.publisher.say_goodbye();
        self.until(|it| it.publisher.subscribers().count() == 0);
    }
}

/// What a subscriber got until it was told goodbye: topics and numbers, and how many it missed.
type Got = (Vec<(String, u64)>, u64);

fn subscribe(address: Address, topics: &[&str]) -> JoinHandle<Got> {
    subscribe_and_tell(address, topics, mpsc::channel().0)
}

fn subscribe_and_tell(
    address: Address,
    topics: &[&str],
    progress: mpsc::Sender<u64>,
) -> JoinHandle<Got> {
    let topics: Vec<String> = topics.iter().map(|&it| it.to_owned()).collect();
    thread::spawn(move || {
        let engine = engine();
        let (group, mut inbox) = group(&engine);
        let mut subscriber = Subscriber::new(group, address).with_pauses(SHORT);
        for topic in &topics {
            subscriber.subscribe(topic).unwrap();
        }
        let mut got = Vec::new();
        loop {
            match subscriber.recv(&mut inbox).unwrap() {
                Subscribed::Publication(it) => {
                    let number = number(&it.message().body()[..8]);
                    got.push((it.topic().to_owned(), number));
                    let _ = progress.send(number);
                }
                Subscribed::Down(down) if down.closed.reason() == Reason::Bye => break,
                _ => {}
            }
        }
        (got, subscriber.missed())
    })
}

#[test]
fn each_gets_what_it_wants_in_order() {
    const TOPICS: [&str; 5] = ["a", "a.b", "a.b.c", "b", "*"];
    let mut dice = dice();
    let mut publishing = Publishing::start(engine(), &local(), PublisherOptions::default());
    let wants: [&[&str]; 6] = [
        &["a"],
        &["a.*", "b"],
        &["*"],
        &["a.b", "a.*", "a*"],
        &["c"],
        &[],
    ];
    let subscribers = wants.map(|wanted| subscribe(publishing.address.clone(), wanted));
    publishing.until(|it| it.publisher.subscribers().count() == wants.len());
    let channels = publishing.publisher.subscribers().map(|it| it.0);
    assert!(
        channels.is_sorted(),
        "each run goes through them in one order"
    );
    let mut published = Vec::new();
    for number in 0..2_000 {
        let topic = TOPICS[dice.usize(..TOPICS.len())];
        let counts = publishing.publish(topic, number, 8);
        assert_eq!((counts.dropped, counts.waiting), (0, 0));
        published.push((topic.to_owned(), number));
    }
    publishing.say_goodbye();
    for (wanted, subscriber) in wants.into_iter().zip(subscribers) {
        let wants = |topic: &str| {
            wanted.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(beginning) => topic.starts_with(beginning),
                None => topic == *wanted,
            })
        };
        let expected: Vec<_> = published
            .iter()
            .filter(|it| wants(&it.0))
            .cloned()
            .collect();
        assert_eq!(subscriber.join().unwrap(), (expected, 0), "{wanted:?}");
    }
    for gone in &publishing.gone {
        assert_eq!(gone.account.returned, 0);
        assert_eq!(gone.closed.reason(), Reason::Bye);
    }
}

#[test]
fn what_is_wanted_may_change_at_any_time() {
    let mut publishing = Publishing::start(engine(), &local(), PublisherOptions::default());
    let address = publishing.address.clone();
    let (change, changes) = mpsc::channel::<(bool, String)>();
    let subscriber = thread::spawn(move || {
        let engine = common::engine();
        let (group, mut inbox) = common::group(&engine);
        let mut subscriber = Subscriber::new(group, address);
        let mut got = Vec::new();
        for (is_wanted, topic) in changes {
            match is_wanted {
                true => subscriber.subscribe(&topic).unwrap(),
                false => subscriber.unsubscribe(&topic),
            }
            // Until the test says that it has seen enough of this.
            loop {
                match subscriber.recv(&mut inbox).unwrap() {
                    Subscribed::Publication(it) if it.topic() == "next" => break,
                    Subscribed::Publication(it) => got.push(it.topic().to_owned()),
                    _ => {}
                }
            }
        }
        got
    });
    change.send((true, "next".to_owned())).unwrap();
    let wanted = |it: &mut Publishing, topic: &str| it.publish(topic, 0, 8).wanted;
    publishing.until(|it| wanted(it, "next") == 1);
    for (is_wanted, topic, example) in [
        (true, "tea", "tea"),
        (true, "w*", "weather"),
        (false, "tea", "tea"),
        (false, "w*", "weather"),
        (true, "*", "anything"),
    ] {
        change.send((is_wanted, topic.to_owned())).unwrap();
        // Once for each event: a flood would have it miss what ends this round, as who is behind is sent less.
        publishing.until(|it| wanted(it, example) == usize::from(is_wanted));
        assert_eq!(wanted(&mut publishing, "next"), 1);
    }
    drop(change);
    let got = subscriber.join().unwrap();
    let mut distinct = got.clone();
    distinct.dedup();
    // What was still published while it was on its way to be wanted no more came in between.
    assert!(
        distinct.starts_with(&["tea".to_owned(), "weather".to_owned()]),
        "{distinct:?}"
    );
    assert_eq!(distinct.last().unwrap(), "anything");
}

/// The publisher goes and comes back. The subscriber says each time what it wants, and what it gets has no gap and no
/// double that it does not know of.
#[test]
fn a_subscriber_gets_what_it_wants_from_each_life_of_its_publisher() {
    const LIVES: u64 = 12;
    let mut dice = dice();
    // Nobody listens there, and nobody else will.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tcp("127.0.0.1", port.local_addr().unwrap().port()).unwrap();
    drop(port);
    let (sender, lives) = mpsc::channel();
    let subscriber = thread::spawn({
        let address = address.clone();
        move || {
            let engine = common::engine();
            let (group, mut inbox) = common::group(&engine);
            let mut subscriber = Subscriber::new(group, address).with_pauses(SHORT);
            subscriber.subscribe("life.*").unwrap();
            let (mut last, mut got) = (None, Vec::new());
            loop {
                match subscriber.recv(&mut inbox).unwrap() {
                    Subscribed::Publication(it) => {
                        let number = number(&it.message().body()[..8]);
                        let expected = last.map_or(0, |last| last + 1);
                        assert_eq!((number, it.missed), (expected, 0), "{}", it.topic());
                        last = Some(number);
                        let _ = sender.send(last);
                    }
                    Subscribed::Other(Event::Signal(it)) => panic!("out of order: {it:?}"),
                    Subscribed::Down(down) => {
                        got.extend(last.take());
                        if down.closed.reason() == Reason::Bye {
                            return got;
                        }
                        let _ = sender.send(None);
                    }
                    _ => {}
                }
            }
        }
    });
    for life in 0..LIVES {
        let mut publishing = Publishing::start(engine(), &address, PublisherOptions::default());
        let topic = format!("life.{life}");
        publishing.until(|it| it.publisher.subscribers().count() == 1);
        for number in 0..dice.u64(1..500) {
            assert_eq!(publishing.publish(&topic, number, 8).wanted, 1);
            assert_eq!(publishing.publish("death", number, 8).wanted, 0);
        }
        if life == LIVES - 1 {
            publishing.say_goodbye();
            break;
        }
        if dice.bool() {
            // Otherwise nothing may have been sent.
            while lives.recv().unwrap().is_none() {}
        }
        let channel: Option<Channel> = publishing.publisher.subscribers().next().map(|it| it.0);
        publishing
            .group
            .post(Post::abort(channel.unwrap()))
            .unwrap();
        publishing.until(|it| it.publisher.subscribers().count() == 0);
        let account = publishing.gone[0].account;
        assert_eq!(account.dropped, 0);
        // It has seen that this life has ended, which may have been too short for anything to come.
        while lives.recv().unwrap().is_some() {}
    }
    assert!(!subscriber.join().unwrap().is_empty());
}

/// What a subscriber said on a connection that broke is not said again on the next: its hello says all.
#[test]
fn an_unsubscription_that_comes_back_ends_no_later_subscription() {
    let server = tight();
    let (server_group, mut server_inbox) = group(&server);
    server_group.listen(&local()).unwrap();
    let Event::Listening(it) = server_inbox.recv().unwrap() else {
        panic!("it listens");
    };
    let client = tight();
    let (group, mut inbox) = group(&client);
    let mut subscriber = Subscriber::new(group.clone(), it.address().clone()).with_pauses(SHORT);
    subscriber.subscribe("a").unwrap();
    while !matches!(subscriber.recv(&mut inbox).unwrap(), Subscribed::Up(_)) {}
    let Event::Hello(hello) = server_inbox.recv().unwrap() else {
        panic!("a hello is first");
    };
    let first = hello.channel();
    server_group
        .post(hello.accept(server_group.message()))
        .unwrap();
    let channel = loop {
        if let Subscribed::Other(Event::Accepted(it)) = subscriber.recv(&mut inbox).unwrap() {
            break it.channel();
        }
    };
    // Its peer does not receive until no more can be posted than a short Signal.
    common::fill(&group, channel, 20_000);
    subscriber.unsubscribe("a");
    server_group.post(Post::abort(first)).unwrap();
    let mut came_back = false;
    loop {
        match subscriber.recv(&mut inbox).unwrap() {
            Subscribed::Other(Event::Returned(it)) => {
                came_back |= it.message().text_headers().get("Unsubscribe").is_some();
            }
            Subscribed::Down(_) => break,
            _ => {}
        }
    }
    assert!(came_back, "it was not sent");
    subscriber.subscribe("a").unwrap();
    while !matches!(subscriber.recv(&mut inbox).unwrap(), Subscribed::Up(_)) {}
    subscriber.subscribe("last").unwrap();
    let mut said = Vec::new();
    while said.last().is_none_or(|(_, topic)| topic != "last") {
        let event = server_inbox.recv_until(deadline()).unwrap();
        let received = match event.expect("it says what it wants") {
            Event::Hello(hello) => {
                said.clear();
                hello
                    .text_headers()
                    .iter()
                    .for_each(|it| said.push(text(it)));
                continue;
            }
            Event::Signal(signal) if signal.channel() != first => signal,
            _ => continue,
        };
        received
            .text_headers()
            .iter()
            .for_each(|it| said.push(text(it)));
    }
    let of_a: Vec<&str> = (said.iter().filter(|it| it.1 == "a"))
        .map(|it| it.0.as_str())
        .collect();
    assert_eq!(of_a, ["Subscribe"]);
}

fn text((name, value): (&[u8], &[u8])) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(name), text(value))
}

/// What was published by another, with its topic and number, is published on.
#[test]
fn what_is_relayed_has_the_topic_and_the_number_of_its_relay() {
    let mut publishing = Publishing::start(engine(), &local(), PublisherOptions::default());
    let subscriber = subscribe(publishing.address.clone(), &["*"]);
    let raw_engine = engine();
    let (raw, mut raw_inbox) = group(&raw_engine);
    let hello = raw.message().with_header("Subscribe", "news").unwrap();
    raw.post(hello.hello(&publishing.address)).unwrap();
    publishing.until(|it| it.publisher.subscribers().count() == 2);
    for number in 0..3_u64 {
        let message = publishing.group.message();
        let message = message.with_header("Sequence", "700").unwrap();
        let message = message.with_header("From", "afar").unwrap();
        let message = message.with_header("Topic", "upstream").unwrap();
        let message = message.with_body(&number.to_le_bytes()).unwrap();
        publishing.publisher.publish("news", message).unwrap();
    }
    let signals = raw_inbox.iter().filter_map(|event| match event {
        Event::Signal(signal) => Some(signal),
        _ => None,
    });
    for (number, signal) in (0..3).zip(signals) {
        let headers: Vec<_> = signal.text_headers().iter().map(text).collect();
        let expected =
            [("From", "afar"), ("Topic", "news")].map(|it| (it.0.to_owned(), it.1.to_owned()));
        assert_eq!(headers[..2], expected);
        assert_eq!(
            headers[2..],
            [("Sequence".to_owned(), (number + 1).to_string())]
        );
        assert_eq!(self::number(signal.body()), number);
    }
    drop(raw_inbox); // which would have to answer the goodbye
    publishing.say_goodbye();
    let (got, missed) = subscriber.join().unwrap();
    let expected: Vec<_> = (0..3).map(|number| ("news".to_owned(), number)).collect();
    assert_eq!((got, missed), (expected, 0));
}

#[test]
fn a_subscriber_that_has_gone_before_it_is_accepted_is_none() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut publisher = Publisher::new(group.clone());
    let hello =
        common::hello_of_one_that_has_gone(&group, &mut inbox, |it| match publisher.observe(it) {
            Some(Published::Hello(hello)) => Some(hello),
            _ => None,
        });
    publisher.accept(hello);
    assert_eq!(publisher.subscribers().count(), 0);
}

#[test]
fn nobody_is_accepted_once_goodbye_was_said() {
    let mut publishing = Publishing::start(engine(), &local(), PublisherOptions::default());
    publishing.say_goodbye();
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut subscriber = Subscriber::new(group, publishing.address.clone());
    subscriber.advance(Instant::now());
    let closed = loop {
        if let Some(event) = publishing.inbox.try_recv().unwrap() {
            publishing.observe(event);
        }
        let soon = Instant::now() + Duration::from_millis(1);
        match inbox
            .recv_until(soon)
            .unwrap()
            .map(|it| subscriber.observe(it))
        {
            Some(Subscribed::Down(down)) => break down.closed,
            _ => assert_eq!(publishing.publisher.subscribers().count(), 0),
        }
    };
    assert_eq!(closed.reason(), Reason::Refused);
}

/// The account is of publications, though the application posts Signals of its own which come back with them.
#[test]
fn what_came_back_of_others_is_not_counted() {
    let mut publishing = Publishing::start(tight(), &local(), PublisherOptions::default());
    let client = tight();
    let (client_group, _client_inbox) = group(&client);
    let hello = client_group.message().with_header(SUBSCRIBE, "*").unwrap();
    let hello = hello.hello(&publishing.address);
    let to_publisher = client_group.post(hello).unwrap().channel;
    publishing.until(|it| it.publisher.subscribers().count() > 0);
    let (subscriber, ..) = publishing.publisher.subscribers().next().unwrap();
    publishing.publish("news", 0, 8);
    fill(&publishing.group, subscriber, 20_000);
    client_group.post(Post::abort(to_publisher)).unwrap();
    publishing.until(|it| !it.gone.is_empty());
    let gone = &publishing.gone[0];
    assert!(gone.closed.account().returned > 0, "{}", gone.closed);
    assert_eq!((gone.account.posted, gone.account.returned), (1, 0));
}

#[test]
fn blanks_around_a_topic_are_none_of_it() {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let mut publishing = Publishing::start(self::engine(), &local(), PublisherOptions::default());
    let mut subscriber = Subscriber::new(group.clone(), publishing.address.clone());
    subscriber.subscribe("news").unwrap();
    subscriber.advance(Instant::now());
    publishing.until(|it| it.publisher.subscribers().count() > 0);
    let counts = publishing.publisher.publish(" news\t", group.message());
    assert_eq!(counts.unwrap().wanted, 1);
    assert!(publishing.publisher.publish(" ", group.message()).is_err());
    loop {
        if let Subscribed::Publication(it) = subscriber.recv(&mut inbox).unwrap() {
            break assert_eq!(it.topic(), "news");
        }
    }
}

#[test]
fn who_wants_too_many_topics_is_let_go_and_what_is_no_topic_is_refused() {
    let mut options = PublisherOptions::default();
    options.topic_bytes = 1_000;
    let mut publishing = Publishing::start(engine(), &local(), options);
    let engine = engine();
    let (group, _inbox) = group(&engine);
    let mut hello = group.message();
    for number in 0..20 {
        hello.add_header("Subscribe", number.to_string()).unwrap();
    }
    group.post(hello.hello(&publishing.address)).unwrap();
    publishing.until(|it| !it.gone.is_empty());
    assert_eq!(publishing.gone[0].let_go, Some("you want too many topics"));

    let mut subscriber = Subscriber::new(group, publishing.address.clone());
    assert_eq!(subscriber.subscribe(""), Err(TopicError::Empty));
    assert_eq!(subscriber.subscribe("a\r\nb"), Err(TopicError::Unwritable));
    assert_eq!(subscriber.subscribe("a "), Err(TopicError::Unwritable));
    assert_eq!(
        subscriber.subscribe(&"a".repeat(1025)),
        Err(TopicError::TooLong)
    );
    let message = publishing.group.message();
    assert!(publishing.publisher.publish("", message).is_err());
}

/// More topics than a hello, or a Signal, has room for.
#[test]
fn a_great_many_topics_are_told() {
    let mut options = PublisherOptions::default();
    options.topic_bytes = 1 << 20;
    let mut publishing = Publishing::start(engine(), &local(), options);
    let topics: Vec<String> = (0..200)
        .map(|it| format!("{it}.{}", "x".repeat(600)))
        .collect();
    let wanted: Vec<&str> = topics.iter().map(String::as_str).collect();
    let subscriber = subscribe(publishing.address.clone(), &wanted);
    let mut told = 0;
    publishing.until(|it| {
        while told < topics.len() && it.publish(&topics[told], told as u64, 8).wanted == 1 {
            told += 1;
        }
        told == topics.len()
    });
    publishing.say_goodbye();
    let (got, missed) = subscriber.join().unwrap();
    assert_eq!((got.len(), missed), (topics.len(), 0));
}
