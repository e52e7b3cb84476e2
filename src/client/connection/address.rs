//! The server's address: parsing it, resolving it, and advice when nothing answers there.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::digits;
use crate::net::stream::{DEFAULT_ADDRESS, Endpoint};

/// A server's address. A host name in it is resolved for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// A host and a port.
    Tcp {
        /// A host name or an IP address.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Default for ServerAddress {
    /// The address that a server listens on by default.
    fn default() -> Self {
        Self::Tcp { host: DEFAULT_ADDRESS.ip().to_string(), port: DEFAULT_ADDRESS.port() }
    }
}

impl FromStr for ServerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected HOST, HOST:PORT, [IPv6]:PORT or unix:PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("unix: needs a path")
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (host, port) = if let Ok(ip) = text.parse::<IpAddr>() {
            (ip.to_string(), None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(EXPECTED)?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or(EXPECTED)?),
            };
            (host.to_owned(), port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (text.to_owned(), None),
            }
        };
        let is_host = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(EXPECTED);
        }
        let port = match port {
            None => DEFAULT_ADDRESS.port(),
            Some(port) => match digits(port) {
                Some(port) if port > 0 => port,
                _ => return Err("expected a port from 1 to 65535 after the colon"),
            },
        };
        Ok(Self::Tcp { host, port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ServerAddress {
    /// Resolves the host name: all its addresses, in the order to try them. This blocks, since the
    /// system offers nothing else.
    pub(crate) fn resolve(&self) -> Result<Vec<Endpoint>, String> {
        match self {
            Self::Unix(path) => Ok(vec![Endpoint::Unix(path.clone())]),
            Self::Tcp { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs();
                let mut addresses: Vec<SocketAddr> =
                    found.map_err(|error| format!("host not found: {error}"))?.collect();
                addresses.dedup();
                if addresses.is_empty() {
                    return Err("the host name has no address".to_owned());
                }
                Ok(addresses.into_iter().map(Endpoint::Tcp).collect())
            }
        }
    }

    /// The host name or address that the server's certificate must be valid for.
    pub(crate) fn certified_name(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) => "localhost",
        }
    }

    /// What to do if no server answers at this address.
    pub(crate) fn advice(&self) -> String {
        let is_local = match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        };
        match self {
            _ if *self == Self::default() => "start a server with: oyezd".to_owned(),
            Self::Tcp { host, port } if host == "localhost" => {
                format!("start a server with: oyezd --listen 127.0.0.1:{port}")
            }
            Self::Tcp { port, .. } if !is_local => {
                format!("start a server there with: oyezd --listen 0.0.0.0:{port} or [::]:{port}")
            }
            _ => format!("start a server with: oyezd --listen {self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_with_and_without_a_port() {
        for (text, shown) in [
            ("localhost", "localhost:5050"),
            ("host.example:1", "host.example:1"),
            ("10.0.0.1", "10.0.0.1:5050"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("::1", "[::1]:5050"),
            ("[::1]", "[::1]:5050"),
            ("[::1]:7", "[::1]:7"),
            ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7"),
            ("unix:/run/oyez", "unix:/run/oyez"),
        ] {
            let address: Result<ServerAddress, _> = text.parse();
            assert_eq!(address.map(|address| address.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in [
            "",
            ":5050",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "host:1:2",
            "[::1",
            "[::1]5",
            "a b",
            "unix:",
            "http://x",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text:?}");
        }
    }
}
