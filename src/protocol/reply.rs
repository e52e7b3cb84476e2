//! Replies: the lines that the server sends.

use std::fmt;

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
    /// The answer to `ping`, with its text.
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
    /// A line of the answer to `clients`.
    Client {
        /// The client's id.
        id: u64,
        /// The client's name, if it has one.
        name: Option<&'a str>,
    },
    /// A line of the answer to `stats`.
    Stat {
        /// The counter's name.
        key: &'a str,
        /// The counter's value.
        value: u64,
    },
    /// A line of the answer to `help`.
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
    /// How many broadcast lines this client missed just now, as a slow consumer.
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

/// Stands for the name of a client that has none. It is not a valid name.
const NO_NAME: &str = "-";

impl<'a> Reply<'a> {
    /// Appends the reply as a line, LF included. [`parse`](Self::parse) is the inverse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        use Field::{Feed, Number, Text};
        match *self {
            Self::Welcome { id, feed, seq, server, hint } => {
                let (id, seq) = (Number(id), Number(seq));
                write_line(out, &[Text("welcome"), id, Feed(feed), seq, Text(server), Text(hint)]);
            }
            Self::Pong(None) => write_line(out, &[Text("pong")]),
            Self::Pong(Some(text)) => write_line(out, &[Text("pong"), Text(text)]),
            Self::Ok(ok) => ok.encode(out),
            Self::Error { code, explanation } => {
                write_line(out, &[Text("error"), Text(code), Text(explanation)]);
            }
            Self::Client { id, name } => {
                write_line(out, &[Text("client"), Number(id), Text(name.unwrap_or(NO_NAME))]);
            }
            Self::Stat { key, value } => write_line(out, &[Text("stat"), Text(key), Number(value)]),
            Self::Help { text } => write_line(out, &[Text("help"), Text(text)]),
            Self::Broadcast { seq, from, text } => {
                write_line(out, &[Text("broadcast"), Number(seq), Text(from), Text(text)]);
            }
            Self::Direct { from, text } => {
                write_line(out, &[Text("direct"), Text(from), Text(text)]);
            }
            Self::Lagged(count) => write_line(out, &[Text("lagged"), Number(count)]),
            Self::Goodbye(reason) => write_line(out, &[Text("goodbye"), Text(reason)]),
        }
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

impl fmt::Display for Reply<'_> {
    /// Writes the line without its LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        self.encode(&mut line);
        line.pop();
        f.write_str(&String::from_utf8_lossy(&line))
    }
}

impl<'a> OkReply<'a> {
    /// The command that the reply answers.
    pub fn verb(self) -> Verb {
        match self {
            Self::Broadcast { .. } => Verb::Broadcast,
            Self::Send { .. } => Verb::Send,
            Self::Name { .. } => Verb::Name,
            Self::Clients { .. } => Verb::Clients,
            Self::History { .. } => Verb::History,
            Self::Resume { .. } => Verb::Resume,
            Self::Quiet => Verb::Quiet,
            Self::Listen { .. } => Verb::Listen,
            Self::Stats => Verb::Stats,
            Self::Help => Verb::Help,
            Self::Auth { .. } => Verb::Auth,
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        use Field::{Number, Text};
        match self {
            Self::Broadcast { seq } => write_line(out, &[Text("ok broadcast"), Number(seq)]),
            Self::Send { client } => write_line(out, &[Text("ok send"), Text(client)]),
            Self::Name { name } => write_line(out, &[Text("ok name"), Text(name)]),
            Self::Clients { shown, total } => {
                write_line(out, &[Text("ok clients"), Number(shown), Number(total)]);
            }
            Self::History { lines } => write_line(out, &[Text("ok history"), Number(lines)]),
            Self::Resume { seq } => write_line(out, &[Text("ok resume"), Number(seq)]),
            Self::Quiet => write_line(out, &[Text("ok quiet")]),
            Self::Listen { seq } => write_line(out, &[Text("ok listen"), Number(seq)]),
            Self::Stats => write_line(out, &[Text("ok stats")]),
            Self::Help => write_line(out, &[Text("ok help")]),
            Self::Auth { role } => write_line(out, &[Text("ok auth"), Text(role)]),
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
            assert_eq!(reply.to_string(), line);
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
