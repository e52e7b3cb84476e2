//! A client's connection, plain or over TLS.

use std::io::{self, Read, Write};
use std::net::{self, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// The maximum time until a server listens.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects once the server listens. With `tls`, also completes the TLS handshake. With
    /// `skips_line`, first skips the plaintext line that NATS sends before the handshake.
    pub(crate) fn open(
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
        skips_line: bool,
    ) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Instant::now();
        let mut stream = loop {
            match net::TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) if started.elapsed() > TIMEOUT => {
                    return Err(format!("cannot connect: {error}"));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        let configure = |stream: &net::TcpStream| {
            stream.set_nodelay(true)?;
            // Close with a reset, which frees the port immediately, without TIME_WAIT.
            sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
            io::Result::Ok(())
        };
        configure(&stream).map_err(|error| format!("cannot configure the socket: {error}"))?;
        let Some(config) = tls else {
            return nonblocking(stream).map(Self::Plain);
        };
        let mut byte = [0];
        while skips_line && byte != *b"\n" {
            stream.read_exact(&mut byte).map_err(|error| format!("no first line: {error}"))?;
        }
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let mut connection = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| format!("TLS: {error}"))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut stream)
                .map_err(|error| format!("TLS handshake: {error}"))?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, nonblocking(stream)?))))
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &mut tls.sock,
        };
        registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Writes `bytes`. If `bytes` is empty, flushes the TLS output buffer.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) if bytes.is_empty() => tls.flush().map(|()| 0),
            Self::Tls(tls) => tls.write(bytes),
        }
    }
}

fn nonblocking(stream: net::TcpStream) -> Result<TcpStream, String> {
    stream
        .set_nonblocking(true)
        .map_err(|error| format!("cannot configure the socket: {error}"))?;
    Ok(TcpStream::from_std(stream))
}
