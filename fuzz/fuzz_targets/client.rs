//! The client: whatever a server sends, replies complete the client's requests in order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::client::testing::converse(data));
