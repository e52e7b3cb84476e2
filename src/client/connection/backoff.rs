//! How long to wait before trying again.

use std::hash::BuildHasher as _;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that double, up to half a minute. Each is cut by up to half at random, so that clients
/// which lost their server together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pauses: u32,
}

impl Backoff {
    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.pauses.min(16)).min(LONGEST);
        self.pauses = self.pauses.saturating_add(1);
        // The standard library seeds its hash maps at random.
        let random = std::hash::RandomState::new().hash_one(self.pauses) as u32;
        pause.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// Begins anew: the last try was a success.
    pub(crate) fn reset(&mut self) {
        self.pauses = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.pause()).collect();
        assert!((FIRST / 2..=FIRST).contains(&pauses[0]), "{pauses:?}");
        assert!((FIRST * 8..=FIRST * 16).contains(&pauses[4]), "{pauses:?}");
        assert!(pauses[7..].iter().all(|pause| (LONGEST / 2..=LONGEST).contains(pause)));
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
