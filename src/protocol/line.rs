//! Bytes in, lines out, bounded.

use memchr::memchr;

use super::foreign::{self, ForeignProtocol};
use super::text::validate_text;

/// What the next stretch of input turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line of text, without its line end. Never blank.
    Text(&'a str),
    /// A line that is empty or all spaces and tabs.
    Blank(&'a str),
    /// A line that is not text.
    NotText(&'a [u8]),
    /// A line that has just crossed the limit. What is left of it will be dropped.
    TooLong,
    /// What stood without an LF at the end of input.
    Incomplete(&'a [u8]),
    /// The connection is not ours. Nothing comes after it.
    Foreign(ForeignProtocol),
}

/// Cuts a connection's input into lines, whatever the packets it came in.
///
/// Call [`push`](Self::push) with what was read and [`end`](Self::end) at the end of input; then
/// [`peek`](Self::peek) at the next line and [`advance`](Self::advance) once it is dealt with,
/// until there is none. A line that cannot be dealt with yet just stays.
///
/// **Invariants**
/// - `start <= scanned <= bytes.len()`, and there is no LF in `bytes[start..scanned]`.
/// - Once `peek` has returned `None`, at most `max_line + 1` bytes are kept (and never fewer than it
///   takes to see how a line ends, while one is dropped), in no more than about twice as much memory,
///   and in none at all between two lines.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is no LF.
    scanned: usize,
    /// The line that `peek` has shown.
    peeked: Option<Found>,
    max_line: usize,
    state: State,
    /// Bytes of over-long lines that were dropped, and not counted yet.
    dropped: usize,
    /// Lines of other protocols may come.
    is_open_to_all: bool,
    /// No line but blank ones has come yet.
    first: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a line, or inside one that fits.
    Reading,
    /// Inside a line that was too long. Its end may still show that the connection speaks HTTP.
    Discarding { may_be_http: bool },
    /// Not ours: all that comes is dropped.
    Closed,
}

/// A line in the buffer: what it is, where its content ends, and from where to go on.
#[derive(Clone, Copy, Debug)]
struct Found {
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
    /// A buffer for a new connection; `max_line` is the longest line in bytes, its line end not
    /// counted.
    pub fn new(max_line: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
            peeked: None,
            max_line,
            state: State::Reading,
            dropped: 0,
            is_open_to_all: true,
            first: true,
            ended: false,
        }
    }

    /// The same for input that cannot be of another protocol, so that no line of it is
    /// [`Foreign`](Line::Foreign).
    pub fn for_ours(max_line: usize) -> Self {
        Self { is_open_to_all: false, first: false, ..Self::new(max_line) }
    }

    /// Takes what was read. The caller bounds how much that is, and pushes only when there was no
    /// line left to deal with.
    pub fn push(&mut self, input: &[u8]) {
        debug_assert!(!self.ended, "nothing comes after the end of input");
        self.bytes.extend_from_slice(input);
    }

    /// Notes the end of input.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the end of input was noted.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes wait here for the rest of their line, or to be dealt with.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// As how many lines of the greatest length the dropped bytes of over-long lines count that were
    /// not counted before.
    pub fn count_dropped_lines(&mut self) -> usize {
        let lines = self.dropped / self.max_line.max(1);
        self.dropped %= self.max_line.max(1);
        lines
    }

    /// The next line, which stays the next one until [`advance`](Self::advance).
    pub fn peek(&mut self) -> Option<Line<'_>> {
        let found = self.find();
        self.peeked = found;
        let Some(found) = found else {
            self.release();
            return None;
        };
        let line = &self.bytes[self.start..found.end];
        Some(match found.kind {
            Kind::Complete => validate_text(line).map_or(Line::NotText(line), Line::Text),
            Kind::Blank => Line::Blank(validate_text(line).unwrap_or_default()),
            Kind::TooLong { .. } => Line::TooLong,
            Kind::Incomplete => Line::Incomplete(line),
            Kind::Foreign(foreign) => Line::Foreign(foreign),
        })
    }

    /// Overwrites the line that [`peek`](Self::peek) has shown, which has a secret in it and is to be
    /// passed over next.
    pub fn wipe(&mut self) {
        if let Some(found) = self.peeked {
            self.bytes[self.start..found.end].fill(0);
        }
    }

    /// Passes over the line that [`peek`](Self::peek) has shown.
    pub fn advance(&mut self) {
        if let Some(found) = self.peeked.take() {
            self.start = found.next_start;
            self.scanned = self.scanned.max(self.start);
            self.state = match found.kind {
                Kind::Complete | Kind::Blank | Kind::Incomplete => State::Reading,
                Kind::TooLong { may_be_http } => State::Discarding { may_be_http },
                Kind::Foreign(_) => State::Closed,
            };
            self.first &= found.kind == Kind::Blank;
        }
    }

    fn find(&mut self) -> Option<Found> {
        if self.state == State::Closed {
            self.skip_to(self.bytes.len());
            return None;
        }
        if let State::Discarding { may_be_http } = self.state {
            let lf = self.find_lf();
            let end = lf.unwrap_or(self.bytes.len());
            if may_be_http && lf.is_some() && foreign::ends_like_http(self.content(end)) {
                return Some(self.foreign(ForeignProtocol::Http));
            }
            let Some(lf) = lf else {
                // As much as it takes to tell how the line ends: the version, and a CR.
                let tail = foreign::HTTP_VERSION_LEN + 1;
                self.drop_to(self.bytes.len().saturating_sub(tail));
                if self.ended {
                    self.skip_to(self.bytes.len());
                }
                return None;
            };
            self.drop_to(lf + 1);
            self.skip_to(lf + 1);
            self.state = State::Reading;
        }
        if self.first && self.bytes.get(self.start) == Some(&foreign::TLS_HANDSHAKE) {
            return Some(self.foreign(ForeignProtocol::Tls));
        }
        match self.find_lf() {
            Some(lf) => Some(self.complete(lf)),
            None => self.unfinished(),
        }
    }

    /// The line whose LF is at `lf`.
    fn complete(&self, lf: usize) -> Found {
        let line = self.content(lf);
        if line.len() > self.max_line {
            return self.crossed();
        }
        if self.is_http(line) {
            return self.foreign(ForeignProtocol::Http);
        }
        let kind = if is_blank(line) { Kind::Blank } else { Kind::Complete };
        Found { kind, end: self.start + line.len(), next_start: lf + 1 }
    }

    /// What can be said of a line whose LF has not come.
    fn unfinished(&self) -> Option<Found> {
        let end = self.bytes.len();
        let line = &self.bytes[self.start..];
        // A CR just beyond the limit may be part of the line end: the byte after it decides.
        let undecided = line.len() == self.max_line + 1 && line.last() == Some(&b'\r');
        if line.len() > self.max_line && !undecided {
            return Some(self.crossed());
        }
        if !self.ended || line.is_empty() {
            return None;
        }
        if self.is_http(self.content(end)) {
            return Some(self.foreign(ForeignProtocol::Http));
        }
        let kind = if is_blank(line) { Kind::Blank } else { Kind::Incomplete };
        Some(Found { kind, end, next_start: end })
    }

    /// The line has crossed the limit. Only its beginning is judged here, and no more of it than
    /// made it cross, so that it does not matter how much came at once.
    fn crossed(&self) -> Found {
        let beginning = &self.bytes[self.start..=self.start + self.max_line];
        let begins_like_http = (self.first && foreign::begins_like_http(beginning))
            || (self.is_open_to_all && foreign::is_host_header(beginning));
        if begins_like_http {
            return self.foreign(ForeignProtocol::Http);
        }
        let may_be_http = self.first && !foreign::begins_with_command(beginning);
        Found { kind: Kind::TooLong { may_be_http }, end: self.start, next_start: self.start }
    }

    fn foreign(&self, foreign: ForeignProtocol) -> Found {
        let next_start = self.bytes.len();
        Found { kind: Kind::Foreign(foreign), end: self.start, next_start }
    }

    fn is_http(&self, line: &[u8]) -> bool {
        let is_request_line = || {
            foreign::begins_like_http(line)
                || (foreign::ends_like_http(line) && !foreign::begins_with_command(line))
        };
        (self.is_open_to_all && foreign::is_host_header(line)) || (self.first && is_request_line())
    }

    fn find_lf(&mut self) -> Option<usize> {
        let lf = memchr(b'\n', &self.bytes[self.scanned..]).map(|offset| self.scanned + offset);
        self.scanned = lf.unwrap_or(self.bytes.len());
        lf
    }

    /// The line up to `end`, without the one CR that belongs to the line end.
    fn content(&self, end: usize) -> &[u8] {
        let line = &self.bytes[self.start..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Drops the bytes of an over-long line up to here.
    fn drop_to(&mut self, position: usize) {
        self.dropped += position.saturating_sub(self.start);
        self.start = self.start.max(position);
    }

    fn skip_to(&mut self, position: usize) {
        self.start = position;
        self.scanned = self.scanned.max(position);
    }

    /// Gives back the memory that the unfinished line does not need.
    fn release(&mut self) {
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
    fn memory_is_held_for_the_unfinished_line_alone() {
        let mut buffer = LineBuffer::new(10_000);
        assert_eq!(buffer.held_bytes(), 0);
        buffer.push(&[&b"ping\n".repeat(1000)[..], b"half"].concat());
        assert_eq!(buffer.held_bytes(), 5004);
        assert_eq!(buffer.peek(), Some(Line::Text("ping")));
        buffer.advance();
        assert_eq!(buffer.held_bytes(), 4999);
        while buffer.peek().is_some() {
            buffer.advance();
        }
        assert_eq!(buffer.held_bytes(), 4);
        assert_eq!(buffer.bytes.capacity(), 4);
        buffer.push(b"\n");
        assert_eq!(buffer.peek(), Some(Line::Text("half")));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn memory_that_the_next_bytes_need_at_once_is_kept() {
        for (held, kept) in [(600, 1200), (599, 599)] {
            let mut buffer = LineBuffer::new(10_000);
            buffer.bytes.reserve_exact(1200);
            buffer.push(&vec![b'x'; held]);
            assert_eq!(buffer.peek(), None);
            assert_eq!(buffer.bytes.capacity(), kept, "half of it is used, or less");
        }
    }

    #[test]
    fn dropped_bytes_are_counted_by_lines_once() {
        let mut buffer = LineBuffer::new(10);
        buffer.push(&[b'x'; 26]);
        assert_eq!(buffer.peek(), Some(Line::TooLong));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        let tail = foreign::HTTP_VERSION_LEN + 1;
        let dropped = 26 - tail;
        assert_eq!(
            (dropped / 10, buffer.count_dropped_lines(), buffer.count_dropped_lines()),
            (1, 1, 0)
        );
        buffer.push(&[b'x'; 10]);
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.count_dropped_lines(), 1, "and the rest is not lost");
        buffer.push(&[b'x'; 4]);
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.count_dropped_lines(), (dropped % 10 + 4) / 10);

        let mut buffer = LineBuffer::new(10);
        buffer.push(b"a line of nineteen.\n");
        assert_eq!(buffer.peek(), Some(Line::TooLong));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.count_dropped_lines(), 2, "its end counts as well");
    }

    #[test]
    fn a_line_that_was_wiped_is_nowhere_in_the_buffer() {
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
