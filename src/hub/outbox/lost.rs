//! What a client loses of the feed, and how its stream goes on.

use std::mem;
use std::ops::Range;

use crate::protocol::Reply;

use super::super::feed::{Feed, Offset};
use super::{Entry, Outbox, What};

/// What was left out of a client's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct Missed {
    pub(in crate::hub) lines: u64,
    /// How many bytes were looked at to count them.
    pub(in crate::hub) looked_at: usize,
}

impl Outbox {
    /// Gives up what is owed of the feed, but for the end of a half-sent line, and keeps the replies.
    pub(in crate::hub) fn give_up_feed(&mut self, feed: &Feed) {
        self.finish_line(feed);
        self.waiting.entries.clear();
        self.waiting.jumps.clear();
        self.until = Some(self.cursor);
        if !self.waiting.bytes.is_empty() {
            let reply = What::Reply(self.waiting.bytes.len());
            self.waiting.entries.push_back(Entry { at: self.cursor, what: reply });
        }
    }

    /// Wherever something is needed that stands before `kept`, has the client go on at `goes_on`
    /// instead, a line's beginning behind that. It is told there how many lines it misses: once for
    /// each stretch between two moves of its cursor, since more is added to what is not sent yet. The
    /// replies stay, and so does their order; those from what is left out come behind what is told.
    pub(in crate::hub) fn skip(&mut self, feed: &Feed, kept: Offset, goes_on: Offset) -> Missed {
        self.finish_line(feed);
        let end = self.end(feed.head());
        let mut entries = mem::take(&mut self.waiting.entries).into_iter().peekable();
        let mut in_all = Missed::default();
        let mut from = self.cursor;
        // Where the bytes of the next entry begin.
        let mut own = 0;
        for nth in 0..=self.waiting.jumps.len() {
            let to = self.waiting.jumps.get(nth).map_or(end, |jump| jump.at);
            let start = if from < kept { goes_on.min(to) } else { from };
            match nth.checked_sub(1).and_then(|before| self.waiting.jumps.get_mut(before)) {
                None => self.cursor = start,
                Some(jump) => {
                    jump.to = start;
                    let entry = Entry { at: jump.at, what: What::Jump(start) };
                    self.waiting.entries.push_back(entry);
                }
            }
            let (mut lines, looked_at) = feed.lines_in(from..start);
            in_all.lines += lines;
            in_all.looked_at += looked_at;
            let stretch = |entry: &Entry| !matches!(entry.what, What::Jump(_));
            while let Some(Entry { at, what }) = entries.next_if(stretch) {
                if at > from && lines > 0 {
                    own += self.tell_missed(start, own..own, mem::take(&mut lines));
                }
                let len = what.len();
                match what {
                    What::Lagged { lines: told, .. } if lines > 0 && len == lagged(told).len() => {
                        own +=
                            self.tell_missed(start, own..own + len, told + mem::take(&mut lines));
                    }
                    _ => {
                        self.waiting.entries.push_back(Entry { at: at.max(start), what });
                        own += len;
                    }
                }
            }
            if lines > 0 {
                own += self.tell_missed(start, own..own, lines);
            }
            if let Some(Entry { what: What::Jump(to), .. }) = entries.next() {
                from = to;
            }
        }
        self.pass_jumps();
        in_all
    }

    /// Puts in the place of these bytes how many lines are missed, and returns how many it takes.
    fn tell_missed(&mut self, at: Offset, bytes: Range<usize>, lines: u64) -> usize {
        let line = lagged(lines);
        let what = What::Lagged { len: line.len() as u8, lines };
        self.waiting.entries.push_back(Entry { at, what });
        self.waiting.bytes.splice(bytes, line.iter().copied());
        line.len()
    }

    /// Sets aside what is left of a line of the feed that is half sent.
    fn finish_line(&mut self, feed: &Feed) {
        self.waiting.forget_sent();
        let at =
            self.waiting.entries.front().map_or_else(|| self.end(feed.head()), |entry| entry.at);
        if self.cursor < at
            && let Some(rest) = feed.rest_of_line(self.cursor)
        {
            self.cursor += rest.len() as u64;
            self.waiting.bytes.splice(..0, rest.iter().copied());
            let what = What::Reply(rest.len());
            self.waiting.entries.push_front(Entry { at: self.cursor, what });
        }
    }
}

/// How a client is told that it misses so many lines.
fn lagged(lines: u64) -> Vec<u8> {
    let mut line = Vec::new();
    Reply::Lagged(lines).encode(&mut line);
    line
}
