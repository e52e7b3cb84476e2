//! `oyez listen`: prints broadcast lines, and resumes after every reconnect.

use std::time::{Duration, Instant};

use crate::client::config::{Format, Listen};
use crate::client::connection::Event;
use crate::client::connection::requests::{Incoming, Owner, RequestTracker};
use crate::client::failure::Failure;
use crate::client::interrupt::{Interrupt, end_by};
use crate::client::messages::connection_lost;
use crate::client::session::Session;
use crate::client::stdio::{Output, notice};
use crate::client::tasks::format;
use crate::client::tasks::resume_cursor::{LineState, Notice, ResumeCursor, Step};
use crate::protocol::{Reply, Verb};

/// How long after `--for` the reader of standard output may take to read the last lines.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);

const UNREAD_OUTPUT: &str =
    "cannot write the last lines within --for: nothing reads standard output";

/// The state of `oyez listen`.
struct Listener {
    listen: Listen,
    ends_at: Option<Instant>,
    cursor: ResumeCursor,
    /// The number of broadcast lines printed.
    printed: u64,
    /// Set once the server has accepted the secret and the name. Until then, there is no position to
    /// print, and a signal ends the process at once.
    interrupt: Option<Interrupt>,
}

/// Prints broadcast lines until `--count` or `--for` is reached, standard output is closed, or a
/// signal arrives. Then prints the position to continue at, unless output may have been lost.
pub(crate) fn listen(session: &mut Session, listen: Listen) -> Result<(), Failure> {
    let cursor = ResumeCursor::new(listen.start);
    let ends_at = listen.duration.map(|duration| Instant::now() + duration);
    let mut listener = Listener { listen, ends_at, cursor, printed: 0, interrupt: None };
    let mut result = listener.run(session);
    let signal = listener.signal().filter(|_| result.is_ok());
    let output = &mut session.output;
    let is_all_written = match (signal, listener.ends_at) {
        _ if output.has_failed() => false,
        // A signal must not wait for the reader of standard output.
        (Some(_), _) => output.flush_until(Instant::now()).unwrap_or(false),
        (None, Some(ends_at)) => {
            let is_all_written = output.flush_until(ends_at + OUTPUT_GRACE)?;
            if !is_all_written {
                output.unwritten.clear();
                result = result.and(Err(Failure::Error(UNREAD_OUTPUT.to_owned())));
            }
            is_all_written
        }
        (None, None) => output.flush().map(|()| true)?,
    };
    let has_position = is_all_written && (listener.interrupt.is_some() || listener.printed > 0);
    if let Some(position) = listener.cursor.position().filter(|_| has_position) {
        notice(&format!("continue with --since {position}"));
    }
    if let Some(signal) = signal {
        // The signal ends the process without running destructors.
        drop(session.connection.take_link());
        end_by(signal);
    }
    result
}

impl Listener {
    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        let server = session.connection.server().to_string();
        while self.listen.count.is_none_or(|count| self.printed < count) {
            let requests = session.connection.requests();
            if self.interrupt.is_none() && requests.is_some_and(RequestTracker::is_signed_in) {
                self.interrupt = Some(session.handle_signals()?);
            }
            if self.signal().is_some() {
                return Ok(());
            }
            let now = Instant::now();
            if self.ends_at.is_some_and(|ends_at| ends_at <= now) {
                return self.end_after_duration(&server);
            }
            let Session { connection, output, .. } = &mut *session;
            let step = match connection.next_event(now)? {
                Some(Event::Connected(welcome)) => self.cursor.on_welcome(welcome, &server),
                Some(Event::Received(incoming)) => self.on_line(&incoming, output)?,
                Some(Event::Notice(text)) => Step::notice(text),
                Some(Event::Disconnected { why, .. }) => {
                    Step::notice(connection_lost(&server, &why))
                }
                Some(Event::NameRefused(why)) => return Err(Failure::Error(why)),
                None => {
                    if let Some(ends_at) = self.ends_at
                        && !session.output.flush_until(ends_at)?
                    {
                        continue;
                    }
                    session.wait(self.ends_at, false)?;
                    continue;
                }
            };
            for item in &step.notices {
                match item {
                    Notice::Text(text) => notice(text),
                    Notice::Gap(gap) => format::print_gap(self.listen.format, gap, output),
                }
            }
            if let Some(command) = step.request {
                connection.send(&command, Owner::Connection);
            }
        }
        Ok(())
    }

    /// Returns the signal that asks the listener to end, if one has arrived.
    fn signal(&self) -> Option<i32> {
        self.interrupt.as_ref()?.signal()
    }

    /// Ends after `--for`. A server that was never reached is a failure.
    fn end_after_duration(&self, server: &str) -> Result<(), Failure> {
        match self.cursor.position() {
            Some(_) => Ok(()),
            None => Err(Failure::Error(format!("cannot reach {server} within --for"))),
        }
    }

    /// Prints the line if it is part of the output. Returns what to do next.
    fn on_line(&mut self, incoming: &Incoming<'_>, output: &mut Output) -> Result<Step, String> {
        let format = self.listen.format;
        let Some(reply) = incoming.reply else { return Ok(Step::default()) };
        let mut position = None;
        match reply {
            _ if incoming.completes(Verb::Resume) => return self.cursor.on_resume_reply(&reply),
            Reply::Broadcast { seq, .. } => {
                if self.cursor.on_broadcast(seq) != LineState::New {
                    return Ok(Step::default());
                }
                position = self.cursor.position_of(seq);
                self.printed += 1;
            }
            Reply::Direct { .. } => {}
            Reply::Lagged(count) => match self.cursor.on_lagged(count) {
                // The line itself reports the gap.
                Some(_) if format == Format::Lines => {}
                gap => return Ok(Step::gap(gap)),
            },
            _ => return Ok(Step::default()),
        }
        format::print(format, position, incoming.line, &reply, output);
        Ok(Step::default())
    }
}
