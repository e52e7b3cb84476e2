//! The server's counters, for `stats`.

/// Counts since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub clients_total: u64,
    /// Connections refused: the server or the peer's address had too many, or TLS failed to start.
    pub refused: u64,
    /// Lines executed, not counting blank ones.
    pub lines_in: u64,
    /// Lines answered with an error, or with `goodbye auth-failed`.
    pub errors: u64,
    /// Lines appended to the feed.
    pub broadcasts: u64,
    /// Direct messages sent.
    pub directs: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Slow consumers that were disconnected.
    pub too_slow: u64,
    /// Lines that slow consumers skipped.
    pub lagged: u64,
    /// How many times a broadcast had to wait for readers.
    pub held: u64,
    /// Log lines dropped because stderr accepted no more.
    pub log_dropped: u64,
}
