//! The remaining budget of a turn.

use super::flush_schedule::FlushClass;
use crate::limits::{FlushLimits, Limits, TurnLimits};

/// Scanning this many bytes of a feed or an outbox counts as one byte of work.
const SCAN_PER_WORK: usize = 16;

/// The remaining budget of the current turn.
#[derive(Debug)]
pub(crate) struct TurnBudget {
    pub(crate) turn: TurnLimits,
    /// The number of bytes that may still be appended to the feed.
    pub(crate) append: usize,
}

impl TurnBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { turn: limits.turn, append: limits.append_per_turn() }
    }

    pub(crate) fn charge_read(&mut self, bytes: usize) {
        self.turn.read = self.turn.read.saturating_sub(bytes);
    }

    pub(crate) fn charge_work(&mut self, bytes: usize) {
        self.turn.work = self.turn.work.saturating_sub(bytes);
    }

    /// Charges for scanning a feed or an outbox, since a short request can cause a long scan.
    pub(crate) fn charge_scan(&mut self, bytes: usize) {
        self.charge_work(1 + bytes / SCAN_PER_WORK);
    }

    /// The budget for writing to clients of this class.
    pub(crate) fn flush(&mut self, class: FlushClass) -> &mut FlushLimits {
        match class {
            FlushClass::Priority => &mut self.turn.flush_priority,
            FlushClass::Bulk => &mut self.turn.flush_bulk,
            FlushClass::Replay => &mut self.turn.flush_replay,
        }
    }
}
