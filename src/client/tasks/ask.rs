//! The commands that ask the server once, or a few times, and end.

use std::time::{Duration, Instant};

use crate::client::connection::Event;
use crate::client::connection::requests::{Asker, RequestTracker};
use crate::client::messages::explain;
use crate::client::stdio::{Output, notice};
use crate::client::{Failure, Session};
use crate::escape::escape_untrusted;
use crate::protocol::{Command, Recipient, Reply};

/// The pause between two pings.
const PING_PAUSE: Duration = Duration::from_secs(1);

/// The most lines of one answer. No server's has more than a page of clients.
pub(crate) const MAX_ANSWER: usize = 10_000;

/// `oyez broadcast TEXT`
pub(crate) fn broadcast(session: &mut Session, text: &str) -> Result<(), Failure> {
    // Of a line of one's own that is skipped, nobody would tell.
    ask(session, &Command::Quiet, |_, _| ())?;
    ask(session, &Command::Broadcast { text }, |_, _| ())
}

/// `oyez send CLIENT TEXT`
pub(crate) fn send(session: &mut Session, client: &str, text: &str) -> Result<(), Failure> {
    let Some(client) = Recipient::parse(client) else {
        return Err(Failure::Usage(format!("{client:?} is neither a client's id nor a name")));
    };
    ask(session, &Command::Send { client, text }, |_, _| ())
}

/// `oyez clients`: all others, page by page.
pub(crate) fn clients(session: &mut Session) -> Result<(), Failure> {
    ready(session)?;
    let own = session.connection.dialogue().map(RequestTracker::id);
    let mut last = 0;
    loop {
        let before = last;
        let mut is_rising = true;
        let after = (last > 0).then_some(last);
        ask(session, &Command::Clients { after }, |reply, output| {
            let Reply::Client { id, name } = *reply else { return };
            is_rising &= id > last;
            last = id;
            if Some(id) != own {
                output.line(&format!("{id} {}", escape_untrusted(name.unwrap_or("-"), 64)));
            }
        })?;
        if !is_rising {
            return Err(Failure::Error("the server lists its clients in no order".to_owned()));
        }
        if last == before {
            return Ok(());
        }
    }
}

/// `oyez stats`
pub(crate) fn stats(session: &mut Session) -> Result<(), Failure> {
    ask(session, &Command::Stats, |reply, output| {
        if let Reply::Stat { key, value } = reply {
            output.line(&format!("{key} {value}"));
        }
    })
}

/// `oyez shutdown`
pub(crate) fn shutdown(session: &mut Session) -> Result<(), Failure> {
    ask(session, &Command::Shutdown, |_, _| ())
}

/// `oyez ping [TEXT]`
pub(crate) fn ping(session: &mut Session, text: Option<&str>, count: u64) -> Result<(), Failure> {
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
            return Err(Failure::Error("the answer was not what was asked".to_owned()));
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
pub(crate) fn ready(session: &mut Session) -> Result<(), Failure> {
    while !session.connection.has_room() {
        let event = session.connection.next_event(Instant::now())?;
        match event {
            Some(Event::NameRefused(why)) => return Err(Failure::Error(why)),
            Some(_) => {}
            None => session.wait(None, false)?,
        }
    }
    Ok(())
}

/// Asks, and hands on each line of the answer. An `error` is a failure.
pub(crate) fn ask(
    session: &mut Session,
    command: &Command<'_>,
    mut hear: impl FnMut(&Reply<'_>, &mut Output),
) -> Result<(), Failure> {
    ready(session)?;
    session.connection.say(command, Asker::Task);
    let mut lines = 0;
    loop {
        let event = session.connection.next_event(Instant::now())?;
        let heard = match event {
            Some(Event::Heard(heard)) => heard,
            Some(_) => continue,
            None => {
                session.wait(None, false)?;
                continue;
            }
        };
        let Some(reply) = heard.reply else { continue };
        let is_final = heard.answers_to(Asker::Task);
        match reply {
            Reply::Error { code, explanation } if is_final => {
                return Err(Failure::Error(explain(code, explanation)));
            }
            Reply::Client { .. } | Reply::Stat { .. } => {
                lines += 1;
                if lines > MAX_ANSWER {
                    return Err(Failure::Error("the server's answer has no end".to_owned()));
                }
                hear(&reply, &mut session.output);
            }
            _ if is_final => hear(&reply, &mut session.output),
            _ => {}
        }
        if is_final {
            return Ok(());
        }
    }
}

/// Lets time pass, and what is said meanwhile.
fn pause(session: &mut Session, until: Instant) -> Result<(), Failure> {
    while Instant::now() < until {
        while session.connection.next_event(Instant::now())?.is_some() {}
        session.wait(Some(until), false)?;
    }
    Ok(())
}
