//! How many connections there are from where.

use std::collections::HashMap;
use std::net::IpAddr;

use super::peer::Peer;

/// The connections of each IP address, if there is a limit to them.
#[derive(Debug)]
pub(super) struct Addresses {
    most: Option<usize>,
    connections: HashMap<IpAddr, usize>,
}

impl Addresses {
    pub(super) fn new(most: Option<usize>) -> Self {
        Self { most, connections: HashMap::new() }
    }

    /// Counts a connection, if there may be another from there; says whether there may.
    pub(super) fn enter(&mut self, peer: Peer) -> bool {
        let (Some(most), Some(ip)) = (self.most, peer.ip()) else { return true };
        let count = self.connections.entry(ip).or_default();
        let may_enter = *count < most;
        *count += usize::from(may_enter);
        may_enter
    }

    /// A connection that was counted is gone.
    pub(super) fn leave(&mut self, peer: Peer) {
        let Some(ip) = peer.ip() else { return };
        if let Some(count) = self.connections.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&ip);
            }
        }
    }
}
