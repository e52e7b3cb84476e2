//! What the log may say of a line.

use crate::protocol::{Command, CommandError, CommandSpec, Line, Reply};

use super::Hub;
use super::access::Role;
use super::client::{Reason, Stage};

/// Something for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A line was executed.
    Line(LineTrace),
    /// A client has shown the secret for a role.
    Authenticated {
        /// Which client.
        id: u64,
        /// What it is now.
        role: Role,
    },
    /// A client has tried a secret that is none.
    WrongSecret {
        /// Which client.
        id: u64,
        /// How often it has done so.
        tries: u8,
    },
    /// A client leaves: from here on it is said nothing new, and not listened to. When it is gone, there
    /// is a [`Disconnect`](super::Disconnect). (One that is lapped on its way leaves once more.)
    Leaves {
        /// Which client.
        id: u64,
        /// Why.
        reason: Reason,
    },
    /// A client misses lines, for the first time.
    Lagged {
        /// Which client.
        id: u64,
        /// How many lines.
        lines: u64,
    },
    /// Broadcasts wait. This is not said again for a while.
    Held {
        /// How many clients are waited for.
        clients: usize,
        /// One of them.
        id: u64,
    },
    /// A client says more than it may, for the first time; it is read on later.
    Throttled {
        /// Which client.
        id: u64,
    },
}

/// A line that was executed, and what it was answered, for the log. Text as it came: not escaped.
#[derive(Debug, PartialEq, Eq)]
pub struct LineTrace {
    /// Whose line it was.
    pub id: u64,
    /// The line, or what can be said of it: one that is no command may be a mistyped secret, and so
    /// may all that a client says which was not let in.
    pub received: String,
    /// The last line of the answer, without what it repeats of what such a client has said.
    pub answered: String,
}

/// What has to be known before a line is executed, to tell its answer afterwards.
pub(super) struct Before {
    mark: usize,
    seq: u64,
    is_inside: bool,
}

impl Hub {
    /// The next thing for the log. Lines are among them if the rules say so.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.reports.pop_front()
    }

    pub(super) fn before_line(&self, key: usize) -> Before {
        let client = &self.clients[key];
        let is_inside = client.is_inside();
        Before { mark: client.outbox.mark(), seq: self.feed.newest_seq(), is_inside }
    }

    pub(super) fn report_line(&mut self, key: usize, line: Line<'_>, before: &Before) {
        if !self.rules.trace_lines || matches!(line, Line::Blank(_)) {
            return;
        }
        let client = &self.clients[key];
        let replies = client.outbox.replies_since(before.mark);
        let answered = match client.stage {
            Stage::Leaving { reason, .. } => {
                reason.goodbye().map(|word| Reply::Goodbye(word).to_string()).unwrap_or_default()
            }
            _ if replies.is_empty() && self.feed.newest_seq() > before.seq => {
                format!("broadcast {}", self.feed.newest_seq())
            }
            _ if before.is_inside => last_line(replies),
            _ => without_echo(last_line(replies)),
        };
        let received = if before.is_inside { describe(line) } else { describe_outside(line) };
        self.reports.push_back(Event::Line(LineTrace { id: client.id, received, answered }));
    }
}

fn last_line(lines: &[u8]) -> String {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(last).into_owned()
}

/// A line of the server's, without what it repeats of the client's: only a `pong` does.
fn without_echo(line: String) -> String {
    if line.starts_with("pong ") { "pong".to_owned() } else { line }
}

fn first_word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// The same for a client that is outside: of a line that may be a secret, only the command.
fn describe_outside(line: Line<'_>) -> String {
    match line {
        Line::Text(text) => match CommandSpec::find(first_word(text)) {
            Some(spec) => format!("{}, {} bytes in all", spec.name, text.len()),
            None => format!("no command, {} bytes", text.len()),
        },
        line => describe(line),
    }
}

fn describe(line: Line<'_>) -> String {
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
        Line::Blank(_) => String::new(),
    }
}
