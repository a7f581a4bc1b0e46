//! Any bytes, as a peer might send them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ampe::address::fuzzing::address(bytes);
});
