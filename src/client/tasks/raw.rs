//! `oyez raw`: the protocol itself, for people and scripts who speak it.

use std::time::Instant;

use crate::client::connection::link::End;
use crate::client::messages::not_a_server;
use crate::client::{Failure, Session};

/// Sends standard input as it is, and prints the server's lines until it ends.
pub(crate) fn raw(session: &mut Session) -> Result<(), Failure> {
    while session.connection.next_event(Instant::now())?.is_none() {
        session.wait(None, false)?;
    }
    let server = session.connection.server().clone();
    session.connection.lay_bare();
    if let Some(link) = session.connection.link() {
        session.output.line(link.line());
    }
    while let Some(link) = session.connection.link() {
        while link.next_line().map_err(|said| not_a_server(&server, &said))? {
            session.output.line(link.line());
        }
        match link.end() {
            Some(End::Closed) => break,
            Some(broken) => return Err(Failure::Error(format!("{server}: {broken}"))),
            None => {}
        }
        let has_room = link.has_room();
        if has_room {
            copy_input(session)?;
        }
        session.wait(None, has_room)?;
    }
    Ok(())
}

fn copy_input(session: &mut Session) -> Result<(), Failure> {
    let len = session.read_input()?;
    let has_ended = session.input_has_ended();
    let Some(link) = session.connection.link() else { return Ok(()) };
    link.unsent().extend_from_slice(&session.buffer[..len]);
    if has_ended {
        link.finish();
    }
    Ok(())
}
