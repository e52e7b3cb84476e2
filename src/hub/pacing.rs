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

use super::Hub;
use super::client::Client;
use super::feed::Position;
use super::slow::SlowClients;

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
    /// It is tried again next turn: this one has done enough, or something is to be flushed first.
    NextTurn,
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
    looked_at: Position,
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

impl Hub {
    /// Appends a broadcast to the feed and returns its number.
    pub(super) fn append(&mut self, key: usize, text: &str) -> Result<u64, Wait> {
        if self.left.append == 0 {
            return Err(Wait::NextTurn);
        }
        if self.is_holding() {
            return Err(Wait::ForReaders);
        }
        let from = self.attribution(key);
        let len = self.feed.prepare(&from, text);
        if let Some(kept) = self.feed.would_drop_before() {
            self.make_room(kept)?;
            if !self.clients[key].is_inside() {
                // It was the sender that was lapped: its stream ends before this line.
                return Err(Wait::NextTurn);
            }
        }
        self.left.append = self.left.append.saturating_sub(len);
        self.counters.broadcasts += 1;
        Ok(self.feed.append())
    }

    /// Whether broadcasts are held. Rules 2 and 3 take a look at everybody, so they take one only now
    /// and then; where broadcasts wait for whoever is slow, they are not needed.
    fn is_holding(&mut self) -> bool {
        let moved_on = self.feed.head() - self.pace.looked_at;
        if self.rules.slow_clients != SlowClients::Wait
            && self.pace.hold == Hold::None
            && moved_on >= self.part_of_feed(BEHIND)
        {
            self.look_at_readers();
        }
        self.awaited.is_some() || self.pace.hold != Hold::None
    }

    fn look_at_readers(&mut self) {
        let (mut readers, mut behind, mut far_behind) = (0, 0, 0);
        for (_, client) in &self.clients {
            let lag = self.lag(client);
            // Nobody holds the others by asking for what was before.
            let is_waited_for = self.takes_bytes(client) && !client.outbox.is_rewound();
            if (client.outbox.follows() || lag > 0) && is_waited_for {
                readers += 1;
                behind += usize::from(lag > self.part_of_feed(BEHIND));
                far_behind += usize::from(lag > self.part_of_feed(FAR_BEHIND));
            }
        }
        let most_are = behind > 1 && 2 * behind > readers;
        let some_are = far_behind > 0 || (behind > 1 && behind * SOME > readers);
        let now_ms = self.now_ms;
        let pace = &mut self.pace;
        pace.hold = match pace.hold {
            _ if !most_are && !some_are => Hold::None,
            Hold::ForMost { until_ms } | Hold::ForSome { until_ms } if now_ms >= until_ms => {
                Hold::None
            }
            Hold::ForMost { .. } if most_are => pace.hold,
            Hold::ForSome { .. } => pace.hold,
            Hold::None if most_are => Hold::ForMost { until_ms: now_ms + FOR_MOST_MS },
            Hold::None | Hold::ForMost { .. } => {
                let (least_ms, most_ms) = FOR_SOME_MS;
                let as_long_again_ms = (now_ms - pace.began_ms).clamp(least_ms, most_ms);
                Hold::ForSome { until_ms: now_ms + as_long_again_ms }
            }
        };
        if pace.hold == Hold::None {
            pace.began_ms = now_ms;
        }
        pace.looked_at = self.feed.head();
        pace.note_look(now_ms);
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
        if self.held.is_empty() || self.now_ms < self.pace.looked_at_ms + self.look_pause_ms() {
            return;
        }
        match self.rules.slow_clients {
            SlowClients::Wait => self.look_at_awaited(),
            SlowClients::Disconnect | SlowClients::Skip => self.look_at_readers(),
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
        let soon_ms = self.look_pause_ms();
        let later_ms = match self.next_look_at_awaited() {
            _ if self.pace.has_progress => self.pace.looked_at_ms + soon_ms,
            Some(look_at_ms) => look_at_ms.max(self.pace.looked_at_ms + soon_ms),
            None => self.pace.looked_at_ms + soon_ms.max(UNEVENTFUL_MS),
        };
        (!self.held.is_empty()).then_some(later_ms)
    }

    /// A reader has taken something, or is not waited for any more.
    pub(super) fn note_progress(&mut self) {
        self.pace.has_progress = true;
    }

    /// The time between two looks: the more readers there are, the longer a look takes.
    fn look_pause_ms(&self) -> u64 {
        1 + self.clients.len() as u64 / 1000
    }

    fn part_of_feed(&self, part: u64) -> u64 {
        self.rules.limits.feed_size as u64 / part
    }
}
