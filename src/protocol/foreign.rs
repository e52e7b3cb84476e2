//! Detects connections that speak another protocol, such as HTTP or TLS.
//!
//! A web page can make a browser send bytes of its choice to localhost. They arrive inside an HTTP
//! request, so nothing on a connection that looks like HTTP may be executed.

use super::command::CommandSpec;

/// A protocol that the server does not speak on this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignProtocol {
    /// An HTTP request.
    Http,
    /// A TLS handshake, on a listener without TLS.
    Tls,
    /// A PROXY protocol header, which tells the server the address of the proxy's client.
    Proxy,
}

impl ForeignProtocol {
    /// The protocol's name, for log lines and error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Proxy => "PROXY protocol",
        }
    }
}

/// HTTP methods, each with the space that follows it. A first line that starts with one is an HTTP
/// request. `PRI` opens HTTP/2.
const METHODS: [&str; 10] = [
    "GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI ",
];

/// The first byte of a TLS record that carries a handshake message.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// The number of bytes at the end of a line that [`ends_with_http_version`] inspects.
pub(super) const HTTP_VERSION_LEN: usize = b" HTTP/1.1".len();

/// Returns whether the line starts with an HTTP method and a space.
pub(super) fn starts_with_http_method(line: &[u8]) -> bool {
    METHODS.iter().any(|method| line.starts_with(method.as_bytes()))
}

/// Returns whether the line ends with ` HTTP/<digit>.<digit>`.
pub(super) fn ends_with_http_version(line: &[u8]) -> bool {
    matches!(line, [.., b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
}

/// Returns whether the line begins with a word, and a path or a URL, like an HTTP request with any
/// method. Checks the third word as far as it is complete: the line may be cut off.
pub(super) fn may_be_http_request(line: &[u8]) -> bool {
    let mut words = line.splitn(3, |&byte| byte == b' ').skip(1);
    let (target, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let has_target = target.starts_with(b"/") || target.windows(3).any(|part| part == b"://");
    has_target && b"HTTP/".starts_with(&version[..version.len().min(b"HTTP/".len())])
}

/// Returns whether this first line of a connection is a PROXY protocol header. Version 1 is a line
/// of text. Version 2 is binary: it begins with two empty lines, a line with only a NUL, and the
/// line `QUIT`.
pub(super) fn is_proxy_header(line: &[u8]) -> bool {
    line.starts_with(b"PROXY ") || line == b"\0"
}

/// Returns whether the line is a `Host` header, which every HTTP/1.1 request has.
pub(super) fn is_host_header(line: &[u8]) -> bool {
    first_word(line).eq_ignore_ascii_case(b"Host:")
}

/// Returns whether the line's first word is a command.
pub(super) fn starts_with_command(line: &[u8]) -> bool {
    std::str::from_utf8(first_word(line)).is_ok_and(|word| CommandSpec::find(word).is_some())
}

fn first_word(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == b' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_protocols_are_distinguished_from_commands() {
        for line in ["GET /", "POST ", "PRI * HTTP/2.0", "DELETE x"] {
            assert!(starts_with_http_method(line.as_bytes()), "{line:?}");
        }
        for line in ["", "GET", "GETAWAY now", "get x", " GET x", "PING x"] {
            assert!(!starts_with_http_method(line.as_bytes()), "{line:?}");
        }
        for line in ["BREW /pot HTTP/1.1", "x HTTP/0.9", " HTTP/2.0"] {
            assert!(ends_with_http_version(line.as_bytes()), "{line:?}");
        }
        for line in ["", "HTTP/1.1", "x HTTP/1.x", "x HTTP/1.1 ", "x http/1.1", "x\tHTTP/1.1"] {
            assert!(!ends_with_http_version(line.as_bytes()), "{line:?}");
        }
        for line in ["say / HTTP/1.1", "name http://x/ HTTP/1.0", "ping /x", "ping /x HT"] {
            assert!(may_be_http_request(line.as_bytes()), "{line:?}");
        }
        for line in ["say", "say like HTTP/1.1", "say a /x HTTP/1.1", "say /x is HTTP/1.1"] {
            assert!(!may_be_http_request(line.as_bytes()), "{line:?}");
        }
        for line in ["PROXY TCP4 192.0.2.1 192.0.2.2 40000 5050", "PROXY UNKNOWN", "\0"] {
            assert!(is_proxy_header(line.as_bytes()), "{line:?}");
        }
        for line in ["", "PROXY", "proxy x", " PROXY x", "\0\0", "\0x", "say \0"] {
            assert!(!is_proxy_header(line.as_bytes()), "{line:?}");
        }
        for line in ["Host: x", "host:", "HOST: "] {
            assert!(is_host_header(line.as_bytes()), "{line:?}");
        }
        for line in ["", "Host", "say Host: x", "Host:x", " Host: x"] {
            assert!(!is_host_header(line.as_bytes()), "{line:?}");
        }
        for (line, is_command) in
            [("SAY x", true), ("ping", true), ("says x", false), (" say", false)]
        {
            assert_eq!(starts_with_command(line.as_bytes()), is_command, "{line:?}");
        }
    }
}
