//! Between senders and readers: which broadcasts wait, and which clients are too slow.
//!
//! Whoever sends without looking is faster than whoever reads. The rules, from the mildest on:
//! 1. **The server is busy.** A turn appends only a little, and nothing while the client that waits
//!    longest to be flushed is more than half the feed behind.
//! 2. **The senders are fast.** While many readers are behind, broadcasts are held. When only a few
//!    are far behind, they are held as well, for as long again as the feed took to come this far,
//!    and no longer: a few readers may halve its pace, and nobody can stop it. Readers that take
//!    nothing at all are not waited for.
//! 3. **The reader is slow.** A client that the feed laps all the same is let go. Only one whose
//!    socket refuses bytes is ever lapped, never one that the server was too busy for.

use std::mem;
use std::ops::RangeInclusive;

use super::Hub;
use super::client::Client;
use super::feed::Position;

/// A reader is behind when it lacks more than this part of the feed …
const BEHIND: u64 = 16;
/// … and far behind when it lacks more than this.
pub(super) const FAR_BEHIND: u64 = 2;

/// Many readers are more than one in so many, and more than one.
const MANY: usize = 8;

/// How long a few readers are waited for at least and at most, in milliseconds.
const FOR_FEW_MS: RangeInclusive<u64> = 100..=500;

/// How long it may take to see that readers have stopped taking anything, in milliseconds.
const UNEVENTFUL_MS: u64 = 20;

/// What became of a line that asked to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Append {
    /// It has this number.
    Done(u64),
    /// It is to be tried again next turn: there is something to be flushed first.
    NextTurn,
    /// It has to wait until the readers have taken more.
    Held,
    /// Making room for it has lapped its own sender, whose stream ends before it.
    Gone,
}

/// Whether broadcasts are held, and for whom.
#[derive(Debug, Default)]
pub(super) struct Pace {
    hold: Hold,
    /// Since when the feed has been on its way to the next look at the readers.
    began_ms: u64,
    /// When the last look was, and where the feed's head was then.
    looked_at_ms: u64,
    looked_at: Position,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    None,
    ForMany,
    ForFew {
        until_ms: u64,
    },
}

impl Hub {
    /// Appends a broadcast to the feed.
    pub(super) fn append(&mut self, key: usize, text: &str) -> Append {
        if self.turn.append == 0 || self.flushing_is_behind() {
            return Append::NextTurn;
        }
        if self.readers_are_behind() {
            self.counters.held += 1;
            return Append::Held;
        }
        let from = self.attribution(key);
        let len = self.feed.prepare(&from, text);
        if let Some(position) = self.feed.would_drop_before()
            && !self.make_room(position)
        {
            // Looking for who is in the way takes long, and would find the same one.
            self.turn.append = 0;
            return Append::NextTurn;
        }
        if !self.clients[key].is_inside() {
            return Append::Gone;
        }
        self.turn.append = self.turn.append.saturating_sub(len);
        self.counters.broadcasts += 1;
        Append::Done(self.feed.append())
    }

    /// Rule 1: whether the client that waits longest to be flushed is far behind.
    fn flushing_is_behind(&mut self) -> bool {
        let head = self.feed.head();
        let Some(&front) = self.to_flush.front() else { return false };
        let next = self
            .client(front)
            .filter(|client| !client.socket.full)
            .and_then(|client| client.outbox.next_in_feed(head));
        next.is_some_and(|next| head - next > self.part_of_feed(FAR_BEHIND))
    }

    /// Rule 2. It takes a look at everybody, so it takes one only now and then.
    fn readers_are_behind(&mut self) -> bool {
        let moved_on = self.feed.head() - self.pace.looked_at;
        if self.pace.hold == Hold::None && moved_on >= self.part_of_feed(BEHIND) {
            self.look_at_readers();
        }
        self.pace.hold != Hold::None
    }

    fn look_at_readers(&mut self) {
        let head = self.feed.head();
        let (mut readers, mut behind, mut far_behind) = (0, 0, 0);
        for (_, client) in &self.clients {
            if client.outbox.follows() && self.takes_bytes(client) {
                readers += 1;
                let lag = client.outbox.oldest_needed(head).map_or(0, |needed| head - needed);
                behind += usize::from(lag > self.part_of_feed(BEHIND));
                far_behind += usize::from(lag > self.part_of_feed(FAR_BEHIND));
            }
        }
        let now_ms = self.now_ms;
        let pace = &mut self.pace;
        pace.hold = match pace.hold {
            _ if behind > 1 && behind * MANY > readers => Hold::ForMany,
            _ if far_behind == 0 => Hold::None,
            Hold::ForFew { until_ms } if now_ms < until_ms => pace.hold,
            Hold::ForFew { .. } => Hold::None,
            Hold::None | Hold::ForMany => {
                let as_long_again = now_ms - pace.began_ms;
                Hold::ForFew {
                    until_ms: now_ms + as_long_again.clamp(*FOR_FEW_MS.start(), *FOR_FEW_MS.end()),
                }
            }
        };
        if pace.hold == Hold::None {
            pace.began_ms = now_ms;
        }
        pace.looked_at_ms = now_ms;
        pace.looked_at = head;
    }

    fn takes_bytes(&self, client: &Client) -> bool {
        let grace = self.rules.limits.reader_grace_ms;
        !client.socket.full || self.now_ms < client.took_bytes_at_ms + grace
    }

    /// Lets those go on whose broadcasts were held, if the readers have caught up.
    pub(super) fn release_held(&mut self) {
        // The more readers there are, the longer a look takes, and the longer until it pays.
        let pause_ms = self.clients.len() as u64 / 1000;
        if self.held.is_empty() || self.now_ms <= self.pace.looked_at_ms + pause_ms {
            return;
        }
        self.look_at_readers();
        if self.pace.hold != Hold::None {
            return;
        }
        for handle in mem::take(&mut self.held) {
            if let Some(client) = self.client(handle) {
                client.queued.held = false;
                self.queue_run(handle.key);
            }
        }
    }

    /// When [`release_held`](Self::release_held) is to be called again, though no socket reports
    /// anything.
    pub(super) fn next_look_at_readers(&self) -> Option<u64> {
        (!self.held.is_empty()).then_some(self.pace.looked_at_ms + UNEVENTFUL_MS)
    }

    /// Rule 3: lets go of everybody who needs what stands before `position`, if their sockets refuse
    /// bytes. If one of them does not, nothing is done: it will be flushed first.
    fn make_room(&mut self, position: Position) -> bool {
        let head = self.feed.head();
        let mut lapped = Vec::new();
        for (key, client) in &self.clients {
            let needed = client.outbox.oldest_needed(head);
            if needed.is_some_and(|needed| needed < position) {
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
        client.is_lapped = true;
        self.counters.too_slow += 1;
        self.leave_lapped(key);
    }

    pub(super) fn part_of_feed(&self, part: u64) -> u64 {
        self.rules.limits.feed_size as u64 / part
    }
}
