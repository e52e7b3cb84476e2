//! The command and its arguments.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{BEFORE_TEXT, CommandRow, Words, one_of, unexpected, unknown_command};
use crate::protocol::{FeedPosition, validate_text};

/// The usage and description of every command.
#[rustfmt::skip] // One row per command.
pub const COMMANDS: &[CommandRow] = &[
    ("chat", "chat on a terminal (the default); type `/help` to list its commands"),
    ("broadcast TEXT", "send a line to every listening client"),
    ("broadcast -", "send every line of standard input, in order and exactly once; exit when all \
        are confirmed"),
    ("broadcast --file FILE", "send every line of FILE in the same way"),
    ("listen", "print broadcast lines"),
    ("send CLIENT TEXT", "send a line to one client, by id or name"),
    ("clients", "list the ids and names of the other clients"),
    ("ping [TEXT]", "measure the round-trip time to the server"),
    ("stats", "print the server's counters"),
    ("shutdown", "shut the server down gracefully"),
    ("raw", "send standard input to the server unchanged, and print the lines it sends"),
    ("help [COMMAND]", "show this help, or the help for a command"),
];

/// A command with its arguments and options.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `COMMANDS` describes them.
pub enum Task {
    Chat(ChatOptions),
    Broadcast { text: String, format: Format },
    BroadcastInput(InputOptions),
    Listen(Listen),
    Send { client: String, text: String },
    Clients { format: Format },
    Ping { text: Option<String> },
    Stats { format: Format },
    Shutdown,
    Raw,
}

impl Task {
    /// Returns the start of the command's usage, which tells apart the usages of `broadcast`.
    pub(super) fn usage(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::Broadcast { .. } => "broadcast TEXT",
            Self::BroadcastInput(_) => "broadcast -",
            Self::Listen(_) => "listen",
            Self::Send { .. } => "send",
            Self::Clients { .. } => "clients",
            Self::Ping { .. } => "ping",
            Self::Stats { .. } => "stats",
            Self::Shutdown => "shutdown",
            Self::Raw => "raw",
        }
    }
}

/// The options of all commands.
pub(super) struct Options {
    pub(super) chat: ChatOptions,
    pub(super) input: InputOptions,
    /// Without its format.
    pub(super) listen: Listen,
    /// The format, unparsed: its choices depend on the command.
    pub(super) format: String,
}

/// What the chat shows besides new lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    /// How many of the last lines to show at the start.
    pub history: u64,
    /// Whether to show who joins and leaves.
    pub presence: bool,
}

/// Which input to broadcast, and what to do with bad lines: those that are too long or not text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// The files, in order. `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Skip bad lines, instead of exiting.
    pub skip_bad: bool,
    /// Escape control characters and invalid UTF-8.
    pub escape_bad: bool,
}

/// Which broadcast lines to print, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where to start.
    pub start: Start,
    /// How many lines to print before exiting. If `None`, there is no limit.
    pub count: Option<u64>,
    /// How long to run. If `None`, there is no limit.
    pub duration: Option<Duration>,
    /// The output format.
    pub format: Format,
}

/// Where `listen` starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the first new line.
    #[default]
    New,
    /// With the last lines, this many.
    Last(u64),
    /// After a line.
    After(Since),
}

/// The line after which `listen` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A sequence number in the server's feed at the first connection.
    Line(u64),
    /// A sequence number in a given feed.
    Position(FeedPosition),
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(seq) => write!(f, "line {seq}"),
            Self::Position(position) => position.fmt(f),
        }
    }
}

/// The output format. Only `listen` has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text only.
    Text,
    /// The sender and the text.
    Named,
    /// The line as the server sent it.
    Lines,
    /// A JSON object.
    Json,
}

/// The names of the formats. Commands other than `listen` have only the first two.
const FORMATS: &[(&str, Format)] = &[
    ("text", Format::Text),
    ("json", Format::Json),
    ("named", Format::Named),
    ("lines", Format::Lines),
];

/// Parses the command and its arguments. Returns `None` for `help`.
pub(super) fn parse(
    words: &Words,
    Options { chat, input, listen, format }: Options,
) -> Result<Option<Task>, String> {
    let one_of =
        |choices| one_of(&format, choices).map_err(|error| format!("--format {format:?}: {error}"));
    let text_or_json = || one_of(&FORMATS[..2]);
    let takes_no_words = |command| COMMANDS.iter().any(|(usage, _)| usage == command);
    let all = words
        .all()
        .map(|word| word.to_str().ok_or_else(|| format!("{word:?} is not UTF-8")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(match &*all {
        [] | ["chat"] => Task::Chat(chat),
        ["broadcast"] if !input.files.is_empty() => Task::BroadcastInput(input),
        ["broadcast"] => return Err("broadcast needs a text, or - for standard input".to_owned()),
        ["broadcast", ..] if !input.files.is_empty() => {
            return Err("broadcast sends either --file, or standard input, or a text".to_owned());
        }
        // After `--`, `-` is a text.
        ["broadcast", "-", rest @ ..] if words.plain.len() > 1 => {
            if !rest.is_empty() {
                return Err(format!("broadcast - takes no text; {BEFORE_TEXT}"));
            }
            Task::BroadcastInput(InputOptions { files: vec!["-".into()], ..input })
        }
        ["broadcast", words @ ..] => {
            Task::Broadcast { text: text(words)?, format: text_or_json()? }
        }
        ["listen"] => Task::Listen(Listen { format: one_of(FORMATS)?, ..listen }),
        ["send"] | ["send", _] => return Err("send needs a client and a text".to_owned()),
        ["send", client, words @ ..] => {
            Task::Send { client: client.to_string(), text: text(words)? }
        }
        ["clients"] => Task::Clients { format: text_or_json()? },
        ["ping"] => Task::Ping { text: None },
        ["ping", words @ ..] => Task::Ping { text: Some(text(words)?) },
        ["stats"] => Task::Stats { format: text_or_json()? },
        ["shutdown"] => Task::Shutdown,
        ["raw"] => Task::Raw,
        ["help", ..] => return Ok(None),
        [command, word, ..] if takes_no_words(command) => {
            return Err(format!("{}; {command} takes no arguments", unexpected(word)));
        }
        [command, ..] => return Err(unknown_command(command, COMMANDS)),
    }))
}

/// Joins the words with spaces, like echo.
fn text(words: &[&str]) -> Result<String, &'static str> {
    match validate_text(words.join(" ").as_bytes()) {
        Some("") => Err("the text is empty"),
        Some(text) => Ok(text.to_owned()),
        None => Err("the text has line breaks or control characters; to send several lines, pipe \
                     them into: oyez broadcast -"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::config::{self, Action, Config};

    fn config(words: &[&str]) -> Config {
        match config::parse(words.iter().map(Into::into).collect(), &|_| None) {
            Ok(Action::Run(config)) => *config,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn every_command_in_the_table_is_parsed() {
        for (usage, _) in COMMANDS {
            let words: Vec<&str> = usage.trim_end_matches(" [COMMAND]").split(' ').collect();
            let parsed = config::parse(words.iter().map(Into::into).collect(), &|_| None);
            assert!(parsed.is_ok(), "{words:?}");
        }
    }

    #[test]
    fn text_is_never_parsed() {
        for (words, text) in [
            (&["a", "b"][..], "a b"),
            (&["run", "it", "with", "--timeout", "5", "please"], "run it with --timeout 5 please"),
            (&["curl", "--insecure", "is", "bad"], "curl --insecure is bad"),
            (&["see", "-h", "--version"], "see -h --version"),
            (&["a", "--", "b", "--"], "a -- b --"),
            (&["a", "-"], "a -"),
            (&["--", "-"], "-"),
            (&["--", "--"], "--"),
            (&["--", "--help"], "--help"),
            (&["--", "--count", "1"], "--count 1"),
            (&["--", "- -", "--name=x"], "- - --name=x"),
        ] {
            let text = text.to_owned();
            let parse_after = |command: &[&str]| config(&[command, words].concat());
            let broadcast = parse_after(&["broadcast", "--name", "al"]);
            let expected = Task::Broadcast { text: text.clone(), format: Format::Text };
            assert_eq!(broadcast.task, expected, "{words:?}");
            assert!(broadcast.route.name.is_some() && !broadcast.route.insecure, "{words:?}");
            let ping = parse_after(&["ping"]);
            assert_eq!(ping.task, Task::Ping { text: Some(text.clone()) }, "{words:?}");
            let send = parse_after(&["send", "bob"]);
            assert_eq!(send.task, Task::Send { client: "bob".to_owned(), text }, "{words:?}");
            assert_eq!(
                (send.route, ping.route),
                (config(&["ping"]).route, config(&["ping"]).route)
            );
        }
    }
}
