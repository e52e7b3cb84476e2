//! Which of one's own lines are in the feed, through all connections.
//!
//! This room performs **no I/O** and reads no clock.
//!
//! A line counts as delivered when the server has answered it. When a connection is lost, some of those
//! that were not answered may be in the feed all the same: the first of them, in their order, under the
//! id of that connection, and behind the last that was answered. So there they are looked for before
//! anything is said again. (Under its id, and not under a name: somebody else may have taken that.)

use std::collections::VecDeque;

use crate::cli::digits;
use crate::client::connection::dial::Welcome;
use crate::protocol::{Command, FeedId};

/// How many bytes of lines may wait for their answers.
const MAX_UNANSWERED: usize = 4 * 1024 * 1024;

/// Lines on their way.
///
/// **Invariants**
/// - `lines` are those not known to be in the feed, in the order of the input. The first `said` of them
///   were said over the connection that there is; the first `doubtful` may be in the feed by way of
///   another. One of the two is 0.
/// - `lost` says where the doubtful ones would be, and is there only while there are some.
#[derive(Debug, Default)]
pub(crate) struct PublishQueue {
    lines: VecDeque<Outgoing>,
    bytes: usize,
    said: usize,
    doubtful: usize,
    delivered: u64,
    here: Option<Trail>,
    lost: Option<Trail>,
}

#[derive(Debug)]
struct Outgoing {
    /// Which line of the input it is, from 1 on.
    number: u64,
    text: Box<str>,
}

/// Where in a feed to find what a connection has said: under this id, behind this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trail {
    id: u64,
    feed: FeedId,
    seq: u64,
}

impl PublishQueue {
    /// There is a connection: whether it leads to the feed in which lines may be that are looked for.
    pub(crate) fn arrive(&mut self, Welcome { id, feed, seq }: Welcome) -> bool {
        self.here = Some(Trail { id, feed, seq });
        self.lost.is_none_or(|lost| lost.feed == feed && lost.seq <= seq)
    }

    /// The id under which lines were said that are to be looked for. As long as the server has such a
    /// client, more of them may arrive.
    pub(crate) fn lost_id(&self) -> Option<u64> {
        self.lost.map(|lost| lost.id)
    }

    /// The connection is lost. What was not answered before a goodbye was never carried out.
    pub(crate) fn lose(&mut self, had_goodbye: bool) {
        if self.said > 0 && !had_goodbye {
            self.lost = self.here;
            self.doubtful = self.said;
        }
        self.here = None;
        self.said = 0;
    }

    /// Whether more lines may be added.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < MAX_UNANSWERED
    }

    /// Adds a line to be said: the one with this number in the input.
    pub(crate) fn add(&mut self, number: u64, text: &str) {
        self.bytes += text.len();
        self.lines.push_back(Outgoing { number, text: text.into() });
    }

    /// The next line to be said, which is said then.
    pub(crate) fn say_next(&mut self) -> Option<Command<'_>> {
        let Outgoing { text, .. } = self.lines.get(self.said)?;
        self.said += 1;
        Some(Command::Broadcast { text })
    }

    /// The server has answered the first line that was said and not answered: it has this number in
    /// the feed.
    pub(crate) fn deliver(&mut self, seq: u64) {
        self.refresh(seq);
        self.answered();
        self.delivered += 1;
    }

    /// The server has refused the first line that was said and not answered: its number in the input.
    pub(crate) fn refuse(&mut self) -> u64 {
        self.answered().map_or(0, |line| line.number)
    }

    /// This line is in the feed, and what is said and not answered yet comes behind it.
    pub(crate) fn refresh(&mut self, seq: u64) {
        if let Some(here) = &mut self.here {
            here.seq = here.seq.max(seq);
        }
    }

    /// What to ask for, to look for lines that may have arrived.
    pub(crate) fn look(&self) -> Option<Command<'static>> {
        self.lost.map(|Trail { feed, seq, .. }| Command::Resume { seq, feed: Some(feed) })
    }

    /// A line of the feed was seen while looking, the next one. The error says what is wrong with it.
    pub(crate) fn find(&mut self, seq: u64, from: &str, text: &str) -> Result<(), String> {
        // Once all are found, the rest is of no interest.
        let Some(lost) = &mut self.lost else { return Ok(()) };
        if lost.seq.checked_add(1) != Some(seq) {
            return Err(format!("behind line {} of the feed came {seq}", lost.seq));
        }
        let is_ours = digits(from) == Some(lost.id);
        if let Some(Outgoing { number, text: ours }) = self.lines.front()
            && is_ours
            && **ours != *text
        {
            return Err(format!("line {number} of the input is another one in the feed"));
        }
        lost.seq = seq;
        if !is_ours {
            return Ok(());
        }
        self.take();
        self.delivered += 1;
        self.doubtful -= 1;
        if self.doubtful == 0 {
            self.lost = None;
        }
        Ok(())
    }

    /// All was looked at: what was not found did not arrive, and is to be said again.
    pub(crate) fn settle(&mut self) {
        self.lost = None;
        self.doubtful = 0;
    }

    /// The first line that was said has its answer.
    fn answered(&mut self) -> Option<Outgoing> {
        // The dialogue knows an answer only to what was said.
        debug_assert!(self.said > 0, "an answer to nothing");
        self.said = self.said.checked_sub(1)?;
        self.take()
    }

    fn take(&mut self) -> Option<Outgoing> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.text.len();
        Some(line)
    }

    /// How many lines are known to be in the feed.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How many are not.
    pub(crate) fn undelivered(&self) -> usize {
        self.lines.len()
    }

    /// The first and the last line of which it is not known whether they are in the feed.
    pub(crate) fn unknown(&self) -> Option<(u64, u64)> {
        let last = self.said.max(self.doubtful).checked_sub(1)?;
        Some((self.lines.front()?.number, self.lines.get(last)?.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: FeedId = FeedId(7);

    fn welcome(id: u64, seq: u64) -> Welcome {
        Welcome { id, feed: FEED, seq }
    }

    /// What is said next, as often as there is something.
    fn say_all(delivery: &mut PublishQueue) -> Vec<String> {
        let mut said = vec![];
        while let Some(Command::Broadcast { text }) = delivery.say_next() {
            said.push(text.to_owned());
        }
        said
    }

    /// A connection with id 3 over which a, b and c were said, of which a is line 11.
    fn one_of_three() -> PublishQueue {
        let mut delivery = PublishQueue::default();
        assert!(delivery.arrive(welcome(3, 10)));
        assert_eq!(delivery.lost_id(), None);
        for (number, text) in [(1, "a"), (2, "b"), (4, "c")] {
            delivery.add(number, text);
        }
        assert_eq!(say_all(&mut delivery), ["a", "b", "c"]);
        delivery.deliver(11);
        delivery
    }

    #[test]
    fn what_did_not_arrive_is_said_again() {
        let mut delivery = one_of_three();
        assert_eq!(delivery.unknown(), Some((2, 4)));
        delivery.lose(false);
        assert_eq!(delivery.unknown(), Some((2, 4)));
        assert!(delivery.arrive(welcome(5, 13)));
        assert_eq!(delivery.lost_id(), Some(3));
        assert_eq!(delivery.look(), Some(Command::Resume { seq: 11, feed: Some(FEED) }));
        assert_eq!(delivery.find(12, "4", "c"), Ok(()), "somebody else's");
        assert_eq!(delivery.find(13, "3", "b"), Ok(()));
        delivery.settle();
        assert_eq!((delivery.delivered(), delivery.unknown()), (2, None));
        assert_eq!(say_all(&mut delivery), ["c"]);
        delivery.deliver(14);
        assert_eq!((delivery.delivered(), delivery.undelivered()), (3, 0));
    }

    #[test]
    fn looking_goes_on_where_it_was_cut_off() {
        let mut delivery = one_of_three();
        delivery.lose(false);
        delivery.arrive(welcome(5, 13));
        assert_eq!(delivery.find(12, "3", "b"), Ok(()));
        delivery.lose(false);
        assert_eq!(delivery.unknown(), Some((4, 4)));
        assert!(delivery.arrive(welcome(6, 13)));
        assert_eq!(delivery.lost_id(), Some(3));
        assert_eq!(delivery.find(13, "8", "not ours"), Ok(()));
        delivery.lose(false);
        delivery.arrive(welcome(7, 13));
        assert_eq!(delivery.look(), Some(Command::Resume { seq: 13, feed: Some(FEED) }));
    }

    #[test]
    fn what_is_refused_is_known_not_to_be_there() {
        let mut delivery = one_of_three();
        assert_eq!(delivery.refuse(), 2);
        assert_eq!((delivery.delivered(), delivery.unknown()), (1, Some((4, 4))));
    }

    #[test]
    fn what_is_said_after_a_while_is_looked_for_behind_what_was_newest_then() {
        let mut delivery = one_of_three();
        delivery.deliver(12);
        delivery.deliver(13);
        delivery.refresh(500);
        delivery.add(5, "d");
        delivery.say_next();
        delivery.lose(false);
        assert!(delivery.arrive(welcome(9, 510)));
        assert_eq!(delivery.look(), Some(Command::Resume { seq: 500, feed: Some(FEED) }));
    }

    #[test]
    fn only_what_was_said_again_is_doubtful_again() {
        let mut delivery = one_of_three();
        delivery.lose(false);
        delivery.arrive(welcome(5, 20));
        delivery.settle();
        assert!(matches!(delivery.say_next(), Some(Command::Broadcast { text: "b" })));
        delivery.lose(false);
        assert_eq!(delivery.unknown(), Some((2, 2)));
        assert!(delivery.arrive(welcome(6, 21)));
        assert_eq!(delivery.lost_id(), Some(5));
        assert_eq!(delivery.look(), Some(Command::Resume { seq: 20, feed: Some(FEED) }));
        assert_eq!(delivery.find(21, "5", "b"), Ok(()));
        assert_eq!(delivery.lost_id(), None, "it is found");
    }

    #[test]
    fn behind_a_goodbye_nothing_is_doubtful() {
        let mut delivery = one_of_three();
        delivery.lose(true);
        assert_eq!(delivery.unknown(), None);
        assert!(delivery.arrive(Welcome { feed: FeedId(8), ..welcome(1, 0) }));
        assert_eq!(delivery.lost_id(), None);
        assert_eq!(say_all(&mut delivery), ["b", "c"]);
    }

    #[test]
    fn in_another_feed_nothing_can_be_looked_for() {
        for (feed, seq) in [(FeedId(8), 20), (FEED, 10)] {
            let mut delivery = one_of_three();
            delivery.lose(false);
            assert!(!delivery.arrive(Welcome { id: 1, feed, seq }));
        }
        // Where all is answered, nothing has to be.
        let mut delivery = one_of_three();
        delivery.deliver(12);
        delivery.deliver(13);
        delivery.lose(false);
        assert!(delivery.arrive(Welcome { feed: FeedId(8), ..welcome(1, 0) }));
    }

    #[test]
    fn a_server_that_says_something_else_is_not_believed() {
        let mut delivery = one_of_three();
        delivery.lose(false);
        delivery.arrive(welcome(5, 20));
        assert!(delivery.find(12, "3", "other").is_err());
        assert_eq!(delivery.find(12, "3", "b"), Ok(()));
        assert!(delivery.find(14, "3", "c").is_err(), "a line is missing");
        assert_eq!(delivery.find(13, "7", "other"), Ok(()), "somebody else's");
    }

    #[test]
    fn no_number_is_too_large_to_be_looked_behind() {
        let mut delivery = one_of_three();
        delivery.deliver(u64::MAX);
        delivery.lose(false);
        assert!(delivery.arrive(welcome(5, u64::MAX)));
        assert!(delivery.find(0, "3", "c").is_err());
    }

    #[test]
    fn there_is_room_for_so_many_bytes() {
        let mut delivery = PublishQueue::default();
        let text = "x".repeat(MAX_UNANSWERED);
        delivery.add(1, &text);
        assert!(!delivery.has_room());
        delivery.arrive(welcome(1, 0));
        assert!(delivery.say_next().is_some());
        delivery.deliver(1);
        assert!(delivery.has_room());
    }
}
