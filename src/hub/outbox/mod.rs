//! What waits for one client beside the feed.

mod lost;

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};

use super::feed::Offset;

/// A stretch of a client's stream that is still to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// The client's own bytes.
    Own(&'a [u8]),
    /// Bytes that stand in the feed.
    Feed(Range<Offset>),
}

/// One client's stream, from its next unsent byte on: the feed from the cursor on, and set into it,
/// each at its place, replies that only this client gets, and jumps of the cursor.
///
/// **Invariants**
/// - The entries' places never go back, but behind a jump, and none is before the cursor.
/// - The cursor stands at the first entry's place only while that entry is no jump.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The next byte of the feed that the client gets.
    cursor: Offset,
    /// Where the feed ends for this client, if it does not follow it any more.
    until: Option<Offset>,
    waiting: Waiting,
    /// The client has moved its cursor back, and has not caught up since.
    is_rewound: bool,
    /// Nothing can be delivered any more, and nothing is taken in.
    closed: bool,
}

/// What waits beside the feed. Most clients wait for nothing, most of the time: then this is
/// one pointer, and reads as an empty queue.
#[derive(Debug, Default)]
struct Waiting(Option<Box<Queue>>);

/// The entries and their bytes.
///
/// **Invariants**
/// - `bytes[sent..]` are the bytes of the entries that have some, in order, and nothing else.
/// - `jumps` are the jumps in `entries`, in order.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    jumps: VecDeque<Jump>,
    bytes: Vec<u8>,
    sent: usize,
}

impl Queue {
    /// The client's own bytes that wait.
    fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn forget_sent(&mut self) {
        self.bytes.drain(..self.sent);
        self.sent = 0;
    }
}

impl Deref for Waiting {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        static EMPTY: Queue =
            Queue { entries: VecDeque::new(), jumps: VecDeque::new(), bytes: Vec::new(), sent: 0 };
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Waiting {
    fn deref_mut(&mut self) -> &mut Queue {
        self.0.get_or_insert_default()
    }
}

/// Deliver the feed up to `at`, and then this.
#[derive(Debug)]
struct Entry {
    at: Offset,
    what: What,
}

#[derive(Debug)]
enum What {
    /// So many of the client's own bytes.
    Reply(usize),
    /// The same, which say how many lines the client misses here.
    Lagged { len: u8, lines: u64 },
    /// The feed goes on from another place.
    Jump(Offset),
}

impl What {
    /// How many of the client's own bytes it is.
    fn len(&self) -> usize {
        match *self {
            Self::Reply(len) => len,
            Self::Lagged { len, .. } => len.into(),
            Self::Jump(_) => 0,
        }
    }

    /// The first `sent` of them were sent.
    fn shorten(&mut self, sent: usize) {
        match self {
            Self::Reply(len) => *len -= sent,
            Self::Lagged { len, .. } => *len -= sent as u8,
            Self::Jump(_) => {}
        }
    }
}

/// A move of the cursor that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    at: Offset,
    to: Offset,
}

impl Outbox {
    /// The stream of a client that follows the feed from `cursor` on.
    pub(super) fn new(cursor: Offset) -> Self {
        Self { cursor, until: None, waiting: Waiting::default(), is_rewound: false, closed: false }
    }

    /// Appends a reply behind all that the client is owed now.
    pub(super) fn reply(&mut self, head: Offset, line: &[u8]) {
        if self.closed {
            return;
        }
        let len = line.len();
        if self.waiting.bytes.len() + len > self.waiting.bytes.capacity() {
            // What is sent makes room first, so that memory grows by what waits alone.
            self.waiting.forget_sent();
        }
        self.waiting.bytes.extend_from_slice(line);
        let at = self.end(head);
        match self.waiting.entries.back_mut() {
            Some(Entry { at: last, what: What::Reply(bytes) }) if *last == at => *bytes += len,
            _ => self.waiting.entries.push_back(Entry { at, what: What::Reply(len) }),
        }
    }

    /// No more of the feed from here on.
    pub(super) fn stop_following(&mut self, head: Offset) {
        self.until = Some(self.end(head));
    }

    /// The feed again, from its head on. A client that follows it already misses nothing.
    pub(super) fn follow(&mut self, head: Offset) {
        if !self.follows() {
            self.jump(head, head);
        }
    }

    /// Behind all that the client is owed now, the feed from this place on.
    pub(super) fn jump(&mut self, head: Offset, to: Offset) {
        if self.closed {
            return;
        }
        let at = self.end(head);
        // One that leads nowhere else still parts what is missed before it from what is missed behind.
        let parts = at != to || self.owes(head);
        self.until = None;
        self.is_rewound |= to < head;
        if parts {
            self.waiting.entries.push_back(Entry { at, what: What::Jump(to) });
            self.waiting.jumps.push_back(Jump { at, to });
            self.pass_jumps();
        }
    }

    /// Whether the client has moved its cursor back, and was not seen to have caught up since.
    pub(super) fn is_rewound(&self) -> bool {
        self.is_rewound
    }

    /// It has caught up.
    pub(super) fn note_caught_up(&mut self) {
        self.is_rewound = false;
    }

    /// Whether the client follows the feed.
    pub(super) fn follows(&self) -> bool {
        self.until.is_none()
    }

    /// How much memory the outbox takes, in bytes, as far as it counts against `max-outbox`.
    pub(super) fn size(&self) -> usize {
        self.waiting.unsent().len()
            + self.waiting.entries.len() * size_of::<Entry>()
            + self.waiting.jumps.len() * size_of::<Jump>()
    }

    /// How many moves of the cursor are still to come.
    pub(super) fn jumps(&self) -> usize {
        self.waiting.jumps.len()
    }

    /// Whether anything waits but the feed.
    pub(super) fn has_entries(&self) -> bool {
        !self.waiting.entries.is_empty()
    }

    /// Whether anything waits at all.
    pub(super) fn owes(&self, head: Offset) -> bool {
        self.has_entries() || self.cursor < self.end(head)
    }

    /// What waits, in order.
    pub(super) fn spans(&self, head: Offset) -> impl Iterator<Item = Span<'_>> {
        let mut entries = self.waiting.entries.iter();
        let mut cursor = self.cursor;
        let mut own = self.waiting.unsent();
        let mut entry = entries.next();
        std::iter::from_fn(move || {
            loop {
                let at = entry.map_or_else(|| self.end(head), |entry| entry.at);
                if cursor < at {
                    let range = cursor..at;
                    cursor = at;
                    return Some(Span::Feed(range));
                }
                let what = &entry?.what;
                entry = entries.next();
                if let What::Jump(to) = *what {
                    cursor = to;
                    continue;
                }
                let (bytes, rest) = own.split_at(what.len());
                own = rest;
                return Some(Span::Own(bytes));
            }
        })
    }

    /// Takes note that the first `sent` bytes of what waits were sent.
    pub(super) fn consume(&mut self, mut sent: usize, head: Offset) {
        loop {
            self.pass_jumps();
            let at = self.waiting.entries.front().map_or_else(|| self.end(head), |entry| entry.at);
            let of_feed = sent.min((at - self.cursor) as usize);
            self.cursor += of_feed as u64;
            sent -= of_feed;
            if of_feed > 0 {
                // There may be a jump from there.
                continue;
            }
            if sent == 0 {
                break;
            }
            let queue = &mut *self.waiting;
            let Some(Entry { what, .. }) = queue.entries.front_mut() else {
                debug_assert!(false, "no more was sent than waited");
                break;
            };
            let own = sent.min(what.len());
            what.shorten(own);
            queue.sent += own;
            sent -= own;
            if what.len() > 0 {
                break;
            }
            queue.entries.pop_front();
        }
        self.release();
    }

    /// The oldest place of the feed that is still needed, if any is: the cursor, or where a jump
    /// leads, if something is delivered from there.
    pub(super) fn oldest_needed(&self, head: Offset) -> Option<Offset> {
        let end = self.end(head);
        let from =
            std::iter::once(self.cursor).chain(self.waiting.jumps.iter().map(|jump| jump.to));
        let up_to = self.waiting.jumps.iter().map(|jump| jump.at).chain(std::iter::once(end));
        from.zip(up_to).filter(|(from, up_to)| from < up_to).map(|(from, _)| from).min()
    }

    /// Gives up everything, for good: the client cannot be written to any more.
    pub(super) fn close(&mut self) {
        *self = Self { until: Some(self.cursor), closed: true, ..Self::new(self.cursor) };
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A mark for [`replies_since`](Self::replies_since), good until something is consumed.
    pub(super) fn mark(&self) -> usize {
        self.waiting.unsent().len()
    }

    /// The replies that were appended since the mark was taken.
    pub(super) fn replies_since(&self, mark: usize) -> &[u8] {
        self.waiting.unsent().get(mark..).unwrap_or_default()
    }

    fn end(&self, head: Offset) -> Offset {
        self.until.unwrap_or(head)
    }

    fn pass_jumps(&mut self) {
        while let Some(&Entry { at, what: What::Jump(to) }) = self.waiting.entries.front()
            && self.cursor == at
        {
            self.cursor = to;
            self.waiting.entries.pop_front();
            self.waiting.jumps.pop_front();
        }
    }

    /// Gives back the memory of what was sent, once that is all there was: most clients wait for nothing,
    /// most of the time.
    fn release(&mut self) {
        if self.waiting.entries.is_empty() {
            self.waiting = Waiting::default();
        } else if self.waiting.sent == self.waiting.bytes.len() {
            self.waiting.bytes = Vec::new();
            self.waiting.sent = 0;
        }
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check_invariants(&self, head: Offset) {
        let owned: usize = self.waiting.entries.iter().map(|entry| entry.what.len()).sum();
        assert_eq!(owned, self.waiting.unsent().len());
        let jumps = self.waiting.entries.iter().filter_map(|entry| match entry.what {
            What::Jump(to) => Some(Jump { at: entry.at, to }),
            What::Reply(_) | What::Lagged { .. } => None,
        });
        assert!(jumps.eq(self.waiting.jumps.iter().copied()));
        let first = self.waiting.entries.front();
        assert!(!first.is_some_and(|entry| {
            entry.at == self.cursor && matches!(entry.what, What::Jump(_))
        }));
        let mut cursor = self.cursor;
        for entry in &self.waiting.entries {
            assert!(cursor <= entry.at && entry.at <= head);
            cursor = entry.at;
            if let What::Jump(to) = entry.what {
                cursor = to;
            }
        }
        assert!(cursor <= self.end(head));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PONG: &[u8] = b"pong\n";

    #[test]
    fn replies_at_one_place_are_one_entry() {
        let mut outbox = Outbox::new(0);
        outbox.reply(0, PONG);
        let one = outbox.size();
        assert_eq!(one, PONG.len() + size_of::<Entry>());
        outbox.reply(0, PONG);
        assert_eq!(outbox.size(), one + PONG.len());
        outbox.reply(10, PONG);
        assert_eq!(outbox.size(), 2 * one + PONG.len(), "a line of the feed is between");
    }

    #[test]
    fn a_jump_counts_and_is_made_whatever_else_is_owed() {
        let mut outbox = Outbox::new(10);
        outbox.jump(10, 0);
        assert_eq!(outbox.spans(10).collect::<Vec<_>>(), [Span::Feed(0..10)]);
        outbox.jump(10, 5);
        assert_eq!(outbox.size(), size_of::<Entry>() + size_of::<Jump>());
        let spans: Vec<Span<'_>> = outbox.spans(10).collect();
        assert_eq!(spans, [Span::Feed(0..10), Span::Feed(5..10)]);
    }

    #[test]
    fn what_is_sent_takes_no_memory() {
        let mut outbox = Outbox::new(0);
        outbox.reply(0, PONG);
        outbox.jump(10, 0);
        outbox.reply(10, PONG);
        outbox.consume(2 * PONG.len() + 19, 10);
        assert!(outbox.waiting.bytes.capacity() > 0, "the last byte waits");
        outbox.consume(1, 10);
        assert!(!outbox.owes(10));
        assert!(outbox.waiting.0.is_none());
    }

    #[test]
    fn memory_grows_by_what_waits_and_not_by_what_was_sent() {
        let mut outbox = Outbox::new(0);
        outbox.reply(0, PONG);
        for _ in 0..10_000 {
            outbox.reply(0, PONG);
            outbox.consume(PONG.len(), 0);
        }
        assert!(outbox.waiting.bytes.capacity() < 100, "{}", outbox.waiting.bytes.capacity());
    }
}
