//! What is taken back that was posted.

use std::thread;

use ampe::{Budget, Event, Inbox, PostError, Returned};

use super::{fill, later, message};
use crate::common::{Transport, connected_with, next, tight, transports};

/// The next message that came back.
fn next_returned(inbox: &mut Inbox) -> Returned {
    loop {
        match next(inbox, "what was withdrawn") {
            Event::Returned(returned) => return returned,
            Event::Opened(_) | Event::Room(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// What is withdrawn comes back, what is before and behind it arrives in order, and what was sent does not
/// come back.
#[test]
fn what_is_withdrawn_comes_back_and_the_rest_arrives() {
    for transport in transports() {
        let pair = connected_with(transport, tight());
        let (client, channel, mut inbox) = (pair.client.0, pair.to_server, pair.client.1);
        let mut server = pair.server.1;
        fill(&client, channel);
        let small = |id: u64| {
            message(&client, &id.to_be_bytes())
                .signal(channel)
                .with_id(id)
        };
        let ids: Vec<u64> = (1_000_000..1_000_040).collect();
        for &id in &ids {
            client.post(small(id)).unwrap();
        }
        let withdrawn: Vec<u64> = ids.iter().copied().filter(|id| id % 3 == 0).collect();
        for &id in &withdrawn {
            client.withdraw(channel, id).unwrap();
            client.withdraw(channel, id + 1_000_000).unwrap(); // there is none
        }
        let mut came_back = Vec::new();
        while came_back.len() < withdrawn.len() {
            let returned = next_returned(&mut inbox);
            assert_eq!(returned.message().body(), returned.id().to_be_bytes());
            came_back.push(returned.id());
        }
        assert_eq!(came_back, withdrawn);
        let flushes = client.clone();
        let flushed = thread::spawn(move || flushes.flush_until(channel, later()));
        let expected: Vec<u64> = ids.iter().copied().filter(|id| id % 3 != 0).collect();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            match next(&mut server, "a signal") {
                Event::Signal(signal) if signal.body().len() == 8 => received.push(signal.id()),
                Event::Signal(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(received, expected);
        assert_eq!(flushed.join().unwrap(), Ok(()));
        client.withdraw(channel, expected[0]).unwrap();
        client.post(client.message().bye(channel)).unwrap();
        while !matches!(next(&mut server, "the goodbye"), Event::Bye(_)) {}
        let account = loop {
            match next(&mut inbox, "the end") {
                Event::Closed(closed) => break closed.account(),
                Event::Room(_) | Event::ByeResponse(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        };
        assert_eq!(account.returned, withdrawn.len() as u64);
        assert_eq!(account.posted, account.sent + account.returned);
    }
}

/// A group cannot take back what another posted.
#[test]
fn nobody_withdraws_what_another_group_posted() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel, mut inbox) = (pair.client.0, pair.to_server, pair.client.1);
    fill(&client, channel);
    let posted = client
        .post(message(&client, b"mine").signal(channel))
        .unwrap();
    pair.server.0.withdraw(channel, posted.id).unwrap();
    let mine = client
        .post(message(&client, b"mine").signal(channel))
        .unwrap();
    client.withdraw(channel, mine.id).unwrap();
    assert_eq!(next_returned(&mut inbox).id(), mine.id);
}

/// Who withdraws without end takes no memory for it, and does not keep the engine from anything else.
#[test]
fn a_withdrawal_is_refused_where_the_next_pass_has_enough_to_look_for() {
    let pair = connected_with(Transport::Tcp, tight());
    let (client, channel, mut inbox) = (pair.client.0, pair.to_server, pair.client.1);
    fill(&client, channel);
    let mine = client
        .post(message(&client, b"mine").signal(channel))
        .unwrap();
    let small = || message(&client, b"").signal(channel);
    while client.post(small()).is_ok() {}
    // None has these ids: all that is queued is looked at for each, which takes the reactor longer than to ask.
    let withdraw = |id| client.withdraw(channel, id);
    let mut others = (1 << 40..).take(2_000_000);
    let refused = others.find_map(|id| withdraw(id).err());
    assert_eq!(refused, Some(PostError::Full(Budget::Withdrawals)));
    while withdraw(mine.id) == Err(PostError::Full(Budget::Withdrawals)) {
        thread::yield_now();
    }
    assert_eq!(next_returned(&mut inbox).id(), mine.id);
}
