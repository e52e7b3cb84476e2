//! Timers: the deadlines of clients, in order of time.

use std::collections::BTreeSet;

use crate::hub::handle::Handle;

/// At most one deadline per client, in milliseconds since the server started. The caller keeps a
/// copy of each client's deadline, and passes it to move or clear the deadline.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(u64, Handle)>);

impl Timers {
    /// Sets, moves or clears a client's deadline. `before_ms` is its current one.
    pub(crate) fn set(&mut self, handle: Handle, before_ms: Option<u64>, deadline_ms: Option<u64>) {
        if let Some(before_ms) = before_ms {
            self.0.remove(&(before_ms, handle));
        }
        if let Some(deadline_ms) = deadline_ms {
            self.0.insert((deadline_ms, handle));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.0.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// A client whose deadline has passed. The deadline stays until it is moved or cleared.
    pub(crate) fn expired(&self, now_ms: u64) -> Option<Handle> {
        self.0.first().filter(|(deadline_ms, _)| *deadline_ms <= now_ms).map(|&(_, handle)| handle)
    }

    pub(crate) fn contains(&self, handle: Handle, deadline_ms: u64) -> bool {
        self.0.contains(&(deadline_ms, handle))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_expire_in_order_and_can_be_moved() {
        let (a, b) = (Handle { id: 1, key: 0 }, Handle { id: 2, key: 1 });
        let mut timers = Timers::default();
        timers.set(a, None, Some(100));
        timers.set(b, None, Some(50));
        assert_eq!((timers.next_ms(), timers.expired(49)), (Some(50), None));
        assert_eq!(timers.expired(200), Some(b));
        timers.set(b, Some(50), Some(150));
        assert_eq!(timers.expired(200), Some(a));
        timers.set(a, Some(100), None);
        assert!(timers.contains(b, 150) && timers.len() == 1);
        assert_eq!(timers.next_ms(), Some(150));
    }
}
