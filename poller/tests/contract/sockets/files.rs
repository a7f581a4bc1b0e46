//! What a Unix domain listener does with the file that its address is.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use ampe_poller::socket::{Listener, SocketAddress, Stream};

use super::{bind_error, send, uds};
use crate::common::skip;

/// Binds, as often as another thread binds the same path.
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

/// The file on which those who bind a path lock each other out.
fn lock_file(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap().to_str().unwrap();
    path.with_file_name(format!(".{name}.binding"))
}

fn lock(file: &fs::File) {
    rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive).unwrap();
}

fn create_for_this_user(path: &Path) -> fs::File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).unwrap()
}

#[test]
fn binding_beside_whoever_binds_the_same_path_would_block() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // As who was killed while binding leaves it.
    let file = create_for_this_user(&lock_file(&path));
    lock(&file);
    assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::WouldBlock);
    let _other = Listener::bind(&uds(directory.path().join("other")), 1).unwrap();
    drop(file);
    let listener = Listener::bind(&uds(&path), 1).unwrap();
    assert!(!lock_file(&path).exists());
    drop(listener);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Anybody who may read the directory can have this lock.
#[test]
fn a_directory_that_somebody_has_locked_can_be_bound_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    leave_socket(&path);
    let file = fs::File::open(directory.path()).unwrap();
    lock(&file);
    Listener::bind(&uds(&path), 1).unwrap();
}

#[test]
fn what_has_the_locks_name_is_left_alone_and_keeps_nobody_from_binding() {
    let directory = tempfile::tempdir().unwrap();
    let takers: [fn(&Path); 6] = [
        |path| fs::create_dir(path).unwrap(),
        |path| std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(),
        |path| {
            let made = Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        },
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        // Content of other use.
        |path| {
            create_for_this_user(path);
            fs::write(path, "precious").unwrap();
        },
        // Others may open it.
        |path| {
            let file = create_for_this_user(path);
            file.set_permissions(fs::Permissions::from_mode(0o644))
                .unwrap();
        },
    ];
    for (number, take) in takers.into_iter().enumerate() {
        let path = directory.path().join(number.to_string());
        let name = lock_file(&path);
        take(&name);
        let before = fs::symlink_metadata(&name).unwrap();
        let is_file = before.is_file();
        let locked = is_file.then(|| fs::File::open(&name).unwrap());
        locked.iter().for_each(lock);
        let listener = Listener::bind(&uds(&path), 1).unwrap();
        assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::AddrInUse);
        drop(listener);
        leave_socket(&path);
        // Without a lock.
        assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::AlreadyExists);
        let after = fs::symlink_metadata(&name).unwrap();
        assert_eq!((before.ino(), before.len()), (after.ino(), after.len()));
        drop(locked);
    }
}

#[test]
fn files_of_others_are_no_lock_and_no_leftover() {
    const SOMEBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = lock_file(&path);
    lock(&create_for_this_user(&name));
    if let Err(error) = std::os::unix::fs::chown(&name, Some(SOMEBODY), None) {
        return skip(&format!("files of others: {error}"));
    }
    drop(Listener::bind(&uds(&path), 1).unwrap());
    assert_eq!(fs::metadata(&name).unwrap().uid(), SOMEBODY);
    fs::remove_file(&name).unwrap();

    leave_socket(&path);
    std::os::unix::fs::chown(&path, Some(SOMEBODY), None).unwrap();
    assert_eq!(bind_error(&uds(&path)).kind(), ErrorKind::AddrInUse);
    assert_eq!(fs::metadata(&path).unwrap().uid(), SOMEBODY);
    assert!(!name.exists());
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
            Listener::bind(&uds(&leftover), 1).unwrap();
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
