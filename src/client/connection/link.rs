//! One socket to the server, with its read and write buffers.

use std::io::{self, IoSlice};
use std::time::Instant;

use memchr::memchr;
use mio::{Events, Interest, Registry, Token};

use crate::client::connection::error::{Cause, LinkError};
use crate::escape::escape_untrusted;
use crate::net::stream::Endpoint;
use crate::net::tls::ClientTls;
use crate::net::transport::{Plain, Sent, Transport};
use crate::protocol::{Line, LineBuffer, REPLY_OVERHEAD};
use crate::read_outcome::ReadOutcome;

/// The maximum length of a line from the server, in bytes. No valid `--max-line` allows a longer
/// one.
pub(crate) const MAX_LINE: usize = 1024 * 1024 + REPLY_OVERHEAD;

/// How many unsent bytes may be queued before callers must stop adding more (backpressure).
const MAX_UNSENT: usize = 256 * 1024;

/// A socket that is connecting, connected, or at its end.
///
/// **Invariants**
/// - The socket is read only when no complete line is buffered, so the size of `received` is
///   bounded.
/// - After a failed write, nothing more is written, but the server's remaining lines are still
///   read.
#[derive(Debug)]
pub(crate) struct Link {
    token: Token,
    transport: Box<dyn Transport>,
    received: LineBuffer,
    /// The line that `next_line` moved to.
    line: String,
    /// The write buffer. Callers append to it.
    pub(crate) unsent: Vec<u8>,
    is_readable: bool,
    is_writable: bool,
    /// The socket is connected. A TLS handshake may still be in progress.
    pub(crate) is_connected: bool,
    /// The write side is shut down, or a write failed.
    is_write_closed: bool,
    /// Why a write failed, unless the server had closed the connection. The system reports an error
    /// only once, from a write or a read; over TLS, it reports a failed connect from a write.
    write_error: Option<io::Error>,
    /// Shut down the write side (half-close) as soon as `unsent` is empty.
    pub(crate) is_finishing: bool,
    /// Why the input ended. Buffered lines may remain.
    pub(crate) end: Option<LinkError>,
    /// When the server's current silence began: when this client began to connect, when it was
    /// connected, when the last line arrived, or when a request was sent while none was pending,
    /// whichever was latest.
    pub(crate) silent_since: Instant,
    /// When the socket was last read until it would block. Timeouts measure the server's silence up
    /// to this time, not up to now, because this process may itself have been blocked on standard
    /// output.
    pub(crate) drained_at: Instant,
}

impl Link {
    /// Starts to connect, with a TLS handshake if `tls` is given. Later failures are stored in
    /// [`end`](Self::end).
    pub(crate) fn connect(
        endpoint: &Endpoint,
        tls: Option<&ClientTls>,
        registry: &Registry,
        token: Token,
        now: Instant,
    ) -> io::Result<Self> {
        let mut stream = endpoint.connect()?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let transport = match tls {
            Some(tls) => tls.connect(stream)?,
            None => Box::new(Plain(stream)),
        };
        Ok(Self::new(token, transport, now))
    }

    fn new(token: Token, transport: Box<dyn Transport>, now: Instant) -> Self {
        Self {
            token,
            transport,
            received: LineBuffer::for_replies(MAX_LINE),
            line: String::new(),
            unsent: Vec::new(),
            is_readable: false,
            is_writable: false,
            is_connected: false,
            is_write_closed: false,
            write_error: None,
            is_finishing: false,
            end: None,
            silent_since: now,
            drained_at: now,
        }
    }

    /// Returns whether a read may return data without another poll.
    pub(crate) fn may_read(&self) -> bool {
        self.is_readable && self.end.is_none()
    }

    /// Returns whether the TLS handshake is complete. Always true without TLS.
    pub(crate) fn is_handshake_complete(&self) -> bool {
        self.transport.is_handshake_complete()
    }

    /// Returns whether more output may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.len() < MAX_UNSENT
    }

    /// Handles this socket's events from a poll that returned at `now`, then flushes and reads
    /// once.
    pub(crate) fn transfer(&mut self, events: &Events, buffer: &mut [u8], now: Instant) {
        for event in events.iter().filter(|event| event.token() == self.token) {
            self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            self.is_writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        }
        if self.is_writable && !self.is_connected {
            self.is_connected = true;
            self.silent_since = now;
        }
        self.flush();
        self.read(buffer, now);
        if !self.is_readable {
            self.drained_at = now;
        }
    }

    /// Writes as much of `unsent` as the socket accepts.
    pub(crate) fn flush(&mut self) {
        if self.is_write_closed {
            self.unsent.clear();
            // Over TLS, the last records and the close_notify may still be buffered.
            let _ = self.transport.flush();
        } else if let Err(error) = self.write() {
            use io::ErrorKind::{BrokenPipe, NotConnected};
            self.is_write_closed = true;
            self.write_error =
                Some(error).filter(|error| !matches!(error.kind(), BrokenPipe | NotConnected));
            // Read the server's remaining lines, then report the error.
            self.is_readable = true;
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.is_writable {
            return Ok(());
        }
        // Flush even if `unsent` is empty: this drives the TLS handshake.
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
            self.is_write_closed = true;
            self.transport.shutdown_write()?;
        }
        Ok(())
    }

    /// Reads once, unless a complete line is still buffered.
    fn read(&mut self, buffer: &mut [u8], now: Instant) {
        if !self.may_read() || self.received.peek().is_some() {
            return;
        }
        let mut outcome = self.transport.read(buffer).0;
        if matches!(outcome, ReadOutcome::Eof | ReadOutcome::Truncated)
            && let Some(error) = self.write_error.take()
        {
            outcome = ReadOutcome::Failed(error);
        }
        let end = match outcome {
            ReadOutcome::Data(bytes) => {
                self.received.push(bytes);
                // Only a complete line is a sign of life: a server could send single bytes forever.
                if memchr(b'\n', bytes).is_some() {
                    self.silent_since = now;
                }
                return;
            }
            ReadOutcome::NoData => return,
            ReadOutcome::WouldBlock => {
                self.is_readable = false;
                return;
            }
            ReadOutcome::CloseNotify | ReadOutcome::Eof => {
                LinkError::new(Cause::Closed, "the server closed the connection")
            }
            ReadOutcome::Truncated => {
                LinkError::new(Cause::Unavailable, "the connection was cut off")
            }
            ReadOutcome::TlsFailed(failure) => failure.into(),
            ReadOutcome::Failed(error) => error.into(),
        };
        self.received.end();
        self.end = Some(end);
    }

    /// Moves to the next line, which [`line`](Self::line) then returns. Returns false if no line is
    /// buffered. The error describes input that no server sends. Do not use the link after an
    /// error.
    pub(crate) fn next_line(&mut self) -> Result<bool, String> {
        while let Some(line) = self.received.peek() {
            let is_text = match line {
                Line::Text(text) => {
                    text.clone_into(&mut self.line);
                    true
                }
                // Skip blank lines, a partial line at the end of the connection, and the answers to
                // Telnet commands, which only `raw` can send.
                Line::Blank(_) | Line::Incomplete(_) | Line::Telnet(_) => false,
                Line::NotText(line) => {
                    let shown = escape_untrusted(&String::from_utf8_lossy(line), 80);
                    return Err(format!("a line that is not text: {shown}"));
                }
                Line::TooLong | Line::Foreign(_) => {
                    return Err(format!("a line of more than {MAX_LINE} bytes"));
                }
            };
            self.received.advance();
            if is_text {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the line that [`next_line`](Self::next_line) moved to.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }
}

/// Over TLS, a connection that ends without a close_notify looks like one that was cut.
impl Drop for Link {
    fn drop(&mut self) {
        if !self.is_write_closed && self.transport.is_handshake_complete() {
            let _ = self.transport.shutdown_write();
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::net::stream::Stream;

    /// A TLS connection whose socket fails: the first write returns the error, and reads return the
    /// end of the input.
    #[derive(Debug)]
    struct Failing(Option<Errno>, bool);

    impl Transport for Failing {
        fn socket_mut(&mut self) -> &mut Stream {
            unreachable!("the test does not poll")
        }

        fn is_handshake_complete(&self) -> bool {
            false
        }

        fn read<'a>(&mut self, _: &'a mut [u8]) -> (ReadOutcome<'a>, usize) {
            (if self.1 { ReadOutcome::Truncated } else { ReadOutcome::Eof }, 0)
        }

        fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<Sent> {
            Ok(Sent { bytes: 0, is_full: true })
        }

        fn flush(&mut self) -> io::Result<bool> {
            self.0.take().map_or(Ok(false), |errno| Err(errno.into()))
        }

        fn shutdown_write(&mut self) -> io::Result<bool> {
            self.flush()
        }
    }

    #[test]
    fn error_of_a_failed_write_is_reported() {
        let now = Instant::now();
        for is_truncated in [false, true] {
            for (errno, expected) in [
                (Errno::CONNREFUSED, "connection refused"),
                (Errno::TIMEDOUT, "connection timed out"),
                (Errno::CONNRESET, "connection reset"),
                (Errno::HOSTUNREACH, "no route to host"),
                (Errno::NETUNREACH, "network unreachable"),
                (Errno::ACCESS, "permission denied"),
                (Errno::PIPE, ""),
            ] {
                let mut link =
                    Link::new(Token(0), Box::new(Failing(Some(errno), is_truncated)), now);
                link.is_writable = true;
                link.flush();
                link.read(&mut [0; 100], now);
                let end = link.end.clone().expect("the connection has ended");
                let expected = match (expected, is_truncated) {
                    ("", true) => "the connection was cut off",
                    ("", false) => "the server closed the connection",
                    (expected, _) => expected,
                };
                assert_eq!(end.why, expected, "{errno:?}");
            }
        }
    }
}
