//! The layout of text in rows: where a message wraps, and which part of the input row is visible.
//!
//! Widths are estimates: terminals disagree on the width of some characters. So only the appearance
//! of a row may depend on them.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use super::editor::Editor;
use crate::escape;

/// Returns the parts of the line being typed, left and right of the cursor, that fit into
/// `columns`. The text scrolls by half the width, so that the cursor has context on both sides.
pub(super) fn visible_part(editor: &Editor, columns: usize, is_utf8: bool) -> (String, String) {
    let (mut left, mut right) = (String::new(), String::new());
    let mut position = 0;
    for (c, is_visible) in escape::characters(editor.text()) {
        let part = if position < editor.cursor() { &mut left } else { &mut right };
        position += c.len_utf8();
        // The user may still type the character that a joiner at the end joins.
        let is_joiner = matches!(c, '\u{200c}' | '\u{200d}') && position == editor.text().len();
        match c {
            '\n' if is_utf8 => part.push('↵'),
            '\t' => part.push(' '),
            c if (is_visible || is_joiner) && (is_utf8 || c.is_ascii()) => part.push(c),
            c => part.extend(c.escape_default()),
        }
    }
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

/// Wraps a text at spaces, and inside words that are longer than a row. The first row begins in
/// `column`, and is empty if nothing fits there. All others begin in column `indent`.
pub(super) fn wrap(mut text: &str, columns: usize, mut column: usize, indent: usize) -> Vec<&str> {
    let mut rows = vec![];
    loop {
        let mut end = fitting_len(text, columns.saturating_sub(column));
        if end == text.len() {
            rows.push(text);
            return rows;
        }
        if end == 0 && column <= indent {
            // The row has at least one cluster, even if it does not fit.
            end = text.graphemes(true).next().map_or(0, str::len);
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
pub(super) fn fitting_len(text: &str, columns: usize) -> usize {
    let mut width = 0;
    for (start, grapheme) in text.grapheme_indices(true) {
        width += max_width(grapheme);
        if width > columns {
            return start;
        }
    }
    text.len()
}

/// Returns the maximum width of a text on terminals that draw emoji as one character or as separate
/// parts.
fn max_width(text: &str) -> usize {
    let parts = |grapheme: &str| grapheme.chars().filter_map(UnicodeWidthChar::width).sum();
    text.graphemes(true).map(|grapheme| grapheme.width().max(parts(grapheme))).sum()
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::*;

    fn rows(text: &str, columns: usize) -> Vec<&str> {
        wrap(text, columns, 10, 6)
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

    /// Returns the visible text left and right of the cursor, which is `left` clusters before the
    /// end of the text.
    fn window(text: &str, left: usize, columns: usize) -> (String, String) {
        let mut editor = Editor::default();
        editor.edit(&Key::Paste(text.to_owned()));
        for _ in 0..left {
            editor.edit(&Key::Left);
        }
        let (left, right) = visible_part(&editor, columns, true);
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
