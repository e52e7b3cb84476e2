//! `oyez broadcast -`: every line of standard input, for everybody who listens, and each once.

use std::time::{Duration, Instant};

use crate::client::connection::Event;
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Asker, Heard, RequestTracker};
use crate::client::messages::{explain, lost};
use crate::client::stdio::notice;
use crate::client::tasks::ask::MAX_ANSWER;
use crate::client::tasks::progress::Progress;
use crate::client::tasks::publish_queue::PublishQueue;
use crate::client::tasks::source::{Source, Taken};
use crate::client::{Failure, Session};
use crate::limits::Limits;
use crate::protocol::{Command, FeedId, OkReply, Reply, Verb};

/// How long to wait until the server is asked again whether it still has a connection that is lost: at
/// first, and at most.
const GHOST_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How many timeouts to wait for that. With its default, that is more than the five minutes within
/// which oyezd lets go of a peer that has vanished.
const GHOST_TIMEOUTS: u32 = 6;

/// How often the server is asked for the newest line while nothing of its own is on its way: what is
/// said next and lost will be behind that.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// Lines on their way from standard input to the feed.
struct Sender {
    server: String,
    timeout: Duration,
    skip_bad: bool,
    source: Source,
    delivery: PublishQueue,
    stage: Stage,
    /// The feed of the last connection.
    feed: Option<FeedId>,
    /// The connection that is lost, if the server was seen to have it still.
    ghost: Option<Ghost>,
    /// How many lines an answer has had so far that is to come before lines can be said.
    answer_lines: usize,
    refresh_at: Instant,
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
    Asking { is_there: bool },
    /// It has, and is to be asked again.
    Pausing { until: Instant },
    /// It gives again what was said since, among which lines may be that have arrived.
    Looking,
    /// Lines can be said.
    Open,
}

#[derive(Clone, Copy, Debug)]
struct Ghost {
    seen_at: Instant,
    pause: Duration,
}

/// Sends every line of standard input, until each is answered. So success means that all of them were
/// broadcast, in their order, and each once.
pub(crate) fn broadcast(session: &mut Session, skip_bad: bool) -> Result<(), Failure> {
    let mut sender = Sender {
        server: session.connection.server().to_string(),
        timeout: session.connection.timeout(),
        skip_bad,
        source: Source::new(),
        delivery: PublishQueue::default(),
        stage: Stage::Down,
        feed: None,
        ghost: None,
        answer_lines: 0,
        refresh_at: Instant::now(),
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
            self.source.fill(session);
            self.send(session);
            if self.source.is_used_up() && self.delivery.undelivered() == 0 {
                break;
            }
            self.ask(session);
            self.progress.show(self.delivery.delivered(), self.delivery.undelivered());
            let until = match self.stage {
                Stage::Pausing { until } => Some(until),
                Stage::Open => Some(self.refresh_at),
                _ => None,
            };
            match session.wait(until, self.source.wants_input()) {
                Err(Failure::Error(why)) => return Err(self.failure(&why)),
                result => result?,
            }
        }
        match self.source.stopped().map(str::to_owned) {
            None => Ok(()),
            Some(why) => Err(self.failure(&why)),
        }
    }

    /// Takes what has happened.
    fn hear(&mut self, session: &mut Session) -> Result<(), Failure> {
        loop {
            let commands = match session.connection.next_event(Instant::now()) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Up(welcome))) => self.arrive(welcome)?,
                Ok(Some(Event::Heard(heard))) => self.take(&heard)?,
                Ok(Some(Event::Down { why, had_goodbye, .. })) => {
                    self.delivery.lose(had_goodbye);
                    self.stage = Stage::Down;
                    self.notice(&lost(&self.server, &why));
                    vec![]
                }
                Ok(Some(Event::NameRefused(why))) => return Err(self.failure(&why)),
                Ok(Some(Event::NameHeld(_))) => vec![],
                Err(why) => {
                    let goodbye = session.connection.dialogue().and_then(RequestTracker::goodbye);
                    self.delivery.lose(goodbye.is_some());
                    return Err(self.failure(&why));
                }
            };
            for command in commands {
                session.connection.say(&command, Asker::Task);
            }
        }
    }

    fn arrive(&mut self, welcome: Welcome) -> Result<Vec<Command<'static>>, Failure> {
        let before = self.feed.replace(welcome.feed);
        if !self.delivery.arrive(welcome) {
            return Err(self.failure(&format!("{} was restarted", self.server)));
        }
        if let Some(before) = before {
            self.notice(&format!("connected to {} again", self.server));
            if before != welcome.feed {
                self.notice("it was restarted: what was said there before is lost with it");
            }
        }
        self.answer_lines = 0;
        self.stage = Stage::Entering;
        Ok(vec![Command::Quiet, Command::Stats])
    }

    /// Takes what the server says: what to say because of it.
    fn take(&mut self, heard: &Heard<'_>) -> Result<Vec<Command<'static>>, Failure> {
        let is_broadcast = matches!(heard.reply, Some(Reply::Broadcast { .. }));
        if self.stage != Stage::Open && !is_broadcast {
            self.answer_lines += 1;
            if self.answer_lines > MAX_ANSWER {
                return Err(self.failure("the server's answer has no end"));
            }
        }
        let Some(reply) = heard.reply else { return Ok(vec![]) };
        match (&mut self.stage, &reply) {
            (Stage::Entering, Reply::Stat { key: "max_line", value }) => self.source.limit(*value),
            (Stage::Open, Reply::Stat { key: "feed_newest", value }) => {
                self.delivery.refresh(*value);
            }
            (Stage::Asking { is_there }, Reply::Client { id, .. }) => {
                *is_there |= Some(*id) == self.delivery.lost_id();
            }
            (Stage::Looking, Reply::Broadcast { seq, from, text }) => {
                if let Err(what) = self.delivery.find(*seq, from, text) {
                    return Err(self.failure(&what));
                }
            }
            (Stage::Looking, Reply::Lagged(_)) => {
                return Err(self.failure("the server left out some of what was said since"));
            }
            _ => {}
        }
        match heard.answers {
            Some(answered) if answered.question.asker == Asker::Task => {
                self.take_answer(answered.question.verb, &reply)
            }
            _ => Ok(vec![]),
        }
    }

    /// Takes the final answer to a command.
    fn take_answer(
        &mut self,
        verb: Verb,
        reply: &Reply<'_>,
    ) -> Result<Vec<Command<'static>>, Failure> {
        if let Reply::Error { code, explanation } = *reply {
            let why = explain(code, explanation);
            return match verb {
                Verb::Broadcast => {
                    let number = self.delivery.refuse();
                    self.leave_out(&format!("line {number} of the input was refused: {why}"));
                    Ok(vec![])
                }
                Verb::Resume => {
                    Err(self.failure(&format!("what was said since cannot be looked at: {why}")))
                }
                _ => Err(self.failure(&why)),
            };
        }
        match (self.stage, verb) {
            (Stage::Entering, Verb::Stats) => {
                self.source.limit(Limits::default().max_line as u64);
                if self.delivery.lost_id().is_some() {
                    return Ok(self.ask_for_ghost());
                }
                self.open();
            }
            (Stage::Asking { is_there: true }, Verb::Clients) => self.pause()?,
            (Stage::Asking { is_there: false }, Verb::Clients) => {
                self.stage = Stage::Looking;
                // Quiet again behind what there is by now. That is all that can have arrived.
                return Ok(self.delivery.look().into_iter().chain([Command::Quiet]).collect());
            }
            (Stage::Looking, Verb::Quiet) => {
                self.delivery.settle();
                self.open();
            }
            (Stage::Open, Verb::Broadcast) => {
                if let Reply::Ok(OkReply::Broadcast { seq }) | Reply::Broadcast { seq, .. } = *reply
                {
                    self.delivery.deliver(seq);
                }
            }
            _ => {}
        }
        Ok(vec![])
    }

    fn open(&mut self) {
        self.stage = Stage::Open;
        self.ghost = None;
        self.refresh_at = Instant::now() + REFRESH_PAUSE;
    }

    /// Asks whether the server still has the connection that was lost: it is the first of a list then.
    fn ask_for_ghost(&mut self) -> Vec<Command<'static>> {
        let before = self.delivery.lost_id().and_then(|id| id.checked_sub(1));
        self.answer_lines = 0;
        self.stage = Stage::Asking { is_there: false };
        vec![Command::Clients { after: before.filter(|before| *before > 0) }]
    }

    /// The server still has that: waits, but not for ever.
    fn pause(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let ghost = self.ghost.get_or_insert(Ghost { seen_at: now, pause: GHOST_PAUSE.0 });
        if now.duration_since(ghost.seen_at) >= self.timeout * GHOST_TIMEOUTS {
            let why =
                "the server has not let go of the connection that was lost, and may go on with it";
            return Err(self.failure(why));
        }
        let pause = ghost.pause;
        ghost.pause = (pause * 2).min(GHOST_PAUSE.1);
        if pause < GHOST_PAUSE.1 && ghost.pause == GHOST_PAUSE.1 {
            self.notice(
                "the server has not let go of the connection that was lost; waiting for that",
            );
        }
        self.stage = Stage::Pausing { until: now + pause };
        Ok(())
    }

    /// Asks what is to be asked from time to time.
    fn ask(&mut self, session: &mut Session) {
        let now = Instant::now();
        match self.stage {
            Stage::Pausing { until } if until <= now => {
                for command in self.ask_for_ghost() {
                    session.connection.say(&command, Asker::Task);
                }
            }
            Stage::Open if self.refresh_at <= now => {
                if self.delivery.undelivered() == 0 {
                    session.connection.say(&Command::Stats, Asker::Task);
                }
                self.refresh_at = now + REFRESH_PAUSE;
            }
            _ => {}
        }
    }

    /// Sends what there is, as far as there is room: first what is to be sent again.
    fn send(&mut self, session: &mut Session) {
        while self.stage == Stage::Open && session.connection.has_room() {
            if let Some(command) = self.delivery.say_next() {
                session.connection.say(&command, Asker::Task);
                continue;
            }
            if !self.delivery.has_room() {
                break;
            }
            let delivery = &mut self.delivery;
            let taken = self.source.take(|taken| match taken {
                Taken::Text(number, text) => {
                    delivery.add(number, text);
                    None
                }
                Taken::Bad(what) => Some(what),
            });
            match taken {
                None => {
                    self.source.fill(session);
                    if self.source.wants_input() || self.source.is_used_up() {
                        break;
                    }
                }
                Some(None) => {}
                Some(Some(what)) => self.leave_out(&what),
            }
        }
    }

    /// A line that cannot be sent is left out, or the last one that was looked at.
    fn leave_out(&mut self, what: &str) {
        if self.skip_bad {
            self.notice(&format!("left out: {what}"));
        } else {
            self.source.stop(format!("{what} (--skip-bad leaves such lines out)"));
        }
    }

    fn notice(&mut self, text: &str) {
        self.progress.clear();
        notice(text);
    }

    /// What to say when it cannot go on: how many lines were broadcast, and of which it is not known.
    fn failure(&mut self, why: &str) -> Failure {
        if !self.source.is_begun() {
            return Failure::Error(why.to_owned());
        }
        let known = match self.delivery.delivered() {
            0 => "no line of the input is known to have been broadcast".to_owned(),
            1 => "1 line of the input was broadcast".to_owned(),
            lines => format!("{lines} lines of the input were broadcast"),
        };
        let unknown = match self.delivery.unknown() {
            Some((first, last)) if first == last => {
                format!("; whether line {first} was, is not known")
            }
            Some((first, last)) => format!("; whether lines {first} to {last} were, is not known"),
            None => ", and no other".to_owned(),
        };
        Failure::Error(format!("{why}; {known}{unknown}"))
    }
}
