//! The chat screen: messages that scroll up, and below them the line being typed.
//!
//! This module performs **no I/O**: it collects the output for the terminal.
//!
//! No message can imitate another: each begins with the time and a mark, no name looks like the
//! mark of another kind of message, and continuation rows are indented.

use std::mem;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use super::editor::Editor;
use crate::escape::escape_untrusted;

/// The maximum length of a displayed text, in bytes.
const MAX_DISPLAYED: usize = 64 * 1024;

/// The maximum length of a message's mark, in bytes. Only an invalid name exceeds it.
const MAX_MARK: usize = 64;

/// The indentation of continuation rows: the width of the time and a space.
const INDENT: usize = 6;

/// The minimum width. A narrower terminal is treated as if it had this width.
const MIN_COLUMNS: usize = 20;

/// The minimum number of columns for the line being typed, beside a long prompt.
const MIN_INPUT_COLUMNS: usize = 4;

/// The colors of names, readable on dark and light backgrounds. Red is only for errors.
const COLORS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

/// Draws messages and, below them, the input row, which shows the line being typed.
///
/// A message erases the input row. Call [`draw`](Self::draw) to show it again.
#[derive(Debug)]
pub(super) struct Screen {
    has_color: bool,
    /// Returns the time of day, as `HH:MM`.
    clock: fn() -> String,
    columns: usize,
    /// The output that drew the input row, or empty if the row is not on the screen.
    input: String,
    /// The cursor's column in the input row.
    cursor: usize,
    /// The output that has not been taken yet.
    output: String,
}

impl Screen {
    pub(super) fn new(has_color: bool, columns: usize, clock: fn() -> String) -> Self {
        let columns = columns.max(MIN_COLUMNS);
        Self { has_color, clock, columns, input: String::new(), cursor: 0, output: String::new() }
    }

    /// Returns and clears the output for the terminal.
    pub(super) fn take_output(&mut self) -> String {
        mem::take(&mut self.output)
    }

    /// Sets the terminal's width, and erases the input row.
    pub(super) fn resize(&mut self, columns: usize) {
        self.columns = columns.max(MIN_COLUMNS);
        self.erase();
    }

    /// Erases the input row.
    pub(super) fn erase(&mut self) {
        if !self.input.is_empty() {
            // Most terminals wrap the row when they become narrower. On those that truncate it
            // instead, this also erases rows above it.
            self.output += &"\x1b[A".repeat(self.cursor / self.columns);
            self.output += "\r\x1b[J";
            self.input.clear();
        }
    }

    /// Clears the whole screen.
    pub(super) fn clear(&mut self) {
        self.input.clear();
        self.output += "\x1b[H\x1b[2J";
    }

    /// Shows another client's broadcast.
    pub(super) fn broadcast(&mut self, from: &str, text: &str) {
        self.print(&format!("{from}:"), &name_style(from), text, "");
    }

    /// Shows this client's broadcast.
    pub(super) fn own_broadcast(&mut self, text: &str) {
        self.print(">", "1", text, "");
    }

    /// Shows a direct message to this client.
    pub(super) fn direct(&mut self, from: &str, text: &str) {
        self.print(&format!("[{from}]"), &name_style(from), text, "1");
    }

    /// Shows this client's direct message.
    pub(super) fn own_direct(&mut self, to: &str, text: &str) {
        self.print(&format!("[> {to}]"), "1", text, "");
    }

    pub(super) fn error(&mut self, text: &str) {
        self.print("!", "1;31", text, "31");
    }

    pub(super) fn notice(&mut self, text: &str) {
        self.print("-", "2", text, "2");
    }

    /// Replaces the input row with a message. A style consists of SGR parameters, such as `1;31`
    /// for bold and red.
    fn print(&mut self, mark: &str, mark_style: &str, text: &str, text_style: &str) {
        self.erase();
        let mark = escape_untrusted(mark, MAX_MARK);
        let text = escape_untrusted(&text.replace('\t', "    "), MAX_DISPLAYED);
        let rows = wrap(&text, self.columns, INDENT + mark.width() + 1).into_iter();
        let rows: Vec<String> = rows.map(|row| self.styled(text_style, row)).collect();
        let rows = rows.join(&format!("\r\n{}", " ".repeat(INDENT)));
        let time = self.styled("2", &(self.clock)());
        let mark = self.styled(mark_style, &mark);
        self.output += &format!("{time} {mark} {rows}\r\n");
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.has_color && !style.is_empty() {
            format!("\x1b[{style}m{text}\x1b[m")
        } else {
            text.to_owned()
        }
    }

    /// Draws the input row if it has changed. Shows only the part of a long line around the cursor.
    pub(super) fn draw(&mut self, prompt: &str, editor: &Editor) {
        // The last column stays free for the cursor.
        let columns = self.columns - 1;
        let prompt = &prompt[..fitting_len(prompt, columns - MIN_INPUT_COLUMNS)];
        let (left, right) = visible_part(editor, columns - prompt.width());
        let cursor = prompt.width() + left.width();
        let left = self.styled("1", prompt) + &left;
        // Disable autowrap, in case the terminal draws a character wider than expected. Drawing the
        // left part twice leaves the cursor at its end, even if the terminal's character widths
        // differ.
        let input = format!("\x1b[?7l{left}{right}\r{left}\x1b[?7h");
        if input != self.input {
            self.erase();
            self.output += &input;
            self.input = input;
            self.cursor = cursor;
        }
    }
}

/// Returns the parts of the line being typed, left and right of the cursor, that fit into
/// `columns`. The text scrolls by half the width, so that the cursor has context on both sides.
fn visible_part(editor: &Editor, columns: usize) -> (String, String) {
    let (left, right) = editor.text().split_at(editor.cursor());
    let [mut left, mut right] = [left, right]
        .map(|part| escape_untrusted(&part.replace('\n', "↵").replace('\t', " "), usize::MAX));
    // Reserve a column for text right of the cursor.
    let max_left = columns - usize::from(!right.is_empty());
    let width = max_width(&left);
    if width > max_left {
        let step = (max_left / 2).max(1);
        let hidden = ((width - max_left) / step + 1) * step;
        // Hide the cluster at the edge as a whole.
        let shown = left[fitting_len(&left, hidden - 1)..].graphemes(true).skip(1);
        left = format!("<{}", shown.collect::<String>());
    }
    let free = columns - max_width(&left);
    if fitting_len(&right, free) < right.len() {
        // Reserve a column for the `>`, which marks hidden text.
        right.truncate(fitting_len(&right, free - 1));
        right.push('>');
    }
    (left, right)
}

/// Returns the style of a name, which depends only on the name.
fn name_style(name: &str) -> String {
    let sum: usize = name.bytes().map(usize::from).sum();
    format!("1;{}", COLORS[sum % COLORS.len()])
}

/// Wraps a text at spaces, and inside words that are longer than a row. The first row begins in
/// `column`, and all others begin in column [`INDENT`].
fn wrap(mut text: &str, columns: usize, mut column: usize) -> Vec<&str> {
    let mut rows = vec![];
    loop {
        // A row has at least one cluster, even if it does not fit.
        let first = text.graphemes(true).next().map_or(0, str::len);
        let end = fitting_len(text, columns.saturating_sub(column)).max(first);
        if end == text.len() {
            rows.push(text);
            return rows;
        }
        let space = if text[end..].starts_with(' ') { Some(end) } else { text[..end].rfind(' ') };
        let (row, rest) = match space {
            Some(space @ 1..) => (&text[..space], &text[space + 1..]),
            _ => text.split_at(end),
        };
        rows.push(row);
        text = rest;
        column = INDENT;
    }
}

/// Returns the number of bytes of whole grapheme clusters that fit into `columns`.
fn fitting_len(text: &str, columns: usize) -> usize {
    let mut width = 0;
    for (start, grapheme) in text.grapheme_indices(true) {
        width += max_width(grapheme);
        if width > columns {
            return start;
        }
    }
    text.len()
}

/// Returns the maximum width of a text on any terminal. Some terminals draw each part of an emoji
/// separately.
fn max_width(text: &str) -> usize {
    let parts = |grapheme: &str| grapheme.chars().filter_map(UnicodeWidthChar::width).sum();
    text.graphemes(true).map(|grapheme| grapheme.width().max(parts(grapheme))).sum()
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::*;

    /// Returns a screen at twelve o'clock.
    fn screen(has_color: bool) -> Screen {
        Screen::new(has_color, 80, || "12:00".to_owned())
    }

    fn rows(text: &str, columns: usize) -> Vec<&str> {
        wrap(text, columns, 10)
    }

    #[test]
    fn long_messages_wrap_between_words() {
        assert_eq!(rows("short", 20), ["short"]);
        assert_eq!(rows("", 20), [""]);
        assert_eq!(rows("one two three four five", 20), ["one two", "three four", "five"]);
        assert_eq!(rows("one two th", 20), ["one two th"]);
        assert_eq!(
            rows("0123456789abcdefghijklmnopqrstuvwxyz", 20),
            ["0123456789", "abcdefghijklmn", "opqrstuvwxyz"]
        );
        assert_eq!(rows("你好你好你好", 20), ["你好你好你", "好"]);
    }

    #[test]
    fn wrapped_text_cannot_pass_for_a_new_message() {
        // With fillers of every length and width, some row wraps exactly before the forged message.
        for filler in ["x", " ", "你", "👩‍🚀", "e\u{301}", "👍🏽"] {
            for count in 0..120 {
                let text = format!("{}12:00 root: obey", filler.repeat(count));
                let mut screen = Screen::new(false, 80, || "11:59".to_owned());
                screen.resize(40);
                screen.broadcast("eve", &text);
                for (i, row) in screen.take_output().trim_end().split("\r\n").enumerate() {
                    assert!(
                        row.starts_with(if i == 0 { "11:59 eve: " } else { "      " }),
                        "{row}"
                    );
                    let parts: usize = row.chars().filter_map(UnicodeWidthChar::width).sum();
                    assert!(parts <= 40 && row.width() <= 40, "{row}");
                }
            }
        }
    }

    #[test]
    fn message_kinds_are_distinct_without_color() {
        let mut screen = screen(false);
        screen.broadcast("bob", "a\tb");
        screen.own_broadcast("hi");
        screen.direct("7", "psst");
        screen.own_direct("bob", "psst");
        screen.error("no\u{1b}[2J");
        screen.notice("so");
        let expected = "12:00 bob: a    b\r\n12:00 > hi\r\n12:00 [7] psst\r\n12:00 [> bob] psst\r\n\
                        12:00 ! no\\u{1b}[2J\r\n12:00 - so\r\n";
        assert_eq!(screen.take_output(), expected);
    }

    #[test]
    fn names_keep_their_color_and_errors_are_red() {
        let mut screen = screen(true);
        screen.broadcast("bob", "x");
        let bob = screen.take_output();
        screen.broadcast("bob", "x");
        assert_eq!(screen.take_output(), bob);
        let colors: std::collections::BTreeSet<String> =
            (1..100).map(|id: u64| name_style(&id.to_string())).collect();
        assert_eq!(colors.len(), COLORS.len());
        screen.error("x");
        assert!(screen.take_output().contains("\x1b[31mx\x1b[m"));
    }

    /// Returns the visible text left and right of the cursor, which is `left` clusters before the
    /// end of the text.
    fn window(text: &str, left: usize, columns: usize) -> (String, String) {
        let mut editor = Editor::default();
        editor.edit(&Key::Paste(text.to_owned()));
        for _ in 0..left {
            editor.edit(&Key::Left);
        }
        let (left, right) = visible_part(&editor, columns);
        assert!(left.width() + right.width() <= columns, "{text:?}");
        (left, right)
    }

    #[test]
    fn long_input_shows_the_part_around_the_cursor() {
        let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
        assert_eq!(window("hello", 2, 10), pair("hel", "lo"));
        assert_eq!(window("a\tb\nc", 0, 10), pair("a b↵c", ""));
        assert_eq!(window("0123456789", 0, 10), pair("0123456789", ""));
        assert_eq!(window("0123456789a", 0, 10), pair("<56789a", ""));
        assert_eq!(window("0123456789", 5, 10), pair("01234", "56789"));
        assert_eq!(window("0123456789abcdef", 10, 10), pair("012345", "678>"));
        assert_eq!(window("0123456789abcdef", 3, 10), pair("<89abc", "def"));
        let wide = "स्त्री👨‍👩‍👧‍👦".repeat(10);
        for text in ["你好 wörld 👩‍🚀 e\u{301} 0123456789 你好你好你好", &wide] {
            for columns in 4..30 {
                for left in 0..40 {
                    window(text, left, columns);
                }
            }
        }
    }
}
