//! What a client may ask.

use super::error_code::ErrorCode;
use super::feed_id::FeedId;
use super::fields::{parse_number, split_word};
use super::name::Name;

/// A request, parsed. What is borrowed is borrowed from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `COMMANDS` says what each is for, and names its arguments.
pub enum Command<'a> {
    Ping { text: Option<&'a str> },
    Broadcast { text: &'a str },
    Send { client: Recipient<'a>, text: &'a str },
    Name { name: Name<'a> },
    Clients { after: Option<u64> },
    History { count: u64 },
    Resume { seq: u64, feed: Option<FeedId> },
    Quiet,
    Listen,
    Stats,
    Help,
    Auth { secret: &'a str },
    Quit,
    Shutdown,
}

/// Whom a `send` is for, as it was typed: an id or a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// Decimal digits; leading zeros are allowed.
    Id {
        /// The digits.
        typed: &'a str,
        /// Their value.
        id: u64,
    },
    /// A well-formed name.
    Name(Name<'a>),
}

impl<'a> Recipient<'a> {
    /// The recipient, or `None` if the word can be neither an id nor a name.
    pub fn parse(word: &'a str) -> Option<Self> {
        match parse_number(word) {
            Some(id) => Some(Self::Id { typed: word, id }),
            None => Name::parse(word).map(Self::Name),
        }
    }

    /// The recipient as it was typed.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Id { typed, .. } => typed,
            Self::Name(name) => name.as_str(),
        }
    }
}

/// A row of the table of commands.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The command's word, in lower case.
    pub name: &'static str,
    /// A shorter word for the same.
    pub alias: Option<&'static str>,
    /// How few and how many arguments it takes. The last one is the rest of the line.
    arity: (usize, usize),
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a few words.
    pub help: &'static str,
    verb: Verb,
}

/// Which command it is, whatever its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They are [`Command`]'s.
pub enum Verb {
    Ping,
    Broadcast,
    Send,
    Name,
    Clients,
    History,
    Resume,
    Quiet,
    Listen,
    Stats,
    Help,
    Auth,
    Quit,
    Shutdown,
}

const fn spec(
    verb: Verb,
    name: &'static str,
    arity: (usize, usize),
    usage: &'static str,
    help: &'static str,
) -> CommandSpec {
    CommandSpec { name, alias: None, arity, usage, help, verb }
}

/// Every command there is. The parser, `help` and the README's reference all go by it.
pub const COMMANDS: [CommandSpec; 14] = [
    spec(Verb::Ping, "ping", (0, 1), "ping [text]", "prove that the server answers"),
    CommandSpec {
        alias: Some("say"),
        ..spec(
            Verb::Broadcast,
            "broadcast",
            (1, 1),
            "broadcast <text>",
            "send a line to every client that listens, or: say <text>",
        )
    },
    spec(
        Verb::Send,
        "send",
        (2, 2),
        "send <client> <text>",
        "send a line to one client, by id or name",
    ),
    spec(
        Verb::Name,
        "name",
        (1, 1),
        "name <name>",
        "take a name: 1 to 32 of A-Z a-z 0-9 _ . -, a letter first",
    ),
    spec(Verb::Clients, "clients", (0, 1), "clients [after-id]", "list who is here, 500 at a time"),
    spec(
        Verb::History,
        "history",
        (1, 1),
        "history <count>",
        "see the last lines again, then what is new",
    ),
    spec(
        Verb::Resume,
        "resume",
        (1, 2),
        "resume <seq> [feed]",
        "see all lines after this one, then what is new",
    ),
    spec(Verb::Quiet, "quiet", (0, 0), "quiet", "get no broadcast lines from now on"),
    spec(Verb::Listen, "listen", (0, 0), "listen", "get broadcast lines again"),
    spec(Verb::Stats, "stats", (0, 0), "stats", "show the server's counters"),
    spec(Verb::Help, "help", (0, 0), "help", "show this list"),
    spec(Verb::Auth, "auth", (1, 1), "auth <secret>", "come in, or become an admin"),
    spec(Verb::Quit, "quit", (0, 0), "quit", "leave"),
    spec(Verb::Shutdown, "shutdown", (0, 0), "shutdown", "end the server, if you may"),
];

impl CommandSpec {
    /// The command that a word names, whatever its case.
    pub fn find(word: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|spec| {
            // Equal bytes are seen sooner than equal letters, and most are.
            let named = |name: &str| name == word || name.eq_ignore_ascii_case(word);
            named(spec.name) || spec.alias.is_some_and(named)
        })
    }
}

/// Why a line of text is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The first word is none of ours.
    Unknown,
    /// An argument is missing.
    MissingArgument(&'static CommandSpec),
    /// There is an argument where none is taken, or it has the wrong form.
    BadArgument(&'static CommandSpec),
}

impl CommandError {
    /// The code to answer with.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::UnknownCommand,
            Self::MissingArgument(_) => ErrorCode::MissingArgument,
            Self::BadArgument(_) => ErrorCode::BadArgument,
        }
    }

    /// Which command it is, if it is one.
    pub fn verb(self) -> Option<Verb> {
        match self {
            Self::Unknown => None,
            Self::MissingArgument(spec) | Self::BadArgument(spec) => Some(spec.verb),
        }
    }

    /// How the command is written, if it is one.
    pub fn usage(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::MissingArgument(spec) | Self::BadArgument(spec) => Some(spec.usage),
        }
    }
}

impl<'a> Command<'a> {
    /// Parses a line of text (see [`Line::Text`](super::Line::Text)).
    pub fn parse(line: &'a str) -> Result<Self, CommandError> {
        let (word, argument) = split_word(line);
        let spec = CommandSpec::find(word).ok_or(CommandError::Unknown)?;
        let (fewest, most) = spec.arity;
        let (first, second) = match argument {
            Some(argument) if most == 2 => {
                let (first, second) = split_word(argument);
                (Some(first).filter(|first| !first.is_empty()), second)
            }
            argument => (argument, None),
        };
        let given = match (first, second) {
            (None, _) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(_)) => 2,
        };
        if given < fewest {
            return Err(CommandError::MissingArgument(spec));
        }
        if given > most {
            return Err(CommandError::BadArgument(spec));
        }
        spec.verb.with(first, second).ok_or(CommandError::BadArgument(spec))
    }

    /// Which command it is.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Ping { .. } => Verb::Ping,
            Self::Broadcast { .. } => Verb::Broadcast,
            Self::Send { .. } => Verb::Send,
            Self::Name { .. } => Verb::Name,
            Self::Clients { .. } => Verb::Clients,
            Self::History { .. } => Verb::History,
            Self::Resume { .. } => Verb::Resume,
            Self::Quiet => Verb::Quiet,
            Self::Listen => Verb::Listen,
            Self::Stats => Verb::Stats,
            Self::Help => Verb::Help,
            Self::Auth { .. } => Verb::Auth,
            Self::Quit => Verb::Quit,
            Self::Shutdown => Verb::Shutdown,
        }
    }

    /// Appends the command as a line, LF included. [`parse`](Self::parse) is the inverse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut words = |words: &[&str]| {
            for (i, word) in words.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(word.as_bytes());
            }
            out.push(b'\n');
        };
        match *self {
            Self::Ping { text: None } => words(&["ping"]),
            Self::Ping { text: Some(text) } => words(&["ping", text]),
            Self::Broadcast { text } => words(&["broadcast", text]),
            Self::Send { client, text } => words(&["send", client.as_str(), text]),
            Self::Name { name } => words(&["name", name.as_str()]),
            Self::Clients { after: None } => words(&["clients"]),
            Self::Clients { after: Some(id) } => words(&["clients", &id.to_string()]),
            Self::History { count } => words(&["history", &count.to_string()]),
            Self::Resume { seq, feed: None } => words(&["resume", &seq.to_string()]),
            Self::Resume { seq, feed: Some(feed) } => {
                words(&["resume", &seq.to_string(), &feed.to_string()]);
            }
            Self::Quiet => words(&["quiet"]),
            Self::Listen => words(&["listen"]),
            Self::Stats => words(&["stats"]),
            Self::Help => words(&["help"]),
            Self::Auth { secret } => words(&["auth", secret]),
            Self::Quit => words(&["quit"]),
            Self::Shutdown => words(&["shutdown"]),
        }
    }
}

impl Verb {
    /// The command with its arguments, or `None` if one of them has the wrong form. That there are
    /// as many as `arity` says was checked.
    fn with<'a>(self, first: Option<&'a str>, second: Option<&'a str>) -> Option<Command<'a>> {
        Some(match self {
            Self::Ping => Command::Ping { text: first },
            Self::Broadcast => Command::Broadcast { text: first? },
            Self::Send => Command::Send { client: Recipient::parse(first?)?, text: second? },
            Self::Name => Command::Name { name: Name::parse(first?)? },
            Self::Clients => Command::Clients { after: optional(first, parse_number)? },
            Self::History => Command::History { count: parse_number(first?)? },
            Self::Resume => Command::Resume {
                seq: parse_number(first?)?,
                feed: optional(second, FeedId::parse)?,
            },
            Self::Quiet => Command::Quiet,
            Self::Listen => Command::Listen,
            Self::Stats => Command::Stats,
            Self::Help => Command::Help,
            Self::Auth => Command::Auth { secret: first? },
            Self::Quit => Command::Quit,
            Self::Shutdown => Command::Shutdown,
        })
    }
}

/// Parses an argument that may be missing, but not malformed.
fn optional<'a, T>(
    argument: Option<&'a str>,
    parse: impl FnOnce(&'a str) -> Option<T>,
) -> Option<Option<T>> {
    match argument {
        None => Some(None),
        Some(argument) => parse(argument).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command<'_>, &str>) {
        let parsed = Command::parse(line);
        assert_eq!(parsed.map_err(|error| error.code().as_str()), expected, "{line:?}");
    }

    #[test]
    fn the_first_word_is_matched_whole_and_in_any_case() {
        check("PiNg", Ok(Command::Ping { text: None }));
        check("say x", Ok(Command::Broadcast { text: "x" }));
        check("SAY x", Ok(Command::Broadcast { text: "x" }));
        for line in ["pin", "pings", "ping\tx", " ping", "\tping", "", "  ", "píng", "/ping"] {
            check(line, Err("unknown-command"));
        }
    }

    #[test]
    fn one_space_ends_a_word_and_text_is_kept_byte_for_byte() {
        check("ping  x ", Ok(Command::Ping { text: Some(" x ") }));
        check("ping \t", Ok(Command::Ping { text: Some("\t") }));
        check("say   ", Ok(Command::Broadcast { text: "  " }));
        let bob = Recipient::Name(Name::parse("Bob").expect("a name"));
        check("send Bob  hi ", Ok(Command::Send { client: bob, text: " hi " }));
        let seven = Recipient::Id { typed: "007", id: 7 };
        check("send 007 hi", Ok(Command::Send { client: seven, text: "hi" }));
    }

    #[test]
    fn an_empty_argument_counts_as_none() {
        check("ping ", Ok(Command::Ping { text: None }));
        check("quit ", Ok(Command::Quit));
        check("clients ", Ok(Command::Clients { after: None }));
        check("resume 5 ", Ok(Command::Resume { seq: 5, feed: None }));
        for line in [
            "say",
            "say ",
            "send",
            "send 1",
            "send 1 ",
            "send  x",
            "send  1 x",
            "resume  1",
            "name",
            "history",
            "resume ",
            "auth ",
        ] {
            check(line, Err("missing-argument"));
        }
    }

    #[test]
    fn arguments_of_the_wrong_form_are_refused() {
        check("clients 18446744073709551615", Ok(Command::Clients { after: Some(u64::MAX) }));
        for line in [
            "clients 18446744073709551616",
            "clients +1",
            "clients -1",
            "clients 1 ",
            "clients x",
            "history  1",
            "history 0x1",
            "resume x",
            "resume 1 DEADBEEF",
            "resume 1 deadbee",
            "resume 1 deadbeef x",
            "send +1 x",
            "send 1! x",
            "name 1a",
            "name a b",
            "name  a",
            "quit now",
            "quit  ",
            "help me",
            "shutdown 1",
            "stats all",
            "send 18446744073709551616 x",
        ] {
            check(line, Err("bad-argument"));
        }
    }
}
