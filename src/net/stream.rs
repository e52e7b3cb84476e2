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
use std::str::FromStr;
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
        match self {
            Self::Tcp(address) => {
                let socket = TcpStream::connect(*address)?;
                // The connection works without the socket options.
                let _ = tune(&socket);
                Ok(OwnedFd::from(socket).into())
            }
            Self::Unix(path) => UnixStream::connect(path),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path"),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "expected IP:PORT, [IPv6]:PORT or unix:PATH, as in 127.0.0.1:5050"),
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
