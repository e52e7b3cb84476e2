//! Limits the connections from one IP address (`--max-per-address`), and hashes the address for the
//! hub's replay limit.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;

use super::peer::Peer;

/// Counts connections by IPv4 address and IPv6 network. Peers of Unix sockets are not limited.
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
        let count = peer.network().and_then(|network| self.connections.get(&network));
        count.zip(self.max).is_none_or(|(count, max)| *count < max)
    }

    /// Returns the peer's source, for the replay limit: a hash of its network or, on a Unix socket,
    /// of its user.
    pub(super) fn source(&self, peer: Peer) -> u16 {
        let user = match peer {
            Peer::Unix(process) => process.map(|(_, uid)| uid),
            Peer::Tcp(_) => None,
        };
        self.connections.hasher().hash_one((peer.network(), user)) as u16
    }

    pub(super) fn add(&mut self, peer: Peer) {
        if let Some(network) = peer.network() {
            *self.connections.entry(network).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, peer: Peer) {
        let Some(network) = peer.network() else { return };
        if let Some(count) = self.connections.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_are_counted_by_network() {
        let peer = |ip: &str| Peer::Tcp((ip.parse::<IpAddr>().expect(ip), 7).into());
        for (ip, same, other) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.2"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1"),
            ("::1", "::1", "fe80::1"),
        ] {
            let mut limit = AddressLimit::new(Some(2));
            limit.add(peer(ip));
            limit.add(peer(same));
            assert!(!limit.has_room(peer(ip)) && !limit.has_room(peer(same)), "{ip} and {same}");
            assert!(limit.has_room(peer(other)), "{ip} and {other}");
            assert_eq!(limit.source(peer(ip)), limit.source(peer(same)), "{ip} and {same}");
            limit.remove(peer(same));
            assert!(limit.has_room(peer(ip)), "{ip}");
            limit.remove(peer(ip));
            assert!(limit.connections.is_empty(), "{ip}");
        }
    }
}
