//! Connections that came when the server was full.

use std::collections::VecDeque;
use std::io::{Read, Write};

use crate::limits::MAX_REFUSED;
use crate::net::stream::{Socket as _, Stream};
use crate::protocol::{ErrorCode, Reply};

/// A few connections that were told `server-full`, and are kept for a little while: one that is
/// closed with its input unread is reset, and the reset can overtake what it was told.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// With the time at which each is closed, in milliseconds since the server's start.
    streams: VecDeque<(u64, Stream)>,
}

/// How long a refused connection is kept, in milliseconds.
const KEPT_MS: u64 = 1000;

impl Refused {
    /// Tells a connection that there is no room for it, and why, and lets it go.
    pub(super) fn refuse(&mut self, mut stream: Stream, explanation: &str, now_ms: u64) {
        let mut line = Vec::new();
        Reply::Error { code: ErrorCode::ServerFull.as_str(), explanation }.encode(&mut line);
        // A new socket takes a line; if its peer is gone, there is nobody to tell.
        let _ = stream.write(&line);
        let _ = stream.shutdown_write();
        if self.streams.len() == MAX_REFUSED {
            self.close_oldest();
        }
        self.streams.push_back((now_ms + KEPT_MS, stream));
    }

    /// Closes those whose time is up.
    pub(super) fn close_overdue(&mut self, now_ms: u64) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now_ms) {
            self.close_oldest();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.streams.front().map(|(deadline, _)| *deadline)
    }

    fn close_oldest(&mut self) {
        if let Some((_, mut stream)) = self.streams.pop_front() {
            let mut dropped = [0; 16 * 1024];
            let _ = stream.read(&mut dropped);
        }
    }
}
