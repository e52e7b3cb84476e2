//! `oyez listen`: prints what is broadcast, and resumes after every reconnect.

use std::time::Instant;

use crate::client::config::{Format, Listen};
use crate::client::connection::Event;
use crate::client::connection::requests::{Incoming, Owner};
use crate::client::failure::Failure;
use crate::client::messages::{connection_lost, explain, lagged};
use crate::client::session::Session;
use crate::client::stdio::{Output, notice};
use crate::client::tasks::format;
use crate::client::tasks::resume_cursor::{LineState, ResumeCursor, Resumed};
use crate::protocol::{Command, Reply, Verb};

/// A subscription and how far it has come.
struct Listener {
    listen: Listen,
    cursor: ResumeCursor,
    /// How many lines were printed.
    printed: u64,
}

/// Prints broadcast lines until as many as requested were printed, or standard output is closed.
pub(crate) fn listen(session: &mut Session, listen: Listen) -> Result<(), Failure> {
    let server = session.connection.server().to_string();
    let cursor = ResumeCursor::new(listen.since);
    let mut listener = Listener { listen, cursor, printed: 0 };
    while !listener.is_done() {
        let Session { connection, output, .. } = &mut *session;
        let request = match connection.next_event(Instant::now())? {
            Some(Event::Connected(welcome)) => {
                let start = listener.cursor.on_welcome(welcome);
                start.notices(&server).iter().for_each(|text| notice(text));
                start.request
            }
            Some(Event::Received(incoming)) => listener.on_line(&incoming, output)?,
            Some(Event::Notice(text)) => {
                notice(&text);
                None
            }
            Some(Event::NameRefused(why)) => return Err(Failure::Error(why)),
            Some(Event::Disconnected { why, .. }) => {
                notice(&connection_lost(&server, &why));
                None
            }
            None => {
                session.wait(None, false)?;
                continue;
            }
        };
        if let Some(command) = request {
            connection.send(&command, Owner::Connection);
        }
    }
    Ok(())
}

impl Listener {
    fn is_done(&self) -> bool {
        self.listen.count.is_some_and(|count| self.printed >= count)
    }

    /// Prints the line if it belongs in the output. Returns the request to send next.
    fn on_line(
        &mut self,
        incoming: &Incoming<'_>,
        output: &mut Output,
    ) -> Result<Option<Command<'static>>, Failure> {
        let Some(reply) = incoming.reply else { return Ok(None) };
        let is_text = self.listen.format == Format::Text;
        match reply {
            _ if incoming.completes(Verb::Resume) => return self.on_resumed(&reply),
            Reply::Broadcast { seq, .. } => {
                if self.cursor.on_broadcast(seq) != LineState::New {
                    return Ok(None);
                }
                self.printed += 1;
            }
            Reply::Direct { from, text } if is_text => {
                notice(&format!("direct message from {from}: {text}"));
            }
            Reply::Lagged(count) if is_text => {
                notice(&lagged(count));
            }
            Reply::Direct { .. } | Reply::Lagged(_) => {}
            _ => return Ok(None),
        }
        let (format, feed) = (self.listen.format, self.cursor.feed());
        format::print(format, feed, incoming.line, &reply, output.buffer());
        Ok(None)
    }

    fn on_resumed(&mut self, reply: &Reply<'_>) -> Result<Option<Command<'static>>, Failure> {
        let resumed = self.cursor.on_resume_reply(reply);
        if let Resumed::Refused { since } = resumed
            && let Reply::Error { code, explanation } = *reply
        {
            let why = explain(code, explanation);
            return Err(Failure::Error(format!("cannot start after line {since}: {why}")));
        }
        resumed.notice().iter().for_each(|text| notice(text));
        Ok(resumed.request())
    }
}
