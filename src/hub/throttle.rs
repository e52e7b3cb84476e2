//! How many lines a client may say in how short a time.

use std::mem;

use super::Hub;
use super::client::Handle;
use super::report::Event;

/// What a client has used of what it may say, as the time at which all of it is made up for. (The
/// generic cell rate algorithm of ATM, ITU-T I.371: one number a client, and no timer.)
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    even_at_us: u64,
}

/// As many lines as a client may say in this time, it may say at once.
const BURST_US: u64 = 1_000_000;

impl Allowance {
    fn use_up(&mut self, lines: usize, interval_us: u64, now_us: u64) {
        let used_us = interval_us.saturating_mul(lines as u64);
        self.even_at_us = self.even_at_us.max(now_us).saturating_add(used_us);
    }

    /// From when on there is something left of it.
    fn ready_at_us(&self, interval_us: u64) -> u64 {
        (self.even_at_us + interval_us).saturating_sub(BURST_US)
    }
}

impl Hub {
    /// Counts lines against what the client may say.
    pub(super) fn use_allowance(&mut self, key: usize, lines: usize) {
        if let Some(interval_us) = self.rules.limits.line_interval_us() {
            let now_us = self.now_ms * 1000;
            self.clients[key].allowance.use_up(lines, interval_us, now_us);
        }
    }

    /// Whether the client may say another line now.
    pub(super) fn has_allowance(&self, key: usize) -> bool {
        self.allowed_at_ms(key) <= self.now_ms
    }

    /// From when on the client may say another line, in milliseconds.
    fn allowed_at_ms(&self, key: usize) -> u64 {
        self.rules.limits.line_interval_us().map_or(0, |interval_us| {
            self.clients[key].allowance.ready_at_us(interval_us).div_ceil(1000)
        })
    }

    /// Neither reads nor executes what the client says, until it may say more.
    pub(super) fn throttle(&mut self, key: usize) {
        let until_ms = self.allowed_at_ms(key);
        let handle = self.handle(key);
        let client = &mut self.clients[key];
        client.queued.throttled_until_ms = Some(until_ms);
        self.throttled.insert((until_ms, handle));
        let client = &mut self.clients[key];
        if !mem::replace(&mut client.was_throttled, true) {
            self.reports.push_back(Event::Throttled { id: handle.id });
        }
        if client.socket.hung_up {
            self.give_up_soon(key);
        }
    }

    /// Nobody is there any more who could be waited for: what is still to be executed then is not. So
    /// nobody can hold a place, or a name, with what they left behind.
    pub(super) fn give_up_soon(&mut self, key: usize) {
        let soon_ms = self.now_ms + self.rules.limits.drain_timeout_ms;
        let deadline_ms = self.clients[key].deadline_ms.map_or(soon_ms, |at_ms| at_ms.min(soon_ms));
        self.set_deadline(key, Some(deadline_ms));
    }

    /// A client that leaves is read on, and not listened to any more.
    pub(super) fn stop_throttling(&mut self, key: usize) {
        let handle = self.handle(key);
        if let Some(until_ms) = self.clients[key].queued.throttled_until_ms.take() {
            self.throttled.remove(&(until_ms, handle));
        }
    }

    /// Lets those go on that may say more.
    pub(super) fn release_throttled(&mut self) {
        while let Some(&(until_ms, Handle { key, .. })) = self.throttled.first()
            && until_ms <= self.now_ms
        {
            self.stop_throttling(key);
            self.queue_run(key);
            self.queue_read(key);
        }
    }
}
