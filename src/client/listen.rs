//! `oyez listen`: what is broadcast, line by line, for as long as there is a server.

use std::time::Instant;

use super::config::{Format, Listen};
use super::connection::Event;
use super::dial::Welcome;
use super::dialogue::{Asker, Heard};
use super::position::{Place, Position};
use super::standard::{Output, notice};
use super::{Failure, Session, format};
use crate::protocol::{Command, FeedId, Reply, Verb};

/// What is listened to, and how far it has come.
struct Listener {
    listen: Listen,
    position: Position,
    feed: Option<FeedId>,
    /// How many lines were printed.
    printed: u64,
    was_up: bool,
}

/// Prints what is broadcast until there was as much as asked for, or nobody reads it any more.
pub(super) fn listen(session: &mut Session, listen: Listen) -> Result<(), Failure> {
    let server = session.connection.server().to_string();
    let position = Position::default();
    let mut listener = Listener { listen, position, feed: None, printed: 0, was_up: false };
    while !listener.is_done() {
        let Session { connection, poll, output, .. } = &mut *session;
        let ask = match connection.next_event(poll.registry(), Instant::now())? {
            Some(Event::Up(welcome)) => listener.arrive(welcome, &server),
            Some(Event::Heard(heard)) => listener.hear(&heard, output)?,
            Some(Event::NameRefused(why)) => return Err(Failure::Said(why)),
            Some(Event::Down { why, .. }) => {
                notice(&format!("the connection to {server} is lost: {why}; trying again"));
                None
            }
            None => {
                session.wait(None, false)?;
                continue;
            }
        };
        if let Some(command) = ask {
            connection.say(&command, Asker::Upkeep);
        }
    }
    Ok(())
}

impl Listener {
    fn is_done(&self) -> bool {
        self.listen.count.is_some_and(|count| self.printed >= count)
    }

    /// Takes note of a connection: what is to be asked there.
    fn arrive(&mut self, welcome: Welcome, server: &str) -> Option<Command<'static>> {
        let arrival = self.position.arrive(welcome, self.listen.since);
        if self.was_up {
            notice(&format!("connected to {server} again"));
        }
        if let Some(text) = arrival.notice() {
            notice(text);
        }
        self.feed = Some(welcome.feed);
        self.was_up = true;
        arrival.ask
    }

    /// Prints the line, if it is one to be printed: what is to be asked because of it.
    fn hear(
        &mut self,
        heard: &Heard<'_>,
        output: &mut Output,
    ) -> Result<Option<Command<'static>>, Failure> {
        let Some(reply) = heard.reply else { return Ok(None) };
        match reply {
            _ if heard.answers.is_some_and(|question| question.verb == Verb::Resume) => {
                return self.resumed(&reply);
            }
            Reply::Broadcast { seq, .. } => {
                if self.position.take(seq) != Place::New {
                    return Ok(None);
                }
                self.printed += 1;
            }
            Reply::Direct { from, text } if self.listen.format == Format::Text => {
                notice(&format!("{from} to this client alone: {text}"));
            }
            Reply::Lagged(count) => notice(&format!("{count} lines were missed: read too slowly")),
            Reply::Direct { .. } => {}
            _ => return Ok(None),
        }
        format::print(self.listen.format, self.feed, heard.line, &reply, output.buffer());
        Ok(None)
    }

    fn resumed(&mut self, reply: &Reply<'_>) -> Result<Option<Command<'static>>, Failure> {
        let since = self.listen.since.filter(|_| self.printed == 0);
        if let (Some(since), Reply::Error { code, explanation }) = (since, reply) {
            return Err(Failure::Said(format!(
                "the lines after {since} cannot be had: {code} {explanation}"
            )));
        }
        let resumed = self.position.answer(reply);
        if let Some(text) = resumed.notice() {
            notice(&text);
        }
        Ok(resumed.ask())
    }
}
