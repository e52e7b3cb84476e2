//! What to say of what happens with a server, for people to read.

use crate::client::connection::address::ServerAddress;
use crate::escape::escape_untrusted;
use crate::protocol::ErrorCode;

/// What an `error` of the server's says, and what to do about it where that is known.
pub(super) fn explain(code: &str, explanation: &str) -> String {
    if code == ErrorCode::AUTH_REQUIRED.as_str() {
        format!("{code} {explanation} (--secret-file FILE gives the secret)")
    } else {
        format!("{code} {explanation}")
    }
}

/// What to say of a connection that is lost, and tried again.
pub(super) fn lost(server: &str, why: &str) -> String {
    format!("the connection to {server} is lost: {why}; trying again")
}

/// What to say of a peer that says what no server would.
pub(super) fn not_a_server(server: &ServerAddress, said: &str) -> String {
    format!("{server} is no oyez server: it sent {said}")
}

/// Why the server has ended the connection.
pub(super) fn explain_goodbye(reason: &str) -> String {
    match reason {
        "shutdown" => "the server was shut down".to_owned(),
        "too-slow" => "the server ended the connection, because it was read too slowly".to_owned(),
        "idle" => "the server ended the connection, because nothing was said".to_owned(),
        reason => format!("the server ended the connection: {}", escape_untrusted(reason, 80)),
    }
}
