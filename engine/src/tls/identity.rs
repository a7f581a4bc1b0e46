//! Who a peer has proven to be.
#![cfg_attr(
    not(feature = "tls"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "public with the feature; without it tests alone have it"
    )
)]

use std::fmt;
use std::str::FromStr;

/// Who the peer of a connection secured by TLS has proven to be: the holder of a certificate's key. Of
/// [`Peer::identity`](crate::Peer::identity).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub(crate) names: Vec<String>,
    pub(crate) key_hash: KeyHash,
    pub(crate) verified: Verified,
}

/// Why a peer's certificate was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Verified {
    /// An authority that is trusted issued it, it is valid now, and that of a server is for the name that
    /// was connected to.
    Authority,
    /// Its key is one of those that are pinned. Nothing else was checked: neither names nor dates.
    Pin,
    /// Both.
    AuthorityAndPin,
}

/// The SHA-256 of a public key, as a certificate holds it (`SubjectPublicKeyInfo`). It stays the same when a
/// certificate is renewed for the same key.
///
/// Written as 64 hexadecimal digits behind `sha256:`, which may be left out where one is read.
///
/// ```
/// let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// let hash: ampe::KeyHash = text.parse()?;
/// assert_eq!(hash.to_string(), text);
/// # Ok::<(), ampe::KeyHashError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub(crate) [u8; 32]);

/// A text that is no [`KeyHash`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the hash of a key is 64 hexadecimal digits, with or without `sha256:` before them")]
pub struct KeyHashError(());

impl Identity {
    /// The names that the certificate is for: DNS names and URIs, as its alternative names list them, 64 at
    /// most. One that was accepted by a pin alone says of itself what it likes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The hash of its public key: what others pin.
    pub fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// Why the certificate was accepted.
    pub fn verified(&self) -> Verified {
        self.verified
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names.first() {
            Some(name) => write!(formatter, "{name} ({})", self.key_hash),
            None => self.key_hash.fmt(formatter),
        }
    }
}

impl KeyHash {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        KeyHash(bytes)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("sha256:")?;
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(KeyHashError(()));
        }
        let value = |digit: u8| char::from(digit).to_digit(16).ok_or(KeyHashError(()));
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (value(pair[0])? * 16 + value(pair[1])?) as u8;
        }
        Ok(KeyHash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_as_they_are_written_and_nothing_else_is() {
        let hash = KeyHash(std::array::from_fn(|index| index as u8 * 7));
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        let digits = text.strip_prefix("sha256:").unwrap();
        assert_eq!(digits.to_uppercase().parse(), Ok(hash));
        for wrong in [
            "",
            "sha256:",
            &digits[1..],
            &format!("{digits}0"),
            "sha1:00",
        ] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
        assert!(digits.replace('0', "+").parse::<KeyHash>().is_err());
    }
}
