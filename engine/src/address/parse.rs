//! Reading addresses. Everything that makes an address ends in [`host`] or [`uds_path`].

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use super::{Address, AddressError, Host, HostKind, MAX_HOST_LEN, MAX_UDS_PATH_LEN, UdsPath};

/// What secures the connections of a TCP address.
#[derive(Clone, Copy)]
enum Security {
    None,
    Tls,
}

impl Security {
    fn address(self, host: Host, port: u16) -> Address {
        match self {
            Security::None => Address::Tcp { host, port },
            Security::Tls => Address::Tls { host, port },
        }
    }
}

/// Reads the form that people write.
pub(super) fn text(text: &str) -> Result<Address, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if let Some((scheme, rest)) = split_scheme(text) {
        return match scheme.to_ascii_lowercase().as_str() {
            "tcp" => host_and_port(rest, Security::None),
            "tls" => host_and_port(rest, Security::Tls),
            "uds" => Ok(Address::Uds(uds_path(rest)?)),
            _ => Err(AddressError::UnknownScheme {
                scheme: shortened(scheme),
            }),
        };
    }
    // Both would be taken for something else below: a relative path, or a host.
    if ["tcp|", "tls|", "uds|"]
        .iter()
        .any(|form| text.starts_with(form))
    {
        return Err(AddressError::WireForm {
            text: shortened(text),
        });
    }
    if text.starts_with('.') || text.contains(['/', '\\']) {
        return Ok(Address::Uds(uds_path(text)?));
    }
    host_and_port(text, Security::None)
}

/// Reads the form that messages carry.
pub(super) fn wire(value: &str) -> Result<Address, AddressError> {
    if value.is_empty() {
        return Err(AddressError::Empty);
    }
    let (scheme, rest) = value.split_once('|').unwrap_or((value, ""));
    match scheme {
        // The rest verbatim: a path may hold `|`.
        "uds" => Ok(Address::Uds(uds_path(rest)?)),
        "tcp" | "tls" => {
            let Some((host_part, port_part)) = rest.split_once('|') else {
                return Err(AddressError::MissingPort {
                    text: shortened(value),
                });
            };
            if let Some((_, extra)) = port_part.split_once('|') {
                return Err(AddressError::ExtraPart {
                    text: shortened(extra),
                });
            }
            let security = match scheme {
                "tls" => Security::Tls,
                _ => Security::None,
            };
            Ok(security.address(host(host_part)?, port(port_part)?))
        }
        _ => Err(AddressError::UnknownScheme {
            scheme: shortened(scheme),
        }),
    }
}

pub(super) fn host(host: &str) -> Result<Host, AddressError> {
    if host.is_empty() {
        return Ok(Host(HostKind::Any));
    }
    if host.len() > MAX_HOST_LEN {
        return Err(AddressError::HostTooLong { len: host.len() });
    }
    // `|` would end the host in the wire form, a control character could end the header itself; the
    // others are never part of a name and stand for a URL that was mistaken for an address.
    let forbidden = |character: char| {
        character.is_control()
            || character.is_whitespace()
            || matches!(character, '|' | '/' | '\\' | '[' | ']' | '@' | '?' | '#')
    };
    if let Some(character) = host.chars().find(|&character| forbidden(character)) {
        return Err(AddressError::InvalidHost {
            host: shortened(host),
            character,
        });
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Host(HostKind::Ip(ip)));
    }
    if host.contains(':') {
        return zoned(host);
    }
    // Resolvers disagree about `127.1` and the like, and no name ends in a number.
    if host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(AddressError::InvalidIpv4 {
            host: shortened(host),
        });
    }
    Ok(Host(HostKind::Name(host.into())))
}

/// An IPv6 address with `%` and the zone that it is valid in.
fn zoned(host: &str) -> Result<Host, AddressError> {
    let invalid = || AddressError::InvalidIpv6 {
        host: shortened(host),
    };
    let (ip, zone) = host.split_once('%').ok_or_else(invalid)?;
    let ip: Ipv6Addr = ip.parse().map_err(|_| invalid())?;
    // No zone at all is no number that can be read.
    if is_number(zone) {
        return Ok(Host::scoped(ip, zone.parse().map_err(|_| invalid())?));
    }
    // The address may have grown: two groups of hexadecimal digits became four decimal numbers.
    let name = format!("{ip}%{zone}");
    if name.len() > MAX_HOST_LEN {
        return Err(AddressError::HostTooLong { len: name.len() });
    }
    Ok(Host(HostKind::Zoned(name.into())))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An IPv6 host of the text form with a plain `%` before its zone, which RFC 6874 spells `%25`. A zone
/// that is a number is left as it is: 251 is more likely an interface than the spelling of 1.
fn with_plain_zone(ipv6: &str) -> Cow<'_, str> {
    match ipv6.split_once('%') {
        Some((ip, zone)) if !is_number(zone) => match zone.strip_prefix("25") {
            Some(name) => format!("{ip}%{name}").into(),
            None => ipv6.into(),
        },
        _ => ipv6.into(),
    }
}

pub(super) fn uds_path(path: &str) -> Result<UdsPath, AddressError> {
    if path.is_empty() {
        return Err(AddressError::EmptyPath);
    }
    if let Some(name) = path.strip_prefix(['@', '\0']) {
        return Err(AddressError::AbstractSocket {
            name: format!("@{}", shortened(name)),
        });
    }
    if path.len() > MAX_UDS_PATH_LEN {
        return Err(AddressError::PathTooLong { len: path.len() });
    }
    let forbidden = |character: char| matches!(character, '\r' | '\n' | '\0');
    if let Some(character) = path.chars().find(|&character| forbidden(character)) {
        return Err(AddressError::InvalidPath { character });
    }
    if path.ends_with([' ', '\t']) {
        return Err(AddressError::PathEndsBlank);
    }
    Ok(UdsPath(path.into()))
}

/// `scheme://rest`, if what stands before `://` can be a scheme: a path such as `./a://b` has none.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|character: char| character.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some((scheme, rest))
}

fn host_and_port(text: &str, security: Security) -> Result<Address, AddressError> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let Some((ipv6, rest)) = bracketed.split_once(']') else {
            return Err(AddressError::BracketsNeeded {
                text: shortened(text),
            });
        };
        let Some(port_part) = rest.strip_prefix(':') else {
            return Err(AddressError::MissingPort {
                text: shortened(text),
            });
        };
        let host = host(&with_plain_zone(ipv6))?;
        if !host.is_ipv6() {
            return Err(AddressError::InvalidIpv6 {
                host: shortened(ipv6),
            });
        }
        return Ok(security.address(host, port(port_part)?));
    }
    let Some((host_part, port_part)) = text.rsplit_once(':') else {
        return Err(AddressError::MissingPort {
            text: shortened(text),
        });
    };
    if host_part.contains(':') {
        return Err(AddressError::BracketsNeeded {
            text: shortened(text),
        });
    }
    Ok(security.address(host(host_part)?, port(port_part)?))
}

fn port(text: &str) -> Result<u16, AddressError> {
    // The standard parser would take a leading `+` as well.
    let number = if is_number(text) {
        text.parse().ok()
    } else {
        None
    };
    number.ok_or_else(|| AddressError::InvalidPort {
        port: shortened(text),
    })
}

/// What an error quotes: one line of bounded length, whatever was given.
fn shortened(text: &str) -> String {
    const MAX_QUOTED_CHARS: usize = 80;
    let mut quoted: String = text
        .chars()
        .take(MAX_QUOTED_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        quoted.push('…');
    }
    quoted
}
