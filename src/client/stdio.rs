//! Standard input and output, beside a poll loop.
//!
//! Neither is made non-blocking: that would change the terminal or pipe for all who share it. Input
//! is read only when the system says that there is some; output waits until it is taken, and
//! nothing is read from the server meanwhile.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsRawFd as _;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::client::Failure;
use crate::escape::escape_untrusted;

/// Standard input.
#[derive(Debug)]
pub(super) struct Input {
    /// A file or a device that cannot be polled, and never makes anybody wait.
    is_always_ready: bool,
    is_ready: bool,
    is_ended: bool,
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
        Ok(Self { is_always_ready, is_ready: true, is_ended: false })
    }

    pub(super) fn note(&mut self) {
        self.is_ready = true;
    }

    /// Whether reading may give something at once.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready && !self.is_ended
    }

    /// Whether all of it was read.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Reads what is there: how many bytes. None may mean that there is nothing yet, or, as
    /// [`is_ended`](Self::is_ended) says, that there is no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        if self.is_ended || (!self.is_always_ready && !self.look()) {
            return Ok(0);
        }
        match rustix::io::read(rustix::stdio::stdin(), buffer) {
            Ok(0) => {
                self.is_ended = true;
                Ok(0)
            }
            Ok(len) => Ok(len),
            Err(Errno::INTR | Errno::AGAIN) => Ok(0),
            // A terminal that is gone.
            Err(Errno::IO) if io::stdin().is_terminal() => {
                self.is_ended = true;
                Ok(0)
            }
            Err(error) => Err(Failure::Error(format!("cannot read standard input: {error}"))),
        }
    }

    /// Asks whether there is something to read. The poll has told of it once, and will not again
    /// before all of it is read.
    fn look(&mut self) -> bool {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.is_ready = poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0);
        self.is_ready
    }
}

/// Standard output.
#[derive(Debug, Default)]
pub(super) struct Output {
    unwritten: Vec<u8>,
    /// The reader is gone.
    is_closed: bool,
}

impl Output {
    /// Has the poll tell when the reader goes away, where that can be told. For tasks that are for
    /// nothing else than for being read.
    pub(super) fn register(registry: &Registry, token: Token) -> Self {
        let stdout = io::stdout().as_raw_fd();
        // An end that is only written to is never readable, but for this.
        let _ = registry.register(&mut SourceFd(&stdout), token, Interest::READABLE);
        Self::default()
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.is_closed |= event.is_error();
    }

    /// Where to put what is to be written.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.unwritten
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: &str) {
        self.unwritten.extend_from_slice(line.as_bytes());
        self.unwritten.push(b'\n');
    }

    /// Writes all of it, however long that takes.
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

/// Writes all of it to standard output, which others may have made non-blocking.
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

/// Says something on standard error that is not part of the output. Nobody may be there to be told.
pub(super) fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "oyez: {}", escape_untrusted(text, 2048));
}
