//! Between senders and readers: which broadcasts wait, and which clients are too slow.
//!
//! Whoever sends without looking is faster than whoever reads. The rules, from the mildest on:
//! 1. **A turn appends only a little**, so that every socket gets its share of what is there.
//! 2. **When most readers are behind, the senders are fast**: broadcasts are held until that is over,
//!    but for two seconds at most.
//! 3. **When some are, they may just be unlucky**: broadcasts are held for a moment.
//!
//!    Each hold comes again when the feed has moved on by a sixteenth, and readers that take nothing
//!    at all are not waited for. So those who read a little slower than the others are kept, and
//!    however many do not, they cannot stop the feed: it laps them within a minute.
//! 4. **A client that the feed would lap all the same is too slow**, and `slow` says what becomes of it.
//!    Where broadcasts wait for such a client, rules 2 and 3 are not needed.
//!
//! A client that has moved its own cursor back is not waited for before it has caught up, under none
//! of these rules: nobody holds the others by asking for history.

use std::mem;

use crate::protocol::DecimalBuf;

use super::Hub;
use super::client::Client;
use super::feed::Offset;
use super::slow::SlowConsumerPolicy;

/// A reader is behind when it lacks more than this part of the feed …
const BEHIND: u64 = 16;
/// … and far behind when it lacks more than this.
const FAR_BEHIND: u64 = 2;

/// Some readers are more than one of so many, and more than one; or one that is far behind.
const SOME: usize = 8;

/// How long broadcasts are held for some readers: as long as the feed took for its last sixteenth,
/// but at least and at most so many milliseconds.
const FOR_SOME_MS: (u64, u64) = (100, 500);

/// How long broadcasts are held for most readers, at most, in milliseconds.
const FOR_MOST_MS: u64 = 2000;

/// How long it may take to see that readers have stopped taking anything, in milliseconds.
const UNEVENTFUL_MS: u64 = 20;

/// What keeps a line from being executed now. It stays its client's next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is tried again when the others have had their turn, or something was flushed.
    Later,
    /// It waits until the readers have taken more.
    ForReaders,
    /// It waits until its client may say another line.
    ForAllowance,
}

/// Whether broadcasts are held, and for whom.
#[derive(Debug, Default)]
pub(super) struct Pace {
    hold: Hold,
    /// Since when the feed has been moving.
    began_ms: u64,
    /// When it was last seen whether broadcasts are to be held on.
    looked_at_ms: u64,
    /// Where the feed's head was when the readers were looked at last.
    looked_at: Offset,
    /// Somebody has taken something since.
    has_progress: bool,
    /// When the log was told last that broadcasts wait for somebody slow.
    pub(super) reported_at_ms: Option<u64>,
}

impl Pace {
    pub(super) fn note_look(&mut self, now_ms: u64) {
        self.looked_at_ms = now_ms;
        self.has_progress = false;
    }

    /// Begins a hold, goes on with it or ends it, by how many readers are behind now: rules 2 and 3.
    fn decide(&mut self, now_ms: u64, readers: Readers) {
        let (most_are, some_are) = (readers.most_are_behind(), readers.some_are_behind());
        self.hold = match self.hold {
            _ if !most_are && !some_are => Hold::None,
            Hold::ForMost { until_ms } | Hold::ForSome { until_ms } if now_ms >= until_ms => {
                Hold::None
            }
            Hold::ForMost { .. } if most_are => self.hold,
            Hold::ForSome { .. } => self.hold,
            Hold::None if most_are => Hold::ForMost { until_ms: now_ms + FOR_MOST_MS },
            Hold::None | Hold::ForMost { .. } => {
                let (least_ms, most_ms) = FOR_SOME_MS;
                let as_long_again_ms = (now_ms - self.began_ms).clamp(least_ms, most_ms);
                Hold::ForSome { until_ms: now_ms + as_long_again_ms }
            }
        };
        if self.hold == Hold::None {
            self.began_ms = now_ms;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    None,
    ForMost {
        until_ms: u64,
    },
    ForSome {
        until_ms: u64,
    },
}

/// How many clients read, and how many of them are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Readers {
    all: usize,
    behind: usize,
    far_behind: usize,
}

impl Readers {
    fn most_are_behind(self) -> bool {
        self.behind > 1 && 2 * self.behind > self.all
    }

    fn some_are_behind(self) -> bool {
        self.far_behind > 0 || (self.behind > 1 && self.behind * SOME > self.all)
    }
}

/// The time between two looks at so many clients: the more they are, the longer a look takes.
fn look_pause_ms(clients: usize) -> u64 {
    1 + clients as u64 / 1000
}

impl Hub {
    /// Appends a broadcast to the feed and returns its number.
    pub(super) fn append(&mut self, key: usize, text: &str) -> Result<u64, Wait> {
        if self.left.append == 0 {
            return Err(Wait::Later);
        }
        if self.is_holding() {
            return Err(Wait::ForReaders);
        }
        let client = &self.clients[key];
        let len = self.feed.prepare(client.attribution(&mut DecimalBuf::default()), text);
        if let Some(kept) = self.feed.would_drop_before() {
            self.make_room(kept)?;
            if !self.clients[key].is_inside() {
                // It was the sender that was lapped: its stream ends before this line.
                return Err(Wait::Later);
            }
        }
        self.left.append = self.left.append.saturating_sub(len);
        self.counters.broadcasts += 1;
        Ok(self.feed.append())
    }

    /// Whether broadcasts are held. HubConfig 2 and 3 take a look at everybody, so they take one only now
    /// and then; where broadcasts wait for whoever is slow, they are not needed.
    fn is_holding(&mut self) -> bool {
        let moved_on = self.feed.head() - self.pace.looked_at;
        if self.rules.slow_clients != SlowConsumerPolicy::Block
            && self.pace.hold == Hold::None
            && moved_on >= self.part_of_feed(BEHIND)
        {
            self.look_at_readers();
        }
        self.awaited.is_some() || self.pace.hold != Hold::None
    }

    fn look_at_readers(&mut self) {
        let mut readers = Readers::default();
        for (_, client) in &self.clients {
            let lag = self.lag(client);
            // Nobody holds the others by asking for what was before.
            let is_waited_for = self.takes_bytes(client) && !client.outbox.is_rewound();
            if (client.outbox.follows() || lag > 0) && is_waited_for {
                readers.all += 1;
                readers.behind += usize::from(lag > self.part_of_feed(BEHIND));
                readers.far_behind += usize::from(lag > self.part_of_feed(FAR_BEHIND));
            }
        }
        let pace = &mut self.pace;
        pace.decide(self.now_ms, readers);
        pace.looked_at = self.feed.head();
        pace.note_look(self.now_ms);
    }

    /// How far a client is behind, in bytes of the feed.
    fn lag(&self, client: &Client) -> u64 {
        let head = self.feed.head();
        client.outbox.oldest_needed(head).map_or(0, |needed| head - needed)
    }

    /// Whether a client is so far behind that it is to be served before the others.
    pub(super) fn is_far_behind(&self, client: &Client) -> bool {
        !client.outbox.is_rewound() && self.lag(client) > self.part_of_feed(FAR_BEHIND)
    }

    /// Whether a client that has moved its cursor back is no more behind than others are.
    pub(super) fn has_caught_up(&self, key: usize) -> bool {
        self.lag(&self.clients[key]) <= self.part_of_feed(BEHIND)
    }

    fn takes_bytes(&self, client: &Client) -> bool {
        let grace_ms = self.rules.limits.reader_grace_ms;
        !client.socket.full || self.now_ms < client.took_bytes_at_ms + grace_ms
    }

    /// Lets those go on whose broadcasts were held, if the readers have caught up.
    pub(super) fn release_held(&mut self) {
        if self.held.is_empty() || self.now_ms < self.next_possible_look_ms() {
            return;
        }
        match self.rules.slow_clients {
            SlowConsumerPolicy::Block => self.look_at_awaited(),
            SlowConsumerPolicy::Disconnect | SlowConsumerPolicy::Skip => self.look_at_readers(),
        }
        if self.is_holding() {
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
        let soon_ms = self.next_possible_look_ms();
        let later_ms = match self.next_look_at_awaited() {
            _ if self.pace.has_progress => soon_ms,
            Some(look_at_ms) => look_at_ms.max(soon_ms),
            None => soon_ms.max(self.pace.looked_at_ms + UNEVENTFUL_MS),
        };
        (!self.held.is_empty()).then_some(later_ms)
    }

    fn next_possible_look_ms(&self) -> u64 {
        self.pace.looked_at_ms + look_pause_ms(self.clients.len())
    }

    /// A reader has taken something, or is not waited for any more.
    pub(super) fn note_progress(&mut self) {
        self.pace.has_progress = true;
    }

    fn part_of_feed(&self, part: u64) -> u64 {
        self.rules.limits.feed_size as u64 / part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(behind: usize, all: usize) -> Readers {
        Readers { all, behind, far_behind: 0 }
    }

    #[test]
    fn one_alone_is_neither_most_nor_some_unless_it_is_far_behind() {
        for all in [1, 2, 100] {
            assert!(!readers(1, all).most_are_behind() && !readers(1, all).some_are_behind());
            let far_behind = Readers { far_behind: 1, ..readers(1, all) };
            assert!(!far_behind.most_are_behind() && far_behind.some_are_behind());
        }
    }

    #[test]
    fn most_are_more_than_half_and_some_are_more_than_an_eighth() {
        assert!(readers(2, 3).most_are_behind() && !readers(2, 4).most_are_behind());
        assert!(readers(51, 100).most_are_behind() && !readers(50, 100).most_are_behind());
        assert!(readers(2, 15).some_are_behind() && !readers(2, 16).some_are_behind());
        assert!(readers(13, 100).some_are_behind() && !readers(12, 100).some_are_behind());
    }

    /// What each look finds: when, how many of 100 readers are behind, and until when it holds.
    #[track_caller]
    fn looks(looks: &[(u64, usize, Option<u64>)]) {
        let mut pace = Pace::default();
        for &(now_ms, behind, held_until) in looks {
            pace.decide(now_ms, readers(behind, 100));
            let until = match pace.hold {
                Hold::None => None,
                Hold::ForMost { until_ms } | Hold::ForSome { until_ms } => Some(until_ms),
            };
            assert_eq!(until, held_until, "{behind} of 100 behind at {now_ms}: {pace:?}");
        }
    }

    #[test]
    fn for_most_readers_broadcasts_are_held_for_two_seconds_and_again() {
        let until = Some(3000);
        looks(&[(1000, 51, until), (2000, 99, until), (2999, 51, until), (3000, 51, None)]);
        looks(&[(1000, 51, until), (3000, 51, None), (3001, 51, Some(5001))]);
    }

    #[test]
    fn a_hold_is_over_when_few_are_behind() {
        looks(&[(1000, 51, Some(3000)), (1001, 12, None)]);
        looks(&[(1000, 13, Some(1500)), (1001, 12, None)]);
    }

    #[test]
    fn for_some_readers_it_is_as_long_as_the_feed_moved_within_bounds() {
        looks(&[(50, 13, Some(150))]);
        looks(&[(1000, 0, None), (1200, 13, Some(1400)), (1300, 13, Some(1400))]);
        looks(&[(1000, 0, None), (9000, 13, Some(9500)), (9500, 13, None), (9501, 13, Some(9601))]);
    }

    #[test]
    fn a_hold_for_most_becomes_one_for_some_and_not_the_other_way() {
        looks(&[(900, 0, None), (1000, 51, Some(3000)), (1200, 13, Some(1500))]);
        looks(&[(900, 0, None), (1000, 13, Some(1100)), (1050, 99, Some(1100)), (1100, 99, None)]);
    }

    #[test]
    fn a_thousand_clients_are_looked_at_less_often_by_a_millisecond() {
        let pauses = [0, 999, 1000, 1999, 10_000].map(look_pause_ms);
        assert_eq!(pauses, [1, 1, 2, 2, 11]);
    }
}
