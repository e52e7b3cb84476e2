//! `oyez chat`: talk, on a terminal.
//!
//! ```text
//!  keys ──► Editor ──► what was typed ──► the server
//!              │
//!           Screen  ◄── Message        ◄── the server
//! ```
//!
//! No line-editing library of the field fits a poll loop of one's own: those that are kept well wait
//! for keys themselves or bring a thread or a runtime. So this takes the parts that are hard to get
//! right from libraries, and leaves the loop alone: vte takes escape sequences apart,
//! unicode-segmentation finds what a person takes for one character, unicode-width how wide it is.

mod editor;
mod keys;
mod screen;
mod terminal;
mod typed;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use time::OffsetDateTime;

use super::ask::explain;
use super::connection::Event;
use super::dial::Welcome;
use super::dialogue::{Asker, Heard};
use super::position::{Place, Position};
use super::{Failure, Session};
use crate::protocol::{Command, Reply, Topic, Verb};
use crate::signals::Signals;
use editor::Editor;
use keys::{Key, Keys};
use screen::{LEGEND, Message, Screen};
use terminal::Terminal;
use typed::{HELP, Typed, typed};

const ENDING: Token = Token(10);
const CHANGED: Token = Token(11);

/// How long a goodbye is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many `/ping` and `/send` may wait for their answers.
const MAX_WAITING: usize = 100;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Talking,
    /// The server was told, and has not said goodbye yet.
    Leaving {
        until: Instant,
    },
    Over,
}

struct Chat {
    terminal: Terminal,
    /// Signals that end the program.
    ending: Signals,
    /// Signals after which the terminal may be another.
    changed: Signals,
    keys: Keys,
    editor: Editor,
    screen: Screen,
    position: Position,
    was_up: bool,
    stage: Stage,
    /// Whom a `send` that was not answered yet is for, and its text.
    sends: VecDeque<(String, String)>,
    /// When the pings were sent that were not answered yet.
    pings: VecDeque<Instant>,
}

/// Talks until the user leaves.
pub(super) fn chat(session: &mut Session, has_colour: bool) -> Result<(), Failure> {
    // As long as no server was found, the terminal stays as it is, and Ctrl-C ends the program.
    let welcome = loop {
        match session.connection.next_event(session.poll.registry(), Instant::now())? {
            Some(Event::Up(welcome)) => break welcome,
            Some(_) => {}
            None => session.wait(None, false)?,
        }
    };
    let mut chat = Chat::new(session.poll.registry(), has_colour)
        .map_err(|error| Failure::Said(format!("cannot use the terminal: {error}")))?;
    chat.arrive(welcome, session);
    let result = chat.run(session);
    chat.screen.erase(session.output.buffer());
    // Before the terminal is given back.
    result.and(session.output.flush())
}

impl Chat {
    /// Takes the terminal over, too.
    fn new(registry: &Registry, has_colour: bool) -> io::Result<Self> {
        Ok(Self {
            ending: Signals::register(registry, ENDING, &[SIGHUP, SIGINT, SIGTERM])?,
            changed: Signals::register(registry, CHANGED, &[SIGWINCH, SIGCONT])?,
            terminal: Terminal::take()?,
            keys: Keys::default(),
            editor: Editor::default(),
            screen: Screen::new(has_colour, terminal::columns()),
            position: Position::default(),
            was_up: false,
            stage: Stage::Talking,
            sends: VecDeque::new(),
            pings: VecDeque::new(),
        })
    }

    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.stage != Stage::Over {
            self.follow_server(session)?;
            self.take_signals(session)?;
            self.take_keys(session)?;
            let prompt = prompt(session);
            self.screen.draw(&prompt, &self.editor, session.output.buffer());
            session.wait(self.next_deadline(), true)?;
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let goodbye = match self.stage {
            Stage::Leaving { until } => Some(until),
            _ => None,
        };
        [goodbye, self.keys.next_deadline()].into_iter().flatten().min()
    }

    /// Takes what has happened at the server.
    fn follow_server(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.stage != Stage::Over {
            let Session { connection, poll, output, .. } = &mut *session;
            let server = connection.server().to_string();
            let event = connection.next_event(poll.registry(), Instant::now())?;
            match event {
                Some(Event::Heard(heard)) => {
                    let ask = self.hear(&heard, output.buffer());
                    if let Some(command) = ask {
                        connection.say(&command, Asker::Upkeep);
                    }
                }
                Some(Event::Up(welcome)) => self.arrive(welcome, session),
                Some(Event::NameRefused(why)) => self.print(&Message::Error(&why), output.buffer()),
                Some(Event::Down { why, unanswered }) => {
                    self.lose(&server, &why, unanswered, output.buffer());
                }
                None => break,
            }
        }
        if let Stage::Leaving { until } = self.stage
            && until <= Instant::now()
        {
            self.stage = Stage::Over;
        }
        Ok(())
    }

    fn arrive(&mut self, welcome: Welcome, session: &mut Session) {
        let Session { connection, output, .. } = session;
        let (server, out) = (connection.server(), output.buffer());
        let arrival = self.position.arrive(welcome, None);
        if self.was_up {
            self.notice(&format!("connected to {server} again"), out);
            if let Some(notice) = arrival.notice() {
                self.notice(notice, out);
            }
        } else {
            self.notice(&format!("connected to {server}; {}; /help", HELP[0]), out);
        }
        self.was_up = true;
        if let Some(command) = arrival.ask {
            connection.say(&command, Asker::Upkeep);
        }
    }

    fn lose(&mut self, server: &str, why: &str, unanswered: usize, out: &mut Vec<u8>) {
        self.sends.clear();
        self.pings.clear();
        if matches!(self.stage, Stage::Leaving { .. }) {
            self.stage = Stage::Over;
            return;
        }
        self.notice(&format!("the connection to {server} is lost: {why}; trying again"), out);
        if unanswered > 0 {
            self.error("whether what you said last has arrived is not known", out);
        }
    }

    /// Shows a line of the server's: what is to be asked because of it.
    fn hear(&mut self, heard: &Heard<'_>, out: &mut Vec<u8>) -> Option<Command<'static>> {
        let reply = heard.reply?;
        let verb = heard.answers.map(|question| question.verb);
        if verb == Some(Verb::Resume) {
            let resumed = self.position.answer(&reply);
            if let Some(notice) = resumed.notice() {
                self.notice(&notice, out);
            }
            return resumed.ask();
        }
        if heard.answers.is_some_and(|question| question.asker == Asker::Upkeep) {
            return None;
        }
        let sent = if verb == Some(Verb::Send) { self.sends.pop_front() } else { None };
        let pinged = if verb == Some(Verb::Ping) { self.pings.pop_front() } else { None };
        match reply {
            // Lines that were seen before are shown again: they were asked for.
            Reply::Broadcast { seq, .. } if self.position.take(seq) == Place::Early => {}
            Reply::Broadcast { text, .. } if heard.is_own => {
                self.print(&Message::Own { text }, out);
            }
            Reply::Broadcast { from, text, .. } => self.print(&Message::Said { from, text }, out),
            Reply::Direct { from, text } => self.print(&Message::Direct { from, text }, out),
            Reply::Lagged(count) => self.error(&format!("{count} lines were missed here"), out),
            Reply::Error { code, explanation } => self.error(&explain(code, explanation), out),
            Reply::Pong(_) => {
                if let Some(pinged) = pinged {
                    let ms = pinged.elapsed().as_secs_f64() * 1000.0;
                    self.notice(&format!("the server has answered within {ms:.1} ms"), out);
                }
            }
            Reply::Client { id, name } => {
                self.notice(&format!("{id} {}", name.unwrap_or_default()), out);
            }
            Reply::Ok(Topic::Send { .. }) => {
                if let Some((to, text)) = &sent {
                    self.print(&Message::Sent { to, text }, out);
                }
            }
            Reply::Ok(Topic::Clients { shown, total }) => {
                self.notice(&format!("{shown} of {total} clients"), out);
            }
            Reply::Ok(Topic::Name { name }) => self.notice(&format!("you are {name} now"), out),
            Reply::Ok(Topic::History { lines }) => {
                self.notice(&format!("the last {lines} lines:"), out);
            }
            Reply::Goodbye(_) if verb == Some(Verb::Quit) => self.stage = Stage::Over,
            // What is not known here, and not asked for.
            _ => {}
        }
        None
    }

    fn take_signals(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.ending.take() > 0 {
            self.leave(session);
        }
        if self.changed.take() > 0 {
            self.screen.resize(terminal::columns());
            // It may have been stopped, and others may have had the terminal.
            self.terminal.enter().map_err(|error| lost_terminal(&error))?;
        }
        Ok(())
    }

    fn take_keys(&mut self, session: &mut Session) -> Result<(), Failure> {
        let now = Instant::now();
        self.keys.expire(now);
        let len = session.read_input()?;
        for key in self.keys.take(&session.buffer[..len], now) {
            match key {
                Key::Interrupt => self.leave(session),
                Key::EndOfInput if self.editor.text().is_empty() => self.leave(session),
                Key::Enter => self.submit(session),
                Key::ClearScreen => self.screen.clear(session.output.buffer()),
                Key::Suspend => {
                    self.screen.erase(session.output.buffer());
                    session.output.flush()?;
                    self.terminal.suspend().map_err(|error| lost_terminal(&error))?;
                }
                key => self.editor.edit(&key),
            }
        }
        if session.input_has_ended() {
            self.stage = Stage::Over;
        }
        Ok(())
    }

    /// Does what the line says that was typed. What cannot be done now stays to be sent later.
    fn submit(&mut self, session: &mut Session) {
        let Session { connection, output, .. } = session;
        let out = output.buffer();
        let text = self.editor.text().to_owned();
        match typed(&text) {
            Typed::Nothing => {}
            Typed::Help => {
                for line in HELP.iter().chain(&LEGEND) {
                    self.notice(line, out);
                }
            }
            Typed::Wrong(why) => self.error(&why, out),
            Typed::Commands(_) if !connection.has_room() || self.is_waiting_for_many() => {
                return self
                    .error("not sent, since the server does not answer: Enter tries again", out);
            }
            Typed::Commands(commands) => {
                for command in commands {
                    match command {
                        Command::Quit => return self.leave(session),
                        Command::Send { client, text } => {
                            self.sends.push_back((client.as_str().to_owned(), text.to_owned()));
                        }
                        Command::Ping { .. } => self.pings.push_back(Instant::now()),
                        _ => {}
                    }
                    connection.say(&command, Asker::Task);
                }
            }
        }
        self.editor.submit();
    }

    fn is_waiting_for_many(&self) -> bool {
        self.sends.len() >= MAX_WAITING || self.pings.len() >= MAX_WAITING
    }

    /// Leaves, once the server has heard of it; at once, if that was said before.
    fn leave(&mut self, session: &mut Session) {
        let is_up = session.connection.dialogue().is_some();
        self.stage = match self.stage {
            Stage::Talking if is_up => {
                session.connection.say(&Command::Quit, Asker::Task);
                Stage::Leaving { until: Instant::now() + GOODBYE_TIMEOUT }
            }
            _ => Stage::Over,
        };
    }

    fn error(&mut self, text: &str, out: &mut Vec<u8>) {
        self.print(&Message::Error(text), out);
    }

    fn notice(&mut self, text: &str, out: &mut Vec<u8>) {
        self.print(&Message::Notice(text), out);
    }

    fn print(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        let time = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
        self.screen.print(&format!("{:02}:{:02}", time.hour(), time.minute()), message, out);
    }
}

fn prompt(session: &Session) -> String {
    match session.connection.dialogue() {
        None => "(not connected) > ".to_owned(),
        Some(dialogue) => match dialogue.name() {
            Some(name) => format!("{name}> "),
            None => format!("{}> ", dialogue.id()),
        },
    }
}

fn lost_terminal(error: &io::Error) -> Failure {
    Failure::Said(format!("the terminal is gone: {error}"))
}
