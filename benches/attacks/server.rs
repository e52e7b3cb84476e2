//! The server under attack.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

/// The maximum time until the server listens.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running oyezd. Dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        // The listener is closed immediately, so that the server can bind its port.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(program);
        command.args(["--log-level", "error", "--listen", &address.to_string()]).args(arguments);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, address };
        let started = Instant::now();
        while server.connect().is_err() {
            if started.elapsed() > TIMEOUT {
                return Err(io::Error::other("the server does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Connects a client. Its connection closes with a reset, which frees the port immediately.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        Ok(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
