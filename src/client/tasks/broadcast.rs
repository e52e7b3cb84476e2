//! `oyez broadcast -`: broadcasts every line of standard input, in order, each once.
//!
//! After a reconnect, lines that the lost connection may have delivered are deduplicated: wait
//! until the server has closed that connection, then search the feed for its lines.

use std::time::{Duration, Instant};

use crate::client::connection::Event;
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Incoming, Owner, RequestTracker};
use crate::client::failure::Failure;
use crate::client::messages::{connection_lost, explain, reconnected};
use crate::client::session::Session;
use crate::client::stdio::{Progress, notice};
use crate::client::tasks::ask::MAX_REPLY_LINES;
use crate::client::tasks::publish_queue::PublishQueue;
use crate::client::tasks::source::Source;
use crate::limits::Limits;
use crate::protocol::{Command, FeedId, OkReply, Reply, Verb};

/// The pauses between checks whether the server has closed the lost connection: the first one and
/// the longest one. They double in between.
const CHECK_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long to wait for that, in timeouts. With the default timeout, that is longer than the five
/// minutes after which oyezd disconnects a peer that vanished.
const MAX_CHECK_TIMEOUTS: u32 = 6;

/// How often to ask for the newest sequence number while no line is unconfirmed. A later search
/// then starts after it, where the feed still has the lines.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

const CANNOT_TELL: &str = "cannot find out which lines were broadcast";

/// The lines on their way from standard input to the feed.
struct Publisher {
    server: String,
    timeout: Duration,
    skip_bad: bool,
    source: Source,
    queue: PublishQueue,
    phase: Phase,
    /// The feed of the last connection.
    feed: Option<FeedId>,
    /// Set while the server was seen to keep the lost connection open.
    wait: Option<Wait>,
    /// How many lines the server has sent since the last request before `Phase::Open`.
    reply_lines: usize,
    refresh_at: Instant,
    progress: Progress,
}

/// What happens on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Disconnected,
    /// `quiet` and `stats` were sent.
    Starting,
    /// The server was asked whether the lost connection is still open: it may yet execute its
    /// lines.
    Checking {
        is_open: bool,
    },
    /// It has, and is asked again at this time.
    Waiting {
        until: Instant,
    },
    /// The feed is replayed, to search for unconfirmed lines.
    Searching,
    /// Lines may be sent.
    Open,
}

/// Waiting for the server to close the lost connection.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    next_pause: Duration,
}

/// Sends every line of standard input and waits until each is confirmed. Success means that all
/// were broadcast in order, each once.
pub(crate) fn broadcast(session: &mut Session, skip_bad: bool) -> Result<(), Failure> {
    let mut publisher = Publisher {
        server: session.connection.server().to_string(),
        timeout: session.connection.dialer.options.timeout,
        skip_bad,
        source: Source::new(),
        queue: PublishQueue::default(),
        phase: Phase::Disconnected,
        feed: None,
        wait: None,
        reply_lines: 0,
        refresh_at: Instant::now(),
        progress: Progress::new(),
    };
    let result = publisher.run(session);
    publisher.progress.clear();
    result
}

impl Publisher {
    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            self.handle_events(session)?;
            self.source.fill(session);
            self.send_lines(session);
            if self.source.is_exhausted() && self.queue.remaining() == 0 {
                break;
            }
            self.send_due_requests(session);
            let (confirmed, remaining) = (self.queue.confirmed(), self.queue.remaining());
            self.progress.show(|| format!("{confirmed} lines broadcast, {remaining} pending"));
            let until = match self.phase {
                Phase::Waiting { until } => Some(until),
                Phase::Open => Some(self.refresh_at),
                _ => None,
            };
            match session.wait(until, self.source.wants_input()) {
                Err(Failure::Error(why)) => return Err(self.failure(&why)),
                result => result?,
            }
        }
        match self.source.stopped().map(str::to_owned) {
            None => Ok(()),
            Some(why) => Err(self.failure(&why)),
        }
    }

    fn handle_events(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            let commands = match session.connection.next_event(Instant::now()) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Connected(welcome))) => self.on_welcome(welcome)?,
                Ok(Some(Event::Received(incoming))) => self.on_line(&incoming)?,
                Ok(Some(Event::Disconnected { why, had_goodbye, .. })) => {
                    self.queue.on_disconnect(had_goodbye);
                    self.phase = Phase::Disconnected;
                    self.notice(&connection_lost(&self.server, &why));
                    vec![]
                }
                Ok(Some(Event::NameRefused(why))) => return Err(self.failure(&why)),
                Ok(Some(Event::Notice(text))) => {
                    self.notice(&text);
                    vec![]
                }
                Err(why) => {
                    let goodbye = session.connection.requests().and_then(RequestTracker::goodbye);
                    self.queue.on_disconnect(goodbye.is_some());
                    return Err(self.failure(&why));
                }
            };
            for command in commands {
                session.connection.send(&command, Owner::Task);
            }
        }
    }

    /// Handles a new connection. Returns the requests to send.
    fn on_welcome(&mut self, welcome: Welcome) -> Result<Vec<Command<'static>>, Failure> {
        let previous = self.feed.replace(welcome.feed);
        if !self.queue.on_welcome(welcome) {
            return Err(self.failure(&format!("{} was restarted", self.server)));
        }
        if let Some(previous) = previous {
            self.notice(&reconnected(&self.server));
            if previous != welcome.feed {
                self.notice("the server was restarted and no longer has the lines sent before");
            }
        }
        self.reply_lines = 0;
        self.phase = Phase::Starting;
        Ok(vec![Command::Quiet, Command::Stats])
    }

    /// Handles a line from the server. Returns the requests to send.
    fn on_line(&mut self, incoming: &Incoming<'_>) -> Result<Vec<Command<'static>>, Failure> {
        let is_broadcast = matches!(incoming.reply, Some(Reply::Broadcast { .. }));
        if self.phase != Phase::Open && !is_broadcast {
            self.reply_lines += 1;
            if self.reply_lines > MAX_REPLY_LINES {
                return Err(self.failure("the server's reply does not end"));
            }
        }
        let Some(reply) = incoming.reply else { return Ok(vec![]) };
        match (&mut self.phase, &reply) {
            (Phase::Starting, Reply::Stat { key: "max_line", value }) => {
                self.source.set_max_line(*value);
            }
            (Phase::Open, Reply::Stat { key: "feed_newest", value }) => {
                self.queue.note_newest(*value);
            }
            (Phase::Checking { is_open }, Reply::Client { id, .. }) => {
                *is_open |= Some(*id) == self.queue.lost_id();
            }
            (Phase::Searching, Reply::Broadcast { seq, from, text }) => {
                if let Err(why) = self.queue.on_replayed(*seq, from, text) {
                    return Err(self.failure(&why));
                }
            }
            (Phase::Searching, Reply::Lagged(_)) => {
                return Err(self.failure(&format!("{CANNOT_TELL}: the server skipped some")));
            }
            _ => {}
        }
        match incoming.completed {
            Some(completed) if completed.request.owner == Owner::Task => {
                self.on_reply(completed.request.verb, &reply)
            }
            _ => Ok(vec![]),
        }
    }

    /// Handles the final reply to a request. Returns the requests to send.
    fn on_reply(
        &mut self,
        verb: Verb,
        reply: &Reply<'_>,
    ) -> Result<Vec<Command<'static>>, Failure> {
        if let Reply::Error { code, explanation } = *reply {
            let why = explain(code, explanation);
            return match verb {
                Verb::Broadcast => {
                    let number = self.queue.refuse();
                    self.skip_or_stop(&format!("the server refused input line {number}: {why}"));
                    Ok(vec![])
                }
                Verb::Resume => Err(self.failure(&format!("{CANNOT_TELL}: {why}"))),
                _ => Err(self.failure(&why)),
            };
        }
        match (self.phase, verb) {
            (Phase::Starting, Verb::Stats) => {
                self.source.set_max_line(Limits::default().max_line as u64);
                if self.queue.lost_id().is_some() {
                    return Ok(self.check_lost_connection());
                }
                self.open();
            }
            (Phase::Checking { is_open: true }, Verb::Clients) => self.wait_for_close()?,
            (Phase::Checking { is_open: false }, Verb::Clients) => {
                self.phase = Phase::Searching;
                // `quiet` ends the replay at the feed's head: none of the lines can come later.
                let search = self.queue.search_request();
                return Ok(search.into_iter().chain([Command::Quiet]).collect());
            }
            (Phase::Searching, Verb::Quiet) => {
                self.queue.finish_search();
                self.open();
            }
            (Phase::Open, Verb::Broadcast) => {
                if let Reply::Ok(OkReply::Broadcast { seq }) | Reply::Broadcast { seq, .. } = *reply
                {
                    self.queue.confirm(seq);
                }
            }
            _ => {}
        }
        Ok(vec![])
    }

    fn open(&mut self) {
        self.phase = Phase::Open;
        self.wait = None;
        self.refresh_at = Instant::now() + REFRESH_INTERVAL;
    }

    /// Asks for the clients from the lost connection's id on: if it is still open, it comes first.
    fn check_lost_connection(&mut self) -> Vec<Command<'static>> {
        let after = self.queue.lost_id().and_then(|id| id.checked_sub(1));
        self.reply_lines = 0;
        self.phase = Phase::Checking { is_open: false };
        vec![Command::Clients { after: after.filter(|after| *after > 0) }]
    }

    /// The lost connection is still open at the server: checks again later, up to a limit.
    fn wait_for_close(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let wait = self.wait.get_or_insert(Wait { since: now, next_pause: CHECK_PAUSE.0 });
        if now.duration_since(wait.since) >= self.timeout * MAX_CHECK_TIMEOUTS {
            let why =
                "the server has not closed the lost connection, and may yet execute its lines";
            return Err(self.failure(why));
        }
        let pause = wait.next_pause;
        wait.next_pause = (pause * 2).min(CHECK_PAUSE.1);
        if pause < CHECK_PAUSE.1 && wait.next_pause == CHECK_PAUSE.1 {
            self.notice("waiting for the server to close the lost connection");
        }
        self.phase = Phase::Waiting { until: now + pause };
        Ok(())
    }

    /// Sends the requests whose time has come.
    fn send_due_requests(&mut self, session: &mut Session) {
        let now = Instant::now();
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                for command in self.check_lost_connection() {
                    session.connection.send(&command, Owner::Task);
                }
            }
            Phase::Open if self.refresh_at <= now => {
                if self.queue.remaining() == 0 {
                    session.connection.send(&Command::Stats, Owner::Task);
                }
                self.refresh_at = now + REFRESH_INTERVAL;
            }
            _ => {}
        }
    }

    /// Sends as many lines as there is room for: first those to be sent again, then new ones.
    fn send_lines(&mut self, session: &mut Session) {
        while self.phase == Phase::Open && session.connection.has_room() {
            if let Some(command) = self.queue.send_next() {
                session.connection.send(&command, Owner::Task);
                continue;
            }
            if !self.queue.has_room() {
                break;
            }
            match self.source.next_line() {
                Some(Ok((number, text))) => self.queue.add(number, text),
                Some(Err(why)) => self.skip_or_stop(&why),
                None => {
                    self.source.fill(session);
                    if self.source.wants_input() || self.source.is_exhausted() {
                        break;
                    }
                }
            }
        }
    }

    /// Handles a line that cannot be broadcast: skips it, or takes no more lines.
    fn skip_or_stop(&mut self, why: &str) {
        if self.skip_bad {
            self.notice(&format!("skipped: {why}"));
        } else {
            self.source.stop(format!("{why} (--skip-bad skips such lines)"));
        }
    }

    fn notice(&mut self, text: &str) {
        self.progress.clear();
        notice(text);
    }

    /// A failure that also says which lines were broadcast.
    fn failure(&mut self, why: &str) -> Failure {
        if self.source.is_started() {
            Failure::Error(format!("{why}; {}", self.queue.summary()))
        } else {
            Failure::Error(why.to_owned())
        }
    }
}
