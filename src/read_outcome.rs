//! The outcome of one read from a connection. Transports return it; the hub and the client handle
//! it.

use std::fmt;
use std::io;

/// The outcome of one read.
#[derive(Debug)]
pub enum ReadOutcome<'a> {
    /// At least one byte from the peer. There may be more to read.
    Data(&'a [u8]),
    /// No data for the caller, for example after a step of the TLS handshake. There may be more to
    /// read.
    NoData,
    /// Nothing to read until the poll reports the socket readable again.
    WouldBlock,
    /// The peer ended its data with a TLS close_notify. Further input is discarded until
    /// [`Eof`](Self::Eof).
    CloseNotify,
    /// The peer shut down its write side (FIN): a half-close or a full close.
    Eof,
    /// The peer sent a FIN without the close_notify that TLS requires, so data may be missing.
    Truncated,
    /// TLS failed. Further input is discarded until [`Eof`](Self::Eof).
    TlsFailed(TlsFailure),
    /// The connection failed, for example with a reset.
    Failed(io::Error),
}

impl From<io::Error> for ReadOutcome<'_> {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            io::ErrorKind::Interrupted => Self::NoData,
            // rustls reports a missing close_notify this way.
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Failed(error),
        }
    }
}

/// Why TLS failed, with an explanation for users and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// One side does not trust the other's certificate.
    Untrusted(String),
    /// The client refused the server's certificate only because it does not know it: no trusted
    /// authority has signed it, or another one is pinned.
    UnknownCertificate {
        /// The explanation.
        why: String,
        /// The SHA-256 hash of the certificate.
        sha256: [u8; 32],
    },
    /// The peer does not speak TLS, or violates the protocol.
    Protocol(String),
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(why) | Self::UnknownCertificate { why, .. } | Self::Protocol(why) => {
                f.write_str(why)
            }
        }
    }
}
