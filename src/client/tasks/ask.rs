//! The commands that send one or a few requests and print the replies.

use std::time::Instant;

use crate::client::config::Format;
use crate::client::connection::Event;
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Owner, RequestTracker};
use crate::client::failure::Failure;
use crate::client::messages::explain_reply;
use crate::client::session::Session;
use crate::client::stdio::{Output, notice};
use crate::client::tasks::format;
use crate::escape::escape_untrusted;
use crate::protocol::{Command, FeedPosition, OkReply, Recipient, Reply};

/// The maximum number of lines in a reply. oyezd sends fewer: at most one page of clients.
pub(crate) const MAX_REPLY_LINES: usize = 10_000;

/// The maximum number of counters in JSON output. oyezd has far fewer.
const MAX_COUNTERS: usize = 1000;

/// The maximum length of a counter's name in JSON output, in bytes. oyezd's are much shorter.
const MAX_COUNTER_NAME: usize = 100;

/// `oyez broadcast TEXT`
pub(crate) fn broadcast(session: &mut Session, text: &str, format: Format) -> Result<(), Failure> {
    let Welcome { feed, .. } = connect(session)?;
    // After `quiet`, the reply is `ok broadcast`. Otherwise it would be this client's own line,
    // which `lagged` could skip.
    ask(session, &Command::Quiet, |_, _| ())?;
    ask(session, &Command::Broadcast { text }, |reply, output| {
        if let (Format::Json, Reply::Ok(OkReply::Broadcast { seq })) = (format, reply) {
            let object = format::object(output).field("type", "broadcast");
            let position = FeedPosition { feed, seq };
            output.line(&format::with_position(object, Some(position)).finish());
        }
    })
}

/// `oyez send CLIENT TEXT`
pub(crate) fn send(session: &mut Session, client: &str, text: &str) -> Result<(), Failure> {
    let Some(client) = Recipient::parse(client) else {
        return Err(Failure::Usage(format!(
            "{client:?} is not a client's id or name; see oyez clients"
        )));
    };
    connect(session)?;
    ask(session, &Command::Send { client, text }, |_, _| ())
}

/// `oyez clients`: prints all other clients, page by page.
pub(crate) fn clients(session: &mut Session, format: Format) -> Result<(), Failure> {
    connect(session)?;
    let own = session.connection.requests().map(RequestTracker::id);
    let mut last = 0;
    loop {
        let before = last;
        let mut is_ascending = true;
        let after = (last > 0).then_some(last);
        ask(session, &Command::Clients { after }, |reply, output| {
            let Reply::Client { id, name } = reply else { return };
            is_ascending &= id > last;
            last = id;
            if Some(id) == own {
                return;
            }
            output.line(&match format {
                Format::Json => format::object(output).field("id", id).field("name", name).finish(),
                _ => format!("{id} {}", escape_untrusted(name.unwrap_or("-"), 64)),
            });
        })?;
        if !is_ascending {
            return Err(Failure::Error("the server's list of clients is out of order".to_owned()));
        }
        if last == before {
            return Ok(());
        }
    }
}

/// `oyez stats`
pub(crate) fn stats(session: &mut Session, format: Format) -> Result<(), Failure> {
    connect(session)?;
    if format != Format::Json {
        return ask(session, &Command::Stats, |reply, output| {
            if let Reply::Stat { key, value } = reply {
                output.line(&format!("{key} {value}"));
            }
        });
    }
    let (mut counters, mut is_valid) = (vec![], true);
    ask(session, &Command::Stats, |reply, _| {
        let Reply::Stat { key, value } = reply else { return };
        let is_new = counters.iter().all(|(other, _)| other != key);
        is_valid &= is_new && counters.len() < MAX_COUNTERS && key.len() <= MAX_COUNTER_NAME;
        if is_valid {
            counters.push((key.to_owned(), value));
        }
    })?;
    if !is_valid {
        return Err(Failure::Error("the server's list of counters is invalid".to_owned()));
    }
    let object = format::object(&session.output);
    let object = counters.iter().fold(object, |object, (key, value)| object.field(key, *value));
    session.output.line(&object.finish());
    Ok(())
}

/// `oyez shutdown`
pub(crate) fn shutdown(session: &mut Session) -> Result<(), Failure> {
    connect(session)?;
    ask(session, &Command::Shutdown, |_, _| ())
}

/// `oyez ping [TEXT]`
pub(crate) fn ping(session: &mut Session, text: Option<&str>) -> Result<(), Failure> {
    connect(session)?;
    let sent_at = Instant::now();
    ask(session, &Command::Ping { text }, |_, _| ())?;
    let ms = sent_at.elapsed().as_secs_f64() * 1000.0;
    let space = if text.is_some() { " " } else { "" };
    session.output.line(&format!("pong{space}{}: {ms:.3} ms", text.unwrap_or_default()));
    Ok(())
}

/// Waits until the client is connected and authenticated, and has its name. Returns the server's
/// welcome.
fn connect(session: &mut Session) -> Result<Welcome, Failure> {
    let is_name_optional = session.connection.dialer.options.is_name_optional;
    let mut welcome = None;
    loop {
        if let Some(welcome) = welcome.filter(|_| session.connection.has_room()) {
            return Ok(welcome);
        }
        match session.connection.next_event(Instant::now())? {
            Some(Event::Connected(received)) => welcome = Some(received),
            Some(Event::NameRefused(why)) if is_name_optional => {
                notice(&format!("sending without the name in OYEZ_NAME: {why}"));
            }
            Some(Event::NameRefused(why)) => return Err(Failure::Error(why)),
            Some(Event::Notice(text)) => notice(&text),
            Some(_) => {}
            None => session.wait(None, false)?,
        }
    }
}

/// Sends a command and waits for its final reply. Passes this reply and, before it, each `client`
/// and `stat` line to `on_line`. Returns an `error` as a failure.
fn ask(
    session: &mut Session,
    command: &Command<'_>,
    mut on_line: impl FnMut(Reply<'_>, &mut Output),
) -> Result<(), Failure> {
    session.connection.send(command, Owner::Task);
    let mut lines = 0;
    loop {
        let incoming = match session.connection.next_event(Instant::now()) {
            Ok(Some(Event::Received(incoming))) => incoming,
            Ok(Some(_)) => continue,
            Ok(None) => {
                session.wait(None, false)?;
                continue;
            }
            Err(why) => {
                let requests = session.connection.requests();
                // Requests without a reply before a goodbye were not executed.
                let is_unconfirmed = requests.is_some_and(|requests| {
                    requests.has_unconfirmed() && requests.goodbye().is_none()
                });
                let outcome =
                    if is_unconfirmed { "; the line may have been delivered" } else { "" };
                return Err(Failure::Error(why + outcome));
            }
        };
        let is_final = incoming.completes_for(Owner::Task);
        match incoming.reply {
            Some(reply @ (Reply::Client { .. } | Reply::Stat { .. })) => {
                lines += 1;
                if lines > MAX_REPLY_LINES {
                    return Err(Failure::Error("the server's reply does not end".to_owned()));
                }
                on_line(reply, &mut session.output);
            }
            Some(Reply::Error { code, explanation }) if is_final => {
                return Err(Failure::Error(explain_reply(command, code, explanation)));
            }
            Some(reply) if is_final => {
                on_line(reply, &mut session.output);
                return Ok(());
            }
            _ => {}
        }
    }
}
