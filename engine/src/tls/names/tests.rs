use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType,
};

use super::*;

const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.self_signed(&key).unwrap().der().to_vec()
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..=0x7f => vec![tag, len as u8],
        0x80..=0xff => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [&head, content].concat()
}

/// A certificate with these alternative names, whatever they hold.
fn with_names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let names = names.iter().map(|&(tag, content)| value(tag, content));
    let content = value(0x30, &names.collect::<Vec<_>>().concat());
    certificate(|params| {
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        params.custom_extensions.push(extension);
    })
}

fn with_common_names(common_names: Vec<DnValue>) -> Vec<u8> {
    certificate(|params| {
        // A custom type for the second: those of one type replace each other.
        let kinds = [DnType::CommonName, DnType::CustomDnType(vec![2, 5, 4, 3])];
        for (kind, name) in kinds.into_iter().zip(common_names) {
            params.distinguished_name.push(kind, name);
        }
    })
}

fn shown(certificate: &[u8]) -> Vec<String> {
    let names = names(certificate).alternatives;
    names.iter().map(SubjectName::to_string).collect()
}

#[test]
fn names_of_each_kind_are_told_in_their_order() {
    let certificate = certificate(|params| {
        params.subject_alt_names = vec![
            SanType::URI("spiffe://shop.example/till/7".try_into().unwrap()),
            SanType::DnsName("Till.Shop.Example".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 7].into()),
            SanType::Rfc822Name("till@shop.example".try_into().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::DnsName("*.shop.example".try_into().unwrap()),
        ];
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Shop");
        params
            .distinguished_name
            .push(DnType::CommonName, "Kasse Nº 7");
    });
    let names = names(&certificate);
    assert_eq!(
        names.alternatives,
        [
            SubjectName::Uri("spiffe://shop.example/till/7".into()),
            SubjectName::Dns("till.shop.example".into()),
            SubjectName::Ip([10, 0, 0, 7].into()),
            SubjectName::Email("till@shop.example".into()),
            SubjectName::Ip("2001:db8::7".parse().unwrap()),
            SubjectName::Dns("*.shop.example".into()),
        ]
    );
    assert_eq!(names.left_out, 0);
    assert_eq!(names.common_name.as_deref(), Some("Kasse Nº 7"));
}

#[test]
fn a_certificate_without_names_has_none() {
    let names = names(&certificate(|_| {}));
    assert!(names.alternatives.is_empty() && names.common_name.is_none());
    assert_eq!(names.left_out, 0);
}

#[test]
fn what_no_such_name_is_like_is_left_out_and_counted() {
    let certificate = with_names(&[
        (DNS, b"good.example"),
        (DNS, b"good.example\0.evil.example"),
        (DNS, b"two words"),
        (DNS, b""),
        (DNS, b"*.*.example"),
        (DNS, b"caf\xc3\xa9.example"),
        (URI, b"urn:one\x1b[2Jtwo"),
        (URI, b"urn:\xff"),
        (EMAIL, b"nobody"),
        (IP, &[1, 2, 3]),
        (IP, &[0; 17]),
        // Of other kinds, which are not told at all: a name of a directory, and a number.
        (0xa4, &[0x30, 0]),
        (0x88, &[0x2a, 3]),
        (IP, &[127, 0, 0, 1]),
    ]);
    assert_eq!(shown(&certificate), ["good.example", "127.0.0.1"]);
    assert_eq!(names(&certificate).left_out, 10);
}

#[test]
fn an_extension_that_cannot_be_read_to_its_end_tells_nothing() {
    let cut = certificate(|params| {
        let mut content = value(0x30, &value(DNS, b"good.example"));
        content[1] += 2; // there would have to be more
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        params.custom_extensions.push(extension);
    });
    assert_eq!(shown(&cut), [""; 0]);
}

#[test]
fn however_many_names_there_are_few_are_told() {
    let most = with_names(&[(DNS, &b"a.example"[..]); NAMES_MOST + 3]);
    let most = names(&most);
    assert_eq!((most.alternatives.len(), most.left_out), (NAMES_MOST, 3));

    let long = format!("urn:{}", "x".repeat(NAMES_BYTES - 4));
    let longest = with_names(&[(URI, long.as_bytes()), (DNS, b"a.example")]);
    let longest = names(&longest);
    assert_eq!(longest.alternatives, [SubjectName::Uri(long.into())]);
    assert_eq!(longest.left_out, 1);

    let too_long = "x".repeat(NAMES_BYTES + 1);
    let too_long = names(&with_names(&[(URI, too_long.as_bytes())]));
    assert_eq!((too_long.alternatives.len(), too_long.left_out), (0, 1));

    // As long as a certificate can be.
    let many = names(&with_names(&[(DNS, &b"a"[..]); 9_000]));
    assert_eq!((many.alternatives.len(), many.left_out), (64, 9_000 - 64));
    assert!(many.alternatives.capacity() <= NAMES_MOST);
}

#[test]
fn a_common_name_is_told_that_is_one_and_can_be_read() {
    let told = |names: Vec<DnValue>| names_of(with_common_names(names));
    fn names_of(certificate: Vec<u8>) -> Option<String> {
        names(&certificate).common_name.map(String::from)
    }
    let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
    assert_eq!(told(vec![utf8("till 7")]).as_deref(), Some("till 7"));
    let printable = DnValue::PrintableString("till 8".try_into().unwrap());
    assert_eq!(told(vec![printable]).as_deref(), Some("till 8"));
    assert_eq!(told(vec![utf8("one"), utf8("two")]), None);
    for hidden in [
        "",
        " ",
        "a\nb",
        "a\u{1b}[2J",
        "a\u{202e}b",
        "a\u{200b}b",
        "a\u{e0041}",
    ] {
        assert_eq!(told(vec![utf8(hidden)]), None, "{hidden:?}");
    }
    let long = "x".repeat(COMMON_NAME_BYTES);
    assert_eq!(told(vec![utf8(&long)]), Some(long.clone()));
    assert_eq!(told(vec![utf8(&format!("{long}x"))]), None);
}

#[test]
fn a_certificate_that_was_cut_or_changed_anywhere_is_read_without_harm() {
    let whole = with_names(&[(DNS, b"a.example"), (IP, &[10, 0, 0, 1])]);
    for len in 0..whole.len() {
        assert_eq!(shown(&whole[..len]), [""; 0], "the first {len} bytes");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert!(names(&changed).alternatives.len() <= 2);
        }
    }
}
