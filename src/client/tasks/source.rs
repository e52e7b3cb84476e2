//! Standard input, as lines to broadcast.

use crate::client::connection::link::MAX_LINE;
use crate::client::{Failure, Session};
use crate::protocol::{Line, LineBuffer, validate_text};

/// What a request puts before the text.
const REQUEST_OVERHEAD: usize = "broadcast ".len();

/// Where the lines come from.
///
/// No more is read as long as a line is there to be taken, so that what is held is bounded.
pub(crate) struct Source {
    lines: LineBuffer,
    /// The longest text that the server takes, in bytes; not known before it was asked.
    max_text: Option<usize>,
    /// How many lines were taken.
    taken: u64,
    /// Why no more will be taken, if that is not its end.
    stopped: Option<String>,
}

/// A line that was taken.
pub(crate) enum Taken<'a> {
    /// It can be sent.
    Text(u64, &'a str),
    /// It cannot, and what is wrong with it.
    Bad(String),
}

impl Source {
    pub(crate) fn new() -> Self {
        Self {
            lines: LineBuffer::without_foreign_detection(0),
            max_text: None,
            taken: 0,
            stopped: None,
        }
    }

    /// Takes note of the longest line that the server takes, if that is not known yet.
    pub(crate) fn limit(&mut self, max_line: u64) {
        if self.max_text.is_none() {
            // A server is not trusted to say how much is to be kept here.
            let max_line = max_line.min(MAX_LINE as u64) as usize;
            let max_text = max_line.saturating_sub(REQUEST_OVERHEAD);
            self.max_text = Some(max_text);
            self.lines = LineBuffer::without_foreign_detection(max_text);
        }
    }

    /// Takes no more, for this reason.
    pub(crate) fn stop(&mut self, why: String) {
        self.stopped.get_or_insert(why);
    }

    /// Why it takes no more.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Whether there is something to be read.
    pub(crate) fn wants_input(&mut self) -> bool {
        self.max_text.is_some()
            && self.stopped.is_none()
            && !self.lines.is_ended()
            && self.lines.peek().is_none()
    }

    /// Whether no more lines will come of it.
    pub(crate) fn is_used_up(&mut self) -> bool {
        self.stopped.is_some() || (self.lines.is_ended() && self.lines.peek().is_none())
    }

    /// Reads, as far as there is something to read, until there is a line.
    pub(crate) fn fill(&mut self, session: &mut Session) {
        while self.wants_input() {
            match session.read_input() {
                Ok(0) if session.input_has_ended() => self.lines.end(),
                Ok(0) => return,
                Ok(len) => self.lines.push(&session.buffer[..len]),
                Err(Failure::Error(why)) => return self.stop(why),
                Err(_) => return,
            }
        }
    }

    /// The next line, if there is one.
    pub(crate) fn take<T>(&mut self, take: impl FnOnce(Taken<'_>) -> T) -> Option<T> {
        if self.stopped.is_some() {
            return None;
        }
        let line = self.lines.peek()?;
        self.taken += 1;
        let taken = match as_broadcast(line, self.max_text.unwrap_or_default()) {
            Ok(text) => Taken::Text(self.taken, text),
            Err(what) => Taken::Bad(format!("line {} of the input {what}", self.taken)),
        };
        let result = take(taken);
        self.lines.advance();
        Some(result)
    }

    /// Whether anything was taken.
    pub(crate) fn is_begun(&self) -> bool {
        self.taken > 0
    }
}

/// The text of a line that can be broadcast, or what keeps it from that.
fn as_broadcast(line: Line<'_>, max_text: usize) -> Result<&str, String> {
    let text = match line {
        Line::Text(text) | Line::Blank(text) => text,
        Line::Incomplete(line) => match validate_text(line.strip_suffix(b"\r").unwrap_or(line)) {
            Some(text) => text,
            None => return as_broadcast(Line::NotText(line), max_text),
        },
        Line::NotText(_) => {
            return Err("is not text: it is not UTF-8, or has control characters".to_owned());
        }
        Line::TooLong | Line::Foreign(_) => {
            return Err(format!("is longer than {max_text} bytes, which is what the server takes"));
        }
    };
    if text.is_empty() {
        return Err("is empty, which no broadcast can be".to_owned());
    }
    Ok(text)
}
