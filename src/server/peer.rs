//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    /// The peer's process and user, where the system tells.
    Unix(Option<(i32, u32)>),
}

impl Peer {
    /// The peer's address, if it has one; of one of IPv4, the same in both forms.
    pub(super) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Whether the peer is on this host: a loopback address, or at a Unix socket a process of this
    /// one's user or of root.
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
