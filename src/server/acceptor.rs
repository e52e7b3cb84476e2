//! The door: who listens, who comes in, and what to do when there is no room.

use std::io;

use log::warn;
use mio::{Registry, Token};

use super::listener::Listener;
use super::peer::Peer;
use super::refused::Refused;
use crate::net::stream::{Endpoint, Stream};
use crate::server::config::Config;

/// The first listener's token; the others' follow it downwards. Clients' tokens come from the other
/// end.
const FIRST_TOKEN: usize = usize::MAX - 2;

/// How long accepting pauses when the system has no descriptor or no memory left for another
/// connection, in milliseconds. The poll would not wake the server when there is again.
const PAUSE_MS: u64 = 100;

/// All listening sockets, and the connections that are refused.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// Which of them has its turn.
    nth: usize,
    refused: Refused,
    /// Nothing is accepted before this time, in milliseconds since the server's start.
    paused_until_ms: Option<u64>,
    /// The last attempt failed, which was logged.
    is_failing: bool,
}

impl Acceptor {
    /// Listens on all of the configuration's addresses.
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
        Ok(Self { listeners, nth: 0, refused, paused_until_ms: None, is_failing: false })
    }

    /// Where it listens, with the ports that it got, and whether what comes there is encrypted.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&Endpoint, bool)> {
        self.listeners.iter().map(|listener| (&listener.address, listener.is_tls))
    }

    /// Notes an event, if it is one of a listener's; says whether it was.
    pub(super) fn note(&mut self, token: Token) -> bool {
        let listener = self.listeners.get_mut(FIRST_TOKEN - token.0);
        listener.map(|listener| listener.is_ready = true).is_some()
    }

    /// The next connection that waits, from each address in turn; and whether it is encrypted.
    pub(super) fn accept(&mut self, now_ms: u64) -> Option<(Stream, Peer, bool)> {
        if self.paused_until_ms.is_some_and(|until_ms| now_ms < until_ms) {
            return None;
        }
        self.paused_until_ms = None;
        while self.has_waiting() {
            self.nth = (self.nth + 1) % self.listeners.len();
            let listener = &mut self.listeners[self.nth];
            if !listener.is_ready {
                continue;
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    self.is_failing = false;
                    return Some((stream, peer, listener.is_tls));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.is_ready = false;
                }
                // One that is gone counts as one: however many there are, the turn ends.
                Err(error) if concerns_one_connection(&error) => return None,
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        warn!("cannot accept: {error}; trying again until it works");
                    }
                    self.paused_until_ms = Some(now_ms + PAUSE_MS);
                    return None;
                }
            }
        }
        None
    }

    /// Tells a connection that there is no room for it, and why. Over TLS, hands would have to be shaken
    /// for that; there it is just closed.
    pub(super) fn refuse(&mut self, stream: Stream, is_tls: bool, explanation: &str, now_ms: u64) {
        if !is_tls {
            self.refused.refuse(stream, explanation, now_ms);
        }
    }

    /// A descriptor is free, which is what accepting may be waiting for.
    pub(super) fn resume(&mut self) {
        self.paused_until_ms = None;
    }

    /// Nobody comes in any more.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
    }

    /// Whether somebody may be accepted without waiting for an event.
    pub(super) fn has_work(&self) -> bool {
        self.paused_until_ms.is_none() && self.has_waiting()
    }

    /// Lets those go that were refused a while ago.
    pub(super) fn close_overdue(&mut self, now_ms: u64) {
        self.refused.close_overdue(now_ms);
    }

    /// When there is something to do though nothing happens, in milliseconds since the server's
    /// start.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.paused_until_ms.into_iter().chain(self.refused.next_deadline()).min()
    }

    fn has_waiting(&self) -> bool {
        self.listeners.iter().any(|listener| listener.is_ready)
    }
}

/// Whether accepting can go on at once with the next connection. Of what is not known to be so, a
/// pause is made, so that nothing spins.
fn concerns_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let its_own = [
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
    Errno::from_io_error(error).is_some_and(|error| its_own.contains(&error))
}
