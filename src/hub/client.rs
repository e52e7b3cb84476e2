//! What the hub knows of one client.

use crate::protocol::{DecimalBuf, ForeignProtocol, LineBuffer};

use super::access::Role;
use super::feed::Offset;
use super::outbox::Outbox;
use super::throttle::Allowance;

/// Names one client for good: keys are used again, ids never are. Queues and deadlines hold this,
/// and drop what no longer matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handle {
    pub(super) id: u64,
    pub(super) key: usize,
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
    /// It took next to nothing for too long, while broadcasts waited for it.
    Stalled,
    /// It said nothing and took nothing for too long.
    Idle,
    /// It did not come in in time.
    AuthTimeout,
    /// It tried too many wrong secrets.
    AuthFailed,
    /// There came no transport to speak over.
    HandshakeFailed,
    /// Its input ended.
    EndOfInput,
    /// The connection broke.
    Lost,
    /// It speaks another protocol.
    Foreign(ForeignProtocol),
}

impl Reason {
    /// What the client is told, if it is told anything.
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

/// One client, from its acceptance until its connection is closed.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) name: Option<Box<str>>,
    pub(super) origin: Origin,
    pub(super) connected_at_ms: u64,
    pub(super) took_bytes_at_ms: u64,
    /// When the last line of its was executed.
    pub(super) said_at_ms: u64,
    /// When its stage is over at the latest, if there is such a time. It stands in the hub's
    /// deadlines as well.
    pub(super) deadline_ms: Option<u64>,
    /// What it has shown a secret for.
    pub(super) role: Option<Role>,
    pub(super) wrong_tries: u8,
    pub(super) allowance: Allowance,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) input: LineBuffer,
    pub(super) outbox: Outbox,
    pub(super) stage: Stage,
    pub(super) socket: Socket,
    pub(super) queued: Queued,
    /// The feed has lapped it: it does not get all that it was owed.
    pub(super) is_lapped: bool,
    /// How many lines it was told that it misses, or will be.
    pub(super) missed: u64,
    /// It has said more than it may, and the log was told.
    pub(super) was_throttled: bool,
    /// There may be lines in `input` that are not executed yet, so nothing more is read.
    pub(super) has_lines: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its transport is not up, and nothing can be said.
    Arriving,
    /// It is to show a secret, and is answered, but is not here yet: it follows no feed, has no name,
    /// and is not listed.
    Outside,
    /// It is here.
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
    /// Everything was sent but the end, which was asked for.
    Ending,
    /// The end waits for its socket.
    Flushing,
    /// Everything was sent, the end as well.
    Finished,
}

/// What is known of the socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Socket {
    /// A read may bring something.
    pub(super) readable: bool,
    /// It refused bytes, and has not asked for more since.
    pub(super) full: bool,
    /// The peer's end was read.
    pub(super) ended: bool,
    /// The connection is broken.
    pub(super) hung_up: bool,
}

/// In which of the hub's queues the client waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queued {
    pub(super) to_read: bool,
    pub(super) to_run: bool,
    pub(super) held: bool,
    /// It has said more than it may in so short a time, and waits until then.
    pub(super) throttled_until_ms: Option<u64>,
    /// This turn's queue, or the next one's.
    pub(super) to_flush_first: bool,
    /// This round's queue, or the next one's.
    pub(super) to_flush: bool,
}

impl Client {
    pub(super) fn new(id: u64, origin: Origin, now_ms: u64, max_line: usize, head: Offset) -> Self {
        let mut outbox = Outbox::new(head);
        outbox.stop_following(head);
        Self {
            id,
            name: None,
            origin,
            connected_at_ms: now_ms,
            took_bytes_at_ms: now_ms,
            said_at_ms: now_ms,
            deadline_ms: None,
            role: None,
            wrong_tries: 0,
            allowance: Allowance::default(),
            bytes_in: 0,
            bytes_out: 0,
            input: LineBuffer::new(max_line),
            outbox,
            stage: Stage::Arriving,
            socket: Socket::default(),
            queued: Queued::default(),
            is_lapped: false,
            missed: 0,
            was_throttled: false,
            has_lines: false,
        }
    }

    /// Whom its lines are from: its name or, while it has none, its id in digits.
    pub(super) fn attribution<'a>(&'a self, digits: &'a mut DecimalBuf) -> &'a str {
        self.name.as_deref().unwrap_or_else(|| digits.text(self.id))
    }

    pub(super) fn is_inside(&self) -> bool {
        self.stage == Stage::Inside
    }

    /// Whether its lines are executed.
    pub(super) fn is_heard(&self) -> bool {
        matches!(self.stage, Stage::Inside | Stage::Outside)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    /// Whether bytes of its would be taken from the socket now.
    pub(super) fn wants_input(&self) -> bool {
        self.socket.readable
            && !self.socket.ended
            && !self.has_lines
            && self.queued.throttled_until_ms.is_none()
    }

    /// Whether something waits that its socket would take.
    pub(super) fn can_be_flushed(&self, head: Offset) -> bool {
        !self.socket.full && self.outbox.owes(head)
    }
}
