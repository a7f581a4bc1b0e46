//! What a Unix domain listener does with the file that its address is.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use ampe_poller::socket::{Listener, SocketAddress, Stream};

use super::{bind_error, send, uds};

/// Binds, as often as another test, or another thread of this one, binds in the same directory.
fn bind(address: &SocketAddress) -> io::Result<Listener> {
    loop {
        match Listener::bind(address, 64) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

#[test]
fn writing_to_the_lost_half_of_a_pair_is_an_error_and_no_signal() {
    let (ours, theirs) = Stream::pair().unwrap();
    drop(theirs);
    assert_eq!(send(&ours, b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
#[cfg(target_os = "linux")]
fn a_listener_whose_backlog_is_full_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let address = uds(directory.path().join("socket"));
    let listener = Listener::bind(&address, 1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = Stream::connect(&address) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the backlog has no end");
    }
    // That it turns somebody away shows that it lives.
    assert_eq!(bind_error(&address).kind(), ErrorKind::AddrInUse);
    listener.accept().unwrap();
    Stream::connect(&address).unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&file, &link, &folder] {
        assert_eq!(bind_error(&uds(path)).kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.is_symlink() && folder.is_dir());
}

/// What a listener leaves behind whose process was killed.
fn leave_socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(fs::metadata(path).unwrap().file_type().is_socket());
}

#[test]
fn a_leftover_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    leave_socket(&path);
    let listener = Listener::bind(&uds(&path), 1).unwrap();
    Stream::connect(&uds(&path)).unwrap();
    listener.accept().unwrap();
}

#[test]
fn of_many_that_find_a_leftover_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for _ in 0..20 {
        leave_socket(&path);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let starters = [(); 4].map(|()| scope.spawn(|| bind(&uds(&path))));
            starters.map(|starter| starter.join().unwrap()).into()
        });
        let (winners, losers): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        for loser in losers {
            assert_eq!(loser.unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        Stream::connect(&uds(&path)).unwrap();
        drop(winners);
        assert!(!path.exists());
    }
}

#[test]
fn binding_beside_whoever_binds_in_the_same_directory_would_block() {
    use rustix::fs::{FlockOperation, flock};
    let directory = tempfile::tempdir().unwrap();
    let address = uds(directory.path().join("socket"));
    let lock = fs::File::open(directory.path()).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert_eq!(bind_error(&address).kind(), ErrorKind::WouldBlock);
    drop(lock);
    Listener::bind(&address, 1).unwrap();
}

/// Gives up what lets the superuser read everything, for this thread.
#[cfg(target_os = "linux")]
fn drop_privileges() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_cannot_be_read_can_be_bound_in() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("socket");
    let leftover = folder.join("leftover");
    leave_socket(&leftover);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o300)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop_privileges();
            fs::read_dir(&folder).expect_err("the directory can be read");
            let listener = Listener::bind(&uds(&path), 1).unwrap();
            Stream::connect(&uds(&path)).unwrap();
            assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::AddrInUse);
            drop(listener);
            assert!(!path.exists());
            // Unlocked, it might be about to listen.
            assert_eq!(bind_error(&uds(&leftover)).kind(), ErrorKind::AddrInUse);
            assert!(leftover.exists());
        });
    });
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_listeners_file_is_for_its_user_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = Listener::bind(&uds(&path), 1).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_listener_removes_only_its_own_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&uds(&path), 1).unwrap();
    drop(listener);
    assert!(!path.exists());

    let listener = Listener::bind(&uds(&path), 1).unwrap();
    fs::remove_file(&path).unwrap();
    leave_socket(&path);
    let successor = fs::metadata(&path).unwrap().ino();
    drop(listener);
    assert_eq!(fs::metadata(&path).unwrap().ino(), successor);
}

#[test]
fn a_missing_directory_is_said_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("socket");
    assert_eq!(bind_error(&uds(path)).kind(), ErrorKind::NotFound);
}
