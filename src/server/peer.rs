//! The peer of an accepted connection.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

/// The peer of an accepted connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address, or which process it is, for the log.
    pub(super) name: String,
    /// The IP address, with IPv4-mapped IPv6 addresses as IPv4. None for a Unix socket.
    pub(super) ip: Option<IpAddr>,
    /// Whether the peer is on this host: at a loopback address, or at a Unix socket a process of
    /// root or of the server's own user.
    pub(super) is_local: bool,
}

impl Peer {
    pub(super) fn tcp(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        Self { name: address.to_string(), ip: Some(ip), is_local: ip.is_loopback() }
    }

    /// Only Linux says which process it is.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
    pub(super) fn unix(socket: impl AsFd) -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(process) = rustix::net::sockopt::socket_peercred(socket) {
            let name = format!("process {} of user {}", process.pid, process.uid);
            let is_local = process.uid.is_root() || process.uid == rustix::process::geteuid();
            return Self { name, ip: None, is_local };
        }
        Self { name: "a local process".to_owned(), ip: None, is_local: false }
    }
}
