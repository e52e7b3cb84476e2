//! What has happened, in numbers.

/// Counts since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub clients_total: u64,
    /// Connections refused, the server being full.
    pub refused: u64,
    /// Lines received, blank ones not counted.
    pub lines_in: u64,
    /// Lines answered with an error.
    pub errors: u64,
    /// Lines appended to the feed.
    pub broadcasts: u64,
    /// Lines sent to one client.
    pub directs: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Clients cut because the feed lapped them.
    pub too_slow: u64,
    /// Lines that clients were told they missed.
    pub lagged: u64,
    /// How often a broadcast had to wait for readers.
    pub held: u64,
    /// Lines of the log that could not be written.
    pub log_dropped: u64,
}
