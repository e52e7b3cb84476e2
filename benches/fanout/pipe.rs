//! A connection, plain or encrypted.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) enum Pipe {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Pipe {
    /// Connects, as soon as somebody listens there, and shakes hands, if they are to be shaken: behind
    /// the first line, if that goes in plain.
    pub(crate) fn connect(
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
        first_line_is_plain: bool,
    ) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let since = Instant::now();
        let mut stream = loop {
            match std::net::TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) if since.elapsed() > PATIENCE => {
                    return Err(format!("connect: {error}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let tune = |stream: &std::net::TcpStream| {
            stream.set_nodelay(true)?;
            // It goes with a reset, so that its port is free at once.
            sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
            io::Result::Ok(())
        };
        tune(&stream).map_err(|error| format!("socket: {error}"))?;
        let Some(config) = tls else {
            return nonblocking(stream).map(Self::Plain);
        };
        let mut byte = [0];
        while first_line_is_plain && byte != *b"\n" {
            stream.read_exact(&mut byte).map_err(|error| format!("first line: {error}"))?;
        }
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let mut connection = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| format!("TLS: {error}"))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| format!("handshake: {error}"))?;
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

    /// Writes, and passes on what was taken before and is not on its way.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => {
                if bytes.is_empty() {
                    tls.flush().map(|()| 0)
                } else {
                    tls.write(bytes)
                }
            }
        }
    }
}

fn nonblocking(stream: std::net::TcpStream) -> Result<TcpStream, String> {
    stream.set_nonblocking(true).map_err(|error| format!("socket: {error}"))?;
    Ok(TcpStream::from_std(stream))
}
