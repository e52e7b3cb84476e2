//! One connection: its socket, what was read from it, and what is to be written to it.

use std::fmt;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use memchr::memchr;
use mio::event::Event;
use mio::net::{TcpStream, UnixStream};
use mio::{Registry, Token};

use crate::escape::escape_untrusted;
use crate::net::stream::{Endpoint, Stream};
use crate::net::tls::ClientTls;
use crate::net::transport::{Sent, Transport};
use crate::protocol::{Line, LineBuffer, REPLY_OVERHEAD};
use crate::read_outcome::{ReadOutcome, TlsFailure};

/// The longest line that is taken from a server, in bytes: no server's `--max-line` can be more.
pub(crate) const MAX_LINE: usize = 1024 * 1024 + REPLY_OVERHEAD;

/// How many bytes may wait to be written before no more should be put there.
const MAX_UNSENT: usize = 256 * 1024;

/// A connection that is being made, or is there, or has ended.
///
/// **Invariants**
/// - Reading goes on only when no complete line is left, so that what waits here is bounded by
///   `MAX_LINE` and one chunk.
/// - Once writing has failed, nothing is written any more; but what came from the server before is
///   still read.
#[derive(Debug)]
pub(crate) struct Link {
    transport: Transport,
    received: LineBuffer,
    /// The line that `next_line` has found.
    line: String,
    unsent: Vec<u8>,
    is_readable: bool,
    is_writable: bool,
    was_writable: bool,
    /// Writing has failed, or the output is ended.
    is_shut: bool,
    /// The output ends with what is in `unsent`.
    is_finishing: bool,
    end: Option<End>,
    last_heard: Instant,
    found_empty: Instant,
}

/// Why there is nothing more to read.
#[derive(Debug)]
pub(crate) enum End {
    /// The server has said all that it had to say.
    Closed,
    /// It was cut off.
    Broken(io::Error),
    /// TLS failed.
    TlsFailed(TlsFailure),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Broken(error) => f.write_str(&describe(error)),
            Self::TlsFailed(failure) => failure.fmt(f),
        }
    }
}

impl Link {
    /// Begins to connect, and to encrypt if `tls` is given. Whether that works, reading and writing
    /// will tell.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        tls: Option<&ClientTls>,
        registry: &Registry,
        token: Token,
        now: Instant,
    ) -> io::Result<Self> {
        let mut stream = match endpoint {
            Endpoint::Tcp(address) => Stream::Tcp(TcpStream::connect(*address)?),
            Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        // A connection without them is slower, and no worse.
        let _ = stream.tune();
        stream.register(registry, token)?;
        let transport = match tls {
            Some(tls) => Transport::Tls(Box::new(tls.connect(stream)?)),
            None => Transport::Plain(stream),
        };
        Ok(Self {
            transport,
            received: LineBuffer::without_foreign_detection(MAX_LINE),
            line: String::new(),
            unsent: Vec::new(),
            is_readable: false,
            is_writable: false,
            was_writable: false,
            is_shut: false,
            is_finishing: false,
            end: None,
            last_heard: now,
            found_empty: now,
        })
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.is_writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.was_writable |= self.is_writable;
    }

    /// Whether the connection is made, whatever is said over it.
    pub(crate) fn is_connected(&self) -> bool {
        self.was_writable
    }

    /// Whether there may be something to read at once.
    pub(crate) fn has_more(&self) -> bool {
        self.is_readable && self.end.is_none()
    }

    /// When the server has last said a line.
    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// When there was last seen to be nothing more to read. Silence is measured up to here: this
    /// program may have been held up itself, by who reads its output.
    pub(crate) fn found_empty(&self) -> Instant {
        self.found_empty
    }

    /// How long nothing has been heard.
    pub(crate) fn silence(&self) -> Duration {
        self.found_empty.saturating_duration_since(self.last_heard)
    }

    /// Whether more should be put into [`unsent`](Self::unsent).
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.len() < MAX_UNSENT
    }

    /// Where to put what is to be sent.
    pub(crate) fn unsent(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// Ends the output behind what is to be sent.
    pub(crate) fn finish(&mut self) {
        self.is_finishing = true;
    }

    /// Writes and reads what can be, after the poll has told at this time what can.
    pub(crate) fn turn(&mut self, input: &mut [u8], now: Instant) {
        self.flush();
        self.read(input, now);
        if !self.is_readable {
            self.found_empty = now;
        }
    }

    /// Writes what can be.
    pub(crate) fn flush(&mut self) {
        if self.is_shut {
            self.unsent.clear();
            // What is on its way out goes on.
            let _ = self.transport.flush();
            return;
        }
        let result = self.write();
        if result.is_err() {
            // What there is to say of it, reading says.
            self.is_shut = true;
            self.is_readable = true;
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.is_writable {
            return Ok(());
        }
        // Hands may be to be shaken before there is anything to say.
        self.is_writable = self.transport.flush()?;
        let mut sent = 0;
        while self.is_writable && sent < self.unsent.len() {
            let Sent { bytes, is_full } =
                self.transport.write(&[IoSlice::new(&self.unsent[sent..])])?;
            sent += bytes;
            self.is_writable = !is_full;
        }
        self.unsent.drain(..sent);
        if self.is_finishing && self.is_writable && self.unsent.is_empty() {
            self.is_shut = true;
            self.transport.shutdown_write()?;
        }
        Ok(())
    }

    /// Reads once, if no line is left from the last time.
    fn read(&mut self, input: &mut [u8], now: Instant) {
        if !self.has_more() || self.received.peek().is_some() {
            return;
        }
        match self.transport.read(input).0 {
            ReadOutcome::Data(bytes) => {
                self.received.push(bytes);
                // Only a whole line counts as a sign of life: single bytes could trickle for ever.
                if memchr(b'\n', bytes).is_some() {
                    self.last_heard = now;
                }
            }
            ReadOutcome::NoData => {}
            ReadOutcome::WouldBlock => self.is_readable = false,
            ReadOutcome::CloseNotify | ReadOutcome::Eof => self.end_input(End::Closed),
            ReadOutcome::Truncated => {
                self.end_input(End::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            ReadOutcome::TlsFailed(failure) => self.end_input(End::TlsFailed(failure)),
            ReadOutcome::Failed(error) => self.end_input(End::Broken(error)),
        }
    }

    fn end_input(&mut self, end: End) {
        self.received.end();
        self.end = Some(end);
    }

    /// Looks for the next line, which is then [`line`](Self::line). The error says what no server
    /// would have sent; nothing should be read after it.
    pub(crate) fn next_line(&mut self) -> Result<bool, String> {
        while let Some(line) = self.received.peek() {
            let is_text = match line {
                Line::Text(text) => {
                    self.line.clear();
                    self.line.push_str(text);
                    true
                }
                // The rest of a line whose end is lost.
                Line::Blank(_) | Line::Incomplete(_) => false,
                Line::NotText(line) => {
                    let shown = escape_untrusted(&String::from_utf8_lossy(line), 80);
                    return Err(format!("a line that is not text: {shown}"));
                }
                Line::TooLong => return Err(format!("a line of more than {MAX_LINE} bytes")),
                Line::Foreign(foreign) => return Err(foreign.as_str().to_owned()),
            };
            self.received.advance();
            if is_text {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The line that was found last.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Why nothing more will come, once all lines are taken.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

/// An error in a few words, as people know it.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "the connection was cut off".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        // What a Unix socket says whose server does not accept.
        io::ErrorKind::WouldBlock => "too many others wait to be let in".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        _ => error.to_string(),
    }
}
