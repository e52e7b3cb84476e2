//! Slow consumers: dropping the backlog of an evicted client, and skipping a client forward.

use std::mem;

use super::outbox::{Entry, EntryKind, Outbox, Queue, Seek};
use crate::hub::channel::feed::{Feed, Offset};
use crate::protocol::Reply;

/// The result of [`Outbox::skip`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) lines: u64,
    /// The number of bytes scanned to count them.
    pub(crate) scanned: usize,
}

impl Outbox {
    /// Discards the pending broadcasts, except for the rest of a partial line. Keeps the replies.
    pub(crate) fn drop_feed_backlog(&mut self, feed: &Feed) {
        self.finish_partial_line(feed);
        self.until = self.cursor;
        let Some(queue) = &mut self.queue else { return };
        queue.entries.clear();
        queue.seeks.clear();
        if queue.bytes.is_empty() {
            self.queue = None;
        } else {
            let reply = EntryKind::Reply(queue.bytes.len());
            queue.entries.push_back(Entry { at: self.cursor, kind: reply });
        }
    }

    /// Moves the cursor and the targets of pending seeks forward to `resume_at` if they are before
    /// `drops_before`. `resume_at` is the start of a later line. Inserts a `lagged` line at each
    /// gap, or adds the gap to a `lagged` line that is still unsent. Between two seeks there is at
    /// most one gap. Replies keep their order; those inside a gap follow its `lagged` line.
    pub(crate) fn skip(&mut self, feed: &Feed, drops_before: Offset, resume_at: Offset) -> Skipped {
        self.finish_partial_line(feed);
        let end = self.end(feed.head());
        let old = self.queue.take().map(|queue| *queue).unwrap_or_default();
        let Queue { entries, seeks, bytes, .. } = old;
        let (mut entries, mut own) = (entries.into_iter().peekable(), bytes.as_slice());
        let mut queue = Queue::default();
        let mut skipped = Skipped::default();
        let mut start = self.cursor;
        for nth in 0..=seeks.len() {
            let stretch_end = seeks.get(nth).map_or(end, |seek| seek.at);
            let resumed = if start < drops_before { resume_at.min(stretch_end) } else { start };
            match nth.checked_sub(1) {
                None => self.cursor = resumed,
                Some(before) => queue.push_seek(Seek { at: seeks[before].at, to: resumed }),
            }
            let (mut missed, scanned) = feed.count_lines(start..resumed);
            skipped.lines += missed;
            skipped.scanned += scanned;
            while let Some(Entry { at, kind }) =
                entries.next_if(|entry| !matches!(entry.kind, EntryKind::Seek(_)))
            {
                let (bytes, rest) = own.split_at(kind.len());
                own = rest;
                if at > start && missed > 0 {
                    queue.push_lagged(resumed, mem::take(&mut missed));
                }
                match kind {
                    EntryKind::Lagged { lines, len } if missed > 0 && is_unsent(lines, len) => {
                        queue.push_lagged(resumed, lines + mem::take(&mut missed));
                    }
                    kind => {
                        queue.bytes.extend_from_slice(bytes);
                        queue.entries.push_back(Entry { at: at.max(resumed), kind });
                    }
                }
            }
            if missed > 0 {
                queue.push_lagged(resumed, missed);
            }
            if let Some(Entry { kind: EntryKind::Seek(to), .. }) = entries.next() {
                start = to;
            }
        }
        self.queue = (!queue.entries.is_empty()).then(|| Box::new(queue));
        self.apply_seeks();
        skipped
    }

    /// Turns the rest of a partially sent feed line into a reply, so that it is sent first.
    fn finish_partial_line(&mut self, feed: &Feed) {
        if let Some(queue) = &mut self.queue {
            queue.forget_sent();
        }
        if self.cursor < self.next_entry_at(feed.head())
            && let Some(rest) = feed.rest_of_line(self.cursor)
        {
            self.cursor += rest.len() as u64;
            let queue = self.queue.get_or_insert_default();
            queue.bytes.splice(..0, rest.iter().copied());
            let kind = EntryKind::Reply(rest.len());
            queue.entries.push_front(Entry { at: self.cursor, kind });
        }
    }
}

impl Queue {
    fn push_seek(&mut self, seek: Seek) {
        self.entries.push_back(Entry { at: seek.at, kind: EntryKind::Seek(seek.to) });
        self.seeks.push_back(seek);
    }

    fn push_lagged(&mut self, at: Offset, lines: u64) {
        let line = lagged_line(lines);
        let kind = EntryKind::Lagged { len: line.len() as u8, lines };
        self.entries.push_back(Entry { at, kind });
        self.bytes.extend_from_slice(&line);
    }
}

/// Returns whether a `lagged` line with `len` unsent bytes is entirely unsent.
fn is_unsent(lines: u64, len: u8) -> bool {
    lagged_line(lines).len() == usize::from(len)
}

fn lagged_line(lines: u64) -> Vec<u8> {
    let mut line = Vec::new();
    Reply::Lagged(lines).encode(&mut line);
    line
}
