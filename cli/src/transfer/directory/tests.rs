use super::super::names::PARTIAL_PREFIX;
use super::*;

fn open(path: &Path, overwrite: bool) -> Arc<Directory> {
    let policy = Policy {
        overwrite,
        sync: true,
        keep: true,
    };
    Arc::new(Directory::open(path, policy).unwrap())
}

/// Begins a file that is not here.
fn begin(directory: &Arc<Directory>, path: &[u8]) -> Result<Partial, String> {
    match directory.begin(path, Offered::default())? {
        Begun::Partial(partial, 0) => Ok(partial),
        begun => panic!("{begun:?}"),
    }
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_has_its_name_only_once_it_is_stored() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path(), false);
    let mut partial = begin(&directory, b"a").unwrap();
    partial.write(&[b"content"]).unwrap();
    assert!(entries(temporary.path())[0].starts_with(PARTIAL_PREFIX));
    let path = partial.store().unwrap();
    assert_eq!(fs::read(path).unwrap(), b"content");
    assert_eq!(entries(temporary.path()), ["a"]);
}

#[test]
fn a_dropped_file_leaves_nothing_and_frees_its_name() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path(), false);
    let partial = begin(&directory, b"a").unwrap();
    assert!(
        begin(&directory, b"a")
            .unwrap_err()
            .contains("being received now")
    );
    drop(partial);
    assert!(entries(temporary.path()).is_empty());
    begin(&directory, b"a").unwrap();
}

#[test]
fn an_existing_file_is_kept_also_when_it_appears_late() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path(), false);
    let mut partial = begin(&directory, b"a").unwrap();
    partial.write(&[b"new"]).unwrap();
    fs::write(temporary.path().join("a"), "old").unwrap();
    assert_eq!(partial.store().unwrap_err(), exists());
    assert_eq!(begin(&directory, b"a").unwrap_err(), exists());
    assert_eq!(fs::read(temporary.path().join("a")).unwrap(), b"old");
    assert_eq!(entries(temporary.path()), ["a"]);
}

#[cfg(unix)] // elsewhere the name of an open file may stay until that is closed
#[test]
fn an_unfinished_file_that_somebody_removed_is_told_of() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path(), false);
    let partial = begin(&directory, b"a").unwrap();
    fs::remove_file(partial.file.path()).unwrap();
    assert_eq!(partial.store().unwrap_err(), VANISHED);
    assert!(entries(temporary.path()).is_empty());
}

#[test]
fn without_exclusive_names_an_existing_file_is_looked_for_last() {
    let temporary = tempfile::tempdir().unwrap();
    let mut directory = Directory::open(temporary.path(), Policy::default()).unwrap();
    assert!(directory.warnings().is_empty());
    directory.abilities.exclusive_names = false;
    assert!(directory.warnings()[0].contains("by replacing"));
    let directory = Arc::new(directory);
    let mut partial = begin(&directory, b"a").unwrap();
    partial.write(&[b"new"]).unwrap();
    fs::write(temporary.path().join("a"), "old").unwrap();
    assert!(partial.store().unwrap_err().contains("exists"));
    assert_eq!(fs::read(temporary.path().join("a")).unwrap(), b"old");
    assert_eq!(entries(temporary.path()), ["a"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_replaced_or_refused_and_never_followed() {
    let (temporary, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = outside.path().join("target");
    fs::write(&target, "untouched").unwrap();
    for name in ["link", "dangling"] {
        let target = if name == "link" {
            &target
        } else {
            Path::new("/nonexistent/x")
        };
        std::os::unix::fs::symlink(target, temporary.path().join(name)).unwrap();
        let strict = open(temporary.path(), false);
        assert!(
            begin(&strict, name.as_bytes())
                .unwrap_err()
                .contains("exists")
        );
        let replacing = open(temporary.path(), true);
        let mut partial = begin(&replacing, name.as_bytes()).unwrap();
        partial.write(&[b"new"]).unwrap();
        let path = partial.store().unwrap();
        assert!(fs::symlink_metadata(path).unwrap().is_file());
    }
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
}

#[test]
fn leftovers_are_removed_and_living_files_are_not() {
    let temporary = tempfile::tempdir().unwrap();
    let leftover = temporary.path().join(format!("{PARTIAL_PREFIX}leftover"));
    fs::write(&leftover, "half").unwrap();
    let first = open(temporary.path(), false);
    assert!(!leftover.exists());
    let mut partial = begin(&first, b"a").unwrap();
    partial.write(&[b"living"]).unwrap();
    drop(open(temporary.path(), false));
    assert_eq!(fs::read(partial.store().unwrap()).unwrap(), b"living");
}

#[test]
fn a_directory_of_the_name_is_never_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    fs::create_dir(temporary.path().join("a")).unwrap();
    let directory = open(temporary.path(), true);
    assert!(begin(&directory, b"a").unwrap_err().contains("directory"));
}

#[test]
fn what_a_path_goes_through_is_told_as_what_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path(), true);
    fs::write(temporary.path().join("file"), "").unwrap();
    let refused = |path: &[u8]| begin(&directory, path).unwrap_err();
    assert!(refused(b"file/a").contains("file is no directory"));
    assert!(refused(b"missing/a").contains("there is no directory missing"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(".", temporary.path().join("link")).unwrap();
        assert!(refused(b"link/a").contains("link is a symbolic link"));
    }
    assert_eq!(
        fs::read(temporary.path().join("file")).unwrap(),
        b"",
        "all stays as it is"
    );
}

#[test]
fn what_is_no_directory_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [
        &file,
        &file.join("below"),
        &temporary.path().join("missing"),
    ] {
        let failure = Directory::open(path, Policy::default()).unwrap_err();
        assert!(matches!(failure, Failure::Failed(_)));
    }
}

#[test]
fn a_directory_that_is_gone_is_not_taken_for_something_else() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("out");
    fs::create_dir(&path).unwrap();
    let directory = open(&path, false);
    fs::remove_dir(&path).unwrap();
    let made = directory.make_directory(b"a", Attributes::default());
    assert!(made.unwrap_err().contains("cannot be stored"));
    let below = directory.make_directory(b"a/b", Attributes::default());
    assert!(below.unwrap_err().contains("no directory a"));
    // A file in its place.
    #[cfg(unix)]
    {
        fs::write(&path, "").unwrap();
        let below = directory.make_directory(b"a/b", Attributes::default());
        assert!(below.unwrap_err().contains("cannot be stored"));
    }
}

#[test]
fn why_nothing_is_stored_is_told_with_what_to_do_and_without_temporary_names() {
    for (kind, advice) in [
        (io::ErrorKind::StorageFull, "free space there"),
        (io::ErrorKind::QuotaExceeded, "free space there"),
        (
            io::ErrorKind::PermissionDenied,
            "receive into another directory",
        ),
        (
            io::ErrorKind::FileTooLarge,
            "onto a disk that holds such files",
        ),
        (io::ErrorKind::ReadOnlyFilesystem, "or on another disk"),
    ] {
        let plain = not_stored(&kind.into());
        assert!(plain.contains(&kind.to_string()), "{plain}");
        assert!(plain.ends_with(advice), "{plain}");
        let with_path = io::Error::new(kind, "out/.ampe-partial-x failed");
        assert_eq!(not_stored(&with_path), plain);
    }
    #[cfg(unix)]
    {
        let none_left = not_stored(&io::Error::from_raw_os_error(24));
        assert!(none_left.ends_with("(`ulimit -n`)"), "{none_left}");
    }
}
