//! Limits the connections from one IP address (`--max-per-address`).

use std::collections::HashMap;
use std::net::IpAddr;

use super::peer::Peer;

/// Counts connections by IP address. Peers of Unix sockets have no IP address, and are not limited.
#[derive(Debug)]
pub(super) struct AddressLimit {
    max: Option<usize>,
    connections: HashMap<IpAddr, usize>,
}

impl AddressLimit {
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max, connections: HashMap::new() }
    }

    /// Returns whether the peer's address may have another connection.
    pub(super) fn has_room(&self, peer: Peer) -> bool {
        let count = peer.ip().and_then(|ip| self.connections.get(&ip));
        count.zip(self.max).is_none_or(|(count, max)| *count < max)
    }

    pub(super) fn add(&mut self, peer: Peer) {
        if let Some(ip) = peer.ip() {
            *self.connections.entry(ip).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, peer: Peer) {
        let Some(ip) = peer.ip() else { return };
        if let Some(count) = self.connections.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&ip);
            }
        }
    }
}
