//! Where a listener stands in the feed, through all its connections.
//!
//! This room performs **no I/O** and reads no clock.

use super::dial::Welcome;
use crate::protocol::{Command, ErrorCode, FeedId, Reply, Topic};

/// The last line that was seen, and what to ask for after a new connection.
///
/// Tell it of each welcome with [`arrive`](Self::arrive), of each answer to a `resume` with
/// [`answer`](Self::answer), and ask it of each broadcast line with [`take`](Self::take).
#[derive(Debug, Default)]
pub(super) struct Position {
    /// Which feed `seq` belongs to; none before the first welcome.
    feed: Option<FeedId>,
    /// The last line seen.
    seq: u64,
    /// While a `resume` waits for its answer, the newest line there is. Lines that come before the
    /// answer will come again behind it.
    resuming: Option<u64>,
}

/// What a new connection is to this listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The feed is not the one that was listened to before.
    pub(super) is_new_feed: bool,
    /// What to ask for.
    pub(super) ask: Option<Command<'static>>,
}

/// What a broadcast line is to this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The next one.
    New,
    /// One that was seen before.
    Seen,
    /// One that comes again behind the answer to a `resume`.
    Early,
}

impl Arrival {
    /// What to tell the user of it.
    pub(super) fn notice(&self) -> Option<&'static str> {
        self.is_new_feed.then_some("it was restarted: what was said there last may be missing here")
    }
}

/// What became of a `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    /// All lines come.
    Whole,
    /// The lines from here to there do not come.
    Missed {
        /// The first of them.
        from: u64,
        /// The last.
        to: u64,
        /// What to ask for, to get those behind them.
        ask: Option<Command<'static>>,
    },
}

impl Resumed {
    /// What to tell the user of it.
    pub(super) fn notice(&self) -> Option<String> {
        let lines = match *self {
            Self::Whole => return None,
            Self::Missed { from, to, .. } if from == to => format!("line {from}"),
            Self::Missed { from, to, .. } => format!("lines {from} to {to}"),
        };
        Some(format!("{lines} may have been missed: the server does not give them again"))
    }

    /// What to ask for next.
    pub(super) fn ask(self) -> Option<Command<'static>> {
        match self {
            Self::Whole => None,
            Self::Missed { ask, .. } => ask,
        }
    }
}

impl Position {
    /// Takes note of a new connection. `since` is where to begin, if it is the first one.
    pub(super) fn arrive(&mut self, welcome: Welcome, since: Option<u64>) -> Arrival {
        let Welcome { feed, seq: newest, .. } = welcome;
        self.resuming = None;
        let is_first = self.feed.is_none();
        let is_same = self.feed == Some(feed) && self.seq <= newest;
        self.feed = Some(feed);
        if is_first {
            self.seq = newest;
            let ask = since.map(|seq| self.resume(seq, None, newest));
            return Arrival { is_new_feed: false, ask };
        }
        if !is_same {
            self.seq = 0;
        }
        let ask = (self.seq < newest).then(|| self.resume(self.seq, Some(feed), newest));
        Arrival { is_new_feed: !is_same, ask }
    }

    fn resume(&mut self, seq: u64, feed: Option<FeedId>, newest: u64) -> Command<'static> {
        self.seq = seq;
        self.resuming = Some(newest);
        Command::Resume { seq, feed }
    }

    /// Takes note of the final answer to a `resume`.
    pub(super) fn answer(&mut self, reply: &Reply<'_>) -> Resumed {
        let newest = self.resuming.take().unwrap_or(self.seq);
        let (code, explanation) = match *reply {
            Reply::Ok(Topic::Resume { .. }) => return Resumed::Whole,
            Reply::Error { code, explanation } => (code, explanation),
            _ => ("", ""),
        };
        let from = self.seq + 1;
        let oldest = explanation.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        if code == ErrorCode::Gone.as_str()
            && let Some(oldest) = oldest
            && oldest > from
        {
            let ask = Some(self.resume(oldest - 1, self.feed, newest.max(oldest)));
            return Resumed::Missed { from, to: oldest - 1, ask };
        }
        // The server has no history: what came since the welcome is gone with the rest.
        self.seq = newest;
        Resumed::Missed { from, to: newest, ask: None }
    }

    /// Takes note of a broadcast line.
    pub(super) fn take(&mut self, seq: u64) -> Place {
        if let Some(newest) = &mut self.resuming {
            *newest = seq.max(*newest);
            return Place::Early;
        }
        if seq <= self.seq {
            return Place::Seen;
        }
        self.seq = seq;
        Place::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(feed: u32, seq: u64) -> Welcome {
        Welcome { id: 1, feed: FeedId(feed), seq }
    }

    fn asked(seq: u64, feed: u32) -> Option<Command<'static>> {
        Some(Command::Resume { seq, feed: Some(FeedId(feed)) })
    }

    /// A listener that has seen line 7 of feed 1.
    fn at_seven() -> Position {
        let mut position = Position::default();
        assert_eq!(position.arrive(welcome(1, 5), None), Arrival::default());
        assert_eq!([position.take(6), position.take(7)], [Place::New; 2]);
        position
    }

    #[test]
    fn nothing_is_asked_for_where_nothing_was_missed() {
        let mut position = at_seven();
        assert_eq!(position.arrive(welcome(1, 7), None), Arrival::default());
        assert_eq!([position.take(8), position.take(8)], [Place::New, Place::Seen]);
    }

    #[test]
    fn lines_before_the_answer_come_again_behind_it() {
        let mut position = at_seven();
        let arrival = position.arrive(welcome(1, 9), None);
        assert_eq!(arrival, Arrival { is_new_feed: false, ask: asked(7, 1) });
        assert_eq!(position.take(10), Place::Early);
        assert_eq!(position.answer(&Reply::Ok(Topic::Resume { seq: 7 })), Resumed::Whole);
        for seq in 8..=11 {
            assert_eq!(position.take(seq), Place::New);
        }
    }

    #[test]
    fn a_server_without_history_leaves_a_gap_that_is_known() {
        let mut position = at_seven();
        position.arrive(welcome(1, 9), None);
        assert_eq!(position.take(10), Place::Early);
        let error = Reply::Error { code: "not-allowed", explanation: "not in this version" };
        assert_eq!(position.answer(&error), Resumed::Missed { from: 8, to: 10, ask: None });
        assert_eq!(position.take(11), Place::New);
    }

    #[test]
    fn what_is_gone_is_skipped_and_the_rest_is_asked_for() {
        let mut position = at_seven();
        position.arrive(welcome(1, 90), None);
        let error = Reply::Error { code: "gone", explanation: "50 00000001 kept from 50 on" };
        assert_eq!(position.answer(&error), Resumed::Missed { from: 8, to: 49, ask: asked(49, 1) });
        assert_eq!(position.take(91), Place::Early);
        assert_eq!(position.answer(&Reply::Ok(Topic::Resume { seq: 49 })), Resumed::Whole);
        assert_eq!(position.take(50), Place::New);
    }

    #[test]
    fn of_a_new_feed_all_is_asked_for() {
        let mut position = at_seven();
        let arrival = position.arrive(welcome(2, 3), None);
        assert_eq!(arrival, Arrival { is_new_feed: true, ask: asked(0, 2) });
        assert_eq!(position.answer(&Reply::Ok(Topic::Resume { seq: 0 })), Resumed::Whole);
        assert_eq!(position.take(1), Place::New);
        let arrival = position.arrive(welcome(3, 0), None);
        assert_eq!(arrival, Arrival { is_new_feed: true, ask: None });
        assert_eq!(position.take(1), Place::New);
    }
}
