//! Flushing pending output: selects the next client to write to, and records what was written.

use super::Hub;
use super::delivery::outbox::Span;
use super::registry::client::{Client, find};
use super::schedule::flush_schedule::FlushClass;

impl Hub {
    /// Records that the client's socket accepts bytes again.
    pub fn handle_writable(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && client.socket.write_blocked
        {
            client.socket.write_blocked = false;
            self.queue_flush(key);
            self.advance_close(key);
            self.debug_check(key);
        }
    }

    /// Returns the next client, for the caller to write to once. Priority clients precede bulk
    /// clients, which precede replaying clients.
    pub fn poll_flush(&mut self) -> Option<usize> {
        let head = self.head();
        let exists = |handle| find(&self.clients, handle).is_some();
        for class in [FlushClass::Priority, FlushClass::Bulk, FlushClass::Replay] {
            if class == FlushClass::Bulk && self.flush.bulk_pass_is_over() {
                let members = self.channel.members.iter().map(|key| &self.clients[key]);
                let ready = members
                    .filter(|client| client.wants_flush(head) && !client.outbox.is_replaying());
                self.flush.begin_bulk_pass(head, ready.map(Client::handle));
            }
            while self.budget.flush(class).is_left()
                && let Some(handle) = self.flush.pop(class, exists)
            {
                if self.clients[handle.key].wants_flush(head) {
                    self.budget.flush(class).clients -= 1;
                    return Some(handle.key);
                }
            }
        }
        None
    }

    /// The client's pending output, in order. A span of the feed is a range for
    /// [`Feed::slices`](super::Feed::slices).
    pub fn spans(&self, key: usize) -> impl Iterator<Item = Span<'_>> {
        self.clients[key].outbox.spans(self.head())
    }

    /// Records that the first `sent` bytes of the client's spans were written. `is_blocked` is set
    /// if its socket accepts no more for now.
    pub fn consume(&mut self, key: usize, sent: usize, is_blocked: bool) {
        let head = self.head();
        let budget = self.budget.flush(self.flush.current());
        budget.bytes = budget.bytes.saturating_sub(sent);
        self.counters.bytes_out += sent as u64;
        let client = &mut self.clients[key];
        client.bytes_out += sent as u64;
        client.socket.write_blocked = is_blocked;
        client.outbox.consume(sent, head);
        if client.outbox.is_replaying() && !self.channel.backpressure.is_behind(client.lag(head)) {
            client.outbox.note_caught_up();
        }
        if sent > 0 {
            client.last_write_ms = self.now_ms;
            self.channel.backpressure.note_progress();
        }
        self.queue_flush(key);
        self.resume_run(key);
        self.advance_close(key);
        self.debug_check(key);
    }

    /// Records that writing to the client failed: discards its output. Its input is still executed.
    pub fn handle_write_failed(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.outbox.close();
        // There may be input left to read.
        client.socket.readable = true;
        self.channel.backpressure.note_progress();
        self.queue_read(key);
        self.resume_run(key);
        self.advance_close(key);
        self.debug_check(key);
    }

    /// Queues the client for a flush, if it has pending output that its socket would accept.
    pub(super) fn queue_flush(&mut self, key: usize) {
        let head = self.head();
        let client = &self.clients[key];
        if !client.wants_flush(head) {
            return;
        }
        let backpressure = &self.channel.backpressure;
        let class = if client.outbox.is_replaying() {
            FlushClass::Replay
        } else if client.outbox.has_entries() || backpressure.is_far_behind(client.lag(head)) {
            FlushClass::Priority
        } else {
            FlushClass::Bulk
        };
        self.flush.push(client.handle(), class);
    }
}
