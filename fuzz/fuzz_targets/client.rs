#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::client::trials::converse(data));
