//! What was asked on a connection, and which line answers what.
//!
//! This room performs **no I/O** and reads no clock: commands and lines come in, and what they mean
//! goes out. A server is not trusted: lines that no server would say end the dialogue.

use std::collections::VecDeque;

use crate::cli::digits;
use crate::protocol::{Command, Name, OkReply, Reply, Verb};

/// The most commands that may wait for their answers.
const MAX_ASKED: usize = 64 * 1024;

/// One command that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) verb: Verb,
    pub(crate) asker: Asker,
}

/// The question that a line is the final answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) question: Pending,
    /// Which of the connection's questions it was, counted from 0.
    pub(crate) number: u64,
}

/// Who asks: the answer is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// What the program is for.
    Task,
    /// The connection itself: to get in, to have its name, to stay.
    Upkeep,
}

/// A line of the server's, and what it means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard<'a> {
    /// The line as it came.
    pub(crate) line: &'a str,
    /// What it says; `None` if that is not known to this version.
    pub(crate) reply: Option<Reply<'a>>,
    /// Which question it is the final answer to.
    pub(crate) answers: Option<Answered>,
}

impl Heard<'_> {
    /// Whether it is the final answer to such a command.
    pub(crate) fn answers(&self, verb: Verb) -> bool {
        self.answers.is_some_and(|answered| answered.question.verb == verb)
    }

    /// Whether it is the final answer to a question of such an asker.
    pub(crate) fn answers_to(&self, asker: Asker) -> bool {
        self.answers.is_some_and(|answered| answered.question.asker == asker)
    }
}

/// The dialogue on one connection.
///
/// **Invariants**
/// - Each command has one final answer, and answers come in the order of the commands; `asked` holds
///   those still without.
/// - `name` and `is_quiet` are what the server has confirmed.
/// - `newest` is the newest broadcast line that there was; those up to it come again.
#[derive(Debug)]
pub(crate) struct RequestTracker {
    id: u64,
    name: Option<String>,
    is_quiet: bool,
    newest: u64,
    asked: VecDeque<Pending>,
    /// How many questions were there before those in `asked`.
    answered: u64,
    goodbye: Option<String>,
}

impl RequestTracker {
    /// For the client with this id, who came when `newest` was the newest broadcast line.
    pub(crate) fn new(id: u64, newest: u64) -> Self {
        let asked = VecDeque::new();
        Self { id, name: None, is_quiet: false, newest, asked, answered: 0, goodbye: None }
    }

    /// The name that this client has, if it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Why the server ends the connection, if it has said so.
    pub(crate) fn goodbye(&self) -> Option<&str> {
        self.goodbye.as_deref()
    }

    /// Whether nothing of what lets a client in waits for its answer.
    pub(crate) fn is_let_in(&self) -> bool {
        let lets_in = |question: &Pending| {
            question.asker == Asker::Upkeep && matches!(question.verb, Verb::Auth | Verb::Name)
        };
        !self.asked.front().is_some_and(lets_in)
    }

    /// Whether another command may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.asked.len() < MAX_ASKED
    }

    /// Whether anything waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether something was said to others of which it is not known whether it has arrived.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        let is_said = |verb| matches!(verb, Verb::Broadcast | Verb::Send);
        self.asked.iter().any(|question| is_said(question.verb))
    }

    /// Notes that the command is sent: which of the questions it is.
    pub(crate) fn ask(&mut self, command: &Command<'_>, asker: Asker) -> u64 {
        self.asked.push_back(Pending { verb: command.verb(), asker });
        self.answered + self.asked.len() as u64 - 1
    }

    /// What a line of the server's means. The error says what no server would have said.
    pub(crate) fn hear<'a>(&mut self, line: &'a str) -> Result<Heard<'a>, &'static str> {
        let Some(reply) = Reply::parse(line) else {
            return Ok(Heard { line, reply: None, answers: None });
        };
        let answers = match reply {
            Reply::Pong(_) => Some(self.answered(Verb::Ping)?),
            Reply::Ok(topic) => {
                let answered = self.answered(topic.verb())?;
                self.note(topic);
                Some(answered)
            }
            Reply::Error { .. } => self.answer_up_to(0),
            Reply::Broadcast { seq, from, .. } if seq > self.newest => {
                self.newest = seq;
                if self.is_me(from) { self.own_broadcast() } else { None }
            }
            Reply::Goodbye(reason) => {
                self.goodbye = Some(reason.to_owned());
                let is_answer = |answered: &Answered| match answered.question.verb {
                    Verb::Quit => reason == "quit",
                    Verb::Shutdown => reason == "shutdown",
                    _ => false,
                };
                self.answer_up_to(0).filter(is_answer)
            }
            Reply::Welcome { .. } => return Err("a second welcome"),
            _ => None,
        };
        Ok(Heard { line, reply: Some(reply), answers })
    }

    /// Whether a line's sender is this client. Nobody else can have its id, or its name while it has
    /// it.
    fn is_me(&self, from: &str) -> bool {
        match &self.name {
            Some(name) => from == name,
            None => digits(from) == Some(self.id),
        }
    }

    /// The question that such an answer is the answer to: the first of its kind. Before it may stand
    /// broadcasts whose lines were among those that `lagged` counts, and what was taken for theirs.
    fn answered(&mut self, verb: Verb) -> Result<Answered, &'static str> {
        let position = self.asked.iter().position(|question| question.verb == verb);
        position
            .and_then(|position| self.answer_up_to(position))
            .ok_or("an answer to what was not asked")
    }

    /// Takes out the question at this position, and those before it.
    fn answer_up_to(&mut self, position: usize) -> Option<Answered> {
        let question = *self.asked.get(position)?;
        self.asked.drain(..=position);
        self.answered += position as u64 + 1;
        Some(Answered { question, number: self.answered - 1 })
    }

    fn own_broadcast(&mut self) -> Option<Answered> {
        let is_asked = self.asked.front().is_some_and(|first| first.verb == Verb::Broadcast);
        if is_asked && !self.is_quiet { self.answer_up_to(0) } else { None }
    }

    fn note(&mut self, topic: OkReply<'_>) {
        match topic {
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

    /// Plays a dialogue of client 7: `>` asks, `<` is heard, and what it answers is expected behind
    /// a `|`.
    #[track_caller]
    fn play(transcript: &str) -> RequestTracker {
        let mut dialogue = RequestTracker::new(7, 0);
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (sign, rest) = line.split_at(2);
            if sign == "> " {
                let command = Command::parse(rest).expect(rest);
                dialogue.ask(&command, Asker::Task);
                continue;
            }
            let (said, expected) = rest.split_once(" | ").unwrap_or((rest, "nothing"));
            let answers = match dialogue.hear(said) {
                Ok(heard) => match heard.answers {
                    Some(answered) => format!("{:?}", answered.question.verb).to_lowercase(),
                    None => "nothing".to_owned(),
                },
                Err(error) => error.to_owned(),
            };
            assert_eq!(answers, expected, "{line}");
        }
        dialogue
    }

    #[test]
    fn answers_belong_to_the_questions_in_their_order() {
        let dialogue = play(
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
        assert!(!dialogue.is_waiting());
    }

    #[test]
    fn own_lines_are_known_by_the_name_of_their_time() {
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
    fn lines_that_come_again_answer_nothing() {
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
    fn broadcasts_that_were_skipped_are_passed_over() {
        play(
            "> say a
             > say b
             > ping
             < lagged 2
             < pong | ping",
        );
        // An error is taken for theirs; what comes behind it is none the worse.
        play(
            "> say a
             > send 9 x
             > ping
             < lagged 1
             < error no-such-client nobody | broadcast
             < pong | ping",
        );
    }

    #[test]
    fn questions_are_numbered() {
        let mut dialogue = RequestTracker::new(7, 0);
        for number in 0..3 {
            assert_eq!(dialogue.ask(&Command::Ping { text: None }, Asker::Task), number);
        }
        for number in 0..3 {
            let heard = dialogue.hear("pong").expect("it was asked");
            assert_eq!(heard.answers.map(|answered| answered.number), Some(number));
        }
        assert_eq!(dialogue.ask(&Command::Stats, Asker::Task), 3);
    }

    #[test]
    fn what_no_server_says_is_refused() {
        let unasked = "an answer to what was not asked";
        play(&format!("< pong | {unasked}"));
        play(&format!("> ping\n< ok stats | {unasked}"));
        play("< welcome 9 00000000 0 oyezd/1 hi | a second welcome");
        play("< error busy nobody asked\n< later words\n< ok later words");
    }

    #[test]
    fn a_goodbye_answers_only_who_asked_for_it() {
        assert_eq!(play("> quit\n< goodbye quit | quit").goodbye(), Some("quit"));
        assert_eq!(play("> ping\n< goodbye too-slow").goodbye(), Some("too-slow"));
        assert_eq!(play("> shutdown\n< goodbye idle").goodbye(), Some("idle"));
    }
}
