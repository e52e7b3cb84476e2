//! Rate limits: the lines and replayed bytes per second of a client, and the replayed bytes per
//! window of a source.

use crate::limits::REPLAY_WINDOW_MS;

/// The maximum burst: as much as the rate limit allows in this time.
const BURST_US: u64 = 1_000_000;

/// The generic cell rate algorithm (ITU-T I.371): one number per client, and no timer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateLimiter {
    /// The algorithm's theoretical arrival time, in microseconds: when the next use would be due at
    /// an even rate.
    paid_until_us: u64,
}

impl RateLimiter {
    /// Charges for something that takes `cost_us` microseconds at the even rate.
    pub(crate) fn charge(&mut self, cost_us: u64, now_us: u64) {
        self.paid_until_us = self.paid_until_us.max(now_us).saturating_add(cost_us);
    }

    /// About when it was last charged, in microseconds. `None` before the first use.
    pub(crate) fn last_use_us(&self) -> Option<u64> {
        (self.paid_until_us > 0).then_some(self.paid_until_us)
    }

    /// The earliest time for a use of this cost, both in microseconds.
    pub(crate) fn ready_at_us(&self, cost_us: u64) -> u64 {
        self.paid_until_us.saturating_add(cost_us).saturating_sub(BURST_US)
    }
}

/// What the clients of one source have replayed in the current window.
///
/// Once the quota is used up, all of them wait for the end of the window. Each waiting client
/// therefore retries only once per window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplayWindow {
    end_ms: u64,
    bytes: u64,
}

impl ReplayWindow {
    pub(crate) fn charge(&mut self, bytes: u64, now_ms: u64) {
        if now_ms >= self.end_ms {
            *self = Self { end_ms: now_ms + REPLAY_WINDOW_MS, bytes: 0 };
        }
        self.bytes += bytes;
    }

    /// The end of the window, if its quota is used up. The last replay may exceed the quota.
    pub(crate) fn full_until_ms(&self, quota: u64) -> Option<u64> {
        (self.bytes >= quota).then_some(self.end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten lines a second.
    const INTERVAL_US: u64 = 100_000;

    #[test]
    fn burst_of_one_second_is_allowed_then_one_line_per_interval() {
        let now_us = 5_000_000;
        let mut limiter = RateLimiter::default();
        for _ in 0..10 {
            assert!(limiter.ready_at_us(INTERVAL_US) <= now_us);
            limiter.charge(INTERVAL_US, now_us);
        }
        assert_eq!(limiter.ready_at_us(INTERVAL_US), now_us + INTERVAL_US);
        limiter.charge(5 * INTERVAL_US, now_us + INTERVAL_US);
        assert_eq!(limiter.ready_at_us(INTERVAL_US), now_us + 6 * INTERVAL_US);
    }

    #[test]
    fn idle_time_earns_no_more_than_one_burst() {
        let mut limiter = RateLimiter::default();
        limiter.charge(10 * INTERVAL_US, 0);
        let much_later_us = 60_000_000;
        limiter.charge(10 * INTERVAL_US, much_later_us);
        assert_eq!(limiter.ready_at_us(INTERVAL_US), much_later_us + INTERVAL_US);
    }
}
