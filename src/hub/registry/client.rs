//! One client's state in the hub.

use slab::Slab;

use crate::protocol::{DecimalBuf, LineBuffer};

use super::rate_limit::RateLimiter;
use super::role::Role;
use crate::hub::channel::backpressure::Reader;
use crate::hub::channel::feed::Offset;
use crate::hub::delivery::outbox::Outbox;
use crate::hub::event::Reason;
use crate::hub::handle::Handle;

/// What the peer's address or Unix-socket credentials reveal about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether the peer has a loopback address, or connects to a Unix socket as root or as the
    /// server's own user.
    pub is_local: bool,
    /// A hash of the peer's address. Clients of the same source share a replay limit.
    pub source: u16,
}

/// The client with this handle, if it is still connected.
pub(crate) fn find(clients: &Slab<Client>, handle: Handle) -> Option<&Client> {
    clients.get(handle.key).filter(|client| client.id == handle.id)
}

/// One client, from its acceptance until its connection is closed.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    key: usize,
    pub(crate) name: Option<Box<str>>,
    pub(crate) origin: Origin,
    pub(crate) connected_at_ms: u64,
    /// When its socket last accepted bytes.
    pub(crate) last_write_ms: u64,
    /// When its last line was executed.
    pub(crate) last_line_ms: u64,
    /// The deadline of its current stage, or `u64::MAX` if it has none: an `Option` would take more
    /// memory. The hub's timers hold a copy.
    deadline_ms: u64,
    /// The role that it has authenticated for, if any.
    pub(crate) role: Option<Role>,
    pub(crate) wrong_secrets: u8,
    /// Limits the rate at which its lines are executed.
    pub(crate) rate: RateLimiter,
    /// Limits the rate at which it replays the feed.
    pub(crate) replays: RateLimiter,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) input: LineBuffer,
    pub(crate) input_state: InputState,
    pub(crate) outbox: Outbox,
    pub(crate) stage: Stage,
    pub(crate) socket: Socket,
    /// Whether it was evicted, which dropped its pending broadcasts.
    pub(crate) was_evicted: bool,
    /// The number of lines it missed: the sum of its `lagged` counts, sent or pending.
    pub(crate) missed: u64,
    /// Whether it has exceeded a rate limit. Only the first time is reported.
    pub(crate) was_rate_limited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The TLS handshake is not complete: nothing can be sent.
    Handshaking,
    /// Not authenticated: receives no broadcasts, has no name, is not listed.
    Unauthenticated,
    Active,
    /// Still receives its pending output and a goodbye. Its input is discarded.
    Closing {
        reason: Reason,
        step: ClosingStep,
    },
}

/// The steps of closing a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosingStep {
    /// Output from before the close is pending.
    Draining,
    /// Only the goodbye is pending.
    SendingGoodbye,
    /// The caller was asked to shut down the write side.
    ShuttingDownWrite,
    /// The transport still holds bytes, such as its close_notify, until the socket is writable.
    FlushingTransport,
    /// Everything was sent. Waits for the peer to close.
    AwaitingPeerClose,
}

/// What the client's buffered lines wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputState {
    /// Every complete buffered line was executed: the socket may be read.
    Reading,
    /// In the run queue.
    Runnable,
    /// Not executed until the outbox has room for a reply.
    AwaitingOutbox,
    /// In the queue of blocked publishers: the next line is a broadcast that backpressure holds
    /// back.
    AwaitingReaders,
    /// Neither executed nor read until a rate limit allows the next line. In the rate-limit
    /// timers.
    RateLimited { until_ms: u64 },
    /// The client is closing: its input is read and discarded, since a close with unread input
    /// resets the connection.
    Discarding,
}

/// The state of a client's socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Socket {
    /// A read may return data, the end of input or an error.
    pub(crate) readable: bool,
    /// It refused bytes and has not been reported writable since.
    pub(crate) write_blocked: bool,
    /// The end of the peer's input was read.
    pub(crate) eof: bool,
    /// The poll reported an error: the connection is broken.
    pub(crate) reset: bool,
}

impl Client {
    pub(crate) fn new(handle: Handle, origin: Origin, now_ms: u64, max_line: usize) -> Self {
        Self {
            id: handle.id,
            key: handle.key,
            name: None,
            origin,
            connected_at_ms: now_ms,
            last_write_ms: now_ms,
            last_line_ms: now_ms,
            deadline_ms: u64::MAX,
            role: None,
            wrong_secrets: 0,
            rate: RateLimiter::default(),
            replays: RateLimiter::default(),
            bytes_in: 0,
            bytes_out: 0,
            input: LineBuffer::new(max_line),
            input_state: InputState::Reading,
            outbox: Outbox::default(),
            stage: Stage::Handshaking,
            socket: Socket::default(),
            was_evicted: false,
            missed: 0,
            was_rate_limited: false,
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle { id: self.id, key: self.key }
    }

    /// How the client's lines are attributed: by name, or by id if it has none.
    pub(crate) fn attribution<'a>(&'a self, digits: &'a mut DecimalBuf) -> &'a str {
        self.name.as_deref().unwrap_or_else(|| digits.text(self.id))
    }

    /// The deadline of its current stage, if it has one.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        (self.deadline_ms != u64::MAX).then_some(self.deadline_ms)
    }

    /// Sets or clears the deadline. Returns the previous one.
    pub(crate) fn replace_deadline(&mut self, deadline_ms: Option<u64>) -> Option<u64> {
        let before_ms = self.deadline_ms();
        self.deadline_ms = deadline_ms.unwrap_or(u64::MAX);
        before_ms
    }

    pub(crate) fn is_active(&self) -> bool {
        self.stage == Stage::Active
    }

    /// Returns whether its lines are executed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Active | Stage::Unauthenticated)
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    /// Returns whether its socket should be read now.
    pub(crate) fn wants_read(&self) -> bool {
        let takes_input = matches!(self.input_state, InputState::Reading | InputState::Discarding);
        takes_input && self.socket.readable && !self.socket.eof
    }

    /// Returns whether it has pending output that its socket would accept.
    pub(crate) fn wants_flush(&self, head: Offset) -> bool {
        !self.socket.write_blocked && self.outbox.has_pending(head)
    }

    /// The lag behind the feed's head, in bytes.
    pub(crate) fn lag(&self, head: Offset) -> u64 {
        self.outbox.oldest_needed(head).map_or(0, |needed| head - needed)
    }

    /// The client as backpressure sees it.
    pub(crate) fn reader(&self, head: Offset) -> Reader {
        Reader {
            handle: self.handle(),
            follows: self.outbox.follows(),
            oldest_needed: self.outbox.oldest_needed(head),
            is_replaying: self.outbox.is_replaying(),
            is_write_blocked: self.socket.write_blocked,
            last_write_ms: self.last_write_ms,
            bytes_out: self.bytes_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle client has no buffers, so this is most of the 400 bytes that docs/server.md states.
    #[test]
    fn client_takes_232_bytes() {
        if cfg!(target_pointer_width = "64") {
            assert_eq!(size_of::<Client>(), 232);
        }
    }
}
