//! Listening sockets: creates them, accepts from them, and removes the files of Unix sockets.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};

use super::config::Config;
use super::peer::Peer;
use crate::net::listen_address::ListenAddress;
use crate::net::stream::{Endpoint, Stream, tune};

/// The listen(2) backlog. The kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A listening socket. Dropping the listener of a Unix socket removes the socket's file, unless
/// another file has taken its place.
#[derive(Debug)]
pub(super) struct Listener {
    /// Dropped before the socket: while the socket is open, the kernel does not reuse the file's
    /// inode number.
    _file: Option<SocketFile>,
    socket: OwnedFd,
    /// The bound address. For port 0, it has the port that the kernel chose.
    pub(super) address: Endpoint,
    /// Whether connections to this address are encrypted.
    pub(super) is_tls: bool,
    /// There may be connections to accept.
    pub(super) is_ready: bool,
    send_buffer: usize,
}

/// An accepted connection.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) is_tls: bool,
}

impl Listener {
    /// Listens on the address, and registers with a poll. The error is one line that names the
    /// problem and the fix.
    pub(super) fn bind(
        address: &ListenAddress,
        is_tls: bool,
        config: &Config,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, String> {
        let fail = |error: io::Error| format!("cannot listen on {address}: {error}");
        let endpoint = address.resolve().map_err(fail)?;
        endpoint.check().map_err(fail)?;
        let (socket, address, file) = match &endpoint {
            Endpoint::Tcp(tcp) => {
                let (socket, bound) =
                    bind_tcp(*tcp).map_err(|error| fail(explain_tcp(error, *tcp)))?;
                (socket, Endpoint::Tcp(bound), None)
            }
            Endpoint::Unix(path) => {
                let (socket, file) = bind_unix(path, config.unix_mode).map_err(fail)?;
                (socket, endpoint, Some(file))
            }
        };
        registry
            .register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
            .map_err(fail)?;
        let send_buffer = config.limits.send_buffer;
        Ok(Self { _file: file, socket, address, is_tls, is_ready: true, send_buffer })
    }

    /// Accepts the next connection, and sets its socket options.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        let (socket, address) = rustix::net::acceptfrom(&self.socket)?;
        set_flags(&socket)?;
        // By default the kernel would buffer megabytes for a client that does not read. Setting an
        // option fails if the peer has reset the connection: reading will report that.
        let _ = sockopt::set_socket_send_buffer_size(&socket, self.send_buffer);
        let peer = match address.map(SocketAddr::try_from) {
            Some(Ok(address)) => {
                let _ = tune(&socket);
                Peer::Tcp(address)
            }
            _ => Peer::unix(&socket),
        };
        Ok(Accepted { stream: socket.into(), peer, is_tls: self.is_tls })
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = new_socket(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Telnet clients send part of some commands as urgent data. Accepted connections inherit this
    // option, and receive urgent data in order.
    sockopt::set_socket_oobinline(&socket, true)?;
    if address.is_ipv6() {
        // IPV6_V6ONLY: [::] does not include 0.0.0.0, so a server can listen on both.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let bound = rustix::net::getsockname(&socket)?.try_into()?;
    Ok((socket, bound))
}

fn explain_tcp(error: io::Error, address: SocketAddr) -> io::Error {
    io::Error::other(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is in use; stop the program that uses it, or choose another, such as {}",
            SocketAddr::new(address.ip(), address.port().saturating_add(1))
        ),
        io::ErrorKind::AddrNotAvailable => format!("{error}; choose an address of this host"),
        io::ErrorKind::PermissionDenied => format!("{error}; choose a port of 1024 or higher"),
        _ => return error,
    })
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let _lock = lock_directory(path);
    remove_if_stale(path)?;
    let socket = new_socket(AddressFamily::UNIX)?;
    rustix::net::bind(&socket, &address)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    // No peer can connect before the socket listens, so the mode applies to every connection.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((socket, file))
}

/// Removes the file of a Unix socket if no process listens on it: a killed server left it behind.
fn remove_if_stale(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::other(
                "the file exists and is not a socket; choose another path",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(io::Error::other(format!("cannot check whether the socket is in use: {error}")))
        }
        // WouldBlock means that the backlog is full: a process is listening.
        _ => Err(io::Error::other(
            "the socket is in use; stop the program that uses it, or choose another path",
        )),
    }
}

/// Locks the directory against another server that starts at the same time: that server could
/// mistake a socket that is bound, but not listening yet, for a stale one and remove it. Returns
/// `None` if the directory cannot be locked, or if another process keeps it locked.
fn lock_directory(path: &Path) -> Option<File> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    // Opening `<directory>/.` fails if it is in fact a pipe. Opening the pipe itself would block.
    let directory = File::open(path.with_file_name(".")).ok()?;
    for _ in 0..TRIES {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(_)) => break,
        }
    }
    None
}

fn new_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    set_flags(&socket)?;
    Ok(socket)
}

/// Makes the socket non-blocking and close-on-exec.
fn set_flags(socket: &OwnedFd) -> io::Result<()> {
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(rustix::io::ioctl_fionbio(socket, true)?)
}

/// The file of a Unix socket that this process created.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// See [`identity`].
    identity: (u64, u64),
}

/// A file's device and inode number.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
