//! Connections refused with `error server-full`.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};

use super::listener::Accepted;
use crate::limits::MAX_REFUSED;
use crate::net::stream::{Socket as _, Stream};
use crate::protocol::{ErrorCode, Reply};

/// The maximum time that a refused connection is kept open, in milliseconds.
const LINGER_MS: u64 = 1000;

/// Keeps a few refused connections open for a moment. Closing a socket with unread input resets the
/// connection, and the reset could overtake the error line.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Each with its deadline, in milliseconds since the server's start. Oldest first.
    streams: VecDeque<(u64, Stream)>,
}

impl Refused {
    /// Sends `error server-full` with this explanation, and half-closes the connection. Closes a
    /// TLS connection without the line, because sending it would need a handshake.
    pub(super) fn refuse(&mut self, accepted: Accepted, explanation: &str, now_ms: u64) {
        let Accepted { mut stream, is_tls: false, .. } = accepted else { return };
        let mut line = Vec::new();
        Reply::Error { code: ErrorCode::SERVER_FULL.as_str(), explanation }.encode(&mut line);
        // The send buffer of a new socket has room for a line. An error means that the peer hung
        // up.
        let _ = stream.write(&line);
        let _ = stream.shutdown_write();
        if self.streams.len() == MAX_REFUSED {
            self.close_oldest();
        }
        self.streams.push_back((now_ms + LINGER_MS, stream));
    }

    /// Closes the connections whose deadline has passed.
    pub(super) fn close_overdue(&mut self, now_ms: u64) {
        while self.next_deadline().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.close_oldest();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.streams.front().map(|(deadline_ms, _)| *deadline_ms)
    }

    fn close_oldest(&mut self) {
        if let Some((_, mut stream)) = self.streams.pop_front() {
            // Read and discard input, so that the close does not become a reset.
            let _ = stream.read(&mut [0; 16 * 1024]);
        }
    }
}
