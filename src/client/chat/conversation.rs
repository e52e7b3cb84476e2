//! The conversation with the server: typed lines become commands, and replies become messages.
//!
//! This module does not touch the terminal. It shows messages on a [`Screen`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::screen::Screen;
use super::slash_command::{self, HELP};
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Incoming, Owner};
use crate::client::connection::{Connection, Event};
use crate::client::messages::{connection_lost, explain, lagged, name_taken};
use crate::client::tasks::resume_cursor::{LineState, ResumeCursor};
use crate::protocol::{Command, ErrorCode, OkReply, Reply, Verb};

/// The maximum time to wait for the server's goodbye when quitting.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum length of [`Conversation::requests`].
const MAX_REQUESTS: usize = 100;

/// The maximum length of [`Conversation::senders`].
const MAX_SENDERS: usize = 100;

pub(super) struct Conversation {
    /// The server's address, for messages.
    server: String,
    cursor: ResumeCursor,
    /// When the conversation ends at the latest. `None` until the user quits.
    ends_at: Option<Instant>,
    /// The unanswered requests that are needed to show their replies, oldest first, each with its
    /// number on the current connection.
    requests: VecDeque<(u64, Request)>,
    /// Who sent the last lines, the last first.
    senders: VecDeque<String>,
}

/// What is kept of a request to show its reply.
enum Request {
    Ping { sent_at: Instant },
    Name(String),
    Send { to: String, text: String },
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
    /// Starts the conversation on the first connection, where there is nothing to resume.
    pub(super) fn new(server: String, welcome: Welcome, screen: &mut Screen) -> Self {
        let text = format!("connected to {server}; what you type goes to everybody; see /help");
        screen.notice(&text);
        let mut cursor = ResumeCursor::default();
        cursor.on_welcome(welcome, &server);
        Self { server, cursor, ends_at: None, requests: VecDeque::new(), senders: VecDeque::new() }
    }

    /// Returns the names of other clients, the one most recently heard from first.
    pub(super) fn names(&self) -> Vec<&str> {
        self.senders.iter().map(String::as_str).collect()
    }

    fn heard_from(&mut self, from: &str) {
        self.senders.retain(|sender| sender != from);
        self.senders.push_front(from.to_owned());
        self.senders.truncate(MAX_SENDERS);
    }

    pub(super) fn is_over(&self) -> bool {
        self.ends_at.is_some_and(|at| at <= Instant::now())
    }

    /// When to check [`is_over`](Self::is_over) even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.ends_at
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

    /// Executes a typed line. Returns false if it could not be sent and should stay in the editor.
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
            Ok([Command::Help]) => HELP.iter().for_each(|line| screen.notice(line)),
            Ok([Command::Quit]) => self.quit(connection),
            Ok(_) if !connection.has_room() || self.requests.len() >= MAX_REQUESTS => {
                screen.error("not sent: the server does not answer; press Enter to try again");
                return false;
            }
            Ok(commands) => {
                for command in commands {
                    let number = connection.send(command, Owner::Task);
                    self.requests.extend(number.zip(Request::new(command)));
                }
            }
        }
        true
    }

    /// Handles a connection event. Returns the command to send in response, if any.
    pub(super) fn on_event(
        &mut self,
        event: Event<'_>,
        screen: &mut Screen,
    ) -> Option<Command<'static>> {
        match event {
            Event::Connected(welcome) => {
                let step = self.cursor.on_welcome(welcome, &self.server);
                step.notices.iter().for_each(|text| screen.notice(text));
                return step.request;
            }
            Event::Received(line) => return self.on_line(&line, screen),
            Event::Notice(text) => screen.notice(&text),
            Event::NameRefused(text) => screen.error(&text),
            Event::Disconnected { .. } if self.ends_at.is_some() => self.end(),
            Event::Disconnected { why, has_unconfirmed, .. } => {
                self.requests.clear();
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
        if line.completes(Verb::Resume) {
            // `on_resume_reply` fails only if `since` is set, and a chat never sets it.
            let step = self.cursor.on_resume_reply(&reply).unwrap_or_default();
            step.notices.iter().for_each(|text| screen.notice(text));
            return step.request;
        }
        if line.completes_for(Owner::Connection) {
            return None;
        }
        match (reply, request.as_ref()) {
            // `history` replays lines on request, so duplicates are shown as well.
            (Reply::Broadcast { seq, .. }, _)
                if self.cursor.on_broadcast(seq) == LineState::Early => {}
            (Reply::Broadcast { text, .. }, _) if line.completes(Verb::Broadcast) => {
                screen.own_broadcast(text);
            }
            (Reply::Broadcast { from, text, .. }, _) => {
                self.heard_from(from);
                screen.broadcast(from, text);
            }
            (Reply::Direct { from, text }, _) => {
                self.heard_from(from);
                screen.direct(from, text);
            }
            (Reply::Ok(OkReply::Send { .. }), Some(Request::Send { to, text })) => {
                screen.own_direct(to, text);
            }
            (Reply::Lagged(count), _) => screen.error(&lagged(count)),
            (Reply::Error { code, explanation }, request) => {
                screen.error(&error_text(code, explanation, request));
            }
            (Reply::Goodbye(_), _) if line.completes(Verb::Quit) => self.end(),
            (reply, request) => screen.notice(&notice_text(reply, request)?),
        }
        None
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
        Some(Request::Name(name)) if code == ErrorCode::NAME_TAKEN.as_str() => name_taken(name),
        Some(Request::Send { to, .. }) if code == ErrorCode::NO_SUCH_CLIENT.as_str() => {
            format!("no such client: {to}; see /clients")
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
        (Reply::Client { id, name }, _) => format!("{id} {}", name.unwrap_or("(no name)")),
        (Reply::Ok(OkReply::Clients { shown, total }), _) => format!("{shown} of {total} clients"),
        (Reply::Ok(OkReply::Name { name }), _) => format!("you are now called {name}"),
        (Reply::Ok(OkReply::History { lines }), _) => match lines {
            0 => "there are no earlier lines".to_owned(),
            1 => "the last line:".to_owned(),
            lines => format!("the last {lines} lines:"),
        },
        _ => return None,
    })
}
