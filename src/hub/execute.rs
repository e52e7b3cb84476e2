//! Reading from clients and executing their lines, with a fair share of each turn for every client.

use std::mem;

use crate::limits::MAX_PENDING_SEEKS;
use crate::protocol::{Line, LineBuffer};
use crate::read_outcome::ReadOutcome;

use super::event::{RateLimit, Reason};
use super::registry::client::{Client, InputState, Stage, find};
use super::{Hub, access};

/// The fixed cost of a line besides its bytes, in bytes of work. Blank lines have this cost, too.
const LINE_COST: usize = 32;

/// Why a line cannot be executed now. It stays the client's next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Not in this turn: try again in the next one.
    Yield,
    /// Backpressure: wait until readers have made progress.
    OnReaders,
    /// A rate limit: wait until this time, in milliseconds.
    ByRateLimit(RateLimit, u64),
}

/// Why the execution of a client's lines stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Every complete line was executed, or one of them closed the client.
    Drained,
    /// The budget of the turn, or the client's share of it, is used up.
    Budget,
    /// The next line is a broadcast that backpressure holds back.
    Readers,
    /// A rate limit is reached until this time, in milliseconds.
    RateLimit(RateLimit, u64),
    /// The outbox has no room for another reply.
    OutboxFull,
}

impl Hub {
    /// Records that the client's socket may be readable.
    pub fn handle_readable(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.socket.readable = true;
            self.queue_read(key);
            self.debug_check(key);
        }
    }

    /// Returns the next client, for the caller to read from once: first established connections,
    /// then a few handshakes, which cost more than anything else a client can request.
    pub fn poll_read(&mut self) -> Option<usize> {
        while self.budget.turn.read > 0
            && let Some(handle) = self.to_read.pop(|handle| find(&self.clients, handle).is_some())
        {
            if self.clients[handle.key].wants_read() {
                return Some(handle.key);
            }
        }
        while self.budget.turn.handshake_reads > 0
            && let Some(handle) =
                self.handshakes.pop(|handle| find(&self.clients, handle).is_some())
        {
            if self.clients[handle.key].wants_read() {
                self.budget.turn.handshake_reads -= 1;
                return Some(handle.key);
            }
        }
        None
    }

    /// Handles the outcome of one read from the client's connection. `overhead` is the number of
    /// bytes read from the socket beyond those in the outcome.
    pub fn handle_read(&mut self, key: usize, outcome: &ReadOutcome<'_>, overhead: usize) {
        self.budget.charge_read(overhead);
        match outcome {
            ReadOutcome::Data(input) => self.handle_data(key, input),
            ReadOutcome::NoData => self.queue_read(key),
            ReadOutcome::WouldBlock => self.handle_read_blocked(key),
            ReadOutcome::CloseNotify => self.end_input(key, LineBuffer::end),
            ReadOutcome::Eof => self.handle_eof(key, LineBuffer::end),
            // Complete lines from before the cut are executed, and answered if the peer still
            // reads.
            ReadOutcome::Truncated => self.handle_eof(key, LineBuffer::cut),
            ReadOutcome::TlsFailed(_) if self.clients[key].stage == Stage::Handshaking => {
                self.begin_close(key, Reason::HandshakeFailed);
            }
            ReadOutcome::TlsFailed(_) | ReadOutcome::Failed(_) => {
                // Input from before the failure is still executed; its replies are discarded.
                self.handle_write_failed(key);
                self.handle_eof(key, LineBuffer::cut);
            }
        }
        self.debug_check(key);
    }

    fn handle_data(&mut self, key: usize, input: &[u8]) {
        self.budget.charge_read(input.len());
        self.counters.bytes_in += input.len() as u64;
        let client = &mut self.clients[key];
        client.bytes_in += input.len() as u64;
        if client.is_open() {
            client.input.push(input);
            self.queue_run(key);
        } else {
            self.queue_read(key);
        }
    }

    fn handle_read_blocked(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.socket.readable = false;
        if !client.is_closing() && client.outbox.is_closed() {
            // Everything received before the connection broke was executed.
            self.begin_close(key, Reason::Lost);
        }
    }

    fn handle_eof(&mut self, key: usize, end: fn(&mut LineBuffer)) {
        self.clients[key].socket.eof = true;
        self.end_input(key, end);
        self.advance_close(key);
    }

    /// Handles the end of the peer's input. The connection may still be open for output.
    fn end_input(&mut self, key: usize, end: fn(&mut LineBuffer)) {
        let client = &mut self.clients[key];
        match client.stage {
            Stage::Handshaking => self.begin_close(key, Reason::HandshakeFailed),
            Stage::Unauthenticated | Stage::Active => {
                end(&mut client.input);
                self.queue_run(key);
            }
            Stage::Closing { .. } => self.queue_read(key),
        }
    }

    /// Records that the connection is broken, although some input may still be read from it.
    pub fn handle_hangup(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.socket.reset = true;
            if let InputState::RateLimited { .. } = client.input_state {
                self.bound_linger(key);
            }
            self.debug_check(key);
        }
    }

    /// Executes buffered lines, client by client, as far as the turn's budget allows.
    pub fn execute(&mut self) {
        self.budget.turn.passes = self.budget.turn.passes.saturating_sub(1);
        for _ in 0..self.runnable.len() {
            if self.budget.turn.work == 0 {
                break;
            }
            let Some(handle) = self.runnable.pop_front() else { break };
            let client = find(&self.clients, handle);
            if client.is_some_and(|client| client.input_state == InputState::Runnable) {
                self.run(handle.key);
                self.debug_check(handle.key);
            }
        }
        // Deadlines expire after the input is executed: if the process was stopped for a while,
        // input that arrived meanwhile counts as activity.
        self.expire_deadlines();
    }

    /// Returns whether there is more input to read or execute, and budget for it.
    pub fn has_more_input(&self) -> bool {
        let turn = &self.budget.turn;
        let can_read = turn.read > 0 && !self.to_read.is_empty();
        let has_input = !self.runnable.is_empty() || can_read;
        turn.passes > 0 && turn.work > 0 && self.budget.append > 0 && has_input
    }

    fn run(&mut self, key: usize) {
        // The input is taken out while its lines run: a line may change any client, including this
        // one.
        let placeholder = LineBuffer::new(0);
        let mut input = mem::replace(&mut self.clients[key].input, placeholder);
        let stop = self.execute_lines(key, &mut input);
        if !self.clients[key].is_open() {
            // A line closed the client: the rest of its input is discarded.
            return;
        }
        // Overlong lines and Telnet commands count as one line for each `max-line` bytes.
        self.charge_rate(key, input.take_discarded_lines());
        let limited_until_ms = self.rate_limited_until_ms(key);
        let handle = self.clients[key].handle();
        let client = &mut self.clients[key];
        let has_ended = input.is_ended();
        client.input = input;
        client.input_state = InputState::Reading;
        match stop {
            Stop::Budget => self.queue_run(key),
            Stop::OutboxFull => client.input_state = InputState::AwaitingOutbox,
            Stop::RateLimit(limit, until_ms) => self.limit_rate(key, limit, until_ms),
            Stop::Readers => {
                client.input_state = InputState::AwaitingReaders;
                self.blocked_publishers.push_back(handle);
                self.counters.held += 1;
            }
            Stop::Drained if has_ended => {
                let reason = match (client.outbox.is_closed(), client.input.is_cut()) {
                    (true, _) => Reason::Lost,
                    (false, true) => Reason::Truncated,
                    (false, false) => Reason::EndOfInput,
                };
                self.begin_close(key, reason);
            }
            Stop::Drained => match limited_until_ms {
                Some(until_ms) => self.limit_rate(key, RateLimit::Lines, until_ms),
                None => self.queue_read(key),
            },
        }
    }

    fn execute_lines(&mut self, key: usize, input: &mut LineBuffer) -> Stop {
        let share = self.config.limits.turn.work_per_client;
        let min_work = self.budget.turn.work.saturating_sub(share);
        while self.clients[key].is_open() {
            if !self.has_reply_room(&self.clients[key]) {
                return Stop::OutboxFull;
            }
            let Some(line) = input.peek() else { return Stop::Drained };
            if self.budget.turn.work <= min_work {
                return Stop::Budget;
            }
            if let Some(until_ms) = self.rate_limited_until_ms(key) {
                return Stop::RateLimit(RateLimit::Lines, until_ms);
            }
            let has_secret = matches!(line, Line::Text(text) if access::may_hold_secret(text));
            match self.execute_line(key, line) {
                Ok(()) => {}
                Err(Blocked::Yield) => return Stop::Budget,
                Err(Blocked::OnReaders) => return Stop::Readers,
                Err(Blocked::ByRateLimit(limit, until_ms)) => {
                    return Stop::RateLimit(limit, until_ms);
                }
            }
            if has_secret {
                input.wipe();
            }
            input.advance();
        }
        Stop::Drained
    }

    fn execute_line(&mut self, key: usize, line: Line<'_>) -> Result<(), Blocked> {
        let before = self.before_line(key);
        self.dispatch(key, line)?;
        self.trace_line(key, line, &before);
        let len = match line {
            Line::Text(text) => text.len(),
            Line::NotText(bytes) | Line::Incomplete(bytes) => bytes.len(),
            Line::Blank(_) | Line::TooLong | Line::Telnet(_) | Line::Foreign(_) => 0,
        };
        self.budget.charge_work(LINE_COST + len);
        self.clients[key].last_line_ms = self.now_ms;
        if !matches!(line, Line::Telnet(_)) {
            self.charge_rate(key, 1);
        }
        self.counters.lines_in += u64::from(!matches!(line, Line::Blank(_) | Line::Telnet(_)));
        Ok(())
    }

    /// Returns whether the client's outbox has room for the reply to any one command.
    pub(super) fn has_reply_room(&self, client: &Client) -> bool {
        let limits = &self.config.limits;
        client.outbox.size() + limits.reply_room() <= limits.max_outbox
            && client.outbox.pending_seeks() < MAX_PENDING_SEEKS
    }

    /// Queues the client for reading, if its socket should be read now.
    pub(super) fn queue_read(&mut self, key: usize) {
        let client = &self.clients[key];
        if client.wants_read() {
            let is_handshaking = client.stage == Stage::Handshaking;
            let queue = if is_handshaking { &mut self.handshakes } else { &mut self.to_read };
            queue.push(self.clients[key].handle());
        }
    }

    /// Queues the client's lines for execution, or marks them as waiting for room in its outbox.
    pub(super) fn queue_run(&mut self, key: usize) {
        let client = &self.clients[key];
        if !matches!(client.input_state, InputState::Reading | InputState::AwaitingOutbox) {
            return;
        }
        if self.has_reply_room(client) {
            self.runnable.push_back(self.clients[key].handle());
            self.clients[key].input_state = InputState::Runnable;
        } else {
            self.clients[key].input_state = InputState::AwaitingOutbox;
        }
    }

    /// Queues the client's lines again if they wait for room in its outbox. Call this after output
    /// was consumed.
    pub(super) fn resume_run(&mut self, key: usize) {
        if self.clients[key].input_state == InputState::AwaitingOutbox {
            self.queue_run(key);
        }
    }
}
