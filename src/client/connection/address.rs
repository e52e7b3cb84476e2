//! The server's address: parsing, name resolution, and advice if no server answers.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::digits;
use crate::net::stream::{DEFAULT_ADDRESS, Endpoint};

/// A server's address. A host name is resolved again for each connection.
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
    /// The address that `oyezd` listens on by default.
    fn default() -> Self {
        Self::Tcp { host: DEFAULT_ADDRESS.ip().to_string(), port: DEFAULT_ADDRESS.port() }
    }
}

impl FromStr for ServerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected HOST, HOST:PORT, [IPv6]:PORT or unix:PATH";
        match text.strip_prefix("unix:") {
            Some("") => return Err("unix: needs a path"),
            Some(path) => return Ok(Self::Unix(path.into())),
            None => {}
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(EXPECTED)?,
            // The colons in an IPv6 address do not introduce a port.
            None if text.parse::<IpAddr>().is_ok() => (text, ""),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_host = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(EXPECTED);
        }
        let port = match port {
            "" => DEFAULT_ADDRESS.port(),
            port => {
                let port = digits(port.strip_prefix(':').ok_or(EXPECTED)?);
                port.filter(|port| *port > 0)
                    .ok_or("expected a port from 1 to 65535 after the colon")?
            }
        };
        let host = host.to_owned();
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
    /// Resolves the host name. Returns all its addresses, in the order to try them. This blocks:
    /// the standard library has no asynchronous resolver.
    pub(crate) fn resolve(&self) -> Result<Vec<Endpoint>, String> {
        match self {
            Self::Unix(path) => Ok(vec![Endpoint::Unix(path.clone())]),
            Self::Tcp { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs();
                let found = found.map_err(|error| format!("host not found: {error}"))?;
                let mut endpoints: Vec<Endpoint> = found.map(Endpoint::Tcp).collect();
                endpoints.dedup();
                Ok(endpoints)
            }
        }
    }

    /// Returns the host name or address that the server's certificate must be valid for.
    pub(crate) fn certified_name(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) => "localhost",
        }
    }

    /// Returns advice for when no server answers at this address.
    pub(crate) fn advice(&self) -> String {
        match self {
            _ if *self == Self::default() => "start a server with: oyezd".to_owned(),
            Self::Tcp { host, port } if host == "localhost" => {
                format!("start a server with: oyezd --listen 127.0.0.1:{port}")
            }
            Self::Tcp { host, port } if !host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()) => {
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
