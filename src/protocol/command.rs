//! Commands: the requests that a client can send, and the table that describes them.

use std::ops::RangeInclusive;

use super::error_code::ErrorCode;
use super::feed_id::FeedId;
use super::fields::{Field, Fields, parse_number, split_word, write_line};
use super::name::Name;

/// A parsed command. Its strings borrow from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `COMMANDS` describes each command and its arguments.
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

/// The recipient of a `send`, as typed: an id or a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// A client's id.
    Id {
        /// Its decimal digits, which may have leading zeros.
        typed: &'a str,
        /// Its value.
        id: u64,
    },
    /// A client's name.
    Name(Name<'a>),
}

impl<'a> Recipient<'a> {
    /// Parses a recipient. Returns `None` if the word is neither an id nor a name.
    pub fn parse(word: &'a str) -> Option<Self> {
        match parse_number(word) {
            Some(id) => Some(Self::Id { typed: word, id }),
            None => Name::parse(word).map(Self::Name),
        }
    }

    /// The recipient, as typed.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Id { typed, .. } => typed,
            Self::Name(name) => name.as_str(),
        }
    }
}

/// Identifies a command without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // These are the variants of `Command`.
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

impl Verb {
    /// The command's first word, in lower case.
    pub(super) fn name(self) -> &'static str {
        COMMANDS[self as usize].name
    }
}

/// A row of the command table.
#[derive(Debug)]
pub struct CommandSpec {
    verb: Verb,
    /// The command's first word, in lower case.
    pub name: &'static str,
    /// A short form of the first word, if there is one.
    pub alias: Option<&'static str>,
    /// The number of arguments. The last one extends to the end of the line.
    args: RangeInclusive<usize>,
    /// Whether a client may use the command before it has authenticated.
    pub before_auth: bool,
    /// The command's syntax.
    pub usage: &'static str,
    /// A short description of the command.
    pub help: &'static str,
}

/// Every command, in the order of [`Verb`]. The parser, `help` and the protocol reference all
/// follow this table.
pub static COMMANDS: [CommandSpec; 14] = [
    spec(Verb::Ping, "ping", 0..=1, "ping [text]", "check that the server answers").before_auth(),
    spec(
        Verb::Broadcast,
        "broadcast",
        1..=1,
        "broadcast <text>",
        "send a line to every listening client; short form: say <text>",
    )
    .alias("say"),
    spec(
        Verb::Send,
        "send",
        2..=2,
        "send <client> <text>",
        "send a line to one client, by id or name",
    ),
    spec(
        Verb::Name,
        "name",
        1..=1,
        "name <name>",
        "set your name: 1 to 32 of A-Z a-z 0-9 _ . -, starting with a letter",
    ),
    spec(
        Verb::Clients,
        "clients",
        0..=1,
        "clients [after-id]",
        "list the connected clients by id, at most 500 at a time",
    ),
    spec(
        Verb::History,
        "history",
        1..=1,
        "history <count>",
        "replay the last <count> broadcast lines, then continue with new ones",
    ),
    spec(
        Verb::Resume,
        "resume",
        1..=2,
        "resume <seq> [feed]",
        "replay all broadcast lines after number <seq>, then continue with new ones",
    ),
    spec(Verb::Quiet, "quiet", 0..=0, "quiet", "stop receiving broadcast lines"),
    spec(Verb::Listen, "listen", 0..=0, "listen", "receive broadcast lines again"),
    spec(Verb::Stats, "stats", 0..=0, "stats", "show the server's counters"),
    spec(Verb::Help, "help", 0..=0, "help", "list the commands").before_auth(),
    spec(Verb::Auth, "auth", 1..=1, "auth <secret>", "authenticate as a user or an admin")
        .before_auth(),
    spec(Verb::Quit, "quit", 0..=0, "quit", "close this connection").before_auth(),
    spec(Verb::Shutdown, "shutdown", 0..=0, "shutdown", "shut the server down, if permitted"),
];

/// Creates a row without an alias, for authenticated clients only.
const fn spec(
    verb: Verb,
    name: &'static str,
    args: RangeInclusive<usize>,
    usage: &'static str,
    help: &'static str,
) -> CommandSpec {
    CommandSpec { verb, name, alias: None, args, before_auth: false, usage, help }
}

impl CommandSpec {
    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn before_auth(self) -> Self {
        Self { before_auth: true, ..self }
    }

    /// Finds a command by its name or alias, ignoring case.
    pub fn find(word: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|spec| {
            // Nearly all input is lower case, and comparing it exactly is faster.
            let is_word = |name: &str| name == word || name.eq_ignore_ascii_case(word);
            is_word(spec.name) || spec.alias.is_some_and(is_word)
        })
    }

    /// Finds the command that a line starts with. Ignores its arguments.
    pub fn of_line(line: &str) -> Option<&'static Self> {
        Self::find(split_word(line).0)
    }
}

const NAME_USAGE: &str =
    "name <name>; a name has 1 to 32 of A-Z a-z 0-9 _ . -, and starts with a letter";

/// Why a line is not a valid command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// The code for the error reply.
    pub code: ErrorCode,
    /// The command's syntax, if the first word is a command. That of `name` includes the rule.
    pub usage: Option<&'static str>,
}

impl<'a> Command<'a> {
    /// Parses a line of text; see [`Line::Text`](super::Line::Text).
    pub fn parse(line: &'a str) -> Result<Self, CommandError> {
        let (word, rest) = split_word(line);
        let unknown = CommandError { code: ErrorCode::UNKNOWN_COMMAND, usage: None };
        let spec = CommandSpec::find(word).ok_or(unknown)?;
        let mut fields = Fields(rest);
        let first = if *spec.args.end() == 2 { fields.word() } else { fields.rest() };
        let second = first.and_then(|_| fields.rest());
        let count = usize::from(first.is_some()) + usize::from(second.is_some());
        let is_missing = count < *spec.args.start();
        let code = if is_missing { ErrorCode::MISSING_ARGUMENT } else { ErrorCode::BAD_ARGUMENT };
        let fits = !is_missing && count <= *spec.args.end();
        let command = if fits { Self::build(spec.verb, first, second) } else { None };
        let usage = if spec.verb == Verb::Name { NAME_USAGE } else { spec.usage };
        command.ok_or(CommandError { code, usage: Some(usage) })
    }

    /// Builds a command from the right number of arguments. Returns `None` if one is malformed.
    fn build(verb: Verb, first: Option<&'a str>, second: Option<&'a str>) -> Option<Self> {
        Some(match verb {
            Verb::Ping => Self::Ping { text: first },
            Verb::Broadcast => Self::Broadcast { text: first? },
            Verb::Send => Self::Send { client: Recipient::parse(first?)?, text: second? },
            Verb::Name => Self::Name { name: Name::parse(first?)? },
            Verb::Clients => Self::Clients { after: optional(first, parse_number)? },
            Verb::History => Self::History { count: parse_number(first?)? },
            Verb::Resume => {
                Self::Resume { seq: parse_number(first?)?, feed: optional(second, FeedId::parse)? }
            }
            Verb::Quiet => Self::Quiet,
            Verb::Listen => Self::Listen,
            Verb::Stats => Self::Stats,
            Verb::Help => Self::Help,
            Verb::Auth => Self::Auth { secret: first? },
            Verb::Quit => Self::Quit,
            Verb::Shutdown => Self::Shutdown,
        })
    }

    /// The command without its arguments.
    pub fn verb(&self) -> Verb {
        self.verb_and_arguments().0
    }

    /// Appends the command as a line, LF included. [`parse`](Self::parse) is the inverse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (verb, arguments) = self.verb_and_arguments();
        write_line(out, verb.name(), &arguments);
    }

    fn verb_and_arguments(&self) -> (Verb, [Field<'a>; 2]) {
        use Field::{Absent, Feed, Number, Text};
        match *self {
            Self::Ping { text } => (Verb::Ping, [text.map_or(Absent, Text), Absent]),
            Self::Broadcast { text } => (Verb::Broadcast, [Text(text), Absent]),
            Self::Send { client, text } => (Verb::Send, [Text(client.as_str()), Text(text)]),
            Self::Name { name } => (Verb::Name, [Text(name.as_str()), Absent]),
            Self::Clients { after } => (Verb::Clients, [after.map_or(Absent, Number), Absent]),
            Self::History { count } => (Verb::History, [Number(count), Absent]),
            Self::Resume { seq, feed } => (Verb::Resume, [Number(seq), feed.map_or(Absent, Feed)]),
            Self::Quiet => (Verb::Quiet, [Absent; 2]),
            Self::Listen => (Verb::Listen, [Absent; 2]),
            Self::Stats => (Verb::Stats, [Absent; 2]),
            Self::Help => (Verb::Help, [Absent; 2]),
            Self::Auth { secret } => (Verb::Auth, [Text(secret), Absent]),
            Self::Quit => (Verb::Quit, [Absent; 2]),
            Self::Shutdown => (Verb::Shutdown, [Absent; 2]),
        }
    }
}

/// Parses an optional argument. Returns `None` if it is present and malformed.
fn optional<T>(argument: Option<&str>, parse: fn(&str) -> Option<T>) -> Option<Option<T>> {
    argument.map_or(Some(None), |argument| parse(argument).map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command<'_>, &str>) {
        let parsed = Command::parse(line);
        assert_eq!(parsed.map_err(|error| error.code.as_str()), expected, "{line:?}");
    }

    #[test]
    fn table_is_in_the_order_of_the_verbs() {
        for (i, spec) in COMMANDS.iter().enumerate() {
            assert_eq!(spec.verb as usize, i, "{}", spec.name);
        }
    }

    #[test]
    fn only_ping_help_auth_and_quit_are_allowed_before_auth() {
        let allowed = COMMANDS.iter().filter(|spec| spec.before_auth).map(|spec| spec.name);
        assert_eq!(allowed.collect::<Vec<_>>(), ["ping", "help", "auth", "quit"]);
    }

    #[test]
    fn command_of_a_line_is_found_regardless_of_its_arguments() {
        for (line, name) in [
            ("auth", Some("auth")),
            ("QUIT now", Some("quit")),
            ("say x", Some("broadcast")),
            ("authx", None),
            (" quit", None),
            ("", None),
        ] {
            assert_eq!(CommandSpec::of_line(line).map(|spec| spec.name), name, "{line:?}");
        }
    }

    #[test]
    fn first_word_is_matched_whole_and_ignoring_case() {
        check("PiNg", Ok(Command::Ping { text: None }));
        check("say x", Ok(Command::Broadcast { text: "x" }));
        check("SAY x", Ok(Command::Broadcast { text: "x" }));
        for line in ["pin", "pings", "ping\tx", " ping", "\tping", "", "  ", "píng", "/ping"] {
            check(line, Err("unknown-command"));
        }
    }

    #[test]
    fn one_space_ends_a_word_and_text_is_kept_unchanged() {
        check("ping  x ", Ok(Command::Ping { text: Some(" x ") }));
        check("ping \t", Ok(Command::Ping { text: Some("\t") }));
        check("say   ", Ok(Command::Broadcast { text: "  " }));
        let bob = Recipient::Name(Name::parse("Bob").expect("the name is valid"));
        check("send Bob  hi ", Ok(Command::Send { client: bob, text: " hi " }));
        let seven = Recipient::Id { typed: "007", id: 7 };
        check("send 007 hi", Ok(Command::Send { client: seven, text: "hi" }));
    }

    #[test]
    fn empty_argument_counts_as_missing() {
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
    fn malformed_arguments_are_rejected() {
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
