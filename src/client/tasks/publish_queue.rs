//! The lines to broadcast, and which of them are confirmed.
//!
//! This module performs **no I/O** and reads no clock.
//!
//! A line is confirmed by the server's reply, or by finding it in the feed. When a connection is
//! lost, some of its unconfirmed lines may already be in the feed. To deduplicate after a
//! reconnect, the feed is searched for them before anything is sent again. Those that arrived are
//! the first unconfirmed lines, in order. They follow the last confirmed line and carry the lost
//! connection's id. (Names do not work here: another client may have taken the name.)

use std::collections::VecDeque;

use crate::cli::digits;
use crate::client::connection::dial::Welcome;
use crate::protocol::Command;

/// How many bytes the queue may hold before it accepts no more lines.
const MAX_UNCONFIRMED_BYTES: usize = 4 * 1024 * 1024;

/// Lines to send, and sent lines that are not confirmed yet.
///
/// **Invariants**
/// - `lines` holds the lines that are not confirmed, in input order. The first `sent` of them were
///   sent, all over the same connection: `lost` if that is set, otherwise `current`.
/// - `lost` is set only while there are unconfirmed lines. While it is set, nothing is sent.
/// - Once `is_stopped` is set, the queue contains only lines that were sent.
#[derive(Debug, Default)]
pub(crate) struct PublishQueue {
    lines: VecDeque<Outgoing>,
    bytes: usize,
    sent: usize,
    /// No more lines are to be sent.
    is_stopped: bool,
    confirmed: u64,
    /// The input number of the last confirmed line.
    last_confirmed: u64,
    /// The welcome of the current connection. Its `seq` is kept up to date: all unconfirmed lines
    /// follow it in the feed.
    current: Option<Welcome>,
    /// The welcome of the lost connection. Unconfirmed lines may be in the feed under its id.
    lost: Option<Welcome>,
}

#[derive(Debug)]
struct Outgoing {
    /// The line's number in the input, counted from 1.
    number: u64,
    text: Box<str>,
}

impl PublishQueue {
    /// Handles a new connection. Returns false if there are unconfirmed lines and its feed cannot
    /// be searched for them.
    pub(crate) fn on_welcome(&mut self, welcome: Welcome) -> bool {
        self.current = Some(welcome);
        self.lost.is_none_or(|lost| lost.feed == welcome.feed && lost.seq <= welcome.seq)
    }

    /// Returns the client id under which unconfirmed lines were sent. While the server still has a
    /// client with this id, it may execute more of them.
    pub(crate) fn lost_id(&self) -> Option<u64> {
        self.lost.map(|lost| lost.id)
    }

    /// Handles the loss of the connection. After a goodbye, lines without a reply were not
    /// executed.
    pub(crate) fn on_disconnect(&mut self, had_goodbye: bool) {
        let current = self.current.take();
        if self.lost.is_some() {
            return;
        }
        if had_goodbye {
            self.unsend();
        } else if self.sent > 0 {
            self.lost = current;
        }
    }

    /// Returns whether more lines may be added.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < MAX_UNCONFIRMED_BYTES
    }

    /// Adds a line, with its number in the input.
    pub(crate) fn add(&mut self, number: u64, text: Box<str>) {
        self.bytes += text.len();
        self.lines.push_back(Outgoing { number, text });
    }

    /// Returns the command for the next unsent line, and marks it as sent.
    pub(crate) fn send_next(&mut self) -> Option<Command<'_>> {
        debug_assert!(self.lost.is_none(), "nothing is sent during a search");
        let Outgoing { text, .. } = self.lines.get(self.sent)?;
        self.sent += 1;
        Some(Command::Broadcast { text })
    }

    /// Confirms the oldest sent line, which the server broadcast under this sequence number.
    pub(crate) fn confirm(&mut self, seq: u64) {
        self.note_newest(seq);
        self.confirm_oldest();
    }

    fn confirm_oldest(&mut self) {
        if let Some(number) = self.take_sent() {
            self.confirmed += 1;
            self.last_confirmed = number;
        }
    }

    /// Removes the oldest sent line, which the server refused. Returns its input number.
    pub(crate) fn refuse(&mut self) -> u64 {
        self.take_sent().unwrap_or_default()
    }

    /// Returns the input number of the oldest sent line.
    pub(crate) fn oldest_sent(&self) -> u64 {
        self.unconfirmed().map_or(0, |(first, _)| first)
    }

    /// Stops sending. Drops the unsent lines, and later the lines that turn out to be missing from
    /// the feed.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.drop_unsent();
    }

    /// Records that the feed has none of the sent lines.
    fn unsend(&mut self) {
        self.sent = 0;
        if self.is_stopped {
            self.drop_unsent();
        }
    }

    fn drop_unsent(&mut self) {
        let dropped = self.lines.drain(self.sent..);
        self.bytes -= dropped.map(|line| line.text.len()).sum::<usize>();
    }

    /// Records that the feed has reached `seq`. All lines that are unconfirmed or sent later follow
    /// it.
    pub(crate) fn note_newest(&mut self, seq: u64) {
        if let Some(current) = &mut self.current {
            current.seq = current.seq.max(seq);
        }
    }

    /// Returns the request that replays the part of the feed that may contain unconfirmed lines.
    pub(crate) fn search_request(&self) -> Option<Command<'static>> {
        self.lost.map(|lost| Command::Resume { seq: lost.seq, feed: Some(lost.feed) })
    }

    /// Handles the next replayed line of the search. The error says why the replay cannot be
    /// trusted.
    pub(crate) fn on_replayed(&mut self, seq: u64, from: &str, text: &str) -> Result<(), String> {
        // All lines were found. Ignore the rest of the replay.
        let Some(lost) = &mut self.lost else { return Ok(()) };
        if lost.seq.checked_add(1) != Some(seq) {
            return Err(format!("the server sent line {seq} of the feed after line {}", lost.seq));
        }
        let is_own = digits(from) == Some(lost.id);
        if let Some(Outgoing { number, text: own }) = self.lines.front()
            && is_own
            && **own != *text
        {
            return Err(format!("input line {number} has a different text in the feed"));
        }
        lost.seq = seq;
        if is_own {
            self.confirm_oldest();
            if self.sent == 0 {
                self.lost = None;
            }
        }
        Ok(())
    }

    /// Ends the search. The remaining lines are not in the feed, and are sent again.
    pub(crate) fn finish_search(&mut self) {
        self.lost = None;
        self.unsend();
    }

    /// Removes the oldest sent line. Returns its input number.
    fn take_sent(&mut self) -> Option<u64> {
        // `RequestTracker` rejects unsolicited replies.
        debug_assert!(self.sent > 0, "a reply without a sent line");
        self.sent = self.sent.checked_sub(1)?;
        let line = self.lines.pop_front()?;
        self.bytes -= line.text.len();
        Some(line.number)
    }

    /// Returns the number of confirmed lines.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Returns the number of lines that are not confirmed yet, sent or not.
    pub(crate) fn remaining(&self) -> usize {
        self.lines.len()
    }

    /// Returns the input numbers of the first and last unconfirmed line.
    pub(crate) fn unconfirmed(&self) -> Option<(u64, u64)> {
        let last = self.sent.checked_sub(1)?;
        Some((self.lines.front()?.number, self.lines.get(last)?.number))
    }

    /// Describes which lines of the input were broadcast, and which may have been.
    pub(crate) fn summary(&self) -> String {
        let lines = |first, last| match first == last {
            true => format!("line {first}"),
            false => format!("lines {first} to {last}"),
        };
        let unconfirmed = self.unconfirmed().map(|(first, last)| lines(first, last));
        let last = self.last_confirmed;
        let (confirmed, pronoun) = match (self.confirmed, &unconfirmed) {
            (0, None) => return "nothing was broadcast".to_owned(),
            (0, Some(lines)) => return format!("{lines} may have been broadcast"),
            (1, _) => (format!("line {last} was broadcast"), "it"),
            (n, _) if n == last => (format!("lines 1 to {last} were broadcast"), "them"),
            (n, _) => (format!("{n} of lines 1 to {last} were broadcast"), "them"),
        };
        match unconfirmed {
            Some(lines) => format!("{confirmed}; {lines} may have been"),
            None => format!("{confirmed}; nothing after {pronoun}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FeedId;

    const FEED: FeedId = FeedId(7);

    fn welcome(id: u64, seq: u64) -> Welcome {
        Welcome { id, feed: FEED, seq }
    }

    /// Sends all unsent lines. Returns their texts.
    fn send_all(queue: &mut PublishQueue) -> Vec<String> {
        let mut sent = vec![];
        while let Some(Command::Broadcast { text }) = queue.send_next() {
            sent.push(text.to_owned());
        }
        sent
    }

    /// Returns a queue whose connection has id 3 and has sent a, b and c. Line a is confirmed as
    /// number 11.
    fn one_of_three_confirmed() -> PublishQueue {
        let mut queue = PublishQueue::default();
        assert!(queue.on_welcome(welcome(3, 10)));
        assert_eq!(queue.lost_id(), None);
        for (number, text) in [(1, "a"), (2, "b"), (4, "c")] {
            queue.add(number, text.into());
        }
        assert_eq!(send_all(&mut queue), ["a", "b", "c"]);
        queue.confirm(11);
        queue
    }

    #[test]
    fn lines_not_found_in_the_feed_are_sent_again() {
        let mut queue = one_of_three_confirmed();
        assert_eq!(queue.unconfirmed(), Some((2, 4)));
        queue.on_disconnect(false);
        assert_eq!(queue.unconfirmed(), Some((2, 4)));
        assert!(queue.on_welcome(welcome(5, 13)));
        assert_eq!(queue.lost_id(), Some(3));
        assert_eq!(queue.search_request(), Some(Command::Resume { seq: 11, feed: Some(FEED) }));
        assert_eq!(queue.on_replayed(12, "4", "c"), Ok(()), "another client's line");
        assert_eq!(queue.on_replayed(13, "3", "b"), Ok(()));
        queue.finish_search();
        assert_eq!((queue.confirmed(), queue.unconfirmed()), (2, None));
        assert_eq!(send_all(&mut queue), ["c"]);
        queue.confirm(14);
        assert_eq!((queue.confirmed(), queue.remaining()), (3, 0));
    }

    #[test]
    fn interrupted_search_continues_where_it_stopped() {
        let mut queue = one_of_three_confirmed();
        queue.on_disconnect(false);
        queue.on_welcome(welcome(5, 13));
        assert_eq!(queue.on_replayed(12, "3", "b"), Ok(()));
        queue.on_disconnect(false);
        assert_eq!(queue.unconfirmed(), Some((4, 4)));
        assert!(queue.on_welcome(welcome(6, 13)));
        assert_eq!(queue.lost_id(), Some(3));
        assert_eq!(queue.on_replayed(13, "8", "not ours"), Ok(()));
        queue.on_disconnect(false);
        queue.on_welcome(welcome(7, 13));
        assert_eq!(queue.search_request(), Some(Command::Resume { seq: 13, feed: Some(FEED) }));
    }

    #[test]
    fn refused_line_is_not_unconfirmed() {
        let mut queue = one_of_three_confirmed();
        assert_eq!(queue.refuse(), 2);
        assert_eq!((queue.confirmed(), queue.unconfirmed()), (1, Some((4, 4))));
    }

    #[test]
    fn stopped_queue_sends_nothing_again() {
        let mut queue = one_of_three_confirmed();
        queue.add(5, "d".into());
        assert_eq!(queue.refuse(), 2);
        queue.stop();
        assert_eq!((queue.remaining(), queue.oldest_sent()), (1, 4), "line 5 is dropped");
        queue.on_disconnect(false);
        assert!(queue.on_welcome(welcome(5, 13)));
        queue.finish_search();
        assert_eq!((queue.remaining(), queue.bytes), (0, 0));
        assert_eq!(queue.summary(), "line 1 was broadcast; nothing after it");
    }

    #[test]
    fn search_starts_after_the_newest_line_known_before_sending() {
        let mut queue = one_of_three_confirmed();
        queue.confirm(12);
        queue.confirm(13);
        queue.note_newest(500);
        queue.add(5, "d".into());
        queue.send_next();
        queue.on_disconnect(false);
        assert!(queue.on_welcome(welcome(9, 510)));
        assert_eq!(queue.search_request(), Some(Command::Resume { seq: 500, feed: Some(FEED) }));
    }

    #[test]
    fn only_lines_sent_again_are_unconfirmed_again() {
        let mut queue = one_of_three_confirmed();
        queue.on_disconnect(false);
        queue.on_welcome(welcome(5, 20));
        queue.finish_search();
        assert!(matches!(queue.send_next(), Some(Command::Broadcast { text: "b" })));
        queue.on_disconnect(false);
        assert_eq!(queue.unconfirmed(), Some((2, 2)));
        assert!(queue.on_welcome(welcome(6, 21)));
        assert_eq!(queue.lost_id(), Some(5));
        assert_eq!(queue.search_request(), Some(Command::Resume { seq: 20, feed: Some(FEED) }));
        assert_eq!(queue.on_replayed(21, "5", "b"), Ok(()));
        assert_eq!(queue.lost_id(), None, "all lines were found");
    }

    #[test]
    fn nothing_is_unconfirmed_after_a_goodbye() {
        let mut queue = one_of_three_confirmed();
        queue.on_disconnect(true);
        assert_eq!(queue.unconfirmed(), None);
        assert!(queue.on_welcome(Welcome { feed: FeedId(8), ..welcome(1, 0) }));
        assert_eq!(queue.lost_id(), None);
        assert_eq!(send_all(&mut queue), ["b", "c"]);
    }

    #[test]
    fn unconfirmed_lines_cannot_be_searched_for_in_another_feed() {
        for (feed, seq) in [(FeedId(8), 20), (FEED, 10)] {
            let mut queue = one_of_three_confirmed();
            queue.on_disconnect(false);
            assert!(!queue.on_welcome(Welcome { id: 1, feed, seq }));
        }
        // Without unconfirmed lines, no search is needed.
        let mut queue = one_of_three_confirmed();
        queue.confirm(12);
        queue.confirm(13);
        queue.on_disconnect(false);
        assert!(queue.on_welcome(Welcome { feed: FeedId(8), ..welcome(1, 0) }));
    }

    #[test]
    fn contradictory_replay_is_an_error() {
        let mut queue = one_of_three_confirmed();
        queue.on_disconnect(false);
        queue.on_welcome(welcome(5, 20));
        assert!(queue.on_replayed(12, "3", "other").is_err());
        assert_eq!(queue.on_replayed(12, "3", "b"), Ok(()));
        assert!(queue.on_replayed(14, "3", "c").is_err(), "a line is missing");
        assert_eq!(queue.on_replayed(13, "7", "other"), Ok(()), "another client's line");
    }

    #[test]
    fn search_after_the_largest_sequence_number_does_not_overflow() {
        let mut queue = one_of_three_confirmed();
        queue.confirm(u64::MAX);
        queue.on_disconnect(false);
        assert!(queue.on_welcome(welcome(5, u64::MAX)));
        assert!(queue.on_replayed(0, "3", "c").is_err());
    }

    #[test]
    fn room_is_limited_by_unconfirmed_bytes() {
        let mut queue = PublishQueue::default();
        let text = "x".repeat(MAX_UNCONFIRMED_BYTES);
        queue.add(1, text.into());
        assert!(!queue.has_room());
        queue.on_welcome(welcome(1, 0));
        assert!(queue.send_next().is_some());
        queue.confirm(1);
        assert!(queue.has_room());
    }

    #[test]
    fn summary_names_what_was_and_what_may_have_been_broadcast() {
        let mut queue = PublishQueue::default();
        assert_eq!(queue.summary(), "nothing was broadcast");
        queue.on_welcome(welcome(3, 10));
        (1..=5).for_each(|number| queue.add(number, "x".into()));
        send_all(&mut queue);
        assert_eq!(queue.summary(), "lines 1 to 5 may have been broadcast");
        queue.confirm(11);
        assert_eq!(queue.summary(), "line 1 was broadcast; lines 2 to 5 may have been");
        queue.confirm(12);
        queue.refuse();
        queue.confirm(13);
        assert_eq!(queue.summary(), "3 of lines 1 to 4 were broadcast; line 5 may have been");
        queue.on_disconnect(true);
        assert_eq!(queue.summary(), "3 of lines 1 to 4 were broadcast; nothing after them");

        let mut queue = one_of_three_confirmed();
        queue.on_disconnect(true);
        assert_eq!(queue.summary(), "line 1 was broadcast; nothing after it");
    }
}
