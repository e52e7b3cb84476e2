//! Fuzzes commands: every command that parses encodes to a line that parses to the same command.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez_fuzz::properties::command_round_trips(data));
