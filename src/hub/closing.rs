//! Closing connections (drain, goodbye, half-close): single clients, timeouts, and the graceful
//! shutdown of the server.

use crate::protocol::{LineBuffer, Reply};

use super::event::{CloseStep, Disconnect, Event, Reason};
use super::handle::Handle;
use super::registry::client::{ClosingStep, InputState, Stage, find};
use super::{Hub, Shutdown};

impl Hub {
    /// Starts a graceful shutdown: every client receives its pending output and a goodbye, and the
    /// hub accepts no new connections.
    pub fn begin_shutdown(&mut self) {
        self.shutdown = Shutdown::Begun;
        let open = self.clients.iter().filter(|(_, client)| !client.is_closing());
        let keys: Vec<usize> = open.map(|(key, _)| key).collect();
        for key in keys {
            self.begin_close(key, Reason::Shutdown);
        }
    }

    /// Returns the next connection to close and the step to take, if any.
    pub fn poll_close(&mut self) -> Option<(usize, CloseStep)> {
        loop {
            let (handle, close) = self.to_close.pop_front()?;
            if find(&self.clients, handle).is_some() {
                return Some((handle.key, close));
            }
        }
    }

    /// Records the result of [`CloseStep::ShutdownWrite`]. If the transport still holds bytes
    /// (`is_done` is false), the write side is shut down when the socket is writable again.
    pub fn handle_write_shutdown(&mut self, key: usize, is_done: bool) {
        let client = &mut self.clients[key];
        if let Stage::Closing { step, .. } = &mut client.stage
            && *step == ClosingStep::ShuttingDownWrite
        {
            *step = if is_done {
                ClosingStep::AwaitingPeerClose
            } else {
                ClosingStep::FlushingTransport
            };
            client.socket.write_blocked = !is_done;
        }
        self.advance_close(key);
        self.debug_check(key);
    }

    /// Removes a client after [`CloseStep::Close`]. The key may be reused from now on.
    pub fn remove(&mut self, key: usize) -> Disconnect {
        self.set_deadline(key, None);
        self.channel.backpressure.note_progress();
        self.channel.members.remove(key);
        self.to_read.forget(key);
        self.handshakes.forget(key);
        self.flush.forget(key);
        let client = self.clients.remove(key);
        let Stage::Closing { reason, step } = client.stage else {
            unreachable!("only closing clients are removed")
        };
        Disconnect {
            id: client.id,
            name: client.name,
            reason,
            is_cut: step != ClosingStep::AwaitingPeerClose || client.was_evicted,
            missed: client.missed,
            connected_ms: self.now_ms - client.connected_at_ms,
            bytes_in: client.bytes_in,
            bytes_out: client.bytes_out,
        }
    }

    /// Starts closing a client: its pending output and a goodbye are still sent; further input is
    /// discarded.
    pub(super) fn begin_close(&mut self, key: usize, reason: Reason) {
        let head = self.head();
        self.stop_rate_limiting(key);
        let client = &mut self.clients[key];
        let old_stage = client.stage;
        // Before the handshake is complete there is no output to drain, except for the TLS alert of
        // a failed handshake.
        let can_drain = old_stage != Stage::Handshaking || reason == Reason::HandshakeFailed;
        let step = if can_drain { ClosingStep::Draining } else { ClosingStep::AwaitingPeerClose };
        client.stage = Stage::Closing { reason, step };
        self.events.push_back(Event::Closing { id: client.id, reason });
        client.outbox.unfollow(head);
        client.input = LineBuffer::new(0);
        client.input_state = InputState::Discarding;
        if old_stage == Stage::Active {
            self.directory.remove(client.id, client.name.as_deref());
        }
        self.set_deadline(key, Some(self.now_ms + self.config.limits.drain_timeout_ms));
        if !can_drain {
            return self.drop_connection(key);
        }
        self.queue_read(key);
        self.advance_close(key);
    }

    /// Advances a closing client through as many steps as it can take now.
    pub(super) fn advance_close(&mut self, key: usize) {
        let head = self.head();
        let handle = self.clients[key].handle();
        let client = &mut self.clients[key];
        let Stage::Closing { reason, step } = &mut client.stage else { return };
        if client.outbox.is_closed() {
            return self.drop_connection(key);
        }
        // While the socket is full, the transport may hold bytes, too.
        let is_drained = !client.outbox.has_pending(head) && !client.socket.write_blocked;
        loop {
            match step {
                ClosingStep::Draining if is_drained => {
                    *step = ClosingStep::SendingGoodbye;
                    if let Some(word) = reason.goodbye() {
                        return self.reply(key, Reply::Goodbye(word));
                    }
                }
                ClosingStep::SendingGoodbye if is_drained => {
                    *step = ClosingStep::ShuttingDownWrite;
                    return self.to_close.push_back((handle, CloseStep::ShutdownWrite));
                }
                ClosingStep::FlushingTransport if is_drained => {
                    *step = ClosingStep::AwaitingPeerClose;
                }
                ClosingStep::AwaitingPeerClose if client.socket.eof => {
                    return self.drop_connection(key);
                }
                _ => return,
            }
        }
    }

    /// Handles every client whose deadline has passed.
    pub(super) fn expire_deadlines(&mut self) {
        while let Some(Handle { key, .. }) = self.deadlines.expired(self.now_ms) {
            match self.clients[key].stage {
                Stage::Handshaking | Stage::Unauthenticated => {
                    self.begin_close(key, Reason::AuthTimeout);
                }
                Stage::Active => self.close_if_idle(key),
                Stage::Closing { .. } => {
                    self.set_deadline(key, None);
                    self.drop_connection(key);
                }
            }
        }
    }

    /// Closes an active client whose idle timeout has passed, or moves its deadline. Activity
    /// itself does not move the deadline: a busy client costs one check per timeout instead of one
    /// update per line.
    fn close_if_idle(&mut self, key: usize) {
        let client = &self.clients[key];
        // With a rate limit, the last lines of a client that hung up are executed only until its
        // deadline.
        if client.socket.reset && self.config.limits.rate_limit.is_some() {
            return self.begin_close(key, Reason::Lost);
        }
        // A client is not idle while the server itself holds back its input or its output.
        let is_held_back =
            matches!(client.input_state, InputState::Runnable | InputState::RateLimited { .. });
        let waits_for_server = is_held_back || !self.blocked_publishers.is_empty();
        let last_active_ms = if waits_for_server {
            self.now_ms
        } else {
            client.last_line_ms.max(client.last_write_ms)
        };
        let timeout_ms = self.config.limits.idle_timeout_ms;
        match timeout_ms.map(|timeout_ms| last_active_ms + timeout_ms) {
            Some(deadline_ms) if deadline_ms <= self.now_ms => self.begin_close(key, Reason::Idle),
            later => self.set_deadline(key, later),
        }
    }

    /// Queues the connection to be closed. Queueing it twice is harmless:
    /// [`poll_close`](Self::poll_close) skips clients that are gone.
    fn drop_connection(&mut self, key: usize) {
        self.to_close.push_back((self.clients[key].handle(), CloseStep::Close));
    }

    /// Sets, moves or clears the deadline of the client's current stage.
    pub(super) fn set_deadline(&mut self, key: usize, deadline_ms: Option<u64>) {
        let handle = self.clients[key].handle();
        let before_ms = self.clients[key].replace_deadline(deadline_ms);
        self.deadlines.set(handle, before_ms, deadline_ms);
    }
}
