//! Command-line parsing, shared by both programs.
//!
//! A program reads its options one by one from a `CommandLine`. For each option, it passes a parser
//! and a help row: syntax, default and description. Parsing an empty command line collects all
//! rows, from which `--help` and the tables in the documentation are generated. A program must
//! therefore read every option, even if its command does not use it. It reads them before the
//! positional arguments.
//!
//! `split` decides which arguments are options, and [`help`] formats the rows.

pub mod help;
mod split;
pub(crate) mod suggest;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pico_args::Arguments;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

use crate::display;
use crate::escape::escape_untrusted;
pub use help::CommandRow;
use help::{HelpGroup, HelpRow, Page, first_word, list_commands};
pub(crate) use split::{BEFORE_TEXT, Words, unexpected, unknown_command};
use split::{OptionNames, Split, split};

/// The exit status of a program that failed.
pub const FAILED: u8 = 1;

/// The exit status for wrong arguments.
pub const WRONG_ARGUMENTS: u8 = 2;

/// The action that a command line requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<C> {
    /// Run with this configuration.
    Run(Box<C>),
    /// Print this page of the help.
    Help(Page),
    /// Print the version.
    Version,
}

/// Performs the action for the program `name`. Returns the exit code.
pub fn start<C>(
    name: &str,
    action: Result<Action<C>, String>,
    help: fn(Page) -> String,
    run: fn(C) -> ExitCode,
) -> ExitCode {
    // A write that exceeds the file size limit then fails, instead of ending the process.
    let _ = flag::register(SIGXFSZ, Arc::default());
    let text = match action {
        Ok(Action::Run(config)) => return run(*config),
        Ok(Action::Help(page)) => help(page),
        Ok(Action::Version) => format!("{name} {}\n", env!("CARGO_PKG_VERSION")),
        Err(error) => return fail(name, WRONG_ARGUMENTS, &format!("{error}; see {name} --help")),
    };
    match write_all(text.as_bytes()) {
        // The reader may close the output early, as in `oyezd --help | head -3`.
        Ok(()) | Err(Errno::PIPE) => ExitCode::SUCCESS,
        Err(error) => fail(name, FAILED, &cannot_write(error)),
    }
}

/// Writes all bytes to standard output, even if another process has made it non-blocking.
pub(crate) fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Formats the error for output that [`write_all`] could not write.
pub(crate) fn cannot_write(error: Errno) -> String {
    format!("cannot write to standard output: {error}")
}

/// Prints an error of the program `name` as one line on stderr. Returns `status` as the exit code.
pub fn fail(name: &str, status: u8, error: &str) -> ExitCode {
    let error = format!("{name}: {}", escape_untrusted(error, 3 * 1024));
    let _ = writeln!(io::stderr(), "{}", display::line(&error, 0, io::stderr()));
    ExitCode::from(status)
}

/// A command line.
pub(crate) struct CommandLine {
    split: Split,
    options: Vec<HelpGroup>,
    /// The commands that have the next options. If empty, every command has them.
    commands: &'static [&'static str],
    /// The first error from [`require`](Self::require), if any.
    error: Option<&'static str>,
}

/// Parses the command line of a program with these options and commands. `configure` reads the
/// options, unless help or the version is requested. The error is one line.
pub(crate) fn parse<C>(
    arguments: Vec<OsString>,
    options: &[HelpGroup],
    commands: &[CommandRow],
    configure: impl FnOnce(&mut CommandLine) -> Result<Action<C>, String>,
) -> Result<Action<C>, String> {
    let split = split(arguments, options, commands);
    if let Some(page) = requested_page(&split, commands)? {
        return Ok(Action::Help(page));
    }
    if split.options.iter().any(|(option, _)| *option == "--version") {
        return Ok(Action::Version);
    }
    match split.error {
        Some(error) => Err(error),
        None => configure(&mut CommandLine::new(split)),
    }
}

/// Returns the page of the help that the arguments request, if any: with `-h`, `--help` or the
/// command `help`, for the program or the command that they name.
fn requested_page(split: &Split, commands: &[CommandRow]) -> Result<Option<Page>, String> {
    let mut words = split.words.plain.iter().peekable();
    let has_commands = !commands.is_empty();
    let is_command = has_commands && words.next_if(|word| *word == "help").is_some();
    let Some(page) = split.help.or(is_command.then_some(Page::Full)) else { return Ok(None) };
    match words.next().map(|topic| topic.to_string_lossy()) {
        Some(topic) if has_commands && topic != "help" => {
            command_name(&topic, commands).map(Page::Command).map(Some)
        }
        _ => Ok(Some(page)),
    }
}

fn command_name(word: &str, commands: &[CommandRow]) -> Result<&'static str, String> {
    let mut names = commands.iter().map(|(usage, _)| first_word(usage));
    names.find(|name| *name == word).ok_or_else(|| unknown_command(word, commands))
}

/// Returns the options that `configure` reads, and those of every program.
pub(crate) fn options<C>(
    configure: impl FnOnce(&mut CommandLine) -> Result<Action<C>, String>,
) -> Vec<HelpGroup> {
    let mut line = CommandLine::new(Split::default());
    configure(&mut line).expect("an empty command line is valid");
    line.group("Help").flag("-h, --help", "show this help; `-h` shows a summary");
    line.flag("-V, --version", "show the version");
    line.options
}

impl CommandLine {
    fn new(split: Split) -> Self {
        Self { split, options: vec![], commands: &[], error: None }
    }

    /// Starts a group of options that every command has.
    pub(crate) fn group(&mut self, title: &'static str) -> &mut Self {
        self.options.push((title, vec![]));
        self.commands = &[];
        self
    }

    /// Sets the commands that have the next options of the group. `broadcast` includes every usage
    /// of that command, and `broadcast -` only that one.
    pub(crate) fn only_for(&mut self, commands: &'static [&'static str]) -> &mut Self {
        self.commands = commands;
        self
    }

    /// Checks that `command` has all given options. It is a usage, such as `broadcast -`.
    pub(crate) fn check_command(&self, command: &str) -> Result<(), String> {
        let name = first_word(command);
        let is_misplaced = |row: &HelpRow| {
            let long = OptionNames::parse(row.usage).long;
            !row.commands.is_empty()
                && !row.commands.iter().any(|&has| has == command || has == name)
                && self.split.options.iter().any(|(given, _)| *given == long)
        };
        let mut rows = self.options.iter().flat_map(|(_, group)| group);
        let Some(row) = rows.find(|row| is_misplaced(row)) else { return Ok(()) };
        let commands = list_commands(row.commands).replace('`', "");
        Err(format!("{} is only for {commands}", OptionNames::parse(row.usage).long))
    }

    /// Reads an option without a value. Returns whether it was given. Repeating it has no effect.
    pub(crate) fn flag(&mut self, usage: &'static str, help: &'static str) -> bool {
        let OptionReader { mut arguments, name, .. } = self.option([usage, "", help]);
        arguments.contains(name)
    }

    /// Declares an option. The methods of the returned [`OptionReader`] read its value.
    pub(crate) fn option(&mut self, [usage, default, help]: [&'static str; 3]) -> OptionReader {
        let (_, group) = self.options.last_mut().expect("every option is in a group");
        group.push(HelpRow { usage, default, help, commands: self.commands });
        let name = OptionNames::parse(usage).long;
        // pico-args receives only this option, so that it does not find options among the words.
        let given = self.split.options.iter().filter(|(option, _)| *option == name);
        let arguments = given.flat_map(|(_, value)| [name.into(), value.clone()]).collect();
        OptionReader { arguments: Arguments::from_vec(arguments), name, default }
    }

    /// Checks a condition that involves several options. If it fails, [`words`](Self::words)
    /// returns the error; the first failure counts.
    pub(crate) fn require(&mut self, condition: bool, error: &'static str) {
        self.error = self.error.or((!condition).then_some(error));
    }

    /// Returns the positional arguments. Call this after reading all options.
    pub(crate) fn words(&mut self) -> Result<Words, String> {
        self.error.map_or(Ok(std::mem::take(&mut self.split.words)), |error| Err(error.to_owned()))
    }
}

/// Reads the value of one option.
pub(crate) struct OptionReader {
    /// The option's name and a value, once for each time the option was given.
    arguments: Arguments,
    name: &'static str,
    default: &'static str,
}

type Parser<T, E> = fn(&str) -> Result<T, E>;

impl OptionReader {
    /// Returns all values of an option that may be repeated, in order.
    pub(crate) fn all<T, E: Display>(self, parse: Parser<T, E>) -> Result<Vec<T>, String> {
        self.parse_all(|value| parse(utf8(value)?).map_err(|error| error.to_string()))
    }

    /// Returns all paths of an option that may be repeated. They need not be UTF-8.
    pub(crate) fn paths(self) -> Result<Vec<PathBuf>, String> {
        self.parse_all(|value| Ok(value.into()))
    }

    /// Returns all addresses of an option that may be repeated. See [`address`].
    pub(crate) fn addresses<T>(self, unix: fn(PathBuf) -> T) -> Result<Vec<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        self.parse_all(|value| address(value, unix))
    }

    /// Returns the value, if the option was given.
    pub(crate) fn optional<T, E: Display>(self, parse: Parser<T, E>) -> Result<Option<T>, String> {
        let name = self.name;
        at_most_one(name, self.all(parse)?)
    }

    /// Returns the path, if the option was given. It need not be UTF-8.
    pub(crate) fn path(self) -> Result<Option<PathBuf>, String> {
        let name = self.name;
        at_most_one(name, self.paths()?)
    }

    /// Returns the address, if the option was given. See [`address`].
    pub(crate) fn address<T>(self, unix: fn(PathBuf) -> T) -> Result<Option<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        let name = self.name;
        at_most_one(name, self.addresses(unix)?)
    }

    /// Returns the value, or the default.
    pub(crate) fn value<T, E: Display>(self, parse: Parser<T, E>) -> Result<T, String> {
        let default = self.default;
        match self.optional(parse)? {
            Some(value) => Ok(value),
            None => parse(default).map_err(|error| error.to_string()),
        }
    }

    fn parse_all<T>(
        mut self,
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let values = self
            .arguments
            .values_from_os_str(self.name, |value| Ok::<_, Infallible>(value.to_owned()));
        let values = values.map_err(|error| format!("{}: {error}", self.name))?;
        let parse = |value: &OsString| {
            parse(value).map_err(|error| format!("{} {value:?}: {error}", self.name))
        };
        values.iter().map(parse).collect()
    }
}

fn at_most_one<T>(name: &str, mut values: Vec<T>) -> Result<Option<T>, String> {
    match values.len() {
        0 | 1 => Ok(values.pop()),
        _ => Err(format!("{name} is given more than once")),
    }
}

/// Parses an address. The path of a Unix socket need not be UTF-8; `unix` converts it to an
/// address.
pub(crate) fn address<T>(text: &OsStr, unix: fn(PathBuf) -> T) -> Result<T, String>
where
    T: FromStr<Err: Display>,
{
    let address = text.to_string_lossy().parse().map_err(|error: T::Err| error.to_string())?;
    match (text.to_str(), text.as_bytes().strip_prefix(b"unix:")) {
        (Some(_), _) => Ok(address),
        (None, Some(path)) => Ok(unix(OsStr::from_bytes(path).into())),
        (None, None) => utf8(text).map(|_| address),
    }
}

fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "not UTF-8".to_owned())
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

    /// Checks that every option in the table is parsed, and that passing an option's default
    /// changes nothing.
    pub(crate) fn check_options<C: Debug + PartialEq>(
        options: &[HelpGroup],
        parse: impl Fn(&str) -> Result<Action<C>, String>,
    ) {
        for HelpRow { usage, default, .. } in options.iter().flat_map(|(_, group)| group) {
            let (_, usage) = usage.rsplit_once("--").expect("every option has a long name");
            let (name, metavariable) = usage.split_once(' ').unwrap_or((usage, ""));
            let value = match (metavariable, *default) {
                ("", _) => "",
                ("ADDR", "") => "127.0.0.1:1",
                ("HASH", "") => &format!("sha256:{}", "0".repeat(64)),
                ("N" | "FEED-SEQ" | "SECS", "") => "7",
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
}
