//! The commands that ask the server once, or a few times, and end.

use std::time::{Duration, Instant};

use super::connection::Event;
use super::dialogue::{Asker, Dialogue};
use super::standard::{Output, notice};
use super::{Failure, Session};
use crate::protocol::{Command, ErrorCode, Recipient, Reply, Topic};

/// The pause between two pings.
const PING_PAUSE: Duration = Duration::from_secs(1);

/// `oyez broadcast TEXT`
pub(super) fn broadcast(session: &mut Session, text: &str) -> Result<(), Failure> {
    // Nothing that others say is wanted, and the answer is short.
    ask(session, &Command::Quiet, |_, _| ())?;
    ask(session, &Command::Broadcast { text }, |_, _| ())
}

/// `oyez send CLIENT TEXT`
pub(super) fn send(session: &mut Session, client: &str, text: &str) -> Result<(), Failure> {
    let Some(client) = Recipient::parse(client) else {
        return Err(Failure::Usage(format!("{client:?} is neither a client's id nor a name")));
    };
    ask(session, &Command::Send { client, text }, |_, _| ())
}

/// `oyez clients`: all others, page by page.
pub(super) fn clients(session: &mut Session) -> Result<(), Failure> {
    ready(session)?;
    let own = session.connection.dialogue().map(Dialogue::id);
    let mut last = 0;
    loop {
        let mut shown = 0;
        let mut is_rising = true;
        let after = (last > 0).then_some(last);
        ask(session, &Command::Clients { after }, |reply, output| match *reply {
            Reply::Client { id, name } => {
                is_rising &= id > last;
                last = id;
                if Some(id) != own {
                    output.line(&format!("{id} {}", name.unwrap_or("-")));
                }
            }
            Reply::Ok(Topic::Clients { shown: on_this_page, .. }) => shown = on_this_page,
            _ => {}
        })?;
        if !is_rising {
            return Err(Failure::Said("the server lists its clients in no order".to_owned()));
        }
        if shown == 0 {
            return Ok(());
        }
    }
}

/// `oyez stats`
pub(super) fn stats(session: &mut Session) -> Result<(), Failure> {
    ask(session, &Command::Stats, |reply, output| {
        if let Reply::Stat { key, value } = reply {
            output.line(&format!("{key} {value}"));
        }
    })
}

/// `oyez shutdown`
pub(super) fn shutdown(session: &mut Session) -> Result<(), Failure> {
    ask(session, &Command::Shutdown, |_, _| ())
}

/// `oyez ping [TEXT]`
pub(super) fn ping(session: &mut Session, text: Option<&str>, count: u64) -> Result<(), Failure> {
    ready(session)?;
    let mut times = vec![];
    for i in 0..count {
        if i > 0 {
            pause(session, Instant::now() + PING_PAUSE)?;
        }
        let asked = Instant::now();
        let mut is_same = false;
        ask(session, &Command::Ping { text }, |reply, _| is_same = *reply == Reply::Pong(text))?;
        if !is_same {
            return Err(Failure::Said("the answer was not what was asked".to_owned()));
        }
        let ms = asked.elapsed().as_secs_f64() * 1000.0;
        let space = if text.is_some() { " " } else { "" };
        session.output.line(&format!("pong{space}{}: {ms:.3} ms", text.unwrap_or_default()));
        session.output.flush()?;
        times.push(ms);
    }
    if let [_, _, ..] = times[..] {
        times.sort_by(f64::total_cmp);
        let (fastest, slowest) = (times[0], times[times.len() - 1]);
        let median = times[times.len() / 2];
        notice(&format!("{count} answers, {fastest:.3} to {slowest:.3} ms, median {median:.3} ms"));
    }
    Ok(())
}

/// Waits until the server has let this client in, under its name.
pub(super) fn ready(session: &mut Session) -> Result<(), Failure> {
    while !session.connection.has_room() {
        let event = session.connection.next_event(session.poll.registry(), Instant::now())?;
        match event {
            Some(Event::NameRefused(why)) => return Err(Failure::Said(why)),
            Some(_) => {}
            None => session.wait(None, false)?,
        }
    }
    Ok(())
}

/// Asks, and hands on each line of the answer. An `error` is a failure.
pub(super) fn ask(
    session: &mut Session,
    command: &Command<'_>,
    mut hear: impl FnMut(&Reply<'_>, &mut Output),
) -> Result<(), Failure> {
    ready(session)?;
    session.connection.say(command, Asker::Task);
    loop {
        let event = session.connection.next_event(session.poll.registry(), Instant::now())?;
        let heard = match event {
            Some(Event::Heard(heard)) => heard,
            Some(_) => continue,
            None => {
                session.wait(None, false)?;
                continue;
            }
        };
        let Some(reply) = heard.reply else { continue };
        let is_final = heard.answers.is_some_and(|question| question.asker == Asker::Task);
        match reply {
            Reply::Error { code, explanation } if is_final => {
                return Err(Failure::Said(explain(code, explanation)));
            }
            Reply::Client { .. } | Reply::Stat { .. } => hear(&reply, &mut session.output),
            _ if is_final => hear(&reply, &mut session.output),
            _ => {}
        }
        if is_final {
            return Ok(());
        }
    }
}

/// What an `error` of the server's says, and what to do about it where that is known.
pub(super) fn explain(code: &str, explanation: &str) -> String {
    if code == ErrorCode::AuthRequired.as_str() {
        format!("{code} {explanation} (--secret-file FILE gives the secret)")
    } else {
        format!("{code} {explanation}")
    }
}

/// Lets time pass, and what is said meanwhile.
fn pause(session: &mut Session, until: Instant) -> Result<(), Failure> {
    while Instant::now() < until {
        let registry = session.poll.registry();
        while session.connection.next_event(registry, Instant::now())?.is_some() {}
        session.wait(Some(until), false)?;
    }
    Ok(())
}
