//! What the hub reports to its caller: connections to close, and events for the log.

use crate::protocol::ForeignProtocol;

use super::registry::role::Role;

/// Why a client is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client sent `quit`.
    Quit,
    /// The server is shutting down.
    Shutdown,
    /// It is a slow consumer, and the feed was about to overrun its cursor.
    TooSlow,
    /// Broadcasts waited for this reader, but it read too little within the stall timeout.
    Stalled,
    /// It sent and read nothing within the idle timeout.
    Idle,
    /// It did not complete its TLS handshake and authenticate in time.
    AuthTimeout,
    /// It sent too many wrong secrets.
    AuthFailed,
    /// The TLS handshake failed, or the peer closed the connection before it was complete.
    HandshakeFailed,
    /// The peer half-closed the connection, and all its input was executed.
    EndOfInput,
    /// The connection broke.
    Lost,
    /// It speaks a foreign protocol.
    Foreign(ForeignProtocol),
}

impl Reason {
    /// The word after `goodbye`, or `None` for connections that close without a goodbye.
    pub fn goodbye(self) -> Option<&'static str> {
        match self {
            Self::Quit => Some("quit"),
            Self::Shutdown => Some("shutdown"),
            Self::TooSlow | Self::Stalled => Some("too-slow"),
            Self::Idle => Some("idle"),
            Self::AuthTimeout => Some("auth-timeout"),
            Self::AuthFailed => Some("auth-failed"),
            Self::EndOfInput | Self::Lost | Self::HandshakeFailed | Self::Foreign(_) => None,
        }
    }
}

/// A step in closing a connection, for the server to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseStep {
    /// Shut down the write side (half-close), then call
    /// [`handle_write_shutdown`](super::Hub::handle_write_shutdown). The connection stays open and
    /// its input is discarded until the peer closes: a close with unread input resets the
    /// connection, and a reset destroys output that is still in flight.
    ShutdownWrite,
    /// Close the connection and [`remove`](super::Hub::remove) the client.
    Close,
}

/// An event for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A line was executed.
    Line(LineTrace),
    /// A client authenticated with the secret for a role.
    Authenticated {
        /// The client's id.
        id: u64,
        /// Its role from now on.
        role: Role,
    },
    /// A client sent a wrong secret.
    WrongSecret {
        /// The client's id.
        id: u64,
        /// The number of wrong secrets that it has sent in a row.
        tries: u8,
    },
    /// A client begins to close: no more of its input is executed. When it is removed,
    /// [`Hub::remove`](super::Hub::remove) returns a [`Disconnect`]. A client that is evicted while
    /// it closes is reported again.
    Closing {
        /// The client's id.
        id: u64,
        /// Why it is disconnected.
        reason: Reason,
    },
    /// A slow consumer was skipped forward for the first time.
    Lagged {
        /// The client's id.
        id: u64,
        /// The number of lines it missed.
        lines: u64,
    },
    /// Backpressure: broadcasts wait for slow readers. Reported at most once a minute.
    PublishersBlocked {
        /// The number of readers that broadcasts wait for.
        readers: usize,
        /// The id of one of them.
        id: u64,
    },
    /// A client exceeded a rate limit for the first time. Its input waits until the limit allows
    /// its next line.
    RateLimited {
        /// The client's id.
        id: u64,
        /// Which limit.
        limit: RateLimit,
    },
}

/// What a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// Lines from the client.
    Lines,
    /// Bytes of the feed that the client replays.
    Replays,
}

/// An executed line and its final reply. The log shows it at level `debug`; the simulation checks
/// it against its model. The text is not escaped.
#[derive(Debug, PartialEq, Eq)]
pub struct LineTrace {
    /// The sender's id.
    pub id: u64,
    /// The line. Redacted if it may contain a secret (`auth`, unknown commands, everything before
    /// authentication) or if it is not a complete line of text.
    pub received: String,
    /// The last line of the reply. For a broadcast without a reply, `broadcast` and its number; for
    /// a client that this line closed, its goodbye. A `pong` before authentication is redacted.
    pub answered: String,
}

/// Summary of a finished connection, for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The client's id.
    pub id: u64,
    /// Its name when it disconnected, if it had one.
    pub name: Option<Box<str>>,
    /// Why it was closed.
    pub reason: Reason,
    /// Whether the client may have lost output.
    pub is_cut: bool,
    /// The number of lines it missed: the sum of its `lagged` counts, sent or pending.
    pub missed: u64,
    /// Duration of the connection in milliseconds.
    pub connected_ms: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}
