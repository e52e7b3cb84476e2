//! From bytes to executed lines, a fair share for everybody.

use std::mem;

use crate::protocol::{Line, LineBuffer};

use super::client::{Client, Handle, Reason};
use super::{Hub, LineReport};

/// What a line costs beside its bytes, in bytes: blank lines are work, too.
const LINE_COST: usize = 32;

/// Whether a line was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Executed,
    /// It stays the next line, for the next turn.
    NextTurn,
    /// It stays the next line until the readers have caught up.
    Held,
}

impl Hub {
    /// The socket may have something to read.
    pub fn handle_readable(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.socket.readable = true;
            self.queue_read(key);
        }
    }

    /// The next client to read from, once.
    pub fn poll_read(&mut self) -> Option<usize> {
        while self.turn.read > 0 {
            let handle = self.to_read.pop_front()?;
            if let Some(client) = self.client(handle) {
                client.queued.to_read = false;
                if client.wants_input() {
                    return Some(handle.key);
                }
            }
        }
        None
    }

    /// These bytes were read. There may be more.
    pub fn handle_input(&mut self, key: usize, input: &[u8]) {
        self.turn.read = self.turn.read.saturating_sub(input.len());
        self.counters.bytes_in += input.len() as u64;
        let client = &mut self.clients[key];
        client.bytes_in += input.len() as u64;
        if client.is_inside() {
            client.input.push(input);
            client.has_lines = true;
            self.queue_run(key);
        } else {
            self.queue_read(key);
        }
    }

    /// There was nothing to read.
    pub fn handle_read_blocked(&mut self, key: usize) {
        self.clients[key].socket.readable = false;
    }

    /// The peer's end of input was read: it will send no more.
    pub fn handle_end(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.socket.ended = true;
        if client.is_inside() {
            client.input.end();
            client.has_lines = true;
            self.queue_run(key);
        } else {
            self.settle(key);
        }
    }

    /// The connection broke. What came before is still executed, and answered to nobody.
    pub fn handle_lost(&mut self, key: usize) {
        self.handle_write_failed(key);
        self.handle_end(key);
    }

    /// Executes lines, of each client in its turn, as far as the turn's limits allow.
    pub fn execute(&mut self) {
        for _ in 0..self.to_run.len() {
            if self.turn.work == 0 {
                break;
            }
            let Some(handle) = self.to_run.pop_front() else { break };
            if let Some(client) = self.client(handle) {
                client.queued.to_run = false;
                self.run(handle);
            }
        }
    }

    /// Executes one client's lines. They are taken out of it meanwhile, since a line may concern
    /// any client, this one included.
    fn run(&mut self, handle: Handle) {
        let Handle { key, id } = handle;
        let placeholder = LineBuffer::new(0);
        let mut input = mem::replace(&mut self.clients[key].input, placeholder);
        let least_work = self.turn.work.saturating_sub(self.turn.work_per_client);
        let mut drained = false;
        let mut outcome = Outcome::Executed;
        while self.may_execute(key) {
            let Some(line) = input.peek() else {
                drained = true;
                break;
            };
            outcome = match self.turn.work > least_work {
                true => self.execute_line(key, id, line),
                false => Outcome::NextTurn,
            };
            if outcome != Outcome::Executed {
                break;
            }
            input.advance();
        }
        let client = &mut self.clients[key];
        if !client.is_inside() {
            return;
        }
        let ended = input.is_ended();
        client.input = input;
        client.has_lines = !drained;
        match outcome {
            Outcome::NextTurn => self.queue_run(key),
            Outcome::Held => {
                client.queued.held = true;
                self.held.push_back(handle);
            }
            Outcome::Executed if drained && ended => {
                let lost = client.socket.deaf;
                self.leave(key, if lost { Reason::Lost } else { Reason::EndOfInput });
            }
            // If it was not drained, there was no room for a reply, until something is consumed.
            Outcome::Executed => self.queue_read(key),
        }
    }

    fn execute_line(&mut self, key: usize, id: u64, line: Line<'_>) -> Outcome {
        let report = self.rules.report_lines && line != Line::Blank;
        let mark = self.clients[key].outbox.mark();
        let seq = self.feed.newest_seq();
        let len = match line {
            Line::Text(text) => text.len(),
            Line::NotText(bytes) | Line::Incomplete(bytes) => bytes.len(),
            Line::Blank | Line::TooLong | Line::Foreign(_) => 0,
        };
        let outcome = self.dispatch(key, line);
        if outcome != Outcome::Executed {
            return outcome;
        }
        self.turn.work = self.turn.work.saturating_sub(LINE_COST + len);
        if line != Line::Blank {
            self.counters.lines_in += 1;
        }
        if report {
            let said = self.clients[key].outbox.bytes_since(mark);
            let last =
                said.strip_suffix(b"\n").unwrap_or(said).rsplit(|&byte| byte == b'\n').next();
            let answered = match last {
                Some([]) | None if self.feed.newest_seq() > seq => {
                    format!("broadcast {}", self.feed.newest_seq())
                }
                last => String::from_utf8_lossy(last.unwrap_or_default()).into_owned(),
            };
            self.lines.push_back(LineReport { id, received: describe(line), answered });
        }
        outcome
    }

    fn may_execute(&self, key: usize) -> bool {
        let client = &self.clients[key];
        client.is_inside() && self.has_reply_room(client)
    }

    /// Whether the reply to any one command fits into the client's outbox.
    pub(super) fn has_reply_room(&self, client: &Client) -> bool {
        let limits = &self.rules.limits;
        client.outbox.size() + limits.reply_room() <= limits.max_outbox
    }

    pub(super) fn queue_read(&mut self, key: usize) {
        let handle = self.handle(key);
        let client = &mut self.clients[key];
        if client.wants_input() && !client.queued.to_read {
            client.queued.to_read = true;
            self.to_read.push_back(handle);
        }
    }

    /// Puts the client in the queue for execution, if it has lines and room for a reply.
    pub(super) fn queue_run(&mut self, key: usize) {
        let may_execute = self.may_execute(key);
        let handle = self.handle(key);
        let client = &mut self.clients[key];
        if client.has_lines && may_execute && !client.queued.to_run && !client.queued.held {
            client.queued.to_run = true;
            self.to_run.push_back(handle);
        }
    }
}

/// What the log may say of a line.
fn describe(line: Line<'_>) -> String {
    use crate::protocol::{Command, CommandError};
    match line {
        Line::Text(text) => match Command::parse(text) {
            Ok(Command::Auth { .. }) => format!("auth, {} bytes in all", text.len()),
            Err(CommandError::Unknown) => format!("no command, {} bytes", text.len()),
            Ok(_) | Err(_) => text.to_owned(),
        },
        Line::NotText(bytes) => format!("not text, {} bytes", bytes.len()),
        Line::Incomplete(bytes) => format!("an incomplete line, {} bytes", bytes.len()),
        Line::TooLong => "too long a line".to_owned(),
        Line::Foreign(foreign) => format!("{}, which is not for us", foreign.as_str()),
        Line::Blank => String::new(),
    }
}
