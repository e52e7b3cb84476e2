//! SIGINT and SIGTERM, as events of the poll loop.

use std::io::{self, Read};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Each signal writes one byte into a socket, which the loop reads.
///
/// SIGHUP is left alone: while there is nothing to read anew, it means what it usually does.
#[derive(Debug)]
pub(super) struct Signals {
    received: UnixStream,
}

impl Signals {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Self> {
        let (received, sender) = std::os::unix::net::UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        received.set_nonblocking(true)?;
        let mut received = UnixStream::from_std(received);
        registry.register(&mut received, token, Interest::READABLE)?;
        Ok(Self { received })
    }

    /// How many signals have come since this was last asked.
    pub(super) fn take(&mut self) -> usize {
        let mut bytes = [0; 64];
        // Nothing else can go wrong with a socket whose both ends are held here.
        self.received.read(&mut bytes).unwrap_or(0)
    }
}
