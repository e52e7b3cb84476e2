//! Delays the log lines of new connections, so that health checks do not fill the log.
//!
//! A health check connects and disconnects, often every second. A client that disconnects without
//! having sent anything is logged only at level `debug`, unless it was connected for about a
//! second.

use std::collections::VecDeque;

use log::info;

use super::logging::CONNECT;
use super::peer::Peer;
use crate::hub::Reason;
use crate::read_outcome::ReadOutcome;

/// How long a client that sends nothing must be connected before it is logged, in milliseconds.
const DELAY_MS: u64 = 1000;

/// Deadlines are multiples of this, so that many new clients wake the server only a few times.
const GRANULARITY_MS: u64 = 250;

/// The maximum number of clients with the same deadline. More lines at once could fill the pipe that
/// the log is written to, and lines would be dropped.
const MAX_BATCH: usize = 64;

/// The time between two batches with the same original deadline, in milliseconds.
const BATCH_INTERVAL_MS: u64 = 10;

/// The clients that connected recently, including those that have sent something or have
/// disconnected.
#[derive(Debug)]
pub(super) struct ConnectLog {
    /// The clients with their deadlines, in milliseconds since the server's start. Oldest first, so
    /// both the deadlines and the ids ascend.
    clients: VecDeque<(u64, NewClient)>,
    /// How many clients have the newest deadline.
    batch: usize,
    max_clients: usize,
}

/// A client that may have to be logged. The key may belong to a later client by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewClient {
    pub(super) key: usize,
    pub(super) id: u64,
}

impl ConnectLog {
    pub(super) fn new(max_clients: usize) -> Self {
        Self { clients: VecDeque::new(), batch: 0, max_clients }
    }

    pub(super) fn add(&mut self, client: NewClient, now_ms: u64) {
        let due_ms = (now_ms + DELAY_MS).next_multiple_of(GRANULARITY_MS);
        let newest_ms = self.clients.back().map_or(0, |(deadline_ms, _)| *deadline_ms);
        let deadline_ms = if due_ms > newest_ms {
            self.batch = 0;
            due_ms
        } else if self.batch == MAX_BATCH {
            self.batch = 0;
            newest_ms + BATCH_INTERVAL_MS
        } else {
            newest_ms
        };
        self.batch += 1;
        self.clients.push_back((deadline_ms, client));
    }

    /// Returns the next client whose connection must be logged now.
    pub(super) fn poll(&mut self, now_ms: u64) -> Option<NewClient> {
        // If clients connect and disconnect quickly, their entries must not accumulate.
        let is_full = self.clients.len() > self.max_clients;
        let is_due = is_full || self.next_deadline().is_some_and(|due_ms| due_ms <= now_ms);
        is_due.then(|| self.clients.pop_front()).flatten().map(|(_, client)| client)
    }

    /// Returns the client with this id, if it connected recently.
    pub(super) fn find(&self, id: u64) -> Option<NewClient> {
        let index = self.clients.binary_search_by_key(&id, |(_, client)| client.id).ok()?;
        Some(self.clients[index].1)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.clients.front().map(|(deadline_ms, _)| *deadline_ms)
    }
}

/// Whether one connection is logged.
#[derive(Debug, Default)]
pub(super) struct Visit {
    is_logged: bool,
    /// The client has sent something, even if only part of a TLS handshake.
    has_sent: bool,
}

impl Visit {
    /// Logs the connection, unless it has been logged.
    pub(super) fn log(&mut self, id: u64, peer: Peer) {
        if !std::mem::replace(&mut self.is_logged, true) {
            info!(target: CONNECT, "client {id} connected from {peer}");
        }
    }

    /// Handles the outcome of a read. Logs the connection if the client has sent something. A
    /// handshake does not count: some health checks complete it.
    pub(super) fn handle_read(
        &mut self,
        outcome: &ReadOutcome<'_>,
        overhead: usize,
        id: u64,
        peer: Peer,
    ) {
        self.has_sent |= overhead > 0;
        if matches!(outcome, ReadOutcome::Data(_) | ReadOutcome::TlsFailed(_)) {
            self.log(id, peer);
        }
    }

    /// Logs the connection, unless it was a health check. Returns whether to log its end.
    pub(super) fn end(&mut self, reason: Reason, id: u64, peer: Peer) -> bool {
        let is_by_peer = reason.goodbye().is_none();
        let is_handshake = reason == Reason::HandshakeFailed && self.has_sent;
        if !is_by_peer || is_handshake {
            self.log(id, peer);
        }
        self.is_logged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_of_clients_is_logged_in_batches() {
        let mut log = ConnectLog::new(1000);
        (0..200).for_each(|id| log.add(NewClient { key: 0, id }, 10));
        let mut due = |now_ms| std::iter::from_fn(|| log.poll(now_ms)).count();
        assert_eq!([1249, 1250, 1259, 1260, 1270, 1280].map(&mut due), [0, 64, 0, 64, 64, 8]);
        log.add(NewClient { key: 0, id: 200 }, 300);
        assert_eq!(log.next_deadline(), Some(1500));
    }

    #[test]
    fn client_is_due_once_after_the_delay_or_when_many_are_waiting() {
        let mut log = ConnectLog::new(2);
        let [a, b, c] = [1, 2, 3].map(|id| NewClient { key: 0, id });
        log.add(a, 10);
        log.add(b, 240);
        assert_eq!([1, 2, 3].map(|id| log.find(id)), [Some(a), Some(b), None]);
        assert_eq!((log.next_deadline(), log.poll(1249)), (Some(1250), None));
        log.add(c, 1249);
        assert_eq!([log.poll(1249), log.poll(1249)], [Some(a), None]);
        assert_eq!([log.poll(1250), log.poll(1250)], [Some(b), None]);
        assert_eq!((log.next_deadline(), log.poll(2250)), (Some(2250), Some(c)));
        assert_eq!((log.next_deadline(), log.poll(9999)), (None, None));
    }
}
