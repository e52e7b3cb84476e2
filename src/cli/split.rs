//! Splits the arguments into options and words, before pico-args parses the options.
//!
//! pico-args searches all arguments for an option, so it would also find one inside a text, or in
//! the value of another option. This module therefore reads the arguments from left to right, and
//! pico-args receives only the values of the option that it parses.
//!
//! Options may appear anywhere before the first word of a text, or before `--`. Everything after
//! that is literal. The value of an option is the rest of its argument (`--name=VALUE`, `-sVALUE`)
//! or the next argument, unless that itself looks like an option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::help::{CommandRow, HelpGroup, Page, first_word};
use super::suggest::{COMMAND_SYNONYMS, OPTION_SYNONYMS, nearest, synonym};

/// The advice for a text that is mistaken for an option or for `-`.
pub(crate) const BEFORE_TEXT: &str = "put -- before a text that starts with -";

/// The arguments of a program, split.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// The long name of each option and its value, in the order of the arguments. The value of a
    /// flag is empty.
    pub(super) options: Vec<(&'static str, OsString)>,
    pub(super) words: Words,
    /// The page of the help that the first of `-h` and `--help` requests.
    pub(super) help: Option<Page>,
    /// The first error.
    pub(super) error: Option<String>,
}

/// The arguments that are neither options nor their values.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// The words before `--` and before the text. Only here does `-` mean standard input.
    pub(crate) plain: Vec<OsString>,
    /// The words of the text, and all words after `--`.
    pub(crate) literal: Vec<OsString>,
}

impl Words {
    /// Returns all words.
    pub(crate) fn all(&self) -> impl Iterator<Item = &OsString> {
        self.plain.iter().chain(&self.literal)
    }
}

/// The names of an option in its usage, such as `-s, --server ADDR`.
#[derive(Clone, Copy)]
pub(super) struct OptionNames {
    short: Option<&'static str>,
    pub(super) long: &'static str,
    has_value: bool,
}

impl OptionNames {
    pub(super) fn parse(usage: &'static str) -> Self {
        let (short, long) = match usage.split_once(", ") {
            Some((short, long)) => (Some(short), long),
            None => (None, usage),
        };
        match long.split_once(' ') {
            Some((long, _)) => Self { short, long, has_value: true },
            None => Self { short, long, has_value: false },
        }
    }

    /// Matches an argument. Returns `None` if it is not this option, and otherwise the value that
    /// the argument contains, if any.
    fn match_argument<'a>(&self, argument: &'a OsStr) -> Option<Option<&'a OsStr>> {
        let argument = argument.as_bytes();
        let long = argument.strip_prefix(self.long.as_bytes());
        let short = self.short.and_then(|short| argument.strip_prefix(short.as_bytes()));
        let value = match (long, short) {
            (Some([]), _) | (_, Some([])) => return Some(None),
            (Some([b'=', value @ ..]), _) | (_, Some([b'=', value @ ..])) => value,
            (_, Some(value)) => value,
            _ => return None,
        };
        self.has_value.then(|| Some(OsStr::from_bytes(value)))
    }
}

/// The options of a program.
struct OptionTable(Vec<OptionNames>);

impl OptionTable {
    fn new(options: &[HelpGroup]) -> Self {
        let rows = options.iter().flat_map(|(_, group)| group);
        Self(rows.map(|row| OptionNames::parse(row.usage)).collect())
    }

    /// Returns the option in this argument, and the value that the argument contains, if any.
    fn find<'a>(&self, argument: &'a OsStr) -> Option<(OptionNames, Option<&'a OsStr>)> {
        self.0.iter().find_map(|names| Some((*names, names.match_argument(argument)?)))
    }

    /// Formats the error for an option that does not exist. `before` are the words before it, if it
    /// may have been meant as a text.
    fn unknown(&self, argument: &str, before: Option<&Vec<OsString>>) -> String {
        let name = argument.split('=').next().unwrap_or_default();
        if self.0.iter().any(|names| names.long == name) {
            return format!("{name} takes no value");
        }
        let error = format!("unknown option {}", shell_word(name));
        let word = name.trim_start_matches('-');
        let has = |option: &str| self.find(option.as_ref()).is_some();
        let long = self.0.iter().map(|names| &names.long[2..]);
        let meant = synonym(word, OPTION_SYNONYMS, has)
            .map(str::to_owned)
            .or_else(|| nearest(word, long).map(|long| format!("--{long}")));
        match (meant, before) {
            (Some(option), _) => format!("{error} (did you mean {option}?)"),
            (None, Some(before)) => {
                let before: String =
                    before.iter().map(|word| shell_word(&word.to_string_lossy()) + " ").collect();
                let text = shell_word(argument);
                format!("{error} (to send it as text: oyez {before}-- {text})")
            }
            (None, None) => error,
        }
    }

    fn is_like_option(&self, argument: &OsStr) -> bool {
        argument.as_bytes().starts_with(b"--") || self.find(argument).is_some()
    }
}

/// Splits the arguments of a program that has these options and commands.
pub(super) fn split(
    arguments: Vec<OsString>,
    options: &[HelpGroup],
    commands: &[CommandRow],
) -> Split {
    let table = OptionTable::new(options);
    let mut split = Split::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let is_text = starts_text(&split.words.plain, &argument, commands);
        if let Some((names, attached)) = table.find(&argument) {
            let value = match attached {
                _ if !names.has_value => Some(OsString::new()),
                Some(value) => Some(value.to_owned()),
                None => arguments.next_if(|next| !table.is_like_option(next)),
            };
            if names.long == "--help" {
                split.help.get_or_insert(if argument == "-h" { Page::Short } else { Page::Full });
            }
            match value {
                Some(value) if !value.is_empty() || !names.has_value => {
                    split.options.push((names.long, value));
                }
                Some(_) => split.fail(format!("{} needs a value", names.long)),
                None => split.fail(missing_value(names.long, arguments.peek())),
            }
        } else if argument == "--" {
            break;
        } else if argument.len() > 1 && argument.as_bytes().starts_with(b"-") {
            let argument = argument.to_string_lossy();
            split.fail(table.unknown(&argument, is_text.then_some(&split.words.plain)));
        } else if is_text {
            split.words.literal.push(argument);
            break;
        } else {
            // Report it here, because another command may not have the options that follow.
            if split.words.plain.is_empty() && !commands.is_empty() {
                split.check_command(&argument, commands);
            }
            split.words.plain.push(argument);
        }
    }
    split.words.literal.extend(arguments);
    split
}

impl Split {
    fn check_command(&mut self, word: &OsStr, commands: &[CommandRow]) {
        if let Some(word) = word.to_str()
            && !commands.iter().any(|(usage, _)| first_word(usage) == word)
        {
            self.fail(unknown_command(word, commands));
        }
    }

    fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }
}

/// Returns whether the argument, which follows these words, is the first word of a text: a usage of
/// the command has TEXT at its position, and no other usage has the argument itself there, as in
/// `broadcast -`.
fn starts_text(words: &[OsString], argument: &OsStr, commands: &[CommandRow]) -> bool {
    let Some(command) = words.first() else { return false };
    let usages = commands.iter().map(|(usage, _)| usage.split(' ').collect::<Vec<_>>());
    let in_place: Vec<&str> = usages
        .filter(|usage| command == usage[0])
        .filter_map(|usage| usage.get(words.len()).copied())
        .collect();
    let is_text = |word: &&str| matches!(*word, "TEXT" | "[TEXT]");
    in_place.iter().any(is_text) && !in_place.iter().any(|word| !is_text(word) && argument == *word)
}

/// Formats the error for an option without a value. `next` is the argument after it, which looks
/// like an option.
fn missing_value(name: &str, next: Option<&OsString>) -> String {
    let Some(next) = next else { return format!("{name} needs a value") };
    let combined = format!("{name}={}", next.to_string_lossy());
    format!("{name} needs a value; if {next:?} is the value, write {combined:?}")
}

/// Quotes a word for the shell, if necessary.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=./:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Formats the error for an unknown command. It suggests the one that was probably meant, or `-s`
/// for an address.
pub(crate) fn unknown_command(word: &str, commands: &[CommandRow]) -> String {
    let names = || commands.iter().map(|(usage, _)| first_word(usage));
    let port = word.strip_prefix(':').unwrap_or(word).parse::<u16>();
    let is_address =
        word == "localhost" || word.contains(['.', ':']) && !word.contains(char::is_whitespace);
    let meant = match port {
        Ok(port) => Some(format!("-s 127.0.0.1:{port}")),
        Err(_) if is_address => Some(format!("-s {word}")),
        Err(_) => synonym(word, COMMAND_SYNONYMS, |command| names().any(|name| name == command))
            .or_else(|| nearest(word, names()))
            .map(str::to_owned),
    };
    match meant {
        Some(meant) => format!("unknown command {word:?} (did you mean {meant}?)"),
        None => format!("unknown command {word:?}"),
    }
}

/// Formats the error for an unexpected word.
pub(crate) fn unexpected(argument: &str) -> String {
    format!("unexpected argument {argument:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help::HelpRow;

    const COMMANDS: &[CommandRow] = &[
        ("broadcast TEXT", ""),
        ("broadcast -", ""),
        ("send CLIENT TEXT", ""),
        ("ping [TEXT]", ""),
        ("stats", ""),
    ];

    fn split_line(line: &str) -> Split {
        split_words(&line.split(' ').collect::<Vec<_>>())
    }

    fn split_words(words: &[&str]) -> Split {
        let rows = ["-s, --server ADDR", "--name NAME", "--tls", "-h, --help"];
        let row = |usage| HelpRow { usage, default: "", help: "", commands: &[] };
        let options = [("Options", rows.map(row).to_vec())];
        split(words.iter().map(OsString::from).collect(), &options, COMMANDS)
    }

    /// Formats the parts: options, then the plain words, then the literal ones.
    fn show(split: &Split) -> String {
        let options = split.options.iter().map(|(name, value)| match value.is_empty() {
            true => (*name).to_owned(),
            false => format!("{name}={}", value.to_string_lossy()),
        });
        let words = |words: &[OsString]| words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let options: Vec<String> = options.collect();
        let [plain, literal] = [&split.words.plain, &split.words.literal].map(|part| words(part));
        format!("{} | {plain} | {literal}", options.join(" "))
    }

    #[test]
    fn options_end_at_the_text_or_at_two_dashes() {
        for (line, expected) in [
            ("--tls broadcast --name al hi", "--tls --name=al | broadcast | hi"),
            ("broadcast hi --tls -h -- --name", " | broadcast | hi --tls -h -- --name"),
            ("broadcast hi --bogus", " | broadcast | hi --bogus"),
            ("broadcast - --tls", "--tls | broadcast - | "),
            ("broadcast - x --tls", "--tls | broadcast - x | "),
            ("broadcast -- - --tls", " | broadcast | - --tls"),
            ("broadcast --tls -- -- --help", "--tls | broadcast | -- --help"),
            ("broadcast TEXT --tls", " | broadcast | TEXT --tls"),
            ("ping - --tls", " | ping | - --tls"),
            ("ping --tls", "--tls | ping | "),
            ("send --tls bob --name al hi -h", "--tls --name=al | send bob | hi -h"),
            ("send CLIENT -- -h", " | send CLIENT | -h"),
            ("send -- bob -h", " | send | bob -h"),
            ("-- broadcast - --tls", " | | broadcast - --tls"),
            ("stats now --tls", "--tls | stats now | "),
            ("stats --", " | stats | "),
        ] {
            let split = split_line(line);
            assert_eq!(show(&split).replace("|  |", "| |"), expected, "{line}");
            assert_eq!(split.error, None, "{line}");
        }
    }

    /// Tries all sequences of up to four arguments.
    #[test]
    fn text_of_any_arguments_is_kept() {
        const ARGUMENTS: [&str; 9] =
            ["-", "--", "--tls", "--name", "--name=x", "-sx", "-h", "--bogus", "a"];
        let mut sequences = vec![vec![]];
        for len in 0..4 {
            let longest = sequences.iter().filter(|sequence| sequence.len() == len);
            let longer = longest.flat_map(|sequence: &Vec<&str>| {
                ARGUMENTS.map(|argument| [sequence.as_slice(), &[argument]].concat())
            });
            sequences.extend(longer.collect::<Vec<_>>());
        }
        for sequence in &sequences {
            for before in [&["broadcast", "--"][..], &["send", "bob", "--"], &["--"]] {
                let split = split_words(&[before, sequence].concat());
                assert_eq!(split.words.literal, *sequence, "{before:?}");
                assert!(split.options.is_empty() && split.error.is_none());
            }
            for before in [&["broadcast"][..], &["send", "bob"], &["--tls", "ping"]] {
                let split = split_words(&[before, &["a"], sequence].concat());
                assert_eq!(split.words.literal, [&["a"], sequence.as_slice()].concat());
                assert!(split.options.len() < 2 && split.error.is_none());
            }
        }
    }

    #[test]
    fn value_is_attached_or_the_next_argument() {
        for (line, expected) in [
            ("--name al", "--name=al"),
            ("--name=al", "--name=al"),
            ("--name==", "--name=="),
            ("--name \"al\"", "--name=\"al\""),
            ("--name=\"al\"", "--name=\"al\""),
            ("--name -1", "--name=-1"),
            ("--name -", "--name=-"),
            ("--name=--tls", "--name=--tls"),
            ("--name=--name --tls", "--name=--name --tls"),
            ("--name a --name=b --name c", "--name=a --name=b --name=c"),
            ("-s host", "--server=host"),
            ("-shost", "--server=host"),
            ("-s=host", "--server=host"),
            ("--server=host -sh", "--server=host --server=h"),
            ("--tls -h --tls", "--tls --help --tls"),
        ] {
            let split = split_line(line);
            assert_eq!(show(&split), format!("{expected} |  | "), "{line}");
            assert_eq!(split.error, None, "{line}");
        }
    }

    #[test]
    fn first_error_is_reported() {
        for (line, error) in [
            ("bogus now --names", "unknown command \"bogus\""),
            ("stat --tls", "unknown command \"stat\" (did you mean stats?)"),
            ("--bogus value stats", "unknown option --bogus"),
            ("--bogus --name", "unknown option --bogus"),
            ("--bogus=1", "unknown option --bogus"),
            ("-x", "unknown option -x"),
            ("-hs", "unknown option -hs"),
            ("--tls=1", "--tls takes no value"),
            ("--nam al", "unknown option --nam (did you mean --name?)"),
            ("--NAMES=al", "unknown option --NAMES (did you mean --name?)"),
            ("-name al", "unknown option -name (did you mean --name?)"),
            ("--name", "--name needs a value"),
            ("--name=", "--name needs a value"),
            ("--name ", "--name needs a value"),
            ("-s=", "--server needs a value"),
            (
                "--name --tls",
                "--name needs a value; if \"--tls\" is the value, write \"--name=--tls\"",
            ),
            (
                "--name --bogus",
                "--name needs a value; if \"--bogus\" is the value, write \"--name=--bogus\"",
            ),
            ("--name -- x", "--name needs a value; if \"--\" is the value, write \"--name=--\""),
            ("-s -h", "--server needs a value; if \"-h\" is the value, write \"--server=-h\""),
            (
                "broadcast -5 degrees",
                "unknown option -5 (to send it as text: oyez broadcast -- -5)",
            ),
            ("send bob -5", "unknown option -5 (to send it as text: oyez send bob -- -5)"),
            ("send -5 hi", "unknown option -5"),
        ] {
            assert_eq!(split_line(line).error.as_deref(), Some(error), "{line}");
        }
        let quoted =
            "unknown option '-it'\\''s x' (to send it as text: oyez ping -- '-it'\\''s x')";
        assert_eq!(split_words(&["ping", "-it's x"]).error.as_deref(), Some(quoted));
    }

    #[test]
    fn first_help_option_selects_the_page() {
        for (line, page) in [
            ("-h --help", Some(Page::Short)),
            ("stats --help -h", Some(Page::Full)),
            ("broadcast -- -h", None),
        ] {
            assert_eq!(split_line(line).help, page, "{line}");
        }
    }
}
