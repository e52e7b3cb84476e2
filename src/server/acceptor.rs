//! Accepts connections from all listeners in turn.

use std::io::ErrorKind::WouldBlock;

use log::warn;
use mio::{Registry, Token};
use rustix::io::Errno;

use super::config::Config;
use super::listener::{Accepted, Listener};

/// The token of the first listener; the others count down from it. Clients' tokens count up from 0.
const FIRST_TOKEN: usize = usize::MAX - 2;

/// The length of a pause when the system is out of file descriptors or memory, in milliseconds. The
/// poll does not report when they are available again.
const PAUSE_MS: u64 = 100;

/// Returns whether this accept(2) error affects only the connection being accepted.
fn affects_one_connection(error: &std::io::Error) -> bool {
    const ERRORS: &[Errno] = &[
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::TIMEDOUT,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|errno| ERRORS.contains(&errno))
}

/// All listeners. Pauses when the system cannot accept more connections.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listeners: Vec<Listener>,
    /// The index of the listener that was tried last.
    last: usize,
    /// The end of a pause, in milliseconds since the server's start.
    paused_until_ms: Option<u64>,
    /// Accepting has failed, and the failure was logged. Cleared by the next success.
    is_failing: bool,
}

impl Acceptor {
    /// Listens on all of the configuration's addresses. The error is one line for the operator.
    pub(super) fn bind(config: &Config, registry: &Registry) -> Result<Self, String> {
        let mut listeners = Vec::new();
        let plain = config.listen.iter().map(|address| (address, false));
        let encrypted = config.listen_tls.iter().map(|address| (address, true));
        for (address, is_tls) in plain.chain(encrypted) {
            let token = Token(FIRST_TOKEN - listeners.len());
            listeners.push(Listener::bind(address, is_tls, config, registry, token)?);
        }
        Ok(Self { listeners, last: 0, paused_until_ms: None, is_failing: false })
    }

    /// Marks the listener with this token as ready. Returns whether there is one.
    pub(super) fn handle_event(&mut self, token: Token) -> bool {
        let listener = self.listeners.get_mut(FIRST_TOKEN - token.0);
        listener.map(|listener| listener.is_ready = true).is_some()
    }

    /// Accepts the next waiting connection. The listeners take turns.
    pub(super) fn accept(&mut self, now_ms: u64) -> Option<Accepted> {
        if self.paused_until_ms.is_some_and(|until_ms| now_ms < until_ms) {
            return None;
        }
        self.paused_until_ms = None;
        while self.is_any_ready() {
            self.last = (self.last + 1) % self.listeners.len();
            let listener = &mut self.listeners[self.last];
            if !listener.is_ready {
                continue;
            }
            match listener.accept() {
                Ok(accepted) => {
                    self.is_failing = false;
                    return Some(accepted);
                }
                Err(error) => match error.kind() {
                    WouldBlock => listener.is_ready = false,
                    // End this turn, so that many broken connections cannot hold up the loop.
                    _ if affects_one_connection(&error) => return None,
                    // Other errors may persist. Pause, so that the loop does not spin.
                    _ => {
                        if !std::mem::replace(&mut self.is_failing, true) {
                            warn!(
                                "cannot accept connections: {error}; retrying every {PAUSE_MS} ms"
                            );
                        }
                        self.paused_until_ms = Some(now_ms + PAUSE_MS);
                        return None;
                    }
                },
            }
        }
        None
    }

    /// Ends a pause, because closing a connection freed a file descriptor.
    pub(super) fn resume(&mut self) {
        self.paused_until_ms = None;
    }

    /// Closes all listeners.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
    }

    /// Returns whether a connection may be waiting, and accepting is not paused.
    pub(super) fn has_work(&self) -> bool {
        self.paused_until_ms.is_none() && self.is_any_ready()
    }

    /// When to accept again after a pause, in milliseconds since the server's start.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.paused_until_ms
    }

    fn is_any_ready(&self) -> bool {
        self.listeners.iter().any(|listener| listener.is_ready)
    }
}
