//! `oyez broadcast -`: every line of standard input, for everybody who listens, and each once.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::connection::Event;
use super::delivery::Delivery;
use super::dial::Welcome;
use super::dialogue::{Asker, Dialogue, Heard};
use super::link::MAX_LINE;
use super::standard::notice;
use super::words::{explain, lost};
use super::{Failure, Session};
use crate::limits::Limits;
use crate::protocol::{Command, Line, LineBuffer, Reply, Topic, Verb, as_text};

/// How often the progress is shown anew.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// How long to wait until the server is asked again whether it still has a connection that is lost: at
/// first, and at most.
const GHOST_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How many timeouts to wait for that. With its default, that is more than the five minutes within
/// which oyezd lets go of a peer that has vanished.
const GHOST_TIMEOUTS: u32 = 6;

/// What a request puts before the text.
const REQUEST_OVERHEAD: usize = "broadcast ".len();

/// Lines on their way from standard input to the feed.
struct Sender {
    server: String,
    timeout: Duration,
    input: Input,
    delivery: Delivery,
    stage: Stage,
    /// Since when the server is known to have a connection still that is lost.
    ghost_since: Option<Instant>,
    ghost_pause: Duration,
    progress: Progress,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Down,
    /// The server was told to be quiet, and asked what it takes.
    Entering,
    /// It was asked whether it still has the connection that was lost, whose lines it may still carry
    /// out.
    Asking { ghost: u64, is_there: bool },
    /// It has, and is to be asked again.
    Pausing { ghost: u64, until: Instant },
    /// It gives again what was said since, among which lines may be that have arrived.
    Looking,
    /// Lines can be said.
    Open,
}

/// Standard input, as lines.
struct Input {
    lines: LineBuffer,
    /// The longest text that the server takes, in bytes; not known before it was asked.
    max_text: Option<usize>,
    skip_bad: bool,
    /// How many lines were taken from the input.
    taken: u64,
    /// What was wrong with the line at which it stopped.
    stopped: Option<String>,
}

/// Sends every line of standard input, until each is answered. So success means that all of them are
/// in the feed, in their order, and each once.
pub(super) fn broadcast(session: &mut Session, skip_bad: bool) -> Result<(), Failure> {
    let mut sender = Sender {
        server: session.connection.server().to_string(),
        timeout: session.connection.timeout(),
        input: Input {
            lines: LineBuffer::for_ours(0),
            max_text: None,
            skip_bad,
            taken: 0,
            stopped: None,
        },
        delivery: Delivery::default(),
        stage: Stage::Down,
        ghost_since: None,
        ghost_pause: GHOST_PAUSE.0,
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
            self.ask_again(session);
            self.send(session)?;
            if self.input.is_all_taken() && self.delivery.undelivered() == 0 {
                break;
            }
            self.progress.show(&self.delivery);
            let until = match self.stage {
                Stage::Pausing { until, .. } => Some(until),
                _ => None,
            };
            let wants_input = !self.input.is_all_taken() && self.has_room(session);
            session.wait(until, wants_input)?;
        }
        match self.input.stopped.take() {
            None => Ok(()),
            Some(what) => {
                let before = match self.delivery.delivered() {
                    0 => "nothing was sent".to_owned(),
                    1 => "1 line before it is in the feed".to_owned(),
                    lines => format!("{lines} lines before it are in the feed"),
                };
                let remedy = "--skip-bad leaves such lines out";
                Err(Failure::Said(format!("{what}; {before} ({remedy})")))
            }
        }
    }

    fn has_room(&self, session: &Session) -> bool {
        self.stage == Stage::Open && session.connection.has_room() && self.delivery.has_room()
    }

    /// Takes what has happened.
    fn hear(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            let commands = match session.connection.next_event(Instant::now()) {
                Ok(Some(Event::Up(welcome))) => self.enter(welcome)?,
                Ok(Some(Event::Heard(heard))) => self.take(&heard)?,
                Ok(Some(Event::NameRefused(why))) => return Err(Failure::Said(why)),
                Ok(Some(Event::NameHeld(_))) => continue,
                Ok(Some(Event::Down { why, had_goodbye, .. })) => {
                    self.delivery.lose(had_goodbye);
                    self.stage = Stage::Down;
                    self.notice(&lost(&self.server, &why));
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(why) => {
                    let goodbye = session.connection.dialogue().and_then(Dialogue::goodbye);
                    self.delivery.lose(goodbye.is_some());
                    return Err(self.broken(&why));
                }
            };
            for command in commands {
                session.connection.say(&command, Asker::Task);
            }
        }
    }

    fn enter(&mut self, welcome: Welcome) -> Result<Vec<Command<'static>>, Failure> {
        if self.input.max_text.is_some() {
            self.notice(&format!("connected to {} again", self.server));
        }
        if !self.delivery.arrive(welcome) {
            return Err(self.broken(&format!("{} was restarted", self.server)));
        }
        self.stage = Stage::Entering;
        Ok(vec![Command::Quiet, Command::Stats])
    }

    /// Takes what the server says: what to say because of it.
    fn take(&mut self, heard: &Heard<'_>) -> Result<Vec<Command<'static>>, Failure> {
        let Some(reply) = heard.reply else { return Ok(vec![]) };
        match (&mut self.stage, &reply) {
            (Stage::Entering, Reply::Stat { key: "max_line", value }) => {
                self.input.take_at_most(*value);
            }
            (Stage::Asking { ghost, is_there }, Reply::Client { id, .. }) => {
                *is_there |= id == ghost;
            }
            (Stage::Looking, Reply::Broadcast { seq, from, text }) => {
                if let Err(what) = self.delivery.find(*seq, from, text) {
                    return Err(self.broken(&what));
                }
            }
            (Stage::Looking, Reply::Lagged(_)) => {
                return Err(self.broken("the server left out some of what was said since"));
            }
            _ => {}
        }
        match heard.answers {
            Some(answered) if answered.question.asker == Asker::Task => {
                self.answered(answered.question.verb, &reply)
            }
            _ => Ok(vec![]),
        }
    }

    /// Takes the final answer to a command.
    fn answered(
        &mut self,
        verb: Verb,
        reply: &Reply<'_>,
    ) -> Result<Vec<Command<'static>>, Failure> {
        if let Reply::Error { code, explanation } = *reply {
            let why = explain(code, explanation);
            return Err(match (verb, self.delivery.first_undelivered()) {
                (Verb::Broadcast, Some(number)) => {
                    self.broken(&format!("the server refused line {number}: {why}"))
                }
                (Verb::Resume, _) => {
                    self.broken(&format!("what was said since cannot be looked at: {why}"))
                }
                _ => self.broken(&why),
            });
        }
        match (self.stage, verb) {
            (Stage::Entering, Verb::Stats) => return Ok(self.entered()),
            (Stage::Asking { ghost, is_there: true }, Verb::Clients) => self.pause(ghost)?,
            (Stage::Asking { .. }, Verb::Clients) => {
                self.stage = Stage::Looking;
                // Quiet again behind what there is by now. That is all that can have arrived.
                return Ok(self.delivery.look().into_iter().chain([Command::Quiet]).collect());
            }
            (Stage::Looking, Verb::Quiet) => {
                self.delivery.settle();
                return Ok(self.entered());
            }
            (Stage::Open, Verb::Broadcast) => {
                if let Reply::Ok(Topic::Broadcast { seq }) | Reply::Broadcast { seq, .. } = *reply {
                    self.delivery.deliver(seq);
                }
            }
            _ => {}
        }
        Ok(vec![])
    }

    /// The server has answered what is to be known first: what to ask now, if lines cannot be said yet.
    fn entered(&mut self) -> Vec<Command<'static>> {
        self.input.take_at_most(Limits::default().max_line as u64);
        match self.delivery.ghost() {
            Some(ghost) => {
                self.stage = Stage::Asking { ghost, is_there: false };
                vec![ask_for(ghost)]
            }
            None => {
                self.stage = Stage::Open;
                self.ghost_since = None;
                self.ghost_pause = GHOST_PAUSE.0;
                vec![]
            }
        }
    }

    /// The server still has the connection that was lost: waits, but not for ever.
    fn pause(&mut self, ghost: u64) -> Result<(), Failure> {
        let now = Instant::now();
        let since = *self.ghost_since.get_or_insert(now);
        if now.duration_since(since) >= self.timeout * GHOST_TIMEOUTS {
            let why =
                "the server has not noticed that the connection was lost, and may go on with it";
            return Err(self.broken(why));
        }
        let pause = self.ghost_pause;
        self.ghost_pause = (pause * 2).min(GHOST_PAUSE.1);
        if pause < GHOST_PAUSE.1 && self.ghost_pause == GHOST_PAUSE.1 {
            self.notice(
                "the server has not noticed yet that the connection was lost; waiting for that",
            );
        }
        self.stage = Stage::Pausing { ghost, until: now + pause };
        Ok(())
    }

    fn ask_again(&mut self, session: &mut Session) {
        if let Stage::Pausing { ghost, until } = self.stage
            && until <= Instant::now()
        {
            session.connection.say(&ask_for(ghost), Asker::Task);
            self.stage = Stage::Asking { ghost, is_there: false };
        }
    }

    /// Sends what there is, as far as there is room: first what is to be sent again.
    fn send(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.stage == Stage::Open && session.connection.has_room() {
            if let Some(command) = self.delivery.say_next() {
                session.connection.say(&command, Asker::Task);
                continue;
            }
            if !self.delivery.has_room() || self.input.is_all_taken() {
                break;
            }
            let Some(line) = self.input.lines.peek() else {
                let len = session.read_input()?;
                self.input.lines.push(&session.buffer[..len]);
                if session.input_has_ended() {
                    self.input.lines.end();
                } else if len == 0 {
                    break;
                }
                continue;
            };
            self.input.taken += 1;
            let number = self.input.taken;
            match as_broadcast(line, self.input.max_text.unwrap_or_default()) {
                Ok(text) => self.delivery.add(number, text),
                Err(what) => {
                    let what = format!("line {number} of the input {what}");
                    if self.input.skip_bad {
                        self.progress.clear();
                        notice(&format!("left out: {what}"));
                    } else {
                        self.input.stopped = Some(what);
                    }
                }
            }
            self.input.lines.advance();
        }
        Ok(())
    }

    fn notice(&mut self, text: &str) {
        self.progress.clear();
        notice(text);
    }

    /// What to say when it cannot go on: which lines are in the feed, and of which nothing is known.
    fn broken(&mut self, why: &str) -> Failure {
        self.progress.clear();
        if self.input.taken == 0 {
            return Failure::Said(why.to_owned());
        }
        let known = match self.delivery.delivered() {
            0 => "no line of the input is known to be in the feed".to_owned(),
            1 => "1 line of the input is in the feed".to_owned(),
            lines => format!("{lines} lines of the input are in the feed"),
        };
        let unknown = match self.delivery.unknown() {
            Some((first, last)) if first == last => {
                format!("; whether line {first} is, is not known")
            }
            Some((first, last)) => format!("; whether lines {first} to {last} are, is not known"),
            None => ", and no other".to_owned(),
        };
        Failure::Said(format!("{why}; {known}{unknown}"))
    }
}

impl Input {
    /// What the server takes, unless that is known already.
    fn take_at_most(&mut self, max_line: u64) {
        if self.max_text.is_none() {
            // A server is not trusted to say how much is to be kept here.
            let max_line = max_line.min(MAX_LINE as u64) as usize;
            let max_text = max_line.saturating_sub(REQUEST_OVERHEAD);
            self.max_text = Some(max_text);
            self.lines = LineBuffer::for_ours(max_text);
        }
    }

    /// Whether no more of it will be sent.
    fn is_all_taken(&mut self) -> bool {
        self.stopped.is_some() || (self.lines.is_ended() && self.lines.peek().is_none())
    }
}

/// Asks whether the server still has the client with this id: it is the first in the list then.
fn ask_for(id: u64) -> Command<'static> {
    Command::Clients { after: id.checked_sub(1).filter(|after| *after > 0) }
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

    fn show(&mut self, delivery: &Delivery) {
        let now = Instant::now();
        if self.is_wanted && self.next <= now {
            let (out, on_their_way) = (delivery.delivered(), delivery.undelivered());
            Self::write(&format!("{out} lines out, {on_their_way} on their way"));
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
