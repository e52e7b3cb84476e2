//! Clients that the feed would lap: what becomes of them, and who waits for them.
//!
//! Room for a line that does not fit is made by dropping the feed's oldest chunk. Whoever still needs
//! something from it is in the way, and [`SlowConsumerPolicy`] says what then. Only one whose socket refuses
//! bytes is ever lapped, never one that the server was too busy for; but nobody waits for a client
//! that has moved its own cursor back and has not caught up.

use crate::limits::STALL_BYTES;

use super::Hub;
use super::client::{Client, Handle, Reason};
use super::feed::Offset;
use super::pacing::Wait;
use super::report::Event;

/// What becomes of a client that the feed would lap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumerPolicy {
    /// It is taken leave of.
    #[default]
    Disconnect,
    /// It misses lines, and is told how many.
    Skip,
    /// The line that would lap it waits, unless it takes next to nothing for too long.
    Block,
}

/// For whom broadcasts wait. There is such a thing only while somebody is in the way.
#[derive(Debug)]
pub(super) struct Awaited {
    /// What stands before this is to be dropped.
    kept: Offset,
    clients: Vec<Taker>,
    /// Until when each of them has to take enough.
    until_ms: u64,
    /// When to see next whether they do.
    probe_at_ms: u64,
}

/// A client that is waited for.
#[derive(Clone, Copy, Debug)]
struct Taker {
    handle: Handle,
    /// How much it had taken when its time began.
    bytes_out: u64,
}

/// How often within their time it is seen whether they take something. The poll tells of it only when
/// a third of a socket's buffer is free, which can be more than all that they have to take.
const PROBES: u64 = 8;

/// How often the log says at most that broadcasts wait, in milliseconds.
const REPORT_PAUSE_MS: u64 = 60_000;

impl Hub {
    /// Sees to everybody who needs what stands before `kept`, so that it can be dropped, or says what is
    /// to be waited for before that is tried again.
    pub(super) fn make_room(&mut self, kept: Offset) -> Result<(), Wait> {
        let head = self.feed.head();
        let waits = self.rules.slow_clients == SlowConsumerPolicy::Block;
        let (mut lapped, mut awaited) = (Vec::new(), Vec::new());
        for (key, client) in &self.clients {
            if !needs_before(client, kept, head) {
                continue;
            }
            if client.outbox.is_rewound() {
                lapped.push(key);
            } else if !client.socket.full {
                // It will be flushed first. Looking for who is in the way takes long, and would find
                // the same one.
                self.left.append = 0;
                return Err(Wait::Later);
            } else if waits {
                let handle = Handle { key, id: client.id };
                awaited.push(Taker { handle, bytes_out: client.bytes_out });
            } else {
                lapped.push(key);
            }
        }
        if !awaited.is_empty() {
            self.wait_for(kept, awaited);
            return Err(Wait::ForReaders);
        }
        for key in lapped {
            if self.left.work == 0 {
                return Err(Wait::Later);
            }
            self.lap(key, kept);
        }
        Ok(())
    }

    /// The feed goes on without this client, for good or for a while. A line of its that is half sent
    /// is finished.
    fn lap(&mut self, key: usize, kept: Offset) {
        match self.rules.slow_clients {
            SlowConsumerPolicy::Disconnect | SlowConsumerPolicy::Block => {
                self.give_up_on(key, Reason::TooSlow);
            }
            SlowConsumerPolicy::Skip => self.skip(key, kept),
        }
    }

    fn give_up_on(&mut self, key: usize, reason: Reason) {
        let client = &mut self.clients[key];
        let looked_at = client.outbox.size();
        client.outbox.give_up_feed(&self.feed);
        client.is_lapped = true;
        self.charge_look(looked_at);
        self.counters.too_slow += 1;
        self.leave_lapped(key, reason);
    }

    fn skip(&mut self, key: usize, kept: Offset) {
        let client = &mut self.clients[key];
        let missed = client.outbox.skip(&self.feed, kept, self.feed.middle());
        let looked_at = missed.looked_at + client.outbox.size();
        self.counters.lagged += missed.lines;
        let is_first = client.missed == 0;
        client.missed += missed.lines;
        if is_first && missed.lines > 0 {
            self.reports.push_back(Event::Lagged { id: client.id, lines: missed.lines });
        }
        self.charge_look(looked_at);
        self.queue_flush(key);
    }

    fn wait_for(&mut self, kept: Offset, clients: Vec<Taker>) {
        let is_reported = self
            .pace
            .reported_at_ms
            .is_some_and(|reported_at_ms| self.now_ms < reported_at_ms + REPORT_PAUSE_MS);
        if !is_reported && let Some(Taker { handle, .. }) = clients.first() {
            self.pace.reported_at_ms = Some(self.now_ms);
            self.reports.push_back(Event::Held { id: handle.id, clients: clients.len() });
        }
        self.pace.note_look(self.now_ms);
        let until_ms = self.now_ms + self.rules.limits.stall_timeout_ms;
        let probe_at_ms = self.next_probe_ms();
        self.awaited = Some(Awaited { kept, clients, until_ms, probe_at_ms });
    }

    fn next_probe_ms(&self) -> u64 {
        self.now_ms + (self.rules.limits.stall_timeout_ms / PROBES).max(1)
    }

    /// Looks at whom broadcasts wait for: those who have taken what they had to are waited for no
    /// longer, and neither are those who have taken too little for too long.
    pub(super) fn look_at_awaited(&mut self) {
        let Some(mut awaited) = self.awaited.take() else { return };
        let is_heard = |handle: &Handle| {
            let client = self.clients.get(handle.key).filter(|client| client.id == handle.id);
            client.is_some_and(Client::is_heard)
        };
        if !self.held.iter().any(is_heard) {
            return;
        }
        self.pace.note_look(self.now_ms);
        let head = self.feed.head();
        let is_over = self.now_ms >= awaited.until_ms;
        let mut stalled = Vec::new();
        awaited.clients.retain_mut(|taker| {
            let Some(client) = self.client(taker.handle) else { return false };
            let is_in_the_way =
                needs_before(client, awaited.kept, head) && !client.outbox.is_rewound();
            let taken = client.bytes_out - taker.bytes_out;
            if !is_in_the_way || !is_over {
                return is_in_the_way;
            }
            taker.bytes_out = client.bytes_out;
            if taken < STALL_BYTES {
                stalled.push(taker.handle.key);
            }
            taken >= STALL_BYTES
        });
        for key in stalled {
            self.give_up_on(key, Reason::Stalled);
        }
        if is_over {
            awaited.until_ms = self.now_ms + self.rules.limits.stall_timeout_ms;
        }
        if self.now_ms >= awaited.probe_at_ms {
            awaited.probe_at_ms = self.next_probe_ms();
            for taker in &awaited.clients {
                self.handle_writable(taker.handle.key);
            }
        }
        if !awaited.clients.is_empty() {
            self.awaited = Some(awaited);
        }
    }

    /// When to look at those who are waited for, whatever happens, if anybody is.
    pub(super) fn next_look_at_awaited(&self) -> Option<u64> {
        self.awaited.as_ref().map(|awaited| awaited.until_ms.min(awaited.probe_at_ms))
    }
}

/// Whether the client needs something of the feed that stands before this place.
fn needs_before(client: &Client, place: Offset, head: Offset) -> bool {
    client.outbox.oldest_needed(head).is_some_and(|needed| needed < place)
}
