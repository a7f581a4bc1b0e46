//! What a certificate says, whoever has issued it.

use std::net::IpAddr;

use ampe::KeyHash;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::output;

/// So many names are told.
const NAMES_MOST: usize = 64;
/// So many of them to people.
const NAMES_SHOWN: usize = 8;
/// What is not told of a longer name is not missed.
const CHARS_MOST: usize = 200;

/// What a certificate says. Nothing of it has to be true.
pub(super) struct Certificate {
    /// None if it cannot be read at all.
    pub(super) key_hash: Option<KeyHash>,
    said: Option<Said>,
}

struct Said {
    names: Vec<String>,
    subject: String,
    issuer: String,
    /// It names itself as its issuer.
    is_self_issued: bool,
    begins: String,
    ends: String,
    validity: Validity,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Validity {
    NotYet,
    Now,
    NoMore,
}

impl Certificate {
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Certificate {
        let key = ParsedCertificate::try_from(certificate);
        let key = key.map(|parsed| parsed.subject_public_key_info()).ok();
        let hash = |key: &[u8]| KeyHash::from(<[u8; 32]>::from(Sha256::digest(key)));
        let parsed = X509Certificate::from_der(certificate).ok();
        Certificate {
            key_hash: key.map(|key| hash(&key)),
            said: parsed.map(|(_, parsed)| said(&parsed)),
        }
    }

    pub(super) fn validity(&self) -> Option<Validity> {
        self.said.as_ref().map(|said| said.validity)
    }

    /// Who is said to have issued it.
    pub(super) fn issuer(&self) -> Option<&str> {
        let said = self.said.as_ref()?;
        (!said.is_self_issued).then_some(&said.issuer)
    }

    /// For people: label and text.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let hash = self.key_hash.as_ref().map(KeyHash::to_string);
        let mut lines = vec![("key", hash.unwrap_or_else(|| "cannot be read".to_owned()))];
        let Some(said) = &self.said else {
            lines.push(("certificate", "cannot be read".to_owned()));
            return lines;
        };
        let mut names = said.names.iter().take(NAMES_SHOWN).map(output::shown);
        let names = match names.len() {
            0 => "none".to_owned(),
            _ => names.by_ref().collect::<Vec<_>>().join(", "),
        };
        let more = said.names.len().saturating_sub(NAMES_SHOWN);
        let more = if more > 0 {
            format!(", and {more} more")
        } else {
            String::new()
        };
        lines.push(("names", names + &more));
        lines.push(("subject", output::shown(&said.subject)));
        let issuer = match said.is_self_issued {
            true => "itself".to_owned(),
            false => output::shown(&said.issuer),
        };
        lines.push(("issued by", issuer));
        let now = match said.validity {
            Validity::NotYet => ": not yet",
            Validity::Now => "",
            Validity::NoMore => ": no longer",
        };
        lines.push((
            "valid",
            format!("from {} until {}{now}", said.begins, said.ends),
        ));
        lines
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        let said = self.said.as_ref();
        json!({
            "key_hash": self.key_hash.as_ref().map(KeyHash::to_string),
            "names": said.map(|said| &said.names),
            "subject": said.map(|said| &said.subject),
            "issuer": said.map(|said| &said.issuer),
            "self_issued": said.map(|said| said.is_self_issued),
            "not_before": said.map(|said| &said.begins),
            "not_after": said.map(|said| &said.ends),
            "valid_now": said.map(|said| said.validity == Validity::Now),
        })
    }
}

fn said(parsed: &X509Certificate<'_>) -> Said {
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let names = alternative
        .into_iter()
        .flat_map(|it| &it.value.general_names);
    let validity = parsed.validity();
    let now = ASN1Time::now();
    Said {
        names: names.filter_map(name).take(NAMES_MOST).collect(),
        subject: short(&parsed.subject().to_string()),
        issuer: short(&parsed.issuer().to_string()),
        is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        begins: date(validity.not_before),
        ends: date(validity.not_after),
        validity: match () {
            () if now < validity.not_before => Validity::NotYet,
            () if now > validity.not_after => Validity::NoMore,
            () => Validity::Now,
        },
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some(short(name))
        }
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn short(text: &str) -> String {
    text.chars().take(CHARS_MOST).collect()
}

/// As RFC 3339 has it.
fn date(time: ASN1Time) -> String {
    let time = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    #[test]
    fn what_is_said_is_told_and_does_nothing_to_a_terminal() {
        let key = KeyPair::generate().unwrap();
        let names = ["orders.example".to_owned(), "::1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "a\u{1b}[2J");
        params.not_before = date_time_ymd(2001, 2, 3);
        params.not_after = date_time_ymd(2004, 5, 6);
        let uri = SanType::URI("spiffe://a/b".try_into().unwrap());
        params.subject_alt_names.push(uri);
        let made = params.self_signed(&key).unwrap();
        let read = Certificate::read(made.der());
        let told: Vec<String> = read.lines().into_iter().map(|(_, text)| text).collect();
        assert_eq!(told[1], "orders.example, ::1, spiffe://a/b");
        assert!(told[2].contains(r"\u{1b}") && !told.concat().contains('\u{1b}'));
        assert_eq!(told[3], "itself");
        assert!(told[4].contains("2001-02-03T00:00:00Z until 2004-05-06T00:00:00Z: no longer"));
        assert_eq!(read.validity(), Some(Validity::NoMore));
        assert_eq!(read.document()["valid_now"], false);
        let chain = vec![made.der().to_vec()];
        let tls = ampe::TlsOptions::new().certificate_der(chain, key.serialize_der());
        let tls = tls.unwrap().build().unwrap();
        assert_eq!(read.key_hash, tls.own_key_hash());
    }

    #[test]
    fn what_is_no_certificate_is_told_as_that() {
        let read = Certificate::read(&CertificateDer::from(&b"\x30\x03abc"[..]));
        assert!(read.key_hash.is_none() && read.validity().is_none());
        assert_eq!(read.document()["names"], Value::Null);
        assert!(
            read.lines()
                .iter()
                .all(|(_, text)| text == "cannot be read")
        );
    }
}
