//! A queue of clients that are ready to be read from or written to.

use std::collections::VecDeque;

use crate::hub::handle::Handle;

/// A FIFO queue that holds each client at most once.
///
/// Handles of removed clients stay in the queue until a pop skips them.
///
/// **Invariant**: `is_queued[key]` is set exactly when the current client with this key is in
/// `fifo`.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    fifo: VecDeque<Handle>,
    is_queued: Vec<bool>,
    /// The number of entries at the front that belong to the current pass.
    pass: usize,
}

impl ReadyQueue {
    /// Queues a client behind all others, unless it is queued already.
    pub(crate) fn push(&mut self, handle: Handle) {
        if self.is_queued.len() <= handle.key {
            self.is_queued.resize(handle.key + 1, false);
        }
        if !std::mem::replace(&mut self.is_queued[handle.key], true) {
            self.fifo.push_back(handle);
        }
    }

    /// Begins a pass, and removes and returns the next client that still exists.
    pub(crate) fn pop(&mut self, exists: impl Fn(Handle) -> bool) -> Option<Handle> {
        self.begin_pass();
        self.pop_in_pass(exists)
    }

    /// Begins a pass over the clients that are queued now. Clients that are queued later wait for
    /// the next pass.
    pub(crate) fn begin_pass(&mut self) {
        self.pass = self.fifo.len();
    }

    /// Returns whether every client of the current pass was popped.
    pub(crate) fn pass_is_over(&self) -> bool {
        self.pass == 0
    }

    /// Removes and returns the next client of the current pass that still exists.
    pub(crate) fn pop_in_pass(&mut self, exists: impl Fn(Handle) -> bool) -> Option<Handle> {
        while self.pass > 0 {
            self.pass -= 1;
            let handle = self.fifo.pop_front()?;
            if exists(handle) {
                self.is_queued[handle.key] = false;
                return Some(handle);
            }
        }
        None
    }

    /// Forgets a client that is about to be removed.
    pub(crate) fn forget(&mut self, key: usize) {
        if let Some(is_queued) = self.is_queued.get_mut(key) {
            *is_queued = false;
        }
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        self.is_queued.get(key).is_some_and(|&is_queued| is_queued)
    }

    /// Returns whether the queue is empty. Handles of removed clients count as entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.fifo.is_empty()
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check_invariants(&self, exists: impl Fn(Handle) -> bool) {
        assert!(self.pass <= self.fifo.len());
        let current = self.fifo.iter().filter(|&&handle| exists(handle));
        let mut queued: Vec<usize> = current.map(|handle| handle.key).collect();
        queued.sort_unstable();
        let keys = 0..self.is_queued.len();
        assert!(queued.into_iter().eq(keys.filter(|&key| self.is_queued[key])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(key: usize) -> Handle {
        Handle { id: key as u64 + 1, key }
    }

    fn keys(queue: &mut ReadyQueue) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop(|_| true)).map(|handle| handle.key).collect()
    }

    #[test]
    fn client_waits_once_and_in_order() {
        let mut queue = ReadyQueue::default();
        for key in [2, 0, 2, 1, 0] {
            queue.push(handle(key));
        }
        assert!(queue.contains(2) && !queue.contains(3));
        assert_eq!(keys(&mut queue), [2, 0, 1]);
        assert!(queue.is_empty() && !queue.contains(2));
    }

    #[test]
    fn pass_leaves_later_clients_for_the_next_pass() {
        let mut queue = ReadyQueue::default();
        queue.push(handle(0));
        queue.push(handle(1));
        queue.begin_pass();
        let mut popped = vec![];
        while let Some(handle) = queue.pop_in_pass(|_| true) {
            popped.push(handle.key);
            queue.push(handle);
        }
        assert_eq!(popped, [0, 1]);
        assert!(queue.pass_is_over() && !queue.is_empty());
        assert_eq!(keys(&mut queue), [0, 1]);
    }

    #[test]
    fn removed_client_is_dropped_and_its_key_can_be_queued_again() {
        let mut queue = ReadyQueue::default();
        let (removed, successor) = (handle(0), Handle { id: 9, key: 0 });
        queue.push(removed);
        queue.forget(0);
        queue.push(successor);
        let exists = |handle| handle == successor;
        queue.check_invariants(exists);
        assert_eq!(queue.pop(exists), Some(successor));
        assert_eq!(queue.pop(exists), None);
        queue.check_invariants(exists);
    }
}
