//! Standard input, output and error, beside a poll loop.
//!
//! Neither input nor output is made non-blocking: that would change the terminal or pipe for every
//! process that shares it. So input is read only when poll reports some, and writing to standard
//! output may block. Nothing is read from the server meanwhile.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::client::failure::Failure;
use crate::escape::escape_untrusted;

/// Standard input. By default, it is not read and counts as ended.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// It has not ended.
    pub(super) is_open: bool,
    /// A file or a device: it cannot be polled, and reading it never blocks for long.
    is_always_ready: bool,
    is_ready: bool,
}

impl Input {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Self> {
        let stdin = io::stdin().as_raw_fd();
        let registered = registry.register(&mut SourceFd(&stdin), token, Interest::READABLE);
        let is_always_ready = match registered {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => true,
            Err(error) => return Err(error),
        };
        Ok(Self { is_open: true, is_always_ready, is_ready: true })
    }

    pub(super) fn on_event(&mut self) {
        self.is_ready = true;
    }

    /// Whether reading may return something without another poll.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready && self.is_open
    }

    /// Reads without blocking. Returns the number of bytes: 0 if there are none yet, or none any
    /// more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        if !self.is_open || (!self.is_always_ready && !self.check_ready()) {
            return Ok(0);
        }
        let len = match rustix::io::read(rustix::stdio::stdin(), buffer) {
            Ok(len) => len,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(0),
            // The terminal hung up.
            Err(Errno::IO) if io::stdin().is_terminal() => 0,
            Err(error) => return Err(format!("cannot read standard input: {error}").into()),
        };
        self.is_open = len > 0;
        Ok(len)
    }

    /// Asks the system whether there is input. Mio's events are edge-triggered, so none follows
    /// until all input is read.
    fn check_ready(&mut self) -> bool {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.is_ready = poll(&mut fds, Some(&no_wait)).is_ok_and(|ready| ready > 0);
        self.is_ready
    }
}

/// Standard output.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Bytes to write. Append to it.
    pub(super) unwritten: Vec<u8>,
    /// The reader is gone.
    is_closed: bool,
}

impl Output {
    /// Has the poll report when the reader goes away, where the system can tell.
    pub(super) fn register(registry: &Registry, token: Token) -> Self {
        let stdout = io::stdout().as_raw_fd();
        // The write end of a pipe never becomes readable: the only event is the error.
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

    /// Writes the whole buffer, and blocks until that is done.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.is_closed {
            return Err(Failure::OutputClosed);
        }
        let written = write_all(&self.unwritten);
        self.unwritten.clear();
        written.map_err(|error| match error {
            Errno::PIPE => Failure::OutputClosed,
            error => Failure::Error(format!("cannot write to standard output: {error}")),
        })
    }
}

/// Writes all bytes to standard output, even if another process has made it non-blocking.
pub(super) fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a notice to standard error. A failure is ignored: there is nowhere to report it.
pub(super) fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "oyez: {}", escape_untrusted(text, 2048));
}

/// A progress line on the terminal's last row.
pub(super) struct Progress {
    is_wanted: bool,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_millis(200);

    pub(super) fn new() -> Self {
        // It would be in the way of typing.
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

    /// Overwrites the previous text, and leaves the cursor at its start.
    fn write(text: &str) {
        let _ = write!(io::stderr(), "\r{text:<60}\r");
    }
}
