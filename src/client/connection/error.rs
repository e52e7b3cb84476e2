//! Why connecting failed, or why a connection ended.

use std::fmt;
use std::io;

use crate::net::tls_config::Fingerprint;
use crate::read_outcome::TlsFailure;

/// Why connecting failed, or why the connection ended.
#[derive(Clone, Debug)]
pub(crate) struct LinkError {
    pub(crate) cause: Cause,
    /// What happened, for the user.
    pub(crate) why: String,
    /// What the user can do about it.
    pub(crate) advice: Option<String>,
}

/// The causes of a [`LinkError`], from the least to the most significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// No server listens there, or the host does not answer.
    Absent,
    /// The server closed the connection.
    Closed,
    /// The server is full or busy.
    Busy,
    /// Any other failure, such as a reset or a failed name lookup.
    Unavailable,
    /// Something accepted the connection, but sent no welcome.
    Silent,
    /// This host has no route to the address.
    Unreachable,
    /// The permissions of a Unix socket, or a firewall of this host, forbid the connection.
    Forbidden,
    /// The address is not valid for a server.
    Invalid,
    /// Something other than an oyez server answered.
    NotAServer,
    /// The TLS handshake failed, or the TLS connection broke.
    TlsFailed,
    /// One side does not trust the other's certificate, or the secret must not be sent there.
    Untrusted,
    /// The client does not know the server's certificate. The user can decide to trust it.
    UnknownCertificate(Fingerprint),
}

impl Cause {
    /// Returns whether the cause may go away by itself, for example when the server starts.
    pub(crate) fn is_temporary(self) -> bool {
        match self {
            Self::Absent
            | Self::Closed
            | Self::Busy
            | Self::Unavailable
            | Self::Silent
            | Self::Unreachable => true,
            Self::Forbidden
            | Self::Invalid
            | Self::NotAServer
            | Self::TlsFailed
            | Self::Untrusted
            | Self::UnknownCertificate(_) => false,
        }
    }
}

impl LinkError {
    pub(crate) fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self { cause, why: why.into(), advice: None }
    }

    pub(crate) fn with_advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.advice {
            Some(advice) => write!(f, "{}; {advice}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl From<TlsFailure> for LinkError {
    fn from(failure: TlsFailure) -> Self {
        match failure {
            TlsFailure::Untrusted(why) => Self::new(Cause::Untrusted, why),
            TlsFailure::UnknownCertificate { why, sha256 } => {
                Self::new(Cause::UnknownCertificate(Fingerprint(sha256)), why)
            }
            TlsFailure::Protocol(why) => Self::new(Cause::TlsFailed, why),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let (cause, why) = match error.kind() {
            Kind::ConnectionRefused => (Cause::Absent, "connection refused"),
            Kind::NotFound => (Cause::Absent, "no such socket"),
            Kind::TimedOut => (Cause::Absent, "connection timed out"),
            Kind::ConnectionReset | Kind::BrokenPipe => (Cause::Unavailable, "connection reset"),
            // The listen backlog of a Unix socket is full.
            Kind::WouldBlock => (Cause::Busy, "too many clients are waiting to be accepted"),
            Kind::PermissionDenied => (Cause::Forbidden, "permission denied"),
            Kind::HostUnreachable => (Cause::Unreachable, "no route to host"),
            Kind::NetworkUnreachable => (Cause::Unreachable, "network unreachable"),
            Kind::AddrNotAvailable => (Cause::Unreachable, "no local address can reach it"),
            Kind::InvalidInput => return Self::new(Cause::Invalid, error.to_string()),
            _ => return Self::new(Cause::Unavailable, error.to_string()),
        };
        Self::new(cause, why)
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_of_the_system_are_classified() {
        for (errno, cause, why) in [
            (Errno::CONNREFUSED, Cause::Absent, "connection refused"),
            (Errno::NOENT, Cause::Absent, "no such socket"),
            (Errno::TIMEDOUT, Cause::Absent, "connection timed out"),
            (Errno::CONNRESET, Cause::Unavailable, "connection reset"),
            (Errno::AGAIN, Cause::Busy, "too many clients are waiting to be accepted"),
            (Errno::ACCESS, Cause::Forbidden, "permission denied"),
            (Errno::PERM, Cause::Forbidden, "permission denied"),
            (Errno::HOSTUNREACH, Cause::Unreachable, "no route to host"),
            (Errno::NETUNREACH, Cause::Unreachable, "network unreachable"),
            (Errno::ADDRNOTAVAIL, Cause::Unreachable, "no local address can reach it"),
        ] {
            let error = LinkError::from(io::Error::from(errno));
            assert_eq!((error.cause, error.why.as_str()), (cause, why), "{errno:?}");
        }
        let other = LinkError::from(io::Error::from(Errno::NOTDIR));
        assert_eq!(other.cause, Cause::Unavailable);
        assert!(other.why.contains("directory"), "{}", other.why);
    }
}
