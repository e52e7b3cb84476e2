//! Pacing: the rules under which broadcasts pause so that readers can catch up, for the policies
//! that do not wait for every reader.
//!
//! 1. **Patience.** A reader has patience: how long broadcasts may still pause for it. It earns
//!    patience while it is caught up, a small share of that time. A reader with hardly any does not
//!    count below. A new reader gets just enough to count from the channel's *purse*, or none if the
//!    purse is empty, so reconnecting gains nothing.
//! 2. **The feed follows its median reader.** Broadcasts pause while more than half of the readers
//!    are behind and their sockets refuse bytes. If such a pause grows long, and those readers take
//!    little meanwhile, the slow ones among them lose their patience, and the purse pays as well.
//! 3. **Good readers may stall for a moment.** Otherwise, broadcasts pause while a reader is far
//!    behind and its socket refuses bytes. The reader pays for this with its patience, and the
//!    channel from its *tail bucket*.
//! 4. **A reader that is overrun all the same** is a slow consumer, and evicted or skipped forward.
//!
//! In any time T, broadcasts thus pause under rule 3 for at most 1 s + T/4, for one reader at most
//! 250 ms + T/32, and new readers cause at most 10 + T/16 s long pauses of rule 2. Only a majority
//! of readers that have earned their patience, and take enough to keep it, can slow the feed down.

use super::bucket::{Bucket, elapsed_us};
use super::reader::{Admission, Overrun, Reader, Tick, append_after, entry};
use crate::hub::channel::feed::Offset;
use crate::limits::Limits;

/// A reader is behind when it lags by more than the feed's size divided by this.
pub(super) const BEHIND_DIVISOR: u64 = 16;
/// A reader is far behind when it lags by more than the feed's size divided by this.
pub(super) const FAR_BEHIND_DIVISOR: u64 = 2;

// Every time is a multiple or a fraction of the maximum patience, which is 250 ms.

/// A reader earns this part of the time in which it is caught up. A reader with less than this part
/// of the maximum patience, 7.8 ms, does not count. A new reader gets exactly that.
const SHARE_DIVISOR: i64 = 32;
/// The purse: 10 s, refilled with a sixteenth of the time.
const PURSE: (i64, i64) = (40, 16);
/// The tail bucket: 1 s, refilled with a quarter of the time.
const TAIL: (i64, i64) = (4, 4);
/// The maximum time between two samples for which readers earn patience, or a new reader would earn
/// it for the time before it connected: 1 s.
const MAX_EARNING: i64 = 4;
/// What the purse pays when a pause of rule 2 was too long: 1 s.
const PURSE_PAYS: i64 = 4;

// After a pause of rule 2 for the maximum patience:

/// A reader that took this many bytes is not slow.
const GOOD_BYTES: u64 = 1 << 20;
/// If the readers that are behind took this many bytes together, none of them is slow: the machine
/// is busy.
const PRODUCTIVE_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct Pacing {
    feed_size: u64,
    max_patience_us: i64,
    pause: Option<Pause>,
    /// How long the pause of rule 2 has waited only for readers.
    waited_us: i64,
    tail: Bucket,
    purse: Bucket,
    /// Each reader's state, by key. Stale for other keys.
    readers: Vec<Patience>,
    /// When the readers were last sampled.
    sampled_at_ms: u64,
    /// The feed's head at the last sample.
    sampled_head: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// Rule 2.
    ForMost,
    /// Rule 3.
    ForSome,
}

#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    left_us: i64,
    /// Its `bytes_out` when the pause of rule 2 began.
    bytes_before: u64,
}

impl Pacing {
    pub(super) fn new(limits: &Limits) -> Self {
        let max_patience_us = elapsed_us(0, limits.patience_ms);
        let bucket = |(size, refill_divisor)| Bucket::new(size * max_patience_us, refill_divisor);
        Self {
            feed_size: limits.feed_size as u64,
            max_patience_us,
            pause: None,
            waited_us: 0,
            tail: bucket(TAIL),
            purse: bucket(PURSE),
            readers: Vec::new(),
            sampled_at_ms: 0,
            sampled_head: 0,
        }
    }

    pub(super) fn join(&mut self, key: usize) {
        let least_us = self.least_us();
        let left_us = if self.purse.left_us() >= least_us { least_us } else { 0 };
        self.purse.spend(left_us);
        *entry(&mut self.readers, key) = Patience { left_us, bytes_before: 0 };
    }

    pub(super) fn sampled_at_ms(&self) -> u64 {
        self.sampled_at_ms
    }

    pub(super) fn admit(
        &mut self,
        now_ms: u64,
        head: Offset,
        drops_before: Option<Offset>,
        readers: impl Iterator<Item = Reader> + Clone,
    ) -> Admission {
        // Sampling visits every reader, so it is not done for every broadcast.
        if self.pause.is_none() && head - self.sampled_head >= self.feed_size / BEHIND_DIVISOR {
            self.sample(now_ms, head, readers.clone());
        }
        if self.pause.is_some() {
            return Admission::Wait(None);
        }
        let Some(drops_before) = drops_before else { return Admission::Append };
        let Some(Overrun { replaying, blocked }) = Overrun::find(drops_before, readers.clone())
        else {
            return Admission::Yield;
        };
        // At the last sample, their sockets may not have been full.
        if !blocked.is_empty() && head != self.sampled_head {
            self.sample(now_ms, head, readers);
            if self.pause.is_some() {
                return Admission::Wait(None);
            }
        }
        append_after([replaying, blocked].concat())
    }

    pub(super) fn tick(
        &mut self,
        now_ms: u64,
        head: Offset,
        readers: impl Iterator<Item = Reader> + Clone,
    ) -> Tick {
        self.sample(now_ms, head, readers);
        Tick { is_open: self.pause.is_none(), ..Tick::default() }
    }

    /// Charges the time since the last sample to those it was spent on, then decides whether
    /// broadcasts pause from now on.
    fn sample(&mut self, now_ms: u64, head: Offset, readers: impl Iterator<Item = Reader> + Clone) {
        let elapsed_us = elapsed_us(self.sampled_at_ms, now_ms);
        let readers = readers.filter(|reader| {
            !reader.is_replaying && (reader.follows || reader.oldest_needed.is_some())
        });
        self.tail.refill(elapsed_us);
        self.purse.refill(elapsed_us);
        let was = self.pause;
        let is_waiting = was.is_some() && !self.must_write(readers.clone());
        let waited_us = if is_waiting { elapsed_us } else { 0 };
        match was {
            Some(Pause::ForMost) => self.waited_us += waited_us,
            Some(Pause::ForSome) => self.tail.spend(waited_us),
            None => {}
        }
        let is_long = was == Some(Pause::ForMost) && self.waited_us >= self.max_patience_us;
        let has_failed = is_long && self.taken(head, readers.clone()) < PRODUCTIVE_BYTES;
        if has_failed {
            self.purse.spend(PURSE_PAYS * self.max_patience_us);
        }
        let begins_anew = is_long || was != Some(Pause::ForMost);
        if begins_anew {
            self.waited_us = 0;
        }
        let earned_us = elapsed_us.min(MAX_EARNING * self.max_patience_us) / SHARE_DIVISOR;
        let (behind, far_behind) = (self.behind(), self.far_behind());
        let mut sample = Sample::default();
        for reader in readers {
            let lag = reader.lag(head);
            // Once paused for most readers, those must catch up: it is not enough that their sockets
            // accept a few bytes.
            let is_behind =
                lag > behind && (reader.is_write_blocked || was == Some(Pause::ForMost));
            let is_far_behind = lag > far_behind && reader.is_write_blocked;
            let patience = &mut self.readers[reader.handle.key];
            if lag <= behind || !reader.is_write_blocked {
                patience.left_us = (patience.left_us + earned_us).min(self.max_patience_us);
            }
            if was == Some(Pause::ForSome) && is_far_behind {
                patience.left_us = (patience.left_us - waited_us).max(0);
            }
            if has_failed && is_behind && reader.bytes_out - patience.bytes_before < GOOD_BYTES {
                patience.left_us = 0;
            }
            if begins_anew {
                patience.bytes_before = reader.bytes_out;
            }
            if self.counts(reader) {
                sample.readers += 1;
                sample.behind += usize::from(is_behind);
                sample.far_behind += usize::from(is_far_behind);
            }
        }
        self.pause = if 2 * sample.behind > sample.readers {
            Some(Pause::ForMost)
        } else if sample.far_behind > 0 && self.tail.left_us() > 0 {
            Some(Pause::ForSome)
        } else {
            None
        };
        self.sampled_head = head;
        self.sampled_at_ms = now_ms;
    }

    /// Returns whether the server must still write to a reader that counts. Readers then do not
    /// pay for the time.
    fn must_write(&self, mut readers: impl Iterator<Item = Reader>) -> bool {
        readers.any(|reader| {
            !reader.is_write_blocked && reader.oldest_needed.is_some() && self.counts(reader)
        })
    }

    /// The number of bytes that the readers that are behind took since the pause of rule 2 began.
    fn taken(&self, head: Offset, readers: impl Iterator<Item = Reader>) -> u64 {
        let behind = readers.filter(|reader| reader.lag(head) > self.behind());
        let taken = behind
            .filter(|&reader| self.counts(reader))
            .map(|reader| reader.bytes_out - self.readers[reader.handle.key].bytes_before);
        taken.sum()
    }

    fn counts(&self, reader: Reader) -> bool {
        self.readers[reader.handle.key].left_us >= self.least_us()
    }

    fn least_us(&self) -> i64 {
        (self.max_patience_us / SHARE_DIVISOR).max(1)
    }

    fn behind(&self) -> u64 {
        self.feed_size / BEHIND_DIVISOR
    }

    fn far_behind(&self) -> u64 {
        self.feed_size / FAR_BEHIND_DIVISOR
    }
}

/// How many readers count, and how many of them are behind and blocked.
#[derive(Default)]
struct Sample {
    readers: usize,
    behind: usize,
    far_behind: usize,
}

#[cfg(test)]
mod tests {
    use super::super::reader::tests::{HEAD, limits, reader};
    use super::*;

    /// Pacing for four readers that have all the patience that a reader can have, at 10,000 ms.
    fn patient() -> Pacing {
        let mut pacing = Pacing::new(&limits());
        (0..4).for_each(|key| pacing.join(key));
        (1..=10).for_each(|second| sample(&mut pacing, second * 1000, &[0; 4]));
        assert_eq!(patience_us(&pacing), [250_000; 4]);
        pacing
    }

    /// Samples readers with these lags. Those that lag are blocked.
    fn sample(pacing: &mut Pacing, now_ms: u64, lags: &[u64]) {
        pacing.sample(now_ms, HEAD, readers(lags));
    }

    fn readers(lags: &[u64]) -> impl Iterator<Item = Reader> + Clone {
        lags.iter().enumerate().map(|(key, &lag)| reader(key, lag))
    }

    fn patience_us(pacing: &Pacing) -> Vec<i64> {
        pacing.readers.iter().map(|patience| patience.left_us).collect()
    }

    #[test]
    fn caught_up_readers_earn_patience_and_newcomers_get_it_while_the_purse_lasts() {
        let mut pacing = Pacing::new(&limits());
        for key in 0..1500 {
            pacing.join(key);
        }
        let counting = (0..1500).filter(|&key| pacing.counts(reader(key, 0)));
        assert_eq!(counting.count(), 1280);
        sample(&mut pacing, 100, &[100, 101]);
        assert_eq!(patience_us(&pacing)[..2], [7_812 + 3125, 7_812]);
        let writable = Reader { is_write_blocked: false, ..reader(1, 1600) };
        pacing.sample(200, HEAD, [writable].into_iter());
        assert_eq!(patience_us(&pacing)[1], 7_812 + 3125, "the server must write to it");
        sample(&mut pacing, 1_000_000, &[0]);
        assert_eq!(patience_us(&pacing)[0], 7_812 + 3125 + 31_250, "one second counts at most");
    }

    #[test]
    fn broadcasts_pause_while_most_readers_that_count_are_behind() {
        for (lags, pause) in [
            ([101, 101, 101, 0], Some(Pause::ForMost)),
            ([101, 101, 0, 0], None),
            ([100, 100, 100, 100], None),
            ([801, 0, 0, 0], Some(Pause::ForSome)),
            ([800, 0, 0, 0], None),
        ] {
            let mut pacing = patient();
            sample(&mut pacing, 10_001, &lags);
            assert_eq!(pacing.pause, pause, "{lags:?}");
        }
        let mut pacing = patient();
        pacing.readers[3].left_us = 0;
        sample(&mut pacing, 10_001, &[101, 101, 0, 1600]);
        assert_eq!(pacing.pause, Some(Pause::ForMost), "two of the three that count");
        let mut pacing = patient();
        let replaying = readers(&[1600; 4]).map(|reader| Reader { is_replaying: true, ..reader });
        pacing.sample(10_001, HEAD, replaying);
        assert_eq!(pacing.pause, None);
    }

    #[test]
    fn pause_for_most_goes_on_until_they_have_caught_up() {
        let mut pacing = patient();
        sample(&mut pacing, 10_001, &[101; 4]);
        let writable =
            readers(&[101; 4]).map(|reader| Reader { is_write_blocked: false, ..reader });
        pacing.sample(10_002, HEAD, writable);
        assert_eq!(pacing.pause, Some(Pause::ForMost));
        sample(&mut pacing, 10_003, &[100, 100, 101, 101]);
        assert_eq!(pacing.pause, None);
    }

    #[test]
    fn readers_that_take_little_in_a_long_pause_for_most_lose_their_patience() {
        // The bytes that two of three readers take in the pause, and whether they still count.
        for (taken, still_count) in [
            ([0, 0], [false, false]),
            ([GOOD_BYTES - 1, GOOD_BYTES], [false, true]),
            ([0, PRODUCTIVE_BYTES - 1], [false, true]),
            ([0, PRODUCTIVE_BYTES], [true, true]),
        ] {
            let mut pacing = patient();
            sample(&mut pacing, 10_000, &[200, 200, 200, 0]);
            let later = readers(&[200, 200, 100, 0]).zip(taken.into_iter().chain([0, 0]));
            let later = later.map(|(reader, bytes_out)| Reader { bytes_out, ..reader });
            pacing.sample(10_249, HEAD, later.clone().take(2));
            assert_eq!(pacing.pause, Some(Pause::ForMost), "{taken:?}");
            pacing.sample(10_250, HEAD, later);
            let counts = [0, 1].map(|key| pacing.counts(reader(key, 200)));
            assert_eq!(counts, still_count, "{taken:?}");
            assert!(pacing.counts(reader(2, 0)), "the third reader has caught up");
            assert_eq!(pacing.purse.left_us() < 9_500_000, taken[1] < PRODUCTIVE_BYTES);
        }
    }

    #[test]
    fn time_in_which_the_server_must_write_to_a_reader_that_counts_is_free() {
        let mut pacing = patient();
        let mut crowd: Vec<Reader> = readers(&[1600, 0, 0, 100]).collect();
        crowd[3].is_write_blocked = false;
        pacing.sample(10_000, HEAD, crowd.iter().copied());
        pacing.sample(10_100, HEAD, crowd.iter().copied());
        assert_eq!(patience_us(&pacing)[0], 250_000);
        // A reader that does not count cannot stop the clock.
        pacing.readers[3].left_us = 0;
        pacing.sample(10_101, HEAD, crowd.iter().copied());
        assert_eq!(patience_us(&pacing)[0], 249_000);
    }

    #[test]
    fn pause_for_some_lasts_as_long_as_the_patience_of_the_reader_and_the_tail_bucket() {
        let mut pacing = patient();
        sample(&mut pacing, 10_000, &[1600, 0, 0, 0]);
        sample(&mut pacing, 10_200, &[1600, 0, 0, 0]);
        assert_eq!((pacing.pause, patience_us(&pacing)[0]), (Some(Pause::ForSome), 50_000));
        sample(&mut pacing, 10_243, &[1600, 0, 0, 0]);
        assert_eq!((pacing.pause, patience_us(&pacing)[0]), (None, 7000));
        let mut pacing = patient();
        pacing.tail.spend(900_000);
        sample(&mut pacing, 10_000, &[1600, 0, 0, 0]);
        assert_eq!(pacing.pause, Some(Pause::ForSome));
        sample(&mut pacing, 10_150, &[1600, 0, 0, 0]);
        assert_eq!(pacing.pause, None, "100 ms were left, and 37 ms were refilled");
    }

    /// At the last sample, the server still had to write to this reader.
    #[test]
    fn readers_are_sampled_before_one_is_evicted() {
        let mut pacing = patient();
        let admit = |pacing: &mut Pacing, head| {
            let reader = Reader { oldest_needed: Some(0), ..reader(0, 1600) };
            pacing.admit(10_001, head, Some(100), [reader].into_iter())
        };
        assert_eq!(admit(&mut pacing, HEAD + 1), Admission::Wait(None));
        pacing.pause = None;
        pacing.readers[0].left_us = 0;
        assert!(matches!(admit(&mut pacing, HEAD + 2), Admission::Evict(_)));
    }

    #[test]
    fn without_patience_broadcasts_never_pause() {
        let mut pacing = Pacing::new(&Limits { patience_ms: 0, ..limits() });
        (0..2).for_each(|key| pacing.join(key));
        sample(&mut pacing, 1000, &[0, 0]);
        sample(&mut pacing, 1001, &[1600, 1600]);
        assert_eq!(pacing.pause, None);
    }
}
