//! Which way is cheaper: to send a file's pages, or to copy bytes.
//!
//! That differs from machine to machine, by a third either way: it depends on how fast it copies, on how
//! large the kernel's pages are, and on how much it does for each. So both ways are tried, again and again.

use std::time::Duration;

/// How many pieces go each way for a trial.
const TRIAL: usize = 16;

/// How many pieces there are from one trial to the next at first, and again when a trial has come to
/// another result than the last one. Each that comes to the same doubles it: a trial costs something.
const LEAST_PERIOD: usize = 2048;
const MOST_PERIOD: usize = 65_536;

/// To send has to be cheaper by one part of so many: what is sent has to be copied once before.
const GAIN: u64 = 4;

/// How a piece of the feed goes to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Way {
    /// From the mirror.
    Sent,
    /// From the feed itself.
    Written,
}

/// The way to go, and what is known of both.
#[derive(Debug)]
pub(super) struct Choice {
    best: Way,
    /// How many pieces there are from the end of a trial to the next one.
    period: usize,
    /// How many there were since that, or since this trial began.
    pieces: usize,
    /// What each of them has cost in it, in nanoseconds for a MiB.
    sent: Vec<u64>,
    written: Vec<u64>,
}

impl Choice {
    pub(super) fn new() -> Self {
        let period = LEAST_PERIOD;
        Self { best: Way::Written, period, pieces: 0, sent: Vec::new(), written: Vec::new() }
    }

    /// Which way the next piece is to go.
    pub(super) fn way(&self) -> Way {
        if self.sent.len() < TRIAL {
            Way::Sent
        } else if self.written.len() < TRIAL {
            Way::Written
        } else {
            self.best
        }
    }

    /// Whether it matters how long that takes.
    pub(super) fn is_on_trial(&self) -> bool {
        self.sent.len() < TRIAL || self.written.len() < TRIAL
    }

    /// A piece of so many bytes has gone a way, and taken so long.
    pub(super) fn note_cost(&mut self, way: Way, bytes: usize, time: Duration) {
        let costs = match way {
            Way::Sent => &mut self.sent,
            Way::Written => &mut self.written,
        };
        if costs.len() < TRIAL {
            costs.push(((time.as_nanos() << 20) / bytes.max(1) as u128) as u64);
        }
        if !self.is_on_trial() {
            // This thread may have been stopped in the middle of some of them.
            let (sent, written) = (median(&mut self.sent), median(&mut self.written));
            let is_cheaper = sent < written - written / GAIN;
            let best = if is_cheaper { Way::Sent } else { Way::Written };
            let is_confirmed = best == self.best;
            self.period =
                if is_confirmed { (2 * self.period).min(MOST_PERIOD) } else { LEAST_PERIOD };
            self.best = best;
            self.pieces = 0;
        }
    }

    /// A piece has gone its way.
    pub(super) fn note_piece(&mut self) {
        self.pieces += 1;
        // What was tried long ago is no match for what is tried now.
        let most = if self.is_on_trial() { LEAST_PERIOD } else { self.period };
        if self.pieces >= most {
            *self = Self { best: self.best, period: self.period, ..Self::new() };
        }
    }
}

fn median(costs: &mut [u64]) -> u64 {
    costs.sort_unstable();
    costs[costs.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    /// Pieces for which the one way takes so many microseconds, and the other so many, up to the next
    /// trial's beginning: which way each has gone.
    fn pieces(choice: &mut Choice, sent_us: u64, written_us: u64) -> Vec<Way> {
        let mut ways = vec![];
        loop {
            let way = choice.way();
            let us = if way == Way::Sent { sent_us } else { written_us };
            if choice.is_on_trial() {
                // One in four is held up.
                let delay_us = if ways.len() % 4 == 0 { 5000 } else { 0 };
                choice.note_cost(way, 64 * KIB, Duration::from_micros(us + delay_us));
            }
            choice.note_piece();
            ways.push(way);
            if choice.pieces == 0 {
                return ways;
            }
        }
    }

    #[test]
    fn both_ways_are_tried_and_the_cheaper_one_is_gone() {
        let mut choice = Choice::new();
        for (sent_us, written_us, best) in [
            (14, 20, Way::Sent),
            (15, 20, Way::Written),
            (10, 10, Way::Written),
            (20, 10, Way::Written),
            (10, 20, Way::Sent),
        ] {
            let ways = pieces(&mut choice, sent_us, written_us);
            let (trial, rest) = ways.split_at(2 * TRIAL);
            assert_eq!(trial[..TRIAL], [Way::Sent; TRIAL]);
            assert_eq!(trial[TRIAL..], [Way::Written; TRIAL]);
            assert!(rest.iter().all(|&way| way == best), "{sent_us} or {written_us}: {best:?}");
        }
    }

    #[test]
    fn trials_that_find_the_same_become_rare() {
        let mut choice = Choice::new();
        let periods = [20, 20, 20, 20, 20, 20, 20, 10, 20, 20].map(|written_us| {
            let sent_us = 14;
            pieces(&mut choice, sent_us, written_us).len() / LEAST_PERIOD
        });
        assert_eq!(periods, [1, 2, 4, 8, 16, 32, 32, 1, 1, 2]);
    }

    #[test]
    fn what_cannot_be_sent_yet_is_written_and_tried_again() {
        let mut choice = Choice::new();
        for _ in 0..TRIAL + 5 {
            assert_eq!(choice.way(), Way::Sent);
            choice.note_cost(Way::Written, 64 * KIB, Duration::from_micros(10));
            choice.note_piece();
        }
        for _ in 0..TRIAL {
            assert_eq!(choice.way(), Way::Sent);
            choice.note_cost(Way::Sent, 64 * KIB, Duration::from_micros(5));
            choice.note_piece();
        }
        assert!(!choice.is_on_trial());
        assert_eq!(choice.way(), Way::Sent, "it was cheaper");
    }

    #[test]
    fn a_trial_that_does_not_come_to_its_end_begins_anew() {
        let mut choice = Choice::new();
        for _ in 0..LEAST_PERIOD - 1 {
            choice.note_cost(Way::Written, 64 * KIB, Duration::from_micros(5));
            choice.note_piece();
        }
        assert_eq!(choice.written.len(), TRIAL);
        choice.note_piece();
        assert!(choice.written.is_empty() && choice.is_on_trial());
    }
}
