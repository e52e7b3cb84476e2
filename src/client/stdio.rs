//! Standard output and error in a poll loop.
//!
//! Standard output stays in blocking mode: O_NONBLOCK would also affect other processes that share
//! the terminal or pipe. Writing to it may block, and then the client does not read from the server
//! either.

use std::io::{self, IsTerminal as _, Write as _};
use std::mem;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memchr::memrchr;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use crate::cli::cannot_write;
pub(super) use crate::cli::write_all;
use crate::client::failure::Failure;
use crate::display;
use crate::escape::escape_untrusted;

/// Standard output.
#[derive(Debug)]
pub(super) struct Output {
    /// Bytes to write. Callers append to it.
    pub(super) unwritten: Vec<u8>,
    /// Standard output is a terminal. [`line`](Self::line) then escapes and wraps.
    pub(super) is_terminal: bool,
    /// The terminal uses UTF-8. Meaningful only if standard output is a terminal.
    pub(super) is_utf8: bool,
    /// The reader has closed standard output, or a write failed.
    is_closed: bool,
    /// Set while this process may be blocked in a write. Signal handlers read it.
    pub(super) is_writing: Arc<AtomicBool>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            unwritten: vec![],
            is_terminal: io::stdout().is_terminal(),
            is_utf8: display::is_utf8(io::stdout()),
            is_closed: false,
            is_writing: Arc::default(),
        }
    }

    /// Makes the poll report when the reader closes standard output, where the system supports it.
    pub(super) fn register(registry: &Registry, token: Token) -> Self {
        let stdout = io::stdout().as_raw_fd();
        // The write end of a pipe is never readable: the only event is the error.
        let _ = registry.register(&mut SourceFd(&stdout), token, Interest::READABLE);
        Self::new()
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        self.is_closed |= event.is_error();
    }

    /// Returns whether output may have been lost.
    pub(super) fn has_failed(&self) -> bool {
        self.is_closed
    }

    /// Appends a line to the buffer. If standard output is a terminal, escapes and wraps it.
    pub(super) fn line(&mut self, line: &str) {
        if self.is_terminal {
            let escape = |part| escape_untrusted(part, usize::MAX);
            let parts: Vec<String> = line.split('\t').map(escape).collect();
            let line = display::line(&parts.join("\t"), 0, io::stdout());
            self.unwritten.extend_from_slice(line.as_bytes());
        } else {
            self.unwritten.extend_from_slice(line.as_bytes());
        }
        self.unwritten.push(b'\n');
    }

    /// Writes the whole buffer, and blocks until then.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.is_closed {
            return Err(Failure::OutputClosed);
        }
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.is_writing.store(true, Ordering::Relaxed);
        let written = write_all(&self.unwritten);
        self.is_writing.store(false, Ordering::Relaxed);
        self.unwritten.clear();
        self.is_closed = written.is_err();
        written.map_err(|error| match error {
            Errno::PIPE => Failure::OutputClosed,
            error => Failure::Error(cannot_write(error)),
        })
    }

    /// Writes the buffer as far as its reader takes it until the deadline. Returns whether all is
    /// written; `false` may also mean that a signal has arrived. What a pipe received ends with a
    /// whole line, unless that is longer than [`PIPE_BUF`].
    pub(super) fn flush_until(&mut self, deadline: Instant) -> Result<bool, Failure> {
        let stdout = io::stdout();
        self.is_writing.store(true, Ordering::Relaxed);
        while !self.unwritten.is_empty() {
            let timeout = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(timeout).ok();
            let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
            if !poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
                break;
            }
            let len = self.unwritten.len().min(PIPE_BUF);
            let len = memrchr(b'\n', &self.unwritten[..len]).map_or(len, |lf| lf + 1);
            match rustix::io::write(&stdout, &self.unwritten[..len]) {
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.flush()?,
            }
        }
        self.is_writing.store(false, Ordering::Relaxed);
        Ok(self.unwritten.is_empty())
    }
}

/// The number of bytes that a writable pipe accepts without blocking.
const PIPE_BUF: usize = 4096;

/// Writes a notice to standard error. Ignores a failure: there is nowhere to report it.
pub(super) fn notice(text: &str) {
    let text = format!("oyez: {}", escape_untrusted(text, 2048));
    let _ = writeln!(io::stderr(), "{}", display::line(&text, 0, io::stderr()));
}

/// Returns whether this process is in the foreground of the terminal on standard error. Otherwise, a
/// shell or another program uses the terminal.
fn is_foreground() -> bool {
    // This fails if the terminal is not the controlling one. Then there is no job control.
    tcgetpgrp(io::stderr()).map_or(true, |foreground| foreground == getpgrp())
}

/// A progress line on standard error, overwritten in place.
pub(super) struct Progress {
    is_wanted: bool,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_millis(200);

    pub(super) fn new() -> Self {
        // Do not overwrite what is typed on the same terminal.
        let is_wanted = io::stderr().is_terminal() && !io::stdin().is_terminal();
        Self { is_wanted, is_shown: false, next: Instant::now() + Self::INTERVAL }
    }

    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.is_wanted && self.next <= now && is_foreground() {
            Self::write(&text());
            self.is_shown = true;
            self.next = now + Self::INTERVAL;
        }
    }

    pub(super) fn clear(&mut self) {
        if mem::take(&mut self.is_shown) && is_foreground() {
            Self::write("");
        }
    }

    /// Overwrites the previous text, and returns the cursor to the start of the row. The text fits
    /// into one row.
    fn write(text: &str) {
        let columns = display::size(io::stderr()).1.saturating_sub(1).min(60);
        let _ = write!(io::stderr(), "\r{text:<columns$.columns$}\r");
    }
}
