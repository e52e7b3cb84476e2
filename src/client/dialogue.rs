//! What was asked on a connection, and which line answers what.
//!
//! This room performs **no I/O** and reads no clock: commands and lines come in, and what they mean
//! goes out. A server is not trusted: lines that no server would say end the dialogue.

use std::collections::VecDeque;

use crate::protocol::{Command, Reply, Topic, Verb};

/// The most commands that may wait for their answers.
const MAX_ASKED: usize = 64 * 1024;

/// One command that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) verb: Verb,
    pub(super) asker: Asker,
}

/// Who asks: the answer is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// What the program is for.
    Task,
    /// The connection itself: to get in, to have its name, to stay.
    Upkeep,
}

/// A line of the server's, and what it means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard<'a> {
    /// The line as it came.
    pub(super) line: &'a str,
    /// What it says; `None` if that is not known to this version.
    pub(super) reply: Option<Reply<'a>>,
    /// Which question it is the final answer to.
    pub(super) answers: Option<Question>,
    /// This client said it.
    pub(super) is_own: bool,
}

/// The dialogue on one connection.
///
/// **Invariants**
/// - Each command has one final answer, and answers come in the order of the commands; `asked` holds
///   those still without.
/// - `name` and `is_quiet` are what the server has confirmed.
/// - `newest` is the newest broadcast line that there was; those up to it come again.
#[derive(Debug)]
pub(super) struct Dialogue {
    id: u64,
    name: Option<String>,
    is_quiet: bool,
    newest: u64,
    asked: VecDeque<Question>,
    goodbye: Option<String>,
}

impl Dialogue {
    /// For the client with this id, who came when `newest` was the newest broadcast line.
    pub(super) fn new(id: u64, newest: u64) -> Self {
        Self { id, name: None, is_quiet: false, newest, asked: VecDeque::new(), goodbye: None }
    }

    /// The name that this client has, if it has one.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Why the server ends the connection, if it has said so.
    pub(super) fn goodbye(&self) -> Option<&str> {
        self.goodbye.as_deref()
    }

    /// Whether another command may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.asked.len() < MAX_ASKED
    }

    /// Whether anything waits for its answer.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// How many commands of a task's wait for their answers.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.iter().filter(|question| question.asker == Asker::Task).count()
    }

    /// Notes that the command is sent.
    pub(super) fn ask(&mut self, command: &Command<'_>, asker: Asker) {
        self.asked.push_back(Question { verb: command.verb(), asker });
    }

    /// What a line of the server's means. The error says what no server would have said.
    pub(super) fn hear<'a>(&mut self, line: &'a str) -> Result<Heard<'a>, &'static str> {
        let Some(reply) = Reply::parse(line) else {
            return Ok(Heard { line, reply: None, answers: None, is_own: false });
        };
        let is_own = matches!(reply, Reply::Broadcast { from, .. } if self.is_me(from));
        let answers = match reply {
            Reply::Pong(_) => Some(self.answered(Verb::Ping)?),
            Reply::Ok(topic) => {
                let question = self.answered(topic.verb())?;
                self.note(topic);
                Some(question)
            }
            Reply::Error { .. } => self.asked.pop_front(),
            Reply::Broadcast { seq, .. } if seq > self.newest => {
                self.newest = seq;
                if is_own { self.own_broadcast() } else { None }
            }
            Reply::Goodbye(reason) => {
                self.goodbye = Some(reason.to_owned());
                let answers_it =
                    |question: &Question| matches!(question.verb, Verb::Quit | Verb::Shutdown);
                self.asked.pop_front().filter(answers_it)
            }
            Reply::Welcome { .. } => return Err("a second welcome"),
            _ => None,
        };
        Ok(Heard { line, reply: Some(reply), answers, is_own })
    }

    /// Whether a line's sender is this client. Nobody else can have its id, or its name while it has
    /// it.
    fn is_me(&self, from: &str) -> bool {
        match &self.name {
            Some(name) => from == name,
            None => from.parse() == Ok(self.id),
        }
    }

    /// The question that such an answer is the answer to: the first one. Only broadcasts may stand
    /// before it, whose lines were among those that `lagged` counts.
    fn answered(&mut self, verb: Verb) -> Result<Question, &'static str> {
        while let Some(question) = self.asked.pop_front() {
            if question.verb == verb {
                return Ok(question);
            }
            if question.verb != Verb::Broadcast {
                break;
            }
        }
        Err("an answer to what was not asked")
    }

    fn own_broadcast(&mut self) -> Option<Question> {
        if self.is_quiet {
            return None;
        }
        let is_asked = self.asked.front().is_some_and(|first| first.verb == Verb::Broadcast);
        if is_asked { self.asked.pop_front() } else { None }
    }

    fn note(&mut self, topic: Topic<'_>) {
        match topic {
            Topic::Name { name } => self.name = Some(name.to_owned()),
            Topic::Quiet => self.is_quiet = true,
            Topic::Listen { .. } | Topic::History { .. } | Topic::Resume { .. } => {
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
    fn play(transcript: &str) -> Dialogue {
        let mut dialogue = Dialogue::new(7, 0);
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
                    Some(question) => format!("{:?}", question.verb).to_lowercase(),
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
        assert_eq!(dialogue.unanswered(), 0);
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
    }
}
