//! Every limit with its default, and their validation.
//!
//! [`Limits`] holds the limits that options or tests set: sizes, timeouts, and the budget of one
//! turn of the poll loop. The other limits are constants.

use crate::protocol::REPLY_OVERHEAD;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// Both programs.

/// The size of a read buffer, in bytes.
pub const READ_CHUNK: usize = 64 * KIB;

// The server.

/// The maximum number of refused connections that are kept open for a moment, so that their peers
/// can read `error server-full`.
pub const MAX_REFUSED: usize = 8;

/// The number of file descriptors reserved for everything except clients and listeners: standard
/// streams, the poll, signals and refused connections.
pub const RESERVED_DESCRIPTORS: usize = 10 + MAX_REFUSED;

// The hub.

/// The maximum number of clients that one `clients` command lists.
pub const CLIENTS_PER_PAGE: usize = 500;

/// The maximum size of a reply that does not repeat the client's text, in bytes: a full page of
/// `clients` with the longest ids and names, and its `ok` line.
pub const MAX_REPLY: usize = (CLIENTS_PER_PAGE + 1) * REPLY_OVERHEAD;

/// The maximum number of a client's pending seeks. Computing the client's lag visits each of them.
pub const MAX_PENDING_SEEKS: usize = 16;

/// The window in which the replays of one source are counted, in milliseconds.
pub const REPLAY_WINDOW_MS: u64 = 1_000;

/// The number of sources that are counted separately. Addresses may share one, as in stochastic
/// fairness queueing (McKenney 1990), so memory does not grow with the number of addresses.
pub const REPLAY_SOURCES: usize = 1024;

/// The minimum that a client must read within `stall_timeout_ms` while broadcasts wait for it, in
/// bytes. The kernel accepts data in bursts of up to a whole receive buffer, so a steady reader can
/// appear stalled unless it reads several times this much.
pub const STALL_BYTES: u64 = 32 * KIB as u64;

/// The server's limits. [`check`](Self::check) validates them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    // Options of `oyezd`.
    /// The maximum number of clients.
    pub max_clients: usize,
    /// The maximum length of a line from a client, in bytes, not counting its line end.
    pub max_line: usize,
    /// The maximum size of one client's outbox, in bytes: its queued replies and direct messages.
    pub max_outbox: usize,
    /// The maximum size of the feed, which keeps the latest broadcast lines, in bytes.
    pub feed_size: usize,
    /// The size of a client's kernel send buffer, in bytes.
    pub send_buffer: usize,
    /// The maximum time to drain and close a connection, in milliseconds.
    pub drain_timeout_ms: u64,
    /// The maximum time for a client's TLS handshake and `auth` together, in milliseconds.
    pub auth_timeout_ms: u64,
    /// The maximum time that a client may be idle (send no line and read nothing), in milliseconds,
    /// if limited.
    pub idle_timeout_ms: Option<u64>,
    /// The maximum time that broadcasts wait for a client that reads less than [`STALL_BYTES`], in
    /// milliseconds.
    pub stall_timeout_ms: u64,
    /// The rate limit: the maximum number of lines per second from one client, if limited.
    pub rate_limit: Option<u32>,
    /// The maximum number of connections from one IP address, if limited.
    pub max_per_address: Option<usize>,

    // Internal to the hub.
    /// How long a reader whose socket is full still counts as making progress after the last write
    /// to it, in milliseconds. Broadcasts do not pause for readers without progress.
    pub reader_grace_ms: u64,
    /// How much the clients of one source may replay within [`REPLAY_WINDOW_MS`], in bytes. The
    /// last replay may exceed it.
    pub replays_per_source: u64,

    // Internal to the hub and the poll loop.
    /// The budget of one turn of the poll loop.
    pub turn: TurnLimits,
}

/// The budget of one turn of the poll loop: the work between two polls of the sockets. It is small
/// enough that a `ping` is answered within a few milliseconds, whatever other clients request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    // Enforced by the hub.
    /// Maximum passes over all clients with input. Each pass reads, then executes.
    pub passes: usize,
    /// Maximum bytes read across all connections.
    pub read: usize,
    /// Maximum reads from connections whose TLS handshake is not complete. Each read performs at
    /// most one handshake step.
    pub handshake_reads: usize,
    /// Maximum work: the bytes of requests and replies, a fixed cost per line, and the cost of
    /// scans.
    pub work: usize,
    /// Maximum work for one client before the next client's turn.
    pub work_per_client: usize,
    /// Maximum output to clients that have a reply pending or are far behind.
    pub flush_priority: FlushLimits,
    /// Maximum output to all other clients.
    pub flush_bulk: FlushLimits,
    /// Maximum output to clients that replay the feed.
    pub flush_replay: FlushLimits,

    // Enforced by the poll loop.
    /// Maximum bytes of one write to a client.
    pub flush_per_client: usize,
    /// Maximum connections accepted.
    pub accept: usize,
}

/// Maximum output of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Maximum bytes written. The last write may exceed it.
    pub bytes: usize,
    /// Maximum writes to clients.
    pub clients: usize,
}

impl FlushLimits {
    /// Returns whether another client may be written to.
    pub(crate) fn is_left(self) -> bool {
        self.bytes > 0 && self.clients > 0
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            max_line: 4 * KIB,
            max_outbox: 256 * KIB,
            feed_size: 16 * MIB,
            send_buffer: 128 * KIB,
            drain_timeout_ms: 5_000,
            auth_timeout_ms: 30_000,
            idle_timeout_ms: None,
            stall_timeout_ms: 30_000,
            rate_limit: None,
            max_per_address: None,
            reader_grace_ms: 3_000,
            replays_per_source: 128 * MIB as u64,
            turn: TurnLimits {
                passes: 8,
                read: 512 * KIB,
                handshake_reads: 4,
                work: 512 * KIB,
                work_per_client: READ_CHUNK,
                flush_priority: FlushLimits { bytes: 2 * MIB, clients: 256 },
                flush_bulk: FlushLimits { bytes: 2 * MIB, clients: 256 },
                flush_replay: FlushLimits { bytes: 128 * KIB, clients: 64 },
                flush_per_client: 256 * KIB,
                accept: 64,
            },
        }
    }
}

impl Limits {
    /// The minimum `feed_size`, in bytes.
    pub const MIN_FEED_SIZE: usize = 256 * KIB;

    /// The minimum `max_line`, in bytes. Lines in the server's own words, such as errors and help,
    /// are at most this long plus [`REPLY_OVERHEAD`].
    pub const MIN_MAX_LINE: usize = 128;

    /// The size of one chunk of the feed, in bytes: a sixteenth of the feed, between 64 KiB and 1
    /// MiB, but at most a quarter of the feed. The feed drops whole chunks.
    pub fn feed_chunk(&self) -> usize {
        (self.feed_size / 16).clamp(64 * KIB, MIB).min(self.feed_size / 4)
    }

    /// The maximum number of bytes that a turn appends to the feed: a small part of its size.
    pub fn append_per_turn(&self) -> usize {
        (self.feed_size / 64).clamp(1, 256 * KIB)
    }

    /// The time between two lines at the rate limit, in microseconds, if limited.
    pub fn line_interval_us(&self) -> Option<u64> {
        self.rate_limit.map(|lines| 1_000_000 / u64::from(lines))
    }

    /// The maximum length of a line from the server, in bytes, including the LF.
    pub fn max_reply_line(&self) -> usize {
        self.max_line.saturating_add(REPLY_OVERHEAD)
    }

    /// The free space that an outbox must have before a command runs, in bytes: enough for the
    /// largest reply, and for what may be added later without a check: the rest of a partial line,
    /// a `lagged` line around each pending seek, and a goodbye.
    pub fn reply_room(&self) -> usize {
        let short_lines = MAX_PENDING_SEEKS + 4;
        self.max_reply_line().max(MAX_REPLY) + self.max_reply_line() + short_lines * REPLY_OVERHEAD
    }

    /// Validates the limits together. The error names the option to change and its allowed range.
    pub fn check(&self) -> Result<(), String> {
        let Self { max_line, feed_size, .. } = self;
        let error = if self.max_clients == 0 {
            "--max-clients must be at least 1".to_owned()
        } else if *max_line < Self::MIN_MAX_LINE {
            format!("--max-line must be at least {}", Self::MIN_MAX_LINE)
        } else if *feed_size < Self::MIN_FEED_SIZE {
            format!("--feed-size must be at least {}K", Self::MIN_FEED_SIZE / KIB)
        } else if self.max_reply_line() > self.feed_chunk() {
            let max = self.feed_chunk() - REPLY_OVERHEAD;
            format!(
                "--max-line {max_line} is too large: at most {max} with --feed-size {feed_size}"
            )
        } else if self.max_outbox < 2 * self.reply_room() {
            let min = 2 * self.reply_room();
            format!("--max-outbox must be at least {min} with --max-line {max_line}")
        } else if self.max_outbox > u32::MAX as usize {
            "--max-outbox must be less than 4G".to_owned()
        } else if self.rate_limit.is_some_and(|lines| !(1..=1_000_000).contains(&lines)) {
            "--rate-limit must be from 1 to 1000000, or off".to_owned()
        } else if self.max_per_address == Some(0) {
            "--max-per-address must be at least 1, or off".to_owned()
        } else if !(4 * KIB..1 << 31).contains(&self.send_buffer) {
            "--send-buffer must be at least 4K, and less than 2G".to_owned()
        } else {
            return Ok(());
        };
        Err(error)
    }

    /// The worst-case memory use, in bytes: of the process, and of the kernel's send buffers.
    pub fn max_memory(&self, is_encrypted: bool) -> [usize; 2] {
        // A generous estimate of a client without its buffers.
        const CLIENT: usize = KIB;
        // Encrypted output, undecrypted input, and rustls's state.
        const TLS: usize = (64 + 16 + 16) * KIB;
        // A buffer that grows by doubling may be twice as large as its content.
        let client = CLIENT + 2 * (self.max_outbox + self.max_line) + READ_CHUNK;
        let client = client + if is_encrypted { TLS } else { 0 };
        let process = self.feed_size.saturating_add(self.max_clients.saturating_mul(client));
        // The kernel doubles the configured size, for its own bookkeeping.
        let kernel = self.max_clients.saturating_mul(2 * self.send_buffer);
        [process, kernel]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_fails(change: impl FnOnce(&mut Limits), option: &str) {
        let mut limits = Limits::default();
        change(&mut limits);
        let error = limits.check().expect_err(option);
        assert!(error.starts_with(option), "{error}");
    }

    #[test]
    fn defaults_are_valid_and_inconsistent_limits_are_rejected() {
        assert_eq!(Limits::default().check(), Ok(()));
        check_fails(|l| l.max_clients = 0, "--max-clients");
        check_fails(|l| l.max_line = 127, "--max-line");
        check_fails(|l| l.max_line = MIB, "--max-line");
        check_fails(|l| l.feed_size = 255 * KIB, "--feed-size");
        check_fails(|l| l.max_outbox = 64 * KIB, "--max-outbox");
        check_fails(|l| l.send_buffer = 1, "--send-buffer");
    }

    #[test]
    fn feed_has_at_least_four_chunks() {
        for feed_size in [Limits::MIN_FEED_SIZE, MIB, 16 * MIB, 1024 * MIB] {
            let limits = Limits { feed_size, ..Limits::default() };
            assert!(feed_size / limits.feed_chunk() >= 4, "{limits:?}");
            assert!((64 * KIB..=MIB).contains(&limits.feed_chunk()), "{limits:?}");
            assert!(feed_size / limits.append_per_turn() >= 64, "{limits:?}");
        }
    }
}
