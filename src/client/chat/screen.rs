//! What the terminal shows: messages that scroll away, and below them the line being typed.
//!
//! This room performs **no I/O**: it appends to a buffer what the terminal is to be sent.
//!
//! Nothing that was said can look like something else. A message begins with the time and with a
//! mark that no name can have, and where it is longer than a row, the rows after the first are
//! indented.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher as _};

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use super::editor::Editor;
use crate::escape::escape_untrusted;

/// How much of a message is shown, in bytes.
const MAX_SHOWN: usize = 64 * 1024;

/// The columns of a time and a space: what the rows of a message after the first are indented by.
const INDENT: usize = 6;

/// A terminal with fewer columns is taken to have as many.
const MIN_COLUMNS: usize = 20;

/// As many columns at least are given to the line being typed.
const MIN_ROOM: usize = 4;

/// Colours that names have: all that can be told from the background, but for red, which errors have.
const COLOURS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

/// Something to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Somebody says something to everybody.
    Said { from: &'a str, text: &'a str },
    /// This client did.
    Own { text: &'a str },
    /// Somebody says something to this client alone.
    Direct { from: &'a str, text: &'a str },
    /// This client did to another.
    Sent { to: &'a str, text: &'a str },
    /// Something was not done.
    Error(&'a str),
    /// What is to be known besides.
    Notice(&'a str),
}

/// What each sort of message looks like, for people to know.
pub(super) const LEGEND: [&str; 6] = [
    "bob: hello       bob says it to everybody",
    "> hello          you do",
    "[bob] hello      bob says it to you alone",
    "[> bob] hello    you say it to bob alone",
    "! what           something was not done",
    "- what           something to know",
];

/// The rows at the bottom of the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    has_colour: bool,
    columns: usize,
    /// The line being typed, while it is shown.
    shown: Option<Shown>,
}

/// A row at the bottom of the terminal.
#[derive(Debug)]
struct Shown {
    /// What the terminal was sent for it.
    row: Vec<u8>,
    /// In which column the cursor is.
    cursor: usize,
}

impl Screen {
    pub(super) fn new(has_colour: bool, columns: usize) -> Self {
        Self { has_colour, columns: columns.max(MIN_COLUMNS), shown: None }
    }

    /// Notes how wide the terminal is now.
    pub(super) fn resize(&mut self, columns: usize, out: &mut Vec<u8>) {
        self.columns = columns.max(MIN_COLUMNS);
        self.erase(out);
    }

    /// Takes the line being typed off the screen.
    pub(super) fn erase(&mut self, out: &mut Vec<u8>) {
        let Some(Shown { cursor, .. }) = self.shown.take() else { return };
        // A terminal that was made narrower has folded the row that was too long for it. The few that
        // cut it instead lose as many rows above it.
        let rows = cursor / self.columns;
        if rows > 0 {
            out.extend_from_slice(format!("\x1b[{rows}A").as_bytes());
        }
        out.extend_from_slice(b"\r\x1b[J");
    }

    /// Takes everything off the screen.
    pub(super) fn clear(&mut self, out: &mut Vec<u8>) {
        self.shown = None;
        out.extend_from_slice(b"\x1b[H\x1b[2J");
    }

    /// Shows a message in place of the line being typed, which has to be drawn again below.
    pub(super) fn print(&mut self, time: &str, message: &Message<'_>, out: &mut Vec<u8>) {
        self.erase(out);
        let (mark, mark_style, text, text_style) = self.parts(message);
        self.styled(out, "2", &format!("{time} "));
        self.styled(out, &mark_style, &mark);
        out.push(b' ');
        let text = escape_untrusted(&text.replace('\t', "    "), MAX_SHOWN);
        let first = INDENT + mark.width() + 1;
        for (i, row) in fold(&text, self.columns, first, INDENT).enumerate() {
            if i > 0 {
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(" ".repeat(INDENT).as_bytes());
            }
            self.styled(out, text_style, row);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A message's mark and text, each with its style.
    fn parts<'a>(&self, message: &Message<'a>) -> (String, String, &'a str, &'static str) {
        let bold = || "1".to_owned();
        match *message {
            Message::Said { from, text } => (format!("{}:", name(from)), colour(from), text, ""),
            Message::Own { text } => (">".to_owned(), bold(), text, ""),
            Message::Direct { from, text } => {
                (format!("[{}]", name(from)), colour(from), text, "1")
            }
            Message::Sent { to, text } => (format!("[> {}]", name(to)), bold(), text, ""),
            Message::Error(text) => ("!".to_owned(), "1;31".to_owned(), text, "31"),
            Message::Notice(text) => ("-".to_owned(), "2".to_owned(), text, "2"),
        }
    }

    fn styled(&self, out: &mut Vec<u8>, style: &str, text: &str) {
        if self.has_colour && !style.is_empty() {
            out.extend_from_slice(format!("\x1b[{style}m{text}\x1b[m").as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Shows the line being typed, in one row; of a longer one, the part around the cursor.
    pub(super) fn draw(&mut self, prompt: &str, editor: &Editor, out: &mut Vec<u8>) {
        // The last column stays free, for the cursor.
        let columns = self.columns - 1;
        let prompt = &prompt[..fitting(prompt, columns - MIN_ROOM)];
        let window = Window::around(editor, columns - prompt.width());
        // Where the terminal has other ideas of how wide a character is, the row must not fold.
        let mut row = b"\x1b[?7l".to_vec();
        self.styled(&mut row, "1", prompt);
        row.extend_from_slice(window.left.as_bytes());
        if !window.right.is_empty() {
            row.extend_from_slice(window.right.as_bytes());
            // Shown once more, what stands before the cursor ends where the cursor should be,
            // whatever the terminal's ideas are.
            row.push(b'\r');
            self.styled(&mut row, "1", prompt);
            row.extend_from_slice(window.left.as_bytes());
        }
        row.extend_from_slice(b"\x1b[?7h");
        if self.shown.as_ref().is_some_and(|shown| shown.row == row) {
            return;
        }
        self.erase(out);
        out.extend_from_slice(&row);
        let cursor = (prompt.width() + window.left.width()).min(columns);
        self.shown = Some(Shown { row, cursor });
    }
}

/// The part of the line being typed that is shown: what stands before the cursor, and behind it.
struct Window {
    left: String,
    right: String,
}

impl Window {
    /// The part around the cursor that fits into so many columns. It moves by half of them, so that
    /// what is around the cursor can be read.
    fn around(editor: &Editor, room: usize) -> Self {
        let (left, right) = editor.text().split_at(editor.cursor());
        // Where something stands behind the cursor, a column is kept for it.
        let before = if right.is_empty() { room } else { room - 1 };
        let left: Vec<Cow<'_, str>> = left.graphemes(true).map(shown).collect();
        let width: usize = left.iter().map(|cluster| cluster.width()).sum();
        let step = (before / 2).max(1);
        let hidden = if width <= before { 0 } else { ((width - before) / step + 1) * step };
        let mut window = Self { left: String::new(), right: String::new() };
        let mut column = 0;
        for cluster in left {
            if column >= hidden {
                window.left.push_str(&cluster);
            }
            column += cluster.width();
        }
        if hidden > 0 {
            window.left.insert(0, '<');
        }
        let mut free = room.saturating_sub(window.left.width());
        let mut right = right.graphemes(true).map(shown).peekable();
        while let Some(cluster) = right.next() {
            // A column is kept for the sign that there is more.
            let needed = cluster.width() + usize::from(right.peek().is_some());
            if needed > free {
                window.right.push('>');
                break;
            }
            free -= cluster.width();
            window.right.push_str(&cluster);
        }
        window
    }
}

/// How a cluster is shown in the line being typed.
fn shown(cluster: &str) -> Cow<'_, str> {
    match cluster {
        "\n" | "\r\n" => "↵".into(),
        "\t" => " ".into(),
        cluster if cluster.is_ascii() => cluster.into(),
        cluster => escape_untrusted(cluster, MAX_SHOWN).into(),
    }
}

/// A name, or what an untrusted server says is one: without what could make it look like more.
fn name(name: &str) -> String {
    escape_untrusted(name, 64)
}

/// The style of a name: the same one wherever it is shown.
fn colour(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    let colour = COLOURS[(hasher.finish() % COLOURS.len() as u64) as usize];
    format!("1;{colour}")
}

/// The rows of a text. The first begins in column `first`, the others in column `indent`. They end
/// between words, where there is a blank to end them at.
fn fold(text: &str, columns: usize, first: usize, indent: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let mut column = first;
    std::iter::from_fn(move || {
        let text = rest?;
        let end = fitting(text, columns.saturating_sub(std::mem::replace(&mut column, indent)));
        if end == text.len() {
            rest = None;
            return Some(text);
        }
        let blank = if text[end..].starts_with(' ') { Some(end) } else { text[..end].rfind(' ') };
        match blank {
            Some(blank) if blank > 0 => {
                rest = Some(&text[blank + 1..]);
                Some(&text[..blank])
            }
            _ => {
                rest = Some(&text[end..]);
                Some(&text[..end])
            }
        }
    })
}

/// The columns that a cluster takes at most: some terminals show an emoji's parts one by one.
fn widest(cluster: &str) -> usize {
    let parts = cluster.chars().filter_map(UnicodeWidthChar::width).sum();
    cluster.width().max(parts)
}

/// How many bytes of the text fit into so many columns; at least one cluster.
fn fitting(text: &str, columns: usize) -> usize {
    let mut width = 0;
    for (start, cluster) in text.grapheme_indices(true) {
        width += widest(cluster);
        if width > columns && start > 0 {
            return start;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::*;

    fn rows(text: &str, columns: usize) -> Vec<&str> {
        fold(text, columns, 10, 6).collect()
    }

    #[test]
    fn long_messages_fold_between_words() {
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
    fn no_text_can_begin_a_row_of_its_own() {
        // Whatever stands before it, and however wide the terminal takes that to be.
        for filler in ["x", " ", "你", "👩‍🚀", "e\u{301}", "👍🏽"] {
            for count in 0..120 {
                let text = format!("{}12:00 root: obey", filler.repeat(count));
                let mut screen = Screen::new(false, 80);
                let mut out = Vec::new();
                screen.resize(40, &mut out);
                let message = Message::Said { from: "eve", text: &text };
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
    fn sorts_of_messages_are_told_apart_without_colour() {
        let mut screen = Screen::new(false, 80);
        let mut out = Vec::new();
        for message in [
            Message::Said { from: "bob", text: "a\tb" },
            Message::Own { text: "hi" },
            Message::Direct { from: "7", text: "psst" },
            Message::Sent { to: "bob", text: "psst" },
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
    fn names_have_colours_and_errors_have_theirs() {
        let shown = |message: Message<'_>| {
            let mut out = Vec::new();
            Screen::new(true, 80).print("12:00", &message, &mut out);
            String::from_utf8(out).expect("text")
        };
        let bob = shown(Message::Said { from: "bob", text: "x" });
        assert_eq!(bob, shown(Message::Said { from: "bob", text: "x" }));
        let colours: std::collections::BTreeSet<String> =
            (1..100).map(|id: u64| colour(&id.to_string())).collect();
        assert_eq!(colours.len(), COLOURS.len());
        assert!(shown(Message::Error("x")).contains("\x1b[31mx\x1b[m"));
    }

    /// What is shown left and right of the cursor in so many columns.
    fn window(text: &str, to_the_left: usize, room: usize) -> (String, String) {
        let mut editor = Editor::default();
        editor.edit(&Key::Paste(text.to_owned()));
        for _ in 0..to_the_left {
            editor.edit(&Key::Left);
        }
        let window = Window::around(&editor, room);
        assert!(window.left.width() + window.right.width() <= room, "{text:?}");
        (window.left, window.right)
    }

    #[test]
    fn of_a_long_line_the_part_around_the_cursor_is_shown() {
        let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
        assert_eq!(window("hello", 2, 10), pair("hel", "lo"));
        assert_eq!(window("a\tb\nc", 0, 10), pair("a b↵c", ""));
        assert_eq!(window("0123456789", 0, 10), pair("0123456789", ""));
        assert_eq!(window("0123456789a", 0, 10), pair("<56789a", ""));
        assert_eq!(window("0123456789", 5, 10), pair("01234", "56789"));
        assert_eq!(window("0123456789abcdef", 10, 10), pair("012345", "678>"));
        assert_eq!(window("0123456789abcdef", 3, 10), pair("<89abc", "def"));
        for room in 4..30 {
            for left in 0..40 {
                window("你好 wörld 👩‍🚀 e\u{301} 0123456789 你好你好你好", left, room);
            }
        }
    }
}
