//! Sockets that are listened on: made, accepted from, and taken away again.

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

/// How many connections may wait to be accepted: a burst of 1000 must not be turned away. The
/// kernel takes as many of them as net.core.somaxconn says.
const BACKLOG: i32 = 4096;

/// A listening socket. Dropping it removes the file of a Unix socket, if it is still this one's.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    /// Where it listens: with the port that it got, if it was to choose one.
    pub(super) address: Endpoint,
    /// Whether what comes here is encrypted.
    pub(super) is_tls: bool,
    /// There may be connections to accept.
    pub(super) is_ready: bool,
    send_buffer: usize,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        /// Held for its end: it takes the file away, while the listener still keeps the file's
        /// number from being used again.
        _file: SocketFile,
        listener: UnixListener,
    },
}

/// The file of a Unix socket that this process has made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Its device, and its number there.
    identity: (u64, u64),
}

impl Listener {
    /// Listens on the address. The error says what is wrong, and what to do.
    pub(super) fn bind(
        address: &Endpoint,
        is_tls: bool,
        unix_mode: u32,
        send_buffer: usize,
    ) -> Result<Self, String> {
        let (socket, address) = match address {
            Endpoint::Tcp(wanted) => {
                let (listener, got) = bind_tcp(*wanted, send_buffer).map_err(|error| {
                    format!("cannot listen on {wanted}: {}", explain_tcp(&error, *wanted))
                })?;
                (Socket::Tcp(listener), Endpoint::Tcp(got))
            }
            Endpoint::Unix(path) => {
                let (listener, file) = bind_unix(path, unix_mode)
                    .map_err(|error| format!("cannot listen on {address}: {error}"))?;
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

    /// The next connection that waits, its options set.
    pub(super) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let stream = Stream::Tcp(stream);
                // A connection that is reset already has no options to set; reading it tells.
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
        // [::] and 0.0.0.0 are two addresses, and each can be listened on beside the other.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit it. By default the kernel would buffer megabytes for a client that
    // does not read.
    sockopt::set_socket_send_buffer_size(&socket, send_buffer)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = StdTcpListener::from(socket);
    let got = listener.local_addr()?;
    Ok((TcpListener::from_std(listener), got))
}

fn explain_tcp(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is in use; end the program that has it, or choose another: --listen {}",
            SocketAddr::new(address.ip(), address.port().saturating_add(1))
        ),
        io::ErrorKind::AddrNotAvailable => format!("{error}; it has to be an address of this host"),
        io::ErrorKind::PermissionDenied => format!("{error}; choose a port from 1024 on"),
        _ => error.to_string(),
    }
}

fn bind_unix(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), String> {
    let plain = |error: Errno| error.to_string();
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => "the path is too long; a socket's has at most 107 bytes".to_owned(),
        error => error.to_string(),
    })?;
    let _one_at_a_time = lock_folder(path);
    remove_if_stale(path, &address)?;
    let socket = new_socket(AddressFamily::UNIX).map_err(plain)?;
    rustix::net::bind(&socket, &address).map_err(plain)?;
    let identity = identity(path).map_err(|error| error.to_string())?;
    let file = SocketFile { path: path.to_owned(), identity };
    // Nobody can connect before it is listened on, so the mode holds from the beginning.
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(plain)?;
    rustix::net::listen(&socket, BACKLOG).map_err(plain)?;
    Ok((UnixListener::from_std(StdUnixListener::from(socket)), file))
}

/// Takes a socket's file away if it is left over from a server that is gone, and only then.
fn remove_if_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), String> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err("there is a file which is no socket; choose another path".to_owned()),
    }
    let probe = new_socket(AddressFamily::UNIX).map_err(|error| error.to_string())?;
    match rustix::net::connect(probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(|error| error.to_string()),
        // With a full backlog, somebody serves it, too.
        Ok(()) | Err(Errno::AGAIN) => {
            Err("the socket is in use; end the program that has it, or choose another path"
                .to_owned())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(format!("cannot tell whether the socket is in use: {error}")),
    }
}

/// Keeps other servers from looking whether a socket is left over while this one makes its own, until
/// it is dropped. Where a folder cannot be locked, or somebody else keeps it locked, it goes without.
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

#[cfg(target_os = "linux")]
fn credentials(stream: &UnixStream) -> Option<(i32, u32)> {
    let credentials = sockopt::socket_peercred(stream).ok()?;
    Some((credentials.pid.as_raw_pid(), credentials.uid.as_raw()))
}

#[cfg(not(target_os = "linux"))]
fn credentials(_: &UnixStream) -> Option<(i32, u32)> {
    None
}

/// Which file it is, whatever its name: its device, and its number there.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
