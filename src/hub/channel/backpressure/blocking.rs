//! Blocking: the rules under which broadcasts wait for readers that they would overrun.
//!
//! While broadcasts wait for a reader, they use up its *credit*. A reader earns credit with the
//! bytes that its socket accepts, except for those that the kernel's buffers may take even if nobody
//! reads: it has taken more than they can hold, or its socket was full some time ago. [`STALL_BYTES`]
//! are worth the stall timeout, which is also the maximum. A reader that takes so much in each stall
//! timeout is therefore never disconnected, whatever it costs the publishers.
//!
//! Readers without credit share one bucket of time, which holds the stall timeout and refills with
//! a tenth of the time. When it is empty, those that broadcasts wait for are stalled, and
//! disconnected. In any time T, readers that read nothing thus hold up a channel for at most
//! the stall timeout + T/10, however many they are and however often they reconnect.

use super::bucket::{Bucket, elapsed_us};
use super::reader::{Admission, Overrun, Reader, Tick, append_after, entry};
use crate::hub::channel::feed::Offset;
use crate::hub::event::Event;
use crate::hub::handle::Handle;
use crate::limits::{Limits, STALL_BYTES};

/// The bucket of readers without credit refills with the time divided by this.
const REFILL_DIVISOR: i64 = 10;

/// How many times blocking readers are probed within the stall timeout. The poll reports a socket
/// writable only when a third of its buffer is free, which can be more than [`STALL_BYTES`]. From
/// the first probe on, a reader earns credit.
const PROBES: u64 = 8;

/// More than the kernel buffers for one connection.
const MAX_BUFFERED: u64 = 64 << 20;

/// The minimum time between two log events about blocked publishers.
const REPORT_INTERVAL_MS: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Blocking {
    stall_timeout_ms: u64,
    /// What broadcasts wait for.
    wait: Option<Wait>,
    /// For readers without credit.
    bucket: Bucket,
    /// Each reader's state, by key. Stale for other keys.
    readers: Vec<Credit>,
    /// When the readers were last checked.
    checked_at_ms: u64,
    reported_at_ms: Option<u64>,
}

#[derive(Debug)]
struct Wait {
    /// The next append drops everything before this offset.
    drops_before: Offset,
    /// When a credit or the bucket may be used up.
    until_ms: u64,
    probe_at_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Credit {
    left_us: i64,
    /// When its socket was full for the first time.
    full_at_ms: Option<u64>,
    /// The number of bytes that its socket has accepted.
    taken: u64,
}

impl Blocking {
    pub(super) fn new(limits: &Limits) -> Self {
        let stall_timeout_ms = limits.stall_timeout_ms;
        Self {
            stall_timeout_ms,
            wait: None,
            bucket: Bucket::new(elapsed_us(0, stall_timeout_ms), REFILL_DIVISOR),
            readers: Vec::new(),
            checked_at_ms: 0,
            reported_at_ms: None,
        }
    }

    pub(super) fn join(&mut self, key: usize) {
        *entry(&mut self.readers, key) = Credit::default();
    }

    pub(super) fn note_write(&mut self, now_ms: u64, key: usize, sent: usize, is_blocked: bool) {
        let max_us = elapsed_us(0, self.stall_timeout_ms);
        let probe_ms = self.probe_interval_ms();
        let Some(credit) = self.readers.get_mut(key) else { return };
        credit.taken += sent as u64;
        let was_full = credit.full_at_ms.is_some_and(|full_at_ms| now_ms >= full_at_ms + probe_ms);
        if was_full || credit.taken > MAX_BUFFERED {
            let earned_us = (sent as u64).min(STALL_BYTES) as i64 * max_us / STALL_BYTES as i64;
            credit.left_us = (credit.left_us + earned_us).min(max_us);
        }
        if is_blocked {
            credit.full_at_ms.get_or_insert(now_ms);
        }
    }

    pub(super) fn checked_at_ms(&self) -> u64 {
        self.checked_at_ms
    }

    pub(super) fn next_deadline_ms(&self) -> u64 {
        self.wait.as_ref().map_or(0, |wait| wait.until_ms.min(wait.probe_at_ms))
    }

    pub(super) fn unblock(&mut self) {
        self.wait = None;
    }

    pub(super) fn admit(
        &mut self,
        now_ms: u64,
        drops_before: Option<Offset>,
        readers: impl Iterator<Item = Reader> + Clone,
    ) -> Admission {
        if self.wait.is_some() {
            return Admission::Wait(None);
        }
        let Some(drops_before) = drops_before else { return Admission::Append };
        let Some(Overrun { replaying, blocked }) = Overrun::find(drops_before, readers) else {
            return Admission::Yield;
        };
        if blocked.is_empty() {
            return append_after(replaying);
        }
        self.bucket.refill(elapsed_us(self.checked_at_ms, now_ms));
        self.checked_at_ms = now_ms;
        let probe_at_ms = now_ms + self.probe_interval_ms();
        let until_ms = self.until_ms(&blocked);
        self.wait = Some(Wait { drops_before, until_ms, probe_at_ms });
        Admission::Wait(self.report(now_ms, &blocked))
    }

    /// Charges the time since the last check, and stops waiting for readers that no longer need the
    /// lines to drop, or have stalled.
    pub(super) fn tick(&mut self, now_ms: u64, readers: impl Iterator<Item = Reader>) -> Tick {
        let mut tick = Tick::default();
        if let Some(mut wait) = self.wait.take() {
            let mut blocking = self.charge(now_ms, wait.drops_before, readers);
            if self.bucket.left_us() <= 0 {
                let (with_credit, stalled) =
                    blocking.into_iter().partition(|&handle| self.has_credit(handle));
                (blocking, tick.stalled) = (with_credit, stalled);
            }
            if now_ms >= wait.probe_at_ms {
                wait.probe_at_ms = now_ms + self.probe_interval_ms();
                tick.probe.clone_from(&blocking);
            }
            wait.until_ms = self.until_ms(&blocking);
            self.wait = Some(wait).filter(|_| !blocking.is_empty());
        }
        tick.is_open = self.wait.is_none();
        tick
    }

    /// Charges the time since the last check to the readers that still need lines before
    /// `drops_before`, and returns them. The bucket pays what a reader cannot, and refills only
    /// while it pays nothing.
    fn charge(
        &mut self,
        now_ms: u64,
        drops_before: Offset,
        readers: impl Iterator<Item = Reader>,
    ) -> Vec<Handle> {
        let elapsed_us = elapsed_us(self.checked_at_ms, now_ms);
        self.checked_at_ms = now_ms;
        let mut unpaid_us = 0;
        let mut blocking = Vec::new();
        for reader in readers {
            if !reader.needs_before(drops_before) || reader.is_replaying {
                continue;
            }
            let credit = &mut self.readers[reader.handle.key];
            let paid_us = credit.left_us.min(elapsed_us);
            credit.left_us -= paid_us;
            unpaid_us = unpaid_us.max(elapsed_us - paid_us);
            blocking.push(reader.handle);
        }
        if unpaid_us > 0 {
            self.bucket.spend(unpaid_us);
        } else {
            self.bucket.refill(elapsed_us);
        }
        blocking
    }

    fn has_credit(&self, handle: Handle) -> bool {
        self.readers[handle.key].left_us > 0
    }

    /// When the first of these readers' credits, or the bucket, is used up.
    fn until_ms(&self, blocking: &[Handle]) -> u64 {
        let left_us = blocking.iter().map(|handle| match self.readers[handle.key].left_us {
            0 => self.bucket.left_us(),
            credit_us => credit_us,
        });
        self.checked_at_ms + (left_us.min().unwrap_or(0).max(0) as u64).div_ceil(1000)
    }

    fn probe_interval_ms(&self) -> u64 {
        (self.stall_timeout_ms / PROBES).max(1)
    }

    /// Returns an event for the log, unless there was one a short time ago.
    fn report(&mut self, now_ms: u64, blocked: &[Handle]) -> Option<Event> {
        let was_reported = self
            .reported_at_ms
            .is_some_and(|reported_at_ms| now_ms < reported_at_ms + REPORT_INTERVAL_MS);
        let first = blocked.first().filter(|_| !was_reported)?;
        self.reported_at_ms = Some(now_ms);
        Some(Event::PublishersBlocked { id: first.id, readers: blocked.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::tests::{HEAD, limits, reader};
    use super::*;

    fn blocking() -> Blocking {
        let mut blocking = Blocking::new(&limits());
        (0..4).for_each(|key| blocking.join(key));
        blocking
    }

    /// Requests an append at a head of 1600 that drops the first 100 bytes.
    fn admit(blocking: &mut Blocking, now_ms: u64, readers: &[Reader]) -> Admission {
        blocking.admit(now_ms, Some(100), readers.iter().copied())
    }

    /// Returns whether broadcasts continue, the readers that have stalled, and those to probe.
    fn tick(blocking: &mut Blocking, now_ms: u64, readers: &[Reader]) -> (bool, usize, usize) {
        let tick = blocking.tick(now_ms, readers.iter().copied());
        (tick.is_open, tick.stalled.len(), tick.probe.len())
    }

    #[test]
    fn readers_without_credit_stall_after_the_stall_timeout() {
        let slow = [reader(1, HEAD), reader(2, HEAD)];
        let mut blocking = blocking();
        let event = Event::PublishersBlocked { readers: 2, id: 2 };
        assert_eq!(admit(&mut blocking, 1000, &slow), Admission::Wait(Some(event)));
        assert_eq!(admit(&mut blocking, 1001, &slow), Admission::Wait(None), "reported once");
        assert_eq!(tick(&mut blocking, 1500, &slow), (false, 0, 0));
        assert_eq!(tick(&mut blocking, 2000, &slow), (false, 0, 2));
        assert_eq!(blocking.next_deadline_ms(), 3000, "the next probe");
        assert_eq!(tick(&mut blocking, 8999, &slow), (false, 0, 2));
        assert_eq!(blocking.next_deadline_ms(), 9000, "the bucket is empty");
        assert_eq!(tick(&mut blocking, 9000, &slow), (true, 2, 0));
    }

    #[test]
    fn later_readers_without_credit_get_a_tenth_of_the_time() {
        let mut blocking = blocking();
        admit(&mut blocking, 0, &[reader(1, HEAD)]);
        assert_eq!(tick(&mut blocking, 8000, &[reader(1, HEAD)]), (true, 1, 0));
        admit(&mut blocking, 18_000, &[reader(2, HEAD)]);
        assert_eq!(tick(&mut blocking, 18_999, &[reader(2, HEAD)]), (false, 0, 0));
        assert_eq!(tick(&mut blocking, 19_000, &[reader(2, HEAD)]), (true, 1, 0));
    }

    #[test]
    fn reader_that_keeps_reading_needs_nothing_from_the_bucket() {
        let mut blocking = blocking();
        let slow = [reader(1, HEAD)];
        blocking.bucket.spend(8_000_000);
        blocking.note_write(0, 1, 1 << 20, true);
        blocking.note_write(999, 1, 1 << 20, true);
        assert!(!blocking.has_credit(slow[0].handle), "the kernel may have buffered all this");
        blocking.note_write(0, 2, MAX_BUFFERED as usize, false);
        assert!(!blocking.has_credit(reader(2, HEAD).handle), "and this");
        blocking.note_write(0, 2, 1, false);
        assert!(blocking.has_credit(reader(2, HEAD).handle));
        blocking.note_write(1000, 1, STALL_BYTES as usize / 2, true);
        admit(&mut blocking, 1000, &slow);
        assert_eq!(tick(&mut blocking, 4999, &slow), (false, 0, 1));
        blocking.note_write(4999, 1, 2 * STALL_BYTES as usize, false);
        assert_eq!(tick(&mut blocking, 12_900, &slow), (false, 0, 1));
        assert_eq!(tick(&mut blocking, 15_000, &slow), (true, 1, 0), "at most the stall timeout");
    }

    #[test]
    fn broadcasts_continue_when_the_reader_has_made_room_or_replays() {
        for later in [reader(1, 1500), Reader { is_replaying: true, ..reader(1, HEAD) }] {
            let mut blocking = blocking();
            admit(&mut blocking, 1000, &[reader(1, HEAD)]);
            assert_eq!(tick(&mut blocking, 1001, &[later]), (true, 0, 0));
        }
    }
}
