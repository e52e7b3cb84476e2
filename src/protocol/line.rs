//! Splits a connection's input into lines, in bounded memory.

use super::foreign::{self, ForeignProtocol};
use super::input::{Found, Input, InputKind};
use super::telnet::TelnetCommand;
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
    /// A Telnet command, inside or between lines. It is not part of a line.
    Telnet(TelnetCommand),
    /// The connection speaks another protocol. No line follows.
    Foreign(ForeignProtocol),
}

/// U+FEFF, which some programs write at the beginning of a file (byte order mark).
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The upper bound of `max_line`. Positions in the input are 32-bit numbers.
const MAX_MAX_LINE: usize = 1 << 31;

/// The number of bytes of an overlong line that are kept while it is discarded: enough to detect an
/// HTTP version and a CR at its end.
const DISCARD_TAIL: usize = foreign::HTTP_VERSION_LEN + 1;

/// Splits input into lines. The result does not depend on how packets split the input.
///
/// Call [`push`](Self::push) with the bytes that were read, and [`end`](Self::end) at the end of
/// input. Then [`peek`](Self::peek) at the next line and [`advance`](Self::advance) once it is
/// handled, until `peek` returns `None`. A line that cannot be handled yet stays in the buffer.
///
/// A client's input may contain Telnet commands, and a server's lines the answers to them. Each is
/// removed from the line around it, and returned before that line. A byte order mark at the
/// beginning of a client's input is dropped.
///
/// **Invariant**: once `peek` has returned `None`, the buffer contains at most `max_line + 1` bytes
/// of a line, or `DISCARD_TAIL` if that is more, and the beginning of a Telnet command, which has
/// at most 256 bytes. It uses at most about twice as much memory, and none while there is no
/// partial line.
#[derive(Debug, Default)]
pub struct LineBuffer {
    input: Input,
    /// The line that `peek` returned, until `advance`.
    peeked: Option<NextLine>,
    max_line: u32,
    state: State,
    /// Discarded bytes, of overlong lines and Telnet commands, that `take_discarded_lines` has not
    /// counted yet.
    discarded: u32,
    /// Set while the current line may begin with a byte order mark.
    expects_bom: bool,
    /// Set while every line so far was blank, so that the next one may be an HTTP request line.
    /// Set only for a client's input.
    expects_first_line: bool,
    ending: Ending,
}

/// Whether and how the input has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Open,
    /// The peer ended it. A partial line is the peer's fault.
    Ended,
    /// The connection was cut. The rest of a partial line is lost.
    Cut,
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

/// A line in the buffer: its kind, the length of its content, and whether it is complete. Kept
/// small, because there is one per client.
#[derive(Clone, Copy, Debug)]
struct NextLine {
    len: u32,
    kind: Kind,
    has_lf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Complete,
    Blank,
    TooLong { may_be_http: bool },
    Incomplete,
    Telnet { command: TelnetCommand, len: u16 },
    Foreign(ForeignProtocol),
}

impl Kind {
    /// An item without content.
    fn alone(self) -> NextLine {
        NextLine { kind: self, len: 0, has_lf: false }
    }
}

impl LineBuffer {
    /// Creates the buffer of a new connection. `max_line` is the maximum length of a line in bytes,
    /// not counting its line end.
    pub fn new(max_line: usize) -> Self {
        let mut buffer = Self::without_foreign_detection(max_line);
        buffer.input.kind = InputKind::FromClient;
        buffer.expects_bom = true;
        buffer.expects_first_line = true;
        buffer
    }

    /// Creates a buffer for a server's lines. It never returns [`Line::Foreign`].
    pub fn for_replies(max_line: usize) -> Self {
        let mut buffer = Self::without_foreign_detection(max_line);
        buffer.input.kind = InputKind::FromServer;
        buffer
    }

    /// Creates a buffer that never returns [`Line::Foreign`] or [`Line::Telnet`]: for local input.
    pub fn without_foreign_detection(max_line: usize) -> Self {
        Self { max_line: max_line.min(MAX_MAX_LINE) as u32, ..Self::default() }
    }

    /// Appends input. The caller limits its size, and calls this only after `peek` has returned
    /// `None`.
    pub fn push(&mut self, input: &[u8]) {
        debug_assert!(!self.is_ended(), "input after the end of input");
        self.input.push(input);
    }

    /// Marks the end of input.
    pub fn end(&mut self) {
        self.ending = Ending::Ended;
    }

    /// Marks the end of input on a connection that was cut. A partial line is then not reported as
    /// [`Line::Incomplete`]: the peer may have sent the rest of it.
    pub fn cut(&mut self) {
        self.ending = Ending::Cut;
    }

    /// Returns whether [`end`](Self::end) or [`cut`](Self::cut) was called.
    pub fn is_ended(&self) -> bool {
        self.ending != Ending::Open
    }

    /// Returns whether [`cut`](Self::cut) was called.
    pub fn is_cut(&self) -> bool {
        self.ending == Ending::Cut
    }

    /// The number of bytes in the buffer: unhandled lines, and a partial line.
    pub fn buffered_bytes(&self) -> usize {
        self.input.len()
    }

    /// Returns how much input was discarded since the last call, of overlong lines and Telnet
    /// commands, in lines of the maximum length. The remainder carries over to the next call.
    pub fn take_discarded_lines(&mut self) -> usize {
        let max_line = self.max_line.max(1);
        let lines = self.discarded / max_line;
        self.discarded %= max_line;
        lines as usize
    }

    /// Returns the next line. It remains the next line until [`advance`](Self::advance).
    pub fn peek(&mut self) -> Option<Line<'_>> {
        self.peeked = self.find_next();
        let Some(next) = self.peeked else {
            self.input.release_memory();
            return None;
        };
        let line = &self.input.line()[..next.len as usize];
        Some(match next.kind {
            Kind::Complete => validate_text(line).map_or(Line::NotText(line), Line::Text),
            Kind::Blank => Line::Blank(validate_text(line).unwrap_or_default()),
            Kind::TooLong { .. } => Line::TooLong,
            Kind::Incomplete => Line::Incomplete(line),
            Kind::Telnet { command, .. } => Line::Telnet(command),
            Kind::Foreign(protocol) => Line::Foreign(protocol),
        })
    }

    /// Overwrites the line that [`peek`](Self::peek) returned, because it contains a secret. Call
    /// [`advance`](Self::advance) next.
    pub fn wipe(&mut self) {
        if self.peeked.is_some() {
            self.input.wipe();
        }
    }

    /// Moves past the line that [`peek`](Self::peek) returned.
    pub fn advance(&mut self) {
        let Some(next) = self.peeked.take() else { return };
        match next.kind {
            Kind::Telnet { len, .. } => {
                self.count_discarded(len.into());
                return self.input.remove_command(len.into());
            }
            Kind::Complete | Kind::Blank if next.has_lf => self.input.next_line(),
            Kind::Complete | Kind::Blank | Kind::Incomplete => self.input.clear(),
            Kind::TooLong { may_be_http } => self.state = State::Discarding { may_be_http },
            Kind::Foreign(_) => self.state = State::Foreign,
        }
        self.expects_first_line &= next.kind == Kind::Blank;
    }

    fn find_next(&mut self) -> Option<NextLine> {
        loop {
            let found = match self.state {
                State::Foreign => {
                    self.input.clear();
                    return None;
                }
                State::Reading | State::Discarding { .. } => self.input.scan(self.is_ended()),
            };
            if let State::Discarding { may_be_http } = self.state {
                let line = without_cr(self.input.line());
                if found == Found::Lf && may_be_http && foreign::ends_with_http_version(line) {
                    return Some(Kind::Foreign(ForeignProtocol::Http).alone());
                }
                self.discard(found);
            } else {
                self.drop_bom(found);
                let first = self.input.line().first();
                if self.expects_first_line && first == Some(&foreign::TLS_HANDSHAKE) {
                    return Some(Kind::Foreign(ForeignProtocol::Tls).alone());
                }
                if let Some(line) = self.classify(found) {
                    return Some(line);
                }
            }
            match found {
                // An overlong line has ended. Continue with the next line.
                Found::Lf => {}
                Found::Telnet(command, len) => {
                    return Some(Kind::Telnet { command, len: len as u16 }.alone());
                }
                Found::End => return None,
            }
        }
    }

    /// Discards the scanned part of an overlong line, and counts it. Keeps the last bytes if the
    /// line is partial.
    fn discard(&mut self, found: Found) {
        let len = self.input.line().len();
        let (kept, lf) = match found {
            Found::Lf => (0, 1),
            Found::End if self.is_ended() => (0, 0),
            Found::Telnet(..) | Found::End => (DISCARD_TAIL, 0),
        };
        let discarded = len.saturating_sub(kept);
        self.input.discard(discarded);
        self.count_discarded(discarded + lf);
        if found == Found::Lf {
            self.input.next_line();
            self.state = State::Reading;
        }
    }

    fn count_discarded(&mut self, bytes: usize) {
        self.discarded = self.discarded.saturating_add(bytes as u32);
    }

    /// Drops a byte order mark at the beginning of a client's input.
    fn drop_bom(&mut self, found: Found) {
        if self.expects_bom {
            let line = self.input.line();
            if line.starts_with(BOM) {
                self.input.discard(BOM.len());
                self.expects_bom = false;
            } else {
                self.expects_bom = found != Found::Lf && BOM.starts_with(line);
            }
        }
    }

    /// Classifies the current line, which is complete if an LF was found. Returns `None` if more of
    /// the line is needed.
    fn classify(&self, found: Found) -> Option<NextLine> {
        let whole = self.input.line();
        // A CR at the end may belong to the line end, even if the LF has not arrived yet.
        let line = without_cr(whole);
        let max_line = self.max_line as usize;
        let is_too_long = line.len() > max_line;
        let is_complete = match found {
            Found::Lf => true,
            Found::Telnet(..) => false,
            Found::End => self.ending == Ending::Ended && !whole.is_empty(),
        };
        if !is_complete && !is_too_long {
            return None;
        }
        // Only the start of an overlong line is classified, because the result must not depend on
        // how much of the line has arrived.
        let beginning = &line[..line.len().min(max_line + 1)];
        let may_be_http = self.expects_first_line
            && (!foreign::starts_with_command(beginning)
                || foreign::may_be_http_request(beginning));
        let is_http = (self.input.kind == InputKind::FromClient
            && foreign::is_host_header(beginning))
            || (self.expects_first_line && foreign::starts_with_http_method(beginning))
            || (may_be_http && !is_too_long && foreign::ends_with_http_version(line));
        if is_http {
            return Some(Kind::Foreign(ForeignProtocol::Http).alone());
        }
        if self.expects_first_line && foreign::is_proxy_header(beginning) {
            return Some(Kind::Foreign(ForeignProtocol::Proxy).alone());
        }
        if is_too_long {
            return Some(Kind::TooLong { may_be_http }.alone());
        }
        let has_lf = found == Found::Lf;
        let (kind, line) = if has_lf { (Kind::Complete, line) } else { (Kind::Incomplete, whole) };
        let is_blank = line.iter().all(|byte| matches!(byte, b' ' | b'\t'));
        let kind = if is_blank { Kind::Blank } else { kind };
        Some(NextLine { kind, len: line.len() as u32, has_lf })
    }
}

/// Returns the line without a final CR, which may belong to the line end.
fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_input_has_no_incomplete_line() {
        let mut buffer = LineBuffer::new(10);
        buffer.push(b"ping\nsay h");
        buffer.cut();
        assert!(buffer.is_ended() && buffer.is_cut());
        assert_eq!(buffer.peek(), Some(Line::Text("ping")));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
    }

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
        assert_eq!(buffer.input.bytes.capacity(), 4);
        buffer.push(b"\n");
        assert_eq!(buffer.peek(), Some(Line::Text("half")));
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        assert_eq!(buffer.input.bytes.capacity(), 0);
    }

    #[test]
    fn buffer_shrinks_when_less_than_half_is_used() {
        for (len, capacity) in [(600, 1200), (599, 599)] {
            let mut buffer = LineBuffer::new(10_000);
            buffer.input.bytes.reserve_exact(1200);
            buffer.push(&vec![b'x'; len]);
            assert_eq!(buffer.peek(), None);
            assert_eq!(buffer.input.bytes.capacity(), capacity, "with {len} bytes");
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
        assert!(!buffer.input.bytes.windows(6).any(|bytes| bytes == b"sesame"));
        assert!(buffer.input.bytes.starts_with(b"ping\n"));
    }
}
