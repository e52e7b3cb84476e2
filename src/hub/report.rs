//! What the log may say of a line.

use crate::protocol::{Command, CommandError, Line, Reply};

use super::Hub;
use super::client::Stage;

/// A line that was executed, and what it was answered, for the log. Text as it came: not escaped.
#[derive(Debug, PartialEq, Eq)]
pub struct LineReport {
    /// Whose line it was.
    pub id: u64,
    /// The line, or what can be said of it: one that is no command may be a mistyped secret.
    pub received: String,
    /// The last line of the answer.
    pub answered: String,
}

/// What has to be known before a line is executed, to tell its answer afterwards.
pub(super) struct Before {
    mark: usize,
    seq: u64,
}

impl Hub {
    /// The next line that was executed, if the rules say to report them.
    pub fn poll_line(&mut self) -> Option<LineReport> {
        self.lines.pop_front()
    }

    pub(super) fn before_line(&self, key: usize) -> Before {
        Before { mark: self.clients[key].outbox.mark(), seq: self.feed.newest_seq() }
    }

    pub(super) fn report_line(&mut self, key: usize, line: Line<'_>, before: &Before) {
        if !self.rules.report_lines || matches!(line, Line::Blank(_)) {
            return;
        }
        let client = &self.clients[key];
        let replies = client.outbox.replies_since(before.mark);
        let answered = match client.stage {
            Stage::Leaving { reason, .. } => {
                reason.goodbye().map(|word| Reply::Goodbye(word).to_string()).unwrap_or_default()
            }
            Stage::Inside if replies.is_empty() && self.feed.newest_seq() > before.seq => {
                format!("broadcast {}", self.feed.newest_seq())
            }
            Stage::Inside => last_line(replies),
        };
        self.lines.push_back(LineReport { id: client.id, received: describe(line), answered });
    }
}

fn last_line(lines: &[u8]) -> String {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(last).into_owned()
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
