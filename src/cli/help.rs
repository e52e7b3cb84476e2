//! The text of `--help` and the tables in the documentation, generated from the same rows.

use std::fmt::Write as _;

/// A row of the help, for an option or a command.
#[derive(Clone, Copy, Debug)]
pub struct HelpRow {
    /// The syntax, such as `-s, --server ADDR`.
    pub usage: &'static str,
    /// The default value of the option, or empty.
    pub default: &'static str,
    /// The description. Backticks mark literal text; `--help` omits them.
    pub help: &'static str,
    /// The commands that have the option. If empty, every command has it.
    pub commands: &'static [&'static str],
}

impl HelpRow {
    /// Returns the description, which begins with the commands that have the option.
    fn description(&self) -> String {
        match list_commands(self.commands) {
            commands if commands.is_empty() => self.help.to_owned(),
            commands => format!("with {commands}: {}", self.help),
        }
    }
}

/// Lists commands in backticks: `` `chat`, `listen` and `raw` ``.
pub(super) fn list_commands(commands: &[&str]) -> String {
    let quoted: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

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
fn push_row(page: &mut String, row: &HelpRow) {
    const WIDTH: usize = 80;
    /// The width of the first column, not counting the space before the second one.
    const INDENT: usize = 25;
    let HelpRow { usage, default, .. } = row;
    let usage = format!("  {usage}");
    let _ = write!(page, "{usage:<INDENT$}");
    let mut column = if usage.len() < INDENT { INDENT } else { WIDTH };
    let help = row.description().replace('`', "");
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
    for row in options.iter().flat_map(|(_, group)| group) {
        let HelpRow { usage, default, .. } = row;
        let default = if default.is_empty() { "" } else { &format!("`{default}` ") };
        let _ = writeln!(table, "| `{usage}` | {default}| {} |", row.description());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> HelpGroup {
        let long = "a text that does not fit on one line";
        let rows = vec![
            row("-l, --level N", "3", "how much of `this`", &[]),
            row("--an-option-with-a-long-name", "", long, &["run", "stop"]),
        ];
        ("Options", rows)
    }

    fn row(
        usage: &'static str,
        default: &'static str,
        help: &'static str,
        commands: &'static [&'static str],
    ) -> HelpRow {
        HelpRow { usage, default, help, commands }
    }

    #[test]
    fn help_is_wrapped_and_aligned() {
        let commands = ("Commands", vec![row("run", "", "`run` it", &[])]);
        let page = help("x - an example\n", &[commands, example()], "Notes.\n");
        assert_eq!(
            page,
            "x - an example\n\n\
             Commands:\n  run                     run it\n\n\
             Options:\n  -l, --level N           how much of this [default: 3]\n  \
             --an-option-with-a-long-name\n                          \
             with run and stop: a text that does not fit on one\n                          \
             line\n\nNotes.\n"
        );
    }

    #[test]
    fn markdown_has_a_row_for_each_option() {
        assert_eq!(
            markdown(&[example()]),
            "| option | default | meaning |\n| --- | --- | --- |\n\
             | `-l, --level N` | `3` | how much of `this` |\n\
             | `--an-option-with-a-long-name` | | with `run` and `stop`: a text that does not fit on one line |\n"
        );
    }
}
