#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/driver.rs"]
mod driver;
#[allow(dead_code)]
#[path = "../../tests/support/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../tests/support/simulation.rs"]
mod simulation;

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulation::day(data));
