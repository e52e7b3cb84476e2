//! Listening sockets: creates them, accepts from them, and removes the files of Unix sockets.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{TcpListener, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};

use super::peer::Peer;
use crate::net::stream::{Endpoint, Stream};

/// How many connections may wait to be accepted, enough for a burst of 1000. The kernel caps it at
/// net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A listening socket. Dropping the listener of a Unix socket removes the socket's file, unless
/// another file has taken its place.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    /// The address, with the port that the kernel chose if it was to choose one.
    pub(super) address: Endpoint,
    /// Whether connections to this address are encrypted.
    pub(super) is_tls: bool,
    /// There may be connections to accept.
    pub(super) is_ready: bool,
    send_buffer: usize,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        /// Dropped before the listener: as long as that is open, the kernel does not reuse the
        /// file's inode number.
        _file: SocketFile,
        listener: UnixListener,
    },
}

/// The file of a Unix socket that this process created.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// A file's device and inode number.
type Identity = (u64, u64);

impl Listener {
    /// Listens on the address. The error is one line that says what is wrong and what to do.
    pub(super) fn bind(
        address: &Endpoint,
        is_tls: bool,
        unix_mode: u32,
        send_buffer: usize,
    ) -> Result<Self, String> {
        let fail = |error: String| format!("cannot listen on {address}: {error}");
        let (socket, address) = match address {
            Endpoint::Tcp(tcp) => {
                let (listener, bound) =
                    bind_tcp(*tcp, send_buffer).map_err(|error| fail(explain_tcp(&error, *tcp)))?;
                (Socket::Tcp(listener), Endpoint::Tcp(bound))
            }
            Endpoint::Unix(path) => {
                let (listener, file) =
                    bind_unix(path, unix_mode).map_err(|error| fail(error.to_string()))?;
                (Socket::Unix { listener, _file: file }, address.clone())
            }
        };
        Ok(Self { socket, address, is_tls, is_ready: true, send_buffer })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Socket::Unix { listener, .. } => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// Accepts the next connection, and sets its socket options.
    pub(super) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let stream = Stream::Tcp(stream);
                // This fails if the peer has reset the connection. Reading will report that.
                let _ = stream.tune();
                Ok((stream, Peer::Tcp(peer)))
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                let _ = sockopt::set_socket_send_buffer_size(&stream, self.send_buffer);
                let peer = Peer::Unix(credentials(&stream));
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr, send_buffer: usize) -> io::Result<(TcpListener, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = new_socket(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // [::] does not include 0.0.0.0, so a server can listen on both.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit the size. By default the kernel would buffer megabytes for a client
    // that does not read.
    sockopt::set_socket_send_buffer_size(&socket, send_buffer)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = StdTcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((TcpListener::from_std(listener), bound))
}

fn explain_tcp(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is in use; stop the program that uses it, or choose another, such as {}",
            SocketAddr::new(address.ip(), address.port().saturating_add(1))
        ),
        io::ErrorKind::AddrNotAvailable => format!("{error}; choose an address of this host"),
        io::ErrorKind::PermissionDenied => format!("{error}; choose a port of 1024 or higher"),
        _ => error.to_string(),
    }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => {
            io::Error::other("the path is too long for a Unix socket; choose a shorter one")
        }
        error => error.into(),
    })?;
    let _lock = lock_folder(path);
    remove_if_stale(path, &address)?;
    let socket = new_socket(AddressFamily::UNIX)?;
    rustix::net::bind(&socket, &address)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    // No peer can connect before the socket listens, so the mode holds from the beginning.
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from_std(StdUnixListener::from(socket)), file))
}

/// Removes the file of a Unix socket if no process listens on it: a killed server left it behind.
fn remove_if_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::other(
                "the file exists and is not a socket; choose another path",
            ));
        }
    }
    let probe = new_socket(AddressFamily::UNIX)?;
    match rustix::net::connect(probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        // EAGAIN means that the backlog is full: a process listens.
        Ok(()) | Err(Errno::AGAIN) => Err(io::Error::other(
            "the socket is in use; stop the program that uses it, or choose another path",
        )),
        Err(error) => {
            Err(io::Error::other(format!("cannot check whether the socket is in use: {error}")))
        }
    }
}

/// Locks the folder, so that of two servers that start at the same time neither removes the socket
/// that the other has bound and not yet listened on. Without a lock if the folder cannot be locked,
/// or another process keeps it locked.
fn lock_folder(path: &Path) -> Option<OwnedFd> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    let folder = match path.parent()? {
        folder if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
    for _ in 0..TRIES {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::AGAIN) => std::thread::sleep(PAUSE),
            Err(_) => break,
        }
    }
    None
}

fn new_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// The peer's process and user ids.
#[cfg(target_os = "linux")]
fn credentials(stream: &UnixStream) -> Option<(i32, u32)> {
    let credentials = sockopt::socket_peercred(stream).ok()?;
    Some((credentials.pid.as_raw_pid(), credentials.uid.as_raw()))
}

#[cfg(not(target_os = "linux"))]
fn credentials(_: &UnixStream) -> Option<(i32, u32)> {
    None
}

fn identity(path: &Path) -> io::Result<Identity> {
    path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
