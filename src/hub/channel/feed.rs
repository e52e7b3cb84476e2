//! The feed: the latest broadcast lines, stored once for all clients.

use std::collections::VecDeque;
use std::ops::Range;

use crate::protocol::{FeedId, Reply};

/// A position in the feed: the number of bytes ever appended before it. A client's cursor is an
/// offset.
pub type Offset = u64;

/// The latest broadcast lines, encoded as clients receive them, in chunks that are added and
/// dropped whole.
///
/// The cost of appending a line does not depend on the number of clients: each client has only a
/// cursor, and reads from there to the [`head`](Self::head).
///
/// **Invariants**
/// - A line never spans two chunks, and every chunk holds whole lines.
/// - Chunks are contiguous: each begins where the previous one ends.
/// - There are at most `max_chunks` of at most `chunk_size` bytes.
#[derive(Debug)]
pub struct Feed {
    id: FeedId,
    chunks: VecDeque<Chunk>,
    chunk_size: usize,
    max_chunks: usize,
    newest_seq: u64,
    /// The next line, encoded by [`prepare`](Self::prepare).
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
    /// Creates an empty feed that keeps at most `feed_size` bytes, in chunks of `chunk_size`.
    pub(crate) fn new(id: FeedId, feed_size: usize, chunk_size: usize) -> Self {
        Self {
            id,
            chunks: VecDeque::new(),
            chunk_size,
            max_chunks: feed_size / chunk_size,
            newest_seq: 0,
            line: Vec::new(),
        }
    }

    /// The feed's id, which differs from run to run.
    pub fn id(&self) -> FeedId {
        self.id
    }

    /// The offset after the newest line.
    pub fn head(&self) -> Offset {
        self.chunks.back().map_or(0, Chunk::end)
    }

    /// The offset of the oldest kept line.
    pub fn oldest(&self) -> Offset {
        self.chunks.front().map_or(0, |chunk| chunk.start)
    }

    /// The newest line's sequence number, or 0 before the first line.
    pub fn newest_seq(&self) -> u64 {
        self.newest_seq
    }

    /// The oldest kept line's sequence number, or 0 if none is kept.
    pub fn oldest_seq(&self) -> u64 {
        self.chunks.front().map_or(0, |chunk| chunk.first_seq)
    }

    /// The total size of the kept lines, in bytes.
    pub fn kept_bytes(&self) -> u64 {
        self.head() - self.oldest()
    }

    /// Encodes the next line without appending it. Returns its length in bytes.
    pub(crate) fn prepare(&mut self, from: &str, text: &str) -> usize {
        self.line.clear();
        Reply::Broadcast { seq: self.newest_seq + 1, from, text }.encode(&mut self.line);
        debug_assert!(self.line.len() <= self.chunk_size, "the limits guarantee that a line fits");
        self.line.len()
    }

    /// Appending the prepared line drops all lines before this offset, and overruns readers that
    /// still need them. `None` if it drops nothing.
    pub(crate) fn drops_before(&self) -> Option<Offset> {
        let is_full = self.chunks.len() == self.max_chunks && !self.fits();
        is_full.then(|| self.chunks.get(1).map_or(self.head(), |chunk| chunk.start))
    }

    /// Appends the prepared line and returns its sequence number.
    pub(crate) fn append(&mut self) -> u64 {
        self.newest_seq += 1;
        if !self.fits() {
            self.begin_chunk();
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.bytes.extend_from_slice(&self.line);
        }
        self.newest_seq
    }

    /// The number of kept lines.
    pub(crate) fn kept_lines(&self) -> u64 {
        self.chunks.front().map_or(0, |oldest| self.newest_seq + 1 - oldest.first_seq)
    }

    /// The oldest sequence number that can be replayed: the oldest kept line's, or the next line's
    /// if none is kept.
    pub(crate) fn oldest_available(&self) -> u64 {
        self.newest_seq + 1 - self.kept_lines()
    }

    /// The offset after line `seq`, and the number of bytes scanned to find it. `None` if the next
    /// line is no longer kept, or if line `seq` does not exist yet.
    ///
    /// The chunks are a sparse index: each records its first line's sequence number. Within a
    /// chunk, the search counts line feeds.
    pub(crate) fn offset_after(&self, seq: u64) -> Option<(Offset, usize)> {
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

    /// The offset of a line near the middle of the kept lines.
    pub(crate) fn middle(&self) -> Offset {
        self.chunks.get(self.chunks.len() / 2).map_or(self.head(), |chunk| chunk.start)
    }

    /// The number of lines that begin in the range, and the number of bytes scanned to count them.
    /// Both ends must still be kept, and each must be the start of a line or the head.
    pub(crate) fn count_lines(&self, range: Range<Offset>) -> (u64, usize) {
        if range.is_empty() {
            return (0, 0);
        }
        let (first, scanned_first) = self.seq_at(range.start);
        let (next, scanned_next) = self.seq_at(range.end);
        (next - first, scanned_first + scanned_next)
    }

    /// The sequence number of the line that begins at `offset`, and the number of bytes scanned to
    /// find it.
    fn seq_at(&self, offset: Offset) -> (u64, usize) {
        let nth = self.chunks.partition_point(|chunk| chunk.end() <= offset);
        let Some(chunk) = self.chunks.get(nth) else { return (self.newest_seq + 1, 0) };
        let before = &chunk.bytes[..offset.saturating_sub(chunk.start) as usize];
        (chunk.first_seq + memchr::memchr_iter(b'\n', before).count() as u64, before.len())
    }

    /// The bytes in the range, chunk by chunk. Bytes that are no longer kept are left out.
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

    /// The rest of the line at `offset`, if `offset` is inside a line and not at its start.
    pub(crate) fn rest_of_line(&self, offset: Offset) -> Option<&[u8]> {
        let nth = self.chunks.partition_point(|chunk| chunk.end() <= offset);
        let chunk = self.chunks.get(nth).filter(|chunk| chunk.start <= offset)?;
        let (before, rest) = chunk.bytes.split_at((offset - chunk.start) as usize);
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
        // Reuse the memory of the chunk that is dropped.
        let mut bytes = match self.chunks.len() < self.max_chunks {
            true => Vec::new(),
            false => self.chunks.pop_front().map(|chunk| chunk.bytes).unwrap_or_default(),
        };
        bytes.clear();
        bytes.reserve_exact(self.chunk_size);
        self.chunks.push_back(Chunk { start, first_seq: self.newest_seq, bytes });
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check_invariants(&self) {
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

    /// An empty feed with room for four chunks of two short lines each.
    fn feed() -> Feed {
        Feed::new(FeedId(1), 4 * 2 * LINE.len(), 2 * LINE.len())
    }

    fn append(feed: &mut Feed) -> Option<Offset> {
        feed.prepare("a", "xy");
        let dropped = feed.drops_before();
        feed.append();
        feed.check_invariants();
        dropped
    }

    fn text(feed: &Feed, range: Range<Offset>) -> String {
        feed.slices(range).map(|slice| String::from_utf8_lossy(slice)).collect()
    }

    #[test]
    fn full_feed_drops_its_oldest_chunk() {
        let mut feed = feed();
        assert_eq!((feed.oldest_seq(), feed.newest_seq(), feed.head()), (0, 0, 0));
        for seq in 1..=8 {
            assert_eq!(append(&mut feed), None);
            assert_eq!((feed.oldest_seq(), feed.newest_seq()), (1, seq));
        }
        let line = LINE.len() as u64;
        assert_eq!((feed.oldest(), feed.head(), feed.kept_bytes()), (0, 8 * line, 8 * line));

        assert_eq!(append(&mut feed), Some(2 * line), "the first chunk, of two lines, is dropped");
        assert_eq!((feed.oldest(), feed.oldest_seq(), feed.newest_seq()), (2 * line, 3, 9));
        assert_eq!(feed.kept_bytes(), 7 * line);
        assert_eq!(text(&feed, 0..line), "", "dropped lines are not readable");
        assert_eq!(
            append(&mut feed),
            Some(4 * line),
            "line 10 is longer, and does not fit into the last chunk"
        );
    }

    #[test]
    fn offset_after_finds_every_kept_line() {
        let mut feed = feed();
        assert_eq!(feed.offset_after(0), Some((0, 0)));
        assert_eq!((feed.offset_after(1), feed.oldest_available()), (None, 1));
        for newest in 1..=40 {
            append(&mut feed);
            let oldest = feed.oldest_seq();
            assert_eq!(feed.kept_lines(), newest + 1 - oldest);
            assert_eq!(feed.oldest_available(), oldest);
            for seq in 0..=newest + 1 {
                let found =
                    feed.offset_after(seq).map(|(start, _)| text(&feed, start..feed.head()));
                let expected: String =
                    (seq + 1..=newest).map(|seq| format!("broadcast {seq} a xy\n")).collect();
                let is_kept = seq + 1 >= oldest && seq <= newest;
                assert_eq!(found, is_kept.then_some(expected), "after {seq} of {newest}");
            }
            assert_eq!(feed.offset_after(u64::MAX), None);
        }
    }

    #[test]
    fn lines_are_counted_across_chunks() {
        let mut feed = feed();
        for newest in 1..=40 {
            append(&mut feed);
            let offsets: Vec<Offset> = (feed.oldest_seq() - 1..=newest)
                .map(|seq| feed.offset_after(seq).expect("this line is kept").0)
                .collect();
            for (nth, &from) in offsets.iter().enumerate() {
                for (lines, &to) in offsets[nth..].iter().enumerate() {
                    assert_eq!(feed.count_lines(from..to).0, lines as u64, "{from}..{to}");
                }
            }
            assert!(offsets.contains(&feed.middle()), "the middle is the start of a line");
        }
    }

    #[test]
    fn slices_read_any_range_across_chunks() {
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
    fn rest_of_line_completes_a_partial_line() {
        let mut feed = feed();
        (0..3).for_each(|_| assert_eq!(append(&mut feed), None));
        let line = LINE.len() as u64;
        for start in [0, line, 2 * line, 3 * line] {
            assert_eq!(feed.rest_of_line(start), None, "the start of a line, or the head");
        }
        assert_eq!(feed.rest_of_line(1), Some(&b"roadcast 1 a xy\n"[..]));
        assert_eq!(feed.rest_of_line(2 * line - 1), Some(&b"\n"[..]));
        assert_eq!(feed.rest_of_line(3 * line - 2), Some(&b"y\n"[..]));
    }
}
