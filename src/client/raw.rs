//! `oyez raw`: the protocol itself, for people and scripts who speak it.

use std::time::Instant;

use super::link::End;
use super::{Failure, Session};

/// Sends standard input as it is, and prints the server's lines until it ends.
pub(super) fn raw(session: &mut Session) -> Result<(), Failure> {
    while session.connection.next_event(session.poll.registry(), Instant::now())?.is_none() {
        session.wait(None, false)?;
    }
    let server = session.connection.server().to_string();
    let broken = |why: &str| Failure::Said(format!("{server}: {why}"));
    session.connection.lay_bare();
    if let Some(link) = session.connection.link() {
        session.output.line(link.line());
    }
    while let Some(link) = session.connection.link() {
        while link.next_line().map_err(|nonsense| broken(&nonsense))? {
            session.output.line(link.line());
        }
        match link.end() {
            Some(End::Closed) => break,
            Some(End::Broken(why)) => {
                let failure = broken(why);
                session.output.flush()?;
                return Err(failure);
            }
            None => {}
        }
        let has_room = link.has_room();
        if has_room {
            copy_input(session)?;
        }
        session.wait(None, has_room)?;
    }
    session.output.flush()
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
