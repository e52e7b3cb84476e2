//! The output formats of `oyez listen`.

use time::OffsetDateTime;
use time::macros::format_description;

use crate::client::config::Format;
use crate::protocol::{FeedId, Reply};

/// Appends a line in this format, or nothing if the format leaves it out. `line` is as received,
/// and `reply` is the parsed line.
pub(crate) fn print(
    format: Format,
    feed: Option<FeedId>,
    line: &str,
    reply: &Reply<'_>,
    out: &mut Vec<u8>,
) {
    match (format, reply) {
        (Format::Text, Reply::Broadcast { text, .. }) => out.extend_from_slice(text.as_bytes()),
        (Format::Lines, _) => out.extend_from_slice(line.as_bytes()),
        (Format::Json, reply) => match json(feed, reply) {
            Some(object) => out.extend_from_slice(object.as_bytes()),
            None => return,
        },
        _ => return,
    }
    out.push(b'\n');
}

/// The JSON object, with the time of receipt.
fn json(feed: Option<FeedId>, reply: &Reply<'_>) -> Option<String> {
    let time = now();
    Some(match *reply {
        Reply::Broadcast { seq, from, text } => {
            let feed = feed.map(|feed| feed.to_string()).unwrap_or_default();
            let (from, text) = (quoted(from), quoted(text));
            format!(
                r#"{{"type":"broadcast","time":"{time}","feed":"{feed}","seq":{seq},"from":{from},"text":{text}}}"#
            )
        }
        Reply::Direct { from, text } => {
            let (from, text) = (quoted(from), quoted(text));
            format!(r#"{{"type":"direct","time":"{time}","from":{from},"text":{text}}}"#)
        }
        Reply::Lagged(count) => {
            format!(r#"{{"type":"lagged","time":"{time}","count":{count}}}"#)
        }
        _ => return None,
    })
}

/// The current UTC time in RFC 3339 format.
fn now() -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// A JSON string (RFC 8259). The text has no control characters except TAB.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
