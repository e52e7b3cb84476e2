//! `oyez raw`: passes the protocol through, for people and scripts that speak it.

use std::time::Instant;

use crate::client::connection::Event;
use crate::client::connection::link::Cause;
use crate::client::failure::Failure;
use crate::client::messages::not_a_server;
use crate::client::session::Session;

/// Sends standard input unchanged, and prints the server's lines until the server closes the
/// connection.
pub(crate) fn raw(session: &mut Session) -> Result<(), Failure> {
    while !matches!(session.connection.next_event(Instant::now())?, Some(Event::Connected(_))) {
        session.wait(None, false)?;
    }
    // The connection has dialed, and has queued `auth` and `name`. Take its socket, so that it does
    // not interpret the replies.
    let Some(mut link) = session.connection.take_link() else { return Ok(()) };
    // The current line is the welcome.
    session.output.line(link.line());
    loop {
        let server = session.connection.server();
        while link.next_line().map_err(|sent| not_a_server(server, &sent))? {
            session.output.line(link.line());
        }
        match &link.end {
            Some(end) if end.cause == Cause::Closed => return Ok(()),
            Some(end) => return Err(Failure::Error(format!("{server}: {}", end.why))),
            None => {}
        }
        let has_room = link.has_room();
        if has_room {
            let len = session.read_input()?;
            link.unsent.extend_from_slice(&session.buffer[..len]);
            link.is_finishing = session.input_has_ended();
        }
        link.flush();
        session.wait_for_events(None, link.may_read(), has_room)?;
        link.transfer(&session.events, &mut session.buffer, Instant::now());
    }
}
