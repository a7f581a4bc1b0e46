//! Keys in files: one for who listens, and one for who connects.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::{Zeroize, Zeroizing};

use super::{Dialling, Listening, Private, hash, text};
use crate::error::Failure;
use crate::output;

/// What the two files' names end with.
const LISTEN: &str = "listen";
const CONNECT: &str = "connect";

/// More than any file of a key holds.
const BYTES_MOST: u64 = 16 << 10;

const PEM: &str = "-----BEGIN ";

const OF_LISTENER: &str = "\
# A key of ampe, for who listens: --key-file. Whoever has this file can pretend to be this listener.
# Behind the own private key is the public one of who may connect.
";
const OF_CALLER: &str = "\
# A key of ampe, for who connects: --key-file. Whoever has this file can connect.
";

/// The name of the file for who connects, beside that of the file for who listens.
pub(crate) fn connecting(listening: &Path) -> Option<PathBuf> {
    let is_ours = listening.extension().is_some_and(|it| it == LISTEN);
    let name = Path::new(listening.file_name()?);
    is_ours.then(|| name.with_extension(CONNECT))
}

/// Writes both files. Neither may exist.
pub(super) fn write(
    name: &Path,
    listening: &Listening,
    dialling: &Dialling,
) -> Result<[PathBuf; 2], Failure> {
    let path = |end: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(".");
        path.push(end);
        PathBuf::from(path)
    };
    let paths = [path(LISTEN), path(CONNECT)];
    // As `connecting` finds it, so that a listener can say what the other side takes.
    let own = Zeroizing::new(listening.own.0.serialize_pem());
    let public = dialling.own.0.public_key_pem();
    let texts = [
        Zeroizing::new([OF_LISTENER, &own, &public].concat()),
        Zeroizing::new([OF_CALLER, dialling.to_text()?.reveal(), "\n"].concat()),
    ];
    for (at, (path, text)) in paths.iter().zip(&texts).enumerate() {
        let written = create(path).and_then(|mut file| {
            let written = file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all());
            written.inspect_err(|_| drop(std::fs::remove_file(path)))
        });
        written.map_err(|error| {
            // One alone is of no use.
            paths[..at]
                .iter()
                .for_each(|path| drop(std::fs::remove_file(path)));
            unwritable(path, &error)
        })?;
    }
    Ok(paths)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AlreadyExists => "a key that exists is not replaced: choose another name",
        _ => "name a place that you may write to",
    };
    let path = output::shown(path.display());
    Failure::new(format!("cannot write {path}: {error}: {advice}"))
}

/// A file that nobody else reads, where the system has permissions in numbers.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(super) fn read_listening(path: &Path) -> Result<Listening, Failure> {
    let text = read(path)?;
    let wrong = |why: &str| wrong(path, why);
    if !text.contains(PEM) {
        let is_other = significant(&text).is_some_and(|line| text::read(line).is_ok());
        return Err(match is_other {
            true => wrong(
                "this file is for who connects: give the other one that `ampe key` made, which ends in .listen",
            ),
            false => wrong(NO_KEY),
        });
    }
    let own = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
    let mut own = own.map_err(|_| wrong(NO_KEY))?;
    let private = Private::from_pkcs8(own.secret_pkcs8_der());
    own.zeroize();
    let caller = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
    let caller = caller.map_err(|_| wrong(NO_KEY))?;
    Ok(Listening {
        own: private.ok_or_else(|| wrong(NO_KEY))?,
        caller: hash(&caller),
    })
}

const NO_KEY: &str = "there is no key in this file: make one by `ampe key NAME`";

pub(super) fn read_dialling(path: &Path) -> Result<Dialling, Failure> {
    let text = read(path)?;
    if text.contains(PEM) {
        return Err(wrong(
            path,
            "this file is for who listens: give the other one that `ampe key` made, which ends in .connect",
        ));
    }
    let line = significant(&text).ok_or_else(|| wrong(path, NO_KEY))?;
    text::read(line).map_err(|why| wrong(path, &why.to_string()))
}

/// The first line that says something.
pub(super) fn significant(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn wrong(path: &Path, why: &str) -> Failure {
    Failure::Usage(format!("{}: {why}", output::shown(path.display())))
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    // All of it at once: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MOST as usize + 1));
    let file = File::open(path).and_then(|file| {
        warn_of_readers(path, &file);
        (&file).take(BYTES_MOST).read_to_end(&mut bytes)
    });
    file.map_err(|error| wrong(path, &format!("{error}: check the name of the file")))?;
    let text = str::from_utf8(&bytes).map_err(|_| wrong(path, NO_KEY))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Says so if others can read a key.
#[cfg(unix)]
fn warn_of_readers(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;

    let is_open =
        |found: std::fs::Metadata| found.is_file() && found.permissions().mode() & 0o077 != 0;
    if file.metadata().is_ok_and(is_open) {
        let path = output::shown(path.display());
        output::note(&format!(
            "other users can read the key in {path}: `chmod 600` it"
        ));
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_: &Path, _: &File) {}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;

    #[test]
    fn both_files_are_read_as_they_were_written_and_each_at_its_end_only() {
        let directory = tempfile::tempdir().unwrap();
        let (listening, dialling) = generate().unwrap();
        let name = directory.path().join("a.b");
        let [listen, connect] = write(&name, &listening, &dialling).unwrap();
        assert_eq!(listen, directory.path().join("a.b.listen"));
        assert_eq!(connecting(&listen), Some("a.b.connect".into()));
        assert_eq!(connecting(Path::new("other")), None);
        let read = read_listening(&listen).ok().unwrap();
        assert_eq!(read.own.hash(), listening.own.hash());
        assert_eq!(read.caller, listening.caller);
        let read = read_dialling(&connect).ok().unwrap();
        assert_eq!(read.own.hash(), dialling.own.hash());
        assert_eq!(read.listener, dialling.listener);
        let whole = std::fs::read_to_string(&connect).unwrap();
        assert!(Dialling::from_text(&whole, "AMPE_KEY").is_ok());
        let said = read_listening(&connect).err().unwrap().to_string();
        assert!(said.contains("ends in .listen"), "{said}");
        let said = read_dialling(&listen).err().unwrap().to_string();
        assert!(said.contains("ends in .connect"), "{said}");
    }

    #[test]
    fn the_listener_has_no_key_of_who_connects() {
        let directory = tempfile::tempdir().unwrap();
        let (listening, dialling) = generate().unwrap();
        let paths = write(&directory.path().join("k"), &listening, &dialling).unwrap();
        let text = std::fs::read_to_string(&paths[0]).unwrap();
        assert_eq!(
            text.matches("BEGIN PRIVATE KEY").count(),
            1,
            "{}",
            text.len()
        );
        assert!(!text.contains("ampekey1"));
    }

    #[test]
    fn what_exists_is_not_replaced_and_no_half_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("k");
        std::fs::write(directory.path().join("k.connect"), "mine").unwrap();
        let (listening, dialling) = generate().unwrap();
        let said = write(&name, &listening, &dialling).unwrap_err().to_string();
        assert!(said.contains("not replaced"), "{said}");
        let kept = std::fs::read_to_string(directory.path().join("k.connect"));
        assert_eq!(kept.unwrap(), "mine");
        assert!(!directory.path().join("k.listen").exists());
    }

    #[test]
    fn a_text_is_found_behind_remarks_and_anything_else_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let (_, dialling) = generate().unwrap();
        let text = dialling.to_text().unwrap();
        let mut file = create(&path).unwrap();
        write!(file, "\n# mine\n  {}\r\n", text.reveal()).unwrap();
        assert!(read_dialling(&path).is_ok());
        for content in [&b""[..], b"# only\n", b"\xff\xfe", b"hello"] {
            std::fs::write(&path, content).unwrap();
            for said in [read_dialling(&path).err(), read_listening(&path).err()] {
                let said = said.unwrap().to_string();
                assert!(said.contains("no key"), "{said}");
            }
        }
        std::fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        let said = read_listening(&path).err().unwrap().to_string();
        assert!(said.contains("no key"), "{said}");
    }
}
