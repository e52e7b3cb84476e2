//! The connection to the server: handshake, keep-alive, and reconnecting with backoff.

pub(crate) mod address;
mod backoff;
pub(crate) mod dial;
pub(crate) mod ending;
pub(crate) mod error;
mod first_use;
mod known_servers;
pub(crate) mod link;
mod name_claim;
pub(crate) mod options;
mod outage;
pub(crate) mod requests;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::messages::{no_answer, not_a_server, reason};
use crate::escape::escape_untrusted;
use crate::protocol::{Command, ErrorCode, OkReply, Reply, Verb};
use address::ServerAddress;
use backoff::Backoff;
use dial::{Dial, Dialer, Welcome};
use ending::Ending;
use error::{Cause, LinkError};
use link::Link;
use name_claim::NameClaim;
use options::ConnectOptions;
use outage::Outage;
use requests::{Incoming, Owner, RequestTracker};

/// A connection that lasts this long resets the backoff. So do a broadcast and `goodbye idle`.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// The maximum pause between attempts before the first connection. It is short, because a client
/// that waits for the server to start misses lines that are broadcast during the pause.
const MAX_PAUSE_BEFORE_START: Duration = Duration::from_secs(2);

/// An event for the task to handle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The server has sent its welcome.
    Connected(Welcome),
    /// The server refused the name. The text is an error for the user.
    NameRefused(String),
    /// A notice for the user.
    Notice(String),
    /// The server has sent a line.
    Received(Incoming<'a>),
    /// The connection was lost. An attempt to reconnect follows.
    Disconnected {
        /// The reason, for the user.
        why: String,
        /// Whether a broadcast or a direct message is unconfirmed.
        has_unconfirmed: bool,
        /// Whether the server did not answer in time.
        is_timeout: bool,
    },
}

/// The connection to the server, across reconnects.
///
/// Each turn, flush the [`link`](Self::link), poll until [`next_deadline`](Self::next_deadline),
/// let the link transfer, and call [`next_event`](Self::next_event) until it returns `None`.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) dialer: Dialer,
    state: State,
    backoff: Backoff,
    name: NameClaim,
    /// Whether the task is useless without authentication, if the server requires it. If so, a
    /// client without a secret exits at the welcome instead of waiting for the server's time limit.
    pub(crate) needs_auth: bool,
    /// The current outage. Not used while connected.
    outage: Outage,
}

#[derive(Debug)]
enum State {
    /// Waiting to dial.
    Down {
        until: Instant,
    },
    Dialing(Box<Dial>),
    Up(Box<Up>),
}

/// A connection on which the server has sent its welcome.
#[derive(Debug)]
struct Up {
    link: Link,
    requests: RequestTracker,
    since: Instant,
    /// When the wait for the next reply began: when the last request was answered, or when a request
    /// was sent while none was pending.
    waiting_since: Instant,
}

impl Connection {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self {
            name: NameClaim::new(dialer.options.name.clone()),
            dialer,
            state: State::Down { until: Instant::now() },
            backoff: Backoff::default(),
            needs_auth: false,
            outage: Outage::new(Instant::now(), false),
        }
    }

    pub(crate) fn server(&self) -> &ServerAddress {
        &self.dialer.options.server
    }

    fn up(&self) -> Option<&Up> {
        if let State::Up(up) = &self.state { Some(up) } else { None }
    }

    /// Returns the requests on this connection, or `None` while it is not connected.
    pub(crate) fn requests(&self) -> Option<&RequestTracker> {
        self.up().map(|up| &up.requests)
    }

    /// Returns whether the client is connected and the server has accepted its secret, if it has
    /// one.
    #[cfg(feature = "chat")]
    pub(crate) fn is_authenticated(&self) -> bool {
        self.requests().is_some_and(RequestTracker::is_authenticated)
    }

    /// Returns whether the task may send: the client is signed in, and the queues have room.
    pub(crate) fn has_room(&self) -> bool {
        self.up().is_some_and(|up| {
            up.requests.is_signed_in() && up.link.has_room() && up.requests.has_room()
        })
    }

    /// Queues a command if connected. Returns its number among the connection's requests.
    pub(crate) fn send(&mut self, command: &Command<'_>, owner: Owner) -> Option<u64> {
        let State::Up(up) = &mut self.state else { return None };
        Some(up.send(command, owner, Instant::now()))
    }

    /// Gives up the current connection for this reason, as if it were lost.
    pub(crate) fn reconnect(&mut self, why: String) {
        if let State::Up(up) = &mut self.state {
            up.requests.end(Ending::Refused(why));
        }
    }

    /// Returns the current socket, if there is one.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Down { .. } => None,
            State::Dialing(dial) => dial.link(),
            State::Up(up) => Some(&mut up.link),
        }
    }

    /// Hands over the socket and its requests to a task that handles the server's lines itself.
    pub(crate) fn take_link(&mut self) -> Option<(Link, RequestTracker)> {
        let down = State::Down { until: Instant::now() };
        match std::mem::replace(&mut self.state, down) {
            State::Up(up) => Some((up.link, up.requests)),
            _ => None,
        }
    }

    /// When to call [`next_event`](Self::next_event) even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Down { until } => Some(*until),
            State::Dialing(dial) => dial.next_deadline(),
            State::Up(up) => {
                let deadlines = [up.deadline(&self.dialer.options), self.name.next_deadline()];
                deadlines.into_iter().flatten().min()
            }
        }
    }

    /// Returns the next event, or `None` if there is none yet. The error is one line that says why
    /// the client gives up.
    pub(crate) fn next_event(&mut self, now: Instant) -> Result<Option<Event<'_>>, String> {
        if let State::Down { until } = self.state
            && until <= now
        {
            match self.dialer.dial() {
                Ok(dial) => self.state = State::Dialing(Box::new(dial)),
                Err(error) => return self.dial_later(&error, now),
            }
        }
        if let State::Dialing(dial) = &mut self.state {
            return match self.dialer.advance(dial, now) {
                Ok(None) => {
                    let hint = self.dialer.poll_hint(dial, self.outage.was_connected, now);
                    Ok(hint.and_then(|hint| self.outage.on_hint(hint)).map(Event::Notice))
                }
                Ok(Some((_, link)))
                    if self.needs_auth
                        && self.dialer.auth().is_none()
                        && asks_for_secret(link.line()) =>
                {
                    Err(requires_secret(self.server()))
                }
                Ok(Some((welcome, link))) => {
                    self.start(welcome, link, now);
                    Ok(Some(Event::Connected(welcome)))
                }
                Err(error) => self.dial_later(&error, now),
            };
        }
        self.send_due_requests(now);
        let State::Up(up) = &mut self.state else { return Ok(None) };
        let options = &self.dialer.options;
        let why = if let Some(ending) = up.requests.ending() {
            // Expect nothing more, even if the socket stays open.
            ending.explain()
        } else if up.link.next_line().map_err(|sent| not_a_server(&options.server, &sent))? {
            return self.on_line(now);
        } else if up.has_timed_out(options) {
            no_answer(options.timeout)
        } else if let Some(end) = &up.link.end {
            end.why.clone()
        } else {
            return Ok(None);
        };
        self.on_end(why, now)
    }

    /// Schedules another attempt to dial. Returns a notice with the reason of the failure, if it is
    /// new, or the error if the options do not allow a retry.
    fn dial_later(
        &mut self,
        error: &LinkError,
        now: Instant,
    ) -> Result<Option<Event<'static>>, String> {
        let options = &self.dialer.options;
        let (may_retry, max_pause) = match self.outage.was_connected {
            true => (options.reconnect, Duration::MAX),
            false => (options.wait && error.cause.is_temporary(), MAX_PAUSE_BEFORE_START),
        };
        if !self.outage.was_connected
            && let Cause::UnknownCertificate(certificate) = error.cause
            && self.dialer.ask_to_trust(certificate)?
        {
            self.state = State::Down { until: now };
            return Ok(None);
        }
        if !may_retry {
            return Err(error.to_string());
        }
        self.state = State::Down { until: now + self.backoff.next_pause().min(max_pause) };
        Ok(self.outage.on_failure(error, now).map(Event::Notice))
    }

    /// Starts to use a link that has received its welcome: requests authentication and the name.
    fn start(&mut self, welcome: Welcome, link: Link, now: Instant) {
        let requests = RequestTracker::new(welcome.id, welcome.seq);
        let mut up = Up { link, requests, since: now, waiting_since: now };
        for command in self.dialer.auth().into_iter().chain(self.name.on_connect()) {
            up.send(&command, Owner::Connection, now);
        }
        self.outage = Outage::new(now, true);
        self.state = State::Up(Box::new(up));
    }

    /// Handles the link's current line.
    fn on_line(&mut self, now: Instant) -> Result<Option<Event<'_>>, String> {
        let server = &self.dialer.options.server;
        let State::Up(up) = &mut self.state else { return Ok(None) };
        let incoming = match up.requests.on_line(up.link.line()) {
            Ok(incoming) => incoming,
            Err(error) => {
                let sent = format!("{error}: {}", escape_untrusted(up.link.line(), 80));
                return Err(not_a_server(server, &sent));
            }
        };
        if let Some(Reply::Broadcast { .. } | Reply::Ok(OkReply::Broadcast { .. })) = incoming.reply
        {
            self.backoff.reset();
        }
        let event = Ok(Some(Event::Received(incoming)));
        let Some(request) = incoming.completed else { return event };
        up.waiting_since = now;
        match (request.verb, request.owner, incoming.reply) {
            (Some(Verb::Name), _, Some(Reply::Ok(_))) => self.name.on_granted(up.requests.name()),
            (Some(Verb::Auth), Owner::Connection, Some(Reply::Error { code, explanation })) => {
                return Err(rejected_secret(&self.dialer.options, code, explanation));
            }
            (Some(Verb::Resume), Owner::Connection, Some(Reply::Error { code, .. }))
                if code == ErrorCode::AUTH_REQUIRED.as_str() =>
            {
                return Err(requires_secret(server));
            }
            (Some(Verb::Name), Owner::Connection, Some(Reply::Error { code, explanation })) => {
                match self.name.on_refused(code, explanation, now) {
                    Ok(None) => {}
                    Ok(Some(notice)) => return Ok(Some(Event::Notice(notice))),
                    Err(why) => return Ok(Some(Event::NameRefused(why))),
                }
            }
            _ => {}
        }
        event
    }

    /// Sends a keep-alive `ping` or another request for the name, if one is due.
    fn send_due_requests(&mut self, now: Instant) {
        let State::Up(up) = &mut self.state else { return };
        if !up.requests.has_pending() && up.is_overdue(&self.dialer.options) {
            up.send(&Command::Ping { text: None }, Owner::Connection, now);
        }
        if let Some(command) = self.name.poll_retry(now) {
            up.send(&command, Owner::Connection, now);
        }
    }

    /// Handles the end of the connection.
    fn on_end(&mut self, why: String, now: Instant) -> Result<Option<Event<'static>>, String> {
        let State::Up(up) = &self.state else { return Ok(None) };
        let goodbye = up.requests.goodbye();
        // With a secret, an auth-timeout means that the network was slow, so a retry can succeed.
        if goodbye == Some("auth-failed")
            || goodbye == Some("auth-timeout") && self.dialer.auth().is_none()
        {
            return Err(requires_secret(self.server()));
        }
        if !self.dialer.options.reconnect || goodbye.is_some_and(is_final) {
            return Err(format!("{}: {why}", self.server()));
        }
        let has_unconfirmed = up.requests.has_unconfirmed();
        let is_timeout = up.requests.ending().is_none() && up.has_timed_out(&self.dialer.options);
        self.outage = Outage::new(now, true);
        if goodbye == Some("idle") || now.duration_since(up.since) >= STABLE_AFTER {
            self.backoff.reset();
        }
        self.state = State::Down { until: now + self.backoff.next_pause() };
        Ok(Some(Event::Disconnected { why, has_unconfirmed, is_timeout }))
    }
}

/// Returns whether this welcome line says that the client must authenticate first.
fn asks_for_secret(welcome: &str) -> bool {
    match Reply::parse(welcome) {
        // Later versions give no id before a client has authenticated.
        Some(Reply::Welcome { id, hint, .. }) => id == 0 || hint.starts_with("auth "),
        _ => false,
    }
}

/// Returns whether a client must not reconnect after a goodbye with this reason. The current server
/// never sends `kicked`, but a later version may.
fn is_final(reason: &str) -> bool {
    matches!(reason, "quit" | "kicked" | "auth-failed")
}

fn requires_secret(server: &ServerAddress) -> String {
    format!("{server} requires a secret; use --secret-file FILE")
}

fn rejected_secret(options: &ConnectOptions, code: &str, explanation: &str) -> String {
    let file = options.secret_file.as_deref().unwrap_or(Path::new("")).display();
    let rejected = format!("{} rejected the secret in {file}", options.server);
    rejected
        + &match ErrorCode::parse(code) {
            Some(ErrorCode::AUTH_FAILED) => "; ask the operator for the right one".to_owned(),
            Some(ErrorCode::NOT_ALLOWED) => {
                format!(": {}; leave out --secret-file", reason(code, explanation))
            }
            _ => format!(": {}", reason(code, explanation)),
        }
}

impl Up {
    fn send(&mut self, command: &Command<'_>, owner: Owner, now: Instant) -> u64 {
        if !self.requests.has_pending() {
            self.link.silent_since = now;
            self.waiting_since = now;
        }
        command.encode(&mut self.link.unsent);
        self.requests.sent(command, owner)
    }

    /// When the server has been silent, or has not replied, for too long. If a request is pending,
    /// the connection then counts as lost. Otherwise a keep-alive `ping` is due, which also restarts
    /// the server's idle timeout.
    fn deadline(&self, options: &ConnectOptions) -> Option<Instant> {
        if self.requests.awaits_keep_alive() {
            // On a slow network, many lines may precede the reply.
            Some(self.link.silent_since + options.timeout)
        } else if self.requests.has_pending() {
            Some(self.waiting_since + options.timeout)
        } else {
            options.reconnect.then(|| self.link.silent_since + options.timeout / 4)
        }
    }

    fn has_timed_out(&self, options: &ConnectOptions) -> bool {
        self.requests.has_pending() && self.is_overdue(options)
    }

    fn is_overdue(&self, options: &ConnectOptions) -> bool {
        self.deadline(options).is_some_and(|deadline| deadline <= self.link.drained_at)
    }
}
