//! The conversation with the server: typed lines become commands, and replies become messages.
//!
//! This module does not touch the terminal. It hands each message to a [`Show`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::screen::{LEGEND, Message};
use super::slash_command::{HELP, SlashCommand};
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Asker, Heard};
use crate::client::connection::{Connection, Event};
use crate::client::messages::{explain, lost};
use crate::client::tasks::resume_cursor::{Place, ResumeCursor};
use crate::protocol::{Command, ErrorCode, OkReply, Reply, Verb};

/// How long quitting waits for the server's goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum length of [`Conversation::requests`].
const MAX_REQUESTS: usize = 100;

/// Displays a message.
pub(super) type Show<'a> = &'a mut dyn FnMut(Message<'_>);

pub(super) struct Conversation {
    /// The server's address, for messages.
    server: String,
    cursor: ResumeCursor,
    phase: Phase,
    /// Unanswered requests, oldest first, with their numbers on the current connection. Commands
    /// whose replies say it all are left out.
    requests: VecDeque<(u64, Request)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Talking,
    /// `quit` was sent, and the goodbye has not arrived yet.
    Quitting {
        deadline: Instant,
    },
    Over,
}

/// What is needed to show the answer to a request.
enum Request {
    Ping { sent_at: Instant },
    Name { name: String },
    Send { to: String, text: String },
}

impl Request {
    /// Returns `None` for commands whose replies say it all.
    fn new(command: &Command<'_>, now: Instant) -> Option<Self> {
        match *command {
            Command::Ping { .. } => Some(Self::Ping { sent_at: now }),
            Command::Name { name } => Some(Self::Name { name: name.as_str().to_owned() }),
            Command::Send { client, text } => {
                Some(Self::Send { to: client.as_str().to_owned(), text: text.to_owned() })
            }
            _ => None,
        }
    }
}

impl Conversation {
    /// Starts on the first connection, which has nothing to resume.
    pub(super) fn new(server: String, welcome: Welcome, show: Show<'_>) -> Self {
        let text = format!("connected to {server}; what you type goes to everybody; see /help");
        show(Message::Notice(&text));
        let mut cursor = ResumeCursor::default();
        cursor.arrive(welcome);
        Self { server, cursor, phase: Phase::Talking, requests: VecDeque::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Returns when [`expire`](Self::expire) must run next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Quitting { deadline } => Some(deadline),
            Phase::Talking | Phase::Over => None,
        }
    }

    /// Ends the conversation if the goodbye is late.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.end();
        }
    }

    /// Ends the conversation without a goodbye.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
    }

    /// Sends `quit` and waits for the server's goodbye. Ends at once if there is no connection, or
    /// if this was called before.
    pub(super) fn quit(&mut self, connection: &mut Connection) {
        self.phase = match self.phase {
            Phase::Talking if connection.say(&Command::Quit, Asker::Task).is_some() => {
                Phase::Quitting { deadline: Instant::now() + GOODBYE_TIMEOUT }
            }
            _ => Phase::Over,
        };
    }

    /// Executes a typed line. Returns false if it could not be sent and should stay in the editor.
    pub(super) fn submit(
        &mut self,
        text: &str,
        connection: &mut Connection,
        show: Show<'_>,
    ) -> bool {
        match SlashCommand::parse(text) {
            SlashCommand::Empty => {}
            SlashCommand::Help => {
                HELP.iter().chain(&LEGEND).for_each(|line| show(Message::Notice(line)));
            }
            SlashCommand::Quit => self.quit(connection),
            SlashCommand::Invalid(error) => show(Message::Error(&error)),
            SlashCommand::Send(_)
                if !connection.has_room() || self.requests.len() >= MAX_REQUESTS =>
            {
                let error = "not sent: the server does not answer; press Enter to try again";
                show(Message::Error(error));
                return false;
            }
            SlashCommand::Send(commands) => {
                for command in commands {
                    let request = Request::new(&command, Instant::now());
                    let number = connection.say(&command, Asker::Task);
                    self.requests.extend(number.zip(request));
                }
            }
        }
        true
    }

    /// Handles an event of the connection. Returns a command to send in response.
    pub(super) fn on_event(
        &mut self,
        event: Event<'_>,
        show: Show<'_>,
    ) -> Option<Command<'static>> {
        match event {
            Event::Up(welcome) => {
                let arrival = self.cursor.arrive(welcome);
                for text in arrival.notices(&self.server) {
                    show(Message::Notice(&text));
                }
                return arrival.ask;
            }
            Event::Heard(line) => return self.on_line(&line, show),
            Event::NameHeld(text) => show(Message::Notice(&text)),
            Event::NameRefused(text) => show(Message::Error(&text)),
            Event::Down { .. } if self.phase != Phase::Talking => self.end(),
            Event::Down { why, has_unconfirmed, .. } => {
                self.requests.clear();
                show(Message::Notice(&lost(&self.server, &why)));
                if has_unconfirmed {
                    show(Message::Error("your last lines may not have been delivered"));
                }
            }
        }
        None
    }

    /// Shows a line from the server. Returns a command to send in response.
    fn on_line(&mut self, line: &Heard<'_>, show: Show<'_>) -> Option<Command<'static>> {
        let reply = line.reply?;
        let request = line.answers.and_then(|answered| self.take_request(answered.number));
        if line.answers(Verb::Resume) {
            let resumed = self.cursor.answer(&reply);
            if let Some(text) = resumed.notice() {
                show(Message::Notice(&text));
            }
            return resumed.ask();
        }
        if line.answers_to(Asker::Upkeep) {
            return None;
        }
        match reply {
            // `history` repeats lines on request, so those that were seen before are shown again.
            Reply::Broadcast { seq, .. } if self.cursor.take(seq) == Place::Early => {}
            Reply::Broadcast { text, .. } if line.answers(Verb::Broadcast) => {
                show(Message::OwnBroadcast { text });
            }
            Reply::Broadcast { from, text, .. } => show(Message::Broadcast { from, text }),
            Reply::Direct { from, text } => show(Message::Direct { from, text }),
            Reply::Ok(OkReply::Send { .. }) => {
                if let Some(Request::Send { to, text }) = &request {
                    show(Message::OwnDirect { to, text });
                }
            }
            Reply::Lagged(count) => {
                let lines = if count == 1 { "line" } else { "lines" };
                let text = format!("missed {count} {lines} here: this client read too slowly");
                show(Message::Error(&text));
            }
            Reply::Error { code, explanation } => {
                show(Message::Error(&error_text(code, explanation, request.as_ref())));
            }
            Reply::Goodbye(_) if line.answers(Verb::Quit) => self.end(),
            _ => show(Message::Notice(&notice_text(&reply, request.as_ref())?)),
        }
        None
    }

    /// Removes and returns the request with this number. Answers arrive in order, so requests
    /// before it will get none and are dropped.
    fn take_request(&mut self, number: u64) -> Option<Request> {
        while let Some((first, _)) = self.requests.front()
            && *first <= number
        {
            let (first, request) = self.requests.pop_front()?;
            if first == number {
                return Some(request);
            }
        }
        None
    }
}

fn error_text(code: &str, explanation: &str, request: Option<&Request>) -> String {
    let is = |error: ErrorCode| code == error.as_str();
    match request {
        Some(Request::Name { name }) if is(ErrorCode::NameTaken) => {
            format!("somebody is already called {name}; choose another name")
        }
        Some(Request::Send { to, .. }) if is(ErrorCode::NoSuchClient) => {
            format!("no such client: {to}; see /clients")
        }
        _ => explain(code, explanation),
    }
}

/// Returns what to tell the user of a reply, or `None` if the chat has no use for it.
fn notice_text(reply: &Reply<'_>, request: Option<&Request>) -> Option<String> {
    Some(match (*reply, request) {
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
