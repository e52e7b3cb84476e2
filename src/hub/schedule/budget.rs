//! What is left of a turn's limits.

use super::flush_schedule::FlushClass;
use crate::limits::{FlushLimits, Limits};

/// Scanning this many bytes of a feed or an outbox counts as one byte of work.
const SCAN_PER_WORK: usize = 16;

/// What a turn may still do; see [`TurnLimits`](crate::limits::TurnLimits).
#[derive(Debug)]
pub(crate) struct TurnBudget {
    pub(crate) passes: usize,
    pub(crate) read: usize,
    pub(crate) handshakes: usize,
    pub(crate) work: usize,
    pub(crate) append: usize,
    priority: FlushLimits,
    bulk: FlushLimits,
}

impl TurnBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let turn = &limits.turn;
        Self {
            passes: turn.passes,
            read: turn.read,
            handshakes: turn.arrivals,
            work: turn.work,
            append: limits.append_per_turn(),
            priority: turn.flush_first,
            bulk: turn.flush_feed,
        }
    }

    pub(crate) fn charge_read(&mut self, bytes: usize) {
        self.read = self.read.saturating_sub(bytes);
    }

    pub(crate) fn charge_work(&mut self, bytes: usize) {
        self.work = self.work.saturating_sub(bytes);
    }

    /// Scanning a feed or an outbox is work, too, and a few bytes can ask for it.
    pub(crate) fn charge_scan(&mut self, bytes: usize) {
        self.charge_work(1 + bytes / SCAN_PER_WORK);
    }

    pub(crate) fn charge_append(&mut self, bytes: usize) {
        self.append = self.append.saturating_sub(bytes);
    }

    /// Whether another client of this class may be written to.
    pub(crate) fn may_flush(&self, class: FlushClass) -> bool {
        let limits = match class {
            FlushClass::Priority => &self.priority,
            FlushClass::Bulk => &self.bulk,
        };
        limits.bytes > 0 && limits.clients > 0
    }

    pub(crate) fn charge_flush_client(&mut self, class: FlushClass) {
        let limits = self.flush(class);
        limits.clients = limits.clients.saturating_sub(1);
    }

    pub(crate) fn charge_flush_bytes(&mut self, class: FlushClass, bytes: usize) {
        let limits = self.flush(class);
        limits.bytes = limits.bytes.saturating_sub(bytes);
    }

    fn flush(&mut self, class: FlushClass) -> &mut FlushLimits {
        match class {
            FlushClass::Priority => &mut self.priority,
            FlushClass::Bulk => &mut self.bulk,
        }
    }
}
