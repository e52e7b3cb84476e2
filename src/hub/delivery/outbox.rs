//! One client's pending output: its cursor into the feed, and the replies between the feed's lines.

use std::collections::VecDeque;
use std::ops::Range;

use crate::hub::channel::feed::Offset;

/// A part of a client's pending output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// Bytes for this client alone.
    Own(&'a [u8]),
    /// A range of the feed.
    Feed(Range<Offset>),
}

/// The value of [`Outbox::until`] while the client follows the feed. Smaller than an `Option`.
const FOLLOWING: Offset = Offset::MAX;

/// One client's pending output: the feed from the cursor on, interleaved with entries at given
/// offsets. An entry is output for this client alone, or a seek of the cursor.
///
/// **Invariants**
/// - The entries' offsets never decrease, except after a seek, and none is before the cursor.
/// - If the first entry is a seek, the cursor has not reached it.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The offset of the next byte of the feed to send.
    pub(super) cursor: Offset,
    /// The offset at which the feed ends for this client, or [`FOLLOWING`] if it follows the feed.
    pub(super) until: Offset,
    /// Allocated only while something besides the feed is pending, which is rare for most clients.
    pub(super) queue: Option<Box<Queue>>,
    /// Whether the client moved its cursor back and has not caught up since.
    is_replaying: bool,
    /// Whether the client cannot be written to any more. New output is then discarded.
    is_closed: bool,
}

/// The entries and their bytes.
///
/// **Invariants**
/// - `bytes[sent..]` holds exactly the unsent bytes of the entries, in order.
/// - `seeks` are the seeks in `entries`, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) entries: VecDeque<Entry>,
    /// A copy of the seeks, since computing the lag needs them often.
    pub(super) seeks: VecDeque<Seek>,
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
}

/// An entry, which is due once the feed up to `at` is sent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: Offset,
    pub(super) kind: EntryKind,
}

#[derive(Debug)]
pub(super) enum EntryKind {
    /// This many unsent bytes for this client alone.
    Reply(usize),
    /// A `lagged` line, of which `len` bytes are unsent.
    Lagged { len: u8, lines: u64 },
    /// The feed continues at another offset.
    Seek(Offset),
}

/// A move of the cursor from `at` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seek {
    pub(super) at: Offset,
    pub(super) to: Offset,
}

impl EntryKind {
    /// The number of the entry's unsent bytes.
    pub(super) fn len(&self) -> usize {
        match *self {
            Self::Reply(len) => len,
            Self::Lagged { len, .. } => len.into(),
            Self::Seek(_) => 0,
        }
    }

    /// Records that the entry's first `sent` unsent bytes were sent.
    fn shorten(&mut self, sent: usize) {
        match self {
            Self::Reply(len) => *len -= sent,
            Self::Lagged { len, .. } => *len -= sent as u8,
            Self::Seek(_) => {}
        }
    }
}

impl Queue {
    fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn forget_sent(&mut self) {
        self.bytes.drain(..self.sent);
        self.sent = 0;
    }
}

impl Default for Outbox {
    /// The outbox of a client that does not follow the feed.
    fn default() -> Self {
        Self { cursor: 0, until: 0, queue: None, is_replaying: false, is_closed: false }
    }
}

impl Outbox {
    /// Appends a reply behind all pending output.
    pub(crate) fn reply(&mut self, head: Offset, line: &[u8]) {
        if self.is_closed {
            return;
        }
        let at = self.end(head);
        let queue = self.queue.get_or_insert_default();
        if queue.bytes.len() + line.len() > queue.bytes.capacity() {
            // Discard sent bytes before growing, so that memory grows only with pending output.
            queue.forget_sent();
        }
        queue.bytes.extend_from_slice(line);
        match queue.entries.back_mut() {
            Some(Entry { at: last, kind: EntryKind::Reply(len) }) if *last == at => {
                *len += line.len();
            }
            _ => queue.entries.push_back(Entry { at, kind: EntryKind::Reply(line.len()) }),
        }
    }

    /// Stops following the feed: the client receives no broadcasts after the head.
    pub(crate) fn unfollow(&mut self, head: Offset) {
        self.until = self.end(head);
    }

    /// Follows the feed from its head on, unless the client follows it already.
    pub(crate) fn follow(&mut self, head: Offset) {
        if !self.follows() {
            self.seek(head, head);
        }
    }

    /// Continues with the feed at `to`, after all pending output.
    pub(crate) fn seek(&mut self, head: Offset, to: Offset) {
        if self.is_closed {
            return;
        }
        let at = self.end(head);
        // A seek to the same offset is kept if output is pending: it separates the `lagged` counts
        // before and after it.
        let is_needed = at != to || self.has_pending(head);
        self.until = FOLLOWING;
        self.is_replaying |= to < head;
        if is_needed {
            let queue = self.queue.get_or_insert_default();
            queue.entries.push_back(Entry { at, kind: EntryKind::Seek(to) });
            queue.seeks.push_back(Seek { at, to });
            self.apply_seeks();
            self.release();
        }
    }

    /// Returns whether the client moved its cursor back and has not caught up since.
    pub(crate) fn is_replaying(&self) -> bool {
        self.is_replaying
    }

    /// Records that the client has caught up.
    pub(crate) fn note_caught_up(&mut self) {
        self.is_replaying = false;
    }

    /// Returns whether the client receives new broadcasts.
    pub(crate) fn follows(&self) -> bool {
        self.until == FOLLOWING
    }

    /// The size that counts against `max_outbox`, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| {
            queue.unsent().len()
                + queue.entries.len() * size_of::<Entry>()
                + queue.seeks.len() * size_of::<Seek>()
        })
    }

    /// The number of pending seeks.
    pub(crate) fn pending_seeks(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.seeks.len())
    }

    /// Returns whether anything besides the feed is pending.
    pub(crate) fn has_entries(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.entries.is_empty())
    }

    /// Returns whether anything is pending.
    pub(crate) fn has_pending(&self, head: Offset) -> bool {
        self.has_entries() || self.cursor < self.end(head)
    }

    /// The pending output, in order.
    pub(crate) fn spans(&self, head: Offset) -> impl Iterator<Item = Span<'_>> {
        let mut entries = self.queue.iter().flat_map(|queue| queue.entries.iter());
        let mut cursor = self.cursor;
        let mut own = self.unsent();
        let mut entry = entries.next();
        std::iter::from_fn(move || {
            loop {
                let at = entry.map_or_else(|| self.end(head), |entry| entry.at);
                if cursor < at {
                    let range = cursor..at;
                    cursor = at;
                    return Some(Span::Feed(range));
                }
                let kind = &entry?.kind;
                entry = entries.next();
                if let EntryKind::Seek(to) = *kind {
                    cursor = to;
                    continue;
                }
                let (bytes, rest) = own.split_at(kind.len());
                own = rest;
                return Some(Span::Own(bytes));
            }
        })
    }

    /// Records that the first `sent` bytes of the pending output were sent.
    pub(crate) fn consume(&mut self, mut sent: usize, head: Offset) {
        loop {
            self.apply_seeks();
            let of_feed = sent.min((self.next_entry_at(head) - self.cursor) as usize);
            self.cursor += of_feed as u64;
            sent -= of_feed;
            if of_feed > 0 {
                // The cursor may have reached a seek.
                continue;
            }
            if sent == 0 {
                break;
            }
            let Some(queue) = &mut self.queue else { break };
            let Some(Entry { kind, .. }) = queue.entries.front_mut() else {
                debug_assert!(false, "the caller consumes at most what is pending");
                break;
            };
            let own = sent.min(kind.len());
            kind.shorten(own);
            queue.sent += own;
            sent -= own;
            if kind.len() > 0 {
                break;
            }
            queue.entries.pop_front();
        }
        self.release();
    }

    /// The oldest offset of the feed that is still needed: the cursor or the target of a pending
    /// seek. `None` if nothing of the feed is pending.
    pub(crate) fn oldest_needed(&self, head: Offset) -> Option<Offset> {
        let end = self.end(head);
        let Some(queue) = &self.queue else { return (self.cursor < end).then_some(self.cursor) };
        let starts = std::iter::once(self.cursor).chain(queue.seeks.iter().map(|seek| seek.to));
        let ends = queue.seeks.iter().map(|seek| seek.at).chain(std::iter::once(end));
        starts.zip(ends).filter(|(start, end)| start < end).map(|(start, _)| start).min()
    }

    /// Discards all output, now and later: the client cannot be written to any more.
    pub(crate) fn close(&mut self) {
        *self = Self { is_closed: true, ..Self::default() };
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// A mark for [`replies_since`](Self::replies_since), valid until something is consumed.
    pub(crate) fn mark(&self) -> usize {
        self.unsent().len()
    }

    /// The replies appended since the mark was taken.
    pub(crate) fn replies_since(&self, mark: usize) -> &[u8] {
        self.unsent().get(mark..).unwrap_or_default()
    }

    fn unsent(&self) -> &[u8] {
        self.queue.as_ref().map_or(&[], |queue| queue.unsent())
    }

    /// The offset at which the feed ends for this client.
    pub(super) fn end(&self, head: Offset) -> Offset {
        self.until.min(head)
    }

    /// The offset of the first entry, or the end if there is none.
    pub(super) fn next_entry_at(&self, head: Offset) -> Offset {
        let first = self.queue.as_ref().and_then(|queue| queue.entries.front());
        first.map_or_else(|| self.end(head), |entry| entry.at)
    }

    /// Applies the seeks that the cursor has reached.
    pub(super) fn apply_seeks(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        while let Some(&Entry { at, kind: EntryKind::Seek(to) }) = queue.entries.front()
            && self.cursor == at
        {
            self.cursor = to;
            queue.entries.pop_front();
            queue.seeks.pop_front();
        }
    }

    /// Frees the queue once it has no entries, and its bytes once all of them were sent.
    fn release(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        if queue.entries.is_empty() {
            self.queue = None;
        } else if queue.sent == queue.bytes.len() {
            queue.bytes = Vec::new();
            queue.sent = 0;
        }
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check_invariants(&self, head: Offset) {
        let empty = Queue::default();
        let queue = self.queue.as_deref().unwrap_or(&empty);
        let own: usize = queue.entries.iter().map(|entry| entry.kind.len()).sum();
        assert_eq!(own, queue.unsent().len());
        let seeks = queue.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::Seek(to) => Some(Seek { at: entry.at, to }),
            EntryKind::Reply(_) | EntryKind::Lagged { .. } => None,
        });
        assert!(seeks.eq(queue.seeks.iter().copied()));
        assert!(!queue.entries.front().is_some_and(|entry| {
            entry.at == self.cursor && matches!(entry.kind, EntryKind::Seek(_))
        }));
        let mut cursor = self.cursor;
        for entry in &queue.entries {
            assert!(cursor <= entry.at && entry.at <= head);
            cursor = entry.at;
            if let EntryKind::Seek(to) = entry.kind {
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

    /// The outbox of a client that follows the feed from `cursor` on.
    fn following(cursor: Offset) -> Outbox {
        Outbox { cursor, until: FOLLOWING, ..Outbox::default() }
    }

    #[test]
    fn replies_at_one_offset_are_one_entry() {
        let mut outbox = following(0);
        outbox.reply(0, PONG);
        let one = outbox.size();
        assert_eq!(one, PONG.len() + size_of::<Entry>());
        outbox.reply(0, PONG);
        assert_eq!(outbox.size(), one + PONG.len());
        outbox.reply(10, PONG);
        assert_eq!(outbox.size(), 2 * one + PONG.len(), "a line of the feed is in between");
    }

    #[test]
    fn seek_takes_effect_behind_everything_pending() {
        let mut outbox = following(10);
        outbox.seek(10, 0);
        assert_eq!(outbox.spans(10).collect::<Vec<_>>(), [Span::Feed(0..10)]);
        outbox.seek(10, 5);
        assert_eq!(outbox.size(), size_of::<Entry>() + size_of::<Seek>());
        let spans: Vec<Span<'_>> = outbox.spans(10).collect();
        assert_eq!(spans, [Span::Feed(0..10), Span::Feed(5..10)]);
    }

    #[test]
    fn memory_is_freed_once_everything_is_sent() {
        let mut outbox = following(0);
        outbox.reply(0, PONG);
        outbox.seek(10, 0);
        outbox.reply(10, PONG);
        outbox.consume(2 * PONG.len() + 19, 10);
        assert!(outbox.queue.is_some(), "the last byte is pending");
        outbox.consume(1, 10);
        assert!(!outbox.has_pending(10));
        assert!(outbox.queue.is_none());
    }

    #[test]
    fn memory_grows_with_pending_output_and_not_with_sent_output() {
        let mut outbox = following(0);
        outbox.reply(0, PONG);
        for _ in 0..10_000 {
            outbox.reply(0, PONG);
            outbox.consume(PONG.len(), 0);
        }
        let capacity = outbox.queue.as_ref().map_or(0, |queue| queue.bytes.capacity());
        assert!(capacity < 100, "{capacity}");
    }
}
