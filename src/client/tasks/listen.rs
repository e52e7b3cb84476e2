//! `oyez listen`: what is broadcast, line by line, for as long as there is a server.

use std::time::Instant;

use crate::client::config::{Format, Listen};
use crate::client::connection::Event;
use crate::client::connection::requests::{Asker, Heard};
use crate::client::messages::lost;
use crate::client::stdio::{Output, notice};
use crate::client::tasks::format;
use crate::client::tasks::resume_cursor::{Place, ResumeCursor, Resumed};
use crate::client::{Failure, Session};
use crate::protocol::{Command, Reply, Verb};

/// What is listened to, and how far it has come.
struct Listener {
    listen: Listen,
    position: ResumeCursor,
    /// How many lines were printed.
    printed: u64,
}

/// Prints what is broadcast until there was as much as asked for, or nobody reads it any more.
pub(crate) fn listen(session: &mut Session, listen: Listen) -> Result<(), Failure> {
    let server = session.connection.server().to_string();
    let position = ResumeCursor::beginning(listen.since);
    let mut listener = Listener { listen, position, printed: 0 };
    while !listener.is_done() {
        let Session { connection, output, .. } = &mut *session;
        let ask = match connection.next_event(Instant::now())? {
            Some(Event::Up(welcome)) => {
                let arrival = listener.position.arrive(welcome);
                arrival.notices(&server).iter().for_each(|text| notice(text));
                arrival.ask
            }
            Some(Event::Heard(heard)) => listener.hear(&heard, output)?,
            Some(Event::NameHeld(text)) => {
                notice(&text);
                None
            }
            Some(Event::NameRefused(why)) => return Err(Failure::Error(why)),
            Some(Event::Down { why, .. }) => {
                notice(&lost(&server, &why));
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

    /// Prints the line, if it is one to be printed: what is to be asked because of it.
    fn hear(
        &mut self,
        heard: &Heard<'_>,
        output: &mut Output,
    ) -> Result<Option<Command<'static>>, Failure> {
        let Some(reply) = heard.reply else { return Ok(None) };
        let is_text = self.listen.format == Format::Text;
        match reply {
            _ if heard.answers(Verb::Resume) => return self.resumed(&reply),
            Reply::Broadcast { seq, .. } => {
                if self.position.take(seq) != Place::New {
                    return Ok(None);
                }
                self.printed += 1;
            }
            Reply::Direct { from, text } if is_text => {
                notice(&format!("{from} to this client alone: {text}"));
            }
            Reply::Lagged(count) if is_text => {
                notice(&format!("{count} lines were missed: read too slowly"));
            }
            Reply::Direct { .. } | Reply::Lagged(_) => {}
            _ => return Ok(None),
        }
        format::print(
            self.listen.format,
            self.position.feed(),
            heard.line,
            &reply,
            output.buffer(),
        );
        Ok(None)
    }

    fn resumed(&mut self, reply: &Reply<'_>) -> Result<Option<Command<'static>>, Failure> {
        let resumed = self.position.answer(reply);
        match (resumed.notice(), resumed, reply) {
            (Some(text), Resumed::Refused { .. }, Reply::Error { code, explanation }) => {
                return Err(Failure::Error(format!("{text}: {code} {explanation}")));
            }
            (Some(text), ..) => notice(&text),
            (None, ..) => {}
        }
        Ok(resumed.ask())
    }
}
