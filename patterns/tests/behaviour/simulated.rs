//! Patterns on a simulated network: their time is the simulation's.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ampe::testing::{Handle, Simulation};
use ampe::{Address, ChannelGroup, Event, GroupOptions, Inbox, Options};
use ampe_patterns::{Dialed, Dialer, Pauses};

const MINUTE: Duration = Duration::from_secs(60);

/// What the dialer says of the next event. It dials when it is time, by the clock of the simulation.
async fn next(handle: &Handle, dialer: &mut Dialer, inbox: &mut Inbox) -> Dialed {
    loop {
        dialer.dial_if_due(handle.now());
        let rest = dialer.due().map_or(Duration::MAX, |due| {
            due.saturating_duration_since(handle.now())
        });
        let (mut event, mut rested) = (pin!(inbox.recv_async()), pin!(handle.sleep(rest)));
        let happened = poll_fn(|context| match event.as_mut().poll(context) {
            Poll::Ready(event) => Poll::Ready(Some(event.unwrap())),
            Poll::Pending => rested.as_mut().poll(context).map(|()| None),
        });
        if let Some(event) = happened.await {
            return dialer.observe(event);
        }
    }
}

/// Listens after a minute.
async fn serve(handle: Handle, group: ChannelGroup, mut inbox: Inbox, address: Address) {
    handle.sleep(MINUTE).await;
    group.listen(&address).unwrap();
    while let Ok(event) = inbox.recv_async().await {
        let post = match event {
            Event::Hello(hello) => hello.accept(group.message()),
            Event::Request(request) => request.echo(),
            _ => continue,
        };
        let _ = group.send(post).await; // refused if the client has gone
    }
}

/// How often a connection was not had, and how long it took until it was.
fn dial(seed: Option<u64>) -> (u32, Duration) {
    let mut simulation = Simulation::new(7);
    let address: Address = "tcp://server:7000".parse().unwrap();
    let server = simulation.engine(Options::default()).unwrap();
    let client = simulation.engine(Options::default()).unwrap();
    let (group, inbox) = server.group(GroupOptions::default()).unwrap();
    simulation.spawn(serve(simulation.handle(), group, inbox, address.clone()));
    let handle = simulation.handle();
    simulation.run(async move {
        let first = handle.now();
        let (group, mut inbox) = client.group(GroupOptions::default()).unwrap();
        let pauses = Pauses {
            seed,
            ..Pauses::default()
        };
        let mut dialer = Dialer::new(group.clone(), address).with_pauses(pauses);
        let asked = dialer.request(group.message().with_body(b"?").unwrap());
        let (asked, mut downs) = (asked.unwrap(), 0);
        loop {
            match next(&handle, &mut dialer, &mut inbox).await {
                Dialed::Down(down) => {
                    assert!(down.again_at > handle.now(), "it rests");
                    downs += 1;
                }
                Dialed::Other(Event::Response(answer)) => {
                    assert_eq!((answer.id(), answer.body()), (asked, &b"?"[..]));
                    return (downs, handle.now() - first);
                }
                _ => {}
            }
        }
    })
}

#[test]
fn a_dialer_rests_by_the_clock_of_the_simulation() {
    let (downs, passed) = dial(None);
    println!("{downs} attempts in {passed:?}");
    assert!((2..60).contains(&downs) && passed >= MINUTE);
}

#[test]
fn what_pauses_owe_to_chance_may_be_the_same_each_time() {
    let passed = [1, 1, 2].map(|seed| dial(Some(seed)).1);
    assert_eq!(passed[0], passed[1]);
    assert_ne!(passed[0], passed[2]);
}
