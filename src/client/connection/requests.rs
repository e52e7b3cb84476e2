//! Matches the server's replies to the requests of one connection.
//!
//! This module performs **no I/O** and reads no clock. It sees only the commands sent and the lines
//! received. The server is not trusted: a reply that no server would send is an error.

use std::collections::VecDeque;

use crate::cli::digits;
use crate::client::connection::ending::Ending;
use crate::protocol::{Command, Name, OkReply, Reply, Verb};

/// While this many requests are pending, callers must not send more (backpressure).
const MAX_PENDING: usize = 64 * 1024;

/// A command that was sent. One final reply completes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The command, or `None` if this version does not know it.
    pub(crate) verb: Option<Verb>,
    pub(crate) owner: Owner,
    /// The request's number on this connection, counted from 0.
    pub(crate) number: u64,
}

/// Who sent a request and handles its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The task, for the user.
    Task,
    /// The connection itself: authentication, keep-alive, resuming, and the chat's list of clients.
    Connection,
}

/// A line from the server, and the request that it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incoming<'a> {
    /// The line as received.
    pub(crate) line: &'a str,
    /// The parsed line, or `None` if this version does not recognize it, or if it only ends the
    /// connection.
    pub(crate) reply: Option<Reply<'a>>,
    /// The request that this line completes, if any.
    pub(crate) completed: Option<Request>,
}

impl Incoming<'_> {
    /// Returns whether the line is the final reply to a command of this kind.
    pub(crate) fn completes(&self, verb: Verb) -> bool {
        self.completed.is_some_and(|request| request.verb == Some(verb))
    }

    /// Returns whether the line is the final reply to one of this owner's requests.
    pub(crate) fn completes_for(&self, owner: Owner) -> bool {
        self.completed.is_some_and(|request| request.owner == owner)
    }
}

/// The requests and replies of one connection.
///
/// **Invariants**
/// - `pending` holds the requests without a final reply, oldest first. Final replies arrive in this
///   order.
/// - `name` and `is_quiet` hold the state that the server has confirmed.
/// - `newest` is the highest sequence number received. Broadcast lines up to it are replayed ones.
#[derive(Debug, Default)]
pub(crate) struct RequestTracker {
    id: u64,
    name: Option<String>,
    is_quiet: bool,
    newest: u64,
    pending: VecDeque<Request>,
    /// How many lines `lagged` skipped since the last `broadcast` line, minus the pending
    /// broadcasts that were dropped because one of these lines may have been the reply.
    lagged: u64,
    /// The number of requests sent.
    sent: u64,
    ending: Option<Ending>,
}

impl RequestTracker {
    /// Starts a connection. `id` and `newest` are this client's id and the newest sequence number,
    /// from the welcome.
    pub(crate) fn new(id: u64, newest: u64) -> Self {
        Self { id, newest, ..Self::default() }
    }

    /// Returns this client's name, if it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns why no more replies are expected, or `None` while replies are expected.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Marks that no more replies are expected. The first reason counts.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Returns the reason in the server's goodbye, once it has arrived.
    pub(crate) fn goodbye(&self) -> Option<&str> {
        if let Some(Ending::Goodbye(reason)) = &self.ending { Some(reason) } else { None }
    }

    /// Returns whether the server has answered the connection's own `auth`.
    #[cfg(feature = "chat")]
    pub(crate) fn is_authenticated(&self) -> bool {
        !self.pending.front().is_some_and(|request| {
            request.owner == Owner::Connection && request.verb == Some(Verb::Auth)
        })
    }

    /// Returns whether the task may send: the server has answered the connection's own `auth` and
    /// `name`.
    pub(crate) fn is_signed_in(&self) -> bool {
        !self.pending.front().is_some_and(|request| {
            request.owner == Owner::Connection
                && matches!(request.verb, Some(Verb::Auth | Verb::Name))
        })
    }

    /// Returns whether the next reply is to a keep-alive, or to the chat's regular `clients`.
    pub(crate) fn awaits_keep_alive(&self) -> bool {
        self.pending.front().is_some_and(|request| {
            request.owner == Owner::Connection
                && matches!(request.verb, Some(Verb::Ping | Verb::Clients))
        })
    }

    /// Returns whether another request may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < MAX_PENDING
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.pending_count() > 0
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Returns whether a broadcast or a direct message is pending. It may or may not have been
    /// delivered.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.pending
            .iter()
            .any(|request| matches!(request.verb, Some(Verb::Broadcast | Verb::Send)))
    }

    /// Records that the command was sent. Returns its number.
    pub(crate) fn sent(&mut self, command: &Command<'_>, owner: Owner) -> u64 {
        self.push(Some(command.verb()), owner)
    }

    /// Records that this line, which is not blank, was sent; `None` is a line that is not text.
    pub(crate) fn sent_line(&mut self, line: Option<&str>) {
        let command = line.and_then(|line| Command::parse(line).ok());
        self.push(command.map(|command| command.verb()), Owner::Task);
    }

    fn push(&mut self, verb: Option<Verb>, owner: Owner) -> u64 {
        let number = self.sent;
        self.sent += 1;
        self.pending.push_back(Request { verb, owner, number });
        number
    }

    /// Drops pending broadcasts whose replies `lagged` may have replaced. Replies to other requests
    /// among the skipped lines follow the `lagged` line.
    fn drop_lagged(&mut self) {
        while self.lagged > 0 && self.is_next(Verb::Broadcast) {
            self.lagged -= 1;
            self.pending.pop_front();
        }
    }

    /// Interprets a line from the server. The error describes a line that no server would send.
    pub(crate) fn on_line<'a>(&mut self, line: &'a str) -> Result<Incoming<'a>, &'static str> {
        let incoming = self.interpret(line)?;
        self.drop_lagged();
        Ok(incoming)
    }

    fn interpret<'a>(&mut self, line: &'a str) -> Result<Incoming<'a>, &'static str> {
        let Some(reply) = Reply::parse(line) else {
            // An unknown `ok` is the reply to an unknown command.
            let is_reply = line.starts_with("ok ")
                && self.pending.front().is_some_and(|first| first.verb.is_none());
            let completed = if is_reply { self.complete_up_to(0) } else { None };
            return Ok(Incoming { line, reply: None, completed });
        };
        let completed = match reply {
            Reply::Pong(_) => Some(self.complete(Verb::Ping)?),
            Reply::Ok(ok) => {
                self.note(ok);
                Some(self.complete(ok.verb())?)
            }
            Reply::Error { code, explanation } => match self.ending_of(code, explanation) {
                Some(ending) => {
                    self.end(ending);
                    return Ok(Incoming { line, reply: None, completed: None });
                }
                None => self.complete_up_to(0),
            },
            Reply::Broadcast { seq, from, .. } if seq > self.newest => {
                self.newest = seq;
                self.lagged = 0;
                // A client's own line is the reply to its broadcast, unless the client is quiet.
                let is_reply = !self.is_quiet && self.is_own(from) && self.is_next(Verb::Broadcast);
                if is_reply { self.complete_up_to(0) } else { None }
            }
            Reply::Goodbye(reason) => {
                self.end(Ending::Goodbye(reason.to_owned()));
                match reason {
                    "quit" => self.complete(Verb::Quit).ok(),
                    // Another client may have requested the shutdown.
                    "shutdown" if self.is_next(Verb::Shutdown) => self.complete_up_to(0),
                    _ => None,
                }
            }
            Reply::Lagged(count) => {
                self.lagged = self.lagged.saturating_add(count);
                None
            }
            Reply::Welcome { .. } => return Err("a second welcome"),
            _ => None,
        };
        Ok(Incoming { line, reply: Some(reply), completed })
    }

    fn ending_of(&self, code: &str, explanation: &str) -> Option<Ending> {
        let is_upkeep = !self.awaits_keep_alive()
            && self.pending.front().is_some_and(|request| request.owner == Owner::Connection);
        Ending::of_error(code, explanation, is_upkeep)
    }

    /// Returns whether a line from `from` is this client's. No other client ever has its id, or has
    /// its name at the same time.
    fn is_own(&self, from: &str) -> bool {
        match &self.name {
            Some(name) => from == name,
            None => digits(from) == Some(self.id),
        }
    }

    /// Returns whether the oldest pending request is of this kind.
    fn is_next(&self, verb: Verb) -> bool {
        self.pending.front().is_some_and(|first| first.verb == Some(verb))
    }

    /// Completes the oldest pending request of this kind. Requests before it are broadcasts whose
    /// lines were skipped by `lagged`.
    fn complete(&mut self, verb: Verb) -> Result<Request, &'static str> {
        let index = self.pending.iter().position(|request| request.verb == Some(verb));
        index.and_then(|index| self.complete_up_to(index)).ok_or("an unsolicited reply")
    }

    /// Completes the request at this index, and drops all earlier ones.
    fn complete_up_to(&mut self, index: usize) -> Option<Request> {
        let request = *self.pending.get(index)?;
        self.pending.drain(..=index);
        Some(request)
    }

    fn note(&mut self, ok: OkReply<'_>) {
        match ok {
            OkReply::Name { name } if Name::parse(name).is_some() => {
                self.name = Some(name.to_owned());
            }
            OkReply::Quiet => self.is_quiet = true,
            OkReply::Listen { .. } | OkReply::History { .. } | OkReply::Resume { .. } => {
                self.is_quiet = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a transcript of client 7. `> ` begins a request and `< ` a line from the server. After
    /// ` | ` comes the request that the line must complete, or the error that it must cause.
    #[track_caller]
    fn play(transcript: &str) -> RequestTracker {
        let mut requests = RequestTracker::new(7, 0);
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (sign, rest) = line.split_at(2);
            if sign == "> " {
                let command = Command::parse(rest).expect(rest);
                requests.sent(&command, Owner::Task);
                continue;
            }
            let (received, expected) = rest.split_once(" | ").unwrap_or((rest, "nothing"));
            let completed = match requests.on_line(received) {
                Ok(incoming) => match incoming.completed {
                    Some(Request { verb: Some(verb), .. }) => format!("{verb:?}").to_lowercase(),
                    Some(_) => "unknown".to_owned(),
                    None => "nothing".to_owned(),
                },
                Err(error) => error.to_owned(),
            };
            assert_eq!(completed, expected, "{line}");
        }
        requests
    }

    #[test]
    fn replies_complete_requests_in_order() {
        let requests = play(
            "> ping
             > clients
             > say hi
             > send 9 x
             > stats
             < broadcast 1 8 not ours
             < pong | ping
             < client 7 -
             < ok clients 1 1 | clients
             < broadcast 2 7 hi | broadcast
             < broadcast 3 8 not ours
             < error no-such-client nobody | send
             < direct 8 psst
             < stat clients 1
             < ok stats | stats",
        );
        assert!(!requests.has_pending());
    }

    #[test]
    fn own_broadcasts_are_recognized_by_the_name_confirmed_at_that_point() {
        play(
            "> say a
             > name bob
             > say b
             > quiet
             > say c
             > listen
             < broadcast 1 bob another bob
             < broadcast 2 7 a | broadcast
             < ok name bob | name
             < broadcast 3 bob b | broadcast
             < ok quiet | quiet
             < ok broadcast 4 | broadcast
             < ok listen 4 | listen
             < broadcast 5 bob replayed",
        );
    }

    #[test]
    fn replayed_lines_complete_nothing() {
        play(
            "> say a
             < broadcast 1 7 a | broadcast
             > history 1
             > say b
             < ok history 1 | history
             < broadcast 1 7 a
             < broadcast 2 7 b | broadcast",
        );
    }

    #[test]
    fn lagged_drops_at_most_as_many_broadcasts_as_it_skipped_lines() {
        for (transcript, pending) in [
            ("> say a\n> say b\n< lagged 2", 0),
            ("> say a\n> say b\n> say c\n< lagged 2", 1),
            ("> ping\n> ping\n< lagged 2", 2),
            // Replies among the skipped lines follow the `lagged` line.
            ("> say a\n> ping\n> say b\n< lagged 2\n< pong | ping", 0),
            ("> say a\n> send 9 x\n< lagged 1\n< error no-such-client nobody | send", 0),
            ("> say a\n> quit\n< lagged 1\n< goodbye quit | quit", 0),
            // The line after the gap is the reply to a later broadcast.
            (
                "> say a\n> ping\n> say b\n< lagged 9\n< broadcast 10 8 x\n< pong | ping
                 < broadcast 11 7 b | broadcast",
                0,
            ),
        ] {
            assert_eq!(play(transcript).pending_count(), pending, "{transcript}");
        }
    }

    #[test]
    fn requests_are_numbered_from_zero() {
        let mut requests = RequestTracker::new(7, 0);
        for number in 0..3 {
            assert_eq!(requests.sent(&Command::Ping { text: None }, Owner::Task), number);
        }
        for number in 0..3 {
            let incoming = requests.on_line("pong").expect("a ping is pending");
            assert_eq!(incoming.completed.map(|request| request.number), Some(number));
        }
        assert_eq!(requests.sent(&Command::Stats, Owner::Task), 3);
    }

    #[test]
    fn reply_without_a_request_is_an_error() {
        let unsolicited = "an unsolicited reply";
        play(&format!("< pong | {unsolicited}"));
        play(&format!("> ping\n< ok stats | {unsolicited}"));
        play("< welcome 9 00000000 0 oyezd/1 hi | a second welcome");
        play("< error busy nobody asked\n< later words\n< ok later words");
    }

    #[test]
    fn connection_that_was_cut_completes_nothing() {
        let requests = play("> ping\n> say a\n< pong | ping\n< error incomplete-line no LF");
        assert_eq!(requests.ending(), Some(&Ending::Cut));
        assert!(requests.has_unconfirmed());
    }

    #[test]
    fn upkeep_that_may_succeed_later_ends_the_connection() {
        let auth = Command::Auth { secret: "x" };
        for (command, owner, error, ending) in [
            (auth, Owner::Connection, "error busy later", Some("the server refused: later")),
            (auth, Owner::Task, "error busy later", None),
            (Command::Ping { text: None }, Owner::Connection, "error busy later", None),
            (auth, Owner::Connection, "error auth-failed no", None),
            (Command::Resume { seq: 3, feed: None }, Owner::Connection, "error gone 5 0", None),
        ] {
            let mut requests = RequestTracker::new(7, 0);
            requests.sent(&command, owner);
            let incoming = requests.on_line(error).expect("an error is no violation");
            assert_eq!(incoming.completed.is_some(), ending.is_none(), "{command:?} {error}");
            let expected = ending.map(|why| Ending::Refused(why.to_owned()));
            assert_eq!(requests.ending(), expected.as_ref(), "{command:?} {error}");
        }
    }

    #[test]
    fn unknown_commands_are_completed_by_any_final_reply() {
        let mut requests = RequestTracker::new(7, 0);
        let lines = ["join sports", "bogus", "ping", "say a", "say b", "say c"];
        lines.iter().for_each(|line| requests.sent_line(Some(line)));
        for (line, pending) in [
            ("ok join sports 00000001 5", 5),
            ("error unknown-command help lists the commands", 4),
            ("ok later", 4),
            ("pong", 3),
            ("broadcast 1 7 a", 2),
            ("lagged 1", 1),
        ] {
            requests.on_line(line).expect(line);
            assert_eq!(requests.pending_count(), pending, "{line}");
        }
    }

    #[test]
    fn goodbye_completes_only_the_command_that_requested_it() {
        assert_eq!(play("> quit\n< goodbye quit | quit").goodbye(), Some("quit"));
        assert_eq!(
            play("> say a\n> quit\n< lagged 1\n< goodbye quit | quit").goodbye(),
            Some("quit")
        );
        assert_eq!(play("> ping\n< goodbye too-slow").goodbye(), Some("too-slow"));
        assert_eq!(play("> shutdown\n< goodbye idle").goodbye(), Some("idle"));
    }
}
