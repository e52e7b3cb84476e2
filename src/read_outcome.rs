//! What one read of a connection gives: returned by transports, taken by the hub and the client.

use std::fmt;
use std::io;

/// The outcome of one read.
#[derive(Debug)]
pub enum ReadOutcome<'a> {
    /// The peer sent these bytes, at least one. There may be more.
    Data(&'a [u8]),
    /// The peer sent nothing for the caller, such as a step of a TLS handshake. There may be more.
    NoData,
    /// There is nothing to read until the poll reports the socket readable again.
    WouldBlock,
    /// The peer ended its data with a TLS close_notify. Further input is discarded until
    /// [`Eof`](Self::Eof).
    CloseNotify,
    /// The peer closed its side of the connection (TCP FIN).
    Eof,
    /// The peer closed its side without the close_notify that TLS requires: the data may be
    /// truncated.
    Truncated,
    /// TLS failed. Further input is discarded until [`Eof`](Self::Eof).
    TlsFailed(TlsFailure),
    /// The connection broke.
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

/// Why TLS failed, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// One peer does not trust the other's certificate.
    Untrusted(String),
    /// The peer does not speak TLS, or not as it should.
    Protocol(String),
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(reason) | Self::Protocol(reason) => f.write_str(reason),
        }
    }
}
