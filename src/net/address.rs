//! The syntax that the addresses of clients and servers share: `unix:PATH`, and IPv6 zones.

use std::net::Ipv6Addr;
use std::path::PathBuf;

/// Parses `unix:PATH`. Returns `None` for an address of another kind. `unix://PATH` is an
/// error, because it may be meant as a URL; `unix:///PATH` means the same in both.
pub(crate) fn parse_unix(text: &str) -> Option<Result<PathBuf, &'static str>> {
    let path = text.strip_prefix("unix:")?;
    Some(match path.chars().next() {
        Some('/') if path.starts_with("//") && !path.starts_with("///") => {
            Err("unix: is not a URL")
        }
        Some('~') if path.starts_with("~/") => Err("the shell does not expand this ~"),
        None => Err("unix: needs a path"),
        // In many programs, this means an abstract socket, which is not a file.
        Some('@') => Err("abstract sockets are not supported; for a file, write unix:./@NAME"),
        Some(_) => Ok(path.into()),
    })
}

/// Splits the zone from an IPv6 address such as `fe80::1%eth0`.
pub(crate) fn split_zone(ip: &str) -> (&str, Option<&str>) {
    ip.split_once('%').map_or((ip, None), |(ip, zone)| (ip, Some(zone)))
}

/// Returns whether this is an IPv6 address, with or without a zone.
pub(crate) fn is_ipv6(text: &str) -> bool {
    let (ip, zone) = split_zone(text);
    ip.parse::<Ipv6Addr>().is_ok() && !zone.is_some_and(|zone| zone.contains(':'))
}
