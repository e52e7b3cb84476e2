//! The output formats of `oyez listen`.

use time::OffsetDateTime;
use time::macros::format_description;

use crate::client::config::Format;
use crate::client::messages::lagged;
use crate::client::stdio::{Output, notice};
use crate::escape;
use crate::protocol::{FeedPosition, Reply};

/// Prints a broadcast, a direct message or `lagged` in this format. `line` is the line as received,
/// `reply` is the parsed line, and `position` is the position of a broadcast.
pub(crate) fn print(
    format: Format,
    position: Option<FeedPosition>,
    line: &str,
    reply: &Reply<'_>,
    output: &mut Output,
) {
    let (is_terminal, is_utf8) = (output.is_terminal, output.is_utf8);
    let is_shown = |c: char, is_visible| !is_terminal || is_visible && (is_utf8 || c.is_ascii());
    let quote = |text| quoted(text, is_shown);
    match (format, *reply) {
        (Format::Lines, _) => output.line(line),
        (Format::Text, Reply::Broadcast { text, .. }) => output.line(text),
        (Format::Named, Reply::Broadcast { from, text, .. }) => {
            output.line(&format!("{from}: {text}"));
        }
        (Format::Text | Format::Named, Reply::Direct { from, text }) => {
            notice(&format!("direct message from {from}: {text}"));
        }
        (Format::Text | Format::Named, Reply::Lagged(count)) => notice(&lagged(count)),
        (Format::Json, Reply::Broadcast { seq, from, text }) => {
            let id = position.map(|id| id.to_string()).unwrap_or_default();
            let feed = position.map(|id| id.feed.to_string()).unwrap_or_default();
            let (time, from, text) = (now(), quote(from), quote(text));
            output.line(&format!(
                r#"{{"type":"broadcast","time":"{time}","id":"{id}","feed":"{feed}","seq":{seq},"from":{from},"text":{text}}}"#
            ));
        }
        (Format::Json, Reply::Direct { from, text }) => {
            let (time, from, text) = (now(), quote(from), quote(text));
            output.line(&format!(
                r#"{{"type":"direct","time":"{time}","from":{from},"text":{text}}}"#
            ));
        }
        (Format::Json, Reply::Lagged(count)) => {
            output.line(&format!(r#"{{"type":"lagged","time":"{}","count":{count}}}"#, now()));
        }
        _ => {}
    }
}

/// Returns the current UTC time in RFC 3339 format.
fn now() -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// Formats a JSON string (RFC 8259). The text has no control characters except TAB. `is_shown`
/// returns whether a character is printed as is; its second argument is whether the character is
/// visible.
fn quoted(text: &str, is_shown: impl Fn(char, bool) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for (c, is_visible) in escape::characters(text) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            c if is_shown(c, is_visible) => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}
