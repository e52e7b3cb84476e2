//! Fuzzes replies: every reply that parses encodes to a line that parses to the same reply.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez_fuzz::properties::reply_round_trips(data));
