//! Signals, as events of the poll loop.

use std::io::{self, Read};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

/// Some signals, which do no more than being counted. Each of them writes one byte into a socket,
/// which the loop reads.
#[derive(Debug)]
pub(crate) struct Signals {
    received: UnixStream,
}

impl Signals {
    pub(crate) fn register(registry: &Registry, token: Token, signals: &[i32]) -> io::Result<Self> {
        let (received, sender) = std::os::unix::net::UnixStream::pair()?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        received.set_nonblocking(true)?;
        let mut received = UnixStream::from_std(received);
        registry.register(&mut received, token, Interest::READABLE)?;
        Ok(Self { received })
    }

    /// How many signals have come since this was last asked.
    pub(crate) fn take(&mut self) -> usize {
        let mut bytes = [0; 64];
        // Nothing else can go wrong with a socket whose both ends are held here.
        self.received.read(&mut bytes).unwrap_or(0)
    }
}
