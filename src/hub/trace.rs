//! Tracing: reports each executed line, redacted, with its reply.

use crate::protocol::{CommandSpec, Line};

use super::Hub;
use super::event::{Event, LineTrace};
use super::registry::client::Stage;

/// The state before a line is executed: it separates the line's reply from earlier output.
pub(super) struct Before {
    mark: usize,
    seq: u64,
    is_active: bool,
}

impl Hub {
    pub(super) fn before_line(&self, key: usize) -> Before {
        let client = &self.clients[key];
        let (mark, seq) = (client.outbox.mark(), self.channel.feed.newest_seq());
        Before { mark, seq, is_active: client.is_active() }
    }

    pub(super) fn trace_line(&mut self, key: usize, line: Line<'_>, before: &Before) {
        if !self.config.trace_lines || matches!(line, Line::Blank(_)) {
            return;
        }
        let client = &self.clients[key];
        let replies = client.outbox.replies_since(before.mark);
        let answered = match client.stage {
            Stage::Closing { reason, .. } => {
                reason.goodbye().map(|word| format!("goodbye {word}")).unwrap_or_default()
            }
            _ if replies.is_empty() && self.channel.feed.newest_seq() > before.seq => {
                format!("broadcast {}", self.channel.feed.newest_seq())
            }
            // A pong repeats the client's own text, which may be a mistyped secret.
            _ if !before.is_active && replies.starts_with(b"pong ") => "pong".to_owned(),
            _ => last_line(replies),
        };
        let received = describe(line, before.is_active);
        self.events.push_back(Event::Line(LineTrace { id: client.id, received, answered }));
    }
}

fn last_line(lines: &[u8]) -> String {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(last).into_owned()
}

/// Describes the line: in full, or only its command and length if it may contain a secret.
fn describe(line: Line<'_>, is_active: bool) -> String {
    match line {
        Line::Text(text) => match CommandSpec::of_line(text) {
            Some(spec) if is_active && spec.name != "auth" => text.to_owned(),
            Some(spec) => format!("{} ({} bytes)", spec.name, text.len()),
            None => format!("unknown command ({} bytes)", text.len()),
        },
        Line::NotText(bytes) => format!("not text ({} bytes)", bytes.len()),
        Line::Incomplete(bytes) => format!("incomplete line ({} bytes)", bytes.len()),
        Line::TooLong => "line too long".to_owned(),
        Line::Foreign(foreign) => format!("{} (foreign protocol)", foreign.as_str()),
        Line::Blank(_) => String::new(),
    }
}
