//! What a line means that was typed.

use crate::protocol::{Command, CommandError, validate_text};

/// What can be typed.
pub(super) const HELP: [&str; 9] = [
    "what you type goes to everybody who listens",
    "//x              say /x",
    "/send CLIENT x   say x to one client, by id or name",
    "/name NAME       be called this",
    "/clients         list who is here: id and name",
    "/history N       show the last N lines again",
    "/ping            measure how long the server takes to answer",
    "/help            show this",
    "/quit            leave; so do Ctrl-D and Ctrl-C",
];

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed<'a> {
    Nothing,
    Help,
    /// What the server is to be told.
    Commands(Vec<Command<'a>>),
    /// It cannot be told.
    Wrong(String),
}

/// What this text means, whose lines are ended by LF.
pub(super) fn typed(text: &str) -> Typed<'_> {
    let lines: Vec<&str> = text.split('\n').filter(|line| !line.trim().is_empty()).collect();
    let say = |text| Command::Broadcast { text };
    let said = match lines[..] {
        [] => return Typed::Nothing,
        // Of what was pasted, nothing is taken for a command.
        [_, _, ..] => lines.into_iter().map(say).collect(),
        [line] => match line.strip_prefix('/') {
            None => vec![say(line)],
            Some(rest) if rest.starts_with('/') => vec![say(rest)],
            Some(rest) => match command(rest) {
                Ok(Command::Help) => return Typed::Help,
                Ok(command) => vec![command],
                Err(why) => return Typed::Wrong(why),
            },
        },
    };
    if validate_text(text.replace('\n', "").as_bytes()).is_none() {
        return Typed::Wrong("a line has characters that no text may have".to_owned());
    }
    Typed::Commands(said)
}

/// What stands behind a slash. The words are the protocol's.
fn command(line: &str) -> Result<Command<'_>, String> {
    let parsed = match Command::parse(line) {
        Ok(Command::Auth { .. } | Command::Resume { .. } | Command::Stats | Command::Shutdown) => {
            Err(CommandError::Unknown)
        }
        Ok(Command::Quiet | Command::Listen) => Err(CommandError::Unknown),
        parsed => parsed,
    };
    parsed.map_err(|error| match error.usage() {
        Some(usage) => format!("usage: /{usage}"),
        None => {
            let word = line.split(' ').next().unwrap_or_default();
            format!("/{word} is no command here; /help lists them, and //{word} says it")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_said_or_done() {
        let say = |text| Typed::Commands(vec![Command::Broadcast { text }]);
        assert_eq!(typed("hello there"), say("hello there"));
        assert_eq!(typed(" hello "), say(" hello "));
        assert_eq!(typed("//x y"), say("/x y"));
        assert_eq!(typed("/PING"), Typed::Commands(vec![Command::Ping { text: None }]));
        assert_eq!(typed("/history 20"), Typed::Commands(vec![Command::History { count: 20 }]));
        assert_eq!(typed("/help"), Typed::Help);
        assert_eq!(typed(" \n"), Typed::Nothing);
        let pasted = ["/quit", "you", "  said"].map(|text| Command::Broadcast { text });
        assert_eq!(typed("/quit\n\nyou\n  said\n"), Typed::Commands(pasted.to_vec()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_remedy() {
        for (line, why) in [
            ("/send bob", "usage: /send <client> <text>"),
            ("/history x", "usage: /history <count>"),
            ("/hstory 5", "/hstory is no command here; /help lists them, and //hstory says it"),
            ("/shutdown", "/shutdown is no command here; /help lists them, and //shutdown says it"),
            ("/ x", "/ is no command here; /help lists them, and // says it"),
            ("a\u{2028}b", "a line has characters that no text may have"),
        ] {
            assert_eq!(typed(line), Typed::Wrong(why.to_owned()));
        }
    }
}
