//! Completes commands and names when Tab is pressed.

use super::editor::Editor;
use super::slash_command;

/// The commands whose first argument is a client. There, Tab completes even an empty word.
const TO_CLIENT: [&str; 2] = ["/send", "/msg"];

/// A word of the line being typed, and the candidates to replace it.
///
/// **Invariants**
/// - `candidates` is not empty.
/// - Only [`apply`](Self::apply) has changed the editor since the completion was created.
#[derive(Debug)]
pub(super) struct Completion {
    /// The start of the word, as an offset in the text.
    start: usize,
    candidates: Vec<String>,
    /// The index of the candidate that has replaced the word.
    current: Option<usize>,
}

impl Completion {
    /// Finds the candidates for the word left of the cursor: commands if it begins the line with a
    /// slash, otherwise names. Ignores the case. Returns `None` if there are none.
    pub(super) fn find(editor: &Editor, names: &[&str]) -> Option<Self> {
        let (left, right) = editor.text().split_at(editor.cursor());
        let start = left.trim_end_matches(|c: char| !c.is_whitespace()).len();
        let (before, word) = left.split_at(start);
        // `bob: ` at the start of a line shows everybody that the line is addressed to bob.
        let end = if start == 0 && !word.starts_with('/') { ": " } else { " " };
        let end = match right.chars().next() {
            Some(':') if end == ": " => "",
            Some(' ') => end.trim_end(),
            _ => end,
        };
        let candidates: Vec<String> = if start == 0
            && let Some(word) = word.strip_prefix('/')
        {
            let commands = slash_command::names().filter(|name| begins_with(name, word));
            commands.map(|name| format!("/{name}{end}")).collect()
        } else if word.is_empty() && !TO_CLIENT.contains(&before.trim_end()) {
            vec![]
        } else {
            let names = names.iter().filter(|name| begins_with(name, word));
            names.map(|name| format!("{name}{end}")).collect()
        };
        (!candidates.is_empty()).then_some(Self { start, candidates, current: None })
    }

    /// Replaces the word with the next candidate, or with the previous one. Wraps around. Returns
    /// false, and changes nothing, if the text would become too long.
    pub(super) fn apply(&mut self, editor: &mut Editor, is_backward: bool) -> bool {
        let last = self.candidates.len() - 1;
        let next = match self.current {
            None | Some(0) if is_backward => last,
            Some(current) if is_backward => current - 1,
            Some(current) if current < last => current + 1,
            _ => 0,
        };
        self.current = Some(next);
        editor.replace(self.start, &self.candidates[next])
    }
}

/// Returns whether a name begins with these letters, ignoring the case. Names are ASCII.
fn begins_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::*;

    /// Returns the text after typing `text`, moving left by `left` characters, and pressing Tab
    /// (`>`) and Shift-Tab (`<`). The cursor is `|`.
    fn completed(text: &str, left: usize, tabs: &str) -> String {
        let mut editor = Editor::default();
        editor.edit(&Key::Text(text.to_owned()));
        for _ in 0..left {
            editor.edit(&Key::Left);
        }
        let names = ["bob", "Alice", "alan", "7"];
        if let Some(mut completion) = Completion::find(&editor, &names) {
            for tab in tabs.chars() {
                assert!(completion.apply(&mut editor, tab == '<'));
            }
        }
        let (left, right) = editor.text().split_at(editor.cursor());
        format!("{left}|{right}")
    }

    #[test]
    fn name_is_followed_by_a_colon_at_the_start_of_the_line_and_otherwise_by_a_space() {
        assert_eq!(completed("BO", 0, ">"), "bob: |");
        assert_eq!(completed("hi bo", 0, ">"), "hi bob |");
        assert_eq!(completed("/send b", 0, ">"), "/send bob |");
        assert_eq!(completed("7", 0, ">"), "7: |");
        assert_eq!(completed("bo you", 4, ">"), "bob:| you");
        assert_eq!(completed("bo: hi", 4, ">"), "bob|: hi");
        assert_eq!(completed("/send bo:", 1, ">"), "/send bob |:");
        assert_eq!(completed("hi bo, x", 3, ">"), "hi bob |, x");
        assert_eq!(completed("你好\tbo", 0, ">"), "你好\tbob |");
    }

    #[test]
    fn further_tabs_cycle_through_the_candidates() {
        assert_eq!(completed("al", 0, ">"), "Alice: |");
        assert_eq!(completed("al", 0, ">>"), "alan: |");
        assert_eq!(completed("al", 0, ">>>"), "Alice: |");
        assert_eq!(completed("al", 0, "<"), "alan: |");
        assert_eq!(completed("al", 0, "<<<"), "alan: |");
        assert_eq!(completed("al", 0, ">><"), "Alice: |");
        assert_eq!(completed("bob", 0, ">>"), "bob: |");
    }

    #[test]
    fn commands_are_completed_only_at_the_start_of_the_line() {
        assert_eq!(completed("/HIS", 0, ">"), "/history |");
        assert_eq!(completed("/se 7", 2, ">"), "/send| 7");
        for text in ["x /his", " /his", "//his", "/unknown"] {
            assert_eq!(completed(text, 0, ">"), format!("{text}|"));
        }
    }

    #[test]
    fn word_without_a_candidate_is_unchanged() {
        for text in ["", " ", "x", "hi ", "alien", "bö", "/help "] {
            assert_eq!(completed(text, 0, "><"), format!("{text}|"));
        }
        assert_eq!(completed("/send ", 0, ">"), "/send bob |");
        assert_eq!(completed("/send bob ", 0, ">"), "/send bob |");
    }
}
