//! `oyez broadcast -`: broadcasts every line of standard input, in order and exactly once.
//!
//! To deduplicate after a reconnect, the publisher waits until the server has closed the lost
//! connection, and then searches the feed for the lines that arrived over it.

use std::mem;
use std::time::{Duration, Instant};

use crate::client::config::InputOptions;
use crate::client::connection::Event;
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Incoming, Owner};
use crate::client::failure::Failure;
use crate::client::messages::{OTHER_FEED, connection_lost, explain, reconnected, refused};
use crate::client::session::Session;
use crate::client::stdio::{Progress, notice};
use crate::client::tasks::ask::MAX_REPLY_LINES;
use crate::client::tasks::publish_queue::PublishQueue;
use crate::client::tasks::source::Source;
use crate::limits::Limits;
use crate::protocol::{Command, ErrorClass, ErrorCode, FeedId, OkReply, Reply, Verb};

/// The first and the maximum pause between checks of whether the server has closed the lost
/// connection. The pause doubles after each check.
const CHECK_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The maximum time to wait for the server to close the lost connection, in multiples of
/// `--timeout`. With the default of 60 s, this is longer than the five minutes after which oyezd
/// drops a vanished peer.
const MAX_CHECK_TIMEOUTS: u32 = 6;

/// How often to request the newest sequence number while no line is unconfirmed. A later search
/// then starts after it, so the feed is more likely to still have the lines.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

const SLOW_SERVER: &str =
    "if the server has a --rate-limit, it may delay its answers; use a longer --timeout";

/// Why a client with a name cannot deduplicate after a reconnect.
const NAMED: &str =
    "not reconnecting with --name, because another client may have taken the name meanwhile";

const CANNOT_TELL: &str = "cannot find out which lines were broadcast";

/// Publishes the lines of standard input.
struct Publisher {
    server: String,
    has_name: bool,
    timeout: Duration,
    skip_bad: bool,
    source: Source,
    queue: PublishQueue,
    phase: Phase,
    /// The requests of this phase that have not been sent yet.
    requests: Vec<Command<'static>>,
    /// The number of lines received in this phase, not counting broadcasts.
    reply_lines: usize,
    /// The feed of the last connection.
    feed: Option<FeedId>,
    /// Set from the first check that finds the lost connection open until lines are sent again.
    wait: Option<Wait>,
    /// The user was told about [`SLOW_SERVER`].
    is_advised: bool,
    progress: Progress,
}

/// The publisher's state on the current connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Disconnected,
    /// Requesting quiet mode and the maximum line length.
    Starting,
    /// Checking whether the lost connection is still open. If so, the server may still execute its
    /// lines.
    Checking {
        is_open: bool,
    },
    /// The lost connection is still open. The next check is due at this time.
    Waiting {
        until: Instant,
    },
    /// Replaying the feed, and searching it for unconfirmed lines.
    Searching,
    /// Sending lines.
    Open {
        refresh_at: Instant,
    },
}

/// Waiting for the server to close the lost connection.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    next_pause: Duration,
}

/// Sends every line of standard input and waits until all are confirmed. Success means that all
/// lines except skipped ones were broadcast, in order and exactly once. A failure also reports
/// which lines were broadcast.
pub(crate) fn broadcast(session: &mut Session, input: &InputOptions) -> Result<(), Failure> {
    let mut publisher = Publisher {
        server: session.connection.server().to_string(),
        has_name: session.connection.dialer.options.name.is_some(),
        timeout: session.connection.dialer.options.timeout,
        // An escaped line can still be too long.
        skip_bad: input.skip_bad || input.escape_bad,
        source: Source::new(input.escape_bad),
        queue: PublishQueue::default(),
        phase: Phase::Disconnected,
        requests: vec![],
        reply_lines: 0,
        feed: None,
        wait: None,
        is_advised: false,
        progress: Progress::new(),
    };
    let result = publisher.run(session);
    publisher.progress.clear();
    match result {
        Err(Failure::Error(why)) if publisher.source.taken > 0 => {
            Err(Failure::Error(format!("{why}; {}", publisher.queue.summary())))
        }
        result => result,
    }
}

impl Publisher {
    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            self.handle_deadline(Instant::now());
            self.handle_events(session)?;
            self.source.fill(session);
            self.send_lines(session);
            let (confirmed, remaining) = (self.queue.confirmed(), self.queue.remaining());
            if remaining == 0 && self.source.is_exhausted() {
                return self.source.stopped.take().map_or(Ok(()), |why| Err(why.into()));
            }
            self.progress.show(|| format!("{confirmed} lines broadcast, {remaining} pending"));
            session.wait(self.next_deadline(), self.source.wants_input())?;
        }
    }

    /// Sends requests and handles events until there are none left.
    fn handle_events(&mut self, session: &mut Session) -> Result<(), String> {
        loop {
            for command in self.requests.drain(..) {
                session.connection.send(&command, Owner::Task);
            }
            let Some(event) = session.connection.next_event(Instant::now())? else {
                return Ok(());
            };
            match event {
                Event::Connected(welcome) => self.on_welcome(welcome)?,
                Event::Received(incoming) => {
                    if let Some(why) = self.on_line(&incoming)? {
                        session.connection.reconnect(why);
                    }
                }
                Event::Disconnected { why, .. } if self.has_name => {
                    return Err(format!("{}: {why}; {NAMED}", self.server));
                }
                Event::Disconnected { why, is_timeout, .. } => {
                    self.queue.on_disconnect(false);
                    self.enter(Phase::Disconnected);
                    self.notice(&connection_lost(&self.server, &why));
                    if is_timeout && !mem::replace(&mut self.is_advised, true) {
                        self.notice(SLOW_SERVER);
                    }
                }
                Event::NameRefused(why) => return Err(why),
                Event::Notice(text) => self.notice(&text),
            }
        }
    }

    fn on_welcome(&mut self, welcome: Welcome) -> Result<(), String> {
        let previous = self.feed.replace(welcome.feed);
        if !self.queue.on_welcome(welcome) {
            return Err(format!("{CANNOT_TELL}: {OTHER_FEED}"));
        }
        if let Some(previous) = previous {
            self.notice(&reconnected(&self.server));
            if previous != welcome.feed {
                self.notice(&format!("{OTHER_FEED}; it does not have the lines sent so far"));
            }
        }
        self.enter(Phase::Starting);
        Ok(())
    }

    /// Handles a line from the server. Returns a reason to reconnect, if retrying over another
    /// connection may help.
    fn on_line(&mut self, incoming: &Incoming<'_>) -> Result<Option<String>, String> {
        let is_broadcast = matches!(incoming.reply, Some(Reply::Broadcast { .. }));
        if !is_broadcast && !self.is_open() {
            self.reply_lines += 1;
            if self.reply_lines > MAX_REPLY_LINES {
                return Err("the server's reply does not end".to_owned());
            }
        }
        let Some(reply) = incoming.reply else { return Ok(None) };
        let request = incoming.completed.filter(|request| request.owner == Owner::Task);
        match (self.phase, reply, request.and_then(|request| request.verb)) {
            (_, Reply::Goodbye(_), _) => {
                self.queue.on_disconnect(true);
                self.enter(Phase::Disconnected);
            }
            (_, Reply::Error { code, explanation }, Some(verb)) => {
                return self.on_error(verb, code, explanation);
            }
            (Phase::Starting, Reply::Stat { key: "max_line", value }, _) => {
                self.source.set_max_line(value);
            }
            (Phase::Starting, _, Some(Verb::Stats)) => {
                self.source.set_max_line(Limits::default().max_line as u64);
                match self.queue.lost_id() {
                    Some(_) => self.enter(Phase::Checking { is_open: false }),
                    None => self.open(),
                }
            }
            (Phase::Checking { .. }, Reply::Client { id, .. }, _)
                if Some(id) == self.queue.lost_id() =>
            {
                self.phase = Phase::Checking { is_open: true };
            }
            (Phase::Checking { is_open: true }, _, Some(Verb::Clients)) => self.wait_for_close()?,
            (Phase::Checking { is_open: false }, _, Some(Verb::Clients)) => {
                self.enter(Phase::Searching);
            }
            (Phase::Searching, Reply::Broadcast { seq, from, text }, _) => {
                self.queue.on_replayed(seq, from, text)?;
            }
            (Phase::Searching, Reply::Lagged(_), _) => {
                return Err(format!("{CANNOT_TELL}: the server skipped some of them"));
            }
            (Phase::Searching, _, Some(Verb::Quiet)) => {
                self.queue.finish_search();
                self.open();
            }
            (
                Phase::Open { .. },
                Reply::Ok(OkReply::Broadcast { seq }) | Reply::Broadcast { seq, .. },
                Some(Verb::Broadcast),
            ) => self.queue.confirm(seq),
            (Phase::Open { .. }, Reply::Stat { key: "feed_newest", value }, _) => {
                self.queue.note_newest(value);
            }
            _ => {}
        }
        Ok(None)
    }

    /// Handles the `error` reply to a request. Returns a reason to reconnect, if retrying over
    /// another connection may help.
    fn on_error(
        &mut self,
        verb: Verb,
        code: &str,
        explanation: &str,
    ) -> Result<Option<String>, String> {
        let why = explain(code, explanation);
        let known = ErrorCode::parse(code);
        let class = known.map(ErrorCode::class);
        if verb == Verb::Resume
            && (known == Some(ErrorCode::GONE) || class != Some(ErrorClass::Transient))
        {
            return Err(format!("{CANNOT_TELL}: {why}"));
        }
        if verb != Verb::Broadcast {
            return if class == Some(ErrorClass::Transient) { Ok(Some(why)) } else { Err(why) };
        }
        let number = self.queue.oldest_sent();
        let why = refused(&format!("input line {number}"), code, explanation);
        if class == Some(ErrorClass::Transient) {
            // Sending the line again now would change the order, because later lines were already
            // sent. After a reconnect, the search for unconfirmed lines detects whether they were
            // broadcast.
            return Ok(Some(why));
        }
        self.queue.refuse();
        if class != Some(ErrorClass::Line) || !self.skip_bad {
            self.queue.stop();
        }
        match class {
            Some(ErrorClass::Line) => self.skip_or_stop(&why),
            // Later lines would be refused, too, and --skip-bad is only for bad lines.
            _ => self.source.stop(why),
        }
        Ok(None)
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.reply_lines = 0;
        self.requests = match phase {
            Phase::Starting => vec![Command::Quiet, Command::Stats],
            Phase::Checking { .. } => {
                // Start the list at the lost connection's id. If that connection is still open, it
                // is the first entry.
                let after = self.queue.lost_id().map(|id| id.saturating_sub(1));
                vec![Command::Clients { after: after.filter(|after| *after > 0) }]
            }
            Phase::Searching => {
                // `quiet` ends the replay at the feed's head. No line of the closed connection can
                // follow it.
                self.queue.search_request().into_iter().chain([Command::Quiet]).collect()
            }
            Phase::Disconnected | Phase::Waiting { .. } | Phase::Open { .. } => vec![],
        };
    }

    fn open(&mut self) {
        self.wait = None;
        self.enter(Phase::Open { refresh_at: Instant::now() + REFRESH_INTERVAL });
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Handles a check that found the lost connection open. Schedules the next check, or fails at
    /// the time limit.
    fn wait_for_close(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let wait = self.wait.get_or_insert(Wait { since: now, next_pause: CHECK_PAUSE.0 });
        if now.duration_since(wait.since) >= self.timeout * MAX_CHECK_TIMEOUTS {
            let why =
                "the server has not closed the lost connection, and may yet execute its lines";
            return Err(why.to_owned());
        }
        let pause = wait.next_pause;
        wait.next_pause = (pause * 2).min(CHECK_PAUSE.1);
        if pause < CHECK_PAUSE.1 && wait.next_pause == CHECK_PAUSE.1 {
            self.notice("waiting for the server to close the lost connection");
        }
        self.enter(Phase::Waiting { until: now + pause });
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until: at } | Phase::Open { refresh_at: at } => Some(at),
            _ => None,
        }
    }

    fn handle_deadline(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.is_open() {
            self.open();
            if self.queue.remaining() == 0 {
                self.requests.push(Command::Stats);
            }
        } else {
            self.enter(Phase::Checking { is_open: false });
        }
    }

    /// Sends lines while there is room: first lines to send again, then new ones.
    fn send_lines(&mut self, session: &mut Session) {
        while self.is_open() && session.connection.has_room() {
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
                None => break,
            }
        }
    }

    /// Handles a line that cannot be broadcast: skips it, or stops reading lines.
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
}
