//! Signals as events of a poll loop.

use std::io::{self, Read as _};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

/// Counts signals. The handler of each writes one byte into a socket pair, which the loop polls.
#[derive(Debug)]
pub(crate) struct Signals {
    receiver: UnixStream,
}

impl Signals {
    /// Installs handlers for `signals`, and registers with a poll.
    pub(crate) fn register(registry: &Registry, token: Token, signals: &[i32]) -> io::Result<Self> {
        let (receiver, sender) = std::os::unix::net::UnixStream::pair()?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        receiver.set_nonblocking(true)?;
        let mut receiver = UnixStream::from_std(receiver);
        registry.register(&mut receiver, token, Interest::READABLE)?;
        Ok(Self { receiver })
    }

    /// How many signals have arrived since the last call.
    pub(crate) fn take(&mut self) -> usize {
        let mut bytes = [0; 64];
        // The only possible error is WouldBlock: this process holds both ends.
        self.receiver.read(&mut bytes).unwrap_or(0)
    }
}
