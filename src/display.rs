//! Text on a terminal: which characters it can display, and where lines wrap.
//!
//! A terminal continues a long row in column 0, where the text could pass for another message. Both
//! programs therefore wrap text themselves, and indent continuation rows.
//!
//! Widths are estimates: terminals disagree on the width of some characters. So only the appearance
//! of a row may depend on them.

use std::env;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;
#[cfg(feature = "chat")]
use unicode_segmentation::UnicodeSegmentation as _;
#[cfg(feature = "chat")]
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use crate::escape::escape_non_ascii;

/// Autowrap (DECAWM) is off while a row is drawn, in case the terminal draws a character wider than
/// expected. The terminal then truncates the row.
pub const DISABLE_AUTOWRAP: &str = "\x1b[?7l";
/// Undoes [`DISABLE_AUTOWRAP`].
pub const ENABLE_AUTOWRAP: &str = "\x1b[?7h";

/// The indentation of continuation rows.
const INDENT: usize = 4;

/// The minimum width: the indentation and a wide character. A narrower terminal truncates the rows.
const MIN_COLUMNS: usize = INDENT + 2;

/// The distance between tab stops.
const TAB: usize = 8;

/// Formats a line for a stream. For a terminal, escapes what it cannot display, and wraps the line;
/// otherwise returns it unchanged. The line begins in `column`. It has no control characters except
/// TAB.
pub fn line(text: &str, column: usize, stream: impl AsFd) -> String {
    if !stream.as_fd().is_terminal() {
        return text.to_owned();
    }
    let text = if is_utf8(&stream) { text.to_owned() } else { escape_non_ascii(text) };
    rows(&expand_tabs(&text), size(&stream).1, column, !is_dumb())
}

/// Returns the rows of a text that begins in `column`, separated by LF.
fn rows(text: &str, columns: usize, column: usize, can_disable_autowrap: bool) -> String {
    if text.is_ascii() && column + text.len() <= columns {
        return text.to_owned();
    }
    let rows = wrap(text, columns.max(MIN_COLUMNS), column, INDENT);
    let rows = rows.join(&format!("\n{:INDENT$}", ""));
    // A process that is stopped or killed inside a row leaves autowrap off.
    let needs_no_autowrap = !text.is_ascii() || columns < MIN_COLUMNS;
    if needs_no_autowrap && can_disable_autowrap {
        format!("{DISABLE_AUTOWRAP}{rows}{ENABLE_AUTOWRAP}")
    } else {
        rows
    }
}

fn expand_tabs(text: &str) -> String {
    let (mut out, mut column) = (String::with_capacity(text.len()), 0);
    for (i, part) in text.split('\t').enumerate() {
        if i > 0 {
            let spaces = TAB - column % TAB;
            out.extend(std::iter::repeat_n(' ', spaces));
            column += spaces;
        }
        out += part;
        column += width(part);
    }
    out
}

/// Wraps a text at spaces, and inside words that are longer than a row. The first row begins in
/// `column`, and is empty if nothing fits there. All others begin in column `indent`.
pub fn wrap(mut text: &str, columns: usize, mut column: usize, indent: usize) -> Vec<&str> {
    let mut rows = vec![];
    loop {
        let mut end = fitting_len(text, columns.saturating_sub(column));
        if end == text.len() {
            rows.push(text);
            return rows;
        }
        if end == 0 && column <= indent {
            // The row has at least one cluster, even if it does not fit.
            end = clusters(text).nth(1).map_or(text.len(), |(start, _)| start);
        }
        let space = if text[end..].starts_with(' ') { Some(end) } else { text[..end].rfind(' ') };
        let (row, rest) = match space {
            Some(space @ 1..) => (&text[..space], &text[space + 1..]),
            _ => text.split_at(end),
        };
        rows.push(row);
        text = rest;
        column = indent;
    }
}

/// Returns the number of bytes of whole grapheme clusters that fit into `columns`.
pub fn fitting_len(text: &str, columns: usize) -> usize {
    let mut total = 0;
    for (start, width) in clusters(text) {
        total += width;
        if total > columns {
            return start;
        }
    }
    text.len()
}

/// Returns the maximum width of a text on common terminals.
pub fn width(text: &str) -> usize {
    clusters(text).map(|(_, width)| width).sum()
}

/// Yields the start of each grapheme cluster, and its maximum width on terminals that draw emoji as
/// one character or as separate parts.
#[cfg(feature = "chat")]
fn clusters(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let parts = |cluster: &str| cluster.chars().filter_map(UnicodeWidthChar::width).sum();
    text.grapheme_indices(true)
        .map(move |(start, cluster)| (start, cluster.width().max(parts(cluster))))
}

/// Yields the start of each character, and its maximum width on any terminal. Without chat, there
/// are no Unicode tables.
#[cfg(not(feature = "chat"))]
fn clusters(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.char_indices().map(|(start, c)| (start, if c.is_ascii() { 1 } else { 2 }))
}

/// Returns the terminal's rows and columns, or 24 and 80 if they are unknown.
pub fn size(terminal: impl AsFd) -> (usize, usize) {
    let or = |count: u16, default| if count > 0 { count.into() } else { default };
    tcgetwinsize(terminal).map_or((24, 80), |size| (or(size.ws_row, 24), or(size.ws_col, 80)))
}

/// Returns whether the terminal supports no control sequences.
pub fn is_dumb() -> bool {
    let term = env::var_os("TERM").unwrap_or_default();
    term.is_empty() || term == "dumb"
}

/// Returns whether the terminal uses UTF-8, according to the locale or, if none is set, as is
/// common over ssh, to the terminal itself. Wrongly assuming UTF-8 would let text control an 8-bit
/// terminal.
pub fn is_utf8(terminal: impl AsFd) -> bool {
    locale_is_utf8().unwrap_or_else(|| declares_utf8(terminal))
}

/// Returns `None` if no locale is set.
fn locale_is_utf8() -> Option<bool> {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| env::var_os(name).unwrap_or_default());
    let locale = locale.iter().find(|value| !value.is_empty())?;
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    Some(locale.contains("utf-8") || locale.contains("utf8"))
}

/// Returns whether the flag IUTF8 is set. Terminal emulators, tmux and sshd set it for UTF-8.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn declares_utf8(terminal: impl AsFd) -> bool {
    use rustix::termios::{InputModes, tcgetattr};
    tcgetattr(terminal).is_ok_and(|modes| modes.input_modes.contains(InputModes::IUTF8))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn declares_utf8(_: impl AsFd) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "chat")]
    #[test]
    fn long_messages_wrap_between_words() {
        let rows = |text| wrap(text, 20, 10, 6);
        assert_eq!(rows("short"), ["short"]);
        assert_eq!(rows(""), [""]);
        assert_eq!(rows("one two three four five"), ["one two", "three four", "five"]);
        assert_eq!(rows("one two th"), ["one two th"]);
        assert_eq!(
            rows("0123456789abcdefghijklmnopqrstuvwxyz"),
            ["0123456789", "abcdefghijklmn", "opqrstuvwxyz"]
        );
        assert_eq!(rows("你好你好你好"), ["你好你好你", "好"]);
    }

    #[test]
    fn continuation_rows_are_indented() {
        assert_eq!(rows("one two", 8, 0, true), "one two");
        assert_eq!(rows("one two", 7, 0, true), "one two");
        assert_eq!(rows("one two", 6, 0, false), "one\n    tw\n    o");
        assert_eq!(rows("one two", 3, 0, true), "\x1b[?7lone\n    tw\n    o\x1b[?7h");
        assert_eq!(rows("one two", 10, 6, true), "one\n    two");
        assert_eq!(rows("one", 8, 20, false), "\n    one");
        assert_eq!(rows("é", 8, 0, true), "\x1b[?7lé\x1b[?7h");
    }

    #[test]
    fn tabs_become_spaces_up_to_the_next_stop() {
        for (text, expanded) in [
            ("a\tb", "a       b"),
            ("\t\tb", "                b"),
            ("12345678\tb\t", "12345678        b       "),
            ("你\tb", "你      b"),
        ] {
            assert_eq!(expand_tabs(text), expanded);
        }
    }

    #[cfg(feature = "chat")]
    #[test]
    fn continuation_rows_are_indented_on_every_terminal() {
        use crate::testing::model_terminal::{ModelTerminal, WIDTHS};

        for filler in ["x", " ", "你", "👩‍🚀", "e\u{301}", "ก\u{e47}", "❤\u{fe0f}", "ä", "Ω", "\t"]
        {
            for (count, columns) in (0..90).flat_map(|count| [(count, MIN_COLUMNS), (count, 40)]) {
                let text = expand_tabs(&format!("{}root: obey", filler.repeat(count)));
                for (width, column) in WIDTHS.iter().flat_map(|width| [(width, 0), (width, 4)]) {
                    let mut terminal = ModelTerminal::new(1000, columns, *width);
                    let output =
                        format!("{}{}", &"eve:"[..column], rows(&text, columns, column, true));
                    terminal.write(&output.replace('\n', "\r\n"));
                    for row in &terminal.rows()[1..] {
                        assert!(row.starts_with("    "), "{columns} columns: {row}");
                    }
                }
            }
        }
    }
}
