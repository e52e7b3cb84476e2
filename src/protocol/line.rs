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
    /// A line that has just exceeded the limit. The rest of it will be discarded.
    TooLong,
    /// A partial line at the end of input, with its CR if it ends with one. Never blank.
    Incomplete(&'a [u8]),
    /// The connection speaks another protocol. No line follows.
    Foreign(ForeignProtocol),
}

/// How many bytes of an over-long line are kept while it is discarded: enough to see whether it
/// ends with an HTTP version and a CR.
const DISCARD_TAIL: usize = foreign::HTTP_VERSION_LEN + 1;

/// Splits input into lines. How the input was split into packets makes no difference.
///
/// Call [`push`](Self::push) with the bytes that were read, and [`end`](Self::end) at the end of
/// input. Then [`peek`](Self::peek) at the next line and [`advance`](Self::advance) once it is
/// handled, until `peek` returns `None`. A line that cannot be handled yet stays in the buffer.
///
/// **Invariants**
/// - `start <= scanned <= bytes.len()`, and `bytes[start..scanned]` contains no LF.
/// - Once `peek` has returned `None`, the buffer contains at most `max_line + 1` bytes, or
///   `DISCARD_TAIL` if that is more, in about twice as much memory at most. Between two lines it
///   uses no memory.
#[derive(Debug)]
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
    /// Discarded bytes of over-long lines that `take_discarded_lines` has not counted yet.
    discarded: usize,
    /// Whether to check for other protocols.
    detect_foreign: bool,
    /// All lines so far were blank, so the next one may still be an HTTP request line. Never set
    /// without `detect_foreign`.
    expects_first_line: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line, or inside one that does not exceed the limit so far.
    Reading,
    /// Inside an over-long line. If `may_be_http`, its end decides whether the connection is HTTP.
    Discarding { may_be_http: bool },
    /// The connection speaks another protocol. All further input is discarded.
    Foreign,
}

/// A line in the buffer: what it is, where its content ends, and where the next line starts.
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
        Self {
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
            peeked: None,
            max_line,
            state: State::Reading,
            discarded: 0,
            detect_foreign: true,
            expects_first_line: true,
            ended: false,
        }
    }

    /// Creates a buffer that never returns [`Line::Foreign`]: for a server's replies, and for local
    /// input.
    pub fn without_foreign_detection(max_line: usize) -> Self {
        Self { detect_foreign: false, expects_first_line: false, ..Self::new(max_line) }
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

    /// Whether [`end`](Self::end) was called.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The number of bytes in the buffer: lines not handled yet, and a partial line.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// How much of over-long lines was discarded since the last call, in lines of the maximum
    /// length. The remainder carries over to the next call.
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
                    self.discard_to(self.bytes.len().saturating_sub(DISCARD_TAIL));
                    if self.ended {
                        self.skip_to(self.bytes.len());
                    }
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
        match self.find_lf() {
            Some(lf) => Some(self.complete_line(lf)),
            None => self.partial_line(),
        }
    }

    /// Classifies the line that ends with the LF at `lf`.
    fn complete_line(&self, lf: usize) -> NextLine {
        let line = self.content(lf);
        if line.len() > self.max_line {
            return self.too_long_line();
        }
        if self.is_http(line) {
            return self.foreign(ForeignProtocol::Http);
        }
        let kind = if is_blank(line) { Kind::Blank } else { Kind::Complete };
        NextLine { kind, end: self.start + line.len(), next_start: lf + 1 }
    }

    /// Classifies a line without an LF. Returns `None` if more input is needed.
    fn partial_line(&self) -> Option<NextLine> {
        let end = self.bytes.len();
        let line = &self.bytes[self.start..];
        // A CR just beyond the limit may belong to the line end: the next byte decides.
        let is_undecided = line.len() == self.max_line + 1 && line.last() == Some(&b'\r');
        if line.len() > self.max_line && !is_undecided {
            return Some(self.too_long_line());
        }
        if !self.ended || line.is_empty() {
            return None;
        }
        if self.is_http(self.content(end)) {
            return Some(self.foreign(ForeignProtocol::Http));
        }
        let kind = if is_blank(line) { Kind::Blank } else { Kind::Incomplete };
        Some(NextLine { kind, end, next_start: end })
    }

    /// Classifies a line that exceeds the limit, by its first `max_line + 1` bytes only: how much
    /// of it has arrived makes no difference.
    fn too_long_line(&self) -> NextLine {
        let beginning = &self.bytes[self.start..=self.start + self.max_line];
        let is_http = (self.expects_first_line && foreign::starts_with_http_method(beginning))
            || (self.detect_foreign && foreign::is_host_header(beginning));
        if is_http {
            return self.foreign(ForeignProtocol::Http);
        }
        let may_be_http = self.expects_first_line && !foreign::starts_with_command(beginning);
        let kind = Kind::TooLong { may_be_http };
        NextLine { kind, end: self.start, next_start: self.start }
    }

    fn foreign(&self, protocol: ForeignProtocol) -> NextLine {
        let next_start = self.bytes.len();
        NextLine { kind: Kind::Foreign(protocol), end: self.start, next_start }
    }

    fn is_http(&self, line: &[u8]) -> bool {
        let is_request_line = || {
            foreign::starts_with_http_method(line)
                || (foreign::ends_with_http_version(line) && !foreign::starts_with_command(line))
        };
        (self.detect_foreign && foreign::is_host_header(line))
            || (self.expects_first_line && is_request_line())
    }

    fn find_lf(&mut self) -> Option<usize> {
        let lf = memchr(b'\n', &self.bytes[self.scanned..]).map(|offset| self.scanned + offset);
        self.scanned = lf.unwrap_or(self.bytes.len());
        lf
    }

    /// The line up to `end`, without the CR that may belong to its line end.
    fn content(&self, end: usize) -> &[u8] {
        let line = &self.bytes[self.start..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Discards the bytes of an over-long line before `position`, and counts them.
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

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t'))
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
