//! The peer of an accepted connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The peer of an accepted connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    /// The peer's process and user ids, if the system provides them.
    Unix(Option<(i32, u32)>),
}

impl Peer {
    /// The IP address, with IPv4-mapped IPv6 addresses as IPv4. None for a Unix socket.
    pub(super) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Whether the peer is on this host: at a loopback address, or at a Unix socket a process of
    /// root or of the server's own user.
    pub(super) fn is_local(self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(Some((_, uid))) => uid == 0 || uid == rustix::process::geteuid().as_raw(),
            Self::Unix(None) => false,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some((pid, uid))) => write!(f, "process {pid} of user {uid}"),
            Self::Unix(None) => f.write_str("a local process"),
        }
    }
}
