//! The conversation with the server: typed lines become commands, and replies become messages.
//!
//! This module does not touch the terminal. It shows messages on a [`Screen`].

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::mention::mentions;
use super::presence::Row;
use super::roster::Roster;
use super::screen::{Kind, Screen};
use super::slash_command::{self, Action};
use crate::cli::digits;
use crate::client::config::{ChatOptions, Start};
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Incoming, Owner};
use crate::client::connection::{Connection, Event};
use crate::client::messages::{connection_lost, explain, name_taken};
use crate::client::tasks::resume_cursor::{LineState, ResumeCursor, Step};
use crate::protocol::{Command, ErrorCode, FeedId, OkReply, Reply, Verb};

/// The maximum time to wait for the server's goodbye when quitting.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum length of [`Conversation::requests`].
const MAX_REQUESTS: usize = 100;

/// The pause between two requests for the list of clients.
const ROSTER_INTERVAL: Duration = Duration::from_secs(5);

/// The minimum pause before a new client's message causes a request.
const NEWCOMER_INTERVAL: Duration = Duration::from_secs(1);

/// The pause while there are too many clients to watch.
const CROWDED_INTERVAL: Duration = Duration::from_secs(60);

/// The bell rings for a message only if no other message for the user has arrived for this long, so
/// a flood rings it once.
const BELL_PAUSE: Duration = Duration::from_secs(3);

pub(super) struct Conversation {
    /// The server's address, for messages.
    server: String,
    feed: FeedId,
    cursor: ResumeCursor,
    /// Whether the first `resume`, which replays the last lines, has not been answered yet.
    is_joining: bool,
    /// The highest sequence number received on this connection. Broadcasts up to it are replayed.
    newest: u64,
    roster: Roster,
    /// When to request the list of clients. `None` while a request is pending, or if the list is not
    /// needed.
    ask_at: Option<Instant>,
    /// When the list of clients last arrived.
    listed_at: Option<Instant>,
    /// When the last mention or direct message arrived.
    alerted_at: Option<Instant>,
    /// When the conversation ends at the latest. `None` until the user quits.
    ends_at: Option<Instant>,
    /// The unanswered requests that are needed to show their replies, oldest first, each with its
    /// number on the current connection.
    requests: VecDeque<(u64, Request)>,
}

/// What is kept of a request to show its reply.
enum Request {
    Ping { sent_at: Instant },
    Name(String),
    Send { to: String, text: String },
    Who,
}

impl Request {
    /// Returns what must be kept to show the reply to `command`, or `None` if the reply is enough.
    fn new(command: &Command<'_>) -> Option<Self> {
        match *command {
            Command::Ping { .. } => Some(Self::Ping { sent_at: Instant::now() }),
            Command::Name { name } => Some(Self::Name(name.as_str().to_owned())),
            Command::Send { client, text } => {
                Some(Self::Send { to: client.as_str().to_owned(), text: text.to_owned() })
            }
            _ => None,
        }
    }
}

impl Conversation {
    /// Prepares for the first connection. It must be passed to [`on_event`](Self::on_event), too.
    pub(super) fn new(server: String, options: ChatOptions, welcome: Welcome) -> Self {
        let ChatOptions { history, presence } = options;
        Self {
            server,
            feed: welcome.feed,
            cursor: ResumeCursor::new(Start::Last(history)),
            is_joining: true,
            newest: 0,
            roster: Roster::new(presence),
            ask_at: None,
            listed_at: None,
            alerted_at: None,
            ends_at: None,
            requests: VecDeque::new(),
        }
    }

    /// Returns the names of the other clients that are here: message senders first, the
    /// most recent one at the front.
    pub(super) fn names(&self) -> Vec<&str> {
        self.roster.names()
    }

    pub(super) fn is_over(&self) -> bool {
        self.ends_at.is_some_and(|at| at <= Instant::now())
    }

    /// When to check [`is_over`](Self::is_over) and call
    /// [`send_due_request`](Self::send_due_request), even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.ends_at.or(self.ask_at)
    }

    /// Requests the list of clients, if it is time.
    pub(super) fn send_due_request(&mut self, connection: &mut Connection) {
        let now = Instant::now();
        if self.ends_at.is_some() || self.ask_at.is_none_or(|at| at > now) {
            return;
        }
        self.ask_at = match self.roster.request() {
            Some(_) if !connection.has_room() => Some(now + ROSTER_INTERVAL),
            Some(command) => {
                connection.send(&command, Owner::Connection);
                None
            }
            None => None,
        };
    }

    /// Ends the conversation immediately.
    pub(super) fn end(&mut self) {
        self.ends_at = Some(Instant::now());
    }

    /// Sends `quit` and waits for the server's goodbye. Ends immediately if there is no connection
    /// or if the user has quit before.
    pub(super) fn quit(&mut self, connection: &mut Connection) {
        let is_sent =
            self.ends_at.is_none() && connection.send(&Command::Quit, Owner::Task).is_some();
        let timeout = if is_sent { GOODBYE_TIMEOUT } else { Duration::ZERO };
        self.ends_at = Some(Instant::now() + timeout);
    }

    /// Executes a typed line. Returns false if the user must change it first.
    pub(super) fn submit(
        &mut self,
        text: &str,
        connection: &mut Connection,
        screen: &mut Screen,
    ) -> bool {
        if let Err(error) = slash_command::check(text) {
            screen.error(error);
            return false;
        }
        match slash_command::parse(text).as_deref() {
            Err(error) => screen.error(error),
            Ok([]) => {}
            Ok([Action::Help]) => slash_command::help().for_each(|line| screen.notice(&line)),
            Ok([Action::Quit]) => self.quit(connection),
            Ok([Action::Reply(_)]) if self.roster.reply_to().is_none() => {
                screen.error("nobody has sent you a direct message yet");
            }
            Ok(_) if connection.requests().is_none() => {
                screen.error("not sent: not connected; press Up and Enter to try again");
            }
            Ok(_) if !connection.has_room() || self.requests.len() >= MAX_REQUESTS => {
                screen
                    .error("not sent: the server does not answer; press Up and Enter to try again");
            }
            Ok(actions) => actions.iter().for_each(|action| self.send(*action, connection)),
        }
        true
    }

    /// Sends the command for an action, if there is one.
    fn send(&mut self, action: Action<'_>, connection: &mut Connection) {
        let line;
        let command = match action {
            Action::Send(command) => command,
            Action::Me(text) => {
                line = format!("/me {text}");
                Command::Broadcast { text: &line }
            }
            Action::Reply(text) => {
                let Some(client) = self.roster.reply_to() else { return };
                Command::Send { client, text }
            }
            Action::Who => Command::Clients { after: None },
            Action::Help | Action::Quit => return,
        };
        let request =
            if action == Action::Who { Some(Request::Who) } else { Request::new(&command) };
        let number = connection.send(&command, Owner::Task);
        self.requests.extend(number.zip(request));
    }

    /// Handles a connection event. Returns the command to send in response, if any.
    pub(super) fn on_event(
        &mut self,
        event: Event<'_>,
        screen: &mut Screen,
    ) -> Option<Command<'static>> {
        match event {
            Event::Connected(welcome) => {
                let is_restarted = mem::replace(&mut self.feed, welcome.feed) != welcome.feed;
                self.roster.on_connected(welcome.id, is_restarted);
                self.newest = welcome.seq;
                let step = self.cursor.on_welcome(welcome, &self.server);
                step.notices.iter().for_each(|notice| screen.notice(&notice.to_string()));
                return step.request;
            }
            Event::Received(line) => return self.on_line(&line, screen),
            Event::Notice(text) => screen.notice(&text),
            Event::NameRefused(text) => {
                screen.error(&text);
                screen.notice("choose a name with /nick");
            }
            Event::Disconnected { .. } if self.ends_at.is_some() => self.end(),
            Event::Disconnected { why, has_unconfirmed, .. } => {
                self.requests.clear();
                self.ask_at = None;
                screen.notice(&connection_lost(&self.server, &why));
                if has_unconfirmed {
                    screen.error("your last lines may not have been delivered");
                }
            }
        }
        None
    }

    /// Shows a line from the server. Returns the command to send in response, if any.
    fn on_line(&mut self, line: &Incoming<'_>, screen: &mut Screen) -> Option<Command<'static>> {
        let reply = line.reply?;
        let request = line.completed.and_then(|completed| self.take_request(completed.number));
        match reply {
            Reply::Ok(OkReply::Name { name }) => self.roster.on_name(name),
            Reply::Client { id, name } => self.roster.on_row(id, name),
            _ => {}
        }
        if line.completes(Verb::Resume) {
            return self.on_resume_reply(&reply, screen);
        }
        if line.completes_for(Owner::Connection) {
            if line.completes(Verb::Clients) {
                self.on_list(&reply, screen);
            }
            return None;
        }
        match (reply, request.as_ref()) {
            (Reply::Broadcast { seq, from, text }, _) => {
                let is_own = line.completes(Verb::Broadcast);
                self.on_broadcast(seq, from, text, is_own, screen);
            }
            (Reply::Direct { from, text }, _) => {
                screen.direct(from, text);
                self.alert(screen);
                self.roster.on_direct(from);
                self.ask_about(from);
            }
            (Reply::Ok(OkReply::Send { .. }), Some(Request::Send { to, text })) => {
                let name = digits(to).and_then(|id| self.roster.name_of(id));
                screen.own_direct(name.unwrap_or(to), text);
            }
            (Reply::Ok(OkReply::Clients { shown, total }), request) => {
                let rows = self.roster.take_rows();
                if let Some(Request::Who) = request {
                    screen.notice(&self.roster.long_list(&rows, total));
                } else {
                    for Row { id, name } in rows {
                        screen.notice(&format!("{id} {}", name.as_deref().unwrap_or("(no name)")));
                    }
                    screen.notice(&format!("{shown} of {total} clients"));
                }
            }
            (Reply::Lagged(count), _) => {
                // There is no gap if a pending `resume` replays the lines.
                if let Some(gap) = self.cursor.on_lagged(count) {
                    screen.error(&gap.to_string());
                }
            }
            (Reply::Error { code, explanation }, request) => {
                screen.error(&error_text(code, explanation, request));
            }
            (Reply::Goodbye(_), _) if line.completes(Verb::Quit) => self.end(),
            (reply, request) => screen.notice(&notice_text(reply, request)?),
        }
        None
    }

    fn on_resume_reply(
        &mut self,
        reply: &Reply<'_>,
        screen: &mut Screen,
    ) -> Option<Command<'static>> {
        // If the server refuses, the chat continues without the earlier lines.
        let step = self.cursor.on_resume_reply(reply).unwrap_or_else(|error| {
            screen.error(&error);
            Step::default()
        });
        step.notices.iter().for_each(|notice| screen.notice(&notice.to_string()));
        if step.request.is_none() {
            // The server has accepted the client and replayed the lines.
            if mem::take(&mut self.is_joining) {
                let server = &self.server;
                screen.notice(&format!(
                    "connected to {server}; your lines go to everybody; see /help"
                ));
            }
            self.ask_at = Some(Instant::now());
        }
        step.request
    }

    /// Handles the final reply to the chat's own request for the list of clients.
    fn on_list(&mut self, reply: &Reply<'_>, screen: &mut Screen) {
        // An error, such as missing rights, ends the requests.
        let Reply::Ok(OkReply::Clients { total, .. }) = *reply else { return };
        self.roster.on_list(total).iter().for_each(|text| screen.notice(text));
        self.listed_at = Some(Instant::now());
        let interval = if self.roster.is_crowded() { CROWDED_INTERVAL } else { ROSTER_INTERVAL };
        self.ask_at = Some(Instant::now() + interval);
    }

    fn on_broadcast(
        &mut self,
        seq: u64,
        from: &str,
        text: &str,
        is_own: bool,
        screen: &mut Screen,
    ) {
        let is_replayed = seq <= self.newest;
        self.newest = seq.max(self.newest);
        // `history` replays lines on request, so duplicates are shown as well.
        if self.cursor.on_broadcast(seq) == LineState::Early {
            return;
        }
        if is_own {
            return screen.broadcast(Kind::Own, &self.roster.own_sender(), text);
        }
        self.roster.on_message(from);
        let is_mention = self.roster.own_name().is_some_and(|name| mentions(text, name));
        let kind = if is_mention { Kind::Mention } else { Kind::Other };
        if is_replayed {
            return screen.replayed_broadcast(kind, from, text);
        }
        screen.broadcast(kind, from, text);
        if is_mention {
            self.alert(screen);
        }
        self.ask_about(from);
    }

    /// Requests the list of clients soon if this sender is not on the last one, so that the chat
    /// shows promptly that it has joined.
    fn ask_about(&mut self, from: &str) {
        if let (Some(ask_at), Some(listed_at)) = (self.ask_at, self.listed_at)
            && self.roster.is_new(from)
        {
            self.ask_at = Some(ask_at.min(listed_at + NEWCOMER_INTERVAL));
        }
    }

    /// Rings the bell for a message to the user.
    fn alert(&mut self, screen: &mut Screen) {
        let now = Instant::now();
        let last = self.alerted_at.replace(now);
        if last.is_none_or(|last| now - last >= BELL_PAUSE) {
            screen.ring();
        }
    }

    /// Removes and returns the request with this number. Drops earlier requests: replies arrive in
    /// order, so they will receive none.
    fn take_request(&mut self, number: u64) -> Option<Request> {
        let end = self.requests.partition_point(|(sent, _)| *sent <= number);
        let (sent, request) = self.requests.drain(..end).next_back()?;
        (sent == number).then_some(request)
    }
}

fn error_text(code: &str, explanation: &str, request: Option<&Request>) -> String {
    match request {
        Some(Request::Name(name)) if code == ErrorCode::NAME_TAKEN.as_str() => {
            format!("{} with /nick", name_taken(name))
        }
        Some(Request::Send { to, .. }) if code == ErrorCode::NO_SUCH_CLIENT.as_str() => {
            match digits::<u64>(to) {
                Some(id) => format!("nobody with the id {id} is here; see /clients"),
                None => format!("nobody called {to} is here; /who shows who is"),
            }
        }
        _ => explain(code, explanation),
    }
}

/// Formats the notice for a reply. Returns `None` if the chat does not show it.
fn notice_text(reply: Reply<'_>, request: Option<&Request>) -> Option<String> {
    Some(match (reply, request) {
        (Reply::Pong(_), Some(Request::Ping { sent_at })) => {
            let ms = sent_at.elapsed().as_secs_f64() * 1000.0;
            format!("the server answered in {ms:.1} ms")
        }
        (Reply::Ok(OkReply::Name { name }), _) => format!("you are now called {name}"),
        (Reply::Ok(OkReply::History { lines }), _) => match lines {
            0 => "there are no earlier lines".to_owned(),
            1 => "the last line:".to_owned(),
            lines => format!("the last {lines} lines:"),
        },
        _ => return None,
    })
}
