//! A listener's position in the feed, and how to resume there after a reconnect.
//!
//! This module performs **no I/O** and reads no clock.

use crate::cli::digits;
use crate::client::connection::dial::Welcome;
use crate::client::messages::reconnected;
use crate::protocol::{Command, ErrorCode, FeedId, OkReply, Reply};

/// How many times per connection to ask again when the next lines are gone before the request
/// arrives.
const MAX_RETRIES: u8 = 10;

/// The last line received, which every new connection resumes after.
///
/// Call [`on_welcome`](Self::on_welcome) for each connection,
/// [`on_resume_reply`](Self::on_resume_reply) for the reply to each `resume`, and
/// [`on_broadcast`](Self::on_broadcast) for each broadcast line.
#[derive(Debug, Default)]
pub(crate) struct ResumeCursor {
    /// The line to start after, until the server has replied to that.
    since: Option<u64>,
    /// The feed that `seq` belongs to; `None` before the first welcome.
    feed: Option<FeedId>,
    /// The last line received.
    seq: u64,
    /// While a `resume` is pending, the newest line known. Lines received before the reply are sent
    /// again after it.
    resuming: Option<u64>,
    /// How many replies on this connection were `gone`.
    retries: u8,
}

/// How a listener continues on a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// This is the first connection.
    pub(crate) is_first: bool,
    /// The feed is not the one of the previous connection: the server was restarted.
    pub(crate) is_new_feed: bool,
    /// The request to send.
    pub(crate) request: Option<Command<'static>>,
}

/// The outcome of a `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// No line is missing.
    Complete,
    /// The server cannot start after the requested line.
    Refused {
        /// The requested line.
        since: u64,
    },
    /// The server no longer has some lines.
    Missing {
        /// The first missing line.
        first: u64,
        /// The last missing line.
        last: u64,
        /// The request for the lines after those.
        request: Option<Command<'static>>,
    },
}

/// How a broadcast line relates to those received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineState {
    /// It is the next line.
    New,
    /// It was received before.
    Duplicate,
    /// It will be sent again, after the reply to the pending `resume`.
    Early,
}

impl Start {
    /// What to tell the user.
    pub(crate) fn notices(&self, server: &str) -> Vec<String> {
        if self.is_first {
            return vec![];
        }
        let mut notices = vec![reconnected(server)];
        if self.is_new_feed {
            let notice = "the server was restarted; lines sent just before that may be missing";
            notices.push(notice.to_owned());
        }
        notices
    }
}

impl Resumed {
    /// What to tell the user.
    pub(crate) fn notice(&self) -> Option<String> {
        let Self::Missing { first, last, .. } = *self else { return None };
        Some(if first == last {
            format!("line {first} is missing here: the server no longer has it")
        } else {
            format!("lines {first} to {last} are missing here: the server no longer has them")
        })
    }

    /// The request to send next.
    pub(crate) fn request(self) -> Option<Command<'static>> {
        match self {
            Self::Complete | Self::Refused { .. } => None,
            Self::Missing { request, .. } => request,
        }
    }
}

impl ResumeCursor {
    /// Starts after the line `since`, or with the first new line.
    pub(crate) fn new(since: Option<u64>) -> Self {
        Self { since, ..Self::default() }
    }

    /// The feed that the lines belong to.
    pub(crate) fn feed(&self) -> Option<FeedId> {
        self.feed
    }

    /// Handles a new connection.
    pub(crate) fn on_welcome(&mut self, welcome: Welcome) -> Start {
        let Welcome { feed, seq: newest, .. } = welcome;
        self.resuming = None;
        self.retries = 0;
        let previous = self.feed.replace(feed);
        let is_first = previous.is_none();
        if let Some(seq) = self.since {
            let request = Some(self.resume(seq, None, newest));
            return Start { is_first, is_new_feed: false, request };
        }
        if is_first {
            self.seq = newest;
            return Start { is_first, ..Start::default() };
        }
        let is_same = previous == Some(feed) && self.seq <= newest;
        if !is_same {
            self.seq = 0;
        }
        // Even if nothing is newer than `seq`: a client that must authenticate receives no lines
        // between the welcome and its `auth`.
        let request = Some(self.resume(self.seq, Some(feed), newest));
        Start { is_first, is_new_feed: !is_same, request }
    }

    fn resume(&mut self, seq: u64, feed: Option<FeedId>, newest: u64) -> Command<'static> {
        self.seq = seq;
        self.resuming = Some(newest);
        Command::Resume { seq, feed }
    }

    /// Handles the final reply to a `resume`.
    pub(crate) fn on_resume_reply(&mut self, reply: &Reply<'_>) -> Resumed {
        let newest = self.resuming.take().unwrap_or(self.seq);
        let since = self.since.take();
        let (code, explanation) = match *reply {
            Reply::Ok(OkReply::Resume { .. }) => return Resumed::Complete,
            Reply::Error { code, explanation } => (code, explanation),
            _ => ("", ""),
        };
        if let Some(since) = since {
            return Resumed::Refused { since };
        }
        let first = self.seq.saturating_add(1);
        let oldest = explanation.split(' ').next().and_then(digits);
        if code == ErrorCode::GONE.as_str()
            && let Some(oldest) = oldest
            && oldest > first
            && self.retries < MAX_RETRIES
        {
            self.retries += 1;
            let request = Some(self.resume(oldest - 1, self.feed, newest.max(oldest)));
            return Resumed::Missing { first, last: oldest - 1, request };
        }
        // The server cannot replay: what was sent since the welcome is missing, too.
        self.seq = newest;
        if newest < first {
            return Resumed::Complete;
        }
        Resumed::Missing { first, last: newest, request: None }
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

    fn welcome(feed: u32, seq: u64) -> Welcome {
        Welcome { id: 1, feed: FeedId(feed), seq }
    }

    fn resume(seq: u64, feed: u32) -> Option<Command<'static>> {
        Some(Command::Resume { seq, feed: Some(FeedId(feed)) })
    }

    /// A cursor after line 7 of feed 1.
    fn at_seven() -> ResumeCursor {
        let mut cursor = ResumeCursor::default();
        let first = Start { is_first: true, ..Start::default() };
        assert_eq!(cursor.on_welcome(welcome(1, 5)), first);
        assert_eq!([cursor.on_broadcast(6), cursor.on_broadcast(7)], [LineState::New; 2]);
        cursor
    }

    #[test]
    fn nothing_is_reported_when_nothing_is_missing() {
        let mut cursor = at_seven();
        assert_eq!(cursor.on_welcome(welcome(1, 7)).request, resume(7, 1));
        let error = Reply::Error { code: "not-allowed", explanation: "not in this version" };
        assert_eq!(cursor.on_resume_reply(&error), Resumed::Complete);
        assert_eq!(
            [cursor.on_broadcast(8), cursor.on_broadcast(8)],
            [LineState::New, LineState::Duplicate]
        );
    }

    #[test]
    fn lines_before_the_resume_reply_are_early() {
        let mut cursor = at_seven();
        let start = cursor.on_welcome(welcome(1, 9));
        assert_eq!(start, Start { request: resume(7, 1), ..Start::default() });
        assert_eq!(cursor.on_broadcast(10), LineState::Early);
        assert_eq!(
            cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 7 })),
            Resumed::Complete
        );
        for seq in 8..=11 {
            assert_eq!(cursor.on_broadcast(seq), LineState::New);
        }
    }

    #[test]
    fn refused_resume_reports_everything_since_the_last_line_as_missing() {
        let mut cursor = at_seven();
        cursor.on_welcome(welcome(1, 9));
        assert_eq!(cursor.on_broadcast(10), LineState::Early);
        let error = Reply::Error { code: "not-allowed", explanation: "not in this version" };
        assert_eq!(
            cursor.on_resume_reply(&error),
            Resumed::Missing { first: 8, last: 10, request: None }
        );
        assert_eq!(cursor.on_broadcast(11), LineState::New);
    }

    #[test]
    fn lines_that_are_gone_are_skipped_and_the_rest_is_requested() {
        let mut cursor = at_seven();
        cursor.on_welcome(welcome(1, 90));
        let error = Reply::Error { code: "gone", explanation: "50 00000001 kept from 50 on" };
        assert_eq!(
            cursor.on_resume_reply(&error),
            Resumed::Missing { first: 8, last: 49, request: resume(49, 1) }
        );
        assert_eq!(cursor.on_broadcast(91), LineState::Early);
        assert_eq!(
            cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 49 })),
            Resumed::Complete
        );
        assert_eq!(cursor.on_broadcast(50), LineState::New);
    }

    #[test]
    fn new_feed_is_requested_from_its_beginning() {
        let mut cursor = at_seven();
        let start = cursor.on_welcome(welcome(2, 3));
        assert_eq!(start, Start { is_new_feed: true, request: resume(0, 2), ..Start::default() });
        assert_eq!(
            cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 0 })),
            Resumed::Complete
        );
        assert_eq!(cursor.on_broadcast(1), LineState::New);
        let start = cursor.on_welcome(welcome(3, 0));
        assert_eq!(start, Start { is_new_feed: true, request: resume(0, 3), ..Start::default() });
    }

    #[test]
    fn since_is_requested_again_until_the_server_replies() {
        let request = Some(Command::Resume { seq: 9, feed: None });
        let mut cursor = ResumeCursor::new(Some(9));
        assert_eq!(cursor.on_welcome(welcome(1, 5)).request, request);
        // The connection is lost before the reply.
        assert_eq!(cursor.on_welcome(welcome(1, 5)), Start { request, ..Start::default() });
        let error = Reply::Error { code: "bad-argument", explanation: "beyond the newest" };
        assert_eq!(cursor.on_resume_reply(&error), Resumed::Refused { since: 9 });

        let mut cursor = ResumeCursor::new(Some(5));
        cursor.on_welcome(welcome(1, 5));
        assert_eq!(
            cursor.on_resume_reply(&Reply::Ok(OkReply::Resume { seq: 5 })),
            Resumed::Complete
        );
        // Once started, lines that are gone are no failure.
        cursor.on_welcome(welcome(1, 90));
        let error = Reply::Error { code: "gone", explanation: "50 00000001 kept from 50 on" };
        let request = resume(49, 1);
        assert_eq!(
            cursor.on_resume_reply(&error),
            Resumed::Missing { first: 6, last: 49, request }
        );
    }

    #[test]
    fn retries_are_limited_when_lines_are_always_gone() {
        let mut cursor = at_seven();
        let mut request = cursor.on_welcome(welcome(1, 8)).request;
        let mut requests = 0;
        for oldest in (100..).step_by(100) {
            if request.is_none() {
                break;
            }
            requests += 1;
            let explanation = format!("{oldest} 00000001");
            let reply = Reply::Error { code: "gone", explanation: &explanation };
            request = cursor.on_resume_reply(&reply).request();
        }
        assert_eq!(requests, u64::from(MAX_RETRIES) + 1);
    }
}
