//! Stream sockets, TCP or Unix, and the addresses that servers listen on.
//!
//! The trait `Socket` is the interface to the layers above: read, write and half-close. Keep-alive
//! detects a vanished TCP peer while nothing is sent, and the user timeout while data is
//! unacknowledged.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use rustix::io::Errno;
use rustix::net::sockopt;

/// The idle time before the kernel sends the first keep-alive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// The time between two keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// TCP_USER_TIMEOUT, in milliseconds: the maximum time that sent data stays unacknowledged, or the
/// peer's receive window closed, before the kernel drops the connection.
const USER_TIMEOUT_MS: u32 = 300_000;

/// The maximum length of a Unix socket's path, in bytes. Linux accepts one byte more, but most
/// clients cannot connect to such a path, because they need that byte for a NUL.
const MAX_UNIX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The address that `oyezd` listens on by default.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5050);

/// An address that a server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Returns whether traffic to this address may leave the host: true unless it is a loopback
    /// address or a Unix socket.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }

    /// Starts connecting to a server at this address. A failure is reported by a read or write.
    pub(crate) fn connect(&self) -> io::Result<Stream> {
        self.check()?;
        match self {
            Self::Tcp(address) => {
                let socket = TcpStream::connect(*address)?;
                if is_self_connection(&socket, address) {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                // The connection works without the socket options.
                let _ = tune(&socket);
                Ok(OwnedFd::from(socket).into())
            }
            Self::Unix(path) => UnixStream::connect(path),
        }
    }

    /// Rejects addresses that no socket can have, because the system's errors for them are unclear.
    pub(crate) fn check(&self) -> io::Result<()> {
        let why = match self {
            Self::Tcp(SocketAddr::V6(address))
                if address.ip().is_unicast_link_local() && address.scope_id() == 0 =>
            {
                let (ip, port) = (address.ip(), address.port());
                format!("a link-local address needs its interface, as in [{ip}%eth0]:{port}")
            }
            Self::Unix(path) if path.as_os_str().len() > MAX_UNIX_PATH => format!(
                "the path is too long for a Unix socket: {} bytes, at most {MAX_UNIX_PATH}",
                path.as_os_str().len()
            ),
            Self::Tcp(_) | Self::Unix(_) => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

/// Returns whether the socket is its own peer.
///
/// A connection to a local port also needs a port at its own end. If nobody listens on the port,
/// and the kernel chooses the same one, the socket connects to itself (a TCP simultaneous open) and
/// occupies the port, so that no server can listen on it.
fn is_self_connection(socket: &TcpStream, peer: &SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|local| {
        // A connection to the unspecified address, such as 0.0.0.0, goes to the loopback address.
        local.port() == peer.port() && (local.ip() == peer.ip() || peer.ip().is_unspecified())
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A byte stream that a [`Transport`](super::transport::Transport) runs over. Reads and writes do
/// not block.
pub(crate) trait Socket: Read + Write + fmt::Debug + 'static {
    /// Half-close: ends the output with a FIN. The peer's data can still be read.
    fn shutdown_write(&self) -> io::Result<()>;
}

/// A non-blocking TCP or Unix socket. mio's type for Unix sockets serves both, because the same
/// system calls read, write and close them.
pub(crate) type Stream = UnixStream;

impl Socket for Stream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Sets the options of a TCP socket: TCP_NODELAY, keep-alive and the user timeout.
pub(crate) fn tune(socket: impl AsFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns a port that the kernel may choose for a connection, and that is probably free.
    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // For connections, Linux prefers the ports that differ in parity from those for listeners.
        listener.local_addr().expect("a bound listener").port() ^ 1
    }

    #[test]
    fn client_never_connects_to_itself() {
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
            // The kernel tries all its ports in turn, so one round of attempts is usually enough.
            let is_refused = (0..20).map(|_| free_port()).any(|port| {
                let endpoint = Endpoint::Tcp(SocketAddr::new(ip.parse().expect(ip), port));
                (0..15_000).any(|_| match endpoint.connect() {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
                    Err(error) => panic!("{endpoint}: {error}"),
                    Ok(stream) => {
                        let own = rustix::net::getsockname(&stream).expect("a socket");
                        let peer = rustix::net::getpeername(&stream);
                        assert_ne!(peer, Ok(Some(own)), "{endpoint}: the client is its own server");
                        false
                    }
                })
            });
            assert!(is_refused, "{ip}: no connection had the port of its peer");
        }
    }

    #[test]
    fn impossible_addresses_are_explained() {
        let path = |len| Endpoint::Unix("x".repeat(len).into());
        assert!(path(MAX_UNIX_PATH).check().is_ok());
        let error = path(MAX_UNIX_PATH + 1).connect().expect_err("a path that is too long");
        assert!(error.to_string().contains("the path is too long"), "{error}");
        let zone = Endpoint::Tcp("[fe80::1]:7".parse().expect("an address")).connect();
        let error = zone.expect_err("an address without its interface");
        assert!(error.to_string().ends_with(", as in [fe80::1%eth0]:7"), "{error}");
    }
}
