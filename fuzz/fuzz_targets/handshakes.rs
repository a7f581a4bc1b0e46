//! Any bytes, as a peer might begin a secured connection with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ampe::tls_fuzzing::handshake(bytes);
});
