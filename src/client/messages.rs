//! Errors and notices about the server, for people to read.

use std::fmt::Display;
use std::time::Duration;

use crate::cli::digits;
use crate::client::config::Since;
use crate::escape::escape_untrusted;
use crate::protocol::{Command, ErrorCode, Recipient};

/// Explains an `error` reply to any command. The user does not see the code, which is for programs.
pub(super) fn explain(code: &str, explanation: &str) -> String {
    match ErrorCode::parse(code) {
        Some(ErrorCode::AUTH_REQUIRED) => {
            "this server requires a secret; use --secret-file FILE".to_owned()
        }
        Some(ErrorCode::SERVER_FULL) => "the server is full".to_owned(),
        Some(ErrorCode::INCOMPLETE_LINE) => connection_cut(),
        _ => format!("the server refused: {}", reason(code, explanation)),
    }
}

/// Explains the `error` reply to `command`, and names the client or action that the command names.
pub(super) fn explain_reply(command: &Command<'_>, code: &str, explanation: &str) -> String {
    match (ErrorCode::parse(code), command) {
        (Some(ErrorCode::NO_SUCH_CLIENT), Command::Send { client, .. }) => {
            let nobody = match client {
                Recipient::Id { id, .. } => format!("nobody with the id {id}"),
                Recipient::Name(name) => format!("nobody called {}", name.as_str()),
            };
            format!("{nobody} is here; oyez clients shows who is")
        }
        (Some(ErrorCode::BUSY), Command::Send { client, .. }) => {
            let to = client.as_str();
            format!("the line to {to} was not delivered: {}", reason(code, explanation))
        }
        (Some(ErrorCode::NOT_ALLOWED), Command::Shutdown) => {
            format!("the server refused to shut down: {}", reason(code, explanation))
        }
        _ => explain(code, explanation),
    }
}

/// Explains why the server refused `what`: a line, a name, and so on.
pub(super) fn refused(what: &str, code: &str, explanation: &str) -> String {
    format!("the server refused {what}: {}", reason(code, explanation))
}

/// Returns the reason in an `error` reply, to follow "the server refused". The server's own
/// explanation is for people who type protocol commands, so it is included only where it adds
/// something.
pub(super) fn reason(code: &str, explanation: &str) -> String {
    let with_explanation = |reason: &str| match explanation {
        "" => reason.to_owned(),
        explanation => format!("{reason}: {explanation}"),
    };
    let reason = match ErrorCode::parse(code) {
        Some(ErrorCode::UNKNOWN_COMMAND) => {
            "it does not know this command; it may be an older version"
        }
        Some(ErrorCode::MISSING_ARGUMENT | ErrorCode::BAD_ARGUMENT) => {
            return with_explanation("the command is invalid");
        }
        Some(ErrorCode::LINE_TOO_LONG) => return with_explanation("the line is too long"),
        Some(ErrorCode::NOT_TEXT) => return with_explanation("the line is not text"),
        Some(ErrorCode::AUTH_REQUIRED) => "it requires a secret; use --secret-file FILE",
        Some(ErrorCode::AUTH_FAILED) => "the secret is wrong",
        Some(ErrorCode::NO_SUCH_CLIENT) => "no client has this id or name",
        Some(ErrorCode::NAME_TAKEN) => "another client has this name",
        Some(ErrorCode::GONE) => "it no longer has these lines",
        Some(ErrorCode::SERVER_FULL) => "it is full",
        Some(ErrorCode::INCOMPLETE_LINE) => return connection_cut(),
        // `not-allowed`, `busy` and the codes of later versions: only the server knows the reason.
        _ if explanation.is_empty() => "it gave no reason",
        _ => explanation,
    };
    reason.to_owned()
}

/// Explains the `error` reply to a request for all lines after `seq`, which the user gave as
/// `since`. `newest` is the newest line that this client knows of.
pub(super) fn cannot_start(
    since: Since,
    seq: u64,
    newest: u64,
    code: &str,
    explanation: &str,
) -> String {
    let oldest = explanation.split(' ').next().and_then(digits::<u64>);
    match (ErrorCode::parse(code), oldest) {
        (Some(ErrorCode::BAD_ARGUMENT), _) if seq > newest => match newest {
            0 => format!("there is no line {seq} yet, because nothing has been broadcast"),
            newest => format!("there is no line {seq} yet; the newest is {newest}"),
        },
        (Some(ErrorCode::GONE), Some(oldest @ 1..)) => format!(
            "the server no longer has the lines after {seq}; to start with the oldest that it has, \
             use --since {}",
            oldest - 1
        ),
        _ => format!("cannot start after {since}: {}", explain(code, explanation)),
    }
}

pub(super) fn connection_lost(server: &str, reason: &str) -> String {
    format!("connection to {server} lost: {reason}; reconnecting")
}

pub(super) fn connection_cut() -> String {
    "the connection was cut in the middle of a line".to_owned()
}

pub(super) fn reconnected(server: &str) -> String {
    format!("reconnected to {server}")
}

/// Explains why the server has a different feed.
pub(super) const OTHER_FEED: &str = "the server was restarted, or it is another server";

pub(super) fn lagged(count: u64) -> String {
    let lines = if count == 1 { "line" } else { "lines" };
    format!("missed {count} {lines} here: this client read too slowly")
}

pub(super) fn no_answer(timeout: Duration) -> String {
    format!("no answer from the server for {} s", timeout.as_secs())
}

pub(super) fn unanswered(count: usize) -> String {
    let requests = if count == 1 { "request was" } else { "requests were" };
    format!("{count} {requests} not answered")
}

pub(super) fn name_taken(name: &str) -> String {
    format!("somebody is already called {name}; choose another name")
}

/// Formats the error for input that no oyez server would send.
pub(super) fn not_a_server(server: &impl Display, sent: &str) -> String {
    format!("{server} is not an oyez server: it sent {sent}")
}

/// Explains the reason of a `goodbye`.
pub(super) fn explain_goodbye(reason: &str) -> String {
    match reason {
        "shutdown" => "the server was shut down".to_owned(),
        "too-slow" => "the server disconnected this client for reading too slowly".to_owned(),
        "idle" => "the server disconnected this client for being idle".to_owned(),
        reason => {
            format!("the server disconnected this client: {}", escape_untrusted(reason, 80))
        }
    }
}
