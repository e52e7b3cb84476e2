//! Rate limiting: delays the lines of a client that sends too many.

use std::mem;

use super::Hub;
use super::event::Event;
use super::registry::client::InputState;

impl Hub {
    /// Counts lines against the client's rate limit.
    pub(super) fn charge_rate(&mut self, key: usize, lines: usize) {
        if let Some(interval_us) = self.config.limits.line_interval_us() {
            self.clients[key].rate.charge(lines, interval_us, self.now_ms * 1000);
        }
    }

    /// Returns whether the rate limit allows another line now.
    pub(super) fn is_within_rate(&self, key: usize) -> bool {
        self.rate_allows_at_ms(key) <= self.now_ms
    }

    fn rate_allows_at_ms(&self, key: usize) -> u64 {
        self.config
            .limits
            .line_interval_us()
            .map_or(0, |interval_us| self.clients[key].rate.ready_at_us(interval_us).div_ceil(1000))
    }

    /// Stops reading and executing the client's input until the rate limit allows another line.
    pub(super) fn limit_rate(&mut self, key: usize) {
        let until_ms = self.rate_allows_at_ms(key);
        let handle = self.clients[key].handle();
        self.rate_limited.set(handle, None, Some(until_ms));
        let client = &mut self.clients[key];
        client.input_state = InputState::RateLimited { until_ms };
        if !mem::replace(&mut client.was_rate_limited, true) {
            self.events.push_back(Event::RateLimited { id: client.id });
        }
        if client.socket.reset {
            self.bound_linger(key);
        }
    }

    /// Limits the time that the buffered lines of a client that hung up may wait, so that it cannot
    /// hold a client slot or a name for long.
    pub(super) fn bound_linger(&mut self, key: usize) {
        let latest_ms = self.now_ms + self.config.limits.drain_timeout_ms;
        let deadline_ms =
            self.clients[key].deadline_ms.map_or(latest_ms, |at_ms| at_ms.min(latest_ms));
        self.set_deadline(key, Some(deadline_ms));
    }

    /// Resumes rate-limited clients that may now send another line.
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
