//! A budget of time.

/// A budget of time, in microseconds. It refills with a share of the time that passes. It can be
/// overdrawn by as much as it holds.
#[derive(Debug)]
pub(super) struct Bucket {
    left_us: i64,
    size_us: i64,
    refill_divisor: i64,
}

impl Bucket {
    /// Creates a full bucket. It refills with the time that passes, divided by `refill_divisor`.
    pub(super) fn new(size_us: i64, refill_divisor: i64) -> Self {
        Self { left_us: size_us, size_us, refill_divisor }
    }

    pub(super) fn refill(&mut self, elapsed_us: i64) {
        self.left_us = (self.left_us + elapsed_us / self.refill_divisor).min(self.size_us);
    }

    pub(super) fn spend(&mut self, us: i64) {
        self.left_us = (self.left_us - us).max(-self.size_us);
    }

    /// What is left. Negative if the bucket is overdrawn.
    pub(super) fn left_us(&self) -> i64 {
        self.left_us
    }
}

/// The time between two times in milliseconds, in microseconds.
pub(super) fn elapsed_us(since_ms: u64, now_ms: u64) -> i64 {
    i64::try_from((now_ms - since_ms).saturating_mul(1000)).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_holds_its_size_and_is_overdrawn_by_at_most_as_much() {
        let mut bucket = Bucket::new(100, 4);
        bucket.refill(1000);
        assert_eq!(bucket.left_us(), 100);
        bucket.spend(150);
        assert_eq!(bucket.left_us(), -50);
        bucket.refill(100);
        assert_eq!(bucket.left_us(), -25);
        bucket.spend(1000);
        assert_eq!(bucket.left_us(), -100);
    }
}
