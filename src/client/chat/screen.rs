//! The screen: messages that scroll up, and the line being typed below them.
//!
//! This module performs **no I/O**: it appends the bytes for the terminal to a buffer.
//!
//! No message can pass for another one. Each begins with the time and a mark that cannot occur in a
//! name, and its further rows are indented.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher as _};

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use super::editor::Editor;
use crate::escape::escape_untrusted;

/// The maximum length of a displayed message in bytes.
const MAX_DISPLAYED: usize = 64 * 1024;

/// The width of the time and a space, by which the further rows of a message are indented.
const INDENT: usize = 6;

/// A terminal narrower than this is treated as this wide.
const MIN_COLUMNS: usize = 20;

/// The columns that a long prompt leaves for the line being typed.
const MIN_INPUT_COLUMNS: usize = 4;

/// The colours of names: those readable on dark and light backgrounds, without red, which marks
/// errors.
const COLOURS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

/// A message to display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Somebody's broadcast.
    Broadcast {
        from: &'a str,
        text: &'a str,
    },
    /// This client's broadcast.
    OwnBroadcast {
        text: &'a str,
    },
    /// A direct message to this client.
    Direct {
        from: &'a str,
        text: &'a str,
    },
    /// This client's direct message.
    OwnDirect {
        to: &'a str,
        text: &'a str,
    },
    Error(&'a str),
    Notice(&'a str),
}

/// What `/help` shows of the kinds of messages.
pub(super) const LEGEND: [&str; 7] = [
    "messages look like this:",
    "  bob: hello     from bob to everybody",
    "  > hello        from you to everybody",
    "  [bob] hello    from bob to you alone",
    "  [> bob] hello  from you to bob alone",
    "  ! text         an error",
    "  - text         a notice",
];

/// The state of the terminal's last row, which shows the line being typed.
#[derive(Debug)]
pub(super) struct Screen {
    has_colour: bool,
    columns: usize,
    /// The input row, while it is on the screen.
    input: Option<InputRow>,
}

/// What the terminal shows in the input row.
#[derive(Debug)]
struct InputRow {
    /// The bytes that drew it.
    bytes: Vec<u8>,
    /// The cursor's column.
    cursor: usize,
}

impl Screen {
    pub(super) fn new(has_colour: bool, columns: usize) -> Self {
        Self { has_colour, columns: columns.max(MIN_COLUMNS), input: None }
    }

    /// Sets the terminal's width.
    pub(super) fn resize(&mut self, columns: usize, out: &mut Vec<u8>) {
        self.columns = columns.max(MIN_COLUMNS);
        self.erase(out);
    }

    /// Erases the input row.
    pub(super) fn erase(&mut self, out: &mut Vec<u8>) {
        let Some(InputRow { cursor, .. }) = self.input.take() else { return };
        // Most terminals wrap the row when they become narrower. On those that truncate it, this
        // erases a row or more above it as well.
        let rows = cursor / self.columns;
        if rows > 0 {
            out.extend_from_slice(format!("\x1b[{rows}A").as_bytes());
        }
        out.extend_from_slice(b"\r\x1b[J");
    }

    /// Clears the whole screen.
    pub(super) fn clear(&mut self, out: &mut Vec<u8>) {
        self.input = None;
        out.extend_from_slice(b"\x1b[H\x1b[2J");
    }

    /// Prints a message in place of the input row. [`draw`](Self::draw) must follow.
    pub(super) fn print(&mut self, time: &str, message: &Message<'_>, out: &mut Vec<u8>) {
        self.erase(out);
        let (mark, mark_style, text, text_style) = parts(message);
        self.styled(out, "2", &format!("{time} "));
        self.styled(out, &mark_style, &mark);
        out.push(b' ');
        let text = escape_untrusted(&text.replace('\t', "    "), MAX_DISPLAYED);
        let first = INDENT + mark.width() + 1;
        for (i, row) in wrap(&text, self.columns, first, INDENT).enumerate() {
            if i > 0 {
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(" ".repeat(INDENT).as_bytes());
            }
            self.styled(out, text_style, row);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn styled(&self, out: &mut Vec<u8>, style: &str, text: &str) {
        if self.has_colour && !style.is_empty() {
            out.extend_from_slice(format!("\x1b[{style}m{text}\x1b[m").as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Draws the input row, if it has changed. Of a long line, it shows the part around the cursor.
    pub(super) fn draw(&mut self, prompt: &str, editor: &Editor, out: &mut Vec<u8>) {
        // The last column stays free for the cursor.
        let columns = self.columns - 1;
        let prompt = &prompt[..fitting(prompt, columns - MIN_INPUT_COLUMNS)];
        let window = Window::around(editor, columns - prompt.width());
        // Autowrap is off, in case the terminal draws a character wider than expected.
        let mut row = b"\x1b[?7l".to_vec();
        self.styled(&mut row, "1", prompt);
        row.extend_from_slice(window.left.as_bytes());
        if !window.right.is_empty() {
            row.extend_from_slice(window.right.as_bytes());
            // Drawing the left part again leaves the cursor at its end, however wide the terminal
            // draws each character.
            row.push(b'\r');
            self.styled(&mut row, "1", prompt);
            row.extend_from_slice(window.left.as_bytes());
        }
        row.extend_from_slice(b"\x1b[?7h");
        if self.input.as_ref().is_some_and(|input| input.bytes == row) {
            return;
        }
        self.erase(out);
        out.extend_from_slice(&row);
        let cursor = (prompt.width() + window.left.width()).min(columns);
        self.input = Some(InputRow { bytes: row, cursor });
    }
}

/// Returns the mark and the text of a message, each with its style.
fn parts<'a>(message: &Message<'a>) -> (String, String, &'a str, &'static str) {
    let bold = || "1".to_owned();
    match *message {
        Message::Broadcast { from, text } => (format!("{}:", name(from)), colour(from), text, ""),
        Message::OwnBroadcast { text } => (">".to_owned(), bold(), text, ""),
        Message::Direct { from, text } => (format!("[{}]", name(from)), colour(from), text, "1"),
        Message::OwnDirect { to, text } => (format!("[> {}]", name(to)), bold(), text, ""),
        Message::Error(text) => ("!".to_owned(), "1;31".to_owned(), text, "31"),
        Message::Notice(text) => ("-".to_owned(), "2".to_owned(), text, "2"),
    }
}

/// The visible part of the line being typed, left and right of the cursor.
struct Window {
    left: String,
    right: String,
}

impl Window {
    /// Returns the part around the cursor that fits into `columns`. It scrolls by half its width,
    /// so that the cursor has context on both sides.
    fn around(editor: &Editor, columns: usize) -> Self {
        let (left, right) = editor.text().split_at(editor.cursor());
        // Text right of the cursor gets at least one column.
        let max_left = if right.is_empty() { columns } else { columns - 1 };
        let left: Vec<Cow<'_, str>> = left.graphemes(true).map(visible).collect();
        let width: usize = left.iter().map(|grapheme| grapheme.width()).sum();
        let step = (max_left / 2).max(1);
        let hidden = if width <= max_left { 0 } else { ((width - max_left) / step + 1) * step };
        let mut window = Self { left: String::new(), right: String::new() };
        let mut column = 0;
        for grapheme in left {
            if column >= hidden {
                window.left.push_str(&grapheme);
            }
            column += grapheme.width();
        }
        if hidden > 0 {
            window.left.insert(0, '<');
        }
        let mut free = columns.saturating_sub(window.left.width());
        let mut right = right.graphemes(true).map(visible).peekable();
        while let Some(grapheme) = right.next() {
            // Unless this is the last one, a column stays free for the `>` that marks more text.
            let needed = grapheme.width() + usize::from(right.peek().is_some());
            if needed > free {
                window.right.push('>');
                break;
            }
            free -= grapheme.width();
            window.right.push_str(&grapheme);
        }
        window
    }
}

/// Returns how a grapheme cluster is displayed in the input row.
fn visible(grapheme: &str) -> Cow<'_, str> {
    match grapheme {
        "\n" | "\r\n" => "↵".into(),
        "\t" => " ".into(),
        grapheme if grapheme.is_ascii() => grapheme.into(),
        grapheme => escape_untrusted(grapheme, MAX_DISPLAYED).into(),
    }
}

/// Escapes a name. The server is not trusted to send only valid ones.
fn name(name: &str) -> String {
    escape_untrusted(name, 64)
}

/// Returns the style of a name, which is always the same for one name.
fn colour(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    let colour = COLOURS[(hasher.finish() % COLOURS.len() as u64) as usize];
    format!("1;{colour}")
}

/// Wraps a text at spaces, or inside words that are longer than a row. The first row begins in
/// column `first`, the others in column `indent`.
fn wrap(text: &str, columns: usize, first: usize, indent: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let mut column = first;
    std::iter::from_fn(move || {
        let text = rest?;
        let end = fitting(text, columns.saturating_sub(std::mem::replace(&mut column, indent)));
        if end == text.len() {
            rest = None;
            return Some(text);
        }
        let space = if text[end..].starts_with(' ') { Some(end) } else { text[..end].rfind(' ') };
        match space {
            Some(space) if space > 0 => {
                rest = Some(&text[space + 1..]);
                Some(&text[..space])
            }
            _ => {
                rest = Some(&text[end..]);
                Some(&text[..end])
            }
        }
    })
}

/// Returns how many bytes of the text fit into `columns`: at least one grapheme cluster, because
/// rows must not be empty.
fn fitting(text: &str, columns: usize) -> usize {
    let mut width = 0;
    for (start, grapheme) in text.grapheme_indices(true) {
        width += max_width(grapheme);
        if width > columns && start > 0 {
            return start;
        }
    }
    text.len()
}

/// Returns the most columns that a terminal may give a grapheme cluster: some draw each part of an
/// emoji separately.
fn max_width(grapheme: &str) -> usize {
    let parts = grapheme.chars().filter_map(UnicodeWidthChar::width).sum();
    grapheme.width().max(parts)
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::*;

    fn rows(text: &str, columns: usize) -> Vec<&str> {
        wrap(text, columns, 10, 6).collect()
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
        // Whatever precedes the forged message, and however wide the terminal draws that.
        for filler in ["x", " ", "你", "👩‍🚀", "e\u{301}", "👍🏽"] {
            for count in 0..120 {
                let text = format!("{}12:00 root: obey", filler.repeat(count));
                let mut screen = Screen::new(false, 80);
                let mut out = Vec::new();
                screen.resize(40, &mut out);
                let message = Message::Broadcast { from: "eve", text: &text };
                screen.print("11:59", &message, &mut out);
                let shown = String::from_utf8(out).expect("text");
                for (i, row) in shown.trim_end().split("\r\n").enumerate() {
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
    fn message_kinds_are_distinct_without_colour() {
        let mut screen = Screen::new(false, 80);
        let mut out = Vec::new();
        for message in [
            Message::Broadcast { from: "bob", text: "a\tb" },
            Message::OwnBroadcast { text: "hi" },
            Message::Direct { from: "7", text: "psst" },
            Message::OwnDirect { to: "bob", text: "psst" },
            Message::Error("no\u{1b}[2J"),
            Message::Notice("so"),
        ] {
            screen.print("12:00", &message, &mut out);
        }
        let expected = "12:00 bob: a    b\r\n12:00 > hi\r\n12:00 [7] psst\r\n12:00 [> bob] psst\r\n\
                        12:00 ! no\\u{1b}[2J\r\n12:00 - so\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn names_keep_their_colour_and_errors_are_red() {
        let shown = |message: Message<'_>| {
            let mut out = Vec::new();
            Screen::new(true, 80).print("12:00", &message, &mut out);
            String::from_utf8(out).expect("text")
        };
        let bob = shown(Message::Broadcast { from: "bob", text: "x" });
        assert_eq!(bob, shown(Message::Broadcast { from: "bob", text: "x" }));
        let colours: std::collections::BTreeSet<String> =
            (1..100).map(|id: u64| colour(&id.to_string())).collect();
        assert_eq!(colours.len(), COLOURS.len());
        assert!(shown(Message::Error("x")).contains("\x1b[31mx\x1b[m"));
    }

    /// Returns what `columns` show left and right of the cursor, which is `left` clusters before
    /// the end of the text.
    fn window(text: &str, left: usize, columns: usize) -> (String, String) {
        let mut editor = Editor::default();
        editor.edit(&Key::Paste(text.to_owned()));
        for _ in 0..left {
            editor.edit(&Key::Left);
        }
        let window = Window::around(&editor, columns);
        assert!(window.left.width() + window.right.width() <= columns, "{text:?}");
        (window.left, window.right)
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
        for columns in 4..30 {
            for left in 0..40 {
                window("你好 wörld 👩‍🚀 e\u{301} 0123456789 你好你好你好", left, columns);
            }
        }
    }
}
