//! The server's address: parsing, name resolution, and advice if no server answers.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cli::digits;
use crate::client::connection::error::{Cause, LinkError};
use crate::net::address::{is_ipv6, parse_unix, split_zone};
use crate::net::address_guess::{Guess, split_port};
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| {
            let guess = Guess::new(text);
            match Self::parse(&guess.address) {
                Ok(_) => guess.advice("--tls"),
                Err(_) => error.to_owned(),
            }
        })
    }
}

impl ServerAddress {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected HOST, HOST:PORT, [IPv6]:PORT or unix:PATH";
        if let Some(path) = parse_unix(text) {
            return Ok(Self::Unix(path?));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(EXPECTED)?,
            // The colons in an IPv6 address do not introduce a port.
            None if is_ipv6(text) => (text, ""),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_host = |c: char| !c.is_whitespace() && !c.is_control() && !"/@".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(EXPECTED);
        }
        // The resolver would read 5050 as 0.0.19.186.
        if !host.contains('.') && parse_ipv4(host).is_some() {
            return Err("a number is not a host; expected HOST:PORT");
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
    pub(crate) fn resolve(&self) -> Result<Vec<Endpoint>, LinkError> {
        let (host, port) = match self {
            Self::Unix(path) => return Ok(vec![Endpoint::Unix(path.clone())]),
            Self::Tcp { host, port } => (host.as_str(), *port),
        };
        let found = (host, port).to_socket_addrs().map_err(|error| {
            let (why, advice) = explain_lookup(&error);
            let why = format!("cannot reach {self}: {why}");
            if host.ends_with(".sock") || Path::new(host).exists() {
                let advice = format!("for a Unix socket, write unix:{host}");
                return LinkError::new(Cause::Invalid, why).with_advice(advice);
            }
            LinkError::new(Cause::Unavailable, why).with_advice(advice)
        })?;
        let mut endpoints: Vec<Endpoint> = vec![];
        for endpoint in found.map(Endpoint::Tcp) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        Ok(endpoints)
    }

    /// Returns the host name or address that the server's certificate must be valid for.
    /// Certificates contain neither zones nor short forms of IPv4 addresses, and their names do not
    /// end with a dot.
    pub(crate) fn certified_name(&self) -> Cow<'_, str> {
        match self {
            Self::Tcp { host, .. } => match parse_ip(host) {
                Some(ip) => ip.to_canonical().to_string().into(),
                None => host.strip_suffix('.').unwrap_or(host).into(),
            },
            Self::Unix(_) => "localhost".into(),
        }
    }

    /// Returns the address that was probably meant if this one cannot be reached. `::1:5050` is a
    /// valid IPv6 address, but probably stands for `[::1]:5050`.
    pub(crate) fn suggestion(&self) -> Option<String> {
        let Self::Tcp { host, .. } = self else { return None };
        split_port(host).map(|(ip, port)| format!("[{ip}]:{port}"))
    }

    /// Returns advice for when no server answers at this address.
    pub(crate) fn advice(&self, has_tls: bool) -> String {
        let listen = if has_tls { "--listen-tls" } else { "--listen" };
        match self {
            _ if *self == Self::default() && !has_tls => "start a server with: oyezd".to_owned(),
            Self::Tcp { host, port } => match parse_ip(host) {
                Some(ip) if ip.is_loopback() => {
                    format!("start a server with: oyezd {listen} {}", SocketAddr::new(ip, *port))
                }
                None if host == "localhost" => {
                    format!("start a server with: oyezd {listen} 127.0.0.1:{port}")
                }
                _ => {
                    format!(
                        "start a server there with: oyezd {listen} 0.0.0.0:{port} or [::]:{port}"
                    )
                }
            },
            Self::Unix(_) => format!("start a server with: oyezd {listen} {self}"),
        }
    }
}

/// Returns why a name lookup failed, and advice. The standard library reports the resolver's error
/// only as text.
fn explain_lookup(error: &io::Error) -> (String, &'static str) {
    let text = error.to_string();
    let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let is_temporary = ["temporary failure", "try again"] // glibc and macOS; musl
        .iter()
        .any(|part| why.to_ascii_lowercase().contains(part));
    if is_temporary || error.raw_os_error().is_some() {
        let advice = "check this host's network and name servers, or try again later";
        (format!("host name lookup failed: {why}"), advice)
    } else {
        let advice = "check its spelling, and whether this host can resolve names";
        (format!("host not found: {why}"), advice)
    }
}

/// Parses an IP address in any form that the system's resolver accepts. Ignores the zone.
fn parse_ip(host: &str) -> Option<IpAddr> {
    match split_zone(host).0.parse() {
        Ok(ip) => Some(IpAddr::V6(ip)),
        Err(_) => parse_ipv4(host).map(IpAddr::V4),
    }
}

/// Parses an IPv4 address of one to four numbers. The last one fills all remaining bytes: `127.1`
/// is 127.0.0.1. Numbers may be octal (`010`) or hexadecimal (`0x8`), as in C.
fn parse_ipv4(host: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match (text.strip_prefix("0x").or(text.strip_prefix("0X")), text) {
        (Some(hex), _) if hex.starts_with('+') => None,
        (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
        (None, text) if text.len() > 1 && text.starts_with('0') => {
            digits::<u64>(text).and_then(|_| u32::from_str_radix(text, 8).ok())
        }
        (None, text) => digits(text),
    };
    let numbers = host.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let (last, bytes) = numbers.split_last()?;
    let free_bits = 32_u32.checked_sub(8 * bytes.len() as u32).filter(|bits| *bits > 0)?;
    if bytes.iter().any(|byte| *byte > 255) || u64::from(*last) >> free_bits > 0 {
        return None;
    }
    let high = bytes.iter().fold(0, |high, byte| high << 8 | u64::from(*byte));
    Some(Ipv4Addr::from_bits((high << free_bits) as u32 | last))
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
            ("fe80::1%eth0", "[fe80::1%eth0]:5050"),
            ("127.1", "127.1:5050"),
            ("my_host:7", "my_host:7"),
            ("5050.example", "5050.example:5050"),
            ("unix:/run/oyez", "unix:/run/oyez"),
            ("unix:./@name", "unix:./@name"),
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
            "unix:@name",
            "5050",
            "5050:5050",
            "[5050]",
            "0x13ba",
            "http://x",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn number_instead_of_a_host_is_explained() {
        for (text, expected) in [
            ("5050", "not an address; write 127.0.0.1:5050"),
            ("65536", "a number is not a host; expected HOST:PORT"),
            ("2130706433", "a number is not a host; expected HOST:PORT"),
            ("0", "a number is not a host; expected HOST:PORT"),
            ("0x13ba", "a number is not a host; expected HOST:PORT"),
            ("7:5050", "a number is not a host; expected HOST:PORT"),
        ] {
            let error = text.parse::<ServerAddress>().expect_err(text);
            assert_eq!(error, expected, "{text}");
        }
    }

    #[test]
    fn only_an_unknown_host_is_reported_as_not_found() {
        let lookup = |why| io::Error::other(format!("failed to lookup address information: {why}"));
        for why in ["Name or service not known", "No address associated with hostname"] {
            let (actual, advice) = explain_lookup(&lookup(why));
            assert_eq!(actual, format!("host not found: {why}"));
            assert!(advice.starts_with("check its spelling"), "{advice}");
        }
        for error in [
            lookup("Temporary failure in name resolution"),
            lookup("Try again"),
            rustix::io::Errno::MFILE.into(),
        ] {
            let (why, advice) = explain_lookup(&error);
            assert!(why.starts_with("host name lookup failed: "), "{why}");
            assert!(!advice.contains("spelling"), "{advice}");
        }
    }

    #[test]
    fn certified_name_has_the_form_that_certificates_contain() {
        for (text, expected) in [
            ("host.example:1", "host.example"),
            ("host.example.", "host.example"),
            ("my_host", "my_host"),
            ("10.0.0.1", "10.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("0x7f.1:5050", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("1.2.772", "1.2.3.4"),
            ("127.256.1", "127.256.1"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("1.2.3.256", "1.2.3.256"),
            ("1.08", "1.08"),
            ("1.0x+8", "1.0x+8"),
            ("1..2", "1..2"),
            ("::1", "::1"),
            ("[::ffff:127.0.0.1]:7", "127.0.0.1"),
            ("[fe80::1%eth0]:7", "fe80::1"),
            ("fe80::0:1%2", "fe80::1"),
            ("unix:/run/oyez", "localhost"),
        ] {
            let address: ServerAddress = text.parse().expect(text);
            assert_eq!(address.certified_name(), expected, "{text}");
            if let ServerAddress::Tcp { host, port } = &address
                && let Some(ip) = parse_ip(host)
                && !host.contains('%')
            {
                let resolved = address.resolve().expect("no name server is needed");
                assert_eq!(resolved, [Endpoint::Tcp(SocketAddr::new(ip, *port))], "{text}");
            }
        }
    }
}
