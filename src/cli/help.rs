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
        self.description_for(self.commands)
    }

    fn description_for(&self, commands: &[&str]) -> String {
        match list_commands(commands) {
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

/// The usage and description of a command, such as `send CLIENT TEXT`.
pub type CommandRow = (&'static str, &'static str);

/// Two examples of a command: each a command line, and what it does.
pub type ExampleRow = (&'static str, [(&'static str, &'static str); 2]);

/// A group of rows under a title.
pub type HelpGroup = (&'static str, Vec<HelpRow>);

/// A page of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The commands and the most important options, on one screen.
    Short,
    /// All commands and options.
    Full,
    /// One command, its options and examples.
    Command(&'static str),
}

/// The contents of a program's help.
#[derive(Debug)]
pub struct Help {
    /// The program's name.
    pub program: &'static str,
    /// What the program is, and its usage.
    pub intro: &'static str,
    /// Every usage of every command.
    pub commands: &'static [CommandRow],
    /// Every option.
    pub options: Vec<HelpGroup>,
    /// The long names of the options on the short page.
    pub short: &'static [&'static str],
    /// The examples of every command.
    pub examples: &'static [ExampleRow],
    /// The end of the full page.
    pub notes: &'static str,
}

impl Help {
    /// Formats a page, at most 80 columns wide.
    pub fn page(&self, page: Page) -> String {
        match page {
            Page::Short => self.short_page(),
            Page::Full => self.full_page(),
            Page::Command(command) => self.command_page(command),
        }
    }

    fn short_page(&self) -> String {
        let Self { program, intro, commands, short, .. } = self;
        let mut page = format!("{intro}\n");
        // Another usage of the same command is listed without an option, and the last line
        // explains `help`.
        let is_listed = |usage: &str| !usage.contains("--") && first_word(usage) != "help";
        let commands = commands.iter().filter(|(usage, _)| is_listed(usage));
        push_group(&mut page, "Commands", commands.map(|(usage, help)| (usage, "", summary(help))));
        let is_short =
            |row: &&HelpRow| row.usage.split([',', ' ']).any(|word| short.contains(&word));
        let options = self.rows().filter(is_short);
        let options = options.map(|row| (row.usage, row.default, summary(row.help)));
        push_group(&mut page, "Options", options);
        page + &match self.commands {
            [] => format!("{program} --help shows all options.\n"),
            _ => format!(
                "{program} --help shows all options; {program} help COMMAND shows those of one \
                 command.\n"
            ),
        }
    }

    fn full_page(&self) -> String {
        let mut page = format!("{}\n", self.intro);
        let commands = self.commands.iter().map(|(usage, help)| (usage, "", help));
        push_group(&mut page, "Commands", commands);
        for (title, group) in &self.options {
            let rows = group.iter().map(|row| (row.usage, row.default, row.description()));
            push_group(&mut page, title, rows);
        }
        page + self.notes
    }

    fn command_page(&self, command: &str) -> String {
        let about_command = |help: &str| {
            let clauses = help.split("; ").filter(|clause| self.concerns(clause, command));
            clauses.collect::<Vec<_>>().join("; ")
        };
        let mut page = String::new();
        let usages = self.commands.iter().filter(|(usage, _)| first_word(usage) == command);
        let usages = usages.map(|(usage, help)| (format!("{} {usage}", self.program), "", help));
        push_group(&mut page, "Usage", usages);
        let own = self.rows().filter_map(|row| {
            let usages: Vec<&str> =
                row.commands.iter().copied().filter(|of| first_word(of) == command).collect();
            match &*usages {
                [] => None,
                [name] if *name == command => {
                    Some((row.usage, row.default, about_command(row.help)))
                }
                // Only these usages of the command have the option.
                usages => {
                    Some((row.usage, row.default, about_command(&row.description_for(usages))))
                }
            }
        });
        push_group(&mut page, "Options", own);
        for (title, group) in &self.options {
            let general = group.iter().filter(|row| row.commands.is_empty());
            let general = general.map(|row| (row.usage, row.default, row.help));
            push_group(&mut page, title, general);
        }
        page.push_str("Examples:\n");
        let examples = self.examples.iter().filter(|(of, _)| *of == command);
        for (line, help) in examples.flat_map(|(_, examples)| examples) {
            let _ = writeln!(page, "  {line}\n      {help}");
        }
        page
    }

    /// Returns whether a clause of a description names this command, or no command.
    fn concerns(&self, clause: &str, command: &str) -> bool {
        let literals = clause.split('`').skip(1).step_by(2).map(first_word);
        let is_command = |word: &&str| self.commands.iter().any(|(of, _)| first_word(of) == *word);
        let mut named = literals.filter(is_command).peekable();
        named.peek().is_none() || named.any(|name| name == command)
    }

    fn rows(&self) -> impl Iterator<Item = &HelpRow> {
        self.options.iter().flat_map(|(_, group)| group)
    }
}

/// Returns the first word of a usage: the command's name.
pub(super) fn first_word(usage: &str) -> &str {
    usage.split(' ').next().unwrap_or_default()
}

/// Returns the first clause of a description.
fn summary(help: &str) -> &str {
    let stops = ["; ", ": ", ", ", ". "].into_iter().filter_map(|stop| help.find(stop));
    &help[..stops.min().unwrap_or(help.len())]
}

/// Appends a title, its rows and an empty line, or nothing if there are no rows. A row is a usage,
/// a default, which may be empty, and a description.
fn push_group(
    page: &mut String,
    title: &str,
    rows: impl Iterator<Item = (impl AsRef<str>, &'static str, impl AsRef<str>)>,
) {
    let start = page.len();
    for (usage, default, help) in rows {
        push_row(page, usage.as_ref(), default, help.as_ref());
    }
    if page.len() > start {
        page.insert_str(start, &format!("{title}:\n"));
        page.push('\n');
    }
}

/// Appends a row in two columns and wraps the description in the second one. A syntax that is too
/// long for the first column gets a line to itself.
fn push_row(page: &mut String, usage: &str, default: &str, help: &str) {
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
    fn pages_are_wrapped_and_aligned() {
        let help = Help {
            program: "x",
            intro: "x - an example\n",
            commands: &[("run", "`run` it, and more"), ("stop", "stop it")],
            options: vec![example()],
            short: &["--level"],
            examples: &[("run", [("x run", "run"), ("x run -l 5", "run more")])],
            notes: "Notes.\n",
        };
        assert_eq!(
            help.page(Page::Short),
            "x - an example\n\n\
             Commands:\n  run                     run it\n  stop                    stop it\n\n\
             Options:\n  -l, --level N           how much of this [default: 3]\n\n\
             x --help shows all options; x help COMMAND shows those of one command.\n"
        );
        assert_eq!(
            help.page(Page::Command("run")),
            "Usage:\n  x run                   run it, and more\n\n\
             Options:\n  --an-option-with-a-long-name\n                          \
             a text that does not fit on one line\n\n\
             Options:\n  -l, --level N           how much of this [default: 3]\n\n\
             Examples:\n  x run\n      run\n  x run -l 5\n      run more\n"
        );
        assert_eq!(
            help.page(Page::Full),
            "x - an example\n\n\
             Commands:\n  run                     run it, and more\n  \
             stop                    stop it\n\n\
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
