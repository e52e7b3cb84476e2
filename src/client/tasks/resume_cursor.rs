//! A reader's position in the feed, from which to resume after a reconnect.
//!
//! This module performs **no I/O** and reads no clock.

use std::fmt;

use crate::cli::digits;
use crate::client::config::{Since, Start};
use crate::client::connection::dial::Welcome;
use crate::client::messages::{cannot_start, explain, reconnected};
use crate::client::tasks::gap::{Cause, Gap};
use crate::protocol::{Command, ErrorCode, FeedId, FeedPosition, Reply};

/// The maximum number of times per connection that a `resume` is retried because its lines were
/// gone.
const MAX_RETRIES: u8 = 10;

/// The position after the last line received, from which every new connection resumes.
///
/// Call [`on_welcome`](Self::on_welcome) for each connection,
/// [`on_resume_reply`](Self::on_resume_reply) for the reply to each `resume`,
/// [`on_broadcast`](Self::on_broadcast) for each broadcast line, and [`on_lagged`](Self::on_lagged)
/// for each `lagged`. Every line of a feed after the start is then either new once, or part of one
/// gap.
#[derive(Debug, Default)]
pub(crate) struct ResumeCursor {
    /// Where to start, until the server has answered the `resume` for it.
    start: Start,
    /// The last line of the history, until the server has answered the `resume` for it. Older lines
    /// that are gone are not missing: the user asked for as many lines as there are.
    history_end: Option<u64>,
    /// The feed of `seq`, or `None` before the first welcome.
    feed: Option<FeedId>,
    /// The sequence number of the last line received.
    seq: u64,
    /// The server has sent a welcome before.
    was_connected: bool,
    /// The server refused the `resume` for `start`.
    is_refused: bool,
    /// While a `resume` is pending, the newest sequence number known. The server replays lines
    /// received before the reply.
    resuming: Option<u64>,
    /// The number of times that a `resume` was retried on this connection.
    retries: u8,
}

/// What the task must do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// What to tell the user, in this order.
    pub(crate) notices: Vec<Notice>,
    /// The request to send, if any.
    pub(crate) request: Option<Command<'static>>,
}

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Text(String),
    Gap(Gap),
}

/// How a broadcast line relates to the lines received before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineState {
    /// It was not received before.
    New,
    /// It was received before.
    Duplicate,
    /// It precedes the reply to the pending `resume`, and is replayed after that.
    Early,
}

impl Step {
    pub(crate) fn notice(text: String) -> Self {
        Self { notices: vec![Notice::Text(text)], request: None }
    }

    /// Reports a gap, if there is one.
    pub(crate) fn gap(gap: Option<Gap>) -> Self {
        Self { notices: gap.map(Notice::Gap).into_iter().collect(), request: None }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Gap(gap) => gap.fmt(f),
        }
    }
}

impl ResumeCursor {
    pub(crate) fn new(start: Start) -> Self {
        let (feed, seq) = match start {
            Start::After(Since::Position(FeedPosition { feed, seq })) => (Some(feed), seq),
            _ => (None, 0),
        };
        Self { start, feed, seq, ..Self::default() }
    }

    /// Returns the position of a line in the current feed.
    pub(crate) fn position_of(&self, seq: u64) -> Option<FeedPosition> {
        Some(FeedPosition { feed: self.feed?, seq })
    }

    /// Returns the position at which another run can continue: that of the last line received or,
    /// before the first one, where this run started. Returns `None` before the first welcome, or if
    /// the server refused to start there.
    pub(crate) fn position(&self) -> Option<FeedPosition> {
        self.position_of(self.seq).filter(|_| self.was_connected && !self.is_refused)
    }

    /// Handles a new connection. `server` is its address, for messages.
    pub(crate) fn on_welcome(&mut self, welcome: Welcome, server: &str) -> Step {
        let Welcome { feed, seq: newest, .. } = welcome;
        self.resuming = None;
        self.retries = 0;
        let was_connected = std::mem::replace(&mut self.was_connected, true);
        let mut notices = vec![];
        if was_connected {
            notices.push(Notice::Text(reconnected(server)));
        }
        let previous = self.position_of(self.seq);
        self.feed = Some(feed);
        let is_other_feed = previous.is_some_and(|previous| previous.feed != feed);
        if is_other_feed {
            // The line to start after is gone with its feed.
            self.start = Start::New;
        }
        if let Start::After(since) = self.start {
            let (seq, feed) = match since {
                Since::Line(seq) => (seq, None),
                Since::Position(FeedPosition { feed, seq }) => (seq, Some(feed)),
            };
            return Step { notices, request: Some(self.resume(seq, feed, newest)) };
        }
        let Some(after) = previous else {
            let Start::Last(count) = self.start else {
                self.seq = newest;
                return Step::default();
            };
            // A `resume` instead of `history`: after a reconnect, it can be repeated as it is.
            self.history_end = Some(newest);
            let request = self.resume(newest.saturating_sub(count), Some(feed), newest);
            return Step { notices, request: Some(request) };
        };
        if is_other_feed || self.seq > newest {
            self.seq = 0;
            self.history_end = None;
            notices.push(Notice::Gap(Gap { cause: Cause::Restarted, after }));
        }
        // Resume even if `seq` is the newest: a client that must authenticate misses all lines
        // between the welcome and its `auth`.
        Step { notices, request: Some(self.resume(self.seq, Some(feed), newest)) }
    }

    fn resume(&mut self, seq: u64, feed: Option<FeedId>, newest: u64) -> Command<'static> {
        self.seq = seq;
        self.resuming = Some(newest);
        Command::Resume { seq, feed }
    }

    /// Handles the final reply to a `resume`. The error says why the server cannot start there.
    pub(crate) fn on_resume_reply(&mut self, reply: &Reply<'_>) -> Result<Step, String> {
        let newest = self.resuming.take().unwrap_or(self.seq);
        let start = std::mem::take(&mut self.start);
        let Reply::Error { code, explanation } = *reply else {
            self.history_end = None;
            return Ok(Step::default());
        };
        let is_gone = code == ErrorCode::GONE.as_str();
        let failed = match start {
            Start::After(Since::Position(_)) if is_gone => None,
            Start::After(since) => Some(cannot_start(since, self.seq, newest, code, explanation)),
            _ if self.history_end.is_some() && !is_gone => {
                Some(format!("cannot replay earlier lines: {}", explain(code, explanation)))
            }
            _ => None,
        };
        if let Some(failed) = failed {
            self.is_refused = true;
            return Err(failed);
        }
        let first = self.seq.saturating_add(1);
        let after = self.seq.max(self.history_end.unwrap_or(0));
        let is_gone = is_gone && self.retries < MAX_RETRIES;
        let oldest = explanation.split(' ').next().and_then(digits);
        let (last, request) = match oldest.filter(|oldest| is_gone && *oldest > first) {
            Some(oldest) => {
                self.retries += 1;
                (oldest - 1, Some(self.resume(oldest - 1, self.feed, newest.max(oldest))))
            }
            None => {
                // The server cannot replay, so all lines up to the newest one known are missing,
                // too.
                self.seq = newest;
                self.history_end = None;
                (newest, None)
            }
        };
        let count = last.saturating_sub(after);
        let after = self.position_of(after).filter(|_| count > 0);
        let gap = after.map(|after| Gap { cause: Cause::Gone { count }, after });
        Ok(Step { request, ..Step::gap(gap) })
    }

    /// Handles a `lagged` line, by which the server says that it skipped `count` lines. Returns the
    /// gap, or `None` if the pending `resume` replays the lines.
    pub(crate) fn on_lagged(&mut self, count: u64) -> Option<Gap> {
        if let Some(newest) = &mut self.resuming {
            *newest = newest.saturating_add(count);
            return None;
        }
        let after = self.position_of(self.seq)?;
        self.seq = self.seq.saturating_add(count);
        Some(Gap { cause: Cause::Lagged { count }, after })
    }

    /// Handles a broadcast line.
    pub(crate) fn on_broadcast(&mut self, seq: u64) -> LineState {
        if let Some(newest) = &mut self.resuming {
            *newest = seq.max(*newest);
            return LineState::Early;
        }
        if seq <= self.seq {
            return LineState::Duplicate;
        }
        self.seq = seq;
        LineState::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::OkReply;

    const RECONNECTED: &str = "reconnected to here";

    fn welcome(feed: u32, seq: u64) -> Welcome {
        Welcome { id: 1, feed: FeedId(feed), seq }
    }

    fn resume(seq: u64, feed: u32) -> Option<Command<'static>> {
        Some(Command::Resume { seq, feed: Some(FeedId(feed)) })
    }

    /// Returns the step after a reconnect.
    fn reconnected(gap: Option<Gap>, request: Option<Command<'static>>) -> Step {
        let mut notices = vec![Notice::Text(RECONNECTED.to_owned())];
        notices.extend(gap.map(Notice::Gap));
        Step { notices, request }
    }

    fn request(request: Option<Command<'static>>) -> Step {
        Step { notices: vec![], request }
    }

    fn at(feed: u32, seq: u64) -> FeedPosition {
        FeedPosition { feed: FeedId(feed), seq }
    }

    fn restarted(feed: u32, seq: u64) -> Gap {
        Gap { cause: Cause::Restarted, after: at(feed, seq) }
    }

    fn complete() -> Result<Step, String> {
        Ok(Step::default())
    }

    /// Returns the step after an error that leaves `count` lines after line `after` of feed 1
    /// missing.
    fn missing(after: u64, count: u64, request: Option<Command<'static>>) -> Result<Step, String> {
        let gap = Gap { cause: Cause::Gone { count }, after: at(1, after) };
        Ok(Step { request, ..Step::gap(Some(gap)) })
    }

    fn error_reply<'a>(code: &'a str, explanation: &'a str) -> Reply<'a> {
        Reply::Error { code, explanation }
    }

    /// Returns a cursor at line 7 of feed 1.
    fn at_seven() -> ResumeCursor {
        let mut cursor = ResumeCursor::default();
        assert_eq!(cursor.on_welcome(welcome(1, 5), "here"), Step::default());
        assert_eq!([cursor.on_broadcast(6), cursor.on_broadcast(7)], [LineState::New; 2]);
        cursor
    }

    #[test]
    fn nothing_is_reported_when_nothing_is_missing() {
        let mut cursor = at_seven();
        assert_eq!(cursor.on_welcome(welcome(1, 7), "here").request, resume(7, 1));
        let error = error_reply("not-allowed", "not in this version");
        assert_eq!(cursor.on_resume_reply(&error), complete());
        assert_eq!(
            [cursor.on_broadcast(8), cursor.on_broadcast(8)],
            [LineState::New, LineState::Duplicate]
        );
    }

    #[test]
    fn lines_before_the_resume_reply_are_early() {
        let mut cursor = at_seven();
        let start = cursor.on_welcome(welcome(1, 9), "here");
        assert_eq!(start, reconnected(None, resume(7, 1)));
        assert_eq!(cursor.on_broadcast(10), LineState::Early);
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 7 })), complete());
        for seq in 8..=11 {
            assert_eq!(cursor.on_broadcast(seq), LineState::New);
        }
    }

    #[test]
    fn refused_resume_reports_everything_since_the_last_line_as_missing() {
        let mut cursor = at_seven();
        cursor.on_welcome(welcome(1, 9), "here");
        assert_eq!(cursor.on_broadcast(10), LineState::Early);
        let error = error_reply("not-allowed", "not in this version");
        assert_eq!(cursor.on_resume_reply(&error), missing(7, 3, None));
        assert_eq!(cursor.on_broadcast(11), LineState::New);
    }

    #[test]
    fn lines_that_are_gone_are_skipped_and_the_rest_is_requested() {
        let mut cursor = at_seven();
        cursor.on_welcome(welcome(1, 90), "here");
        let error = error_reply("gone", "50 00000001 kept from 50 on");
        assert_eq!(cursor.on_resume_reply(&error), missing(7, 42, resume(49, 1)));
        assert_eq!(cursor.on_broadcast(91), LineState::Early);
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 49 })), complete());
        assert_eq!(cursor.on_broadcast(50), LineState::New);
    }

    #[test]
    fn new_feed_is_requested_from_its_beginning() {
        let mut cursor = at_seven();
        let start = cursor.on_welcome(welcome(2, 3), "here");
        assert_eq!(start, reconnected(Some(restarted(1, 7)), resume(0, 2)));
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 0 })), complete());
        assert_eq!(cursor.on_broadcast(1), LineState::New);
        let start = cursor.on_welcome(welcome(3, 0), "here");
        assert_eq!(start, reconnected(Some(restarted(2, 1)), resume(0, 3)));
    }

    #[test]
    fn since_is_requested_again_until_the_server_replies() {
        let resume_9 = Some(Command::Resume { seq: 9, feed: None });
        let mut cursor = ResumeCursor::new(Start::After(Since::Line(9)));
        assert_eq!(cursor.on_welcome(welcome(1, 5), "here"), request(resume_9));
        // The connection is lost before the reply arrives.
        assert_eq!(cursor.on_welcome(welcome(1, 5), "here"), reconnected(None, resume_9));
        let error = error_reply("bad-argument", "beyond the newest");
        assert_eq!(
            cursor.on_resume_reply(&error),
            Err("there is no line 9 yet; the newest is 5".to_owned())
        );

        let mut cursor = ResumeCursor::new(Start::After(Since::Line(5)));
        cursor.on_welcome(welcome(1, 5), "here");
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 5 })), complete());
        // After the start, lines that are gone are only reported.
        cursor.on_welcome(welcome(1, 90), "here");
        let error = error_reply("gone", "50 00000001 kept from 50 on");
        assert_eq!(cursor.on_resume_reply(&error), missing(5, 44, resume(49, 1)));
    }

    #[test]
    fn number_to_start_after_belongs_to_the_feed_of_the_first_welcome() {
        let mut cursor = ResumeCursor::new(Start::After(Since::Line(9)));
        cursor.on_welcome(welcome(1, 20), "here");
        // The connection is lost before the reply, and the server is restarted.
        let start = cursor.on_welcome(welcome(2, 30), "here");
        assert_eq!(start, reconnected(Some(restarted(1, 9)), resume(0, 2)));
    }

    #[test]
    fn position_is_resumed_like_after_a_reconnect() {
        let since = |feed, seq| ResumeCursor::new(Start::After(Since::Position(at(feed, seq))));
        let mut cursor = since(1, 7);
        assert_eq!(cursor.on_welcome(welcome(1, 9), "here"), request(resume(7, 1)));
        assert_eq!(cursor.position(), Some(at(1, 7)));
        let error = error_reply("gone", "10 00000001 kept from 10 on");
        assert_eq!(cursor.on_resume_reply(&error), missing(7, 2, resume(9, 1)));
        assert_eq!(cursor.position(), Some(at(1, 9)));

        let mut cursor = since(1, 7);
        let start = cursor.on_welcome(welcome(2, 20), "here");
        assert_eq!(start, Step { request: resume(0, 2), ..Step::gap(Some(restarted(1, 7))) });
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 0 })), complete());
        assert_eq!(cursor.on_broadcast(1), LineState::New);
        assert_eq!(cursor.position(), Some(at(2, 1)));

        let mut cursor = since(1, 7);
        assert_eq!(cursor.on_welcome(welcome(1, 6), "here"), request(resume(7, 1)));
        let error = error_reply("bad-argument", "beyond the newest");
        let expected = "there is no line 7 yet; the newest is 6";
        assert_eq!(cursor.on_resume_reply(&error), Err(expected.to_owned()));
        assert_eq!(cursor.position(), None, "the server refused to start there");
    }

    #[test]
    fn position_is_known_from_the_first_welcome() {
        let mut cursor = ResumeCursor::default();
        assert_eq!(cursor.position(), None);
        cursor.on_welcome(welcome(1, 5), "here");
        assert_eq!(cursor.position(), Some(at(1, 5)));
        for start in [Start::After(Since::Position(at(1, 5))), Start::Last(3)] {
            assert_eq!(ResumeCursor::new(start).position(), None);
        }
    }

    /// Returns a cursor that has requested the last 10 of 90 lines of feed 1.
    fn last_ten() -> ResumeCursor {
        let mut cursor = ResumeCursor::new(Start::Last(10));
        assert_eq!(cursor.on_welcome(welcome(1, 90), "here"), request(resume(80, 1)));
        assert_eq!(cursor.position(), Some(at(1, 80)));
        cursor
    }

    #[test]
    fn history_is_counted_from_the_first_welcome() {
        let mut cursor = last_ten();
        assert_eq!(cursor.on_broadcast(91), LineState::Early);
        // The connection is lost before the reply arrives, and then in the middle of the replay.
        assert_eq!(cursor.on_welcome(welcome(1, 95), "here"), reconnected(None, resume(80, 1)));
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 80 })), complete());
        assert_eq!(cursor.on_broadcast(81), LineState::New);
        assert_eq!(cursor.on_welcome(welcome(1, 99), "here"), reconnected(None, resume(81, 1)));

        for (count, start) in [(0, 90), (90, 0), (u64::MAX, 0)] {
            let mut cursor = ResumeCursor::new(Start::Last(count));
            assert_eq!(cursor.on_welcome(welcome(1, 90), "here"), request(resume(start, 1)));
        }
    }

    #[test]
    fn history_begins_with_the_oldest_line_kept() {
        let mut cursor = last_ten();
        let gone = error_reply("gone", "85 00000001 kept from 85 on");
        assert_eq!(cursor.on_resume_reply(&gone), Ok(request(resume(84, 1))));
        // The connection is lost. Until it is back, more lines are dropped, new ones included.
        assert_eq!(cursor.on_welcome(welcome(1, 300), "here"), reconnected(None, resume(84, 1)));
        let gone = error_reply("gone", "200 00000001 kept from 200 on");
        assert_eq!(cursor.on_resume_reply(&gone), missing(90, 109, resume(199, 1)));
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 199 })), complete());
        assert_eq!(cursor.on_broadcast(200), LineState::New);
    }

    #[test]
    fn lines_gone_after_the_history_has_started_are_missing() {
        let mut cursor = last_ten();
        assert_eq!(cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 80 })), complete());
        assert_eq!(cursor.on_broadcast(81), LineState::New);
        cursor.on_welcome(welcome(1, 99), "here");
        let gone = error_reply("gone", "85 00000001 kept from 85 on");
        assert_eq!(cursor.on_resume_reply(&gone), missing(81, 3, resume(84, 1)));
    }

    #[test]
    fn history_of_a_restarted_server_begins_with_its_first_line() {
        let mut cursor = last_ten();
        let start = cursor.on_welcome(welcome(2, 30), "here");
        assert_eq!(start, reconnected(Some(restarted(1, 80)), resume(0, 2)));
        let gone = error_reply("gone", "5 00000002 kept from 5 on");
        let gap = Gap { cause: Cause::Gone { count: 4 }, after: at(2, 0) };
        let expected = Step { request: resume(4, 2), ..Step::gap(Some(gap)) };
        assert_eq!(cursor.on_resume_reply(&gone), Ok(expected));
    }

    #[test]
    fn history_that_is_refused_is_an_error() {
        let mut cursor = last_ten();
        let expected = "cannot replay earlier lines: the server refused: not in this version";
        let error = error_reply("not-allowed", "not in this version");
        assert_eq!(cursor.on_resume_reply(&error), Err(expected.to_owned()));
        assert_eq!(cursor.position(), None);
    }

    #[test]
    fn lagged_lines_are_reported_once() {
        let mut cursor = at_seven();
        let gap = Gap { cause: Cause::Lagged { count: 5 }, after: at(1, 7) };
        assert_eq!(cursor.on_lagged(5), Some(gap));
        // The connection is lost before the next line arrives.
        assert_eq!(cursor.on_welcome(welcome(1, 20), "here"), reconnected(None, resume(12, 1)));
        // The server replays lines that it skips before the reply.
        assert_eq!(cursor.on_broadcast(21), LineState::Early);
        assert_eq!(cursor.on_lagged(3), None);
        let gone = error_reply("gone", "15 00000001 kept from 15 on");
        assert_eq!(cursor.on_resume_reply(&gone), missing(12, 2, resume(14, 1)));
        let refused = error_reply("not-allowed", "not in this version");
        assert_eq!(cursor.on_resume_reply(&refused), missing(14, 10, None));
        assert_eq!(cursor.on_broadcast(25), LineState::New);
    }

    #[test]
    fn retries_are_limited_when_lines_are_always_gone() {
        let mut cursor = at_seven();
        let mut request = cursor.on_welcome(welcome(1, 8), "here").request;
        let mut requests = 0;
        for oldest in (100..).step_by(100) {
            if request.is_none() {
                break;
            }
            requests += 1;
            let explanation = format!("{oldest} 00000001");
            let reply = Reply::Error { code: "gone", explanation: &explanation };
            request = cursor.on_resume_reply(&reply).expect("the start is new").request;
        }
        assert_eq!(requests, u64::from(MAX_RETRIES) + 1);
    }
}
