//! The addresses that servers listen on: `IP:PORT`, `[IPv6%ZONE]:PORT` and `unix:PATH`.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV6, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use super::address::parse_unix;
use super::address_guess::{Guess, parse_port};
use super::stream::{DEFAULT_ADDRESS, Endpoint};

/// An address for a server to listen on. The interface of a link-local address may appear only
/// after parsing, so `resolve` looks it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address, without its zone.
    endpoint: Endpoint,
    /// The zone of a link-local address: the name of its network interface.
    zone: Option<String>,
}

impl Default for ListenAddress {
    /// The address that `oyezd` listens on by default.
    fn default() -> Self {
        Self { endpoint: Endpoint::Tcp(DEFAULT_ADDRESS), zone: None }
    }
}

impl ListenAddress {
    /// The address of a Unix socket.
    pub fn unix(path: PathBuf) -> Self {
        Self { endpoint: Endpoint::Unix(path), zone: None }
    }

    /// Looks up the network interface, if the address names one.
    pub(crate) fn resolve(&self) -> io::Result<Endpoint> {
        let (Endpoint::Tcp(address), Some(zone)) = (&self.endpoint, &self.zone) else {
            return Ok(self.endpoint.clone());
        };
        // The resolver parses the address itself, so this queries no name server.
        let found = (format!("{}%{zone}", address.ip()), address.port()).to_socket_addrs();
        let found = found.ok().and_then(|mut addresses| addresses.next());
        found
            .map(Endpoint::Tcp)
            .ok_or_else(|| io::Error::other(format!("this host has no network interface {zone}")))
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| advice(text).unwrap_or_else(|| error.to_owned()))
    }
}

/// Tells the user which address was probably meant, if that can be guessed.
fn advice(text: &str) -> Option<String> {
    let mut guess = Guess::new(text);
    for (host, ip) in [("localhost", Ipv4Addr::LOCALHOST), ("*", Ipv4Addr::UNSPECIFIED)] {
        if let Some(port) = guess.address.strip_prefix(host) {
            guess.address = format!("{ip}{port}");
        }
    }
    let (address, port) = (&guess.address, DEFAULT_ADDRESS.port());
    let candidates = [address.clone(), format!("{address}:{port}"), format!("[{address}]:{port}")];
    let count = if address.starts_with("unix:") { 1 } else { candidates.len() };
    let is_valid = |text: &String| ListenAddress::parse(text).is_ok();
    guess.address = candidates.into_iter().take(count).find(is_valid)?;
    let advice = guess.advice("--listen-tls");
    Some(match parse_port(text.strip_prefix(':').unwrap_or(text)) {
        Some(port) => format!("{advice}, or 0.0.0.0:{port} for other hosts as well"),
        None => advice,
    })
}

impl ListenAddress {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected IP:PORT, [IPv6]:PORT or unix:PATH, as in 127.0.0.1:5050";
        if let Some(path) = parse_unix(text) {
            return path.map(Self::unix);
        }
        // This includes zones that are numbers.
        if let Ok(address) = text.parse() {
            return Ok(Self { endpoint: Endpoint::Tcp(address), zone: None });
        }
        let (ip, rest) = text.split_once('%').ok_or(EXPECTED)?;
        let (zone, port) = rest.split_once(']').ok_or(EXPECTED)?;
        let address: SocketAddrV6 = format!("{ip}]{port}").parse().map_err(|_| EXPECTED)?;
        if zone.is_empty() || zone.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(EXPECTED);
        }
        if !address.ip().is_unicast_link_local() {
            return Err("only a link-local address (fe80::/10) can name an interface");
        }
        Ok(Self { endpoint: Endpoint::Tcp(address.into()), zone: Some(zone.to_owned()) })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.endpoint, &self.zone) {
            (Endpoint::Tcp(address), Some(zone)) => {
                write!(f, "[{}%{zone}]:{}", address.ip(), address.port())
            }
            (endpoint, _) => endpoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn listen_addresses_are_parsed_and_shown_as_written() {
        for text in [
            "127.0.0.1:0",
            "[::]:5050",
            "[fe80::1%2]:5050",
            "[fe80::1%eth0]:5050",
            "[fe80::1%br-lan.7]:0",
            "unix:/run/oyez",
            "unix:./@name",
            "unix:a@b",
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        for (text, error) in [
            ("", "expected IP:PORT"),
            ("127.1:5050", "expected IP:PORT"),
            ("host:5050", "expected IP:PORT"),
            ("65536", "expected IP:PORT"),
            ("[fe80::1%]:5050", "expected IP:PORT"),
            ("[fe80::1%a b]:5050", "expected IP:PORT"),
            ("[127.0.0.1%eth0]:5050", "expected IP:PORT"),
            ("[::1%lo]:5050", "only a link-local address"),
            ("unix:", "unix: needs a path"),
            ("unix:@name", "write unix:./@NAME"),
            ("unix:@", "write unix:./@NAME"),
        ] {
            let actual = text.parse::<ListenAddress>().expect_err(text);
            assert!(actual.contains(error), "{text:?}: {actual}");
        }
    }

    #[test]
    fn interface_of_a_link_local_address_is_looked_up() {
        let resolve = |text: &str| text.parse::<ListenAddress>().expect(text).resolve();
        let resolved = resolve("[fe80::1%lo]:7").expect("every host has a loopback interface");
        let Endpoint::Tcp(SocketAddr::V6(address)) = resolved else { panic!("{resolved}") };
        assert!(address.scope_id() > 0 && address.port() == 7, "{address}");
        assert!(Endpoint::Tcp(address.into()).check().is_ok());
        let error = resolve("[fe80::1%nosuch0]:7").expect_err("no such interface");
        assert_eq!(error.to_string(), "this host has no network interface nosuch0");
        let error = resolve("[fe80::1]:7").expect("no interface to look up").check();
        let error = error.expect_err("an address without a zone");
        assert!(error.to_string().ends_with(", as in [fe80::1%eth0]:7"), "{error}");
    }
}
