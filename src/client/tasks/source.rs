//! The input as lines to broadcast.
//!
//! Empty lines are skipped. Lines that are not text can be escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::client::connection::link::MAX_LINE;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::protocol::{Line, LineBuffer, validate_text};

/// The length of a request before its text, in bytes.
const REQUEST_OVERHEAD: usize = "broadcast ".len();

/// The input as numbered lines. They are counted across all files.
///
/// Input is read only while no complete line is buffered, which bounds memory.
pub(crate) struct Source {
    lines: LineBuffer,
    escape_bad: bool,
    /// The maximum length of a text in bytes. `None` until the server has reported its limit; until
    /// then, no input is read.
    max_text: Option<usize>,
    /// The number of lines taken so far.
    pub(crate) taken: u64,
    /// The error that stopped reading, if there was one.
    pub(crate) stopped: Option<String>,
}

impl Source {
    /// With `escape_bad`, control characters and invalid UTF-8 are escaped.
    pub(crate) fn new(escape_bad: bool) -> Self {
        Self {
            lines: LineBuffer::without_foreign_detection(0),
            escape_bad,
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

    /// Reads available input once, unless a line is buffered.
    pub(crate) fn fill(&mut self, session: &mut Session) {
        if self.wants_input() {
            match session.read_input() {
                Ok(0) if session.input_has_ended() => self.lines.end(),
                Ok(len) => self.lines.push(&session.buffer[..len]),
                Err(Failure::Error(why)) => self.stop(why),
                Err(_) => {}
            }
        }
    }

    /// Takes the next buffered line that is not empty. Returns its number and text, or why it cannot
    /// be broadcast.
    pub(crate) fn next_line(&mut self) -> Option<Result<(u64, Box<str>), String>> {
        let max_text = self.max_text.unwrap_or_default();
        while self.stopped.is_none() {
            let line = self.lines.peek()?;
            self.taken += 1;
            let text: Result<Box<str>, _> = to_text(line, max_text, self.escape_bad).map(Box::from);
            self.lines.advance();
            match text {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(Ok((self.taken, text))),
                Err(why) => return Some(Err(format!("input line {} {why}", self.taken))),
            }
        }
        None
    }
}

/// Returns the text of a line, or why it cannot be broadcast.
fn to_text(line: Line<'_>, max_text: usize, escape_bad: bool) -> Result<Cow<'_, str>, String> {
    let bytes = match line {
        Line::Text(text) | Line::Blank(text) => return Ok(text.into()),
        Line::Incomplete(line) => line.strip_suffix(b"\r").unwrap_or(line),
        Line::NotText(line) => line,
        Line::TooLong | Line::Telnet(_) | Line::Foreign(_) => {
            return Err(format!("is longer than {max_text} bytes, the server's limit"));
        }
    };
    match validate_text(bytes) {
        Some(text) => Ok(text.into()),
        None if escape_bad => {
            let text = escape(bytes);
            if text.len() > max_text {
                return Err(format!(
                    "is longer than {max_text} bytes, the server's limit, when it is escaped"
                ));
            }
            Ok(text.into())
        }
        None => Err("is not text: it has control characters or invalid UTF-8, which --escape-bad \
                     escapes"
            .to_owned()),
    }
}

/// Escapes control characters, line separators and invalid bytes, so that the result is text.
fn escape(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            match validate_text(c.encode_utf8(&mut [0; 4]).as_bytes()) {
                Some(c) => text.push_str(c),
                None => text.extend(c.escape_default()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of an input, for a server that allows texts of 24 bytes.
    fn lines(input: &[u8], escape_bad: bool) -> Vec<Result<(u64, String), String>> {
        let mut source = Source::new(escape_bad);
        source.set_max_line(24 + REQUEST_OVERHEAD as u64);
        source.lines.push(input);
        source.lines.end();
        let lines = std::iter::from_fn(|| source.next_line());
        let lines = lines.map(|line| line.map(|(number, text)| (number, text.into())));
        let lines = lines.collect();
        assert!(source.is_exhausted());
        lines
    }

    #[test]
    fn empty_lines_are_skipped_and_counted() {
        for input in [&b"\n\r\na\n\n \n\nb\r\n\n"[..], b"\n\na\n\r\n \n\nb"] {
            let expected = [(3, "a"), (5, " "), (7, "b")];
            let expected = expected.map(|(number, text)| Ok((number, text.to_owned())));
            assert_eq!(lines(input, false), expected, "{input:?}");
        }
        for input in [&b""[..], b"\n", b"\r", b"\n\n\r\n", b"\n\r"] {
            assert_eq!(lines(input, false), [], "{input:?}");
        }
    }

    #[test]
    fn control_characters_and_invalid_bytes_are_escaped() {
        for (line, expected) in [
            (&b"\x1b[31mred\x1b[0m"[..], "\\u{1b}[31mred\\u{1b}[0m"),
            (b"10%\r20%\r", "10%\\r20%"),
            (b"a\tb\0", "a\tb\\u{0}"),
            (b"\x7f\xc2\x9b", "\\u{7f}\\u{9b}"),
            (b"\xe2\x80\xa8", "\\u{2028}"),
            (b"\xff caf\xe9", "\\xff caf\\xe9"),
            (b"\xe2\x82", "\\xe2\\x82"),
            ("\u{1b}é 你".as_bytes(), "\\u{1b}é 你"),
            (b"C:\\x", "C:\\x"),
        ] {
            for end in [&b""[..], b"\n", b"\r\n"] {
                let input = [line.strip_suffix(b"\r").unwrap_or(line), end].concat();
                assert_eq!(lines(&input, true), [Ok((1, expected.to_owned()))], "{input:?}");
            }
            assert!(validate_text(expected.as_bytes()).is_some());
        }
    }

    #[test]
    fn escaped_bytes_are_always_text() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for line in [&[first, second][..], &[0xe2, first, second], &[0xf4, first, second]] {
                    let escaped = escape(line);
                    assert_eq!(validate_text(escaped.as_bytes()), Some(&*escaped), "{line:?}");
                    if let Some(text) = validate_text(line) {
                        assert_eq!(escaped, text);
                    }
                }
            }
        }
    }

    #[test]
    fn line_that_is_too_long_when_escaped_is_bad() {
        assert_eq!(lines(&[0xff; 6], true), [Ok((1, "\\xff".repeat(6)))]);
        let error = "input line 2 is longer than 24 bytes, the server's limit, when it is escaped";
        assert_eq!(lines(b"\n\xff\xff\xff\xff\xff\xffx", true), [Err(error.to_owned())]);
        let error = "input line 1 is longer than 24 bytes, the server's limit";
        assert_eq!(lines(&[b'x'; 25], true), [Err(error.to_owned())]);
    }
}
