//! The broadcast lines: written once, read by everybody.

use std::collections::VecDeque;
use std::ops::Range;

use crate::protocol::{FeedId, Reply};

/// A place in the feed, in bytes since its beginning. A client's cursor is one.
pub type Offset = u64;

/// The last broadcast lines, as they go to the clients, in chunks that come and go as a whole.
///
/// Appending one line costs the same whatever the number of clients: each has only a cursor, and
/// reads what stands between that and the [`head`](Self::head).
///
/// **Invariants**
/// - A line never spans two chunks, and every chunk holds whole lines.
/// - Chunks adjoin: each begins where the one before ends.
/// - There are at most `max_chunks` of at most `chunk_size` bytes.
#[derive(Debug)]
pub struct Feed {
    id: FeedId,
    chunks: VecDeque<Chunk>,
    chunk_size: usize,
    max_chunks: usize,
    newest_seq: u64,
    /// The next line, encoded to see how long it is.
    line: Vec<u8>,
}

#[derive(Debug)]
struct Chunk {
    start: Offset,
    first_seq: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> Offset {
        self.start + self.bytes.len() as u64
    }
}

impl Feed {
    /// An empty feed that keeps at most `feed_size` bytes, in chunks of `chunk_size`.
    pub(super) fn new(id: FeedId, feed_size: usize, chunk_size: usize) -> Self {
        Self {
            id,
            chunks: VecDeque::new(),
            chunk_size,
            max_chunks: feed_size / chunk_size,
            newest_seq: 0,
            line: Vec::new(),
        }
    }

    /// Which feed this is.
    pub fn id(&self) -> FeedId {
        self.id
    }

    /// The place behind the newest line.
    pub fn head(&self) -> Offset {
        self.chunks.back().map_or(0, Chunk::end)
    }

    /// The place of the oldest line that is kept.
    pub fn oldest(&self) -> Offset {
        self.chunks.front().map_or(0, |chunk| chunk.start)
    }

    /// The newest line's number, 0 before the first.
    pub fn newest_seq(&self) -> u64 {
        self.newest_seq
    }

    /// The oldest kept line's number, 0 if there is none.
    pub fn oldest_seq(&self) -> u64 {
        self.chunks.front().map_or(0, |chunk| chunk.first_seq)
    }

    /// How many bytes of lines are kept.
    pub fn kept_bytes(&self) -> u64 {
        self.head() - self.oldest()
    }

    /// Encodes the next line, without appending it: its length in bytes.
    pub(super) fn prepare(&mut self, from: &str, text: &str) -> usize {
        self.line.clear();
        Reply::Broadcast { seq: self.newest_seq + 1, from, text }.encode(&mut self.line);
        debug_assert!(self.line.len() <= self.chunk_size, "limits say that a line fits");
        self.line.len()
    }

    /// Where the oldest line will be once the prepared line is appended, if that is not where it is
    /// now: whoever still needs something from before is lapped.
    pub(super) fn would_drop_before(&self) -> Option<Offset> {
        let full = self.chunks.len() == self.max_chunks && !self.fits();
        full.then(|| self.chunks.get(1).map_or(self.head(), |chunk| chunk.start))
    }

    /// Appends the prepared line and returns its number.
    pub(super) fn append(&mut self) -> u64 {
        self.newest_seq += 1;
        if !self.fits() {
            self.begin_chunk();
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.bytes.extend_from_slice(&self.line);
        }
        self.newest_seq
    }

    /// How many lines are kept.
    pub(super) fn kept_lines(&self) -> u64 {
        self.chunks.front().map_or(0, |oldest| self.newest_seq + 1 - oldest.first_seq)
    }

    /// The oldest line that can be asked for: the oldest that is kept, or else the next one.
    pub(super) fn oldest_available(&self) -> u64 {
        self.newest_seq + 1 - self.kept_lines()
    }

    /// The place behind the line with this number, and how many bytes were looked at to find it;
    /// `None` if the line after it is not kept any more, or there is no such line yet.
    ///
    /// The chunks are the index: each knows its first line's number, and inside one it is counted.
    pub(super) fn place_after(&self, seq: u64) -> Option<(Offset, usize)> {
        if seq == self.newest_seq {
            return Some((self.head(), 0));
        }
        let next = seq.checked_add(1)?;
        let nth = self.chunks.partition_point(|chunk| chunk.first_seq <= next).checked_sub(1)?;
        let chunk = &self.chunks[nth];
        let before = (next - chunk.first_seq) as usize;
        let at = match before.checked_sub(1) {
            None => 0,
            Some(last) => memchr::memchr_iter(b'\n', &chunk.bytes).nth(last)? + 1,
        };
        Some((chunk.start + at as u64, at))
    }

    /// A place well inside what is kept, at which a line begins.
    pub(super) fn middle(&self) -> Offset {
        self.chunks.get(self.chunks.len() / 2).map_or(self.head(), |chunk| chunk.start)
    }

    /// How many lines begin in the range, both ends of which are kept and stand where lines begin; and
    /// how many bytes were looked at to count them.
    pub(super) fn lines_in(&self, range: Range<Offset>) -> (u64, usize) {
        if range.is_empty() {
            return (0, 0);
        }
        let (first, before) = self.seq_at(range.start);
        let (next, up_to) = self.seq_at(range.end);
        (next - first, before + up_to)
    }

    /// The number of the line that begins at `position`, and how many bytes were looked at to find it.
    fn seq_at(&self, position: Offset) -> (u64, usize) {
        let nth = self.chunks.partition_point(|chunk| chunk.end() <= position);
        let Some(chunk) = self.chunks.get(nth) else { return (self.newest_seq + 1, 0) };
        let before = &chunk.bytes[..position.saturating_sub(chunk.start) as usize];
        (chunk.first_seq + memchr::memchr_iter(b'\n', before).count() as u64, before.len())
    }

    /// The bytes in the range, chunk by chunk. Of what is not kept, nothing comes.
    pub fn slices(&self, range: Range<Offset>) -> impl Iterator<Item = &[u8]> {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= range.start);
        self.chunks.range(first..).take_while(move |chunk| chunk.start < range.end).map(
            move |chunk| {
                let from = range.start.saturating_sub(chunk.start) as usize;
                let to = (range.end - chunk.start).min(chunk.bytes.len() as u64) as usize;
                &chunk.bytes[from.min(to)..to]
            },
        )
    }

    /// What is left of the line at `position`, if that is inside a line and not at its beginning.
    pub(super) fn rest_of_line(&self, position: Offset) -> Option<&[u8]> {
        let nth = self.chunks.partition_point(|chunk| chunk.end() <= position);
        let chunk = self.chunks.get(nth).filter(|chunk| chunk.start <= position)?;
        let (before, rest) = chunk.bytes.split_at((position - chunk.start) as usize);
        if before.last().is_none_or(|&byte| byte == b'\n') {
            return None;
        }
        memchr::memchr(b'\n', rest).map(|lf| &rest[..=lf])
    }

    fn fits(&self) -> bool {
        self.chunks
            .back()
            .is_some_and(|chunk| chunk.bytes.len() + self.line.len() <= self.chunk_size)
    }

    fn begin_chunk(&mut self) {
        let start = self.head();
        // The memory of the chunk that goes serves the one that comes.
        let mut bytes = match self.chunks.len() < self.max_chunks {
            true => Vec::new(),
            false => self.chunks.pop_front().map(|chunk| chunk.bytes).unwrap_or_default(),
        };
        bytes.clear();
        bytes.reserve_exact(self.chunk_size);
        self.chunks.push_back(Chunk { start, first_seq: self.newest_seq, bytes });
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check_invariants(&self) {
        assert!(self.chunks.len() <= self.max_chunks);
        for chunk in &self.chunks {
            assert!(chunk.bytes.len() <= self.chunk_size && chunk.bytes.ends_with(b"\n"));
        }
        for (chunk, next) in self.chunks.iter().zip(self.chunks.iter().skip(1)) {
            assert!(chunk.end() == next.start && chunk.first_seq < next.first_seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "broadcast 1 a xy\n";

    /// A feed of four chunks of two short lines each.
    fn feed() -> Feed {
        Feed::new(FeedId(1), 4 * 2 * LINE.len(), 2 * LINE.len())
    }

    fn append(feed: &mut Feed) -> Option<Offset> {
        feed.prepare("a", "xy");
        let dropped = feed.would_drop_before();
        feed.append();
        feed.check_invariants();
        dropped
    }

    fn text(feed: &Feed, range: Range<Offset>) -> String {
        feed.slices(range).map(|slice| String::from_utf8_lossy(slice)).collect()
    }

    #[test]
    fn lines_are_kept_until_the_feed_is_full_and_go_by_the_chunk() {
        let mut feed = feed();
        assert_eq!((feed.oldest_seq(), feed.newest_seq(), feed.head()), (0, 0, 0));
        for seq in 1..=8 {
            assert_eq!(append(&mut feed), None);
            assert_eq!((feed.oldest_seq(), feed.newest_seq()), (1, seq));
        }
        let line = LINE.len() as u64;
        assert_eq!((feed.oldest(), feed.head(), feed.kept_bytes()), (0, 8 * line, 8 * line));

        assert_eq!(append(&mut feed), Some(2 * line), "the first chunk, of two lines, goes");
        assert_eq!((feed.oldest(), feed.oldest_seq(), feed.newest_seq()), (2 * line, 3, 9));
        assert_eq!(feed.kept_bytes(), 7 * line);
        assert_eq!(text(&feed, 0..line), "", "what is gone is gone");
        assert_eq!(
            append(&mut feed),
            Some(4 * line),
            "line 10 is longer: no chunk has room for it"
        );
    }

    #[test]
    fn the_place_behind_each_kept_line_is_found() {
        let mut feed = feed();
        assert_eq!(feed.place_after(0), Some((0, 0)));
        assert_eq!((feed.place_after(1), feed.oldest_available()), (None, 1));
        for newest in 1..=40 {
            append(&mut feed);
            let oldest = feed.oldest_seq();
            assert_eq!(feed.kept_lines(), newest + 1 - oldest);
            assert_eq!(feed.oldest_available(), oldest);
            for seq in 0..=newest + 1 {
                let place = feed.place_after(seq).map(|(place, _)| text(&feed, place..feed.head()));
                let expected: String =
                    (seq + 1..=newest).map(|seq| format!("broadcast {seq} a xy\n")).collect();
                let is_kept = seq + 1 >= oldest && seq <= newest;
                assert_eq!(place, is_kept.then_some(expected), "after {seq} of {newest}");
            }
            assert_eq!(feed.place_after(u64::MAX), None);
        }
    }

    #[test]
    fn lines_are_counted_across_chunks() {
        let mut feed = feed();
        for newest in 1..=40 {
            append(&mut feed);
            let places: Vec<Offset> = (feed.oldest_seq() - 1..=newest)
                .map(|seq| feed.place_after(seq).expect("it is kept").0)
                .collect();
            for (nth, &from) in places.iter().enumerate() {
                for (lines, &to) in places[nth..].iter().enumerate() {
                    assert_eq!(feed.lines_in(from..to).0, lines as u64, "{from}..{to}");
                }
            }
            assert!(places.contains(&feed.middle()), "a line begins there");
        }
    }

    #[test]
    fn a_range_is_read_across_chunks() {
        let mut feed = feed();
        (0..8).for_each(|_| assert_eq!(append(&mut feed), None));
        let all: String = (1..=8).map(|seq| format!("broadcast {seq} a xy\n")).collect();
        for start in 0..=all.len() {
            for end in start..=all.len() {
                assert_eq!(text(&feed, start as u64..end as u64), all[start..end]);
            }
        }
    }

    #[test]
    fn the_rest_of_a_half_sent_line_is_found() {
        let mut feed = feed();
        (0..3).for_each(|_| assert_eq!(append(&mut feed), None));
        let line = LINE.len() as u64;
        for start in [0, line, 2 * line, 3 * line] {
            assert_eq!(feed.rest_of_line(start), None, "a line begins there, or will");
        }
        assert_eq!(feed.rest_of_line(1), Some(&b"roadcast 1 a xy\n"[..]));
        assert_eq!(feed.rest_of_line(2 * line - 1), Some(&b"\n"[..]));
        assert_eq!(feed.rest_of_line(3 * line - 2), Some(&b"y\n"[..]));
    }
}
