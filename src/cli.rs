//! Command-line parsing, shared by both programs.
//!
//! A program reads its options one by one from a `CommandLine`. For each option, it passes a parser
//! and a help row: syntax, default and description. Parsing an empty command line collects all
//! rows, from which `--help` and the tables in the documentation are generated. A program must
//! therefore read every option, even if its command does not use it. It reads them before the
//! positional arguments.

use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use pico_args::{Arguments, Error, Keys};

use crate::escape::escape_untrusted;

/// The exit status of a program that failed.
pub const FAILED: u8 = 1;

/// The exit status for wrong arguments.
pub const WRONG_ARGUMENTS: u8 = 2;

/// The action that a command line requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<C> {
    /// Run with this configuration.
    Run(Box<C>),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Performs the action for the program `name`. Returns the exit code.
pub fn start<C>(
    name: &str,
    action: Result<Action<C>, String>,
    help: fn() -> String,
    run: fn(C) -> ExitCode,
) -> ExitCode {
    let text = match action {
        Ok(Action::Run(config)) => return run(*config),
        Ok(Action::Help) => help(),
        Ok(Action::Version) => format!("{name} {}\n", env!("CARGO_PKG_VERSION")),
        Err(error) => return fail(name, WRONG_ARGUMENTS, &format!("{error}; see {name} --help")),
    };
    // The reader may close the output early, as in `oyezd --help | head -3`.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Prints an error of the program `name` as one line on stderr. Returns `status` as the exit code.
pub fn fail(name: &str, status: u8, error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{name}: {}", escape_untrusted(error, 3 * 1024));
    ExitCode::from(status)
}

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

/// A command line. Reading an option removes it.
pub(crate) struct CommandLine {
    arguments: Arguments,
    options: Vec<HelpGroup>,
    /// The first error from [`require`](Self::require), if any.
    error: Option<&'static str>,
}

/// Parses a command line. `configure` reads the options, unless help or the version is requested.
/// The error is one line.
pub(crate) fn parse<C>(
    arguments: Vec<OsString>,
    configure: impl FnOnce(&mut CommandLine) -> Result<Action<C>, String>,
) -> Result<Action<C>, String> {
    let mut arguments = Arguments::from_vec(arguments);
    if arguments.contains(["-h", "--help"]) {
        return Ok(Action::Help);
    }
    if arguments.contains(["-V", "--version"]) {
        return Ok(Action::Version);
    }
    configure(&mut CommandLine { arguments, options: vec![], error: None })
}

/// Returns the options that `configure` reads, and those of every program.
pub(crate) fn options<C>(
    configure: impl FnOnce(&mut CommandLine) -> Result<Action<C>, String>,
) -> Vec<HelpGroup> {
    let arguments = Arguments::from_vec(vec![]);
    let mut line = CommandLine { arguments, options: vec![], error: None };
    configure(&mut line).expect("an empty command line is valid");
    line.group("Help").flag("-h, --help", "show this help");
    line.flag("-V, --version", "show the version");
    line.options
}

impl CommandLine {
    /// Starts a group of options.
    pub(crate) fn group(&mut self, title: &'static str) -> &mut Self {
        self.options.push((title, vec![]));
        self
    }

    /// Reads an option without a value. Returns whether it was given.
    pub(crate) fn flag(&mut self, usage: &'static str, help: &'static str) -> bool {
        let OptionReader { arguments, keys, .. } = self.option([usage, "", help]);
        let is_given = arguments.contains(keys);
        // Repeating a flag has no effect.
        while arguments.contains(keys) {}
        is_given
    }

    /// Declares an option. The methods of the returned [`OptionReader`] read its value.
    pub(crate) fn option(&mut self, row: HelpRow) -> OptionReader<'_> {
        let (_, group) = self.options.last_mut().expect("every option is in a group");
        group.push(row);
        let [usage, default, _] = row;
        let (short, long) = usage.split_once(", ").unwrap_or(("", usage));
        let name = long.split_once(' ').map_or(long, |(name, _)| name);
        let keys = if short.is_empty() { name.into() } else { [short, name].into() };
        OptionReader { arguments: &mut self.arguments, name, keys, default }
    }

    /// Checks a condition that involves several options. If it fails, [`words`](Self::words)
    /// returns the error; the first failure counts. An unknown option is reported instead, because
    /// it may be a misspelling of the missing one.
    pub(crate) fn require(&mut self, condition: bool, error: &'static str) {
        self.error = self.error.or((!condition).then_some(error));
    }

    /// Returns the positional arguments. Call this after reading all options. If an unknown option
    /// follows a positional argument, the error ends with `hint`.
    pub(crate) fn words(&self, hint: &str) -> Result<Vec<String>, String> {
        let words = self.arguments.clone().finish().into_iter().map(utf8);
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if let Some(at) = words.iter().position(|word| word.len() > 1 && word.starts_with('-')) {
            return Err(unexpected(&words[at]) + if at > 0 { hint } else { "" });
        }
        self.error.map_or(Ok(words), |error| Err(error.to_owned()))
    }
}

/// Reads the value of one option.
pub(crate) struct OptionReader<'a> {
    arguments: &'a mut Arguments,
    name: &'static str,
    keys: Keys,
    default: &'static str,
}

type Parser<T, E> = fn(&str) -> Result<T, E>;

impl OptionReader<'_> {
    /// Returns all values of an option that may be repeated.
    pub(crate) fn all<T, E: Display>(self, parse: Parser<T, E>) -> Result<Vec<T>, String> {
        let name = self.name;
        self.arguments.values_from_fn(self.keys, parse).map_err(|error| match error {
            Error::OptionWithoutAValue(_) => format!("{name} needs a value"),
            Error::Utf8ArgumentParsingFailed { value, cause } => {
                format!("{name} {value:?}: {cause}")
            }
            error => format!("{name}: {error}"),
        })
    }

    /// Returns the value, if the option was given.
    pub(crate) fn optional<T, E: Display>(self, parse: Parser<T, E>) -> Result<Option<T>, String> {
        let name = self.name;
        let mut values = self.all(parse)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(format!("{name} is given more than once")),
        }
    }

    /// Returns the value, or the default.
    pub(crate) fn value<T, E: Display>(self, parse: Parser<T, E>) -> Result<T, String> {
        let default = self.default;
        match self.optional(parse)? {
            Some(value) => Ok(value),
            None => parse(default).map_err(|error| error.to_string()),
        }
    }
}

/// Formats the error for an unknown argument.
pub(crate) fn unexpected(argument: &str) -> String {
    format!("unexpected argument {argument:?}")
}

pub(crate) fn utf8(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|argument| format!("{} is not UTF-8", argument.display()))
}

/// Parses one of `choices`. The error lists them all.
pub(crate) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let (last, others) = words.split_last().expect("`choices` is not empty");
    Err(format!("expected {} or {last}", others.join(", ")))
}

pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    digits(text).ok_or("expected a number")
}

pub(crate) fn seconds(text: &str) -> Result<Duration, &'static str> {
    match digits(text) {
        Some(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected seconds, from 1 to 86400"),
    }
}

/// Parses plain decimal digits. Unlike `str::parse`, this rejects a sign.
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Debug;

    use super::*;

    fn example() -> HelpGroup {
        let long = "a text that does not fit on one line";
        let rows = [
            ["-l, --level N", "3", "how much of `this`"],
            ["--an-option-with-a-long-name", "", long],
        ];
        ("Options", rows.to_vec())
    }

    /// Checks that every option in the table is parsed, and that passing an option's default
    /// changes nothing.
    pub(crate) fn check_options<C: Debug + PartialEq>(
        options: &[HelpGroup],
        parse: impl Fn(&str) -> Result<Action<C>, String>,
    ) {
        for [usage, default, _] in options.iter().flat_map(|(_, group)| group) {
            let (_, usage) = usage.rsplit_once("--").expect("every option has a long name");
            let (name, metavariable) = usage.split_once(' ').unwrap_or((usage, ""));
            let value = match (metavariable, *default) {
                ("", _) => "",
                ("ADDR", "") => "127.0.0.1:1",
                ("HASH", "") => &format!("sha256:{}", "0".repeat(64)),
                ("N" | "FEED-SEQ", "") => "7",
                (_, "") => "x",
                (_, default) => default,
            };
            let parsed = parse(&format!("--{name} {value}"));
            if let Err(error) = &parsed {
                let is_parsed = !error.contains("expected") && !error.contains("cannot be used");
                assert!(is_parsed, "{name}: {error}");
            }
            if !default.is_empty() {
                assert_eq!(parsed, parse(""), "{name} {value}");
            }
        }
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
