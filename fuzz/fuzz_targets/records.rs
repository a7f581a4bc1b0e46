//! A secured connection whose bytes are changed on the way as these say.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ampe::tls_fuzzing::changed(bytes);
});
