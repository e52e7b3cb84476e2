//! The way to the server: found, kept, and found again.

pub(crate) mod address;
mod backoff;
pub(crate) mod dial;
pub(crate) mod link;
pub(crate) mod options;
pub(crate) mod requests;

use std::time::{Duration, Instant};

use mio::event::Event as PollEvent;
use mio::{Registry, Token};

use crate::client::messages::{explain, explain_goodbye, not_a_server};
use crate::credentials::secret::Secret;
use crate::credentials::secret_file;
use crate::escape::escape_untrusted;
use crate::net::tls::ClientTls;
use crate::protocol::{Command, ErrorCode, Name, OkReply, Reply, Verb};
use address::ServerAddress;
use backoff::Backoff;
use dial::{Dial, Outcome, Welcome};
use link::Link;
use options::ConnectOptions;
use requests::{Asker, Heard, RequestTracker};

/// A name that somebody has, most likely one's own connection that the server still believes in, is
/// asked for again this often.
const NAME_PAUSE: Duration = Duration::from_secs(2);

/// A connection that lasted so long, or over which anything was broadcast, was a success.
const LASTING: Duration = Duration::from_secs(5);

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// There is a connection, and this is its welcome.
    Up(Welcome),
    /// The name was not given, and why.
    NameRefused(String),
    /// The name that this client had before is somebody else's, and is asked for again and again.
    NameHeld(String),
    /// The server said something.
    Heard(Heard<'a>),
    /// The connection is lost, and will be tried again.
    Down {
        /// Why, in a few words.
        why: String,
        /// Something was said of which it is not known whether it has arrived.
        has_unconfirmed: bool,
        /// The server has said that it ends: what it has not answered before was not carried out.
        had_goodbye: bool,
    },
}

/// The connection, through all its lives.
///
/// Call [`note`](Self::note) with the poll's events, [`turn`](Self::turn), then
/// [`next_event`](Self::next_event) until there is none, and poll until
/// [`next_deadline`](Self::next_deadline).
#[derive(Debug)]
pub(crate) struct Connection {
    route: ConnectOptions,
    secret: Option<Secret>,
    tls: Option<ClientTls>,
    registry: Registry,
    token: Token,
    state: State,
    backoff: Backoff,
    /// It was this client's before.
    had_name: bool,
    was_up: bool,
}

#[derive(Debug)]
enum State {
    /// To be tried now.
    Down,
    /// Waits to be tried again.
    Pausing { until: Instant },
    /// One address after the other is tried.
    Dialing(Box<Dial>),
    /// The server has said welcome.
    Up(Box<Up>),
    /// The same, and nobody but the task makes anything of what is said.
    Bare(Box<Link>),
}

#[derive(Debug)]
struct Up {
    link: Link,
    dialogue: RequestTracker,
    since: Instant,
    ask_name_at: Option<Instant>,
    /// The user was told that it is asked for again.
    is_name_held: bool,
    /// Something that was broadcast has come.
    has_broadcast: bool,
    /// When the first of the questions was asked that have waited since without an end.
    asked_at: Instant,
}

impl Connection {
    /// Events come from this registry's poll, with this token. The error is one line that says what is
    /// wrong with the files of a secret or of certificates.
    pub(crate) fn new(
        route: ConnectOptions,
        registry: Registry,
        token: Token,
    ) -> Result<Self, String> {
        let secret = route.secret_file.as_deref().map(secret_file::read).transpose()?;
        let host = route.server.certified_name();
        let tls = route.tls.as_ref().map(|config| ClientTls::new(host, config)).transpose()?;
        Ok(Self {
            route,
            secret,
            tls,
            registry,
            token,
            state: State::Down,
            backoff: Backoff::default(),
            had_name: false,
            was_up: false,
        })
    }

    pub(crate) fn server(&self) -> &ServerAddress {
        &self.route.server
    }

    /// How long an answer is waited for.
    pub(crate) fn timeout(&self) -> Duration {
        self.route.timeout
    }

    /// The dialogue, while there is a connection.
    pub(crate) fn dialogue(&self) -> Option<&RequestTracker> {
        match &self.state {
            State::Up(up) => Some(&up.dialogue),
            _ => None,
        }
    }

    /// Whether a task may say something: it is in, and not too much waits to be sent or answered.
    pub(crate) fn has_room(&self) -> bool {
        match &self.state {
            State::Up(up) => {
                up.dialogue.is_let_in() && up.link.has_room() && up.dialogue.has_room()
            }
            _ => false,
        }
    }

    /// Sends a command, if there is a connection: which of its questions this is.
    pub(crate) fn say(&mut self, command: &Command<'_>, asker: Asker) -> Option<u64> {
        match &mut self.state {
            State::Up(up) => Some(up.say(command, asker, Instant::now())),
            _ => None,
        }
    }

    /// Gives up making anything of what is said, once there is a connection: from now on the task
    /// deals with the link alone.
    pub(crate) fn lay_bare(&mut self) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Up(up) => self.state = State::Bare(Box::new(up.link)),
            state => self.state = state,
        }
    }

    /// The link that there is now.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Up(up) => Some(&mut up.link),
            State::Dialing(dial) => dial.link(),
            State::Bare(link) => Some(link),
            State::Down | State::Pausing { .. } => None,
        }
    }

    pub(crate) fn note(&mut self, event: &PollEvent) {
        if let Some(link) = self.link() {
            link.note(event);
        }
    }

    /// Writes what can be.
    pub(crate) fn flush(&mut self) {
        if let Some(link) = self.link() {
            link.flush();
        }
    }

    /// Writes and reads what can be.
    pub(crate) fn turn(&mut self, input: &mut [u8], now: Instant) {
        if let Some(link) = self.link() {
            link.turn(input, now);
        }
    }

    /// Whether there is something to do at once.
    pub(crate) fn has_work(&self) -> bool {
        match &self.state {
            State::Down => true,
            State::Pausing { .. } => false,
            State::Dialing(dial) => dial.has_work(),
            State::Up(up) => up.link.has_more(),
            State::Bare(link) => link.has_more(),
        }
    }

    /// When [`next_event`](Self::next_event) should be called, whatever happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Down | State::Bare(_) => None,
            State::Pausing { until } => Some(*until),
            State::Dialing(dial) => dial.next_deadline(),
            State::Up(up) => {
                let overdue = up.waits_since().map(|since| since + self.route.timeout);
                let ping = (self.route.reconnect && !up.dialogue.is_waiting())
                    .then(|| up.link.last_heard() + self.route.silence_before_ping());
                [overdue, ping, up.ask_name_at].into_iter().flatten().min()
            }
        }
    }

    /// What has happened. The error is one line that says why there is no going on.
    pub(crate) fn next_event(&mut self, now: Instant) -> Result<Option<Event<'_>>, String> {
        if let State::Pausing { until } = self.state
            && until <= now
        {
            self.state = State::Down;
        }
        if let State::Down = self.state {
            self.begin_dialing(now)?;
        }
        if let State::Dialing(_) = self.state {
            return self.dial(now).map(|welcome| welcome.map(Event::Up));
        }
        self.keep_alive(now);
        let State::Up(up) = &mut self.state else { return Ok(None) };
        match up.link.next_line() {
            Ok(true) => self.hear(now),
            Ok(false) if up.is_overdue(self.route.timeout) => {
                let seconds = self.route.timeout.as_secs();
                self.lose(format!("the server has not answered for {seconds} s"), now)
            }
            Ok(false) => match up.link.end().map(ToString::to_string) {
                Some(end) => self.lose(end, now),
                // Nothing comes after a goodbye, whatever keeps the connection from its end.
                None if up.dialogue.goodbye().is_some() => self.lose(String::new(), now),
                None => Ok(None),
            },
            Err(nonsense) => Err(not_a_server(&self.route.server, &nonsense)),
        }
    }

    fn begin_dialing(&mut self, now: Instant) -> Result<(), String> {
        let found = self.route.server.resolve();
        let endpoints = match found {
            Ok(endpoints) => endpoints,
            Err(error) => return self.unreachable(&error, "is it spelt right?", now),
        };
        let is_in_the_clear = self.tls.is_none() && !self.route.insecure;
        if self.secret.is_some()
            && is_in_the_clear
            && let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.is_remote())
        {
            return Err(format!(
                "the secret would go over the network to {endpoint} for everybody to read; \
                 --tls encrypts it, and --insecure sends it all the same"
            ));
        }
        let dial = Dial::new(endpoints, self.tls.clone(), self.token, self.route.timeout);
        self.state = State::Dialing(Box::new(dial));
        Ok(())
    }

    /// Goes on with trying: the welcome, once it has come.
    fn dial(&mut self, now: Instant) -> Result<Option<Welcome>, String> {
        let State::Dialing(dial) = &mut self.state else { return Ok(None) };
        match dial.advance(&self.registry, now) {
            Outcome::Waits => Ok(None),
            Outcome::Welcomed(welcome) => {
                self.enter(welcome, now);
                Ok(Some(welcome))
            }
            Outcome::Failed { why, is_nobody_there } => {
                let advice = match is_nobody_there {
                    true => self.route.server.advice(),
                    false => "try again later".to_owned(),
                };
                self.unreachable(&why, &advice, now).map(|()| None)
            }
            Outcome::Untrusted(why) => {
                Err(format!("no encrypted connection to {}: {why}", self.route.server))
            }
            Outcome::Nonsense(said) => {
                let why = not_a_server(&self.route.server, &said);
                // What there is instead of a server that was there may be gone soon.
                if self.was_up { self.unreachable(&why, "", now).map(|()| None) } else { Err(why) }
            }
        }
    }

    /// Makes the connection out of the one that has said welcome.
    fn enter(&mut self, welcome: Welcome, now: Instant) {
        let State::Dialing(dial) = std::mem::replace(&mut self.state, State::Down) else { return };
        let Some(link) = dial.into_link() else { return };
        let mut up = Up {
            link,
            dialogue: RequestTracker::new(welcome.id, welcome.seq),
            since: now,
            ask_name_at: None,
            is_name_held: false,
            has_broadcast: false,
            asked_at: now,
        };
        if let Some(secret) = &self.secret {
            up.say(&Command::Auth { secret: secret.as_str() }, Asker::Upkeep, now);
        }
        if let Some(name) = self.route.name.as_deref().and_then(Name::parse) {
            up.say(&Command::Name { name }, Asker::Upkeep, now);
        }
        self.was_up = true;
        self.state = State::Up(Box::new(up));
    }

    /// What the line means that was just found.
    fn hear(&mut self, now: Instant) -> Result<Option<Event<'_>>, String> {
        let State::Up(up) = &mut self.state else { return Ok(None) };
        let heard = match up.dialogue.hear(up.link.line()) {
            Ok(heard) => heard,
            Err(nonsense) => {
                let nonsense = format!("{nonsense}: {}", escape_untrusted(up.link.line(), 80));
                return Err(not_a_server(&self.route.server, &nonsense));
            }
        };
        up.has_broadcast |= matches!(
            heard.reply,
            Some(Reply::Broadcast { .. } | Reply::Ok(OkReply::Broadcast { .. }))
        );
        let event = Ok(Some(Event::Heard(heard)));
        let Some(answered) = heard.answers else { return event };
        let (question, server) = (answered.question, &self.route.server);
        match (question.verb, question.asker, heard.reply) {
            (Verb::Name, _, Some(Reply::Ok(_))) => {
                self.route.name = up.dialogue.name().map(str::to_owned);
                self.had_name = true;
                event
            }
            (Verb::Auth, Asker::Upkeep, Some(Reply::Error { code, explanation })) => {
                Err(format!("{server} does not take the secret: {code} {explanation}"))
            }
            (Verb::Name, Asker::Upkeep, Some(Reply::Error { code, explanation })) => {
                if code == ErrorCode::NameTaken.as_str() && self.had_name {
                    up.ask_name_at = Some(now + NAME_PAUSE);
                    if std::mem::replace(&mut up.is_name_held, true) {
                        return event;
                    }
                    let name = self.route.name.as_deref().unwrap_or_default();
                    let held = format!("the name {name} is still taken, and is asked for again");
                    return Ok(Some(Event::NameHeld(held)));
                }
                let name = self.route.name.take().unwrap_or_default();
                let why = explain(code, explanation);
                Ok(Some(Event::NameRefused(format!("the name {name} was refused: {why}"))))
            }
            _ => event,
        }
    }

    fn keep_alive(&mut self, now: Instant) {
        let State::Up(up) = &mut self.state else { return };
        if self.route.reconnect
            && !up.dialogue.is_waiting()
            && up.link.silence() >= self.route.silence_before_ping()
        {
            up.say(&Command::Ping { text: None }, Asker::Upkeep, now);
        }
        if up.ask_name_at.is_some_and(|at| at <= now) {
            up.ask_name_at = None;
            if let Some(name) = self.route.name.as_deref().and_then(Name::parse) {
                up.say(&Command::Name { name }, Asker::Upkeep, now);
            }
        }
    }

    /// Ends a connection that is lost.
    fn lose(&mut self, end: String, now: Instant) -> Result<Option<Event<'static>>, String> {
        let State::Up(up) = &self.state else { return Ok(None) };
        let goodbye = up.dialogue.goodbye();
        let may_know = self.secret.is_some() && goodbye == Some("auth-timeout");
        if let Some("auth-timeout" | "auth-failed") = goodbye
            && !may_know
        {
            return Err(format!(
                "{} asks for a secret (--secret-file FILE gives it)",
                self.route.server
            ));
        }
        let had_goodbye = goodbye.is_some();
        let why = goodbye.map_or(end, explain_goodbye);
        let has_unconfirmed = up.dialogue.has_unconfirmed();
        if !self.route.reconnect {
            return Err(format!("{}: {why}", self.route.server));
        }
        if up.has_broadcast || goodbye == Some("idle") || now.duration_since(up.since) >= LASTING {
            self.backoff.reset();
        }
        self.state = State::Pausing { until: now + self.backoff.pause() };
        Ok(Some(Event::Down { why, has_unconfirmed, had_goodbye }))
    }

    /// There is no way there. `advice` says what to do about it.
    fn unreachable(&mut self, why: &str, advice: &str, now: Instant) -> Result<(), String> {
        if self.was_up && self.route.reconnect {
            self.state = State::Pausing { until: now + self.backoff.pause() };
            return Ok(());
        }
        let server = &self.route.server;
        // Where the address is the name, it need not be said twice.
        let why = why.strip_prefix(&format!("{server}: ")).unwrap_or(why);
        Err(format!("cannot reach {server}: {why}; {advice}"))
    }
}

impl Up {
    fn say(&mut self, command: &Command<'_>, asker: Asker, now: Instant) -> u64 {
        if !self.dialogue.is_waiting() {
            self.asked_at = now;
        }
        command.encode(self.link.unsent());
        self.dialogue.ask(command, asker)
    }

    /// Since when the server owes an answer, and is silent.
    fn waits_since(&self) -> Option<Instant> {
        self.dialogue.is_waiting().then(|| self.asked_at.max(self.link.last_heard()))
    }

    fn is_overdue(&self, timeout: Duration) -> bool {
        self.waits_since().is_some_and(|since| self.link.found_empty() >= since + timeout)
    }
}
