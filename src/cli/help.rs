//! The text of `--help` and the tables in the documentation, generated from the same rows.

use std::fmt::Write as _;

/// A row of the help: the syntax of an option or command, such as `-s, --server ADDR`; its default,
/// which may be empty; and its description. Backticks mark literal text; `--help` omits them.
pub type HelpRow = [&'static str; 3];

/// A group of rows under a title.
pub type HelpGroup = (&'static str, Vec<HelpRow>);

/// Formats the text of `--help`, at most 80 columns wide: `intro`, the groups, and `notes`.
pub fn help(intro: &str, groups: &[HelpGroup], notes: &str) -> String {
    let mut page = format!("{intro}\n");
    for (title, group) in groups {
        let _ = writeln!(page, "{title}:");
        group.iter().for_each(|row| push_row(&mut page, row));
        page.push('\n');
    }
    page + notes
}

/// Appends a row in two columns and wraps the description in the second one. A syntax that is too
/// long for the first column gets a line to itself.
fn push_row(page: &mut String, [usage, default, help]: &HelpRow) {
    const WIDTH: usize = 80;
    /// The width of the first column, not counting the space before the second one.
    const INDENT: usize = 25;
    let usage = format!("  {usage}");
    let _ = write!(page, "{usage:<INDENT$}");
    let mut column = if usage.len() < INDENT { INDENT } else { WIDTH };
    let help = help.replace('`', "");
    let note = if default.is_empty() { None } else { Some(format!("[default: {default}]")) };
    for word in help.split(' ').chain(note.as_deref()) {
        if column + 1 + word.len() > WIDTH {
            let _ = write!(page, "\n{:INDENT$}", "");
            column = INDENT;
        }
        let _ = write!(page, " {word}");
        column += 1 + word.len();
    }
    page.push('\n');
}

/// Formats the options as a Markdown table.
pub fn markdown(options: &[HelpGroup]) -> String {
    let mut table = "| option | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for [usage, default, help] in options.iter().flat_map(|(_, group)| group) {
        let default = if default.is_empty() { "" } else { &format!("`{default}` ") };
        let _ = writeln!(table, "| `{usage}` | {default}| {help} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> HelpGroup {
        let long = "a text that does not fit on one line";
        let rows = [
            ["-l, --level N", "3", "how much of `this`"],
            ["--an-option-with-a-long-name", "", long],
        ];
        ("Options", rows.to_vec())
    }

    #[test]
    fn help_is_wrapped_and_aligned() {
        let commands = ("Commands", vec![["run", "", "`run` it"]]);
        let page = help("x - an example\n", &[commands, example()], "Notes.\n");
        assert_eq!(
            page,
            "x - an example\n\n\
             Commands:\n  run                     run it\n\n\
             Options:\n  -l, --level N           how much of this [default: 3]\n  \
             --an-option-with-a-long-name\n                          \
             a text that does not fit on one line\n\nNotes.\n"
        );
    }

    #[test]
    fn markdown_has_a_row_for_each_option() {
        assert_eq!(
            markdown(&[example()]),
            "| option | default | meaning |\n| --- | --- | --- |\n\
             | `-l, --level N` | `3` | how much of `this` |\n\
             | `--an-option-with-a-long-name` | | a text that does not fit on one line |\n"
        );
    }
}
