//! Exponential backoff with jitter, for reconnecting.

use std::hash::BuildHasher as _;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const MAX: Duration = Duration::from_secs(30);

/// Pauses that double up to 30 s. Each is shortened at random, by at most half, so that clients
/// that lost the same server do not all reconnect at the same time.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.attempts.min(16)).min(MAX);
        self.attempts = self.attempts.saturating_add(1);
        // `RandomState` has a random seed.
        let random = std::hash::RandomState::new().hash_one(self.attempts) as u32;
        pause.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// Restarts with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_restart_after_a_reset() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next_pause()).collect();
        assert!((FIRST / 2..=FIRST).contains(&pauses[0]), "{pauses:?}");
        assert!((FIRST * 8..=FIRST * 16).contains(&pauses[4]), "{pauses:?}");
        assert!(pauses[7..].iter().all(|pause| (MAX / 2..=MAX).contains(pause)));
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }
}
