//! What the command lines of both programs share. Each program has one table of options, from which
//! its parser, its `--help` and the tables in the documentation are derived.

use std::ffi::OsString;
use std::fmt::{Debug, Display, Write as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pico_args::{Arguments, Error, Keys};

/// One command-line option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The one-letter form, such as `-s`.
    pub short: Option<&'static str>,
    /// The option's name, such as `--server`.
    pub name: &'static str,
    /// The metavariable in the usage, such as `ADDR`. A flag has none.
    pub value: Option<&'static str>,
    /// The value that applies without the option, as a user would write it.
    pub default: Option<&'static str>,
    /// What the option does. Backticks mark what is typed literally; `--help` drops them.
    pub help: &'static str,
}

/// A program's options, in groups with a title each.
pub type OptionTable = [(&'static str, &'static [OptionSpec])];

/// An option without a value.
pub(crate) const fn flag(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { short: None, name, value: None, default: None, help }
}

/// An option with a value, which the usage shows as `value`.
pub(crate) const fn option(
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { value: Some(value), ..flag(name, help) }
}

/// The options that both programs have.
pub(crate) const HELP_AND_VERSION: [OptionSpec; 2] = [
    flag("--help", "show this help").short("-h"),
    flag("--version", "show the version").short("-V"),
];

impl OptionSpec {
    pub(crate) const fn short(self, short: &'static str) -> Self {
        Self { short: Some(short), ..self }
    }

    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// How the option is written, such as `-s, --server ADDR`.
    pub fn usage(&self) -> String {
        let short = self.short.map_or(String::new(), |short| format!("{short}, "));
        let value = self.value.map_or(String::new(), |value| format!(" {value}"));
        format!("{short}{}{value}", self.name)
    }

    fn keys(&self) -> Keys {
        self.short.map_or(self.name.into(), |short| [short, self.name].into())
    }
}

/// The text of `--help`, at most 80 columns wide: `intro`, the commands, each with its usage and
/// what it does, the options, and `notes`.
pub fn help(intro: &str, commands: &[(&str, &str)], options: &OptionTable, notes: &str) -> String {
    let mut page = format!("{intro}\n");
    if !commands.is_empty() {
        page += "Commands:\n";
        commands.iter().for_each(|(usage, help)| push_row(&mut page, usage, help, None));
        page += "\n";
    }
    for (title, group) in options {
        page += &format!("{title}:\n");
        for option in *group {
            push_row(&mut page, &option.usage(), option.help, option.default);
        }
        page += "\n";
    }
    page + notes
}

/// Adds a row of two columns, with the text wrapped in the second one. The text begins on the next
/// line if the usage is too long for the first column.
fn push_row(page: &mut String, usage: &str, help: &str, default: Option<&str>) {
    const WIDTH: usize = 80;
    /// Where the text begins, without the space before each word.
    const INDENT: usize = 25;
    let usage = format!("  {usage}");
    let _ = write!(page, "{usage:<INDENT$}");
    let mut column = if usage.len() < INDENT { INDENT } else { WIDTH };
    let help = help.replace('`', "");
    let default = default.map(|default| format!("[default: {default}]"));
    for word in help.split(' ').chain(default.as_deref()) {
        if column + 1 + word.len() > WIDTH {
            let _ = write!(page, "\n{:INDENT$}", "");
            column = INDENT;
        }
        let _ = write!(page, " {word}");
        column += 1 + word.len();
    }
    page.push('\n');
}

/// The options as a table in Markdown.
pub fn markdown(options: &OptionTable) -> String {
    let mut table = "| option | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for option in options.iter().flat_map(|(_, group)| *group) {
        let default = option.default.map_or(String::new(), |default| format!("`{default}` "));
        let _ = writeln!(table, "| `{}` | {default}| {} |", option.usage(), option.help);
    }
    table
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<C> {
    /// Run with this configuration.
    Run(Box<C>),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// A command line, split into options and other words. Each getter removes its option.
pub(crate) struct CommandLine {
    table: &'static OptionTable,
    /// The names of the options that were given, with their values. A flag's value is empty.
    given: Vec<(&'static str, String)>,
    /// The arguments that are neither an option of the table nor the value of one.
    pub(crate) words: Vec<String>,
}

/// Splits the arguments, and has `configure` read the options. Refuses options that it did not read,
/// since they would have no effect. The error is one line.
pub(crate) fn parse<C>(
    arguments: Vec<OsString>,
    table: &'static OptionTable,
    configure: impl FnOnce(&mut CommandLine) -> Result<Action<C>, String>,
) -> Result<Action<C>, String> {
    let mut arguments = Arguments::from_vec(arguments);
    let [help, version] = HELP_AND_VERSION.map(|option| arguments.contains(option.keys()));
    if help {
        return Ok(Action::Help);
    }
    if version {
        return Ok(Action::Version);
    }
    let mut given = vec![];
    for option in table.iter().flat_map(|(_, group)| *group) {
        if option.value.is_none() {
            while arguments.contains(option.keys()) {
                given.push((option.name, String::new()));
            }
            continue;
        }
        let values = arguments.values_from_str(option.keys()).map_err(|error| match error {
            Error::OptionWithoutAValue(_) => format!("{} needs a value", option.name),
            error => format!("{}: {error}", option.name),
        })?;
        given.extend(values.into_iter().map(|value| (option.name, value)));
    }
    let words = arguments.finish().into_iter().map(utf8).collect::<Result<_, _>>()?;
    let mut line = CommandLine { table, given, words };
    let action = configure(&mut line)?;
    match line.given.first() {
        Some((name, _)) => Err(format!("{name} cannot be used with this command")),
        None => Ok(action),
    }
}

impl CommandLine {
    /// Returns whether a flag was given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        !self.take(name).is_empty()
    }

    /// The values of an option that may be repeated.
    pub(crate) fn values<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, String> {
        let explain = |value: &str, error| format!("{name} {value:?}: {error}");
        let values = self.take(name).into_iter();
        values.map(|value| parse(&value).map_err(|error| explain(&value, error))).collect()
    }

    /// The value of an option, if it was given.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        let mut values = self.values(name, parse)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(format!("{name} is given more than once")),
        }
    }

    /// The value of an option that has a default in the table.
    pub(crate) fn value<T, E: Debug + Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, String> {
        if let Some(value) = self.optional(name, &parse)? {
            return Ok(value);
        }
        let mut options = self.table.iter().flat_map(|(_, group)| *group);
        let option = options.find(|option| option.name == name);
        let default = option.and_then(|option| option.default);
        Ok(parse(default.expect("the option has a default")).expect("the default is valid"))
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.given.extract_if(.., |(given, _)| *given == name).map(|(_, value)| value).collect()
    }
}

/// The error for an argument that is no option of the program.
pub(crate) fn unexpected(argument: &str) -> String {
    format!("unexpected argument {argument:?}")
}

pub(crate) fn utf8(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|argument| format!("{} is not UTF-8", argument.display()))
}

pub(crate) fn path(text: &str) -> Result<PathBuf, &'static str> {
    Ok(text.into())
}

pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    digits(text).ok_or("expected a number")
}

pub(crate) fn seconds(text: &str) -> Result<Duration, &'static str> {
    const DAY: u64 = 24 * 60 * 60;
    match digits(text) {
        Some(seconds @ 1..=DAY) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected seconds, from 1 to 86400"),
    }
}

/// Parses plain decimal digits. Unlike the standard parser, it takes no sign.
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const TABLE: &OptionTable = &[(
        "Options",
        &[
            option("--level", "N", "how much of `this`").short("-l").default("3"),
            flag("--an-option-with-a-long-name", "a text that does not fit on one line"),
        ],
    )];

    /// Checks that the parser knows each option of the table, and that each default is the one that
    /// applies without the option.
    pub(crate) fn check_table<C: Debug + PartialEq>(
        table: &OptionTable,
        parse: impl Fn(&str) -> Result<Action<C>, String>,
    ) {
        for option in table.iter().flat_map(|(_, group)| *group) {
            let value = match (option.value, option.default) {
                (None, _) => "",
                (_, Some(default)) => default,
                (Some("ADDR"), None) => "127.0.0.1:1",
                (Some("HASH"), None) => &format!("sha256:{}", "0".repeat(64)),
                (Some("N" | "SEQ"), None) => "7",
                (Some(_), None) => "x",
            };
            let parsed = parse(&format!("{} {value}", option.name));
            if let Err(error) = &parsed {
                let is_parsed = !error.contains("expected") && !error.contains("cannot be used");
                assert!(is_parsed, "{}: {error}", option.name);
            }
            if option.default.is_some() {
                assert_eq!(parsed, parse(""), "{} {value}", option.name);
            }
        }
    }

    #[test]
    fn help_is_wrapped_and_aligned() {
        let page = help("x - an example\n", &[("run", "`run` it")], TABLE, "Notes.\n");
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
            markdown(TABLE),
            "| option | default | meaning |\n| --- | --- | --- |\n\
             | `-l, --level N` | `3` | how much of `this` |\n\
             | `--an-option-with-a-long-name` | | a text that does not fit on one line |\n"
        );
    }
}
