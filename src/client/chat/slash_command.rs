//! Parses the lines typed in the chat: text and slash commands.

use crate::cli::digits;
use crate::cli::suggest::nearest;
use crate::escape::characters;
use crate::protocol::{Command, Name, Recipient, validate_text};

/// How many lines `/history` shows if the user gives no number.
const DEFAULT_HISTORY: u64 = 10;

/// What a typed line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action<'a> {
    /// Send this command, and show the reply.
    Send(Command<'a>),
    /// Broadcast an action of the user, such as `/me waves`.
    Me(&'a str),
    /// Send a text to the sender of the last direct message.
    Reply(&'a str),
    /// List the connected clients.
    Who,
    /// Show the help.
    Help,
    /// Leave the chat.
    Quit,
}

/// A row of the table of slash commands.
pub(super) struct SlashCommand {
    /// The command's name and then its aliases, without the slash and in lower case.
    pub(super) words: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    /// Which arguments are valid, if `arguments` does not show it.
    rule: &'static str,
    /// Parses the arguments, which are empty if there are none. Returns `None` if they are invalid.
    parse: for<'a> fn(&'a str) -> Option<Action<'a>>,
}

/// Every slash command. The parser, the help and the completion follow this table.
pub(super) static SLASH_COMMANDS: [SlashCommand; 11] = [
    SlashCommand {
        words: &["me"],
        arguments: "<text>",
        help: "send an action: /me waves shows * alice waves",
        rule: "",
        parse: |argument| text(argument).map(Action::Me),
    },
    SlashCommand {
        words: &["msg", "send"],
        arguments: "<client> <text>",
        help: "send to one client, by name or id",
        rule: "the client is a name or an id; see /who",
        parse: |arguments| {
            let (client, argument) = arguments.split_once(' ')?;
            let client = Recipient::parse(client)?;
            Some(Action::Send(Command::Send { client, text: text(argument)? }))
        },
    },
    SlashCommand {
        words: &["reply", "r"],
        arguments: "<text>",
        help: "answer the last direct message",
        rule: "",
        parse: |argument| text(argument).map(Action::Reply),
    },
    SlashCommand {
        words: &["nick", "name"],
        arguments: "<name>",
        help: "change your name",
        rule: "a name has 1 to 32 of A-Z a-z 0-9 _ . -, and starts with a letter",
        parse: |argument| Some(Action::Send(Command::Name { name: Name::parse(argument.trim())? })),
    },
    SlashCommand {
        words: &["who"],
        arguments: "",
        help: "list the connected clients",
        rule: "",
        parse: |argument| argument.trim().is_empty().then_some(Action::Who),
    },
    SlashCommand {
        words: &["clients"],
        arguments: "[after-id]",
        help: "list the clients with their ids, 500 at a time",
        rule: "the id is a number",
        parse: |argument| {
            let after = optional_number(argument)?;
            Some(Action::Send(Command::Clients { after }))
        },
    },
    SlashCommand {
        words: &["history"],
        arguments: "[count]",
        help: "show the last lines again, 10 by default",
        rule: "the count is a number, such as 20",
        parse: |argument| {
            let count = optional_number(argument)?.unwrap_or(DEFAULT_HISTORY);
            // The reply to 0 would say that there are no earlier lines.
            (count > 0).then_some(Action::Send(Command::History { count }))
        },
    },
    SlashCommand {
        words: &["ping"],
        arguments: "[text]",
        help: "measure the round-trip time to the server",
        rule: "",
        parse: |argument| Some(Action::Send(Command::Ping { text: text(argument) })),
    },
    SlashCommand {
        words: &["say"],
        arguments: "<text>",
        help: "send any text: /say /quit and //quit send /quit",
        rule: "",
        parse: |argument| Some(Action::Send(Command::Broadcast { text: text(argument)? })),
    },
    SlashCommand {
        words: &["help"],
        arguments: "",
        help: "show this help",
        rule: "",
        parse: |argument| argument.trim().is_empty().then_some(Action::Help),
    },
    SlashCommand {
        words: &["quit", "exit"],
        arguments: "",
        help: "leave, like Ctrl-D on an empty line",
        rule: "",
        parse: |argument| argument.trim().is_empty().then_some(Action::Quit),
    },
];

/// How the screen shows each kind of message.
const MESSAGES: [&str; 10] = [
    "messages look like this:",
    "  bob: hello          from bob to everybody",
    "  => bob: hi, alice   the same, and it mentions you",
    "  * bob waves         from bob with /me",
    "  > hello             from you to everybody",
    "  [bob] hello         from bob to you alone",
    "  [> bob] hello       from you to bob alone",
    "  --:-- bob: hello    an earlier line: the time is unknown",
    "  ! text              an error",
    "  - text              a notice",
];

/// Returns the rows of the help.
pub(super) fn help() -> impl Iterator<Item = String> {
    let commands = SLASH_COMMANDS.iter().map(|command| {
        let usage = command.usage(command.words[0]);
        let aliases: String =
            command.words[1..].iter().map(|word| format!(" (also /{word})")).collect();
        format!("  {usage:21} {}{aliases}", command.help)
    });
    let first = "every line goes to everybody, except for these commands:".to_owned();
    let keys = "Tab completes, Ctrl-R searches, Ctrl-C clears the line, or quits".to_owned();
    let messages = MESSAGES.map(str::to_owned);
    std::iter::once(first).chain(commands).chain([keys]).chain(messages)
}

/// Returns the words of all commands, without the slash.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SLASH_COMMANDS.iter().flat_map(|command| command.words).copied()
}

impl SlashCommand {
    fn usage(&self, word: &str) -> String {
        format!("/{word} {}", self.arguments).trim_end().to_owned()
    }
}

/// An argument that extends to the end of the line. `None` if it is empty.
fn text(argument: &str) -> Option<&str> {
    Some(argument).filter(|text| !text.is_empty())
}

/// Parses a number that may be left out. Returns `None` if it is not a number.
fn optional_number(argument: &str) -> Option<Option<u64>> {
    match argument.trim() {
        "" => Some(None),
        number => digits(number).map(Some),
    }
}

/// Checks that typed text can be sent. The error is a message for the user.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        Err(
            "not sent: the line has U+FFFD in place of bytes that are not UTF-8; replace it, and set \
             the terminal and the locale to UTF-8",
        )
    } else if let [line] = lines(text)[..]
        && let Some(rest) = without_invisible_start(line).strip_prefix('/')
        && !line.starts_with('/')
        && !rest.starts_with('/')
    {
        Err(
            "not sent: the line begins with a space or an invisible character; remove it to run the \
             command, or begin the line with // to send it as text",
        )
    } else if validate_text(text.replace('\n', "").as_bytes()).is_none() {
        Err("not sent: the text has control characters or Unicode line separators")
    } else {
        Ok(())
    }
}

/// Returns the line without the blanks and invisible characters at its start.
fn without_invisible_start(line: &str) -> &str {
    let start = characters(line)
        .take_while(|(c, is_visible)| c.is_whitespace() || !is_visible)
        .map(|(c, _)| c.len_utf8())
        .sum();
    &line[start..]
}

/// Parses typed text into the actions to take. Only pasted text has several lines, separated by
/// LF. The error is a message for the user.
pub(super) fn parse(text: &str) -> Result<Vec<Action<'_>>, String> {
    let lines = lines(text);
    // Pasted text of several lines is never run as a command.
    if let [line] = lines[..]
        && let Some(line) = line.strip_prefix('/')
    {
        return Ok(vec![parse_command(line)?]);
    }
    if let [line] = lines[..]
        && let word = line.trim().to_ascii_lowercase()
        && matches!(word.as_str(), "help" | "quit" | "exit")
    {
        return Err(format!("not sent: type /{word} for the command, or /say {word} to send it"));
    }
    Ok(lines.into_iter().map(|text| Action::Send(Command::Broadcast { text })).collect())
}

/// Returns the lines of a text, without blank ones at its start and end. Between others, an empty
/// line becomes a space, because the server does not accept a broadcast without text.
pub(super) fn lines(text: &str) -> Vec<&str> {
    let is_blank = |line: &&str| line.trim().is_empty();
    let mut lines: Vec<&str> = text.split('\n').skip_while(is_blank).collect();
    let end = lines.iter().rposition(|line| !is_blank(line)).map_or(0, |last| last + 1);
    lines.truncate(end);
    lines.into_iter().map(|line| if line.is_empty() { " " } else { line }).collect()
}

/// Parses the part of a line after the slash.
fn parse_command(line: &str) -> Result<Action<'_>, String> {
    // A second slash makes the line text.
    if line.starts_with('/') {
        return Ok(Action::Send(Command::Broadcast { text: line }));
    }
    let (word, arguments) = line.split_once(' ').unwrap_or((line, ""));
    let is_word = |known: &&str| known.eq_ignore_ascii_case(word);
    let Some(command) = SLASH_COMMANDS.iter().find(|command| command.words.iter().any(is_word))
    else {
        let suggestion = nearest(word, names());
        let suggestion = suggestion.map(|name| format!(" (did you mean /{name}?)"));
        return Err(format!(
            "unknown command /{word}{}; see /help, or send it as text with //{word}",
            suggestion.unwrap_or_default()
        ));
    };
    (command.parse)(arguments).ok_or_else(|| {
        let separator = if command.rule.is_empty() { "" } else { "; " };
        format!("usage: {}{separator}{}", command.usage(word), command.rule)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broadcast_and_slash_commands_are_executed() {
        let broadcast = |text| Ok(vec![Action::Send(Command::Broadcast { text })]);
        assert_eq!(parse("hello there"), broadcast("hello there"));
        assert_eq!(parse(" hello "), broadcast(" hello "));
        assert_eq!(parse("quit it"), broadcast("quit it"));
        assert_eq!(parse("/say quit"), broadcast("quit"));
        assert_eq!(parse("//x y"), broadcast("/x y"));
        assert_eq!(parse("/say  /x"), broadcast(" /x"));
        assert_eq!(parse("/PING"), Ok(vec![Action::Send(Command::Ping { text: None })]));
        for (line, count) in [("/history", 10), ("/history ", 10), ("/history 20 ", 20)] {
            assert_eq!(parse(line), Ok(vec![Action::Send(Command::History { count })]));
        }
        let bob = Recipient::parse("bob").expect("the name is valid");
        for line in ["/msg bob  hi ", "/send bob  hi "] {
            let send = Command::Send { client: bob, text: " hi " };
            assert_eq!(parse(line), Ok(vec![Action::Send(send)]));
        }
        let bob = Name::parse("bob").expect("the name is valid");
        for line in ["/nick bob", "/name bob "] {
            assert_eq!(parse(line), Ok(vec![Action::Send(Command::Name { name: bob })]));
        }
        for (line, action) in [
            ("/me waves", Action::Me("waves")),
            ("/Me  waves", Action::Me(" waves")),
            ("/reply yes", Action::Reply("yes")),
            ("/r yes", Action::Reply("yes")),
            ("/who", Action::Who),
            ("/help", Action::Help),
            ("/quit ", Action::Quit),
        ] {
            assert_eq!(parse(line), Ok(vec![action]));
        }
        assert_eq!(parse(" \n"), Ok(vec![]));
        assert_eq!(parse("\n/quit\n \n"), Ok(vec![Action::Quit]));
        let pasted = ["/quit", " ", "  ", "you", "  said"]
            .map(|text| Action::Send(Command::Broadcast { text }));
        assert_eq!(parse(" \n\n/quit\n\n  \nyou\n  said\n\n"), Ok(pasted.to_vec()));
    }

    #[test]
    fn space_before_a_command_is_an_error() {
        for line in [" /quit", "\t/send bob x", "   /", "\u{3000}/x", "\n /quit\n", "\u{200b}/quit"]
        {
            let error = check(line).expect_err(line);
            assert!(error.contains("begins with a space"), "{error}");
        }
        for text in ["/quit", "//x", " //x", " a /b", "one\n /two", " ", "a\n\n"] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn invalid_line_is_an_error_with_advice() {
        let name = "a name has 1 to 32 of A-Z a-z 0-9 _ . -, and starts with a letter";
        for (line, error) in [
            ("/me", "usage: /me <text>"),
            ("/r ", "usage: /r <text>"),
            ("/name", &format!("usage: /name <name>; {name}")),
            ("/NICK 1x", &format!("usage: /NICK <name>; {name}")),
            ("/history x", "usage: /history [count]; the count is a number, such as 20"),
            ("/history 0", "usage: /history [count]; the count is a number, such as 20"),
            ("/clients x", "usage: /clients [after-id]; the id is a number"),
            ("/who bob", "usage: /who"),
            (
                "/hstory 5",
                "unknown command /hstory (did you mean /history?); see /help, or send it as text \
                 with //hstory",
            ),
            ("quit", "not sent: type /quit for the command, or /say quit to send it"),
            (" Exit ", "not sent: type /exit for the command, or /say exit to send it"),
            ("help", "not sent: type /help for the command, or /say help to send it"),
            (
                "/shutdown",
                "unknown command /shutdown; see /help, or send it as text with //shutdown",
            ),
            ("/ x", "unknown command /; see /help, or send it as text with //"),
        ] {
            assert_eq!(parse(line), Err(error.to_owned()));
        }
        for line in ["/send", "/send bob", "/send bob ", "/send b!b x", "/send  x"] {
            let error = "usage: /send <client> <text>; \
                         the client is a name or an id; see /who";
            assert_eq!(parse(line), Err(error.to_owned()));
        }
    }

    #[test]
    fn text_that_cannot_be_sent_is_an_error() {
        assert_eq!(check("one\n  two\tx\n"), Ok(()));
        let error = "not sent: the text has control characters or Unicode line separators";
        assert_eq!(check("a\u{2028}b"), Err(error));
        assert!(check("a\u{fffd}b").is_err_and(|error| error.contains("not UTF-8")));
    }

    #[test]
    fn help_fits_on_a_screen_of_24_rows_and_80_columns() {
        let rows: Vec<String> = help().collect();
        assert!(rows.len() <= 23, "{} rows", rows.len());
        for row in rows {
            assert!("12:00 - ".len() + row.len() <= 80, "{row}");
        }
    }
}
