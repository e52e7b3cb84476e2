//! The line editor: the text being typed, the cursor, and the history.
//!
//! A visible character may consist of several code points, such as a letter with accents or an
//! emoji with modifiers. The cursor never enters such a grapheme cluster, and Backspace deletes it
//! as a whole.

use std::collections::VecDeque;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};

use super::keys::{Key, MAX_TEXT};

/// The maximum number of lines in the history.
const MAX_HISTORY: usize = 500;

/// The text being typed, and the history of submitted lines.
///
/// **Invariants**
/// - `text.len() <= MAX_TEXT`.
/// - `cursor` is a byte offset into `text`, on the boundary of a grapheme cluster.
/// - `recalled <= history.len()`.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    cursor: usize,
    /// The last killed text, for [`Key::Yank`].
    killed: String,
    /// The submitted lines, newest first.
    history: VecDeque<String>,
    /// Which history line is being edited: 1 is the newest. 0 means that a new line is being
    /// edited.
    recalled: usize,
    /// The unfinished new line, while a history line is being edited.
    draft: String,
}

/// A copy of the text being edited, the cursor and the history position.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    text: String,
    cursor: usize,
    recalled: usize,
}

impl Editor {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the cursor's byte offset in the text.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Returns which history line is being edited: 1 is the newest. 0 means that a new line is being
    /// edited.
    pub(super) fn recalled(&self) -> usize {
        self.recalled
    }

    /// Applies an editing key, and ignores others. Returns false, and inserts nothing, if the text
    /// would exceed [`MAX_TEXT`].
    pub(super) fn edit(&mut self, key: &Key) -> bool {
        match key {
            Key::Text(text) | Key::Paste(text) => return self.insert(text),
            Key::Backspace => self.delete(self.grapheme_left(), self.cursor),
            Key::Delete | Key::EndOfInput => self.delete(self.cursor, self.grapheme_right()),
            Key::Left => self.cursor = self.grapheme_left(),
            Key::Right => self.cursor = self.grapheme_right(),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Up => self.recall(self.recalled + 1),
            Key::Down => self.recall(self.recalled.saturating_sub(1)),
            Key::KillToStart => self.kill(0, self.cursor),
            Key::KillToEnd => self.kill(self.cursor, self.text.len()),
            Key::KillWordLeft => self.kill(self.whitespace_left(), self.cursor),
            Key::KillWordRight => self.kill(self.cursor, self.word_right()),
            Key::Yank => return self.insert(&self.killed.clone()),
            Key::Enter
            | Key::ClearScreen
            | Key::Suspend
            | Key::Tab
            | Key::BackTab
            | Key::Search
            | Key::Cancel
            | Key::Escape
            | Key::Interrupt => {}
        }
        true
    }

    /// Clears the text, and adds it to the history. If it was a history line, adds the draft, too.
    pub(super) fn submit(&mut self) {
        let draft = std::mem::take(&mut self.draft);
        if self.recalled > 0 {
            self.remember(draft);
        }
        let text = std::mem::take(&mut self.text);
        self.remember(text);
        self.cursor = 0;
        self.recalled = 0;
    }

    /// Adds a text to the history unless it is blank or repeats the newest line.
    fn remember(&mut self, text: String) {
        if !text.trim().is_empty() && self.history.front() != Some(&text) {
            self.history.push_front(text);
            self.history.truncate(MAX_HISTORY);
        }
    }

    /// Clears the text. [`Key::Yank`] brings it back.
    pub(super) fn clear(&mut self) {
        self.kill(0, self.text.len());
        self.recalled = 0;
    }

    /// Replaces the text between `start`, which is on the boundary of a grapheme cluster, and the
    /// cursor. Returns false, and changes nothing, if the text would exceed [`MAX_TEXT`].
    pub(super) fn replace(&mut self, start: usize, text: &str) -> bool {
        if self.text.len() - (self.cursor - start) + text.len() > MAX_TEXT {
            return false;
        }
        self.text.replace_range(start..self.cursor, text);
        self.move_to(start + text.len());
        true
    }

    /// Recalls the newest history line that contains the pattern and is `line` or older, and moves
    /// the cursor to the match. Ignores the case of ASCII letters. Returns false, and changes
    /// nothing, if there is none.
    pub(super) fn find(&mut self, pattern: &str, line: usize) -> bool {
        let pattern = pattern.to_ascii_lowercase();
        let mut lines = (line.max(1)..).zip(self.history.iter().skip(line.saturating_sub(1)));
        let found = lines.find_map(|(line, text)| {
            // ASCII lowercasing keeps the offsets.
            let position = text.to_ascii_lowercase().rfind(&pattern)?;
            Some((line, position))
        });
        if let Some((line, position)) = found {
            self.load(line);
            self.move_to(position);
        }
        found.is_some()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { text: self.text.clone(), cursor: self.cursor, recalled: self.recalled }
    }

    /// Returns to an earlier state. The history must not have changed since.
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        Snapshot { text: self.text, cursor: self.cursor, recalled: self.recalled } = snapshot;
    }

    fn insert(&mut self, text: &str) -> bool {
        self.replace(self.cursor, text)
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

    /// Moves the cursor to this offset. If an edit has joined a cluster across it, moves the cursor
    /// to the cluster's end.
    fn move_to(&mut self, position: usize) {
        self.cursor = position;
        let mut cursor = GraphemeCursor::new(position, self.text.len(), true);
        if !cursor.is_boundary(&self.text, 0).unwrap_or(true) {
            self.cursor = self.grapheme_right();
        }
    }

    /// Starts to edit a history line, or the draft if `line` is 0. See `recalled`.
    fn recall(&mut self, line: usize) {
        if line <= self.history.len() && line != self.recalled {
            self.load(line);
        }
    }

    fn load(&mut self, line: usize) {
        if self.recalled == 0 {
            self.draft = self.text.clone();
        }
        self.text = match line {
            0 => std::mem::take(&mut self.draft),
            line => self.history[line - 1].clone(),
        };
        self.recalled = line;
        self.cursor = self.text.len();
    }

    // `GraphemeCursor` fails only if the text is supplied in chunks, and returns None only at an
    // end of the text.

    fn grapheme_left(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn grapheme_right(&self) -> usize {
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

    /// Returns the start of the word left of the cursor. Only whitespace delimits words here.
    fn whitespace_left(&self) -> usize {
        let text = self.text[..self.cursor].trim_end();
        text.trim_end_matches(|c: char| !c.is_whitespace()).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text after these keys, with the cursor as `|`. `<`, `>`, `^` and `v` are the
    /// arrow keys, `B` is Backspace and `X` is Delete. `«` and `»` move by words, `W` kills a word,
    /// `U` kills to the start and `K` to the end, `Y` yanks, `C` clears, and `↵` submits.
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
                'C' => {
                    editor.clear();
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
    fn arrow_and_delete_keys_act_on_whole_grapheme_clusters() {
        assert_eq!(typed("你好<B"), "|好");
        assert_eq!(typed("a👩‍🚀b<<X"), "a|b");
        assert_eq!(typed("e\u{301}x<B"), "|x");
        assert_eq!(typed("🇩🇪🇫🇷<B"), "|🇫🇷");
        assert_eq!(typed("BX<>"), "|");
    }

    #[test]
    fn cursor_is_never_inside_a_grapheme_cluster() {
        // A combining mark attaches to the preceding letter.
        assert_eq!(typed("\u{301}<e"), "e\u{301}|");
        assert_eq!(typed("🇩x🇪<B"), "🇩🇪|");
    }

    #[test]
    fn word_keys_move_kill_and_yank() {
        assert_eq!(typed("one two, three««"), "one |two, three");
        assert_eq!(typed("one two, three«««»»"), "one two|, three");
        assert_eq!(typed("one two-three  W"), "one |");
        assert_eq!(typed("one two<<U"), "|wo");
        assert_eq!(typed("one two<<K"), "one t|");
        assert_eq!(typed("one twoWY Y"), "one two two|");
    }

    #[test]
    fn cleared_text_is_yanked_and_not_in_the_history() {
        assert_eq!(typed("one two<<C"), "|");
        assert_eq!(typed("one two<<CY"), "one two|");
        assert_eq!(typed("a↵one twoC^"), "a|");
        assert_eq!(typed("a↵b↵^^C^"), "b|");
    }

    #[test]
    fn history_is_recalled_and_the_draft_is_kept() {
        assert_eq!(typed("a↵b↵b↵ ↵draft^^^"), "a|");
        assert_eq!(typed("a↵b↵draft^^vv"), "draft|");
        assert_eq!(typed("a↵draft^x↵^"), "ax|");
        assert_eq!(typed("a↵draft^↵^^"), "draft|");
        assert_eq!(typed("a↵draft^vb↵c↵^^^"), "a|");
        assert_eq!(typed("draft^v"), "draft|");
    }

    #[test]
    fn text_and_history_are_bounded() {
        let mut editor = Editor::default();
        assert!(editor.edit(&Key::Paste("x".repeat(MAX_TEXT))));
        assert!(!editor.edit(&Key::Text("y".to_owned())));
        assert_eq!(editor.text().len(), MAX_TEXT);
        assert!(editor.replace(MAX_TEXT - 1, "y"));
        assert!(!editor.replace(MAX_TEXT - 1, "yz"));
        for i in 0..2 * MAX_HISTORY {
            editor.submit();
            editor.edit(&Key::Text(i.to_string()));
        }
        assert_eq!(editor.history.len(), MAX_HISTORY);
    }
}
