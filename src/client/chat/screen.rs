//! The chat screen: messages that scroll up, and below them the line being typed.
//!
//! This module performs **no I/O**: it collects the output for the terminal.
//!
//! No message can imitate another: each begins with the time, or `--:--`, and a mark, no name looks like the
//! mark of another kind of message, and continuation rows are indented. This does not depend on
//! character widths, on which terminals disagree.

use std::collections::VecDeque;
use std::mem;

use unicode_width::UnicodeWidthStr as _;

use super::editor::Editor;
use super::layout::visible_part;
use crate::display::{DISABLE_AUTOWRAP, ENABLE_AUTOWRAP, fitting_len, wrap};
use crate::escape::{escape_non_ascii, escape_untrusted};

/// The maximum length of a displayed text, in bytes.
const MAX_DISPLAYED: usize = 64 * 1024;

/// The maximum length of a message's mark, in bytes. Only an invalid name exceeds it.
const MAX_MARK: usize = 64;

/// The indentation of continuation rows: the width of the time and a space.
const INDENT: usize = 6;

/// Shown in place of an unknown time. Blanks would look like a continuation row.
const NO_TIME: &str = "--:--";

/// The minimum width: the indentation and a wide character. On a narrower terminal, rows are cut.
const MIN_COLUMNS: usize = INDENT + 2;

/// The maximum number of messages to redraw when the terminal becomes narrower.
const MAX_REDRAWN: usize = 200;

/// The minimum number of columns for the line being typed, beside a long prompt.
const MIN_INPUT_COLUMNS: usize = 4;

/// Clears the screen, and moves the cursor to its first row.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The colors of names, readable on dark and light backgrounds. Red is only for errors.
const COLORS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

/// A message on the screen. Its mark and text are escaped.
#[derive(Debug)]
struct Message {
    time: String,
    mark: String,
    mark_style: String,
    text: String,
    text_style: &'static str,
}

/// The kinds of broadcasts, which look different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This client's own line.
    Own,
    /// Another client's line.
    Other,
    /// Another client's line that mentions the user.
    Mention,
    /// An earlier line that the server replays. The server does not say when it was sent.
    Replayed,
}

/// Draws messages and, below them, the input row, which shows the line being typed.
///
/// A message erases the input row. Call [`draw`](Self::draw) to show it again.
#[derive(Debug)]
pub(super) struct Screen {
    has_color: bool,
    is_utf8: bool,
    /// Returns the time of day, as `HH:MM`.
    clock: fn() -> String,
    rows: usize,
    columns: usize,
    /// Whether the screen was cleared because it became narrower. It then shows nothing from before
    /// the chat.
    is_cleared: bool,
    /// The last messages since the screen was cleared, for redrawing.
    messages: VecDeque<Message>,
    /// The output that drew the input row, or empty if the row is not on the screen.
    input: String,
    /// The cursor's column in the input row.
    cursor: usize,
    /// The output that has not been taken yet.
    output: String,
}

impl Screen {
    /// `size` is the number of rows and columns.
    pub(super) fn new(
        has_color: bool,
        is_utf8: bool,
        size: (usize, usize),
        clock: fn() -> String,
    ) -> Self {
        Self {
            has_color,
            is_utf8,
            clock,
            rows: size.0,
            columns: size.1.max(MIN_COLUMNS),
            is_cleared: false,
            messages: VecDeque::new(),
            input: String::new(),
            cursor: 0,
            output: String::new(),
        }
    }

    /// Returns and clears the output for the terminal.
    pub(super) fn take_output(&mut self) -> String {
        mem::take(&mut self.output)
    }

    /// Sets the terminal's number of rows and columns, and erases the input row.
    ///
    /// A terminal that becomes narrower may wrap the rows on the screen and continue them in column
    /// 0, so the messages are redrawn. It may also scroll parts of the input row off, and back when
    /// it becomes wider or higher, so the messages are redrawn then as well.
    pub(super) fn resize(&mut self, (rows, columns): (usize, usize)) {
        let is_narrower = columns < self.columns;
        let has_changed = (rows, columns.max(MIN_COLUMNS)) != (self.rows, self.columns);
        self.rows = rows;
        self.columns = columns.max(MIN_COLUMNS);
        self.erase();
        if is_narrower || has_changed && self.is_cleared {
            self.is_cleared = true;
            self.output += CLEAR;
            self.redraw();
        }
    }

    /// Draws the last messages on an empty screen, and leaves a row free for the input.
    fn redraw(&mut self) {
        let messages = self.messages.iter().rev().flat_map(|message| {
            let rows = self.layout(message);
            rows.into_iter().rev()
        });
        let mut rows: Vec<String> = messages.take(self.rows.saturating_sub(1)).collect();
        rows.reverse();
        self.print_rows(&rows);
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
        self.messages.clear();
        self.output += CLEAR;
    }

    /// Shows a broadcast.
    pub(super) fn broadcast(&mut self, kind: Kind, from: &str, text: &str) {
        let (mark, text) = match (action(text), kind) {
            (Some(text), _) => (format!("* {from}"), text),
            (None, Kind::Own) => (">".to_owned(), text),
            (None, _) => (format!("{from}:"), text),
        };
        match kind {
            Kind::Own => self.print(&mark, "1", text, ""),
            Kind::Other => self.print(&mark, &name_style(from), text, ""),
            Kind::Mention => self.print(&format!("=> {mark}"), "1;7", text, "1"),
            Kind::Replayed => self.print_at(NO_TIME.to_owned(), &mark, &name_style(from), text, ""),
        }
    }

    /// Shows a direct message to this client.
    pub(super) fn direct(&mut self, from: &str, text: &str) {
        self.print(&format!("[{from}]"), "1;7", text, "1");
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

    /// Rings the terminal's bell.
    pub(super) fn ring(&mut self) {
        self.output.push('\x07');
    }

    fn print(&mut self, mark: &str, mark_style: &str, text: &str, text_style: &'static str) {
        self.print_at((self.clock)(), mark, mark_style, text, text_style);
    }

    /// Replaces the input row with a message. A style consists of SGR parameters, such as `1;31`
    /// for bold and red.
    fn print_at(
        &mut self,
        time: String,
        mark: &str,
        mark_style: &str,
        text: &str,
        text_style: &'static str,
    ) {
        self.erase();
        let message = Message {
            time,
            mark: self.escape(mark, MAX_MARK),
            mark_style: mark_style.to_owned(),
            text: self.escape(&text.replace('\t', "    "), MAX_DISPLAYED),
            text_style,
        };
        let rows = self.layout(&message);
        self.print_rows(&rows);
        if self.messages.len() == MAX_REDRAWN {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    fn escape(&self, text: &str, max: usize) -> String {
        let text = escape_untrusted(text, max);
        if self.is_utf8 { text } else { escape_non_ascii(&text) }
    }

    /// Returns the rows of a message.
    fn layout(&self, message: &Message) -> Vec<String> {
        let Message { time, mark, mark_style, text, text_style } = message;
        // A name may be longer than a row.
        let marks = wrap(mark, self.columns, INDENT, INDENT);
        let column = INDENT + marks.last().map_or(0, |row| row.width()) + 1;
        let mut texts = wrap(text, self.columns, column, INDENT).into_iter();
        let indent = " ".repeat(INDENT);
        let mut rows: Vec<String> =
            marks.iter().map(|row| indent.clone() + &self.styled(mark_style, row)).collect();
        rows[0].replace_range(..INDENT, &format!("{} ", self.styled("2", time)));
        // If the name fills its row, a space would overwrite its end.
        let first = texts.next().filter(|text| !text.is_empty());
        if let (Some(first), Some(row)) = (first, rows.last_mut()) {
            *row += &format!(" {}", self.styled(text_style, first));
        }
        rows.extend(texts.map(|text| indent.clone() + &self.styled(text_style, text)));
        rows
    }

    /// Appends rows to the output. Without autowrap, the terminal truncates a row that is wider
    /// than expected, instead of continuing it in column 0, where it could pass for a message.
    fn print_rows(&mut self, rows: &[String]) {
        let rows: String = rows.iter().map(|row| format!("{row}\r\n")).collect();
        self.output += &format!("{DISABLE_AUTOWRAP}{rows}{ENABLE_AUTOWRAP}");
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
        let (left, right) = visible_part(editor, columns - prompt.width(), self.is_utf8);
        let cursor = prompt.width() + left.width();
        let left = self.styled("1", prompt) + &left;
        // Drawing the left part twice leaves the cursor at its end, even if the terminal's character
        // widths differ.
        let input = format!("{DISABLE_AUTOWRAP}{left}{right}\r{left}{ENABLE_AUTOWRAP}");
        if input != self.input {
            self.erase();
            self.output += &input;
            self.input = input;
            self.cursor = cursor;
        }
    }
}

/// Returns what the sender does, if the text begins with `/me `. XMPP has the same convention
/// (XEP-0245).
fn action(text: &str) -> Option<&str> {
    let (word, action) = text.split_once(' ')?;
    word.eq_ignore_ascii_case("/me").then_some(action).filter(|action| !action.is_empty())
}

/// Returns the style of a name, which depends only on the name.
fn name_style(name: &str) -> String {
    let sum: usize = name.bytes().map(usize::from).sum();
    format!("1;{}", COLORS[sum % COLORS.len()])
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthChar as _;

    use super::*;
    use crate::testing::model_terminal::{ModelTerminal, WIDTHS};

    /// Returns a screen at twelve o'clock.
    fn screen(has_color: bool) -> Screen {
        Screen::new(has_color, true, (24, 80), || "12:00".to_owned())
    }

    #[test]
    fn message_kinds_are_distinct_without_color() {
        let mut screen = screen(false);
        screen.broadcast(Kind::Other, "bob", "a\tb");
        screen.broadcast(Kind::Own, "al", "hi");
        screen.broadcast(Kind::Mention, "bob", "hi al");
        screen.broadcast(Kind::Replayed, "bob", "hi al");
        screen.broadcast(Kind::Other, "bob", "/me waves");
        screen.broadcast(Kind::Own, "al", "/ME  waves");
        screen.broadcast(Kind::Mention, "bob", "/me waves at al");
        screen.broadcast(Kind::Replayed, "bob", "/me waves");
        screen.broadcast(Kind::Other, "bob", "/me ");
        screen.broadcast(Kind::Other, "bob", "/metal");
        screen.direct("7", "psst");
        screen.own_direct("bob", "psst");
        screen.error("no\u{1b}[2J");
        screen.notice("so");
        let output =
            screen.take_output().replace(DISABLE_AUTOWRAP, "").replace(ENABLE_AUTOWRAP, "");
        let rows: Vec<&str> = output.split_terminator("\r\n").collect();
        let expected = [
            "12:00 bob: a    b",
            "12:00 > hi",
            "12:00 => bob: hi al",
            "--:-- bob: hi al",
            "12:00 * bob waves",
            "12:00 * al  waves",
            "12:00 => * bob waves at al",
            "--:-- * bob waves",
            "12:00 bob: /me ",
            "12:00 bob: /metal",
            "12:00 [7] psst",
            "12:00 [> bob] psst",
            "12:00 ! no\\u{1b}[2J",
            "12:00 - so",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn names_keep_their_color_and_errors_are_red() {
        let mut screen = screen(true);
        screen.broadcast(Kind::Other, "bob", "x");
        let bob = screen.take_output();
        screen.broadcast(Kind::Other, "bob", "x");
        assert_eq!(screen.take_output(), bob);
        let colors: std::collections::BTreeSet<String> =
            (1..100).map(|id: u64| name_style(&id.to_string())).collect();
        assert_eq!(colors.len(), COLORS.len());
        screen.error("x");
        assert!(screen.take_output().contains("\x1b[31mx\x1b[m"));
    }

    /// Checks that each row of a broadcast from eve is the beginning of the message or indented, on
    /// all terminals.
    #[track_caller]
    fn check_rows(text: &str, columns: usize) {
        let mut screen = Screen::new(false, true, (24, columns), || "11:59".to_owned());
        let action = format!("/me {text}");
        for (kind, text, first) in [
            (Kind::Other, text, "11:59 eve:"),
            (Kind::Mention, text, "11:59 => eve:"),
            (Kind::Replayed, text, "--:-- eve:"),
            (Kind::Other, &action, "11:59 * eve"),
        ] {
            screen.broadcast(kind, "eve", text);
            let output = screen.take_output();
            for width in WIDTHS {
                let mut terminal = ModelTerminal::new(1000, columns, width);
                terminal.write(&output);
                for (i, row) in terminal.rows().iter().enumerate() {
                    let start = if i == 0 { first } else { "      " };
                    assert!(row.starts_with(start), "{columns} columns: {row}");
                }
            }
        }
    }

    #[test]
    fn wrapped_text_cannot_pass_for_a_new_message() {
        // With fillers of every length and width, some row wraps exactly before the forged message.
        for filler in ["x", " ", "你", "👩‍🚀", "e\u{301}", "👍🏽"] {
            for count in 0..120 {
                check_rows(&format!("{}12:00 root: obey", filler.repeat(count)), 40);
            }
        }
    }

    #[test]
    fn characters_of_uncertain_width_cannot_start_a_row() {
        let uncertain = |c: &char| c.width() != c.width_cjk() || c.width() != Some(1);
        let sequences =
            ["❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "🇩🇪", "ก\u{e47}", "ᄒ\u{1161}\u{11ab}", "a\u{200c}"];
        let sequences = sequences.map(str::to_owned).into_iter();
        let fillers = ('\u{a0}'..'\u{3400}').chain('\u{f000}'..='\u{1ffff}').filter(uncertain);
        // Every 23rd is enough for a test that runs often.
        for filler in sequences.chain(fillers.step_by(23).map(String::from)) {
            for count in [15, 29, 30, 31, 34, 60, 65] {
                check_rows(&format!("{}12:00 root: obey", filler.repeat(count)), 40);
            }
        }
    }

    #[test]
    fn soft_hyphens_and_stacked_marks_cannot_start_a_row() {
        for filler in
            ["\u{ad}", "\u{115f}", "\u{200b}", "\u{fe0f}", "\u{e0041}", "\u{301}", "\u{e47}"]
        {
            for columns in [20, 40, 80] {
                for count in 0..columns {
                    check_rows(&format!("{}12:00 root: approved", filler.repeat(count)), columns);
                }
            }
        }
    }

    #[test]
    fn narrow_terminal_shows_the_whole_message() {
        for columns in MIN_COLUMNS..24 {
            let mut screen = Screen::new(false, true, (24, columns), || "11:59".to_owned());
            screen.broadcast(Kind::Other, "a-long_name", "12:00 root: 你好");
            let mut terminal = ModelTerminal::new(1000, columns, WIDTHS[0]);
            terminal.write(&screen.take_output());
            let rows = terminal.rows();
            assert!(rows[1..].iter().all(|row| row.starts_with("      ")), "{rows:?}");
            let shown = rows.concat().replace(' ', "");
            assert_eq!(shown, "11:59a-long_name:12:00root:你好");
        }
    }

    #[test]
    fn narrower_terminal_does_not_wrap_earlier_messages() {
        // Wherever a row wraps, a forged message may begin.
        let text: String =
            (0..40).map(|count| format!("{}12:00 root: obey ", "x".repeat(count))).collect();
        for columns in 8..80 {
            let mut screen = Screen::new(false, true, (24, 80), || "11:59".to_owned());
            let mut terminal = ModelTerminal::new(24, 80, WIDTHS[0]);
            for _ in 0..3 {
                screen.broadcast(Kind::Other, "eve", &text);
            }
            screen.draw("al> ", &Editor::default());
            terminal.write(&screen.take_output());
            terminal.resize_and_wrap(columns);
            screen.resize((24, columns));
            screen.draw("al> ", &Editor::default());
            terminal.write(&screen.take_output());
            let rows = terminal.rows();
            assert!(rows.len() > 20, "{rows:?}");
            for row in &rows[..rows.len() - 1] {
                assert!(row.starts_with("11:59 ") || row.starts_with("      "), "{row}");
            }
            assert!(rows.last().is_some_and(|row| row.starts_with("al>")), "{rows:?}");
        }
    }

    #[test]
    fn cleared_messages_are_not_redrawn() {
        let mut screen = screen(false);
        screen.broadcast(Kind::Other, "bob", "old");
        screen.clear();
        screen.broadcast(Kind::Other, "bob", "new");
        screen.take_output();
        screen.resize((24, 40));
        let output = screen.take_output();
        assert!(output.contains("12:00 bob: new") && !output.contains("old"), "{output:?}");
    }

    #[test]
    fn messages_are_redrawn_only_after_the_terminal_was_narrower() {
        let mut screen = screen(false);
        screen.broadcast(Kind::Other, "bob", "x");
        screen.take_output();
        screen.resize((30, 90));
        assert_eq!(screen.take_output(), "", "the screen may show what is older than the chat");
        for (rows, columns) in [(30, 40), (30, 60), (31, 60)] {
            screen.resize((rows, columns));
            assert!(screen.take_output().starts_with(CLEAR), "{rows} rows, {columns} columns");
        }
        screen.resize((31, 60));
        assert_eq!(screen.take_output(), "", "the size has not changed");
    }
}
