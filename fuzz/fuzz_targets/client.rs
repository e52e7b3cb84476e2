//! The client: requests are matched with whatever a server replies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez::client::testing::converse(data));
