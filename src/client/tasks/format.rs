//! The output formats.

use time::OffsetDateTime;
use time::macros::format_description;

use crate::client::config::Format;
use crate::client::stdio::{Output, notice};
use crate::client::tasks::gap::Gap;
use crate::client::tasks::json::{Escaping, Object};
use crate::protocol::{FeedPosition, Reply};

/// Prints a broadcast, a direct message or, as a line, `lagged`. `line` is the line as received,
/// `reply` is the parsed line, and `position` is the position of a broadcast.
pub(crate) fn print(
    format: Format,
    position: Option<FeedPosition>,
    line: &str,
    reply: &Reply<'_>,
    output: &mut Output,
) {
    match (format, *reply) {
        (Format::Lines, _) => output.line(line),
        (Format::Text, Reply::Broadcast { text, .. }) => output.line(text),
        (Format::Named, Reply::Broadcast { from, text, .. }) => {
            output.line(&format!("{from}: {text}"));
        }
        (Format::Text | Format::Named, Reply::Direct { from, text }) => {
            notice(&format!("direct message from {from}: {text}"));
        }
        (Format::Json, Reply::Broadcast { from, text, .. }) => {
            let object = with_position(received("broadcast", output), position);
            output.line(&object.field("from", from).field("text", text).finish());
        }
        (Format::Json, Reply::Direct { from, text }) => {
            let object = received("direct", output).field("from", from).field("text", text);
            output.line(&object.finish());
        }
        _ => {}
    }
}

/// Reports a gap: on standard output in JSON, and otherwise as a notice.
pub(crate) fn print_gap(format: Format, gap: &Gap, output: &mut Output) {
    if format != Format::Json {
        return notice(&gap.to_string());
    }
    let object = received("gap", output)
        .field("cause", gap.cause.name())
        .field("after", gap.after.to_string().as_str())
        .field("count", gap.count());
    output.line(&object.finish());
}

/// Starts a JSON object for standard output.
pub(crate) fn object(output: &Output) -> Object {
    Object::new(match output {
        Output { is_terminal: false, .. } => Escaping::Minimal,
        Output { is_utf8: true, .. } => Escaping::Invisible,
        _ => Escaping::NonAscii,
    })
}

/// Adds the position of a broadcast to a JSON object.
pub(crate) fn with_position(object: Object, position: Option<FeedPosition>) -> Object {
    let (id, feed) = (position.map(|id| id.to_string()), position.map(|id| id.feed.to_string()));
    object
        .field("id", id.as_deref())
        .field("feed", feed.as_deref())
        .field("seq", position.map(|id| id.seq))
}

/// Starts a JSON object of this type for something that was just received.
fn received(kind: &str, output: &Output) -> Object {
    object(output).field("type", kind).field("received", now().as_str())
}

/// Returns the current UTC time in RFC 3339 format.
fn now() -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}
