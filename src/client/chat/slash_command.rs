//! Slash commands: what a line typed in the chat means.

use crate::protocol::{Command, CommandError, validate_text};

/// What `/help` shows of the commands. Their usages are the protocol's.
pub(super) const HELP: [&str; 9] = [
    "every line goes to everybody, except for these commands:",
    "  /send <client> <text>  send a line to one client, by id or name",
    "  /name <name>           change your name",
    "  /clients [after-id]    list who is connected, 500 at a time",
    "  /history <count>       show the last lines again",
    "  /ping [text]           measure how fast the server answers",
    "  /help                  show this list",
    "  /quit                  leave; so do Ctrl-D and Ctrl-C",
    "  //text                 send a line that begins with a slash: /text",
];

/// A typed line, parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SlashCommand<'a> {
    /// There is nothing to do.
    Empty,
    Help,
    Quit,
    /// Send these to the server.
    Send(Vec<Command<'a>>),
    /// Show this error.
    Invalid(String),
}

impl<'a> SlashCommand<'a> {
    /// Parses a text whose lines end in LF. Only pasted text has several lines.
    pub(super) fn parse(text: &'a str) -> Self {
        let lines: Vec<&str> = text.split('\n').filter(|line| !line.trim().is_empty()).collect();
        let broadcast = |text| Command::Broadcast { text };
        let commands = match lines[..] {
            [] => return Self::Empty,
            // Several lines are text, never commands.
            [_, _, ..] => lines.into_iter().map(broadcast).collect(),
            [line] => match line.strip_prefix('/') {
                None => vec![broadcast(line)],
                Some(rest) if rest.starts_with('/') => vec![broadcast(rest)],
                Some(rest) => match parse_command(rest) {
                    Ok(Command::Help) => return Self::Help,
                    Ok(Command::Quit) => return Self::Quit,
                    Ok(command) => vec![command],
                    Err(error) => return Self::Invalid(error),
                },
            },
        };
        if validate_text(text.replace('\n', "").as_bytes()).is_none() {
            let error = "not sent: the text has control characters or Unicode line separators";
            return Self::Invalid(error.to_owned());
        }
        Self::Send(commands)
    }
}

/// Parses the part after the slash as a command of the protocol.
fn parse_command(line: &str) -> Result<Command<'_>, String> {
    let parsed = match Command::parse(line) {
        // The client sends some of these itself; the others have no place in a chat.
        Ok(
            Command::Auth { .. }
            | Command::Resume { .. }
            | Command::Quiet
            | Command::Listen
            | Command::Stats
            | Command::Shutdown,
        ) => Err(CommandError::Unknown),
        parsed => parsed,
    };
    parsed.map_err(|error| match error.usage() {
        Some(usage) => format!("usage: /{usage}"),
        None => {
            let word = line.split(' ').next().unwrap_or_default();
            format!("unknown command /{word}; see /help, or send it as text with //{word}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::COMMANDS;

    #[test]
    fn lines_are_broadcast_and_slash_commands_run() {
        let parse = SlashCommand::parse;
        let broadcast = |text| SlashCommand::Send(vec![Command::Broadcast { text }]);
        assert_eq!(parse("hello there"), broadcast("hello there"));
        assert_eq!(parse(" hello "), broadcast(" hello "));
        assert_eq!(parse("//x y"), broadcast("/x y"));
        assert_eq!(parse("/PING"), SlashCommand::Send(vec![Command::Ping { text: None }]));
        assert_eq!(parse("/history 20"), SlashCommand::Send(vec![Command::History { count: 20 }]));
        assert_eq!(parse("/help"), SlashCommand::Help);
        assert_eq!(parse("/quit"), SlashCommand::Quit);
        assert_eq!(parse(" \n"), SlashCommand::Empty);
        let pasted = ["/quit", "you", "  said"].map(|text| Command::Broadcast { text });
        assert_eq!(parse("/quit\n\nyou\n  said\n"), SlashCommand::Send(pasted.to_vec()));
    }

    #[test]
    fn invalid_lines_get_an_error_with_a_remedy() {
        for (line, error) in [
            ("/send bob", "usage: /send <client> <text>"),
            ("/history x", "usage: /history <count>"),
            ("/hstory 5", "unknown command /hstory; see /help, or send it as text with //hstory"),
            (
                "/shutdown",
                "unknown command /shutdown; see /help, or send it as text with //shutdown",
            ),
            ("/ x", "unknown command /; see /help, or send it as text with //"),
            ("a\u{2028}b", "not sent: the text has control characters or Unicode line separators"),
        ] {
            assert_eq!(SlashCommand::parse(line), SlashCommand::Invalid(error.to_owned()));
        }
    }

    #[test]
    fn help_and_protocol_agree_on_usages() {
        for line in HELP.iter().filter_map(|line| line.strip_prefix("  /")) {
            let is_text = line.starts_with('/');
            assert!(is_text || COMMANDS.iter().any(|spec| line.starts_with(spec.usage)), "{line}");
        }
    }
}
