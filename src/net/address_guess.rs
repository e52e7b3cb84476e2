//! Guesses which address was meant by a text that is not an address, such as a URL or a path.

use super::address::is_ipv6;
use super::stream::DEFAULT_ADDRESS;

/// An address that was probably meant. It may be invalid.
#[derive(Debug)]
pub(crate) struct Guess {
    pub(crate) address: String,
    is_tls: bool,
}

impl Guess {
    /// Guesses which address was meant by a text that is not an address.
    pub(crate) fn new(text: &str) -> Self {
        let text = text.trim();
        let plain = |address| Self { address, is_tls: false };
        if let Some(path) = text.strip_prefix("unix:") {
            return plain(unix(path.strip_prefix("//").unwrap_or(path)));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let address = text.trim_end_matches('/');
            let is_path = address.contains('/') || address.ends_with(".sock");
            return plain(if is_path { unix(address) } else { tcp(address) });
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        let is_tls = matches!(scheme.as_str(), "https" | "oyezs" | "ssl" | "tcps" | "tls" | "wss");
        Self { address: tcp(authority), is_tls }
    }

    /// Tells the user what to write. `tls` is the option for an encrypted connection.
    pub(crate) fn advice(&self, tls: &str) -> String {
        let Self { address, is_tls } = self;
        match is_tls {
            _ if address.starts_with("unix:") => {
                format!("not an address; for a Unix socket, write {address}")
            }
            true => format!("not an address; write {address} and use {tls}"),
            false => format!("not an address; write {address}"),
        }
    }
}

/// The shell expands `~/` only at the start of a word.
fn unix(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(path) => format!("unix:$HOME/{path}"),
        None => format!("unix:{path}"),
    }
}

fn tcp(text: &str) -> String {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let host = if is_ipv6(host) { host } else { host.strip_suffix(':').unwrap_or(host) };
    if host.is_empty() && !text.is_empty() {
        return DEFAULT_ADDRESS.ip().to_string();
    }
    if parse_port(host.strip_prefix(':').unwrap_or(host)).is_some() {
        return format!("{}:{}", DEFAULT_ADDRESS.ip(), host.trim_start_matches(':'));
    }
    let words: Vec<&str> = host.split_whitespace().collect();
    let split = match words.as_slice() {
        [host, port] if parse_port(port).is_some() => Some((*host, *port)),
        _ => split_port(host),
    };
    match split {
        Some((ip, port)) if is_ipv6(ip) => format!("[{ip}]:{port}"),
        Some((host, port)) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Unlike `str::parse`, this rejects a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Splits an IPv6 address without brackets from a port of at least four digits. Such a text may be
/// a valid IPv6 address as a whole.
pub(crate) fn split_port(text: &str) -> Option<(&str, &str)> {
    let (ip, port) = text.rsplit_once(':')?;
    (is_ipv6(ip) && port.len() >= 4 && parse_port(port).is_some()).then_some((ip, port))
}
