//! Fuzzes line framing: for every split into packets, the lines match a simple model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oyez_fuzz::properties::line_buffer_matches_the_model(data)
});
