//! The peer of a connection: an IP address, or a local process.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

/// The peer of an accepted connection. Small, since there is one per client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    /// The process id and user id of a Unix socket's peer, if the system reports them.
    Unix(Option<(i32, u32)>),
}

impl Peer {
    /// The peer of a Unix socket. Its process and user are known only on Linux.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
    pub(super) fn unix(socket: impl AsFd) -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(process) = rustix::net::sockopt::socket_peercred(socket) {
            return Self::Unix(Some((process.pid.as_raw_nonzero().get(), process.uid.as_raw())));
        }
        Self::Unix(None)
    }

    /// Returns the address that limits count: the peer's IPv4 address, even if it is mapped to
    /// IPv6, or its IPv6 /64 network, because one host usually has a whole /64. Returns `None` for
    /// a Unix socket.
    pub(super) fn network(self) -> Option<IpAddr> {
        const HOST_BITS: u32 = 64;
        match self {
            Self::Tcp(address) => Some(match address.ip().to_canonical() {
                IpAddr::V6(ip) => {
                    Ipv6Addr::from_bits(ip.to_bits() >> HOST_BITS << HOST_BITS).into()
                }
                ip @ IpAddr::V4(_) => ip,
            }),
            Self::Unix(_) => None,
        }
    }

    /// Returns whether the peer counts as local: a loopback address, or on a Unix socket a process
    /// of root or of the server's own user.
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
