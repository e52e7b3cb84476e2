//! A client's identity inside the hub.

/// Identifies one client while the server runs: keys are reused; ids are not. Queues hold handles,
/// and skip handles whose client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub(crate) id: u64,
    pub(crate) key: usize,
}
