//! Bad days for the hub, thousands of them: whatever befalls its clients, each gets what a simple model of
//! the protocol says.
//!
//! OYEZ_SEEDS=N plays more of them, OYEZ_SEED=N one alone.
#![allow(clippy::unwrap_used)]

mod support;

use std::panic::{self, AssertUnwindSafe};

use support::simulation::{self, Choices, Op, Setup};
use support::size;

/// How long a day is, in steps.
const MOST_STEPS: usize = 120;

fn day(seed: u64) -> (Setup, Vec<Op>) {
    let mut choices = Choices::Seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let setup = simulation::setup(&mut choices);
    let ops = simulation::schedule(&mut choices, MOST_STEPS);
    (setup, ops)
}

/// What went wrong, and at which step, if something did.
fn failure(setup: &Setup, ops: &[Op]) -> Option<(usize, String)> {
    let mut step = 0;
    let played = panic::catch_unwind(AssertUnwindSafe(|| {
        simulation::play(setup, ops, |nth| step = nth);
    }));
    let panic = played.err()?;
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    Some((step, said.unwrap_or_default()))
}

/// Leaves out steps, many at a time and then one by one, as long as something still goes wrong.
fn shorten(setup: &Setup, mut ops: Vec<Op>) -> Vec<Op> {
    let mut stretch = ops.len() / 2;
    while stretch > 0 {
        let mut from = 0;
        while from < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(from..(from + stretch).min(ops.len()));
            if failure(setup, &fewer).is_some() {
                ops = fewer;
            } else {
                from += stretch;
            }
        }
        stretch /= 2;
    }
    ops
}

#[test]
fn on_no_day_does_anybody_get_anything_else() {
    let seeds = match size("OYEZ_SEED", usize::MAX) {
        usize::MAX => 0..size("OYEZ_SEEDS", 20_000) as u64,
        seed => seed as u64..seed as u64 + 1,
    };
    // What goes wrong is said once, at the end.
    panic::set_hook(Box::new(|_| {}));
    let found = seeds.into_iter().find_map(|seed| {
        let (setup, ops) = day(seed);
        failure(&setup, &ops).map(|(step, why)| (seed, setup, ops, step, why))
    });
    let Some((seed, setup, mut ops, step, why)) = found else {
        let _ = panic::take_hook();
        return;
    };
    ops.truncate(step + 1);
    let short = shorten(&setup, ops);
    let (_, short_why) = failure(&setup, &short).unwrap();
    let _ = panic::take_hook();
    let listed: String = short.iter().map(|op| format!("  {op:?}\n")).collect();
    panic!(
        "seed {seed}, step {step}: {why}\nagain with: OYEZ_SEED={seed} cargo test --test simulation\n\
         {setup:?}\nin short:\n{listed}{short_why}"
    );
}
