//! Searches the history while the user types a pattern, as Ctrl-R does in a shell.

use super::editor::{Editor, Snapshot};
use super::keys::Key;
use super::layout::visible_part;

/// The maximum width of the pattern in the prompt. Only the end of a longer one is shown.
const PATTERN_COLUMNS: usize = 20;

/// A search in progress. The editor shows the match.
#[derive(Debug)]
pub(super) struct Search {
    pattern: Editor,
    /// No line that is older than the match contains the pattern.
    has_failed: bool,
    /// The line that was being edited before.
    before: Snapshot,
}

/// What a key does to a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Continues,
    Ended,
    /// The search has ended, and the key has its usual effect on the line that was found.
    EndedBefore,
    /// The pattern would become too long.
    TooLong,
}

impl Search {
    pub(super) fn new(editor: &Editor) -> Self {
        Self { pattern: Editor::default(), has_failed: false, before: editor.snapshot() }
    }

    pub(super) fn prompt(&self, is_utf8: bool) -> String {
        let (pattern, _) = visible_part(&self.pattern, PATTERN_COLUMNS, is_utf8);
        let state = if self.has_failed { "no match" } else { "search" };
        format!("({state}) '{pattern}': ")
    }

    /// Handles a key. Changes the editor's text to the match.
    pub(super) fn handle(&mut self, key: &Key, editor: &mut Editor) -> Outcome {
        match key {
            Key::Text(_) | Key::Paste(_) => {
                if !self.pattern.edit(key) {
                    return Outcome::TooLong;
                }
                self.find(editor, editor.recalled());
            }
            Key::Backspace => {
                self.pattern.edit(key);
                editor.restore(self.before.clone());
                self.find(editor, editor.recalled());
            }
            Key::Search => self.find(editor, editor.recalled() + 1),
            Key::Interrupt | Key::Cancel => {
                editor.restore(self.before.clone());
                return Outcome::Ended;
            }
            // The editor shows an earlier match, which the user must not send by accident.
            Key::Enter if self.has_failed => return Outcome::Ended,
            Key::Escape => return Outcome::Ended,
            _ => return Outcome::EndedBefore,
        }
        Outcome::Continues
    }

    /// Shows the newest match, starting at this history line and going back.
    fn find(&mut self, editor: &mut Editor, line: usize) {
        let pattern = self.pattern.text();
        self.has_failed = !pattern.is_empty() && !editor.find(pattern, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submits some lines, types a draft, and searches with these keys: `^` is Ctrl-R, `B` is
    /// Backspace, `G` is Ctrl-G, and `⎋` is Escape. Returns the prompt and, after the search, the
    /// text with the cursor as `|`.
    fn searched(keys: &str) -> (String, String) {
        let mut editor = Editor::default();
        for line in ["/send bob hi", "Hello bob", "é👩‍🚀 again", "hello", "one\ntwo", "draft"]
        {
            editor.submit();
            editor.edit(&Key::Paste(line.to_owned()));
        }
        editor.edit(&Key::Left);
        let mut search = Search::new(&editor);
        let mut outcome = Outcome::Continues;
        for c in keys.chars() {
            assert_eq!(outcome, Outcome::Continues, "{keys:?}");
            let key = match c {
                '^' => Key::Search,
                'B' => Key::Backspace,
                'G' => Key::Cancel,
                '⎋' => Key::Escape,
                '↵' => Key::Enter,
                c => Key::Text(c.to_string()),
            };
            outcome = search.handle(&key, &mut editor);
        }
        let (left, right) = editor.text().split_at(editor.cursor());
        (search.prompt(true), format!("{left}|{right}"))
    }

    #[track_caller]
    fn check(keys: &str, prompt: &str, text: &str) {
        assert_eq!(searched(keys), (prompt.to_owned(), text.to_owned()), "{keys:?}");
    }

    #[test]
    fn typing_and_ctrl_r_find_older_lines() {
        check("", "(search) '': ", "draf|t");
        check("^", "(search) '': ", "draf|t");
        check("he", "(search) 'he': ", "|hello");
        check("HE^", "(search) 'HE': ", "|Hello bob");
        check("bob", "(search) 'bob': ", "Hello |bob");
        check("bob^", "(search) 'bob': ", "/send |bob hi");
        check("hello b", "(search) 'hello b': ", "|Hello bob");
        check("👩‍🚀 a", "(search) '👩‍🚀 a': ", "é|👩‍🚀 again");
        check("two", "(search) 'two': ", "one\n|two");
    }

    #[test]
    fn missing_match_is_reported_and_the_last_one_stays() {
        check("zz", "(no match) 'zz': ", "draf|t");
        check("bob^^", "(no match) 'bob': ", "/send |bob hi");
        check("hex", "(no match) 'hex': ", "|hello");
        check("hexB", "(search) 'he': ", "|hello");
        check("bob^B", "(search) 'bo': ", "Hello |bob");
        check("hBB", "(search) '': ", "draf|t");
        check("hex↵", "(no match) 'hex': ", "|hello");
    }

    #[test]
    fn search_is_accepted_or_cancelled() {
        check("bob⎋", "(search) 'bob': ", "Hello |bob");
        check("bob↵", "(search) 'bob': ", "Hello |bob");
        check("bobG", "(search) 'bob': ", "draf|t");
        check("G", "(search) '': ", "draf|t");
    }

    #[test]
    fn part_of_a_long_pattern_is_shown() {
        let mut editor = Editor::default();
        let mut search = Search::new(&editor);
        search.handle(&Key::Paste(format!("{}end\n\u{202e}", "x".repeat(100))), &mut editor);
        let prompt = search.prompt(true);
        assert!(prompt.ends_with("end↵\\u{202e}': ") && prompt.len() < 45, "{prompt}");
    }
}
