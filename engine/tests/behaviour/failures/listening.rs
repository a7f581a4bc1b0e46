//! Listeners that cannot be, and the paths of Unix sockets.

use ampe::{Address, AddressError, Channel, ChannelGroup, Event, Inbox, Post, Reason};

use crate::common::{
    Transport, assert_nothing, engine, group, listen, next, place, serve_well, transports,
};

/// Fails to listen: one `Closed`, and nothing else.
#[track_caller]
fn check_listen_fails(address: &str, reason: Reason) -> Option<std::io::Error> {
    let engine = engine();
    let (group, mut inbox) = group(&engine);
    let channel = group.listen(&address.parse().unwrap()).unwrap();
    let closed = expect!(inbox, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (channel, reason),
        "{address}"
    );
    assert_eq!(
        closed.account(),
        ampe::Account::default(),
        "a listener has no messages"
    );
    assert_nothing(&mut inbox);
    closed.os_error()
}

#[test]
fn an_address_of_another_machine() {
    // An address that documentation uses, and no machine has.
    let error = check_listen_fails("tcp://192.0.2.1:0", Reason::ListenFailed).unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
}

#[test]
fn a_unix_socket_where_there_are_none_is_refused_in_words() {
    if ampe::platform::has_unix_sockets() {
        return;
    }
    let path = place(Transport::Uds).address.to_string();
    let error = check_listen_fails(&path, Reason::NoUnixSockets).unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert_eq!(Reason::NoUnixSockets.status(), ampe::Status::InvalidAddress);
}

#[test]
fn a_name_that_nobody_knows() {
    check_listen_fails("tcp://nosuchhost.invalid:0", Reason::NameNotResolved);
}

#[test]
fn an_address_that_another_listener_has() {
    for transport in transports() {
        let (place, engine) = (place(transport), engine());
        let mut first = group(&engine);
        let (_, bound) = listen(&first.0, &mut first.1, &place.address);
        // In another engine, in another group, and in the same.
        check_listen_fails(&bound.to_string(), Reason::ListenFailed);
        let mut second = group(&engine);
        for (group, inbox) in [(&second.0, &mut second.1), (&first.0.clone(), &mut first.1)] {
            let channel = group.listen(&bound).unwrap();
            let closed = expect!(*inbox, Closed);
            assert_eq!(
                (closed.channel(), closed.reason()),
                (channel, Reason::ListenFailed)
            );
        }
        serve_well(&mut first, &bound);
    }
}

/// Keeps others from binding a Unix socket there, until dropped.
#[cfg(unix)]
fn lock(address: &Address) -> std::fs::File {
    use std::os::unix::fs::OpenOptionsExt;
    let path = address.path().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options
        .open(path.with_file_name(format!(".{name}.binding")))
        .unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    file
}

#[test]
#[cfg(unix)]
fn a_path_that_somebody_else_binds_is_waited_for() {
    let (place, elsewhere) = (place(Transport::Uds), place(Transport::Tcp));
    let engine = engine();
    let mut server = group(&engine);
    let lock = lock(&place.address);
    let (waiting, mut inbox) = group(&engine);
    let channel = waiting.listen(&place.address).unwrap();
    // The reactor has other things to do meanwhile.
    let (_, bound) = listen(&server.0, &mut server.1, &elsewhere.address);
    serve_well(&mut server, &bound);
    assert_nothing(&mut inbox);
    drop(lock);
    assert_eq!(expect!(inbox, Listening).channel(), channel);
    serve_well(&mut (waiting, inbox), &place.address);
}

#[test]
#[cfg(unix)]
fn a_path_that_stays_locked_is_not_waited_for_for_ever() {
    let place = place(Transport::Uds);
    let _lock = lock(&place.address);
    let mut options = ampe::Options::default();
    options.connect_timeout = std::time::Duration::from_millis(50);
    let engine = ampe::Engine::start(options).unwrap();
    let (group, mut inbox) = group(&engine);
    let channel = group.listen(&place.address).unwrap();
    let closed = expect!(inbox, Closed);
    assert_eq!(
        (closed.channel(), closed.reason()),
        (channel, Reason::ListenFailed)
    );
    let error = closed.os_error().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!place.address.path().unwrap().exists());
}

#[test]
fn a_name_is_listened_on_and_connected_to() {
    let engine = engine();
    let mut server = group(&engine);
    let (_, bound) = listen(
        &server.0,
        &mut server.1,
        &"tcp://localhost:0".parse().unwrap(),
    );
    assert!(bound.socket_addr().unwrap().ip().is_loopback(), "{bound}");
    serve_well(&mut server, &bound);

    // Of the addresses of the name one at most is listened on; the others refuse.
    let (_, bound) = listen(
        &server.0,
        &mut server.1,
        &"tcp://127.0.0.1:0".parse().unwrap(),
    );
    let by_name = Address::tcp("localhost", bound.port().unwrap()).unwrap();
    serve_well(&mut server, &by_name);
}

#[test]
fn a_port_is_free_again_at_once() {
    let engine = engine();
    let mut it = group(&engine);
    let (mut listener, bound) = listen(&it.0, &mut it.1, &place(Transport::Tcp).address);
    for _ in 0..5 {
        // Connections that ended here a moment ago do not keep the port.
        serve_well(&mut it, &bound);
        it.0.post(Post::abort(listener)).unwrap();
        assert_eq!(expect!(it.1, Closed).reason(), Reason::Aborted);
        let again: (Channel, Address) = listen(&it.0, &mut it.1, &bound);
        assert_eq!(again.1, bound);
        listener = again.0;
    }
}

/// Listens and aborts, and aborts again while that is not refused: what comes must be one `Closed`.
#[track_caller]
fn listen_and_abort(group: &ChannelGroup, inbox: &mut Inbox, address: &Address, pause: usize) {
    let channel = group.listen(address).unwrap();
    for _ in 0..pause {
        std::hint::spin_loop();
    }
    let mut aborts = 0;
    while aborts < 20 && group.post(Post::abort(channel)).is_ok() {
        aborts += 1;
        std::thread::yield_now();
    }
    let mut event = next(inbox, "Listening or Closed");
    if let Event::Listening(listening) = &event {
        assert_eq!(listening.address(), address);
        event = next(inbox, "Closed");
    }
    let Event::Closed(closed) = event else {
        panic!("expected Closed, got {event:?}")
    };
    assert_eq!(
        (closed.channel(), closed.reason()),
        (channel, Reason::Aborted)
    );
}

#[test]
fn a_listener_that_is_aborted_at_once_leaves_nothing_behind() {
    for transport in transports() {
        let place = place(transport);
        let engine = engine();
        let mut it = group(&engine);
        let (listener, bound) = listen(&it.0, &mut it.1, &place.address);
        it.0.post(Post::abort(listener)).unwrap();
        expect!(it.1, Closed);
        // The aborts meet every state of the opening, were it by chance.
        for round in 0..2000 {
            listen_and_abort(&it.0, &mut it.1, &bound, round % 100);
        }
        listen(&it.0, &mut it.1, &bound);
        serve_well(&mut it, &bound);
    }
}

#[test]
fn a_listener_that_is_aborted_while_its_name_is_looked_up_leaves_nothing_behind() {
    let engine = engine();
    let mut it = group(&engine);
    let (listener, bound) = listen(&it.0, &mut it.1, &"tcp://localhost:0".parse().unwrap());
    it.0.post(Post::abort(listener)).unwrap();
    expect!(it.1, Closed);
    let by_name = Address::tcp("localhost", bound.port().unwrap()).unwrap();
    for _ in 0..1000 {
        let channel = it.0.listen(&by_name).unwrap();
        it.0.post(Post::abort(channel)).unwrap();
        let event = next(&mut it.1, "Listening or Closed");
        let closed = match event {
            Event::Listening(_) => expect!(it.1, Closed),
            Event::Closed(closed) => closed,
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(
            (closed.channel(), closed.reason()),
            (channel, Reason::Aborted)
        );
    }
    listen(&it.0, &mut it.1, &bound);
    serve_well(&mut it, &bound);
}

#[test]
fn a_path_that_is_too_long_is_no_address() {
    let longest = format!("/{}", "x".repeat(ampe::address::MAX_UDS_PATH_LEN - 1));
    assert!(Address::uds(&longest).is_ok());
    let error = Address::uds(format!("{longest}x")).unwrap_err();
    assert!(matches!(error, AddressError::PathTooLong { .. }), "{error}");
    assert!(
        error.to_string().contains("use a shorter directory"),
        "{error}"
    );
    assert!(format!("uds://{longest}x").parse::<Address>().is_err());
    assert!(Address::from_wire(&format!("uds|{longest}x")).is_err());
}

#[cfg(unix)]
mod paths {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn is_socket(path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket())
    }

    #[test]
    fn the_longest_path_is_listened_on() {
        let directory = tempfile::tempdir().unwrap();
        let start = directory.path().to_str().unwrap().len() + 1;
        let name = "x".repeat(ampe::address::MAX_UDS_PATH_LEN - start);
        let address = Address::uds(directory.path().join(name)).unwrap();
        let engine = engine();
        let mut it = group(&engine);
        listen(&it.0, &mut it.1, &address);
        serve_well(&mut it, &address);
    }

    #[test]
    fn a_file_is_left_untouched() {
        let place = place(Transport::Uds);
        let path = place.address.path().unwrap();
        fs::write(path, b"mine").unwrap();
        check_listen_fails(&place.address.to_string(), Reason::ListenFailed);
        assert_eq!(fs::read(path).unwrap(), b"mine");
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        check_listen_fails(&place.address.to_string(), Reason::ListenFailed);
        assert!(path.is_dir());
    }

    #[test]
    fn a_link_to_a_file_is_left_untouched() {
        let place = place(Transport::Uds);
        let path = place.address.path().unwrap();
        let file = path.with_file_name("file");
        fs::write(&file, b"mine").unwrap();
        std::os::unix::fs::symlink(&file, path).unwrap();
        check_listen_fails(&place.address.to_string(), Reason::ListenFailed);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert!(fs::symlink_metadata(path).unwrap().is_symlink());
    }

    #[test]
    fn a_directory_that_does_not_exist() {
        let place = place(Transport::Uds);
        let address = format!("{}/deeper", place.address);
        check_listen_fails(&address, Reason::ListenFailed);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let place = place(Transport::Uds);
        let path = place.address.path().unwrap();
        let live = UnixListener::bind(path).unwrap();
        check_listen_fails(&place.address.to_string(), Reason::ListenFailed);
        drop(UnixStream::connect(path).unwrap());
        drop(live);
        assert!(is_socket(path), "stale");
        let engine = engine();
        let mut it = group(&engine);
        let (_, bound) = listen(&it.0, &mut it.1, &place.address);
        assert_eq!(bound, place.address);
        serve_well(&mut it, &bound);
    }

    #[test]
    fn a_socket_is_its_owners_alone() {
        let place = place(Transport::Uds);
        let path = place.address.path().unwrap();
        let engine = engine();
        let mut it = group(&engine);
        listen(&it.0, &mut it.1, &place.address);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }

    #[test]
    fn a_socket_is_removed_at_every_end() {
        let place = place(Transport::Uds);
        let path = place.address.path().unwrap();
        for end in 0..4 {
            let engine = engine();
            let mut it = group(&engine);
            let (listener, _) = listen(&it.0, &mut it.1, &place.address);
            assert!(is_socket(path));
            match end {
                0 => {
                    it.0.post(Post::abort(listener)).unwrap();
                    expect!(it.1, Closed);
                }
                1 => drop(it.1.close(Duration::ZERO)),
                2 => engine.stop(Duration::ZERO),
                _ => drop(engine),
            }
            assert!(!path.exists(), "end {end}");
        }
    }

    #[test]
    fn a_socket_that_is_not_ours_any_more_stays() {
        let place = place(Transport::Uds);
        let path = place.address.path().unwrap();
        let engine = engine();
        let mut it = group(&engine);
        listen(&it.0, &mut it.1, &place.address);
        fs::remove_file(path).unwrap();
        let theirs = UnixListener::bind(path).unwrap();
        it.1.close(Duration::ZERO);
        assert!(is_socket(path), "it is another's by now");
        drop(UnixStream::connect(path).unwrap());
        drop(theirs);
    }
}
