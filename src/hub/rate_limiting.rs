//! Rate limiting: delays a client that sends lines, or replays the feed, too fast.

use std::mem;

use super::Hub;
use super::event::{Event, RateLimit};
use super::execute::Blocked;
use super::registry::client::InputState;
use crate::limits::REPLAY_SOURCES;

impl Hub {
    /// Counts lines against the client's rate limit.
    pub(super) fn charge_rate(&mut self, key: usize, lines: usize) {
        if let Some(interval_us) = self.config.limits.line_interval_us() {
            let cost_us = interval_us.saturating_mul(lines as u64);
            self.clients[key].rate.charge(cost_us, self.now_ms * 1000);
        }
    }

    /// Returns when the rate limit allows another line, if that is later than now.
    pub(super) fn rate_limited_until_ms(&self, key: usize) -> Option<u64> {
        let interval_us = self.config.limits.line_interval_us()?;
        let until_ms = self.clients[key].rate.ready_at_us(interval_us).div_ceil(1000);
        (until_ms > self.now_ms).then_some(until_ms)
    }

    /// Checks the replay limit of the client's source. It counts across connections, so a client
    /// cannot evade it by reconnecting.
    ///
    /// Clients that wait for the next window try again in order of their last replay, the oldest
    /// first, so that clients that replay all the time do not starve others. Clients that have not
    /// replayed come before them, in the order in which they connected.
    pub(super) fn check_source(&self, key: usize) -> Result<(), Blocked> {
        const MAX_DELAY_MS: u64 = 100;
        let quota = self.config.limits.replays_per_source;
        let Some(ready_ms) = self.sources[self.source(key)].full_until_ms(quota) else {
            return Ok(());
        };
        let delay_ms = self.clients[key].replays.last_use_us().map_or(0, |last_us| {
            let idle_ms = self.now_ms.saturating_sub(last_us / 1000);
            MAX_DELAY_MS * 1000 / (1000 + idle_ms)
        });
        self.check_replay(key, ready_ms + delay_ms)
    }

    /// Counts a replay of this many bytes for the client's source, and against the client's own
    /// limit: one feed size at once, then one feed size per second. Without limits, short requests
    /// could fetch gigabytes.
    pub(super) fn charge_replay(&mut self, key: usize, bytes: u64) -> Result<(), Blocked> {
        let feed_size = self.config.limits.feed_size as u64;
        let cost_us = bytes.min(feed_size) * 1_000_000 / feed_size;
        let until_us = self.clients[key].replays.ready_at_us(cost_us);
        self.check_replay(key, until_us.div_ceil(1000))?;
        self.clients[key].replays.charge(cost_us, self.now_ms * 1000);
        let source = self.source(key);
        self.sources[source].charge(bytes, self.now_ms);
        Ok(())
    }

    fn check_replay(&self, key: usize, until_ms: u64) -> Result<(), Blocked> {
        let client = &self.clients[key];
        // A client that hung up receives nothing, and must not keep its slot and its name.
        let hung_up = client.socket.reset || client.outbox.is_closed();
        if until_ms > self.now_ms && !hung_up {
            return Err(Blocked::ByRateLimit(RateLimit::Replays, until_ms));
        }
        Ok(())
    }

    fn source(&self, key: usize) -> usize {
        usize::from(self.clients[key].origin.source) % REPLAY_SOURCES
    }

    /// Stops reading and executing the client's input until then.
    pub(super) fn limit_rate(&mut self, key: usize, limit: RateLimit, until_ms: u64) {
        let handle = self.clients[key].handle();
        self.rate_limited.set(handle, None, Some(until_ms));
        let client = &mut self.clients[key];
        client.input_state = InputState::RateLimited { until_ms };
        if !mem::replace(&mut client.was_rate_limited, true) {
            self.events.push_back(Event::RateLimited { id: client.id, limit });
        }
        if client.socket.reset {
            self.bound_linger(key);
        }
    }

    /// Limits how long a rate limit may delay the buffered lines of a client that hung up, so that
    /// the client cannot hold a slot or a name for long.
    pub(super) fn bound_linger(&mut self, key: usize) {
        let latest_ms = self.now_ms + self.config.limits.drain_timeout_ms;
        let deadline_ms =
            self.clients[key].deadline_ms().map_or(latest_ms, |at_ms| at_ms.min(latest_ms));
        self.set_deadline(key, Some(deadline_ms));
    }

    /// Resumes clients whose rate limit allows another line or replay.
    pub(super) fn release_rate_limited(&mut self) {
        while let Some(handle) = self.rate_limited.expired(self.now_ms) {
            self.stop_rate_limiting(handle.key);
            if self.clients[handle.key].input.peek().is_some() {
                self.queue_run(handle.key);
            } else {
                self.queue_read(handle.key);
            }
        }
    }

    /// Ends the client's rate limiting, if it is rate-limited.
    pub(super) fn stop_rate_limiting(&mut self, key: usize) {
        let handle = self.clients[key].handle();
        let client = &mut self.clients[key];
        if let InputState::RateLimited { until_ms } = client.input_state {
            client.input_state = InputState::Reading;
            self.rate_limited.set(handle, Some(until_ms), None);
        }
    }
}
