//! Runs the hub under thousands of random schedules and checks that each client receives exactly
//! what a simple model of the protocol predicts. [`support::simulation`] documents the schedules
//! and the checks; [`support::model`] documents what the model cannot
//! detect.
//!
//! ```sh
//! cargo test --test simulation                                      # 20,000 seeds
//! OYEZ_SEEDS=1000000 cargo test --release --test simulation         # any number of seeds
//! OYEZ_SEED=7 cargo test --test simulation                          # only seed 7
//! ```
//!
//! The seeds run on all cores. A failure reports the lowest failing seed, the command that replays
//! it, and a shortened schedule that still fails.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use support::rng::Rng;
use support::seeds::{replay_command, seeds, with_replay};
use support::simulation::{self, Choices, Op, Setup};

const DEFAULT_SEEDS: u64 = 20_000;

/// The maximum length of a schedule, in steps.
const MAX_LEN: usize = 120;

#[test]
fn hub_matches_the_model_on_random_schedules() {
    silence_caught_panics();
    let Some(seed) = lowest_failing_seed(seeds(DEFAULT_SEEDS)) else { return };
    let (setup, mut ops) = generate(seed);
    let (step, error) = failure(&setup, &ops).expect("a failing seed fails every time");
    ops.truncate(step + 1);
    let ops = shorten(&setup, ops);
    let (_, short_error) = failure(&setup, &ops).expect("the shortened schedule fails");
    panic!(
        "seed {seed} failed at step {step}: {error}\nreplay it with: {}\n{setup:?}\n\
         a shortened schedule that fails:\n{}{short_error}",
        replay_command(seed),
        simulation::format_schedule(&ops)
    );
}

#[test]
fn same_seed_gives_the_same_trace() {
    // A few seeds are enough: nondeterminism shows in nearly every run.
    for seed in seeds(200).take(200) {
        with_replay(seed, || {
            let (setup, ops) = generate(seed);
            assert!(simulation::trace(&setup, &ops) == simulation::trace(&setup, &ops));
        });
    }
}

fn generate(seed: u64) -> (Setup, Vec<Op>) {
    // The factor keeps consecutive seeds from starting with similar numbers.
    let mut choices = Choices::Seed(Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let setup = simulation::setup(&mut choices);
    let ops = simulation::schedule(&mut choices, MAX_LEN);
    (setup, ops)
}

/// Runs the seeds in ascending order, on all cores, until one fails. Runs that have started are
/// finished, so the result does not depend on the timing of the threads.
fn lowest_failing_seed(seeds: Range<u64>) -> Option<u64> {
    let next = AtomicU64::new(seeds.start);
    let lowest = Mutex::new(None::<u64>);
    let run_seeds = || {
        while lowest.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let (setup, ops) = generate(seed);
            if failure(&setup, &ops).is_some() {
                let mut lowest = lowest.lock().unwrap();
                *lowest = Some(lowest.map_or(seed, |other| other.min(seed)));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run_seeds);
        }
    });
    lowest.into_inner().unwrap()
}

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Silences the panics that [`failure`] catches. Shortening a schedule causes many.
fn silence_caught_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_CATCHING.get() {
            print(info);
        }
    }));
}

/// Returns the step at which a schedule fails, and the error.
fn failure(setup: &Setup, ops: &[Op]) -> Option<(usize, String)> {
    let mut failed_step = 0;
    IS_CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        simulation::run(setup, ops, |step| failed_step = step);
    }));
    IS_CATCHING.set(false);
    let payload = result.err()?;
    let message = payload.downcast_ref::<String>().cloned();
    let message = message.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
    Some((failed_step, message.unwrap_or_default()))
}

/// Removes steps, first many at a time and finally one by one, while the schedule still fails.
fn shorten(setup: &Setup, mut ops: Vec<Op>) -> Vec<Op> {
    let mut len = ops.len() / 2;
    while len > 0 {
        let mut from = 0;
        while from < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(from..(from + len).min(ops.len()));
            if failure(setup, &fewer).is_some() {
                ops = fewer;
            } else {
                from += len;
            }
        }
        len /= 2;
    }
    ops
}
