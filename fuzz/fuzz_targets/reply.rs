//! Replies: whatever parses encodes to a line that parses to the same reply.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez_fuzz::properties::reply(data));
