//! What the poller keeps for its users: data beside sources, keys for tables of their own, and orders of other
//! threads.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;

use ampe_poller::{Event, Events, Interest, Key, Poller, Remote, Waker, Watch};

use crate::common::{PATIENCE, datagrams};

fn poller<T>() -> Poller<UdpSocket, T> {
    Poller::with_data().unwrap()
}

#[test]
fn data_is_kept_beside_its_source_and_can_be_changed() {
    let mut poller = poller::<String>();
    let first = poller.insert_with(datagrams(), "first".to_owned()).unwrap();
    let second = poller.insert(datagrams()).unwrap();
    assert_eq!(poller.data(second).map(String::as_str), Some(""));
    let (source, data) = poller.get_mut(first).unwrap();
    data.push_str(&source.local_addr().unwrap().port().to_string());
    let port = poller.get(first).unwrap().local_addr().unwrap().port();
    assert_eq!(poller.data(first), Some(&format!("first{port}")));

    let (_, data) = poller.remove_with_data(first).unwrap();
    assert_eq!(data, format!("first{port}"));
    let successor = poller
        .insert_with(datagrams(), "successor".to_owned())
        .unwrap();
    assert_eq!(successor.index(), first.index());
    assert!(poller.data(first).is_none() && poller.get_mut(first).is_none());
    assert!(poller.close(successor) && poller.data(successor).is_none());
}

#[test]
fn an_index_is_small_and_is_another_source_s_under_another_generation() {
    let mut poller = poller::<()>();
    let mut table: Vec<Option<(u64, u16)>> = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    for round in 0..100 {
        let source = datagrams();
        let port = source.local_addr().unwrap().port();
        let key = poller.insert(source).unwrap();
        if table.len() <= key.index() {
            table.resize(key.index() + 1, None);
        }
        let before = table[key.index()].replace((key.generation(), port));
        assert_ne!(
            before.map(|(generation, _)| generation),
            Some(key.generation())
        );
        keys.push(key);
        if keys.len() > 5 {
            let gone = keys.remove(round % 6);
            assert!(poller.close(gone));
        }
        for key in &keys {
            let own = poller.get(*key).unwrap().local_addr().unwrap().port();
            assert_eq!(table[key.index()], Some((key.generation(), own)));
        }
    }
    assert!(table.len() <= 6, "{}", table.len());
}

#[test]
fn sources_that_threads_insert_are_all_reported_and_let_go_by_them() {
    const THREADS: usize = 4;
    const SOURCES: usize = 25;
    let mut poller = poller::<(usize, usize)>();
    let mut events = Events::with_capacity(16);
    let remote = poller.remote();
    let (sends, given_back) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let remote = remote.clone();
            thread::spawn(move || {
                let insert = |at| remote.insert(datagrams(), (thread, at), Interest::WRITABLE);
                (0..SOURCES)
                    .map(|at| insert(at).unwrap())
                    .collect::<Vec<Key>>()
            })
        })
        .collect();
    let mut reported = HashMap::new();
    while reported.len() < THREADS * SOURCES {
        poller.wait(&mut events, Some(PATIENCE)).unwrap();
        while let Some(event) = poller.next_event(&mut events) {
            assert!(event.is_writable() && event.error().is_none());
            let data = *poller.data(event.key()).unwrap();
            reported.insert(event.key(), data);
            poller.set_interest(event.key(), Interest::NONE);
        }
    }
    for (thread, keys) in threads.into_iter().map(|it| it.join().unwrap()).enumerate() {
        for (at, key) in keys.into_iter().enumerate() {
            assert_eq!(reported.get(&key), Some(&(thread, at)));
            let sends = sends.clone();
            assert!(remote.remove(key, move |_, data| sends.send(data).unwrap()));
        }
    }
    drop(sends);
    while !poller.is_empty() {
        poller.wait(&mut events, Some(PATIENCE)).unwrap();
    }
    assert_eq!(given_back.iter().count(), THREADS * SOURCES);
}

/// The same on every system: what compiles on one compiles on all.
#[test]
fn what_may_move_and_be_shared_is_the_same_on_every_system() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Poller<UdpSocket>>();
    is_shared::<Poller<UdpSocket, String>>();
    is_shared::<Remote<UdpSocket, String>>();
    // One at a time is enough for a remote: the poller alone touches sources.
    is_shared::<Remote<std::cell::Cell<UdpSocket>, std::cell::Cell<u8>>>();
    is_shared::<Waker>();
    is_shared::<Watch>();
    is_shared::<Events>();
    is_shared::<Event>();
    is_shared::<Key>();
    is_shared::<Interest>();
}
