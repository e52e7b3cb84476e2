//! Helpers that the tests share.
//!
//! Every test program compiles all helpers and uses only some. The lints for unused items would
//! report the rest.
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
pub use program::{Program, SILENT_SUCCESS, fails, oyez, succeeds};
pub use rng::Rng;
pub use server::{Address, Server, listening_address, oyezd};

/// How long a test waits for anything before it fails. A working program needs far less.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a size from an environment variable, for longer runs, or the default.
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Polls a condition until it is true, where no event can be waited for.
#[track_caller]
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "the condition is still false after {TIMEOUT:?}");
        thread::yield_now();
    }
}
