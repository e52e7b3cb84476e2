//! `oyez raw`: passes the protocol through, for people and scripts that speak it.
//!
//! At the end of its input, it first waits until every complete line is answered, and only then
//! half-closes the connection. Some proxies turn a half-close into a full close, which would lose
//! the replies.

use std::mem;
use std::time::Instant;

use crate::client::connection::Event;
use crate::client::connection::ending::Ending;
use crate::client::connection::error::LinkError;
use crate::client::connection::link::{Link, MAX_LINE};
use crate::client::connection::requests::RequestTracker;
use crate::client::failure::Failure;
use crate::client::interrupt::end_by;
use crate::client::messages::{
    connection_cut, explain_goodbye, no_answer, not_a_server, unanswered,
};
use crate::client::session::Session;
use crate::client::stdio::notice;
use crate::limits::Limits;
use crate::protocol::{ForeignProtocol, Line, LineBuffer, Reply};

/// What was sent, and how much of it the server has answered.
struct Sent {
    /// Everything that was sent, split into lines as the server splits it.
    lines: LineBuffer,
    /// The requests of complete lines.
    requests: RequestTracker,
    /// The server has already answered the partial line at the end of `lines`.
    is_partial_line_answered: bool,
    /// The foreign protocol that the input looks like. The server closes the connection without a
    /// reply.
    foreign: Option<ForeignProtocol>,
    /// The number of blank lines that the server may refuse as too long.
    long_blank_lines: usize,
    /// The server has answered a `quit` or `shutdown` with a goodbye. Nothing after it is executed.
    has_quit: bool,
}

/// Sends standard input unchanged, and prints the server's lines until the server closes the
/// connection. Fails if it does so before the input has ended and everything is answered, except
/// after a `quit` or `shutdown` of this client.
pub(crate) fn raw(session: &mut Session) -> Result<(), Failure> {
    let mut lines = LineBuffer::new(MAX_LINE);
    sign_in(session, &mut lines)?;
    // Take the socket, so that the connection does not act on replies from now on.
    let Some((mut link, requests)) = session.connection.take_link() else { return Ok(()) };
    let mut sent = Sent::new(lines, requests);
    let timeout = session.connection.dialer.options.timeout;
    // When the wait for the next reply began.
    let mut waiting_since = Instant::now();
    let interrupt = session.handle_signals()?;
    loop {
        if let Some(signal) = interrupt.signal() {
            // The signal ends the process without running destructors.
            drop(link);
            end_by(signal);
            return Ok(());
        }
        // Read the input first: if it has ended, the end of the connection is not an error.
        if sent.wants_input(&link) {
            let len = session.read_input()?;
            if !sent.requests.has_pending() {
                waiting_since = Instant::now();
            }
            link.unsent.extend_from_slice(&session.buffer[..len]);
            sent.on_input(&session.buffer[..len], session.input_has_ended());
        }
        let server = session.connection.server();
        while link.next_line().map_err(|sent| not_a_server(server, &sent))? {
            let pending = sent.requests.pending_count();
            sent.on_line(link.line());
            if sent.requests.pending_count() < pending {
                waiting_since = Instant::now();
            }
            session.output.line(link.line());
        }
        if sent.lines.is_ended() && !sent.requests.has_pending() && !link.is_finishing {
            link.is_finishing = true;
            link.silent_since = Instant::now();
        }
        let since = if sent.requests.has_pending() { waiting_since } else { link.silent_since };
        let expects_lines = sent.requests.has_pending() || link.is_finishing;
        let deadline = expects_lines.then(|| since + timeout);
        let is_overdue = deadline.is_some_and(|deadline| deadline <= link.drained_at);
        let no_answer = is_overdue.then(|| no_answer(timeout));
        if let Some(why) = sent.why_ended(link.end.as_ref()).or(no_answer) {
            let outcome = sent.outcome(&why);
            return outcome.map_err(|error| Failure::Error(format!("{server}: {error}")));
        }
        link.flush();
        session.wait_for_events(deadline, link.may_read(), sent.wants_input(&link))?;
        link.transfer(&session.events, &mut session.buffer, Instant::now());
    }
}

/// Connects, authenticates and requests the name. Meanwhile, prints the server's lines, and adds
/// what it sends to `lines`.
fn sign_in(session: &mut Session, lines: &mut LineBuffer) -> Result<(), Failure> {
    while !session.connection.has_room() {
        match session.connection.next_event(Instant::now())? {
            Some(Event::Connected(_)) => {
                if let Some(link) = session.connection.link() {
                    // The current line is the welcome. `auth` and `name` are queued.
                    session.output.line(link.line());
                    lines.push(&link.unsent);
                    while lines.peek().is_some() {
                        lines.advance();
                    }
                }
            }
            Some(Event::Received(incoming)) => session.output.line(incoming.line),
            Some(Event::NameRefused(why)) => return Err(Failure::Error(why)),
            Some(Event::Notice(text)) => notice(&text),
            Some(Event::Disconnected { .. }) => {}
            None => session.wait(None, false)?,
        }
    }
    Ok(())
}

impl Sent {
    fn new(lines: LineBuffer, requests: RequestTracker) -> Self {
        Self {
            lines,
            requests,
            is_partial_line_answered: false,
            foreign: None,
            long_blank_lines: 0,
            has_quit: false,
        }
    }

    /// Returns whether to read more input.
    fn wants_input(&self, link: &Link) -> bool {
        link.has_room() && self.requests.has_room() && !self.lines.is_ended()
    }

    /// Handles bytes of the input, which are sent unchanged.
    fn on_input(&mut self, bytes: &[u8], is_ended: bool) {
        self.lines.push(bytes);
        if is_ended {
            self.lines.end();
        }
        while let Some(line) = self.lines.peek() {
            match line {
                // It stays in the buffer, where `unanswered` counts it.
                Line::Incomplete(_) => return,
                Line::Telnet(_) => {}
                Line::Foreign(protocol) => self.foreign = Some(protocol),
                _ if mem::take(&mut self.is_partial_line_answered) => {}
                // The server replies to a blank line only if it is longer than its `--max-line`.
                Line::Blank(blank) => {
                    self.long_blank_lines += usize::from(blank.len() > Limits::MIN_MAX_LINE);
                }
                Line::Text(text) => self.requests.sent_line(Some(text)),
                Line::NotText(_) | Line::TooLong => self.requests.sent_line(None),
            }
            self.lines.advance();
        }
    }

    /// Handles a line from the server.
    fn on_line(&mut self, line: &str) {
        // The server answers `line-too-long` before the line ends, and `incomplete-line` after
        // everything else.
        let is_for_partial_line = !self.requests.has_pending() && self.lines.buffered_bytes() > 0;
        self.is_partial_line_answered |= is_for_partial_line && line.starts_with("error ");
        if self.long_blank_lines > 0 && line.starts_with("error line-too-long ") {
            self.long_blank_lines -= 1;
            return;
        }
        // Every line is printed, so protocol violations do not matter.
        let Ok(incoming) = self.requests.on_line(line) else { return };
        let is_goodbye = matches!(incoming.reply, Some(Reply::Goodbye(_)));
        self.has_quit |= is_goodbye && incoming.completed.is_some();
    }

    /// Returns the number of requests that the server has not answered. A partial line counts once
    /// the input has ended.
    fn unanswered(&self) -> usize {
        let has_partial_line = self.lines.is_ended() && self.lines.buffered_bytes() > 0;
        self.requests.pending_count()
            + usize::from(has_partial_line && !self.is_partial_line_answered)
            + usize::from(self.foreign.is_some())
    }

    /// Returns why the server sends no more lines, or `None` while it may send some.
    fn why_ended(&self, end: Option<&LinkError>) -> Option<String> {
        match (self.requests.ending(), self.foreign) {
            (Some(Ending::Goodbye(reason)), _) => Some(explain_goodbye(reason)),
            (Some(Ending::Cut), _) if self.unanswered() > 0 => Some(connection_cut()),
            (_, Some(protocol)) => end.map(|_| {
                let protocol = protocol.as_str();
                format!("the server closed the connection, because the input looks like {protocol}")
            }),
            (_, None) => end.map(|end| end.why.clone()),
        }
    }

    /// Returns the outcome of the task. `why` is the reason that the server sends no more lines.
    fn outcome(&self, why: &str) -> Result<(), String> {
        match self.unanswered() {
            _ if self.has_quit => Ok(()),
            0 if self.lines.is_ended() => Ok(()),
            0 => Err(format!("{why}; the input had not ended")),
            count => Err(format!("{why}; {}", unanswered(count))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends the input in these pieces. After each piece, the server sends lines. Returns how many
    /// requests are unanswered at the end.
    fn unanswered_after(pieces: &[(&[u8], &[&str])]) -> usize {
        let lines = LineBuffer::new(MAX_LINE);
        let mut sent = Sent::new(lines, RequestTracker::new(7, 0));
        for (nth, (input, lines)) in pieces.iter().enumerate() {
            sent.on_input(input, nth + 1 == pieces.len());
            lines.iter().for_each(|line| sent.on_line(line));
        }
        sent.unanswered()
    }

    #[test]
    fn requests_without_a_reply_are_counted() {
        const TOO_LONG: &str = "error line-too-long at most 4096 bytes";
        for (input, lines, expected) in [
            (&b""[..], &[][..], 0),
            (b"\n \n\t\r\nping\n\x07\n", &[], 2),
            (b"ping\nping\n", &["pong", "broadcast 1 9 not a reply"], 1),
            (b"say a\nping\n", &["broadcast 1 7 a", "pong"], 0),
            (b"ping\npi", &["pong"], 1),
            (b"ping\npi", &["pong", "error incomplete-line"], 0),
            (b"ping\n \t", &["pong"], 0),
            (&[&[b' '; 5000][..], b"\nping\n"].concat(), &["error line-too-long at most"], 1),
            // The connection was cut: the ping did not arrive.
            (b"ping\n", &["error incomplete-line"], 1),
            (b"ping\npi", &["error incomplete-line"], 2),
            (b"ping\nping\n", &["pong", "goodbye shutdown"], 1),
            (b"shutdown\nping\n", &["error not-allowed ask the operator"], 1),
            (b"say a\nsay b\n", &["lagged 2"], 0),
            (b"ping\nsay a\n", &["lagged 2"], 2),
            (b"\xef\xbb\xbfping\n", &["pong"], 0),
            // Telnet commands are removed from the lines around them.
            (b"\xff\xfd\x06", &[], 0),
            (b"\xff\xfd\x06pi\xff\xf4ng\n\xff\xfb\x1f", &["pong"], 0),
            (b"ping\n\xff\xfd\n", &["pong"], 1),
            (b"ping\n\xff", &["pong", "error incomplete-line"], 0),
            // Nothing after the first foreign line is executed.
            (b"GET / HTTP/1.1\r\nAccept: *\r\n\r\nping\n", &[], 1),
            (b"ping\nHost: x\nping\n", &["pong"], 1),
            (b"\x16\x03\x01ping\n", &[], 1),
            (&[b'x'; 5000], &[TOO_LONG], 0),
            (&[b'x'; 5000], &[], 1),
            (&[b'x'; MAX_LINE + 1], &[TOO_LONG], 0),
        ] {
            let context = input[..input.len().min(100)].escape_ascii();
            assert_eq!(unanswered_after(&[(input, lines)]), expected, "{context} {lines:?}");
        }
    }

    /// The server answers an overlong line before its end.
    #[test]
    fn overlong_line_is_one_request_wherever_its_answer_arrives() {
        const TOO_LONG: &str = "error line-too-long at most 4096 bytes";
        let long = [b'x'; 5000];
        for (start, before) in [(&b""[..], &[][..]), (b"ping\n", &["pong"])] {
            let start = [start, &long].concat();
            let answered = [before, &[TOO_LONG]].concat();
            for (rest, expected) in [
                (&b""[..], 0),
                (b"xx", 0),
                (b"\xff\xf4x\r\n", 0),
                (b"\nping\n", 1),
                (b"\nping", 1),
                (&[b'x'; MAX_LINE], 0),
            ] {
                let early = [(&start[..], &answered[..]), (rest, &[])];
                assert_eq!(unanswered_after(&early), expected);
                let late = [(&start[..], &[][..]), (rest, &answered)];
                assert_eq!(unanswered_after(&late), expected);
            }
        }
    }
}
