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
use std::net::IpAddr;
use std::str::FromStr;

/// So many alternative names of a certificate are told, of so many bytes together.
pub(crate) const NAMES_MOST: usize = 64;
pub(crate) const NAMES_BYTES: usize = 4096;

/// A common name that is longer is not told.
pub(crate) const COMMON_NAME_BYTES: usize = 256;

/// As many names as this are shown with a peer.
const SHOWN_MOST: usize = 3;

/// Who the peer of a connection secured by TLS has proven to be: the holder of a certificate's key. Of
/// [`Peer::identity`](crate::Peer::identity).
///
/// # What it may be trusted for
///
/// The peer has proven that it has the key: [`key_hash`](Identity::key_hash) is certain. The names are what the
/// certificate says. They are worth something where an authority that is trusted issued it, as
/// [`Verified::by_authority`] says, and as much as that authority takes care whom it issues certificates to. In one
/// that was accepted for its pinned key alone, its holder wrote what he liked.
///
/// ```
/// # use ampe::{Peer, SubjectName};
/// /// Whether an authority vouches that this is the till of that number.
/// fn is_till(peer: &Peer, number: u32) -> bool {
///     let name = SubjectName::Dns(format!("till-{number}.shop.example").into());
///     let vouched_for = peer.identity().filter(|it| it.verified().by_authority());
///     vouched_for.is_some_and(|it| it.names().contains(&name))
/// }
/// ```
///
/// # Limits
///
/// It takes 8 KiB at most, with 64 alternative names of 4,096 bytes together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub(crate) names: Box<[SubjectName]>,
    pub(crate) left_out: usize,
    pub(crate) common_name: Option<Box<str>>,
    pub(crate) key_hash: KeyHash,
    pub(crate) verified: Verified,
}

/// One of the names that a certificate is for, as its extension `subjectAltName` lists them.
///
/// What a name may be trusted for, [`Identity`] says. None has white space, control characters or anything but ASCII
/// in it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SubjectName {
    /// A DNS name, in lower case. It may begin with `*.`, which stands for any one label.
    Dns(Box<str>),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, as it stands there: not normalised, so compare the whole text with one that the authority is known
    /// to issue. SPIFFE IDs are such names.
    Uri(Box<str>),
    /// An e-mail address, as it stands there.
    Email(Box<str>),
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

impl Verified {
    /// Whether an authority that is trusted issued the certificate, and so vouches for its names.
    pub fn by_authority(self) -> bool {
        match self {
            Verified::Authority | Verified::AuthorityAndPin => true,
            Verified::Pin => false,
        }
    }
}

impl Identity {
    /// The names that the certificate is for, in their order: its alternative names that are DNS names, IP addresses,
    /// URIs or e-mail addresses. Of a server that was connected to, one of them is what was dialled, if an authority
    /// vouches; what a client's mean is for the application to say.
    #[doc(alias = "subjectAltName")]
    pub fn names(&self) -> &[SubjectName] {
        &self.names
    }

    /// How many names of these kinds the certificate has besides: beyond the [limits](Identity#limits), or not
    /// written as such a name is. None is told of an extension that cannot be read to its end.
    pub fn names_left_out(&self) -> usize {
        self.left_out
    }

    /// The common name of the certificate's subject. None where it has none, or several, or one of more than 256 bytes
    /// or with characters that hide or reorder others.
    ///
    /// Good for showing and for logs. For a decision the [names](Identity::names) are better where there are any: what
    /// an authority is bound to (its name constraints, what is asked of authorities in general) does not hold for
    /// common names.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
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

/// Three of its names at most, or the common name where there is none, and the hash: behind the names where an
/// authority vouches for them, and before them else.
impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.names.iter().take(SHOWN_MOST);
        let mut shown: Vec<String> = shown.map(SubjectName::to_string).collect();
        let more = self.names.len() - shown.len() + self.left_out;
        if shown.is_empty() {
            shown.extend(self.common_name().map(str::to_owned));
        }
        let names = match (shown.is_empty(), more) {
            (true, _) => return self.key_hash.fmt(formatter),
            (false, 0) => shown.join(", "),
            (false, more) => format!("{} and {more} more", shown.join(", ")),
        };
        match self.verified.by_authority() {
            true => write!(formatter, "{names} ({})", self.key_hash),
            false => write!(formatter, "{} (calls itself {names})", self.key_hash),
        }
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubjectName::Dns(name) | SubjectName::Uri(name) | SubjectName::Email(name) => {
                formatter.write_str(name)
            }
            SubjectName::Ip(address) => address.fmt(formatter),
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

    fn identity(names: &[&str], common_name: Option<&str>, verified: Verified) -> Identity {
        let names = names.iter().map(|&name| SubjectName::Dns(name.into()));
        Identity {
            names: names.collect(),
            left_out: 0,
            common_name: common_name.map(Box::from),
            key_hash: KeyHash([0xab; 32]),
            verified,
        }
    }

    #[test]
    fn only_names_that_an_authority_vouches_for_are_shown_as_who_it_is() {
        let hash = KeyHash([0xab; 32]).to_string();
        let shown =
            |names: &[&str], common, verified| identity(names, common, verified).to_string();
        for vouched in [Verified::Authority, Verified::AuthorityAndPin] {
            assert_eq!(
                shown(&["a.example"], Some("A"), vouched),
                format!("a.example ({hash})")
            );
        }
        assert_eq!(
            shown(&["a.example"], None, Verified::Pin),
            format!("{hash} (calls itself a.example)")
        );
        assert_eq!(
            shown(&[], Some("A"), Verified::Authority),
            format!("A ({hash})")
        );
        assert_eq!(shown(&[], None, Verified::Authority), hash);
        let mut many = identity(&["a", "b", "c", "d"], None, Verified::Authority);
        many.left_out = 7;
        assert_eq!(many.to_string(), format!("a, b, c and 8 more ({hash})"));
    }

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
