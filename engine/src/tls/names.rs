//! The names in a certificate, read within bounds: it comes from a stranger.
//!
//! What takes memory is what is told. The rest is looked at where it lies.

use std::net::IpAddr;

use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use rustls::pki_types::DnsName;

use super::identity::{COMMON_NAME_BYTES, NAMES_BYTES, NAMES_MOST, SubjectName};

/// 2.5.4.3, and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Whom a certificate is for, as it says.
#[derive(Default)]
pub(super) struct Names {
    pub(super) alternatives: Vec<SubjectName>,
    /// How many there are besides.
    pub(super) left_out: usize,
    pub(super) common_name: Option<Box<str>>,
}

/// The names in a certificate. There are none in one that cannot be read.
pub(super) fn names(certificate: &[u8]) -> Names {
    let Ok(places) = find(certificate) else {
        return Names::default();
    };
    let alternatives = match places.alternatives {
        Some(bytes) => alternatives(bytes).unwrap_or_default(),
        None => (Vec::new(), 0),
    };
    Names {
        alternatives: alternatives.0,
        left_out: alternatives.1,
        common_name: common_name(places.subject).unwrap_or_default(),
    }
}

/// Where the names are.
struct Places<'a> {
    subject: AnyRef<'a>,
    /// What the extension holds, if there is one.
    alternatives: Option<&'a [u8]>,
}

/// The values within a value, one after the other.
struct Parts<'a>(SliceReader<'a>);

impl<'a> Parts<'a> {
    fn of(value: AnyRef<'a>) -> der::Result<Self> {
        SliceReader::new(value.value()).map(Parts)
    }

    fn next(&mut self) -> der::Result<Option<AnyRef<'a>>> {
        match self.0.is_finished() {
            true => Ok(None),
            false => AnyRef::decode(&mut self.0).map(Some),
        }
    }

    /// One that has to be there.
    fn expect(&mut self, tag: Tag) -> der::Result<AnyRef<'a>> {
        let value = AnyRef::decode(&mut self.0)?;
        value.tag().assert_eq(tag)?;
        Ok(value)
    }
}

fn explicit(number: u8) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number.into()),
    }
}

/// RFC 5280, section 4.1.
fn find(certificate: &[u8]) -> der::Result<Places<'_>> {
    let certificate = AnyRef::from_der(certificate)?;
    let to_be_signed = Parts::of(certificate)?.expect(Tag::Sequence)?;
    let mut fields = Parts::of(to_be_signed)?;
    let first = fields.next()?;
    if first.is_some_and(|it| it.tag() == explicit(0)) {
        fields.expect(Tag::Integer)?; // behind the version, the serial number
    }
    for _algorithm_issuer_validity in 0..3 {
        fields.expect(Tag::Sequence)?;
    }
    let subject = fields.expect(Tag::Sequence)?;
    let mut alternatives = None;
    while let Some(field) = fields.next()? {
        if field.tag() == explicit(3) {
            let extensions = Parts::of(field)?.expect(Tag::Sequence)?;
            alternatives = extension(extensions, SUBJECT_ALTERNATIVE_NAME)?;
        }
    }
    Ok(Places {
        subject,
        alternatives,
    })
}

/// What an extension holds.
fn extension<'a>(extensions: AnyRef<'a>, wanted: &[u8]) -> der::Result<Option<&'a [u8]>> {
    let mut extensions = Parts::of(extensions)?;
    while let Some(extension) = extensions.next()? {
        let mut fields = Parts::of(extension)?;
        if fields.expect(Tag::ObjectIdentifier)?.value() != wanted {
            continue;
        }
        let mut content = fields.next()?;
        if content.is_some_and(|it| it.tag() == Tag::Boolean) {
            content = fields.next()?; // behind whether it is critical
        }
        return Ok(content.map(|it| it.value()));
    }
    Ok(None)
}

/// As many as are told, and how many there are besides of the kinds that are.
fn alternatives(bytes: &[u8]) -> der::Result<(Vec<SubjectName>, usize)> {
    let mut names = Parts::of(AnyRef::from_der(bytes)?)?;
    let (mut told, mut left_out, mut bytes_left) = (Vec::new(), 0, NAMES_BYTES);
    while let Some(name) = names.next()? {
        let Tag::ContextSpecific {
            constructed: false,
            number,
        } = name.tag()
        else {
            continue; // names of directories, and what others have defined
        };
        let is_known = [1, 2, 6, 7].contains(&number.value());
        let fits = told.len() < NAMES_MOST && name.value().len() <= bytes_left;
        match alternative(number.value(), name.value()).filter(|_| fits) {
            Some(it) => {
                bytes_left -= name.value().len();
                told.push(it);
            }
            None => left_out += usize::from(is_known),
        }
    }
    told.shrink_to_fit();
    Ok((told, left_out))
}

/// One that can be told: written as such a name is, and nothing in it that a terminal would take for more.
fn alternative(number: u32, value: &[u8]) -> Option<SubjectName> {
    let text = || {
        let text = str::from_utf8(value).ok()?;
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_plain.then_some(text)
    };
    Some(match number {
        1 => SubjectName::Email(text().filter(|text| text.contains('@'))?.into()),
        2 => {
            let name = text()?.to_ascii_lowercase();
            let host = name.strip_prefix("*.").unwrap_or(&name);
            DnsName::try_from(host).ok()?;
            SubjectName::Dns(name.into())
        }
        6 => SubjectName::Uri(text()?.into()),
        7 => SubjectName::Ip(match value.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
        }),
        _ => return None,
    })
}

/// The common name, if there is one alone, which can be told.
fn common_name(subject: AnyRef<'_>) -> der::Result<Option<Box<str>>> {
    let (mut found, mut sets) = (None, Parts::of(subject)?);
    while let Some(set) = sets.next()? {
        let mut attributes = Parts::of(set)?;
        while let Some(attribute) = attributes.next()? {
            let mut fields = Parts::of(attribute)?;
            if fields.expect(Tag::ObjectIdentifier)?.value() == COMMON_NAME
                && let Some(value) = fields.next()?
                && found.replace(value).is_some()
            {
                return Ok(None);
            }
        }
    }
    let is_text = |it: &AnyRef<'_>| {
        let kinds = [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String];
        kinds.contains(&it.tag()) && it.value().len() <= COMMON_NAME_BYTES
    };
    let text = found.filter(is_text).map(|it| str::from_utf8(it.value()));
    let text = text.and_then(Result::ok).filter(|text| is_legible(text));
    Ok(text.map(Box::from))
}

/// Whether nothing in it hides or changes how the rest is shown.
fn is_legible(text: &str) -> bool {
    let is_hidden = |it: char| {
        it.is_control()
            || matches!(it, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(it, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
            || matches!(it, '\u{e0000}'..='\u{e007f}')
    };
    !text.trim().is_empty() && !text.contains(is_hidden)
}

#[cfg(test)]
mod tests;
