//! What waits for one client beside the feed.

use std::collections::VecDeque;
use std::ops::Range;

use super::feed::Position;

/// A stretch of a client's stream that is still to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// The client's own bytes.
    Own(&'a [u8]),
    /// Bytes that stand in the feed.
    Feed(Range<Position>),
}

/// One client's stream, from its next unsent byte on: the feed from the cursor on, and set into it,
/// each at its place, replies that only this client gets, and jumps of the cursor.
///
/// **Invariants**
/// - The entries' places never go back, but behind a jump, and none is before the cursor.
/// - `bytes[sent..]` are the replies' bytes, in order, and nothing else.
/// - The cursor stands at the first entry's place only while that entry is a reply.
#[derive(Debug)]
pub struct Outbox {
    /// The next byte of the feed that the client gets.
    cursor: Position,
    /// Where the feed ends for this client, if it does not follow it any more.
    until: Option<Position>,
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    sent: usize,
}

/// Deliver the feed up to `at`, and then this.
#[derive(Debug)]
struct Entry {
    at: Position,
    what: What,
}

#[derive(Debug)]
enum What {
    /// So many of the client's own bytes.
    Reply(usize),
    /// The feed goes on from another place.
    Jump(Position),
}

impl Outbox {
    /// The stream of a client that follows the feed from `cursor` on.
    pub fn new(cursor: Position) -> Self {
        Self { cursor, until: None, entries: VecDeque::new(), bytes: Vec::new(), sent: 0 }
    }

    /// Appends a reply behind all that the client is owed now.
    pub fn reply(&mut self, head: Position, line: &[u8]) {
        let len = line.len();
        if self.bytes.len() + len > self.bytes.capacity() {
            // What is sent makes room first, so that memory grows by what waits alone.
            self.forget_sent();
        }
        self.bytes.extend_from_slice(line);
        let at = self.end(head);
        match self.entries.back_mut() {
            Some(Entry { at: last, what: What::Reply(bytes) }) if *last == at => *bytes += len,
            _ => self.entries.push_back(Entry { at, what: What::Reply(len) }),
        }
    }

    /// No more of the feed from here on.
    pub fn stop_following(&mut self, head: Position) {
        self.until = Some(self.end(head));
    }

    /// The feed again, from its head on. A client that follows it already misses nothing.
    pub fn follow(&mut self, head: Position) {
        if let Some(at) = self.until.take()
            && at != head
        {
            self.entries.push_back(Entry { at, what: What::Jump(head) });
            self.pass_jumps();
        }
    }

    /// Whether the client follows the feed.
    pub fn follows(&self) -> bool {
        self.until.is_none()
    }

    /// How much memory the outbox takes, in bytes, as far as it counts against `max-outbox`.
    pub fn size(&self) -> usize {
        self.bytes.len() - self.sent + self.entries.len() * size_of::<Entry>()
    }

    /// Whether anything waits that is not the feed's.
    pub fn has_replies(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether anything waits at all.
    pub fn owes(&self, head: Position) -> bool {
        self.has_replies() || self.cursor < self.end(head)
    }

    /// What waits, in order.
    pub fn spans(&self, head: Position) -> impl Iterator<Item = Span<'_>> {
        let mut entries = self.entries.iter();
        let mut cursor = self.cursor;
        let mut own = &self.bytes[self.sent..];
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
                match *what {
                    What::Reply(len) => {
                        let (reply, rest) = own.split_at(len);
                        own = rest;
                        return Some(Span::Own(reply));
                    }
                    What::Jump(to) => cursor = to,
                }
            }
        })
    }

    /// Takes note that the first `sent` bytes of what waits were sent.
    pub fn consume(&mut self, mut sent: usize, head: Position) {
        loop {
            self.pass_jumps();
            let at = self.entries.front().map_or_else(|| self.end(head), |entry| entry.at);
            let of_feed = sent.min((at - self.cursor) as usize);
            self.cursor += of_feed as u64;
            sent -= of_feed;
            if sent == 0 {
                break;
            }
            let Some(Entry { what: What::Reply(len), .. }) = self.entries.front_mut() else {
                debug_assert!(false, "no more was sent than waited");
                break;
            };
            let of_reply = sent.min(*len);
            *len -= of_reply;
            self.sent += of_reply;
            sent -= of_reply;
            if *len > 0 {
                break;
            }
            self.entries.pop_front();
        }
        self.release();
    }

    /// The oldest place of the feed that is still needed, if any is.
    pub fn oldest_needed(&self, head: Position) -> Option<Position> {
        if self.entries.is_empty() {
            return (self.cursor < self.end(head)).then_some(self.cursor);
        }
        let starts = self.spans(head).filter_map(|span| match span {
            Span::Feed(range) => Some(range.start),
            Span::Own(_) => None,
        });
        starts.min()
    }

    /// The place of the next byte, if that is the feed's.
    pub fn next_in_feed(&self, head: Position) -> Option<Position> {
        let at = self.entries.front().map_or_else(|| self.end(head), |entry| entry.at);
        (self.cursor < at).then_some(self.cursor)
    }

    /// Gives up what is owed of the feed, and keeps the replies. If a line is half sent, `rest` is
    /// what is left of it, and comes first.
    pub fn give_up_feed(&mut self, rest: &[u8]) {
        self.forget_sent();
        self.bytes.splice(..0, rest.iter().copied());
        self.entries.clear();
        self.until = Some(self.cursor);
        if !self.bytes.is_empty() {
            let reply = What::Reply(self.bytes.len());
            self.entries.push_back(Entry { at: self.cursor, what: reply });
        }
    }

    /// Takes back the last `len` bytes of the replies, none of which was sent.
    pub fn retract(&mut self, len: usize) {
        self.bytes.truncate(self.bytes.len() - len);
        if let Some(Entry { what: What::Reply(last), .. }) = self.entries.back_mut() {
            *last -= len;
            if *last == 0 {
                self.entries.pop_back();
            }
        }
    }

    /// Gives up everything: the client cannot be written to any more.
    pub fn clear(&mut self) {
        *self = Self { until: Some(self.cursor), ..Self::new(self.cursor) };
    }

    /// The replies that were appended since the outbox was `size` bytes long, for the log.
    pub fn bytes_since(&self, len: usize) -> &[u8] {
        self.bytes.get(len..).unwrap_or_default()
    }

    /// A mark for [`bytes_since`](Self::bytes_since), good until something is consumed.
    pub fn mark(&self) -> usize {
        self.bytes.len()
    }

    fn end(&self, head: Position) -> Position {
        self.until.unwrap_or(head)
    }

    fn pass_jumps(&mut self) {
        while let Some(&Entry { at, what: What::Jump(to) }) = self.entries.front()
            && self.cursor == at
        {
            self.cursor = to;
            self.entries.pop_front();
        }
    }

    /// Gives back memory that is not needed, and keeps a little for the next reply.
    fn release(&mut self) {
        const KEPT: usize = 128;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            self.bytes.shrink_to(KEPT);
            if self.entries.is_empty() {
                self.entries.shrink_to(KEPT / size_of::<Entry>());
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.forget_sent();
        }
    }

    fn forget_sent(&mut self) {
        self.bytes.drain(..self.sent);
        self.sent = 0;
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check_invariants(&self, head: Position) {
        let owned: usize = self
            .entries
            .iter()
            .map(|entry| if let What::Reply(len) = entry.what { len } else { 0 })
            .sum();
        assert_eq!(owned, self.bytes.len() - self.sent);
        let mut cursor = self.cursor;
        for entry in &self.entries {
            assert!(cursor <= entry.at && entry.at <= head);
            cursor = entry.at;
            if let What::Jump(to) = entry.what {
                cursor = to;
            }
        }
        assert!(cursor <= self.end(head));
    }
}
