//! Standard input as lines to broadcast.

use crate::client::connection::link::MAX_LINE;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::protocol::{Line, LineBuffer, validate_text};

/// The length of a request before its text, in bytes.
const REQUEST_OVERHEAD: usize = "broadcast ".len();

/// Standard input as numbered lines.
///
/// Input is read only while no complete line is buffered, which bounds memory.
pub(crate) struct Source {
    lines: LineBuffer,
    /// The maximum length of a text in bytes. `None` until the server has reported its limit; until
    /// then, no input is read.
    max_text: Option<usize>,
    /// The number of lines taken so far.
    pub(crate) taken: u64,
    /// The error that stopped reading, if there was one.
    pub(crate) stopped: Option<String>,
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

    /// Sets the server's maximum line length. Only the first call has an effect.
    pub(crate) fn set_max_line(&mut self, max_line: u64) {
        if self.max_text.is_none() {
            // The server is not trusted, so limit the memory that it can make this client use.
            let max_line = max_line.min(MAX_LINE as u64) as usize;
            let max_text = max_line.saturating_sub(REQUEST_OVERHEAD);
            self.max_text = Some(max_text);
            self.lines = LineBuffer::without_foreign_detection(max_text);
        }
    }

    /// Stops taking lines, for this reason.
    pub(crate) fn stop(&mut self, why: String) {
        self.stopped.get_or_insert(why);
    }

    /// Returns whether to read more input for the next line.
    pub(crate) fn wants_input(&mut self) -> bool {
        self.max_text.is_some()
            && self.stopped.is_none()
            && !self.lines.is_ended()
            && self.lines.peek().is_none()
    }

    /// Returns whether no more lines will be taken.
    pub(crate) fn is_exhausted(&mut self) -> bool {
        self.stopped.is_some() || (self.lines.is_ended() && self.lines.peek().is_none())
    }

    /// Reads available input until a line is buffered.
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

    /// Takes the next buffered line. Returns its number and text, or why it cannot be broadcast.
    pub(crate) fn next_line(&mut self) -> Option<Result<(u64, Box<str>), String>> {
        if self.stopped.is_some() {
            return None;
        }
        let line = self.lines.peek()?;
        self.taken += 1;
        let line = to_broadcast(line, self.max_text.unwrap_or_default())
            .map(|text| (self.taken, text.into()))
            .map_err(|why| format!("input line {} {why}", self.taken));
        self.lines.advance();
        Some(line)
    }
}

/// Returns the text of a line, or why it cannot be broadcast.
fn to_broadcast(line: Line<'_>, max_text: usize) -> Result<&str, String> {
    let text = match line {
        Line::Text(text) | Line::Blank(text) => Some(text),
        Line::Incomplete(line) => validate_text(line.strip_suffix(b"\r").unwrap_or(line)),
        Line::NotText(_) => None,
        Line::TooLong | Line::Foreign(_) => {
            return Err(format!("is longer than {max_text} bytes, the server's limit"));
        }
    };
    match text {
        Some("") => Err("is empty".to_owned()),
        Some(text) => Ok(text),
        None => Err("is not text: it has control characters or invalid UTF-8".to_owned()),
    }
}
