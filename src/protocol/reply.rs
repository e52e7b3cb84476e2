//! Replies: the lines that the server sends.

use super::command::Verb;
use super::feed_id::FeedId;
use super::fields::{Field, Fields, split_word, write_line};

/// A line from the server. Its strings borrow from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The first line on every accepted connection.
    Welcome {
        /// The client's id.
        id: u64,
        /// The feed that the sequence numbers belong to.
        feed: FeedId,
        /// The newest broadcast's sequence number, or 0 if there is none.
        seq: u64,
        /// `oyezd/<version>`.
        server: &'a str,
        /// A hint for people.
        hint: &'a str,
    },
    /// The reply to `ping`, with its text.
    Pong(Option<&'a str>),
    /// The command succeeded.
    Ok(OkReply<'a>),
    /// The server refused a request, or the connection.
    Error {
        /// An [`ErrorCode`](super::ErrorCode), or a code from a newer server.
        code: &'a str,
        /// An explanation for people.
        explanation: &'a str,
    },
    /// A line in the reply to `clients`.
    Client {
        /// The client's id.
        id: u64,
        /// The client's name, if it has one.
        name: Option<&'a str>,
    },
    /// A line in the reply to `stats`.
    Stat {
        /// The counter's name.
        key: &'a str,
        /// The counter's value.
        value: u64,
    },
    /// A line in the reply to `help`.
    Help {
        /// `<usage> - <what it does>`
        text: &'a str,
    },
    /// A line for every listening client.
    Broadcast {
        /// The line's sequence number.
        seq: u64,
        /// The sender's name, or its id if it has none.
        from: &'a str,
        /// The sender's text.
        text: &'a str,
    },
    /// A line for this client only.
    Direct {
        /// The sender's name, or its id if it has none.
        from: &'a str,
        /// The sender's text.
        text: &'a str,
    },
    /// The number of broadcast lines that this client, a slow consumer, missed at this point.
    Lagged(u64),
    /// Why the server is about to close the connection.
    Goodbye(&'a str),
}

/// The content of an `ok` reply: the command that succeeded, and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The protocol reference describes each result.
pub enum OkReply<'a> {
    Broadcast { seq: u64 },
    Send { client: &'a str },
    Name { name: &'a str },
    Clients { shown: u64, total: u64 },
    History { lines: u64 },
    Resume { seq: u64 },
    Quiet,
    Listen { seq: u64 },
    Stats,
    Help,
    Auth { role: &'a str },
}

/// Sent in place of a name if the client has none. It is not a valid name.
const NO_NAME: &str = "-";

impl<'a> Reply<'a> {
    /// Appends the reply as a line, LF included. [`parse`](Self::parse) is the inverse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        use Field::{Absent, Feed, Number, Text};
        let (word, fields): (&str, &[Field<'_>]) = match *self {
            Self::Welcome { id, feed, seq, server, hint } => {
                ("welcome", &[Number(id), Feed(feed), Number(seq), Text(server), Text(hint)])
            }
            Self::Pong(text) => ("pong", &[text.map_or(Absent, Text)]),
            Self::Ok(ok) => {
                let (verb, [first, second]) = ok.verb_and_results();
                ("ok", &[Text(verb.name()), first, second])
            }
            Self::Error { code, explanation } => ("error", &[Text(code), Text(explanation)]),
            Self::Client { id, name } => ("client", &[Number(id), Text(name.unwrap_or(NO_NAME))]),
            Self::Stat { key, value } => ("stat", &[Text(key), Number(value)]),
            Self::Help { text } => ("help", &[Text(text)]),
            Self::Broadcast { seq, from, text } => {
                ("broadcast", &[Number(seq), Text(from), Text(text)])
            }
            Self::Direct { from, text } => ("direct", &[Text(from), Text(text)]),
            Self::Lagged(count) => ("lagged", &[Number(count)]),
            Self::Goodbye(reason) => ("goodbye", &[Text(reason)]),
        };
        write_line(out, word, fields);
    }

    /// Parses a line without its LF. Ignores unknown trailing fields.
    ///
    /// Returns `None` if the first word or the word after `ok` is unknown, or if a field is missing
    /// or malformed. Clients skip such lines.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (word, rest) = split_word(line);
        let mut fields = Fields(rest);
        Some(match word {
            "welcome" => Self::Welcome {
                id: fields.number()?,
                feed: FeedId::parse(fields.word()?)?,
                seq: fields.number()?,
                server: fields.word()?,
                hint: fields.rest().unwrap_or_default(),
            },
            "pong" => Self::Pong(fields.rest()),
            "ok" => Self::Ok(OkReply::parse(fields)?),
            "error" => {
                Self::Error { code: fields.word()?, explanation: fields.rest().unwrap_or_default() }
            }
            "client" => Self::Client {
                id: fields.number()?,
                name: Some(fields.word()?).filter(|name| *name != NO_NAME),
            },
            "stat" => Self::Stat { key: fields.word()?, value: fields.number()? },
            "help" => Self::Help { text: fields.rest()? },
            "broadcast" => Self::Broadcast {
                seq: fields.number()?,
                from: fields.word()?,
                text: fields.rest()?,
            },
            "direct" => Self::Direct { from: fields.word()?, text: fields.rest()? },
            "lagged" => Self::Lagged(fields.number()?),
            "goodbye" => Self::Goodbye(fields.word()?),
            _ => return None,
        })
    }
}

impl<'a> OkReply<'a> {
    /// The command that the reply answers.
    pub fn verb(self) -> Verb {
        self.verb_and_results().0
    }

    fn verb_and_results(self) -> (Verb, [Field<'a>; 2]) {
        use Field::{Absent, Number, Text};
        match self {
            Self::Broadcast { seq } => (Verb::Broadcast, [Number(seq), Absent]),
            Self::Send { client } => (Verb::Send, [Text(client), Absent]),
            Self::Name { name } => (Verb::Name, [Text(name), Absent]),
            Self::Clients { shown, total } => (Verb::Clients, [Number(shown), Number(total)]),
            Self::History { lines } => (Verb::History, [Number(lines), Absent]),
            Self::Resume { seq } => (Verb::Resume, [Number(seq), Absent]),
            Self::Quiet => (Verb::Quiet, [Absent; 2]),
            Self::Listen { seq } => (Verb::Listen, [Number(seq), Absent]),
            Self::Stats => (Verb::Stats, [Absent; 2]),
            Self::Help => (Verb::Help, [Absent; 2]),
            Self::Auth { role } => (Verb::Auth, [Text(role), Absent]),
        }
    }

    fn parse(mut fields: Fields<'a>) -> Option<Self> {
        Some(match fields.word()? {
            "broadcast" => Self::Broadcast { seq: fields.number()? },
            "send" => Self::Send { client: fields.word()? },
            "name" => Self::Name { name: fields.word()? },
            "clients" => Self::Clients { shown: fields.number()?, total: fields.number()? },
            "history" => Self::History { lines: fields.number()? },
            "resume" => Self::Resume { seq: fields.number()? },
            "quiet" => Self::Quiet,
            "listen" => Self::Listen { seq: fields.number()? },
            "stats" => Self::Stats,
            "help" => Self::Help,
            "auth" => Self::Auth { role: fields.word()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_reply_parses_to_the_same_reply() {
        let feed = FeedId(0x00c0_ffee);
        let (server, hint) = ("oyezd/1.2.3", "help lists the commands");
        for (reply, line) in [
            (
                Reply::Welcome { id: 3, feed, seq: 0, server, hint },
                "welcome 3 00c0ffee 0 oyezd/1.2.3 help lists the commands",
            ),
            (Reply::Pong(None), "pong"),
            (Reply::Pong(Some("  a b ")), "pong   a b "),
            (Reply::Ok(OkReply::Broadcast { seq: 7 }), "ok broadcast 7"),
            (Reply::Ok(OkReply::Send { client: "007" }), "ok send 007"),
            (Reply::Ok(OkReply::Name { name: "bob" }), "ok name bob"),
            (Reply::Ok(OkReply::Clients { shown: 2, total: 9 }), "ok clients 2 9"),
            (Reply::Ok(OkReply::History { lines: 4 }), "ok history 4"),
            (Reply::Ok(OkReply::Resume { seq: 4 }), "ok resume 4"),
            (Reply::Ok(OkReply::Quiet), "ok quiet"),
            (Reply::Ok(OkReply::Listen { seq: 8 }), "ok listen 8"),
            (Reply::Ok(OkReply::Stats), "ok stats"),
            (Reply::Ok(OkReply::Help), "ok help"),
            (Reply::Ok(OkReply::Auth { role: "admin" }), "ok auth admin"),
            (Reply::Error { code: "busy", explanation: "try later" }, "error busy try later"),
            (Reply::Client { id: 3, name: Some("bob") }, "client 3 bob"),
            (Reply::Client { id: 4, name: None }, "client 4 -"),
            (Reply::Stat { key: "clients", value: 2 }, "stat clients 2"),
            (Reply::Help { text: "quit - leave" }, "help quit - leave"),
            (
                Reply::Broadcast { seq: u64::MAX, from: "bob", text: " hi " },
                "broadcast 18446744073709551615 bob  hi ",
            ),
            (Reply::Direct { from: "3", text: "hi there" }, "direct 3 hi there"),
            (Reply::Lagged(12), "lagged 12"),
            (Reply::Goodbye("quit"), "goodbye quit"),
        ] {
            let mut encoded = Vec::new();
            reply.encode(&mut encoded);
            assert_eq!(String::from_utf8(encoded), Ok(format!("{line}\n")));
            assert_eq!(Reply::parse(line), Some(reply), "{line:?}");
        }
    }

    #[test]
    fn trailing_fields_are_ignored_and_incomplete_lines_are_rejected() {
        assert_eq!(Reply::parse("lagged 3 since noon"), Some(Reply::Lagged(3)));
        assert_eq!(Reply::parse("ok quiet please"), Some(Reply::Ok(OkReply::Quiet)));
        assert_eq!(Reply::parse("goodbye quit 12"), Some(Reply::Goodbye("quit")));
        for line in [
            "",
            " ",
            "news 1",
            "Pong",
            "ok",
            "ok news",
            "ok clients 1",
            "welcome 1",
            "welcome 1 x 0 v",
            "broadcast 1 bob",
            "broadcast 1 bob ",
            "broadcast x bob hi",
            "lagged",
            "lagged -1",
            "direct  x y",
            "client 3",
            "stat clients",
            "error",
            "goodbye",
        ] {
            assert_eq!(Reply::parse(line), None, "{line:?}");
        }
    }
}
