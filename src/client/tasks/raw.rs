//! `oyez raw`: passes the protocol through, for people and scripts that speak it.
//!
//! At the end of its input, it first waits until everything is answered, and only then half-closes
//! the connection. Some proxies turn a half-close into a full close, which would lose the replies.

use std::time::{Duration, Instant};

use crate::client::connection::Event;
use crate::client::connection::ending::Ending;
use crate::client::connection::link::{Cause, Link, MAX_LINE};
use crate::client::connection::requests::RequestTracker;
use crate::client::failure::Failure;
use crate::client::messages::{not_a_server, unanswered};
use crate::client::session::Session;
use crate::protocol::{Line, LineBuffer, Reply, Verb};

/// The lines that were sent, and the requests that the server has not answered.
struct Sent {
    input: LineBuffer,
    requests: RequestTracker,
    /// The input has ended in the middle of a line, which gets `incomplete-line` as its reply.
    has_partial_line: bool,
    /// The server has answered a `quit` or `shutdown`. Nothing after it is executed.
    has_quit: bool,
}

/// Sends standard input unchanged, and prints the server's lines until the server closes the
/// connection. Fails if it does so before it has answered everything.
pub(crate) fn raw(session: &mut Session) -> Result<(), Failure> {
    while !matches!(session.connection.next_event(Instant::now())?, Some(Event::Connected(_))) {
        session.wait(None, false)?;
    }
    // The connection has dialed, and has queued `auth` and `name`. Take its socket, so that it does
    // not act on the replies.
    let Some((mut link, requests)) = session.connection.take_link() else { return Ok(()) };
    let mut sent = Sent::new(requests);
    let timeout = session.connection.dialer.options.timeout;
    // The current line is the welcome.
    session.output.line(link.line());
    loop {
        let server = session.connection.server();
        while link.next_line().map_err(|sent| not_a_server(server, &sent))? {
            sent.on_line(link.line());
            session.output.line(link.line());
        }
        match &link.end {
            Some(end) if end.cause == Cause::Closed => {
                return match sent.unanswered() {
                    0 => Ok(()),
                    count => Err(Failure::Error(format!("{server}: {}", unanswered(count)))),
                };
            }
            Some(end) => return Err(Failure::Error(format!("{server}: {}", end.why))),
            None => {}
        }
        let has_room = link.has_room() && !session.input_has_ended();
        if has_room {
            let len = session.read_input()?;
            sent.on_input(&session.buffer[..len], session.input_has_ended());
            link.unsent.extend_from_slice(&session.buffer[..len]);
            if len > 0 {
                link.silent_since = Instant::now();
            }
        }
        let deadline = sent.finish(&mut link, timeout, session.input_has_ended());
        link.flush();
        session.wait_for_events(deadline, link.may_read(), has_room)?;
        link.transfer(&session.events, &mut session.buffer, Instant::now());
    }
}

impl Sent {
    fn new(requests: RequestTracker) -> Self {
        let input = LineBuffer::without_foreign_detection(MAX_LINE);
        Self { input, requests, has_partial_line: false, has_quit: false }
    }

    /// Handles bytes of the input, which are sent unchanged.
    fn on_input(&mut self, bytes: &[u8], is_ended: bool) {
        self.input.push(bytes);
        if is_ended {
            self.input.end();
        }
        while let Some(line) = self.input.peek() {
            match line {
                Line::Text(text) => self.requests.sent_line(Some(text)),
                Line::NotText(_) | Line::TooLong | Line::Foreign(_) => {
                    self.requests.sent_line(None);
                }
                Line::Incomplete(_) => self.has_partial_line = true,
                // The server does not reply to a blank line.
                _ => {}
            }
            self.input.advance();
        }
    }

    /// Handles a line from the server.
    fn on_line(&mut self, line: &str) {
        // Every line is printed, so protocol violations do not matter.
        let Ok(incoming) = self.requests.on_line(line) else { return };
        self.has_quit |= incoming.completes(Verb::Quit) || incoming.completes(Verb::Shutdown);
        if matches!(incoming.reply, Some(Reply::Lagged(_))) {
            self.requests.forget_lagged();
        }
    }

    /// Returns the number of requests that the server has not answered.
    fn unanswered(&self) -> usize {
        if self.has_quit {
            return 0;
        }
        let is_partial_line_answered = self.requests.ending() == Some(&Ending::Cut);
        let partial = self.has_partial_line && !is_partial_line_answered;
        self.requests.pending_count() + usize::from(partial)
    }

    /// At the end of the input, half-closes the link once everything is answered, or once the
    /// server has been silent for `timeout`. Returns when to call this again.
    fn finish(&self, link: &mut Link, timeout: Duration, is_ended: bool) -> Option<Instant> {
        if !is_ended || link.is_finishing {
            return None;
        }
        let deadline = link.silent_since + timeout;
        link.is_finishing = !self.requests.has_pending() || deadline <= link.drained_at;
        if link.is_finishing { None } else { Some(deadline) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::connection::requests::Owner;
    use crate::protocol::Command;

    /// Returns how many requests are unanswered after this input and these lines.
    fn unanswered_after(input: &str, lines: &[&str]) -> usize {
        let mut requests = RequestTracker::new(7, 0);
        requests.sent(&Command::Auth { secret: "x" }, Owner::Connection);
        let mut sent = Sent::new(requests);
        sent.on_input(input.as_bytes(), true);
        lines.iter().for_each(|line| sent.on_line(line));
        sent.unanswered()
    }

    #[test]
    fn requests_without_a_reply_are_counted() {
        for (input, lines, expected) in [
            ("", &[][..], 1),
            ("", &["ok auth user"], 0),
            ("\n \nping\n\u{7}\n", &["ok auth user"], 2),
            ("ping\nping\n", &["ok auth user", "pong", "broadcast 1 9 not a reply"], 1),
            ("say a\nping\n", &["ok auth user", "broadcast 1 7 a", "pong"], 0),
            ("ping\npi", &["ok auth user", "pong"], 1),
            ("ping\npi", &["ok auth user", "pong", "error incomplete-line"], 0),
            // The connection was cut: the ping did not arrive.
            ("ping\n", &["ok auth user", "error incomplete-line"], 1),
            ("quit\nping\n", &["ok auth user", "goodbye quit"], 0),
            ("ping\nping\n", &["ok auth user", "pong", "goodbye shutdown"], 1),
            ("ping\n", &["ok auth user", "pong", "goodbye shutdown"], 0),
            ("say a\nsay b\n", &["ok auth user", "lagged 2"], 0),
        ] {
            assert_eq!(unanswered_after(input, lines), expected, "{input:?} {lines:?}");
        }
    }
}
