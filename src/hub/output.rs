//! From the feed to the clients: who is written to next.

use std::collections::VecDeque;
use std::mem;

use crate::limits::FlushLimits;

use super::Hub;
use super::client::{Handle, Queued};
use super::outbox::Span;

/// Why a client is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// It has a reply due, or is far behind.
    First,
    /// It is owed only feed.
    Feed,
}

impl Hub {
    /// The socket takes bytes again.
    pub fn handle_writable(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && client.socket.full
        {
            client.socket.full = false;
            self.queue_flush(key);
            self.settle(key);
        }
    }

    /// The next client to write to, once: first those with a reply due or far behind, then those
    /// that are owed only feed. Neither can keep the turn from ending, or the other from its share.
    pub fn poll_flush(&mut self) -> Option<usize> {
        self.lane = Lane::First;
        while has_share(self.left.flush_first)
            && let Some(handle) = self.to_flush_first.pop_front()
        {
            if self.may_flush(handle, |queued| queued.to_flush_first = false) {
                self.left.flush_first.clients -= 1;
                return Some(handle.key);
            }
        }
        self.lane = Lane::Feed;
        if self.to_flush.is_empty() {
            self.begin_round();
        }
        while has_share(self.left.flush_feed)
            && let Some(handle) = self.to_flush.pop_front()
        {
            if self.may_flush(handle, |queued| queued.to_flush = false) {
                self.left.flush_feed.clients -= 1;
                return Some(handle.key);
            }
        }
        None
    }

    /// Whether there is something to do for the client that was just taken out of a queue.
    fn may_flush(&mut self, handle: Handle, take_out: impl FnOnce(&mut Queued)) -> bool {
        let head = self.feed.head();
        self.client(handle).is_some_and(|client| {
            take_out(&mut client.queued);
            client.can_be_flushed(head)
        })
    }

    /// What the client is owed, in order. A span of the feed is a range for [`Feed::slices`].
    ///
    /// [`Feed::slices`]: super::Feed::slices
    pub fn spans(&self, key: usize) -> impl Iterator<Item = Span<'_>> {
        self.clients[key].outbox.spans(self.feed.head())
    }

    /// The first `sent` bytes of the client's spans were written; `full` says that its socket would
    /// take no more.
    pub fn consume(&mut self, key: usize, sent: usize, full: bool) {
        let head = self.feed.head();
        let share = match self.lane {
            Lane::First => &mut self.left.flush_first,
            Lane::Feed => &mut self.left.flush_feed,
        };
        share.bytes = share.bytes.saturating_sub(sent);
        self.counters.bytes_out += sent as u64;
        let client = &mut self.clients[key];
        client.bytes_out += sent as u64;
        client.socket.full = full;
        client.outbox.consume(sent, head);
        if client.outbox.is_rewound() && self.has_caught_up(key) {
            self.clients[key].outbox.note_caught_up();
        }
        let client = &mut self.clients[key];
        if sent > 0 {
            client.took_bytes_at_ms = self.now_ms;
            self.note_progress();
        }
        self.queue_flush_again(key);
        self.queue_run(key);
        self.settle(key);
    }

    /// Nothing can be written to the client any more. What it has sent is still executed.
    pub fn handle_write_failed(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.outbox.close();
        self.note_progress();
        let client = &mut self.clients[key];
        // Reading tells whether there is anything left of it.
        client.socket.readable = true;
        self.queue_read(key);
        self.queue_run(key);
        self.settle(key);
    }

    /// Everybody who is owed feed and whose socket takes bytes gets a visit.
    fn begin_round(&mut self) {
        mem::swap(&mut self.to_flush, &mut self.to_flush_next_round);
        let head = self.feed.head();
        if mem::replace(&mut self.round_head, head) == head {
            return;
        }
        for (key, client) in &mut self.clients {
            if client.can_be_flushed(head) && !client.queued.to_flush {
                client.queued.to_flush = true;
                self.to_flush.push_back(Handle { key, id: client.id });
            }
        }
    }

    /// Puts a client with something due in the queue that fits.
    pub(super) fn queue_flush(&mut self, key: usize) {
        self.queue_flush_in(key, |hub| &mut hub.to_flush_first);
    }

    /// The same after a visit: whoever goes first gets one visit a turn.
    fn queue_flush_again(&mut self, key: usize) {
        self.queue_flush_in(key, |hub| &mut hub.to_flush_next_turn);
    }

    fn queue_flush_in(
        &mut self,
        key: usize,
        first: impl FnOnce(&mut Self) -> &mut VecDeque<Handle>,
    ) {
        let head = self.feed.head();
        let handle = self.handle(key);
        let client = &self.clients[key];
        if !client.can_be_flushed(head) {
            return;
        }
        let goes_first = client.outbox.has_entries() || self.is_far_behind(client);
        let client = &mut self.clients[key];
        if goes_first {
            if !mem::replace(&mut client.queued.to_flush_first, true) {
                first(self).push_back(handle);
            }
        } else if !mem::replace(&mut client.queued.to_flush, true) {
            // Not in this round: it would never end, and those who are owed something only since it
            // began would never have their turn.
            self.to_flush_next_round.push_back(handle);
        }
    }
}

fn has_share(left: FlushLimits) -> bool {
    left.bytes > 0 && left.clients > 0
}
