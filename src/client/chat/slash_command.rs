//! Parses the lines typed in the chat: text and slash commands.

use crate::protocol::{Command, CommandError, Verb, validate_text};

/// The text of `/help`. The usages match the protocol's.
pub(super) const HELP: [&str; 16] = [
    "every line goes to everybody, except for these commands:",
    "  /send <client> <text>  send a line to one client, by id or name",
    "  /name <name>           change your name",
    "  /clients [after-id]    list the connected clients, 500 at a time",
    "  /history <count>       show the last lines again",
    "  /ping [text]           measure the round-trip time to the server",
    "  /help                  show this help",
    "  /quit                  leave; so do Ctrl-D and Ctrl-C",
    "  //text                 send a line that begins with a slash: /text",
    "messages look like this:",
    "  bob: hello     from bob to everybody",
    "  > hello        from you to everybody",
    "  [bob] hello    from bob to you alone",
    "  [> bob] hello  from you to bob alone",
    "  ! text         an error",
    "  - text         a notice",
];

/// Commands that the client sends by itself, or that are of no use in a chat.
const UNAVAILABLE: [Verb; 6] =
    [Verb::Auth, Verb::Resume, Verb::Quiet, Verb::Listen, Verb::Stats, Verb::Shutdown];

/// Parses typed text into the commands to execute. Only pasted text has several lines, separated by
/// LF. The error is a message for the user.
pub(super) fn parse(text: &str) -> Result<Vec<Command<'_>>, String> {
    if validate_text(text.replace('\n', "").as_bytes()).is_none() {
        let error = "not sent: the text has control characters or Unicode line separators";
        return Err(error.to_owned());
    }
    let lines: Vec<&str> = text.split('\n').filter(|line| !line.trim().is_empty()).collect();
    // Pasted text of several lines is never run as a command.
    if let [line] = lines[..]
        && let Some(line) = line.strip_prefix('/')
    {
        return Ok(vec![parse_command(line)?]);
    }
    Ok(lines.into_iter().map(|text| Command::Broadcast { text }).collect())
}

/// Parses the part of a line after the slash.
fn parse_command(line: &str) -> Result<Command<'_>, String> {
    match Command::parse(line) {
        // A second slash makes the line text.
        _ if line.starts_with('/') => Ok(Command::Broadcast { text: line }),
        Ok(command) if !UNAVAILABLE.contains(&command.verb()) => Ok(command),
        Err(CommandError { usage: Some(usage), .. }) => Err(format!("usage: /{usage}")),
        Ok(_) | Err(_) => {
            let word = line.split(' ').next().unwrap_or_default();
            Err(format!("unknown command /{word}; see /help, or send it as text with //{word}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::COMMANDS;

    #[test]
    fn lines_are_broadcast_and_slash_commands_are_executed() {
        let broadcast = |text| Ok(vec![Command::Broadcast { text }]);
        assert_eq!(parse("hello there"), broadcast("hello there"));
        assert_eq!(parse(" hello "), broadcast(" hello "));
        assert_eq!(parse("//x y"), broadcast("/x y"));
        assert_eq!(parse("/PING"), Ok(vec![Command::Ping { text: None }]));
        assert_eq!(parse("/history 20"), Ok(vec![Command::History { count: 20 }]));
        assert_eq!(parse("/help"), Ok(vec![Command::Help]));
        assert_eq!(parse("/quit"), Ok(vec![Command::Quit]));
        assert_eq!(parse(" \n"), Ok(vec![]));
        let pasted = ["/quit", "you", "  said"].map(|text| Command::Broadcast { text });
        assert_eq!(parse("/quit\n\nyou\n  said\n"), Ok(pasted.to_vec()));
    }

    #[test]
    fn invalid_line_is_an_error_with_advice() {
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
            assert_eq!(parse(line), Err(error.to_owned()));
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
