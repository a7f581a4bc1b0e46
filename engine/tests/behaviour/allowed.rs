//! Unix sockets that some users and groups may connect to.

use std::collections::BTreeSet;

use ampe::{Address, ListenOptions, Reason};

use crate::common::*;

fn allowing(users: Option<&[u32]>, groups: Option<&[u32]>) -> ListenOptions {
    let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<_>>();
    let mut options = ListenOptions::default();
    options.unix_allowed_users = users.map(set);
    options.unix_allowed_groups = groups.map(set);
    options
}

#[track_caller]
fn assert_not_listening(address: &Address, words: &str) {
    let engine = engine();
    let mut server = group(&engine);
    let options = allowing(Some(&[0]), None);
    server.0.listen_with(address, &options).unwrap();
    let closed = expect!(server.1, Closed);
    assert_eq!(closed.reason(), Reason::ListenFailed);
    let said = closed.os_error().unwrap().to_string();
    assert!(said.contains(words), "{said}");
}

#[test]
fn where_nobody_can_tell_who_connects_nobody_listens() {
    for address in ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"] {
        assert_not_listening(&address.parse().unwrap(), "at Unix sockets alone");
    }
    if cfg!(not(unix)) {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::uds(directory.path().join("socket")).unwrap();
        assert_not_listening(&address, "does not tell who connects");
    }
}

#[cfg(unix)]
#[test]
fn who_is_in_none_of_the_sets_is_never_heard() {
    use std::os::unix::fs::MetadataExt as _;

    let directory = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(directory.path()).unwrap();
    let (user, group_id) = (own.uid(), own.gid());
    let (strange, others) = ([user + 1, user + 2], [group_id + 1]);
    for (index, (options, is_allowed)) in [
        (allowing(None, None), true),
        (allowing(Some(&[user]), None), true),
        (allowing(None, Some(&[group_id])), true),
        (allowing(Some(&strange), Some(&[group_id])), true),
        (allowing(Some(&[strange[0], user]), Some(&others)), true),
        (allowing(Some(&[]), None), false),
        (allowing(Some(&strange), None), false),
        (allowing(None, Some(&others)), false),
        (allowing(Some(&strange), Some(&others)), false),
    ]
    .into_iter()
    .enumerate()
    {
        let engine = engine();
        let (mut server, mut client) = (group(&engine), group(&engine));
        let address = Address::uds(directory.path().join(index.to_string())).unwrap();
        server.0.listen_with(&address, &options).unwrap();
        expect!(server.1, Listening);
        client.0.connect(&address).unwrap();
        if is_allowed {
            server.0.post(expect!(server.1, Hello).echo()).unwrap();
            expect!(client.1, Accepted);
        } else {
            let closed = loop {
                match next(&mut client.1, "Closed") {
                    ampe::Event::Closed(closed) => break closed,
                    ampe::Event::Returned(_) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(closed.account().confirmed, 0);
            wait_until("it to be counted", || engine.statistics().refused == 1);
            assert_eq!(engine.statistics().ended_before_hello, 1);
            assert_nothing(&mut server.1);
        }
        assert_eq!(engine.statistics().accepted, 1);
        assert_eq!(engine.statistics().refused, u64::from(!is_allowed));
    }
}

/// As systemd hands one to a service.
#[cfg(unix)]
#[test]
fn a_listener_that_was_handed_in_allows_as_any_other() {
    use std::os::unix::fs::MetadataExt as _;

    let directory = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(directory.path()).unwrap().uid();
    for (allowed, refused) in [(own, 0), (own + 1, 1)] {
        let path = directory.path().join(allowed.to_string());
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let socket = ampe::ListeningSocket::new(listener).unwrap();
        let engine = engine();
        let (mut server, client) = (group(&engine), group(&engine));
        let options = allowing(Some(&[allowed]), None);
        server.0.listen_on_with(socket, &options).unwrap();
        expect!(server.1, Listening);
        client.0.connect(&Address::uds(&path).unwrap()).unwrap();
        match refused {
            0 => drop(expect!(server.1, Hello)),
            _ => wait_until("it to be refused", || engine.statistics().refused == 1),
        }
        assert_eq!(engine.statistics().refused, refused);
        drop(client);
    }
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine();
    let mut server = group(&engine);
    let socket = ampe::ListeningSocket::new(tcp).unwrap();
    let options = allowing(Some(&[own]), None);
    server.0.listen_on_with(socket, &options).unwrap();
    assert_eq!(expect!(server.1, Closed).reason(), Reason::ListenFailed);
}
