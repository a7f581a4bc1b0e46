//! A key as a text to copy and paste: Bech32m, which has a checksum and consists of letters and digits.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use zeroize::Zeroizing;

use super::{Dialling, Private, Secret};

/// What each begins with, in front of the digit 1.
const PREFIX: &str = "ampekey";

/// What follows is as it is described here.
const VERSION: u8 = 1;

/// The version, the hash of the listener's public key, the private one of who connects.
const LEN: usize = 1 + HASH_LEN + SEED_LEN;
const HASH_LEN: usize = 32;
const SEED_LEN: usize = 32;

/// What stands in front of the 32 bytes of a private Ed25519 key in PKCS #8, as RFC 8410 has it, in both of its
/// versions behind the number of the version.
const PKCS8_HEADER: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const VERSION_END: usize = 5;

/// What is wrong with a text that should be a key. It holds nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("this is no key: one begins with ampekey1, and a listener or `ampe key` makes it")]
    NoKey,
    #[error(
        "this key is not as it was printed, or not all of it, as its checksum says: paste it once more"
    )]
    Mistyped,
    #[error("this key is of another version of ampe: use the same version on both sides")]
    Version,
}

/// As text, if it is a key of the kind that is made here.
pub(super) fn write(dialling: &Dialling) -> Option<Secret> {
    let pkcs8 = Zeroizing::new(dialling.own.0.serialize_der());
    let header = pkcs8.get(VERSION_END..PKCS8_HEADER.len())?;
    if header != &PKCS8_HEADER[VERSION_END..] {
        return None;
    }
    let seed = pkcs8.get(PKCS8_HEADER.len()..PKCS8_HEADER.len() + SEED_LEN)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN));
    bytes.push(VERSION);
    bytes.extend_from_slice(dialling.listener.as_bytes());
    bytes.extend_from_slice(seed);
    let prefix = Hrp::parse(PREFIX).ok()?;
    bech32::encode::<Bech32m>(prefix, &bytes)
        .ok()
        .map(Secret::new)
}

/// What the text says, white space around it apart.
pub(super) fn read(text: &str) -> Result<Dialling, Wrong> {
    let text = text.trim();
    let (prefix, _) = text.split_once('1').ok_or(Wrong::NoKey)?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return Err(Wrong::NoKey);
    }
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| Wrong::Mistyped)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * LEN));
    bytes.extend(checked.byte_iter().take(2 * LEN));
    match bytes.first() {
        Some(&VERSION) if bytes.len() == LEN => {}
        Some(&VERSION) | None => return Err(Wrong::Mistyped),
        Some(_) => return Err(Wrong::Version),
    }
    let (listener, seed) = bytes[1..].split_at(HASH_LEN);
    let listener = <[u8; HASH_LEN]>::try_from(listener).map_err(|_| Wrong::Mistyped)?;
    let mut pkcs8 = Zeroizing::new(Vec::with_capacity(PKCS8_HEADER.len() + SEED_LEN));
    pkcs8.extend_from_slice(&PKCS8_HEADER);
    pkcs8.extend_from_slice(seed);
    Ok(Dialling {
        own: Private::from_pkcs8(&pkcs8).ok_or(Wrong::Mistyped)?,
        listener: listener.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;

    fn text() -> (Dialling, String) {
        let (_, dialling) = generate().unwrap();
        let text = write(&dialling).unwrap();
        (dialling, text.reveal().to_owned())
    }

    fn wrong(text: &str) -> Wrong {
        read(text).err().expect("it is wrong")
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let (made, text) = text();
        assert!(text.starts_with("ampekey1") && text.len() == 118, "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        for pasted in [text.clone(), format!(" {text}\r\n"), text.to_uppercase()] {
            let read = read(&pasted).ok().unwrap();
            assert_eq!(read.listener, made.listener);
            assert_eq!(read.own.hash(), made.own.hash());
        }
    }

    /// One made by another program: the seed is that of RFC 8032, 7.1, test 1, and so is its public key.
    #[test]
    fn a_key_of_the_standard_has_the_public_key_of_the_standard() {
        let hex = |text: &str| -> Vec<u8> {
            let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(byte).collect()
        };
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let bytes = [&[VERSION][..], &[7; HASH_LEN], &seed].concat();
        let text = bech32::encode::<Bech32m>(Hrp::parse(PREFIX).unwrap(), &bytes).unwrap();
        let read = read(&text).ok().unwrap();
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(read.own.0.public_key_raw(), public);
        assert_eq!(read.listener.as_bytes(), &[7; HASH_LEN]);
    }

    #[test]
    fn what_is_mistyped_is_told_wherever_it_is() {
        let (_, text) = text();
        for at in PREFIX.len() + 1..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'q' { b'p' } else { b'q' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(wrong(&typed), Wrong::Mistyped, "{at}");
        }
        for len in PREFIX.len() + 1..text.len() {
            assert_eq!(wrong(&text[..len]), Wrong::Mistyped, "{len}");
        }
        assert_eq!(wrong(&format!("{text}{text}")), Wrong::Mistyped);
        let hash = format!("sha256:{}", "0".repeat(64));
        for no_key in ["", "1", "ampekey", "bc1qqqq", &hash, "\u{e9}"] {
            assert_eq!(wrong(no_key), Wrong::NoKey, "{no_key}");
        }
    }

    #[test]
    fn a_key_of_another_version_or_length_is_told() {
        let prefix = Hrp::parse(PREFIX).unwrap();
        let text = |bytes: &[u8]| bech32::encode::<Bech32m>(prefix, bytes).unwrap();
        assert_eq!(wrong(&text(&[2; LEN])), Wrong::Version);
        assert_eq!(wrong(&text(&[VERSION; LEN + 1])), Wrong::Mistyped);
        assert_eq!(wrong(&text(&[VERSION; LEN - 1])), Wrong::Mistyped);
        assert_eq!(wrong(&text(&[])), Wrong::Mistyped);
        // The older checksum, which does not notice some letters that are added.
        let older = bech32::encode::<bech32::Bech32>(prefix, &[VERSION; LEN]).unwrap();
        assert_eq!(wrong(&older), Wrong::Mistyped);
    }

    #[test]
    fn no_error_repeats_what_was_typed() {
        let (_, text) = text();
        let typed = &text[..text.len() - 1];
        let failure = Dialling::from_text(typed, "--key").err().unwrap();
        let said = failure.to_string();
        assert!(
            said.starts_with("--key: ") && !said.contains(&typed[8..20]),
            "{said}"
        );
    }
}
