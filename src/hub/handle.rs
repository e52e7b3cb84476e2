//! A client's identity inside the hub.

/// Identifies one client for good: keys are reused, ids never are. Queues and timers hold handles,
/// and drop those whose client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub(crate) id: u64,
    pub(crate) key: usize,
}
