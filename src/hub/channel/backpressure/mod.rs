//! Backpressure: whether the next broadcast may be appended, and which slow consumers are evicted
//! for it.
//!
//! Publishers can outrun readers. A turn therefore appends little (the hub's budget), so that the
//! server can write to readers in between. If readers fall behind all the same, the policy decides:
//! - [`pacing`] (disconnect and skip): broadcasts pause while readers catch up, within what those
//!   readers' patience and the channel's budgets allow. A reader that the feed then overruns is
//!   evicted or skipped forward.
//! - [`blocking`] (wait): broadcasts wait for a reader that they would overrun, as long as it keeps
//!   reading.
//!
//! Broadcasts never wait for a reader that is replaying (it moved its own cursor back and has not
//! caught up), since `history` must not delay other clients. Any other reader is overrun only while
//! its socket refuses bytes, never because the server was too busy to write to it.
//!
//! This module is pure: it takes times, feed offsets and [`Reader`] values, and returns decisions.
//! It uses neither the hub nor a clock.

mod blocking;
mod bucket;
mod pacing;
mod reader;

pub(crate) use reader::{Admission, Reader};

use super::feed::Offset;
use crate::limits::Limits;
use blocking::Blocking;
use pacing::{BEHIND_DIVISOR, FAR_BEHIND_DIVISOR, Pacing};
use reader::Tick;

/// The sampling interval while no reader makes progress.
const IDLE_SAMPLE_MS: u64 = 20;

/// What happens to a slow consumer: a reader that the feed is about to overrun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumerPolicy {
    /// It is disconnected.
    #[default]
    Disconnect,
    /// It skips lines, and a `lagged` line reports how many.
    Skip,
    /// Publishers wait for it. It is disconnected only if it reads less than
    /// [`STALL_BYTES`](crate::limits::STALL_BYTES) within the stall timeout.
    Block,
}

/// Decides whether a channel's next broadcast may be appended.
#[derive(Debug)]
pub(crate) struct Backpressure {
    rules: Rules,
    feed_size: u64,
    /// Whether a reader has made progress, or left, since the last check.
    has_progress: bool,
}

#[derive(Debug)]
enum Rules {
    Pacing(Pacing),
    Blocking(Blocking),
}

impl Backpressure {
    pub(crate) fn new(policy: SlowConsumerPolicy, limits: &Limits) -> Self {
        let rules = match policy {
            SlowConsumerPolicy::Disconnect | SlowConsumerPolicy::Skip => {
                Rules::Pacing(Pacing::new(limits))
            }
            SlowConsumerPolicy::Block => Rules::Blocking(Blocking::new(limits)),
        };
        Self { rules, feed_size: limits.feed_size as u64, has_progress: false }
    }

    /// Adds the reader with this key, which must not be a reader now.
    pub(crate) fn join(&mut self, key: usize) {
        match &mut self.rules {
            Rules::Pacing(pacing) => pacing.join(key),
            Rules::Blocking(blocking) => blocking.join(key),
        }
    }

    /// Decides whether a broadcast may be appended at `head`. If the feed must drop lines for it,
    /// `drops_before` is the offset after the last of them. `readers` are the channel's members,
    /// and are visited only when necessary.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        now_ms: u64,
        head: Offset,
        drops_before: Option<Offset>,
        readers: impl Iterator<Item = Reader> + Clone,
    ) -> Admission {
        match &mut self.rules {
            Rules::Pacing(pacing) => pacing.admit(now_ms, head, drops_before, readers),
            Rules::Blocking(blocking) => blocking.admit(now_ms, drops_before, readers),
        }
    }

    /// Checks the readers again while publishers wait.
    pub(crate) fn tick(
        &mut self,
        now_ms: u64,
        head: Offset,
        readers: impl Iterator<Item = Reader> + Clone,
    ) -> Tick {
        self.has_progress = false;
        match &mut self.rules {
            Rules::Pacing(pacing) => pacing.tick(now_ms, head, readers),
            Rules::Blocking(blocking) => blocking.tick(now_ms, readers),
        }
    }

    /// Stops waiting for readers, since no publisher is waiting any more.
    pub(crate) fn unblock(&mut self) {
        if let Rules::Blocking(blocking) = &mut self.rules {
            blocking.unblock();
        }
    }

    /// Records that the socket of the reader with this key has accepted `sent` bytes, and whether
    /// it refuses more.
    pub(crate) fn note_write(&mut self, now_ms: u64, key: usize, sent: usize, is_blocked: bool) {
        self.has_progress |= sent > 0;
        if let Rules::Blocking(blocking) = &mut self.rules {
            blocking.note_write(now_ms, key, sent, is_blocked);
        }
    }

    /// Records that a reader no longer counts, so that the next check comes sooner.
    pub(crate) fn note_progress(&mut self) {
        self.has_progress = true;
    }

    /// The earliest time for the next [`tick`](Self::tick). A tick visits every client, so it runs
    /// less often when there are many.
    pub(crate) fn next_check_ms(&self, clients: usize) -> u64 {
        let checked_at_ms = match &self.rules {
            Rules::Pacing(pacing) => pacing.sampled_at_ms(),
            Rules::Blocking(blocking) => blocking.checked_at_ms(),
        };
        checked_at_ms + 1 + clients as u64 / 1000
    }

    /// The time by which [`tick`](Self::tick) must run, even without socket events.
    pub(crate) fn next_deadline(&self, clients: usize) -> u64 {
        let soon_ms = self.next_check_ms(clients);
        match &self.rules {
            _ if self.has_progress => soon_ms,
            Rules::Pacing(pacing) => soon_ms.max(pacing.sampled_at_ms() + IDLE_SAMPLE_MS),
            Rules::Blocking(blocking) => soon_ms.max(blocking.next_deadline_ms()),
        }
    }

    /// Returns whether a reader with this lag, in bytes, counts as behind.
    pub(crate) fn is_behind(&self, lag: u64) -> bool {
        lag > self.feed_size / BEHIND_DIVISOR
    }

    /// Returns whether a reader with this lag, in bytes, is far behind.
    pub(crate) fn is_far_behind(&self, lag: u64) -> bool {
        lag > self.feed_size / FAR_BEHIND_DIVISOR
    }
}

#[cfg(test)]
mod tests {
    use super::reader::tests::{HEAD, limits, reader};
    use super::*;

    #[test]
    fn more_clients_are_checked_less_often() {
        let backpressure = Backpressure::new(SlowConsumerPolicy::Disconnect, &limits());
        let intervals =
            [0, 999, 1000, 1999, 10_000].map(|clients| backpressure.next_check_ms(clients));
        assert_eq!(intervals, [1, 1, 2, 2, 11]);
    }

    #[test]
    fn overrun_reader_is_evicted_unless_its_socket_accepts_bytes() {
        let (slow, fast) = (reader(1, 1600), reader(2, 100));
        let admit = |readers: &[Reader]| {
            let limits = Limits { patience_ms: 0, ..limits() };
            let mut backpressure = Backpressure::new(SlowConsumerPolicy::Skip, &limits);
            (0..3).for_each(|key| backpressure.join(key));
            backpressure.admit(1, HEAD, Some(100), readers.iter().copied())
        };
        assert_eq!(admit(&[fast]), Admission::Append);
        assert_eq!(admit(&[fast, slow]), Admission::Evict(vec![slow.handle]));
        let writable = Reader { is_write_blocked: false, ..slow };
        assert_eq!(admit(&[fast, writable]), Admission::Yield);
        let replaying = Reader { is_replaying: true, ..writable };
        assert_eq!(admit(&[replaying]), Admission::Evict(vec![slow.handle]));
    }
}
