//! Splits a connection's input into lines, in bounded memory.

use memchr::memchr;

use super::foreign::{self, ForeignProtocol};
use super::text::validate_text;

/// The next line of the input, or what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line of text, without its line end. Never blank.
    Text(&'a str),
    /// An empty line, or one of spaces and tabs only.
    Blank(&'a str),
    /// A line that is not text; see [`validate_text`].
    NotText(&'a [u8]),
    /// A line that has just exceeded the maximum length. The rest of it will be discarded.
    TooLong,
    /// A partial line at the end of input, with its CR if it ends with one. Never blank.
    Incomplete(&'a [u8]),
    /// The connection speaks another protocol. No line follows.
    Foreign(ForeignProtocol),
}

/// The number of bytes of an overlong line that are kept while it is discarded: enough to detect an
/// HTTP version and a CR at its end.
const DISCARD_TAIL: usize = foreign::HTTP_VERSION_LEN + 1;

/// Splits input into lines. The result does not depend on how packets split the input.
///
/// Call [`push`](Self::push) with the bytes that were read, and [`end`](Self::end) at the end of
/// input. Then [`peek`](Self::peek) at the next line and [`advance`](Self::advance) once it is
/// handled, until `peek` returns `None`. A line that cannot be handled yet stays in the buffer.
///
/// **Invariants**
/// - `start <= scanned <= bytes.len()`, and `bytes[start..scanned]` contains no LF.
/// - Once `peek` has returned `None`, the buffer contains at most `max_line + 1` bytes, or
///   `DISCARD_TAIL` if that is more, and uses at most about twice as much memory. It uses none
///   while there is no partial line.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line starts.
    start: usize,
    /// Where the search for the next LF continues.
    scanned: usize,
    /// The line that `peek` returned, until `advance`.
    peeked: Option<NextLine>,
    max_line: usize,
    state: State,
    /// Discarded bytes of overlong lines that `take_discarded_lines` has not counted yet.
    discarded: usize,
    /// Whether to check for other protocols.
    detect_foreign: bool,
    /// Set while every line so far was blank, so that the next one may be an HTTP request line.
    /// Never set without `detect_foreign`.
    expects_first_line: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the start of a line, or inside one within the maximum length so far.
    #[default]
    Reading,
    /// Inside an overlong line. If `may_be_http`, its end decides whether the connection is HTTP.
    Discarding { may_be_http: bool },
    /// The connection speaks another protocol. All further input is discarded.
    Foreign,
}

/// A line in the buffer: its kind, the end of its content, and the start of the next line.
#[derive(Clone, Copy, Debug)]
struct NextLine {
    kind: Kind,
    end: usize,
    next_start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Complete,
    Blank,
    TooLong { may_be_http: bool },
    Incomplete,
    Foreign(ForeignProtocol),
}

impl LineBuffer {
    /// Creates the buffer of a new connection. `max_line` is the maximum length of a line in bytes,
    /// not counting its line end.
    pub fn new(max_line: usize) -> Self {
        Self { max_line, detect_foreign: true, expects_first_line: true, ..Self::default() }
    }

    /// Creates a buffer that never returns [`Line::Foreign`]: for a server's replies, and for local
    /// input.
    pub fn without_foreign_detection(max_line: usize) -> Self {
        Self { max_line, ..Self::default() }
    }

    /// Appends input. The caller limits its size, and calls this only after `peek` has returned
    /// `None`.
    pub fn push(&mut self, input: &[u8]) {
        debug_assert!(!self.ended, "input after the end of input");
        self.bytes.extend_from_slice(input);
    }

    /// Marks the end of input.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Returns whether [`end`](Self::end) was called.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The number of bytes in the buffer: unhandled lines, and a partial line.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Returns how much input was discarded from overlong lines since the last call, in lines of
    /// the maximum length. The remainder carries over to the next call.
    pub fn take_discarded_lines(&mut self) -> usize {
        let max_line = self.max_line.max(1);
        let lines = self.discarded / max_line;
        self.discarded %= max_line;
        lines
    }

    /// Returns the next line. It remains the next line until [`advance`](Self::advance).
    pub fn peek(&mut self) -> Option<Line<'_>> {
        self.peeked = self.find_next();
        let Some(next) = self.peeked else {
            self.release_memory();
            return None;
        };
        let line = &self.bytes[self.start..next.end];
        Some(match next.kind {
            Kind::Complete => validate_text(line).map_or(Line::NotText(line), Line::Text),
            Kind::Blank => Line::Blank(validate_text(line).unwrap_or_default()),
            Kind::TooLong { .. } => Line::TooLong,
            Kind::Incomplete => Line::Incomplete(line),
            Kind::Foreign(protocol) => Line::Foreign(protocol),
        })
    }

    /// Overwrites the line that [`peek`](Self::peek) returned, because it contains a secret. Call
    /// [`advance`](Self::advance) next.
    pub fn wipe(&mut self) {
        if let Some(next) = self.peeked {
            self.bytes[self.start..next.end].fill(0);
        }
    }

    /// Moves past the line that [`peek`](Self::peek) returned.
    pub fn advance(&mut self) {
        if let Some(next) = self.peeked.take() {
            self.skip_to(next.next_start);
            self.state = match next.kind {
                Kind::Complete | Kind::Blank | Kind::Incomplete => State::Reading,
                Kind::TooLong { may_be_http } => State::Discarding { may_be_http },
                Kind::Foreign(_) => State::Foreign,
            };
            self.expects_first_line &= next.kind == Kind::Blank;
        }
    }

    fn find_next(&mut self) -> Option<NextLine> {
        match self.state {
            State::Reading => {}
            State::Discarding { may_be_http } => {
                let Some(lf) = self.find_lf() else {
                    let kept = if self.ended { 0 } else { DISCARD_TAIL };
                    self.discard_to(self.bytes.len().saturating_sub(kept));
                    return None;
                };
                if may_be_http && foreign::ends_with_http_version(self.content(lf)) {
                    return Some(self.foreign(ForeignProtocol::Http));
                }
                self.discard_to(lf + 1);
                self.state = State::Reading;
            }
            State::Foreign => {
                self.skip_to(self.bytes.len());
                return None;
            }
        }
        if self.expects_first_line && self.bytes.get(self.start) == Some(&foreign::TLS_HANDSHAKE) {
            return Some(self.foreign(ForeignProtocol::Tls));
        }
        let lf = self.find_lf();
        self.classify(lf)
    }

    /// Classifies the next line, which ends with the LF at `lf` or is partial. Returns `None` if
    /// more input is needed.
    fn classify(&self, lf: Option<usize>) -> Option<NextLine> {
        let end = lf.unwrap_or(self.bytes.len());
        // A CR at the end may belong to the line end, even if the LF has not arrived yet.
        let line = self.content(end);
        let is_too_long = line.len() > self.max_line;
        let needs_more = lf.is_none() && (!self.ended || end == self.start);
        if needs_more && !is_too_long {
            return None;
        }
        // Only the start of an overlong line is classified, because the result must not depend on
        // how much of the line has arrived.
        let beginning = &line[..line.len().min(self.max_line + 1)];
        let may_be_http = self.expects_first_line && !foreign::starts_with_command(beginning);
        let is_http = (self.detect_foreign && foreign::is_host_header(beginning))
            || (self.expects_first_line && foreign::starts_with_http_method(beginning))
            || (may_be_http && !is_too_long && foreign::ends_with_http_version(line));
        if is_http {
            return Some(self.foreign(ForeignProtocol::Http));
        }
        if is_too_long {
            let kind = Kind::TooLong { may_be_http };
            return Some(NextLine { kind, end: self.start, next_start: self.start });
        }
        let (kind, end, next_start) = match lf {
            Some(lf) => (Kind::Complete, self.start + line.len(), lf + 1),
            None => (Kind::Incomplete, end, end),
        };
        let is_blank = self.bytes[self.start..end].iter().all(|byte| matches!(byte, b' ' | b'\t'));
        Some(NextLine { kind: if is_blank { Kind::Blank } else { kind }, end, next_start })
    }

    fn foreign(&self, protocol: ForeignProtocol) -> NextLine {
        let next_start = self.bytes.len();
        NextLine { kind: Kind::Foreign(protocol), end: self.start, next_start }
    }

    fn find_lf(&mut self) -> Option<usize> {
        let lf = memchr(b'\n', &self.bytes[self.scanned..]).map(|offset| self.scanned + offset);
        self.scanned = lf.unwrap_or(self.bytes.len());
        lf
    }

    /// The line up to `end`, without a final CR, which may belong to the line end.
    fn content(&self, end: usize) -> &[u8] {
        let line = &self.bytes[self.start..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Discards the bytes of an overlong line before `position`, and counts them.
    fn discard_to(&mut self, position: usize) {
        if position > self.start {
            self.discarded += position - self.start;
            self.skip_to(position);
        }
    }

    fn skip_to(&mut self, position: usize) {
        self.start = position;
        self.scanned = self.scanned.max(position);
    }

    /// Frees the memory that the partial line does not need.
    fn release_memory(&mut self) {
        self.bytes.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.bytes.capacity() > 2 * self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_keeps_memory_only_for_the_partial_line() {
        let mut buffer = LineBuffer::new(10_000);
        assert_eq!(buffer.buffered_bytes(), 0);
        buffer.push(&[&b"ping\n".repeat(1000)[..], b"half"].concat());
        assert_eq!(buffer.buffered_bytes(), 5004);
        assert_eq!(buffer.peek(), Some(Line::Text("ping")));
        buffer.advance();
        assert_eq!(buffer.buffered_bytes(), 4999);
        while buffer.peek().is_some() {
            buffer.advance();
        }
        assert_eq!(buffer.buffered_bytes(), 4);
        assert_eq!(buffer.bytes.capacity(), 4);
        buffer.push(b"\n");
        assert_eq!(buffer.peek(), Some(Line::Text("half")));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn buffer_shrinks_when_less_than_half_is_used() {
        for (len, capacity) in [(600, 1200), (599, 599)] {
            let mut buffer = LineBuffer::new(10_000);
            buffer.bytes.reserve_exact(1200);
            buffer.push(&vec![b'x'; len]);
            assert_eq!(buffer.peek(), None);
            assert_eq!(buffer.bytes.capacity(), capacity, "with {len} bytes");
        }
    }

    #[test]
    fn discarded_bytes_are_counted_once_in_lines_of_max_length() {
        let mut buffer = LineBuffer::new(10);
        buffer.push(&[b'x'; 26]);
        assert_eq!(buffer.peek(), Some(Line::TooLong));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        let discarded = 26 - DISCARD_TAIL;
        assert_eq!(
            (discarded / 10, buffer.take_discarded_lines(), buffer.take_discarded_lines()),
            (1, 1, 0)
        );
        buffer.push(&[b'x'; 10]);
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.take_discarded_lines(), 1, "the remainder carries over");
        buffer.push(&[b'x'; 4]);
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.take_discarded_lines(), (discarded % 10 + 4) / 10);

        let mut buffer = LineBuffer::new(10);
        buffer.push(b"a line of nineteen.\n");
        assert_eq!(buffer.peek(), Some(Line::TooLong));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.take_discarded_lines(), 2, "the LF counts, too");
    }

    #[test]
    fn wiped_line_is_erased_from_the_buffer() {
        let mut buffer = LineBuffer::new(100);
        buffer.push(b"ping\nauth sesame\nping\n");
        for expected in ["ping", "auth sesame", "ping"] {
            assert_eq!(buffer.peek(), Some(Line::Text(expected)));
            if expected.starts_with("auth ") {
                buffer.wipe();
            }
            buffer.advance();
        }
        assert!(!buffer.bytes.windows(6).any(|bytes| bytes == b"sesame"));
        assert!(buffer.bytes.starts_with(b"ping\n"));
    }
}
