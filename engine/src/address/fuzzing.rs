//! What a fuzzer calls, and unit tests too.

use super::{Address, AddressError, CONNECT_TO, MAX_HOST_LEN, MAX_UDS_PATH_LEN};
use crate::wire::{self, TextHeaders};

/// Reads `bytes` as an address in both forms: which of the two, text and wire, it is.
///
/// # Panics
///
/// If a property that must hold for any input does not.
pub fn address(bytes: &[u8]) -> (bool, bool) {
    let wire = Address::from_wire_bytes(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        assert_eq!(wire, Err(AddressError::NotUtf8), "the wire form is text");
        return (false, false);
    };
    (check(text.parse()), check(wire))
}

fn check(read: Result<Address, AddressError>) -> bool {
    let address = match read {
        Ok(address) => address,
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.len() < 2048 && !message.contains(char::is_control),
                "{message:?}"
            );
            return false;
        }
    };
    assert_eq!(
        address.to_string().parse().as_ref(),
        Ok(&address),
        "the text form reads back"
    );
    let value = address.to_wire();
    assert_eq!(
        Address::from_wire(&value).as_ref(),
        Ok(&address),
        "the wire form reads back"
    );
    let mut block = Vec::new();
    wire::append(&mut block, CONNECT_TO, &value).expect("an address fits into a text header");
    let carried = TextHeaders::new(&block)
        .get(CONNECT_TO)
        .expect("it was written just now");
    assert_eq!(
        Address::from_wire_bytes(carried).as_ref(),
        Ok(&address),
        "a message carries it"
    );
    match &address {
        Address::Tcp { host, .. } | Address::Tls { host, .. } => {
            assert!(host.to_string().len() <= MAX_HOST_LEN);
        }
        Address::Uds(path) => assert!((1..=MAX_UDS_PATH_LEN).contains(&path.as_str().len())),
    }
    true
}
