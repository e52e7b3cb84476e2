//! Standard output and error in a poll loop.
//!
//! Standard output stays in blocking mode: O_NONBLOCK would also affect other processes that share
//! the terminal or pipe. Writing to it may block, and then the client does not read from the server
//! either.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;

use crate::cli::cannot_write;
pub(super) use crate::cli::write_all;
use crate::client::failure::Failure;
use crate::escape::escape_untrusted;

/// Standard output.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Bytes to write. Callers append to it.
    pub(super) unwritten: Vec<u8>,
    /// The reader has closed standard output.
    is_closed: bool,
}

impl Output {
    /// Makes the poll report when the reader closes standard output, where the system supports it.
    pub(super) fn register(registry: &Registry, token: Token) -> Self {
        let stdout = io::stdout().as_raw_fd();
        // The write end of a pipe is never readable: the only event is the error.
        let _ = registry.register(&mut SourceFd(&stdout), token, Interest::READABLE);
        Self::default()
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        self.is_closed |= event.is_error();
    }

    /// Appends a line to the buffer.
    pub(super) fn line(&mut self, line: &str) {
        self.unwritten.extend_from_slice(line.as_bytes());
        self.unwritten.push(b'\n');
    }

    /// Writes the whole buffer, and blocks until then.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.is_closed {
            return Err(Failure::OutputClosed);
        }
        let written = write_all(&self.unwritten);
        self.unwritten.clear();
        written.map_err(|error| match error {
            Errno::PIPE => Failure::OutputClosed,
            error => Failure::Error(cannot_write(error)),
        })
    }
}

/// Writes a notice to standard error. Ignores a failure: there is nowhere to report it.
pub(super) fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "oyez: {}", escape_untrusted(text, 2048));
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
        if self.is_wanted && self.next <= now {
            Self::write(&text());
            self.is_shown = true;
            self.next = now + Self::INTERVAL;
        }
    }

    pub(super) fn clear(&mut self) {
        if self.is_shown {
            Self::write("");
            self.is_shown = false;
        }
    }

    /// Overwrites the previous text, and returns the cursor to the start of the row.
    fn write(text: &str) {
        let _ = write!(io::stderr(), "\r{text:<60}\r");
    }
}
