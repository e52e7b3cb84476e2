//! The line that is being typed.
//!
//! What a person takes for one character may be several: a letter and its accents, an emoji and its
//! parts. The cursor stands only between such clusters, and one key deletes a whole one.

use std::collections::VecDeque;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};

use super::keys::Key;

/// The longest text, in bytes: more than a server takes as a line, for pasted lines.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// How many lines the arrow keys bring back.
const MAX_HISTORY: usize = 500;

/// A text, a cursor in it, and the texts before it.
///
/// **Invariant**: `cursor <= text.len()`, and it stands between two clusters.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    cursor: usize,
    /// What was deleted last, by words or to an end.
    killed: String,
    history: VecDeque<String>,
    /// How far back in the history the text is; 0 is the one that was being typed.
    back: usize,
    /// The one that was being typed, while another is shown.
    draft: String,
}

impl Editor {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where the cursor is, in bytes.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Does what the key says, if it is one for editing; says whether there was room for that.
    pub(super) fn edit(&mut self, key: &Key) -> bool {
        match key {
            Key::Text(text) | Key::Paste(text) => return self.insert(text),
            Key::Backspace => self.delete(self.cluster_left(), self.cursor),
            Key::Delete | Key::EndOfInput => self.delete(self.cursor, self.cluster_right()),
            Key::Left => self.cursor = self.cluster_left(),
            Key::Right => self.cursor = self.cluster_right(),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Up => self.recall(self.back + 1),
            Key::Down => self.recall(self.back.saturating_sub(1)),
            Key::KillToStart => self.kill(0, self.cursor),
            Key::KillToEnd => self.kill(self.cursor, self.text.len()),
            Key::KillWordLeft => self.kill(self.blank_left(), self.cursor),
            Key::KillWordRight => self.kill(self.cursor, self.word_right()),
            Key::Yank => return self.insert(&self.killed.clone()),
            Key::Enter | Key::ClearScreen | Key::Suspend | Key::Interrupt => {}
        }
        true
    }

    /// Takes the text away, and keeps it in the history.
    pub(super) fn submit(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        self.cursor = 0;
        self.back = 0;
        self.draft.clear();
        if !text.trim().is_empty() && self.history.back() != Some(&text) {
            if self.history.len() == MAX_HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(text.clone());
        }
        text
    }

    fn insert(&mut self, text: &str) -> bool {
        let fits = self.text.len() + text.len() <= MAX_TEXT;
        if fits {
            self.text.insert_str(self.cursor, text);
            self.move_to(self.cursor + text.len());
        }
        fits
    }

    fn kill(&mut self, from: usize, to: usize) {
        if from < to {
            self.killed = self.text[from..to].to_owned();
            self.delete(from, to);
        }
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.move_to(from);
    }

    /// Puts the cursor there, or behind the cluster that has come to be around there.
    fn move_to(&mut self, position: usize) {
        self.cursor = position;
        let mut cursor = GraphemeCursor::new(position, self.text.len(), true);
        if !cursor.is_boundary(&self.text, 0).unwrap_or(true) {
            self.cursor = self.cluster_right();
        }
    }

    /// Shows the text that is so many back.
    fn recall(&mut self, back: usize) {
        if back > self.history.len() || back == self.back {
            return;
        }
        if self.back == 0 {
            self.draft = self.text.clone();
        }
        self.text = match back {
            0 => std::mem::take(&mut self.draft),
            back => self.history[self.history.len() - back].clone(),
        };
        self.back = back;
        self.cursor = self.text.len();
    }

    // The whole text is at hand, so that the cursors below never lack any of it.

    fn cluster_left(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn cluster_right(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    fn word_left(&self) -> usize {
        let mut words = self.text[..self.cursor].unicode_word_indices();
        words.next_back().map_or(0, |(start, _)| start)
    }

    fn word_right(&self) -> usize {
        let mut words = self.text[self.cursor..].unicode_word_indices();
        words.next().map_or(self.text.len(), |(start, word)| self.cursor + start + word.len())
    }

    /// The beginning of what stands before the cursor without a blank.
    fn blank_left(&self) -> usize {
        let text = self.text[..self.cursor].trim_end();
        text.rfind(char::is_whitespace)
            .map_or(0, |blank| blank + text[blank..].chars().next().map_or(0, char::len_utf8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands there after these keys, the cursor shown as `|`. `<` and `>` are the arrow keys,
    /// `^` and `v` too; `B` is Backspace, `X` Delete; `«` and `»` go by words; `W` kills one, `U` and
    /// `K` to an end, `Y` yanks; `↵` submits.
    fn typed(keys: &str) -> String {
        let mut editor = Editor::default();
        for c in keys.chars() {
            editor.edit(&match c {
                '<' => Key::Left,
                '>' => Key::Right,
                '^' => Key::Up,
                'v' => Key::Down,
                'B' => Key::Backspace,
                'X' => Key::Delete,
                '«' => Key::WordLeft,
                '»' => Key::WordRight,
                'W' => Key::KillWordLeft,
                'U' => Key::KillToStart,
                'K' => Key::KillToEnd,
                'Y' => Key::Yank,
                '↵' => {
                    editor.submit();
                    continue;
                }
                c => Key::Text(c.to_string()),
            });
            assert!(editor.text.is_char_boundary(editor.cursor));
        }
        let (left, right) = editor.text.split_at(editor.cursor);
        format!("{left}|{right}")
    }

    #[test]
    fn clusters_are_passed_and_deleted_as_a_whole() {
        assert_eq!(typed("你好<B"), "|好");
        assert_eq!(typed("a👩‍🚀b<<X"), "a|b");
        assert_eq!(typed("e\u{301}x<B"), "|x");
        assert_eq!(typed("🇩🇪🇫🇷<B"), "|🇫🇷");
        assert_eq!(typed("BX<>"), "|");
    }

    #[test]
    fn the_cursor_never_stands_inside_a_cluster() {
        // Between the two an accent that stood alone comes to stand on a letter.
        assert_eq!(typed("\u{301}<e"), "e\u{301}|");
        assert_eq!(typed("🇩x🇪<B"), "🇩🇪|");
    }

    #[test]
    fn words_and_ends_are_moved_over_and_killed() {
        assert_eq!(typed("one two, three««"), "one |two, three");
        assert_eq!(typed("one two, three«««»»"), "one two|, three");
        assert_eq!(typed("one two-three  W"), "one |");
        assert_eq!(typed("one two<<U"), "|wo");
        assert_eq!(typed("one two<<K"), "one t|");
        assert_eq!(typed("one twoWY Y"), "one two two|");
    }

    #[test]
    fn lines_come_back_and_the_draft_is_kept() {
        assert_eq!(typed("a↵b↵b↵ ↵draft^^^"), "a|");
        assert_eq!(typed("a↵b↵draft^^vv"), "draft|");
        assert_eq!(typed("a↵draft^x↵^"), "ax|");
        assert_eq!(typed("draft^v"), "draft|");
    }

    #[test]
    fn no_text_and_no_history_is_endless() {
        let mut editor = Editor::default();
        assert!(editor.edit(&Key::Paste("x".repeat(MAX_TEXT))));
        assert!(!editor.edit(&Key::Text("y".to_owned())));
        assert_eq!(editor.text().len(), MAX_TEXT);
        for i in 0..2 * MAX_HISTORY {
            editor.submit();
            editor.edit(&Key::Text(i.to_string()));
        }
        assert_eq!(editor.history.len(), MAX_HISTORY);
    }
}
