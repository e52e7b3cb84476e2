//! Stream sockets, TCP or Unix, and the addresses that servers listen on.
//!
//! `Socket` is what the layers above need of one: read, write and half-close. TCP connections use
//! keep-alive and a user timeout, so that a vanished peer is noticed even while nothing is sent.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::sockopt;

/// How long a connection is idle before the kernel sends the first keep-alive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// The time between two keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long sent data may stay unacknowledged, or the peer's receive window closed, before the
/// kernel drops the connection, in milliseconds.
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
    /// Whether traffic to this address may leave the host: anything but loopback and Unix sockets.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
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

/// A connected byte stream that a [`Transport`](super::transport::Transport) runs over. Reads and
/// writes do not block.
pub(crate) trait Socket: Read + Write {
    /// Half-close: ends the output with a FIN. The peer's data can still be read.
    fn shutdown_write(&self) -> io::Result<()>;
}

/// A connected, non-blocking socket of the system.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Sets TCP_NODELAY, keep-alive and the user timeout. Does nothing on a Unix socket.
    pub(crate) fn tune(&self) -> Result<(), Errno> {
        let Self::Tcp(socket) = self else { return Ok(()) };
        sockopt::set_tcp_nodelay(socket, true)?;
        sockopt::set_socket_keepalive(socket, true)?;
        #[cfg(target_os = "linux")]
        {
            sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
            sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
            sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT_MS)?;
        }
        Ok(())
    }

    /// Registers the socket with a poll, for reading and writing.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interests),
            Self::Unix(stream) => registry.register(stream, token, interests),
        }
    }
}

impl Socket for Stream {
    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
