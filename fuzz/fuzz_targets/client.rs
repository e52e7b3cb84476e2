//! Fuzzes the client with any conversation: each reply completes a request of its kind, in order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::client::testing::converse(data));
