//! The connection to the server: handshake, keep-alive, and reconnecting with backoff.

pub(crate) mod address;
mod backoff;
pub(crate) mod dial;
pub(crate) mod link;
mod name_claim;
pub(crate) mod options;
pub(crate) mod requests;

use std::time::{Duration, Instant};

use mio::Events;

use crate::client::messages::{explain, explain_goodbye, not_a_server};
use crate::escape::escape_untrusted;
use crate::protocol::{Command, OkReply, Reply, Verb};
use address::ServerAddress;
use backoff::Backoff;
use dial::{Dial, DialError, Dialer, Welcome};
use link::Link;
use name_claim::NameClaim;
use requests::{Incoming, Owner, RequestTracker};

/// A connection that lasted this long, or that delivered a broadcast, resets the backoff.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Something that the task must know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The server has sent its welcome.
    Connected(Welcome),
    /// The server refused the name, and why.
    NameRefused(String),
    /// Something to tell the user.
    Notice(String),
    /// The server has sent a line.
    Received(Incoming<'a>),
    /// The connection is lost, and will be made again.
    Disconnected {
        /// Why, in a few words.
        why: String,
        /// Some lines to others were not confirmed.
        has_unconfirmed: bool,
        /// The server said goodbye: requests that it had not answered were not executed.
        had_goodbye: bool,
    },
}

/// A connection that outlives its sockets.
///
/// Each turn, call [`flush`](Self::flush), poll until [`next_deadline`](Self::next_deadline)
/// (without waiting if [`has_work`](Self::has_work)), and call [`transfer`](Self::transfer), then
/// [`next_event`](Self::next_event) until it returns `None`.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) dialer: Dialer,
    state: State,
    backoff: Backoff,
    name: NameClaim,
    /// The server was reached once, so failing to reach it later is no reason to give up.
    was_connected: bool,
}

#[derive(Debug)]
enum State {
    /// Wait, then dial.
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
    has_broadcast: bool,
    /// When the number of pending requests last became more than zero.
    pending_since: Instant,
}

impl Connection {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self {
            name: NameClaim::new(dialer.options.name.clone()),
            dialer,
            state: State::Down { until: Instant::now() },
            backoff: Backoff::default(),
            was_connected: false,
        }
    }

    pub(crate) fn server(&self) -> &ServerAddress {
        &self.dialer.options.server
    }

    fn up(&self) -> Option<&Up> {
        if let State::Up(up) = &self.state { Some(up) } else { None }
    }

    /// The requests on this connection, or `None` while it is not connected.
    pub(crate) fn requests(&self) -> Option<&RequestTracker> {
        self.up().map(|up| &up.requests)
    }

    /// Whether the task may send: the client is signed in, and the queues have room.
    pub(crate) fn has_room(&self) -> bool {
        self.up().is_some_and(|up| {
            up.requests.is_signed_in() && up.link.has_room() && up.requests.has_room()
        })
    }

    /// Sends a command if connected. Returns its number among the connection's requests.
    pub(crate) fn send(&mut self, command: &Command<'_>, owner: Owner) -> Option<u64> {
        let State::Up(up) = &mut self.state else { return None };
        Some(up.send(command, owner, Instant::now()))
    }

    fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Down { .. } => None,
            State::Dialing(dial) => dial.link(),
            State::Up(up) => Some(&mut up.link),
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&mut self) {
        if let Some(link) = self.link() {
            link.flush();
        }
    }

    /// Takes the events of a poll that returned at `now`, then writes and reads once.
    pub(crate) fn transfer(&mut self, events: &Events, buffer: &mut [u8], now: Instant) {
        if let Some(link) = self.link() {
            link.transfer(events, buffer, now);
        }
    }

    /// Whether to call [`transfer`](Self::transfer) without waiting for events.
    pub(crate) fn has_work(&self) -> bool {
        match &self.state {
            State::Down { .. } => false,
            State::Dialing(dial) => dial.has_work(),
            State::Up(up) => up.link.may_read(),
        }
    }

    /// When to call [`next_event`](Self::next_event) even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Down { until } => Some(*until),
            State::Dialing(dial) => dial.next_deadline(),
            State::Up(up) => {
                let options = &self.dialer.options;
                let next = if up.requests.has_pending() {
                    Some(up.waiting_since() + options.timeout)
                } else {
                    options
                        .reconnect
                        .then(|| up.link.last_line_at() + options.keep_alive_interval())
                };
                [next, self.name.next_deadline()].into_iter().flatten().min()
            }
        }
    }

    /// Returns the next event. The error says in one line why the connection is given up.
    pub(crate) fn next_event(&mut self, now: Instant) -> Result<Option<Event<'_>>, String> {
        if let State::Down { until } = self.state
            && until <= now
        {
            match self.dialer.dial() {
                Ok(dial) => self.state = State::Dialing(Box::new(dial)),
                Err(error) => return self.dial_later(error, now).map(|()| None),
            }
        }
        if let State::Dialing(dial) = &mut self.state {
            return match self.dialer.advance(dial, now) {
                Ok(None) => Ok(None),
                Ok(Some((welcome, link))) => {
                    self.start(welcome, link, now);
                    Ok(Some(Event::Connected(welcome)))
                }
                Err(error) => self.dial_later(error, now).map(|()| None),
            };
        }
        self.send_due_requests(now);
        let State::Up(up) = &mut self.state else { return Ok(None) };
        match up.link.next_line() {
            Ok(true) => self.on_line(now),
            Ok(false) if up.is_overdue(self.dialer.options.timeout) => {
                let seconds = self.dialer.options.timeout.as_secs();
                self.on_end(format!("no answer from the server for {seconds} s"), now)
            }
            Ok(false) => match up.link.end().map(ToString::to_string) {
                Some(end) => self.on_end(end, now),
                // Nothing follows a goodbye, even if the socket stays open.
                None if up.requests.goodbye().is_some() => self.on_end(String::new(), now),
                None => Ok(None),
            },
            Err(sent) => Err(not_a_server(self.server(), &sent)),
        }
    }

    /// Dials again after a pause, unless that cannot help or the server was never reached.
    fn dial_later(&mut self, error: DialError, now: Instant) -> Result<(), String> {
        if error.is_permanent || !self.was_connected || !self.dialer.options.reconnect {
            return Err(error.message);
        }
        self.state = State::Down { until: now + self.backoff.next_pause() };
        Ok(())
    }

    /// Starts to use a link that has received its welcome: authenticates and takes the name.
    fn start(&mut self, welcome: Welcome, link: Link, now: Instant) {
        let mut up = Up {
            link,
            requests: RequestTracker::new(welcome.id, welcome.seq),
            since: now,
            has_broadcast: false,
            pending_since: now,
        };
        for command in self.dialer.auth().into_iter().chain(self.name.on_connect()) {
            up.send(&command, Owner::Connection, now);
        }
        self.was_connected = true;
        self.state = State::Up(Box::new(up));
    }

    /// Handles the line that the link has moved to.
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
        up.has_broadcast |= matches!(
            incoming.reply,
            Some(Reply::Broadcast { .. } | Reply::Ok(OkReply::Broadcast { .. }))
        );
        let event = Ok(Some(Event::Received(incoming)));
        let Some(request) = incoming.completed.map(|completed| completed.request) else {
            return event;
        };
        match (request.verb, request.owner, incoming.reply) {
            (Verb::Name, _, Some(Reply::Ok(_))) => self.name.on_granted(up.requests.name()),
            (Verb::Auth, Owner::Connection, Some(Reply::Error { code, explanation })) => {
                let why = explain(code, explanation);
                return Err(format!("{server} rejected the secret: {why}"));
            }
            (Verb::Name, Owner::Connection, Some(Reply::Error { code, explanation })) => {
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

    /// Sends what is due at this time: a keep-alive, or the next request for the name.
    fn send_due_requests(&mut self, now: Instant) {
        let State::Up(up) = &mut self.state else { return };
        let options = &self.dialer.options;
        let idle = up.link.drained_at().saturating_duration_since(up.link.last_line_at());
        if options.reconnect && !up.requests.has_pending() && idle >= options.keep_alive_interval()
        {
            up.send(&Command::Ping { text: None }, Owner::Connection, now);
        }
        if let Some(command) = self.name.poll_retry(now) {
            up.send(&command, Owner::Connection, now);
        }
    }

    /// Handles the end of the connection; a goodbye's reason takes precedence over `why`.
    fn on_end(&mut self, why: String, now: Instant) -> Result<Option<Event<'static>>, String> {
        let State::Up(up) = &self.state else { return Ok(None) };
        let goodbye = up.requests.goodbye();
        // With a secret, an auth-timeout means that the network was slow: retry.
        if goodbye == Some("auth-failed")
            || goodbye == Some("auth-timeout") && self.dialer.auth().is_none()
        {
            return Err(format!("{} requires a secret; use --secret-file FILE", self.server()));
        }
        let had_goodbye = goodbye.is_some();
        let why = goodbye.map_or(why, explain_goodbye);
        let has_unconfirmed = up.requests.has_unconfirmed();
        if !self.dialer.options.reconnect {
            return Err(format!("{}: {why}", self.server()));
        }
        if up.has_broadcast
            || goodbye == Some("idle")
            || now.duration_since(up.since) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        self.state = State::Down { until: now + self.backoff.next_pause() };
        Ok(Some(Event::Disconnected { why, has_unconfirmed, had_goodbye }))
    }
}

impl Up {
    fn send(&mut self, command: &Command<'_>, owner: Owner, now: Instant) -> u64 {
        if !self.requests.has_pending() {
            self.pending_since = now;
        }
        command.encode(self.link.unsent());
        self.requests.sent(command, owner)
    }

    /// Since when the server has been silent while requests were pending.
    fn waiting_since(&self) -> Instant {
        self.pending_since.max(self.link.last_line_at())
    }

    fn is_overdue(&self, timeout: Duration) -> bool {
        self.requests.has_pending() && self.link.drained_at() >= self.waiting_since() + timeout
    }
}
