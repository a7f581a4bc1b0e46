//! Values of options, as people write them.

use std::time::Duration;

use ampe::Address;

pub(super) fn peer(text: &str) -> Result<Address, ampe::AddressError> {
    let address = address(text)?;
    address.check_connect()?;
    Ok(address)
}

/// An address as the engine reads it, or as other programs write it: `unix:PATH`, `ipc://PATH`, and a
/// port of this machine alone.
pub(crate) fn address(text: &str) -> Result<Address, ampe::AddressError> {
    let path = ["unix://", "unix:", "ipc://", "ipc:"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    if let Some(path) = path {
        return Address::uds(path);
    }
    let is_port = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_port {
        true => format!("tcp://127.0.0.1:{text}").parse(),
        false => text.parse(),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no time: give seconds, from 0.001 to 1000000");
    let seconds: f64 = text.parse().map_err(|_| refused())?;
    if (0.001..=1e6).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(refused())
    }
}

pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let refused = || format!("{text:?} is no size: give bytes, or a number with KiB, MiB or GiB");
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(refused()),
    };
    let count: usize = digits.trim_end().parse().map_err(|_| refused())?;
    count.checked_mul(1 << shift).ok_or_else(refused)
}

/// Bytes a second.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is no rate: give bytes a second, as 500kB or 2MiB");
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let decimal = [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    let found = decimal
        .iter()
        .find_map(|(unit, factor)| Some((number.strip_suffix(unit)?, factor)));
    let rate = match found {
        Some((digits, factor)) => digits
            .trim_end()
            .parse()
            .ok()
            .and_then(|count: u64| count.checked_mul(*factor)),
        None => bytes(number).ok().map(|count| count as u64),
    };
    rate.filter(|&rate| rate > 0).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("2 K"), Ok(2048));
        for refused in ["", "MiB", "1MB", "-1", "1.5M", "99999999999999GiB"] {
            assert!(bytes(refused).is_err(), "{refused:?} passed");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("500"), Ok(500));
        assert_eq!(rate("5kB"), Ok(5_000));
        assert_eq!(rate("2 MB/s"), Ok(2_000_000));
        assert_eq!(rate("1MiB/s"), Ok(1 << 20));
        for refused in ["", "0", "fast", "-1MB", "1TB"] {
            assert!(rate(refused).is_err(), "{refused:?} passed");
        }
    }

    #[test]
    fn times() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for refused in ["", "0", "-1", "inf", "NaN", "1e9"] {
            assert!(seconds(refused).is_err(), "{refused:?} passed");
        }
    }

    #[test]
    fn addresses_are_read_as_other_programs_write_them() {
        let read = |text| address(text).unwrap().to_string();
        assert_eq!(read("7099"), "tcp://127.0.0.1:7099");
        assert_eq!(read("127.0.0.1:7099"), "tcp://127.0.0.1:7099");
        for text in ["unix:/a/b", "unix:///a/b", "ipc:///a/b", "ipc:/a/b", "/a/b"] {
            assert_eq!(read(text), "uds:///a/b", "{text}");
        }
        assert!(address("70000").is_err() && address("unix:").is_err() && address("").is_err());
    }

    #[test]
    fn addresses_to_connect_to_need_a_host_and_a_port() {
        assert!(peer("tcp://127.0.0.1:7099").is_ok());
        assert!(peer("tcp://127.0.0.1:0").is_err());
        assert!(peer("tcp://:7099").is_err());
        assert!(peer("tcp://127.0.0.1:70000").is_err());
    }
}
