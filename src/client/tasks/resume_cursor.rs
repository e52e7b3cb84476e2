//! Where a listener stands in the feed, through all its connections.
//!
//! This room performs **no I/O** and reads no clock.

use crate::cli::digits;
use crate::client::connection::dial::Welcome;
use crate::protocol::{Command, ErrorCode, FeedId, OkReply, Reply};

/// How often what is to come next may be gone by the time that it is asked for.
const MAX_GONE: u8 = 10;

/// The last line that was seen, and what to ask for after a new connection.
///
/// Tell it of each welcome with [`arrive`](Self::arrive), of each answer to a `resume` with
/// [`answer`](Self::answer), and ask it of each broadcast line with [`take`](Self::take).
#[derive(Debug, Default)]
pub(crate) struct ResumeCursor {
    /// Where to begin, as long as the server has not answered to that.
    since: Option<u64>,
    /// Which feed `seq` belongs to; none before the first welcome.
    feed: Option<FeedId>,
    /// The last line seen.
    seq: u64,
    /// While a `resume` waits for its answer, the newest line there is. Lines that come before the
    /// answer will come again behind it.
    resuming: Option<u64>,
    /// How often the server has said on this connection that lines are gone.
    gone: u8,
}

/// What a new connection is to this listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// It is the first one.
    pub(crate) is_first: bool,
    /// The feed is not the one that was listened to before.
    pub(crate) is_new_feed: bool,
    /// What to ask for.
    pub(crate) ask: Option<Command<'static>>,
}

/// What became of a `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// All lines come.
    Whole,
    /// It cannot begin where it was to.
    Refused {
        /// After which line it was to.
        since: u64,
    },
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

/// What a broadcast line is to this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one.
    New,
    /// One that was seen before.
    Seen,
    /// One that comes again behind the answer to a `resume`.
    Early,
}

impl Arrival {
    /// What to tell the user of a connection to this server.
    pub(crate) fn notices(&self, server: &str) -> Vec<String> {
        if self.is_first {
            return vec![];
        }
        let mut notices = vec![format!("connected to {server} again")];
        if self.is_new_feed {
            let notice = "it was restarted: what was said there last may be missing here";
            notices.push(notice.to_owned());
        }
        notices
    }
}

impl Resumed {
    /// What to tell the user of it.
    pub(crate) fn notice(&self) -> Option<String> {
        let what = match *self {
            Self::Whole => return None,
            Self::Refused { since } => {
                return Some(format!("the lines after {since} cannot be had"));
            }
            Self::Missed { from, to, .. } if from == to => {
                format!("1 line is missing here, {from}")
            }
            Self::Missed { from, to, .. } => {
                format!("{} lines are missing here, {from} to {to}", to - from + 1)
            }
        };
        Some(format!("{what}: the server does not give them again"))
    }

    /// What to ask for next.
    pub(crate) fn ask(self) -> Option<Command<'static>> {
        match self {
            Self::Whole | Self::Refused { .. } => None,
            Self::Missed { ask, .. } => ask,
        }
    }
}

impl ResumeCursor {
    /// To begin after this line, or with what is new.
    pub(crate) fn beginning(since: Option<u64>) -> Self {
        Self { since, ..Self::default() }
    }

    /// Which feed it is in.
    pub(crate) fn feed(&self) -> Option<FeedId> {
        self.feed
    }

    /// Takes note of a new connection.
    pub(crate) fn arrive(&mut self, welcome: Welcome) -> Arrival {
        let Welcome { feed, seq: newest, .. } = welcome;
        self.resuming = None;
        self.gone = 0;
        let before = self.feed.replace(feed);
        let is_first = before.is_none();
        if let Some(seq) = self.since {
            let ask = Some(self.resume(seq, None, newest));
            return Arrival { is_first, is_new_feed: false, ask };
        }
        if is_first {
            self.seq = newest;
            return Arrival { is_first, ..Arrival::default() };
        }
        let is_same = before == Some(feed) && self.seq <= newest;
        if !is_same {
            self.seq = 0;
        }
        // Where a secret is asked for, there may be lines that came after the welcome and are missed, too.
        let ask = Some(self.resume(self.seq, Some(feed), newest));
        Arrival { is_first, is_new_feed: !is_same, ask }
    }

    fn resume(&mut self, seq: u64, feed: Option<FeedId>, newest: u64) -> Command<'static> {
        self.seq = seq;
        self.resuming = Some(newest);
        Command::Resume { seq, feed }
    }

    /// Takes note of the final answer to a `resume`.
    pub(crate) fn answer(&mut self, reply: &Reply<'_>) -> Resumed {
        let newest = self.resuming.take().unwrap_or(self.seq);
        let since = self.since.take();
        let (code, explanation) = match *reply {
            Reply::Ok(OkReply::Resume { .. }) => return Resumed::Whole,
            Reply::Error { code, explanation } => (code, explanation),
            _ => ("", ""),
        };
        if let Some(since) = since {
            return Resumed::Refused { since };
        }
        let from = self.seq.saturating_add(1);
        let oldest = explanation.split(' ').next().and_then(digits);
        if code == ErrorCode::GONE.as_str()
            && let Some(oldest) = oldest
            && oldest > from
            && self.gone < MAX_GONE
        {
            self.gone += 1;
            let ask = Some(self.resume(oldest - 1, self.feed, newest.max(oldest)));
            return Resumed::Missed { from, to: oldest - 1, ask };
        }
        // The server has no history: what came since the welcome is gone with the rest.
        self.seq = newest;
        if newest < from {
            return Resumed::Whole;
        }
        Resumed::Missed { from, to: newest, ask: None }
    }

    /// Takes note of a broadcast line.
    pub(crate) fn take(&mut self, seq: u64) -> Place {
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
    fn at_seven() -> ResumeCursor {
        let mut position = ResumeCursor::default();
        let first = Arrival { is_first: true, ..Arrival::default() };
        assert_eq!(position.arrive(welcome(1, 5)), first);
        assert_eq!([position.take(6), position.take(7)], [Place::New; 2]);
        position
    }

    #[test]
    fn nothing_is_said_where_nothing_was_missed() {
        let mut position = at_seven();
        assert_eq!(position.arrive(welcome(1, 7)).ask, asked(7, 1));
        let error = Reply::Error { code: "not-allowed", explanation: "not in this version" };
        assert_eq!(position.answer(&error), Resumed::Whole);
        assert_eq!([position.take(8), position.take(8)], [Place::New, Place::Seen]);
    }

    #[test]
    fn lines_before_the_answer_come_again_behind_it() {
        let mut position = at_seven();
        let arrival = position.arrive(welcome(1, 9));
        assert_eq!(arrival, Arrival { ask: asked(7, 1), ..Arrival::default() });
        assert_eq!(position.take(10), Place::Early);
        assert_eq!(position.answer(&Reply::Ok(OkReply::Resume { seq: 7 })), Resumed::Whole);
        for seq in 8..=11 {
            assert_eq!(position.take(seq), Place::New);
        }
    }

    #[test]
    fn a_server_without_history_leaves_a_gap_that_is_known() {
        let mut position = at_seven();
        position.arrive(welcome(1, 9));
        assert_eq!(position.take(10), Place::Early);
        let error = Reply::Error { code: "not-allowed", explanation: "not in this version" };
        assert_eq!(position.answer(&error), Resumed::Missed { from: 8, to: 10, ask: None });
        assert_eq!(position.take(11), Place::New);
    }

    #[test]
    fn what_is_gone_is_skipped_and_the_rest_is_asked_for() {
        let mut position = at_seven();
        position.arrive(welcome(1, 90));
        let error = Reply::Error { code: "gone", explanation: "50 00000001 kept from 50 on" };
        assert_eq!(position.answer(&error), Resumed::Missed { from: 8, to: 49, ask: asked(49, 1) });
        assert_eq!(position.take(91), Place::Early);
        assert_eq!(position.answer(&Reply::Ok(OkReply::Resume { seq: 49 })), Resumed::Whole);
        assert_eq!(position.take(50), Place::New);
    }

    #[test]
    fn of_a_new_feed_all_is_asked_for() {
        let mut position = at_seven();
        let arrival = position.arrive(welcome(2, 3));
        assert_eq!(arrival, Arrival { is_new_feed: true, ask: asked(0, 2), ..Arrival::default() });
        assert_eq!(position.answer(&Reply::Ok(OkReply::Resume { seq: 0 })), Resumed::Whole);
        assert_eq!(position.take(1), Place::New);
        let arrival = position.arrive(welcome(3, 0));
        assert_eq!(arrival, Arrival { is_new_feed: true, ask: asked(0, 3), ..Arrival::default() });
    }

    #[test]
    fn where_to_begin_is_asked_for_until_it_is_answered() {
        let ask = Some(Command::Resume { seq: 9, feed: None });
        let mut position = ResumeCursor::beginning(Some(9));
        assert_eq!(position.arrive(welcome(1, 5)).ask, ask);
        // The connection is lost before the answer.
        assert_eq!(position.arrive(welcome(1, 5)), Arrival { ask, ..Arrival::default() });
        let error = Reply::Error { code: "bad-argument", explanation: "beyond the newest" };
        assert_eq!(position.answer(&error), Resumed::Refused { since: 9 });

        let mut position = ResumeCursor::beginning(Some(5));
        position.arrive(welcome(1, 5));
        assert_eq!(position.answer(&Reply::Ok(OkReply::Resume { seq: 5 })), Resumed::Whole);
        // It has begun: what is gone later is no reason to end.
        position.arrive(welcome(1, 90));
        let error = Reply::Error { code: "gone", explanation: "50 00000001 kept from 50 on" };
        let ask = asked(49, 1);
        assert_eq!(position.answer(&error), Resumed::Missed { from: 6, to: 49, ask });
    }

    #[test]
    fn a_server_whose_lines_are_always_gone_is_not_asked_for_ever() {
        let mut position = at_seven();
        let mut ask = position.arrive(welcome(1, 8)).ask;
        let mut asks = 0;
        for oldest in (100..).step_by(100) {
            if ask.is_none() {
                break;
            }
            asks += 1;
            let explanation = format!("{oldest} 00000001");
            ask = position.answer(&Reply::Error { code: "gone", explanation: &explanation }).ask();
        }
        assert_eq!(asks, u64::from(MAX_GONE) + 1);
    }
}
