//! Appending broadcasts: backpressure on publishers, and the eviction of slow consumers.
//!
//! [`Backpressure`](super::channel::backpressure::Backpressure) makes the decisions; this module
//! carries them out.

use std::mem;

use crate::protocol::DecimalBuf;

use super::Hub;
use super::channel::backpressure::{Admission, SlowConsumerPolicy};
use super::channel::feed::Offset;
use super::event::{Event, Reason};
use super::execute::Blocked;
use super::handle::Handle;
use super::registry::client::{InputState, Stage, find};

impl Hub {
    /// Appends a client's broadcast to the feed, and returns its sequence number.
    pub(super) fn append(&mut self, key: usize, text: &str) -> Result<u64, Blocked> {
        if self.budget.append == 0 {
            return Err(Blocked::Yield);
        }
        let client = &self.clients[key];
        let feed = &mut self.channel.feed;
        let len = feed.prepare(client.attribution(&mut DecimalBuf::default()), text);
        let (head, drops_before) = (feed.head(), feed.drops_before());
        let members = self.channel.members.iter();
        let readers = members.map(|key| self.clients[key].reader(head));
        let backpressure = &mut self.channel.backpressure;
        match backpressure.admit(self.now_ms, head, drops_before, readers) {
            Admission::Append => {}
            Admission::Evict(slow) => self.evict_or_skip(&slow, drops_before.unwrap_or(head))?,
            Admission::Yield => {
                // Another attempt in this turn would visit every reader again, with the same
                // result.
                self.budget.append = 0;
                return Err(Blocked::Yield);
            }
            Admission::Wait(event) => {
                self.events.extend(event);
                return Err(Blocked::OnReaders);
            }
        }
        if !self.clients[key].is_active() {
            // The sender itself was evicted: its stream ends before this line.
            return Err(Blocked::Yield);
        }
        self.budget.append = self.budget.append.saturating_sub(len);
        self.counters.broadcasts += 1;
        Ok(self.channel.feed.append())
    }

    /// Evicts these slow consumers, or skips them forward, so that the feed can drop everything
    /// before `drops_before`. If the turn's budget runs out, the next attempt handles the rest.
    fn evict_or_skip(&mut self, slow: &[Handle], drops_before: Offset) -> Result<(), Blocked> {
        for handle in slow {
            if self.budget.turn.work == 0 {
                return Err(Blocked::Yield);
            }
            match self.config.slow_clients {
                SlowConsumerPolicy::Disconnect | SlowConsumerPolicy::Block => {
                    self.evict(handle.key, Reason::TooSlow);
                }
                SlowConsumerPolicy::Skip => self.skip(handle.key, drops_before),
            }
        }
        Ok(())
    }

    /// Drops the client's pending broadcasts, except for the rest of a partial line, and starts
    /// closing it. If it is already closing, `eviction` replaces the reason, except for a client
    /// that speaks a foreign protocol, which receives no goodbye.
    fn evict(&mut self, key: usize, eviction: Reason) {
        let client = &mut self.clients[key];
        self.budget.charge_scan(client.outbox.size());
        client.outbox.drop_feed_backlog(&self.channel.feed);
        client.was_evicted = true;
        self.counters.too_slow += 1;
        let Stage::Closing { reason, .. } = &mut client.stage else {
            return self.begin_close(key, eviction);
        };
        if !matches!(reason, Reason::Foreign(_)) {
            *reason = eviction;
        }
        self.events.push_back(Event::Closing { id: client.id, reason: *reason });
        self.advance_close(key);
    }

    /// Skips the client forward, past the lines that the feed drops. A `lagged` line reports how
    /// many it missed.
    fn skip(&mut self, key: usize, drops_before: Offset) {
        let client = &mut self.clients[key];
        let feed = &self.channel.feed;
        let skipped = client.outbox.skip(feed, drops_before, feed.middle());
        self.budget.charge_scan(skipped.scanned + client.outbox.size());
        self.counters.lagged += skipped.lines;
        if client.missed == 0 && skipped.lines > 0 {
            self.events.push_back(Event::Lagged { id: client.id, lines: skipped.lines });
        }
        client.missed += skipped.lines;
        self.queue_flush(key);
    }

    /// Resumes blocked publishers once backpressure allows it.
    pub(super) fn release_blocked_publishers(&mut self) {
        let backpressure = &mut self.channel.backpressure;
        if self.blocked_publishers.is_empty()
            || self.now_ms < backpressure.next_check_ms(self.clients.len())
        {
            return;
        }
        // Publishers that have closed must not accumulate in the queue while others are blocked.
        self.blocked_publishers.retain(|&handle| {
            let client = find(&self.clients, handle);
            client.is_some_and(|client| client.input_state == InputState::AwaitingReaders)
        });
        if self.blocked_publishers.is_empty() {
            return backpressure.unblock();
        }
        let head = self.channel.feed.head();
        let members = self.channel.members.iter();
        let readers = members.map(|key| self.clients[key].reader(head));
        let tick = backpressure.tick(self.now_ms, head, readers);
        for handle in tick.stalled {
            self.evict(handle.key, Reason::Stalled);
        }
        for handle in tick.probe {
            self.handle_writable(handle.key);
        }
        if tick.is_open {
            for Handle { key, .. } in mem::take(&mut self.blocked_publishers) {
                // A publisher that is also a stalled reader was evicted above.
                if self.clients[key].input_state == InputState::AwaitingReaders {
                    self.clients[key].input_state = InputState::Reading;
                    self.queue_run(key);
                }
            }
        }
    }
}
