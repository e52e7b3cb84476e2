//! Every limit there is, its default, and how the limits hang together.

use crate::protocol::REPLY_OVERHEAD;

/// How much a connection reads at a time, in bytes.
pub const READ_CHUNK: usize = 64 * KIB;

/// How many descriptors are kept for other things than accepted clients: standard streams, the
/// poll, signals, and the connections that are told `server-full`.
pub const RESERVED_DESCRIPTORS: usize = 10 + MAX_REFUSED;

/// How many refused connections may be on their way out at once.
pub const MAX_REFUSED: usize = 8;

/// How many lines one `clients` shows.
pub const CLIENTS_PER_PAGE: usize = 500;

/// The largest reply to one command, in bytes, but for `ping`'s: a full page of `clients`, each
/// with the longest id and name, and the line that ends it.
pub const MAX_REPLY: usize = (CLIENTS_PER_PAGE + 1) * REPLY_OVERHEAD;

/// How many moves of a client's cursor may be still to come. Each has to be looked at to see what
/// the client needs of the feed.
pub const MAX_PENDING_SEEKS: usize = 16;

/// How many bytes a client has to take within `stall_timeout_ms` while broadcasts wait for it. That
/// is as its kernel takes them: in lumps, up to a whole receive buffer at a time, so that a steady
/// reader has to take a few times as many, and is not told apart from one that takes none if it
/// takes fewer.
pub const STALL_BYTES: u64 = 32 * KIB as u64;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What the server and its clients may use. [`check`](Self::check) holds them against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most clients at once.
    pub max_clients: usize,
    /// The longest request, in bytes, its line end not counted.
    pub max_line: usize,
    /// The most bytes that wait for one client beside the feed: replies and direct messages.
    pub max_outbox: usize,
    /// The most bytes of broadcast lines that are kept.
    pub feed_size: usize,
    /// What the kernel is asked to buffer for one client, in bytes.
    pub send_buffer: usize,
    /// How long a closing connection may take, in milliseconds.
    pub drain_timeout_ms: u64,
    /// How long a client may take to come in: for a handshake and for a secret, in milliseconds.
    pub auth_timeout_ms: u64,
    /// How long a client may say nothing and take nothing, in milliseconds, if there is a limit.
    pub idle_timeout_ms: Option<u64>,
    /// How long broadcasts may wait for a client that takes less than [`STALL_BYTES`], in
    /// milliseconds.
    pub stall_timeout_ms: u64,
    /// How many lines a client may say in a second, if there is a limit.
    pub rate_limit: Option<u32>,
    /// The most connections from one IP address, if there is a limit.
    pub max_per_address: Option<usize>,
    /// How long broadcasts may wait for a reader that takes nothing, in milliseconds.
    pub reader_grace_ms: u64,
    /// What one turn of the loop may do.
    pub turn: TurnLimits,
}

/// What one turn of the loop may do before it looks at the sockets again. Small enough that a
/// `ping` is answered within a few milliseconds whatever the others ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// How often everybody may be read from, and executed, in turn.
    pub passes: usize,
    /// Bytes read from all connections together.
    pub read: usize,
    /// Reads of connections that are still arriving: steps of handshakes.
    pub arrivals: usize,
    /// Bytes of requests and replies, a fixed cost for each line included.
    pub work: usize,
    /// The same for one client, before the others have their turn.
    pub work_per_client: usize,
    /// What is written to clients with a reply due, or far behind.
    pub flush_first: FlushLimits,
    /// What is written to clients that are owed only feed.
    pub flush_feed: FlushLimits,
    /// Bytes written to one client.
    pub flush_per_client: usize,
    /// Connections accepted.
    pub accept: usize,
}

/// What one turn may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Bytes written, but for what the last client takes beyond.
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
                arrivals: 4,
                work: 512 * KIB,
                work_per_client: READ_CHUNK,
                flush_first: FlushLimits { bytes: 2 * MIB, clients: 256 },
                flush_feed: FlushLimits { bytes: 2 * MIB, clients: 256 },
                flush_per_client: 256 * KIB,
                accept: 64,
            },
        }
    }
}

impl Limits {
    /// The smallest feed that a server is started with, in bytes.
    pub const MIN_FEED_SIZE: usize = 256 * KIB;

    /// The shortest `max_line` that a server is started with: no line of the server's own, such as
    /// an explanation, is longer than this and what it may add.
    pub const MIN_MAX_LINE: usize = 128;

    /// The bytes of one chunk of the feed, which comes and goes as a whole: a sixteenth of the
    /// feed, within 64 KiB and 1 MiB, and at least four in all.
    pub fn feed_chunk(&self) -> usize {
        (self.feed_size / 16).clamp(64 * KIB, MIB).min(self.feed_size / 4)
    }

    /// The bytes that a turn may append to the feed: a small part of it.
    pub fn append_per_turn(&self) -> usize {
        (self.feed_size / 64).clamp(1, 256 * KIB)
    }

    /// The time in which a client may say one line, in microseconds, if there is a limit.
    pub fn line_interval_us(&self) -> Option<u64> {
        self.rate_limit.map(|lines| 1_000_000 / u64::from(lines))
    }

    /// The longest line that the server sends, in bytes, LF included.
    pub fn max_reply_line(&self) -> usize {
        self.max_line.saturating_add(REPLY_OVERHEAD)
    }

    /// The bytes that have to be free in an outbox before anything is put into it: room for the
    /// largest reply, and for what may come at any time after it: the end of a half-sent line, how
    /// many lines were missed before and after each move of the cursor, and a goodbye.
    pub fn reply_room(&self) -> usize {
        let short_lines = MAX_PENDING_SEEKS + 4;
        self.max_reply_line().max(MAX_REPLY) + self.max_reply_line() + short_lines * REPLY_OVERHEAD
    }

    /// Holds the limits against each other; the error says which two disagree, and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        let demand = |holds: bool, error: String| if holds { Ok(()) } else { Err(error) };
        demand(self.max_clients >= 1, "--max-clients must be at least 1".into())?;
        demand(
            self.max_line >= Self::MIN_MAX_LINE,
            format!("--max-line must be at least {}", Self::MIN_MAX_LINE),
        )?;
        demand(
            self.feed_size >= Self::MIN_FEED_SIZE,
            format!("--feed-size must be at least {}K", Self::MIN_FEED_SIZE / KIB),
        )?;
        demand(
            self.max_reply_line() <= self.feed_chunk(),
            format!(
                "--max-line {} is too long for this feed: at most {} for --feed-size {}",
                self.max_line,
                self.feed_chunk() - REPLY_OVERHEAD,
                self.feed_size
            ),
        )?;
        let least_outbox = 2 * self.reply_room();
        demand(
            self.max_outbox >= least_outbox,
            format!(
                "--max-outbox must be at least {least_outbox} for --max-line {}",
                self.max_line
            ),
        )?;
        demand(
            self.rate_limit.is_none_or(|lines| (1..=1_000_000).contains(&lines)),
            "--rate-limit must be from 1 to 1000000, or off".into(),
        )?;
        demand(
            self.max_per_address.is_none_or(|connections| connections > 0),
            "--max-per-address must be at least 1, or off".into(),
        )?;
        demand(self.max_outbox <= u32::MAX as usize, "--max-outbox must be less than 4G".into())?;
        demand(self.send_buffer >= 4 * KIB, "--send-buffer must be at least 4K".into())?;
        demand(self.send_buffer <= i32::MAX as usize, "--send-buffer must be less than 2G".into())
    }

    /// The most memory that the limits allow, in bytes: in the process, and in the kernel's send
    /// buffers.
    pub fn max_memory(&self, is_encrypted: bool) -> [usize; 2] {
        // What a client is, apart from its buffers. An over-long estimate: it is measured in bytes.
        const CLIENT: usize = KIB;
        // What was encrypted and is not sent yet, what is not decrypted yet, and what rustls knows.
        const TLS: usize = (64 + 16 + 16) * KIB;
        // A buffer that grows by doubling may hold twice of what is in it.
        let client = CLIENT + 2 * (self.max_outbox + self.max_line) + READ_CHUNK;
        let client = client + if is_encrypted { TLS } else { 0 };
        let process = self.feed_size.saturating_add(self.max_clients.saturating_mul(client));
        // The kernel doubles what it is asked for, to have room for its bookkeeping.
        let kernel = self.max_clients.saturating_mul(2 * self.send_buffer);
        [process, kernel]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Limits), option: &str) {
        let mut limits = Limits::default();
        change(&mut limits);
        let error = limits.check().expect_err(option);
        assert!(error.starts_with(option), "{error}");
    }

    #[test]
    fn limits_are_held_against_each_other() {
        assert_eq!(Limits::default().check(), Ok(()));
        refused(|l| l.max_clients = 0, "--max-clients");
        refused(|l| l.max_line = 127, "--max-line");
        refused(|l| l.max_line = MIB, "--max-line");
        refused(|l| l.feed_size = 255 * KIB, "--feed-size");
        refused(|l| l.max_outbox = 64 * KIB, "--max-outbox");
        refused(|l| l.send_buffer = 1, "--send-buffer");
    }

    #[test]
    fn a_feed_has_at_least_four_chunks() {
        for feed_size in [Limits::MIN_FEED_SIZE, MIB, 16 * MIB, 1024 * MIB] {
            let limits = Limits { feed_size, ..Limits::default() };
            assert!(feed_size / limits.feed_chunk() >= 4, "{limits:?}");
            assert!((64 * KIB..=MIB).contains(&limits.feed_chunk()), "{limits:?}");
            assert!(feed_size / limits.append_per_turn() >= 64, "{limits:?}");
        }
    }
}
