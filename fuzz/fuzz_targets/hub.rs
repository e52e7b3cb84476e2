//! Fuzzes the hub with schedules, which are checked against a model of the protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oyez_fuzz::simulation::run_bytes(data));
