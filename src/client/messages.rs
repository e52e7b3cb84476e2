//! Errors and notices about the server, for people to read.

use std::fmt::Display;
use std::time::Duration;

use crate::escape::escape_untrusted;
use crate::protocol::ErrorCode;

/// Formats an `error` reply. Adds advice if there is any.
pub(super) fn explain(code: &str, explanation: &str) -> String {
    if code == ErrorCode::AUTH_REQUIRED.as_str() {
        format!("{code}: {explanation} (use --secret-file FILE)")
    } else {
        format!("{code}: {explanation}")
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
