//! Parses the lines typed in the chat: text and slash commands.

use crate::protocol::{Command, CommandError, Verb, validate_text};

/// The text of `/help`. The usages match the protocol's.
pub(super) const HELP: [&str; 17] = [
    "every line goes to everybody, except for these commands:",
    "  /send <client> <text>  send a line to one client, by id or name",
    "  /name <name>           change your name",
    "  /clients [after-id]    list the connected clients, 500 at a time",
    "  /history <count>       show the last lines again",
    "  /ping [text]           measure the round-trip time to the server",
    "  /help                  show this help",
    "  /quit                  leave; so do Ctrl-D and, on an empty line, Ctrl-C",
    "  //text                 send a line that begins with a slash: /text",
    "Tab completes, Ctrl-R searches earlier lines, Ctrl-C clears the line",
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

/// Checks that typed text can be sent. The error is a message for the user.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        Err(
            "not sent: the line has U+FFFD in place of bytes that are not UTF-8; replace it, and set \
             the terminal and the locale to UTF-8",
        )
    } else if let [line] = lines(text)[..]
        && let Some(rest) = line.trim_start().strip_prefix('/')
        && !line.starts_with('/')
        && !rest.starts_with('/')
    {
        Err("not sent: the line begins with a space; remove it to run the command, or begin the \
             line with // to send it as text")
    } else if validate_text(text.replace('\n', "").as_bytes()).is_none() {
        Err("not sent: the text has control characters or Unicode line separators")
    } else {
        Ok(())
    }
}

/// Parses typed text into the commands to execute. Only pasted text has several lines, separated by
/// LF. The error is a message for the user.
pub(super) fn parse(text: &str) -> Result<Vec<Command<'_>>, String> {
    let lines = lines(text);
    // Pasted text of several lines is never run as a command.
    if let [line] = lines[..]
        && let Some(line) = line.strip_prefix('/')
    {
        return Ok(vec![parse_command(line)?]);
    }
    Ok(lines.into_iter().map(|text| Command::Broadcast { text }).collect())
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

/// Returns the commands in [`HELP`], without the slash.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let usages = HELP.iter().filter_map(|line| line.strip_prefix("  /"));
    usages.filter_map(|usage| usage.split(' ').next()).filter(|name| !name.starts_with('/'))
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
        assert_eq!(parse("\n/quit\n \n"), Ok(vec![Command::Quit]));
        let pasted = ["/quit", " ", "  ", "you", "  said"].map(|text| Command::Broadcast { text });
        assert_eq!(parse(" \n\n/quit\n\n  \nyou\n  said\n\n"), Ok(pasted.to_vec()));
    }

    #[test]
    fn space_before_a_command_is_an_error() {
        for line in [" /quit", "\t/send bob x", "   /", "\u{3000}/x", "\n /quit\n"] {
            let error = check(line).expect_err(line);
            assert!(error.contains("begins with a space"), "{error}");
        }
        for text in ["/quit", "//x", " //x", " a /b", "one\n /two", " ", "a\n\n"] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn names_of_commands_are_known() {
        assert!(names().any(|name| name == "send"));
        assert!(names().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase())));
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
        ] {
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
    fn help_and_protocol_agree_on_usages() {
        for line in HELP.iter().filter_map(|line| line.strip_prefix("  /")) {
            let is_text = line.starts_with('/');
            assert!(is_text || COMMANDS.iter().any(|spec| line.starts_with(spec.usage)), "{line}");
        }
    }
}
