//! `oyez raw`: passes the protocol through unchanged, for people and scripts that speak it.

use std::time::Instant;

use crate::client::connection::link::{End, Link};
use crate::client::failure::Failure;
use crate::client::messages::not_a_server;
use crate::client::session::Session;
use crate::protocol::{Command, Name};

/// Sends standard input as it is, and prints the server's lines until the server closes.
pub(crate) fn raw(session: &mut Session) -> Result<(), Failure> {
    let mut link = connect(session)?;
    // The welcome.
    session.output.line(link.line());
    loop {
        let server = session.connection.server();
        while link.next_line().map_err(|sent| not_a_server(server, &sent))? {
            session.output.line(link.line());
        }
        match link.end() {
            Some(End::Closed) => return Ok(()),
            Some(broken) => return Err(Failure::Error(format!("{server}: {broken}"))),
            None => {}
        }
        let has_room = link.has_room();
        if has_room {
            let len = session.read_input()?;
            link.unsent().extend_from_slice(&session.buffer[..len]);
            if session.input_has_ended() {
                link.finish();
            }
        }
        link.flush();
        session.wait_for_events(None, link.may_read(), has_room)?;
        link.transfer(&session.events, &mut session.buffer, Instant::now());
    }
}

/// Dials once, and signs in. No `Connection` is involved: it would interpret the replies.
fn connect(session: &mut Session) -> Result<Link, Failure> {
    let mut dial = session.connection.dialer.dial().map_err(|error| error.message)?;
    loop {
        let dialer = &session.connection.dialer;
        let advanced = dialer.advance(&mut dial, Instant::now()).map_err(|error| error.message)?;
        if let Some((_, mut link)) = advanced {
            let name = dialer.options.name.as_deref().and_then(Name::parse);
            let name = name.map(|name| Command::Name { name });
            for command in dialer.auth().into_iter().chain(name) {
                command.encode(link.unsent());
            }
            return Ok(link);
        }
        session.wait_for_events(dial.next_deadline(), dial.has_work(), false)?;
        if let Some(link) = dial.link() {
            link.transfer(&session.events, &mut session.buffer, Instant::now());
        }
    }
}
