//! The layout of the input row: which part of the line being typed is visible.

use unicode_segmentation::UnicodeSegmentation as _;

use super::editor::Editor;
use crate::display::{fitting_len, width};
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
    let left_width = width(&left);
    if left_width > max_left {
        let step = (max_left / 2).max(1);
        let hidden = ((left_width - max_left) / step + 1) * step;
        // Hide the cluster at the edge as a whole.
        let shown = left[fitting_len(&left, hidden - 1)..].graphemes(true).skip(1);
        left = format!("<{}", shown.collect::<String>());
    }
    let free = columns - width(&left);
    if fitting_len(&right, free) < right.len() {
        // Reserve a column for the `>`, which marks hidden text.
        right.truncate(fitting_len(&right, free - 1));
        right.push('>');
    }
    (left, right)
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::keys::Key;
    use super::*;

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
