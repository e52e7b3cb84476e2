//! The seeds of randomized tests. `OYEZ_SEED=7` runs only seed 7, and `OYEZ_SEEDS=100000` runs the
//! first 100,000 seeds.

use std::ops::Range;

/// Returns the seeds to run: `0..default`, unless the environment overrides it.
pub fn seeds(default: u64) -> Range<u64> {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse().unwrap());
    match number("OYEZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OYEZ_SEEDS").unwrap_or(default),
    }
}

/// Runs a test once for each seed.
pub fn for_each_seed(default: u64, mut test: impl FnMut(u64)) {
    seeds(default).for_each(|seed| with_replay(seed, || test(seed)));
}

/// Runs a test with one seed. If it fails, prints the command that replays it.
pub fn with_replay(seed: u64, test: impl FnOnce()) {
    let _replay = ReplayOnPanic { seed };
    test();
}

/// Returns whether the default seeds run. Only then may a test assert totals over all seeds.
pub fn are_default() -> bool {
    std::env::var_os("OYEZ_SEED").is_none() && std::env::var_os("OYEZ_SEEDS").is_none()
}

/// Returns the command that replays one seed of the calling test.
pub fn replay_command(seed: u64) -> String {
    let thread = std::thread::current();
    // With --test-threads=1, tests run on the main thread.
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
    format!("OYEZ_SEED={seed} cargo test --test {} {test}", env!("CARGO_CRATE_NAME"))
}

struct ReplayOnPanic {
    seed: u64,
}

impl Drop for ReplayOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed; replay it with: {}", self.seed, replay_command(self.seed));
        }
    }
}
