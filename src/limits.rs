//! Every limit, its default, and how limits depend on each other.
//!
//! [`Limits`] holds what varies: the operator's options, the hub's timing, and what one turn of the
//! poll loop may do. The constants are fixed.

use crate::protocol::REPLY_OVERHEAD;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// Both programs.

/// The size of a read buffer, in bytes.
pub const READ_CHUNK: usize = 64 * KIB;

// The server.

/// How many refused connections are kept open at once, to send them `error server-full`.
pub const MAX_REFUSED: usize = 8;

/// How many file descriptors are reserved for everything except clients and listeners: standard
/// streams, the poll, signals and refused connections.
pub const RESERVED_DESCRIPTORS: usize = 10 + MAX_REFUSED;

// The hub.

/// How many clients one `clients` command lists.
pub const CLIENTS_PER_PAGE: usize = 500;

/// The largest reply to one command except `ping`, in bytes: a full page of `clients` with the
/// longest ids and names, and the line that ends it.
pub const MAX_REPLY: usize = (CLIENTS_PER_PAGE + 1) * REPLY_OVERHEAD;

/// How many pending seeks of its cursor a client may have. Each is visited to find what the client
/// still needs of the feed.
pub const MAX_PENDING_SEEKS: usize = 16;

/// How many bytes a client must read within `stall_timeout_ms` while broadcasts wait for it. The
/// kernel accepts data in bursts of up to a whole receive buffer, so a reader that is steady, but
/// slower than a few times this much, can look as if it read nothing.
pub const STALL_BYTES: u64 = 32 * KIB as u64;

/// What the server may use. [`check`](Self::check) validates the limits together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    // Options of `oyezd`.
    /// The maximum number of clients.
    pub max_clients: usize,
    /// The maximum length of a line from a client, in bytes, without its line end.
    pub max_line: usize,
    /// The maximum size of one client's outbox, in bytes: its queued replies and direct messages.
    pub max_outbox: usize,
    /// The memory for the latest broadcast lines, in bytes.
    pub feed_size: usize,
    /// The size of a client's send buffer in the kernel, in bytes.
    pub send_buffer: usize,
    /// How long closing a connection may take, in milliseconds.
    pub drain_timeout_ms: u64,
    /// How long a client may take for its TLS handshake and `auth` together, in milliseconds.
    pub auth_timeout_ms: u64,
    /// How long a client may be idle: send no line and read no byte. In milliseconds, if limited.
    pub idle_timeout_ms: Option<u64>,
    /// How long broadcasts wait for a client that reads less than [`STALL_BYTES`], in milliseconds.
    pub stall_timeout_ms: u64,
    /// Rate limit: how many lines a client may send per second, if limited.
    pub rate_limit: Option<u32>,
    /// The maximum number of connections from one IP address, if limited.
    pub max_per_address: Option<usize>,

    // Internal to the hub.
    /// How long broadcasts wait for a client that reads nothing, in milliseconds.
    pub reader_grace_ms: u64,

    // Internal to the hub and the poll loop.
    /// What one turn of the poll loop may do.
    pub turn: TurnLimits,
}

/// What one turn of the poll loop may do before it polls the sockets again. Small enough for a
/// `ping` to be answered within a few milliseconds, whatever the other clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    // Enforced by the hub.
    /// Maximum passes over all clients with input. Each pass reads, then executes.
    pub passes: usize,
    /// Maximum bytes read across all connections.
    pub read: usize,
    /// Maximum reads of connections whose TLS handshake is not complete: a handshake step each.
    pub handshake_reads: usize,
    /// Maximum bytes of requests and replies, including a fixed cost for each line.
    pub work: usize,
    /// Maximum bytes of requests and replies of one client before the next client's turn.
    pub work_per_client: usize,
    /// Maximum output to clients with a reply pending, or far behind.
    pub flush_priority: FlushLimits,
    /// Maximum output to clients with only feed pending.
    pub flush_bulk: FlushLimits,
    /// Maximum output to clients that replay the feed.
    pub flush_replay: FlushLimits,

    // Enforced by the poll loop.
    /// Maximum bytes written to one client.
    pub flush_per_client: usize,
    /// Maximum connections accepted.
    pub accept: usize,
}

/// Maximum output of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Maximum bytes written. The last client may exceed it.
    pub bytes: usize,
    /// Clients written to.
    pub clients: usize,
}

impl FlushLimits {
    /// Whether another client may be written to.
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
    /// The minimum of `feed_size`, in bytes.
    pub const MIN_FEED_SIZE: usize = 256 * KIB;

    /// The minimum of `max_line`, in bytes. The server's own lines, such as explanations, are at
    /// most this long plus [`REPLY_OVERHEAD`].
    pub const MIN_MAX_LINE: usize = 128;

    /// The size of one chunk of the feed, in bytes. The feed drops whole chunks. A sixteenth of the
    /// feed, between 64 KiB and 1 MiB, and at most a quarter.
    pub fn feed_chunk(&self) -> usize {
        (self.feed_size / 16).clamp(64 * KIB, MIB).min(self.feed_size / 4)
    }

    /// How many bytes a turn may append to the feed: a small part of the feed.
    pub fn append_per_turn(&self) -> usize {
        (self.feed_size / 64).clamp(1, 256 * KIB)
    }

    /// The time between two lines of a client at its rate limit, in microseconds.
    pub fn line_interval_us(&self) -> Option<u64> {
        self.rate_limit.map(|lines| 1_000_000 / u64::from(lines))
    }

    /// The longest line that the server sends, in bytes, including LF.
    pub fn max_reply_line(&self) -> usize {
        self.max_line.saturating_add(REPLY_OVERHEAD)
    }

    /// How many bytes of an outbox must be free before a command runs. That is room for the largest
    /// reply, and for what may be added at any time after it: the rest of a partial line, a
    /// `lagged` line around each pending seek, and a goodbye.
    pub fn reply_room(&self) -> usize {
        let short_lines = MAX_PENDING_SEEKS + 4;
        self.max_reply_line().max(MAX_REPLY) + self.max_reply_line() + short_lines * REPLY_OVERHEAD
    }

    /// Validates the limits together. The error names the option to change, and its bound.
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
                "--max-line {max_line} is too long for this feed: at most {max} for --feed-size \
                 {feed_size}"
            )
        } else if self.max_outbox < 2 * self.reply_room() {
            let min = 2 * self.reply_room();
            format!("--max-outbox must be at least {min} for --max-line {max_line}")
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

    /// The worst case of memory use, in bytes: in the process, and in the kernel's send buffers.
    pub fn max_memory(&self, is_encrypted: bool) -> [usize; 2] {
        // A generous estimate of a client without its buffers.
        const CLIENT: usize = KIB;
        // Encrypted output, undecrypted input, and the state of rustls.
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
    fn defaults_are_valid_and_inconsistent_limits_are_refused() {
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
