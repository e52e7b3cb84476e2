//! Accepts connections from all listeners in turn, and refuses those over the limits.

use std::io;

use log::warn;
use mio::{Registry, Token};
use rustix::io::Errno;

use super::config::Config;
use super::listener::Listener;
use super::peer::Peer;
use super::refused::Refused;
use crate::net::stream::{Endpoint, Stream};

/// The token of the first listener; the others count down from it. Clients' tokens count up from 0.
const FIRST_TOKEN: usize = usize::MAX - 2;

/// How long accepting pauses when the system has no descriptor or memory for another connection, in
/// milliseconds. The poll does not report when there is one again.
const PAUSE_MS: u64 = 100;

/// The listeners, and the refused connections.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// The index of the listener that was accepted from last.
    last: usize,
    refused: Refused,
    /// Nothing is accepted before this time, in milliseconds since the server's start.
    paused_until_ms: Option<u64>,
    /// The last attempt failed. Logged once, until accepting works again.
    is_failing: bool,
}

/// An accepted connection.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) is_tls: bool,
}

impl Acceptor {
    /// Listens on all of the configuration's addresses. The error is one line for the operator.
    pub(super) fn bind(config: &Config, registry: &Registry) -> Result<Self, String> {
        let mut listeners = Vec::new();
        let plain = config.listen.iter().map(|address| (address, false));
        let encrypted = config.listen_tls.iter().map(|address| (address, true));
        for (address, is_tls) in plain.chain(encrypted) {
            let mut listener =
                Listener::bind(address, is_tls, config.unix_mode, config.limits.send_buffer)?;
            listener
                .register(registry, Token(FIRST_TOKEN - listeners.len()))
                .map_err(|error| format!("cannot listen on {address}: {error}"))?;
            listeners.push(listener);
        }
        let refused = Refused::default();
        Ok(Self { listeners, last: 0, refused, paused_until_ms: None, is_failing: false })
    }

    /// The addresses, with the ports that the kernel chose, and whether each is encrypted.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&Endpoint, bool)> {
        self.listeners.iter().map(|listener| (&listener.address, listener.is_tls))
    }

    /// Takes an event if its token is a listener's. Returns whether it is.
    pub(super) fn handle_event(&mut self, token: Token) -> bool {
        let listener = self.listeners.get_mut(FIRST_TOKEN - token.0);
        listener.map(|listener| listener.is_ready = true).is_some()
    }

    /// The next waiting connection, from each listener in turn.
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
                Ok((stream, peer)) => {
                    self.is_failing = false;
                    return Some(Accepted { stream, peer, is_tls: listener.is_tls });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.is_ready = false;
                }
                // Ends this turn, so that a stream of broken connections cannot hold up the loop.
                Err(error) if concerns_one_connection(&error) => return None,
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        warn!("cannot accept connections: {error}; retrying every {PAUSE_MS} ms");
                    }
                    self.paused_until_ms = Some(now_ms + PAUSE_MS);
                    return None;
                }
            }
        }
        None
    }

    /// Refuses a connection, and sends the peer the explanation. A TLS connection is closed without
    /// one, since sending it would take a handshake.
    pub(super) fn refuse(&mut self, accepted: Accepted, explanation: &str, now_ms: u64) {
        if !accepted.is_tls {
            self.refused.refuse(accepted.stream, explanation, now_ms);
        }
    }

    /// Ends a pause: a connection was closed, so there is a free descriptor.
    pub(super) fn resume(&mut self) {
        self.paused_until_ms = None;
    }

    /// Closes all listeners.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
    }

    /// Whether there may be a connection to accept at once.
    pub(super) fn has_work(&self) -> bool {
        self.paused_until_ms.is_none() && self.is_any_ready()
    }

    /// Closes refused connections whose time is up.
    pub(super) fn close_overdue(&mut self, now_ms: u64) {
        self.refused.close_overdue(now_ms);
    }

    /// When to be called again even if no event arrives, in milliseconds since the server's start.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.paused_until_ms.into_iter().chain(self.refused.next_deadline()).min()
    }

    fn is_any_ready(&self) -> bool {
        self.listeners.iter().any(|listener| listener.is_ready)
    }
}

/// Whether the error is about one connection, and the next one can be accepted. After any other
/// error accepting pauses, so that the loop does not spin.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::TIMEDOUT
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
        )
    )
}
