//! What the tests share. Each of them uses a part of it.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

mod client;
pub mod crowd;
pub mod driver;
pub mod hub_transcript;
pub mod model;
mod program;
pub mod properties;
pub mod rng;
pub mod seeds;
mod server;
pub mod simulation;
pub mod terminal;
pub mod tls;
pub mod transcript;

use std::time::Duration;

pub use client::Client;
pub use program::{Program, oyez};
pub use server::{Address, Server, address_in, oyezd};

/// How long anything is waited for. Nothing that works comes near it.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A size that a longer run can set otherwise.
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
