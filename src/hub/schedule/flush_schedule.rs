//! Flush scheduling: which client is written to next.

use super::ready_queue::ReadyQueue;
use crate::hub::channel::feed::Offset;
use crate::hub::handle::Handle;

/// Which queue and which budget a client's output belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FlushClass {
    /// It has a reply pending, or is far behind.
    Priority,
    /// All other clients with pending output.
    #[default]
    Bulk,
    /// It moved its cursor back and has not caught up.
    Replay,
}

/// One queue per flush class. Each class has its own budget, so none can starve another.
///
/// - *Priority* clients are flushed at most once per turn.
/// - *Bulk* clients are flushed in passes. A client that becomes ready during a pass waits for the
///   next one: if it joined the current one, a pass might never end.
/// - *Replay* clients are flushed last, at most once per turn. Their budget is small, so that
///   replays hardly slow down live broadcasts.
#[derive(Debug, Default)]
pub(crate) struct FlushSchedule {
    priority: ReadyQueue,
    bulk: ReadyQueue,
    replay: ReadyQueue,
    /// The feed's head when the last bulk pass began. Once the head has moved, every reader whose
    /// socket accepts bytes is ready, except for replaying ones.
    pass_head: Offset,
    /// The class of the client being written to.
    current: FlushClass,
    /// Whether this turn's passes over the priority and replay clients have begun.
    has_begun: bool,
}

impl FlushSchedule {
    pub(crate) fn push(&mut self, handle: Handle, class: FlushClass) {
        self.queue(class).push(handle);
    }

    pub(crate) fn begin_turn(&mut self) {
        self.has_begun = false;
    }

    /// Removes and returns the next client of this class. Priority and replay clients that are
    /// queued after the turn's first call wait for the next turn, such as clients with more output
    /// than one write sends.
    pub(crate) fn pop(
        &mut self,
        class: FlushClass,
        exists: impl Fn(Handle) -> bool,
    ) -> Option<Handle> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.priority.begin_pass();
            self.replay.begin_pass();
        }
        self.current = class;
        self.queue(class).pop_in_pass(exists)
    }

    fn queue(&mut self, class: FlushClass) -> &mut ReadyQueue {
        match class {
            FlushClass::Priority => &mut self.priority,
            FlushClass::Bulk => &mut self.bulk,
            FlushClass::Replay => &mut self.replay,
        }
    }

    /// Returns whether a bulk pass must begin before the next [`pop`](Self::pop).
    pub(crate) fn bulk_pass_is_over(&self) -> bool {
        self.bulk.pass_is_over()
    }

    /// Begins a bulk pass at this head of the feed. If the head has moved since the last pass
    /// began, all of `ready` join the pass.
    pub(crate) fn begin_bulk_pass(&mut self, head: Offset, ready: impl Iterator<Item = Handle>) {
        if self.pass_head != head {
            self.pass_head = head;
            ready.for_each(|handle| self.bulk.push(handle));
        }
        self.bulk.begin_pass();
    }

    /// The class of the client that was popped last.
    pub(crate) fn current(&self) -> FlushClass {
        self.current
    }

    pub(crate) fn forget(&mut self, key: usize) {
        self.priority.forget(key);
        self.bulk.forget(key);
        self.replay.forget(key);
    }

    /// Returns whether no client needs a flush while the feed's head is `head`.
    pub(crate) fn is_idle(&self, head: Offset) -> bool {
        let is_empty = self.priority.is_empty() && self.bulk.is_empty() && self.replay.is_empty();
        is_empty && self.pass_head == head
    }

    /// Returns whether the client will be flushed without being queued again.
    pub(crate) fn will_flush(&self, key: usize, is_replaying: bool, head: Offset) -> bool {
        let queues = [&self.priority, &self.bulk, &self.replay];
        queues.iter().any(|queue| queue.contains(key)) || !is_replaying && self.pass_head != head
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check_invariants(&self, exists: impl Fn(Handle) -> bool) {
        self.priority.check_invariants(&exists);
        self.bulk.check_invariants(&exists);
        self.replay.check_invariants(&exists);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(key: usize) -> Handle {
        Handle { id: key as u64 + 1, key }
    }

    #[test]
    fn priority_client_is_flushed_once_per_turn() {
        let mut flush = FlushSchedule::default();
        flush.push(handle(0), FlushClass::Priority);
        flush.begin_turn();
        assert_eq!(flush.pop(FlushClass::Priority, |_| true), Some(handle(0)));
        assert_eq!(flush.current(), FlushClass::Priority);
        flush.push(handle(0), FlushClass::Priority);
        assert_eq!(flush.pop(FlushClass::Priority, |_| true), None);
        flush.begin_turn();
        assert_eq!(flush.pop(FlushClass::Priority, |_| true), Some(handle(0)));
    }

    #[test]
    fn moved_head_makes_every_reader_ready_once() {
        let mut flush = FlushSchedule::default();
        flush.push(handle(1), FlushClass::Bulk);
        assert!(flush.bulk_pass_is_over() && !flush.is_idle(0));
        flush.begin_bulk_pass(100, [handle(0), handle(1)].into_iter());
        assert_eq!(flush.pop(FlushClass::Bulk, |_| true), Some(handle(1)));
        assert_eq!(flush.pop(FlushClass::Bulk, |_| true), Some(handle(0)));
        assert!(flush.bulk_pass_is_over() && flush.is_idle(100) && !flush.is_idle(200));
        flush.begin_bulk_pass(100, [handle(0)].into_iter());
        assert_eq!(flush.pop(FlushClass::Bulk, |_| true), None, "the head has not moved");
    }
}
