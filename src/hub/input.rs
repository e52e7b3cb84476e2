//! From bytes to executed lines, a fair share for everybody.

use std::mem;

use crate::limits::MAX_JUMPS;
use crate::protocol::{Line, LineBuffer};
use crate::read_outcome::ReadOutcome;

use super::client::{Client, Handle, Reason, Stage};
use super::pacing::Wait;
use super::{Hub, access};

/// What a line costs beside its bytes, in bytes: blank lines are work, too.
const LINE_COST: usize = 32;

impl Hub {
    /// The socket may have something to read.
    pub fn handle_readable(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.socket.readable = true;
            self.queue_read(key);
        }
    }

    /// The next client to read from, once: first those that are here, then a few of those that are
    /// still arriving, whose handshakes are more work than all that the others say.
    pub fn poll_read(&mut self) -> Option<usize> {
        while self.left.read > 0
            && let Some(handle) = self.to_read.pop_front()
        {
            if self.may_read(handle) {
                return Some(handle.key);
            }
        }
        while self.left.arrivals > 0
            && let Some(handle) = self.arriving.pop_front()
        {
            if self.may_read(handle) {
                self.left.arrivals -= 1;
                return Some(handle.key);
            }
        }
        None
    }

    /// Whether there is something to read for the client that was just taken out of a queue.
    fn may_read(&mut self, handle: Handle) -> bool {
        self.client(handle).is_some_and(|client| {
            client.queued.to_read = false;
            client.wants_input()
        })
    }

    /// Takes the outcome of one read of the client's connection. `overhead` is how many bytes were read from
    /// the socket beyond those in the outcome.
    pub fn handle_read(&mut self, key: usize, outcome: &ReadOutcome<'_>, overhead: usize) {
        self.left.read = self.left.read.saturating_sub(overhead);
        match outcome {
            ReadOutcome::Data(input) => self.handle_data(key, input),
            ReadOutcome::NoData => self.queue_read(key),
            ReadOutcome::WouldBlock => self.handle_read_blocked(key),
            ReadOutcome::CloseNotify => self.end_input(key),
            ReadOutcome::Eof | ReadOutcome::Truncated => self.handle_eof(key),
            ReadOutcome::TlsFailed(_) if self.clients[key].stage == Stage::Arriving => {
                self.leave(key, Reason::HandshakeFailed);
            }
            ReadOutcome::TlsFailed(_) | ReadOutcome::Failed(_) => {
                // Lines that came before are still executed, and answered to nobody.
                self.handle_write_failed(key);
                self.handle_eof(key);
            }
        }
    }

    fn handle_data(&mut self, key: usize, input: &[u8]) {
        self.left.read = self.left.read.saturating_sub(input.len());
        self.counters.bytes_in += input.len() as u64;
        let client = &mut self.clients[key];
        client.bytes_in += input.len() as u64;
        if client.is_heard() {
            client.input.push(input);
            client.has_lines = true;
            self.queue_run(key);
        } else {
            self.queue_read(key);
        }
    }

    fn handle_read_blocked(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.socket.readable = false;
        if !client.is_leaving() && client.outbox.is_closed() {
            // All that it had sent before it broke is executed.
            self.leave(key, Reason::Lost);
        }
    }

    fn handle_eof(&mut self, key: usize) {
        self.clients[key].socket.ended = true;
        self.end_input(key);
        self.settle(key);
    }

    /// The peer sends no more data; its connection may still be open.
    fn end_input(&mut self, key: usize) {
        let client = &mut self.clients[key];
        match client.stage {
            Stage::Arriving => self.leave(key, Reason::HandshakeFailed),
            Stage::Outside | Stage::Inside => {
                client.input.end();
                client.has_lines = true;
                self.queue_run(key);
            }
            Stage::Leaving { .. } => self.queue_read(key),
        }
    }

    /// The connection is broken, whatever can still be read from it.
    pub fn handle_hangup(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.socket.hung_up = true;
            if client.queued.throttled_until_ms.is_some() {
                self.give_up_soon(key);
            }
        }
    }

    /// Executes lines, of each client in its turn, as far as the turn's limits allow.
    pub fn execute(&mut self) {
        self.left.passes = self.left.passes.saturating_sub(1);
        for _ in 0..self.to_run.len() {
            if self.left.work == 0 {
                break;
            }
            let Some(handle) = self.to_run.pop_front() else { break };
            if let Some(client) = self.client(handle) {
                client.queued.to_run = false;
                self.run(handle);
            }
        }
        // After all that has come is dealt with: this program may have been stopped for a while.
        self.meet_deadlines();
    }

    /// Whether there is more to read, or to execute, for which the turn has room.
    pub fn has_more_input(&self) -> bool {
        let left = &self.left;
        let has_input = !self.to_run.is_empty() || (left.read > 0 && !self.to_read.is_empty());
        left.passes > 0 && left.work > 0 && left.append > 0 && has_input
    }

    /// Executes one client's lines. They are taken out of it meanwhile, since a line may concern
    /// any client, this one included.
    fn run(&mut self, handle: Handle) {
        let key = handle.key;
        let placeholder = LineBuffer::new(0);
        let mut input = mem::replace(&mut self.clients[key].input, placeholder);
        let least_work = self.left.work.saturating_sub(self.rules.limits.turn.work_per_client);
        let mut drained = false;
        let mut result = Ok(());
        while self.may_execute(key) {
            let Some(line) = input.peek() else {
                drained = true;
                break;
            };
            let has_secret = matches!(line, Line::Text(text) if access::may_hold_secret(text));
            result = if self.left.work <= least_work {
                Err(Wait::Later)
            } else if !self.has_allowance(key) {
                Err(Wait::ForAllowance)
            } else {
                self.execute_line(key, line)
            };
            if result.is_err() {
                break;
            }
            if has_secret {
                input.wipe();
            }
            input.advance();
        }
        if !self.clients[key].is_heard() {
            return;
        }
        self.use_allowance(key, input.take_discarded_lines());
        let is_allowed = self.has_allowance(key);
        let client = &mut self.clients[key];
        let ended = input.is_ended();
        client.input = input;
        client.has_lines = !drained;
        match result {
            Err(Wait::Later) => self.queue_run(key),
            Err(Wait::ForReaders) => {
                client.queued.held = true;
                self.counters.held += 1;
                self.held.push_back(handle);
            }
            Ok(()) if drained && ended => {
                let lost = client.outbox.is_closed();
                self.leave(key, if lost { Reason::Lost } else { Reason::EndOfInput });
            }
            Err(Wait::ForAllowance) => self.throttle(key),
            Ok(()) if drained && !is_allowed => self.throttle(key),
            // If it was not drained, there was no room for a reply, until something is consumed.
            Ok(()) => self.queue_read(key),
        }
    }

    fn execute_line(&mut self, key: usize, line: Line<'_>) -> Result<(), Wait> {
        let before = self.before_line(key);
        self.dispatch(key, line)?;
        self.report_line(key, line, &before);
        let len = match line {
            Line::Text(text) => text.len(),
            Line::NotText(bytes) | Line::Incomplete(bytes) => bytes.len(),
            Line::Blank(_) | Line::TooLong | Line::Foreign(_) => 0,
        };
        self.left.work = self.left.work.saturating_sub(LINE_COST + len);
        self.clients[key].said_at_ms = self.now_ms;
        self.use_allowance(key, 1);
        self.counters.lines_in += u64::from(!matches!(line, Line::Blank(_)));
        Ok(())
    }

    fn may_execute(&self, key: usize) -> bool {
        let client = &self.clients[key];
        client.is_heard() && self.has_reply_room(client)
    }

    /// Whether the reply to any one command fits into the client's outbox.
    pub(super) fn has_reply_room(&self, client: &Client) -> bool {
        let limits = &self.rules.limits;
        client.outbox.size() + limits.reply_room() <= limits.max_outbox
            && client.outbox.jumps() < MAX_JUMPS
    }

    pub(super) fn queue_read(&mut self, key: usize) {
        let handle = self.handle(key);
        let client = &mut self.clients[key];
        if client.wants_input() && !client.queued.to_read {
            client.queued.to_read = true;
            if client.stage == Stage::Arriving {
                self.arriving.push_back(handle);
            } else {
                self.to_read.push_back(handle);
            }
        }
    }

    /// Puts the client in the queue for execution, if it has lines and room for a reply.
    pub(super) fn queue_run(&mut self, key: usize) {
        let may_execute = self.may_execute(key);
        let handle = self.handle(key);
        let client = &mut self.clients[key];
        let is_queued = client.queued.to_run
            || client.queued.held
            || client.queued.throttled_until_ms.is_some();
        if client.has_lines && may_execute && !is_queued {
            client.queued.to_run = true;
            self.to_run.push_back(handle);
        }
    }
}
