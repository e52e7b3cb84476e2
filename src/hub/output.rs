//! From the feed to the clients: who is written to next, and who is too slow.

use std::collections::VecDeque;
use std::mem;

use crate::limits::FlushLimits;

use super::Hub;
use super::client::{Handle, Queued, Reason};
use super::feed::Position;
use super::outbox::Span;

/// Why a client is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// It has a reply due.
    Replies,
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
        }
    }

    /// The next client to write to, once: first those with a reply due, then those that are owed
    /// only feed. Neither can keep the turn from ending, or the other from its share.
    pub fn poll_flush(&mut self) -> Option<usize> {
        self.lane = Lane::Replies;
        while has_share(self.turn.flush_replies)
            && let Some(handle) = self.to_flush_first.pop_front()
        {
            if self.may_flush(handle, |queued| queued.to_flush_first = false) {
                self.turn.flush_replies.clients -= 1;
                return Some(handle.key);
            }
        }
        self.lane = Lane::Feed;
        if self.to_flush.is_empty() && self.round_head != self.feed.head() {
            self.begin_round();
        }
        while has_share(self.turn.flush_feed)
            && let Some(handle) = self.to_flush.pop_front()
        {
            if self.may_flush(handle, |queued| queued.to_flush = false) {
                self.turn.flush_feed.clients -= 1;
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
            Lane::Replies => &mut self.turn.flush_replies,
            Lane::Feed => &mut self.turn.flush_feed,
        };
        share.bytes = share.bytes.saturating_sub(sent);
        self.counters.bytes_out += sent as u64;
        let client = &mut self.clients[key];
        client.bytes_out += sent as u64;
        client.socket.full = full;
        client.outbox.consume(sent, head);
        self.queue_flush_again(key);
        self.queue_run(key);
        self.settle(key);
    }

    /// Nothing can be written to the client any more. What it has sent is still executed.
    pub fn handle_write_failed(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.socket.deaf = true;
        client.outbox.clear();
        self.queue_run(key);
        self.settle(key);
    }

    /// Appends a broadcast to the feed and returns its number, or `None` if it has to wait: the
    /// turn has appended enough, or a client that takes bytes is far behind, and the server's being
    /// busy must not be what laps it.
    pub(super) fn append(&mut self, key: usize, text: &str) -> Option<u64> {
        if self.turn.append == 0 || self.flushing_is_behind() {
            return None;
        }
        let from = self.attribution(key);
        let len = self.feed.prepare(&from, text);
        if let Some(position) = self.feed.would_drop_before()
            && !self.make_room(position)
        {
            // Looking for who is in the way takes long, and will find the same one.
            self.turn.append = 0;
            return None;
        }
        self.turn.append = self.turn.append.saturating_sub(len);
        self.counters.broadcasts += 1;
        Some(self.feed.append())
    }

    /// Whether the client that waits longest to be flushed is more than half the feed behind.
    fn flushing_is_behind(&mut self) -> bool {
        let head = self.feed.head();
        let Some(&front) = self.to_flush.front() else { return false };
        let next = self
            .client(front)
            .filter(|client| !client.socket.full)
            .and_then(|client| client.outbox.next_in_feed(head));
        next.is_some_and(|next| head - next > self.rules.limits.feed_size as u64 / 2)
    }

    /// Lets go of everybody who needs what stands before `position`, if their sockets refuse bytes.
    /// If one of them does not, nothing is done: it will be flushed first.
    fn make_room(&mut self, position: Position) -> bool {
        let head = self.feed.head();
        let needs = |needed: Option<Position>| needed.is_some_and(|needed| needed < position);
        let mut lapped = Vec::new();
        for (key, client) in &self.clients {
            if needs(client.outbox.oldest_needed(head)) {
                if !client.socket.full {
                    return false;
                }
                lapped.push(key);
            }
        }
        for key in lapped {
            self.lap(key);
        }
        true
    }

    /// The feed goes on without this client. A line of its that is half sent is finished.
    fn lap(&mut self, key: usize) {
        let head = self.feed.head();
        let client = &mut self.clients[key];
        let next = client.outbox.next_in_feed(head);
        let rest = next.and_then(|next| self.feed.rest_of_line(next)).unwrap_or_default();
        client.outbox.give_up_feed(rest);
        self.counters.too_slow += 1;
        self.leave(key, Reason::TooSlow);
    }

    /// Everybody who is owed feed and whose socket takes bytes gets a visit.
    fn begin_round(&mut self) {
        let head = self.feed.head();
        self.round_head = head;
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

    /// The same after a visit: whoever still has a reply due gets one visit a turn.
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
        let client = &mut self.clients[key];
        if !client.can_be_flushed(head) {
            return;
        }
        if client.outbox.has_replies() {
            if !mem::replace(&mut client.queued.to_flush_first, true) {
                first(self).push_back(handle);
            }
        } else if !mem::replace(&mut client.queued.to_flush, true) {
            self.to_flush.push_back(handle);
        }
    }
}

fn has_share(left: FlushLimits) -> bool {
    left.bytes > 0 && left.clients > 0
}
