//! `oyez broadcast -`: every line of standard input, for everybody who listens.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::ask::ask;
use super::connection::Event;
use super::dialogue::{Asker, Dialogue};
use super::link::MAX_LINE;
use super::standard::notice;
use super::words::explain;
use super::{Failure, Session};
use crate::limits::Limits;
use crate::protocol::{Command, Line, LineBuffer, Reply, Verb, as_text};

/// How often the progress is shown anew.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// What a request puts before the text.
const REQUEST_OVERHEAD: usize = "broadcast ".len();

/// Lines on their way from standard input to the feed.
struct Sender {
    input: LineBuffer,
    /// The longest text that the server takes, in bytes.
    max_text: usize,
    skip_bad: bool,
    /// How many lines were taken from the input.
    taken: u64,
    /// The numbers of those that were sent and not answered yet.
    unanswered: VecDeque<u64>,
    /// How many the server has answered with their seq.
    out: u64,
    /// What was wrong with the line at which it stopped.
    stopped: Option<String>,
    progress: Progress,
}

/// Sends every line of standard input, until each is answered. So success means that all of them are
/// in the feed, in their order.
pub(super) fn broadcast(session: &mut Session, skip_bad: bool) -> Result<(), Failure> {
    let mut max_line = Limits::default().max_line as u64;
    ask(session, &Command::Quiet, |_, _| ())?;
    ask(session, &Command::Stats, |reply, _| {
        if let Reply::Stat { key: "max_line", value } = *reply {
            // A server is not trusted to say how much is to be kept here.
            max_line = value.min(MAX_LINE as u64);
        }
    })?;
    let max_text = (max_line as usize).saturating_sub(REQUEST_OVERHEAD);
    let mut sender = Sender {
        input: LineBuffer::for_ours(max_text),
        max_text,
        skip_bad,
        taken: 0,
        unanswered: VecDeque::new(),
        out: 0,
        stopped: None,
        progress: Progress::new(),
    };
    let result = sender.run(session);
    sender.progress.clear();
    result
}

impl Sender {
    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            self.hear(session)?;
            self.send(session)?;
            let is_all_sent = self.stopped.is_some() || self.input.is_ended();
            if is_all_sent && self.unanswered.is_empty() {
                break;
            }
            self.progress.show(self.out, self.unanswered.len());
            session.wait(None, !is_all_sent && session.connection.has_room())?;
        }
        match self.stopped.take() {
            None => Ok(()),
            Some(what) => {
                let before = match self.out {
                    0 => "nothing was sent".to_owned(),
                    1 => "1 line before it is in the feed".to_owned(),
                    out => format!("{out} lines before it are in the feed"),
                };
                let remedy = "--skip-bad leaves such lines out";
                Err(Failure::Said(format!("{what}; {before} ({remedy})")))
            }
        }
    }

    /// Takes the answers.
    fn hear(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            let event = session.connection.next_event(Instant::now());
            let heard = match event {
                Ok(Some(Event::Heard(heard))) => heard,
                Ok(Some(_)) => continue,
                Ok(None) => return Ok(()),
                Err(why) => {
                    let goodbye = session.connection.dialogue().and_then(Dialogue::goodbye);
                    let was_executed = goodbye.is_none();
                    return Err(self.broken(&why, was_executed));
                }
            };
            let Some(reply) = heard.reply else { continue };
            if !heard.answers(Verb::Broadcast) {
                continue;
            }
            let number = self.unanswered.pop_front().unwrap_or_default();
            if let Reply::Error { code, explanation } = reply {
                let why = explain(code, explanation);
                return Err(self.broken(&format!("the server refused line {number}: {why}"), true));
            }
            self.out += 1;
        }
    }

    /// Sends what there is, as far as there is room.
    fn send(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.stopped.is_none() && session.connection.has_room() {
            let Some(line) = self.input.peek() else {
                if self.input.is_ended() {
                    break;
                }
                let len = session.read_input()?;
                self.input.push(&session.buffer[..len]);
                if session.input_has_ended() {
                    self.input.end();
                } else if len == 0 {
                    break;
                }
                continue;
            };
            self.taken += 1;
            match as_broadcast(line, self.max_text) {
                Ok(text) => {
                    session.connection.say(&Command::Broadcast { text }, Asker::Task);
                    self.unanswered.push_back(self.taken);
                }
                Err(what) => {
                    let what = format!("line {} of the input {what}", self.taken);
                    if self.skip_bad {
                        self.progress.clear();
                        notice(&format!("left out: {what}"));
                    } else {
                        self.stopped = Some(what);
                    }
                }
            }
            self.input.advance();
        }
        Ok(())
    }

    /// What to say when it cannot go on: which lines are in the feed, and of which nothing is known.
    /// Behind a goodbye, what was not answered was not executed either.
    fn broken(&mut self, why: &str, may_be_executed: bool) -> Failure {
        self.progress.clear();
        let known = match self.out {
            0 => "no line of the input is known to be in the feed".to_owned(),
            1 => "1 line of the input is in the feed".to_owned(),
            out => format!("{out} lines of the input are in the feed"),
        };
        let unknown = match (self.unanswered.front(), self.unanswered.back()) {
            (Some(first), Some(last)) if first == last => {
                format!("; whether line {first} is, is not known")
            }
            (Some(first), Some(last)) => {
                format!("; whether lines {first} to {last} are, is not known")
            }
            _ => String::new(),
        };
        let rest = if may_be_executed { unknown } else { ", and no other".to_owned() };
        Failure::Said(format!("{why}; {known}{rest}"))
    }
}

/// The text of a line that can be broadcast, or what keeps it from that.
fn as_broadcast(line: Line<'_>, max_text: usize) -> Result<&str, String> {
    let text = match line {
        Line::Text(text) | Line::Blank(text) => text,
        Line::Incomplete(line) => match as_text(line.strip_suffix(b"\r").unwrap_or(line)) {
            Some(text) => text,
            None => return as_broadcast(Line::NotText(line), max_text),
        },
        Line::NotText(_) => {
            return Err("is not text: it is not UTF-8, or has control characters".to_owned());
        }
        Line::TooLong | Line::Foreign(_) => {
            return Err(format!("is longer than {max_text} bytes, which is what the server takes"));
        }
    };
    if text.is_empty() {
        return Err("is empty, which no broadcast can be".to_owned());
    }
    Ok(text)
}

/// A line on the terminal that says how far it has come.
struct Progress {
    is_wanted: bool,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    fn new() -> Self {
        // Where lines are typed, it would be in the way.
        let is_wanted = std::io::stderr().is_terminal() && !std::io::stdin().is_terminal();
        Self { is_wanted, is_shown: false, next: Instant::now() + PROGRESS_PAUSE }
    }

    fn show(&mut self, out: u64, unanswered: usize) {
        let now = Instant::now();
        if self.is_wanted && self.next <= now {
            Self::write(&format!("{out} lines out, {unanswered} on their way"));
            self.is_shown = true;
            self.next = now + PROGRESS_PAUSE;
        }
    }

    fn clear(&mut self) {
        if self.is_shown {
            Self::write("");
            self.is_shown = false;
        }
    }

    /// Puts a text in place of the one before, and the cursor at its beginning.
    fn write(text: &str) {
        let _ = write!(std::io::stderr(), "\r{text:<60}\r");
    }
}
