//! Fuzzes the TLS handshake: no input completes it, or makes it panic or loop.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::testing::handshake::never_completes(data));
