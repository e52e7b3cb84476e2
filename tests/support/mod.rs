//! Helpers shared by the integration tests.
//!
//! Each test target compiles all of them but uses only some, so the lints for unused items are off.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

mod client;
pub mod crowd;
pub mod driver;
pub mod fake_server;
pub mod hub_transcript;
pub mod installed;
pub mod model;
mod program;
pub mod properties;
pub mod proxy;
pub mod rng;
pub mod seeds;
mod server;
pub mod simulation;
pub mod terminal;
pub mod tls;
pub mod transcript;

use std::thread;
use std::time::{Duration, Instant};

pub use client::Client;
pub use program::{Output, Program, SILENT_SUCCESS, fails, oyez, succeeds};
pub use rng::Rng;
pub use server::{Address, Server, listening_address, oyezd};

/// How long a test waits for an event before it fails. A working program needs far less.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a test's size: the value of an environment variable, for longer runs, or the default.
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Polls a condition until it is true. For conditions without an event to wait for.
#[track_caller]
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "the condition is still false after {TIMEOUT:?}");
        thread::yield_now();
    }
}
