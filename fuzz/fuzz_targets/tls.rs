//! TLS accept: no input completes a handshake, panics or loops.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::testing::handshake::never_completes(data));
