//! Signals as poll events.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

/// Returns whether this signal is ignored: `nohup` and shells without job control start programs
/// that way, and a handler would undo it. Returns `None` if the system does not say.
pub(crate) fn is_ignored(signal: i32) -> Option<bool> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask & (1 << (signal - 1)) != 0)
}

/// Counts signals with the self-pipe trick: each signal's handler writes a byte to a socket pair,
/// which the poll loop reads.
#[derive(Debug)]
pub(crate) struct Signals {
    receiver: UnixStream,
}

impl Signals {
    /// Installs handlers for `signals`, and registers the receiver with a poll.
    pub(crate) fn register(registry: &Registry, token: Token, signals: &[i32]) -> io::Result<Self> {
        let (mut receiver, sender) = UnixStream::pair()?;
        let sender = OwnedFd::from(sender);
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        registry.register(&mut receiver, token, Interest::READABLE)?;
        Ok(Self { receiver })
    }

    /// Returns how many signals have arrived since the last call.
    pub(crate) fn take(&mut self) -> usize {
        let mut bytes = [0; 64];
        // The only possible error is WouldBlock: this process holds both ends.
        self.receiver.read(&mut bytes).unwrap_or(0)
    }
}
