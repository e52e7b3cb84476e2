//! Fuzzes the TLS handshake: no input may complete it, or make it panic or loop.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::testing::handshake::never_completes(data));
