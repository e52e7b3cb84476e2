//! What the hub knows of one client.

use crate::protocol::{Foreign, LineBuffer};

use super::feed::Position;
use super::outbox::Outbox;

/// Names one client for good: keys are used again, ids never are. Queues and deadlines hold this,
/// and drop what no longer matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) key: usize,
    pub(super) id: u64,
}

/// What the server knows of a peer by looking at its address or its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A loopback address, or a Unix socket's peer of the server's own user or root.
    pub is_local: bool,
}

/// Why a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It asked to.
    Quit,
    /// The server ends.
    Shutdown,
    /// The feed lapped its cursor.
    TooSlow,
    /// Its input ended.
    EndOfInput,
    /// The connection broke.
    Lost,
    /// It speaks another protocol.
    Foreign(Foreign),
}

impl Reason {
    /// What the client is told, if it is told anything.
    pub fn goodbye(self) -> Option<&'static str> {
        match self {
            Self::Quit => Some("quit"),
            Self::Shutdown => Some("shutdown"),
            Self::TooSlow => Some("too-slow"),
            Self::EndOfInput | Self::Lost | Self::Foreign(_) => None,
        }
    }
}

/// One client, from its acceptance until its connection is closed.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) name: Option<Box<str>>,
    pub(super) origin: Origin,
    pub(super) connected_at_ms: u64,
    pub(super) took_bytes_at_ms: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) input: LineBuffer,
    pub(super) outbox: Outbox,
    pub(super) stage: Stage,
    pub(super) socket: Socket,
    pub(super) queued: Queued,
    /// The feed has lapped it: it does not get all that it was owed.
    pub(super) is_lapped: bool,
    /// It is to be closed, which was said already.
    pub(super) is_dropped: bool,
    /// There may be lines in `input` that are not executed yet, so nothing more is read.
    pub(super) has_lines: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its requests are executed.
    Inside,
    /// It gets what it is owed, and no more; what it still sends is dropped.
    Leaving { reason: Reason, step: Step },
}

/// How far a client is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something is owed to it.
    Draining,
    /// Only its goodbye is.
    SayingGoodbye,
    /// Everything was sent.
    Finished,
}

/// What is known of the socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Socket {
    /// A read may bring something.
    pub(super) readable: bool,
    /// It refused bytes, and has not asked for more since.
    pub(super) full: bool,
    /// The end of input was read.
    pub(super) ended: bool,
}

/// In which of the hub's queues the client waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queued {
    pub(super) to_read: bool,
    pub(super) to_run: bool,
    pub(super) held: bool,
    /// This turn's queue, or the next one's.
    pub(super) to_flush_first: bool,
    /// This round's queue, or the next one's.
    pub(super) to_flush: bool,
}

impl Client {
    pub(super) fn new(
        id: u64,
        origin: Origin,
        now_ms: u64,
        max_line: usize,
        head: Position,
    ) -> Self {
        Self {
            id,
            name: None,
            origin,
            connected_at_ms: now_ms,
            took_bytes_at_ms: now_ms,
            bytes_in: 0,
            bytes_out: 0,
            input: LineBuffer::new(max_line),
            outbox: Outbox::new(head),
            stage: Stage::Inside,
            socket: Socket::default(),
            queued: Queued::default(),
            is_lapped: false,
            is_dropped: false,
            has_lines: false,
        }
    }

    pub(super) fn is_inside(&self) -> bool {
        self.stage == Stage::Inside
    }

    /// Whether bytes of its would be taken from the socket now.
    pub(super) fn wants_input(&self) -> bool {
        self.socket.readable && !self.socket.ended && !self.has_lines
    }

    /// Whether something waits that its socket would take.
    pub(super) fn can_be_flushed(&self, head: Position) -> bool {
        !self.socket.full && self.outbox.owes(head)
    }
}
