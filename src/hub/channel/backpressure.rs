//! Backpressure: whether the next broadcast may be appended, and which slow consumers are evicted
//! for it.
//!
//! Publishers can outrun readers. The rules, mildest first:
//! 1. **A turn appends little** (the hub's budget), so that the server can write to readers in
//!    between.
//! 2. **Most readers are behind**: publishers are too fast. Broadcasts pause until fewer are
//!    behind, for at most two seconds.
//! 3. **Some readers are behind**: their delay may be temporary. Broadcasts pause for at most half
//!    a second.
//!
//!    After a pause, the feed may advance by a sixteenth of its size before the next pause. Readers
//!    that make no progress are ignored. Slightly slow readers therefore survive, and a busy feed
//!    overruns stalled ones within a minute, however many there are.
//! 4. **The feed would still overrun a reader**: the reader is a slow consumer, and
//!    [`SlowConsumerPolicy`] decides. Under [`Block`](SlowConsumerPolicy::Block) publishers wait
//!    for the reader, and rules 2 and 3 do not apply.
//!
//! Broadcasts never wait for a reader that is replaying (it moved its own cursor back and has not
//! caught up), since `history` must not delay other clients. Any other reader is overrun only while
//! its socket refuses bytes, never because the server was too busy to write to it.
//!
//! This module is pure: it takes times, feed offsets and [`Reader`] values, and returns decisions.
//! It uses neither the hub nor a clock.

use std::collections::BTreeMap;

use super::feed::Offset;
use crate::hub::event::Event;
use crate::hub::handle::Handle;
use crate::limits::{Limits, STALL_BYTES};

/// A reader is behind when it lags by more than the feed's size divided by this.
const BEHIND_DIVISOR: u64 = 16;
/// A reader is far behind when it lags by more than the feed's size divided by this.
const FAR_BEHIND_DIVISOR: u64 = 2;

/// Some readers are behind when at least two are, and more than one in this many; or when one is
/// far behind.
const SOME_DIVISOR: usize = 8;

/// A pause for some readers lasts as long as the time since a sample last left the gate open,
/// within these bounds. It thus halves the rate of a steady stream.
const MIN_PAUSE_FOR_SOME_MS: u64 = 100;
const MAX_PAUSE_FOR_SOME_MS: u64 = 500;

/// The maximum pause for most readers.
const MAX_PAUSE_FOR_MOST_MS: u64 = 2000;

/// The sampling interval while no reader makes progress.
const IDLE_SAMPLE_MS: u64 = 20;

/// How many times blocking readers are probed within the stall timeout. The poll reports a socket
/// writable only when a third of its buffer is free, which can be more than [`STALL_BYTES`].
const PROBES: u64 = 8;

/// The minimum time between two log events about blocked publishers.
const REPORT_INTERVAL_MS: u64 = 60_000;

/// What happens to a slow consumer: a reader that the feed is about to overrun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumerPolicy {
    /// It is disconnected.
    #[default]
    Disconnect,
    /// It skips lines, and a `lagged` line reports how many.
    Skip,
    /// Publishers wait for it. It is disconnected only if it reads less than [`STALL_BYTES`] within
    /// the stall timeout.
    Block,
}

/// Decides whether a channel's next broadcast may be appended.
#[derive(Debug)]
pub(crate) struct Backpressure {
    policy: SlowConsumerPolicy,
    feed_size: u64,
    reader_grace_ms: u64,
    stall_timeout_ms: u64,
    gate: Gate,
    /// When a sample last left the gate open.
    sampled_open_ms: u64,
    /// When the readers were last checked, by a sample or under rule 4.
    checked_at_ms: u64,
    /// The feed's head at the last sample.
    sampled_head: Offset,
    /// Whether a reader has made progress, or left, since the last check.
    has_progress: bool,
    reported_at_ms: Option<u64>,
}

#[derive(Debug)]
enum Gate {
    Open,
    /// Rule 2 (`for_most`) or 3.
    Paused {
        until_ms: u64,
        for_most: bool,
    },
    /// Rule 4 under [`SlowConsumerPolicy::Block`].
    Blocked(BlockingReaders),
}

/// The readers that block the next append.
#[derive(Debug)]
struct BlockingReaders {
    /// The append drops everything before this offset.
    drops_before: Offset,
    /// The readers that still need part of it, each with its `bytes_out` when the current stall
    /// timeout began.
    readers: BTreeMap<Handle, u64>,
    /// When the stall timeout ends.
    until_ms: u64,
    probe_at_ms: u64,
}

/// A client as backpressure sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) handle: Handle,
    /// Whether it receives new broadcasts.
    pub(crate) follows: bool,
    /// The oldest offset of the feed that it still needs, if any.
    pub(crate) oldest_needed: Option<Offset>,
    /// Whether it moved its own cursor back and has not caught up.
    pub(crate) is_replaying: bool,
    /// Whether its socket refuses bytes.
    pub(crate) is_write_blocked: bool,
    /// When its socket last accepted bytes.
    pub(crate) last_write_ms: u64,
    /// The number of bytes that its socket has accepted.
    pub(crate) bytes_out: u64,
}

impl Reader {
    fn needs_before(&self, offset: Offset) -> bool {
        self.oldest_needed.is_some_and(|needed| needed < offset)
    }
}

/// Whether the next broadcast may be appended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may be appended now.
    Append,
    /// It may be appended once these slow consumers are evicted or skipped forward.
    Evict(Vec<Handle>),
    /// Not in this turn: the server must first write to a reader that would be overrun.
    Yield,
    /// Not before [`Backpressure::tick`] reopens the gate. The event, if any, is for the log.
    Wait(Option<Event>),
}

/// The result of [`Backpressure::tick`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Whether blocked publishers may continue.
    pub(crate) is_open: bool,
    /// Readers that read too little within the stall timeout.
    pub(crate) stalled: Vec<Handle>,
    /// Readers to write to even though the poll has not reported their sockets writable.
    pub(crate) probe: Vec<Handle>,
}

impl Backpressure {
    pub(crate) fn new(policy: SlowConsumerPolicy, limits: &Limits) -> Self {
        Self {
            policy,
            feed_size: limits.feed_size as u64,
            reader_grace_ms: limits.reader_grace_ms,
            stall_timeout_ms: limits.stall_timeout_ms,
            gate: Gate::Open,
            sampled_open_ms: 0,
            checked_at_ms: 0,
            sampled_head: 0,
            has_progress: false,
            reported_at_ms: None,
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
        // Sampling visits every reader, so it is not done for every broadcast.
        if self.is_open()
            && self.policy != SlowConsumerPolicy::Block
            && head - self.sampled_head >= self.feed_size / BEHIND_DIVISOR
        {
            self.sample(now_ms, head, readers.clone());
        }
        match drops_before {
            _ if !self.is_open() => Admission::Wait(None),
            None => Admission::Append,
            Some(drops_before) => self.make_room(now_ms, drops_before, readers),
        }
    }

    /// Checks the readers again while publishers wait, and reopens the gate if the wait is over.
    pub(crate) fn tick(
        &mut self,
        now_ms: u64,
        head: Offset,
        readers: impl Iterator<Item = Reader>,
    ) -> Tick {
        let mut tick = Tick::default();
        match self.policy {
            SlowConsumerPolicy::Block => self.check_blocking_readers(now_ms, readers, &mut tick),
            SlowConsumerPolicy::Disconnect | SlowConsumerPolicy::Skip => {
                self.sample(now_ms, head, readers);
            }
        }
        tick.is_open = self.is_open();
        tick
    }

    /// Stops waiting for blocking readers, since no publisher is waiting any more.
    pub(crate) fn unblock(&mut self) {
        if let Gate::Blocked(_) = self.gate {
            self.gate = Gate::Open;
        }
    }

    /// Records that a reader has made progress or no longer counts, so that the next check comes
    /// sooner.
    pub(crate) fn note_progress(&mut self) {
        self.has_progress = true;
    }

    /// The earliest time for the next [`tick`](Self::tick). A tick visits every client, so it runs
    /// less often when there are many.
    pub(crate) fn next_check_ms(&self, clients: usize) -> u64 {
        self.checked_at_ms + 1 + clients as u64 / 1000
    }

    /// The time by which [`tick`](Self::tick) must run, even without socket events.
    pub(crate) fn next_deadline(&self, clients: usize) -> u64 {
        let soon_ms = self.next_check_ms(clients);
        match &self.gate {
            _ if self.has_progress => soon_ms,
            Gate::Blocked(blocking) => soon_ms.max(blocking.until_ms.min(blocking.probe_at_ms)),
            Gate::Open | Gate::Paused { .. } => soon_ms.max(self.checked_at_ms + IDLE_SAMPLE_MS),
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

    fn is_open(&self) -> bool {
        matches!(self.gate, Gate::Open)
    }

    fn note_check(&mut self, now_ms: u64) {
        self.checked_at_ms = now_ms;
        self.has_progress = false;
    }

    /// Rules 2 and 3: counts the readers that are behind, and begins, continues or ends a pause.
    fn sample(&mut self, now_ms: u64, head: Offset, readers: impl Iterator<Item = Reader>) {
        let mut sample = Sample::default();
        for reader in readers {
            let lag = reader.oldest_needed.map_or(0, |needed| head - needed);
            let makes_progress =
                !reader.is_write_blocked || now_ms < reader.last_write_ms + self.reader_grace_ms;
            if (reader.follows || lag > 0) && makes_progress && !reader.is_replaying {
                sample.readers += 1;
                sample.behind += usize::from(self.is_behind(lag));
                sample.far_behind += usize::from(self.is_far_behind(lag));
            }
        }
        self.decide(now_ms, sample);
        self.sampled_head = head;
        self.note_check(now_ms);
    }

    fn decide(&mut self, now_ms: u64, sample: Sample) {
        let (most, some) = (sample.most_are_behind(), sample.some_are_behind());
        let next = match self.gate {
            _ if !most && !some => Gate::Open,
            Gate::Paused { until_ms, .. } if now_ms >= until_ms => Gate::Open,
            Gate::Paused { for_most, .. } if !for_most || most => return,
            Gate::Open if most => {
                Gate::Paused { until_ms: now_ms + MAX_PAUSE_FOR_MOST_MS, for_most: true }
            }
            Gate::Open | Gate::Paused { .. } => {
                let pause_ms = (now_ms - self.sampled_open_ms)
                    .clamp(MIN_PAUSE_FOR_SOME_MS, MAX_PAUSE_FOR_SOME_MS);
                Gate::Paused { until_ms: now_ms + pause_ms, for_most: false }
            }
            // Unreachable: only SlowConsumerPolicy::Block blocks the gate, and never takes samples.
            Gate::Blocked(_) => return,
        };
        self.gate = next;
        if self.is_open() {
            self.sampled_open_ms = now_ms;
        }
    }

    /// Rule 4: finds the readers that still need lines that the append drops, and decides what
    /// happens to them.
    fn make_room(
        &mut self,
        now_ms: u64,
        drops_before: Offset,
        readers: impl Iterator<Item = Reader>,
    ) -> Admission {
        let (mut evict, mut blocking) = (Vec::new(), BTreeMap::new());
        for reader in readers.filter(|reader| reader.needs_before(drops_before)) {
            if reader.is_replaying {
                evict.push(reader.handle);
            } else if !reader.is_write_blocked {
                return Admission::Yield;
            } else if self.policy == SlowConsumerPolicy::Block {
                blocking.insert(reader.handle, reader.bytes_out);
            } else {
                evict.push(reader.handle);
            }
        }
        if !blocking.is_empty() {
            return Admission::Wait(self.block(now_ms, drops_before, blocking));
        }
        if evict.is_empty() { Admission::Append } else { Admission::Evict(evict) }
    }

    fn block(
        &mut self,
        now_ms: u64,
        drops_before: Offset,
        readers: BTreeMap<Handle, u64>,
    ) -> Option<Event> {
        let was_reported = self
            .reported_at_ms
            .is_some_and(|reported_at_ms| now_ms < reported_at_ms + REPORT_INTERVAL_MS);
        let first = readers.keys().next().filter(|_| !was_reported);
        let event =
            first.map(|handle| Event::PublishersBlocked { id: handle.id, readers: readers.len() });
        if event.is_some() {
            self.reported_at_ms = Some(now_ms);
        }
        self.note_check(now_ms);
        self.gate = Gate::Blocked(BlockingReaders {
            drops_before,
            readers,
            until_ms: now_ms + self.stall_timeout_ms,
            probe_at_ms: self.next_probe_ms(now_ms),
        });
        event
    }

    fn next_probe_ms(&self, now_ms: u64) -> u64 {
        now_ms + (self.stall_timeout_ms / PROBES).max(1)
    }

    /// Rule 4 under [`SlowConsumerPolicy::Block`]: stops waiting for readers that no longer need
    /// the lines to drop, and for readers that read too little within the stall timeout.
    fn check_blocking_readers(
        &mut self,
        now_ms: u64,
        readers: impl Iterator<Item = Reader>,
        tick: &mut Tick,
    ) {
        let next_probe_ms = self.next_probe_ms(now_ms);
        let Gate::Blocked(blocking) = &mut self.gate else { return };
        let is_over = now_ms >= blocking.until_ms;
        let mut remaining = BTreeMap::new();
        for reader in readers {
            let Some(&bytes_before) = blocking.readers.get(&reader.handle) else { continue };
            if !reader.needs_before(blocking.drops_before) || reader.is_replaying {
                continue;
            }
            if !is_over {
                remaining.insert(reader.handle, bytes_before);
            } else if reader.bytes_out - bytes_before < STALL_BYTES {
                tick.stalled.push(reader.handle);
            } else {
                remaining.insert(reader.handle, reader.bytes_out);
            }
        }
        blocking.readers = remaining;
        if is_over {
            blocking.until_ms = now_ms + self.stall_timeout_ms;
        }
        if now_ms >= blocking.probe_at_ms {
            blocking.probe_at_ms = next_probe_ms;
            tick.probe = blocking.readers.keys().copied().collect();
        }
        if blocking.readers.is_empty() {
            self.gate = Gate::Open;
        }
        self.note_check(now_ms);
    }
}

/// How many readers make progress, and how many of them are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    readers: usize,
    behind: usize,
    far_behind: usize,
}

impl Sample {
    fn most_are_behind(self) -> bool {
        self.behind > 1 && 2 * self.behind > self.readers
    }

    fn some_are_behind(self) -> bool {
        self.far_behind > 0 || (self.behind > 1 && self.behind * SOME_DIVISOR > self.readers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(behind: usize, readers: usize) -> Sample {
        Sample { readers, behind, far_behind: 0 }
    }

    #[test]
    fn single_reader_counts_only_when_far_behind() {
        for readers in [1, 2, 100] {
            let one = sample(1, readers);
            assert!(!one.most_are_behind() && !one.some_are_behind());
            let far_behind = Sample { far_behind: 1, ..one };
            assert!(!far_behind.most_are_behind() && far_behind.some_are_behind());
        }
    }

    #[test]
    fn most_is_more_than_half_and_some_is_more_than_an_eighth() {
        assert!(sample(2, 3).most_are_behind() && !sample(2, 4).most_are_behind());
        assert!(sample(51, 100).most_are_behind() && !sample(50, 100).most_are_behind());
        assert!(sample(2, 15).some_are_behind() && !sample(2, 16).some_are_behind());
        assert!(sample(13, 100).some_are_behind() && !sample(12, 100).some_are_behind());
    }

    fn backpressure(policy: SlowConsumerPolicy) -> Backpressure {
        let limits = Limits {
            feed_size: 1600,
            reader_grace_ms: 1000,
            stall_timeout_ms: 8000,
            ..Limits::default()
        };
        Backpressure::new(policy, &limits)
    }

    /// Decides on a series of samples: each has a time, how many of 100 readers are behind, and
    /// when the pause must end after it.
    #[track_caller]
    fn check_samples(samples: &[(u64, usize, Option<u64>)]) {
        let mut backpressure = backpressure(SlowConsumerPolicy::Disconnect);
        for &(now_ms, behind, paused_until) in samples {
            backpressure.decide(now_ms, sample(behind, 100));
            let until = match backpressure.gate {
                Gate::Paused { until_ms, .. } => Some(until_ms),
                _ => None,
            };
            assert_eq!(until, paused_until, "{behind} of 100 behind at {now_ms}: {backpressure:?}");
        }
    }

    #[test]
    fn pause_for_most_readers_lasts_two_seconds_and_can_repeat() {
        let until = Some(3000);
        check_samples(&[(1000, 51, until), (2000, 99, until), (2999, 51, until), (3000, 51, None)]);
        check_samples(&[(1000, 51, until), (3000, 51, None), (3001, 51, Some(5001))]);
    }

    #[test]
    fn pause_ends_when_few_readers_are_behind() {
        check_samples(&[(1000, 51, Some(3000)), (1001, 12, None)]);
        check_samples(&[(1000, 13, Some(1500)), (1001, 12, None)]);
    }

    #[test]
    fn pause_for_some_readers_lasts_as_long_as_the_gate_was_open_within_bounds() {
        check_samples(&[(50, 13, Some(150))]);
        check_samples(&[(1000, 0, None), (1200, 13, Some(1400)), (1300, 13, Some(1400))]);
        check_samples(&[
            (1000, 0, None),
            (9000, 13, Some(9500)),
            (9500, 13, None),
            (9501, 13, Some(9601)),
        ]);
    }

    #[test]
    fn pause_for_most_turns_into_pause_for_some_but_not_the_reverse() {
        check_samples(&[(900, 0, None), (1000, 51, Some(3000)), (1200, 13, Some(1500))]);
        check_samples(&[
            (900, 0, None),
            (1000, 13, Some(1100)),
            (1050, 99, Some(1100)),
            (1100, 99, None),
        ]);
    }

    #[test]
    fn more_clients_are_sampled_less_often() {
        let backpressure = backpressure(SlowConsumerPolicy::Disconnect);
        let intervals =
            [0, 999, 1000, 1999, 10_000].map(|clients| backpressure.next_check_ms(clients));
        assert_eq!(intervals, [1, 1, 2, 2, 11]);
    }

    /// A reader with a full socket, and with this lag at a head of 1600.
    fn reader(id: u64, lag: u64) -> Reader {
        Reader {
            handle: Handle { id, key: id as usize },
            follows: true,
            oldest_needed: (lag > 0).then(|| 1600 - lag),
            is_replaying: false,
            is_write_blocked: true,
            last_write_ms: 0,
            bytes_out: 0,
        }
    }

    /// Requests an append at a head of 1600 that drops the first 100 bytes.
    fn admit(backpressure: &mut Backpressure, now_ms: u64, readers: &[Reader]) -> Admission {
        backpressure.sampled_head = 1600;
        backpressure.admit(now_ms, 1600, Some(100), readers.iter().copied())
    }

    #[test]
    fn readers_without_progress_do_not_delay_broadcasts() {
        let slow = [reader(1, 1000), reader(2, 1000)];
        let mut backpressure = backpressure(SlowConsumerPolicy::Disconnect);
        let admission = backpressure.admit(999, 1600, None, slow.iter().copied());
        assert_eq!(admission, Admission::Wait(None), "within the grace period");
        let tick = backpressure.tick(1000, 1600, slow.iter().copied());
        assert!(tick.is_open, "the grace period is over");
    }

    #[test]
    fn overrun_reader_is_evicted_unless_its_socket_accepts_bytes() {
        let (slow, fast) = (reader(1, 1600), reader(2, 100));
        let mut backpressure = backpressure(SlowConsumerPolicy::Skip);
        assert_eq!(admit(&mut backpressure, 1, &[fast]), Admission::Append);
        assert_eq!(admit(&mut backpressure, 1, &[fast, slow]), Admission::Evict(vec![slow.handle]));
        let writable = Reader { is_write_blocked: false, ..slow };
        assert_eq!(admit(&mut backpressure, 1, &[fast, writable]), Admission::Yield);
        let replaying = Reader { is_replaying: true, ..writable };
        assert_eq!(admit(&mut backpressure, 1, &[replaying]), Admission::Evict(vec![slow.handle]));
    }

    #[test]
    fn block_waits_for_the_reader_and_gives_up_after_the_stall_timeout() {
        let slow = reader(1, 1600);
        let mut backpressure = backpressure(SlowConsumerPolicy::Block);
        let event = Event::PublishersBlocked { readers: 1, id: 1 };
        assert_eq!(admit(&mut backpressure, 1000, &[slow]), Admission::Wait(Some(event)));
        let mut tick = |now_ms, reader: Reader| {
            let tick = backpressure.tick(now_ms, 1600, [reader].into_iter());
            (tick.is_open, tick.stalled, tick.probe)
        };
        let none = Vec::<Handle>::new;
        assert_eq!(tick(1500, slow), (false, none(), none()));
        assert_eq!(tick(2000, slow), (false, none(), vec![slow.handle]));
        let reading = Reader { bytes_out: STALL_BYTES, ..slow };
        assert_eq!(tick(9000, reading), (false, none(), vec![slow.handle]));
        assert_eq!(tick(17_000, reading), (true, vec![slow.handle], none()));
    }

    #[test]
    fn block_reopens_when_the_reader_has_made_room() {
        let mut backpressure = backpressure(SlowConsumerPolicy::Block);
        let admission = admit(&mut backpressure, 1000, &[reader(1, 1600)]);
        assert!(matches!(admission, Admission::Wait(Some(_))));
        let admission = admit(&mut backpressure, 1001, &[reader(1, 1600)]);
        assert_eq!(admission, Admission::Wait(None), "reported once a minute");
        assert!(backpressure.tick(1002, 1600, [reader(1, 1500)].into_iter()).is_open);
    }
}
