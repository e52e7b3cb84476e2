//! Line framing: every split into packets gives the lines that a simple model gives.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez_fuzz::properties::line_buffer(data));
