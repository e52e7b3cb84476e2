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
mod slash_command;
mod terminal;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mio::Token;
use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;
use time::OffsetDateTime;

use crate::client::connection::Event;
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Incoming, Owner};
use crate::client::failure::Failure;
use crate::client::messages::{connection_lost, explain};
use crate::client::session::Session;
use crate::client::tasks::resume_cursor::{LineState, ResumeCursor};
use crate::net::signals::Signals;
use crate::protocol::{Command, OkReply, Reply, Verb};
use editor::Editor;
use keys::{Key, Keys};
use screen::{LEGEND, Message, Screen};
use slash_command::{HELP, Typed, typed};
use terminal::Terminal;

const ENDING: Token = Token(10);
const CHANGED: Token = Token(11);

/// What to say of a line that no longer fits.
const TOO_LONG: &str =
    "too much for a line, and left out; what is long can be piped: oyez broadcast -";

/// How long a goodbye is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many `/ping` and `/send` may wait for their answers.
const MAX_ASKED: usize = 100;

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
    position: ResumeCursor,
    stage: Stage,
    /// What was asked and is not answered yet, by its number among the connection's questions.
    asked: VecDeque<(u64, Asked)>,
    /// The server, as the user calls it.
    server: String,
}

/// What has to be known of a question to show its answer.
enum Asked {
    Ping { at: Instant },
    Send { to: String, text: String },
}

/// Talks until the user leaves.
pub(super) fn chat(session: &mut Session) -> Result<(), Failure> {
    let has_colour = check_terminal()?;
    // As long as no server was found, the terminal stays as it is, and Ctrl-C ends the program.
    let welcome = loop {
        match session.connection.next_event(Instant::now())? {
            Some(Event::Connected(welcome)) => break welcome,
            Some(_) => {}
            None => session.wait(None, false)?,
        }
    };
    let mut chat = Chat::new(session, has_colour)
        .map_err(|error| Failure::Error(format!("cannot use the terminal: {error}")))?;
    chat.arrive(welcome, session);
    let result = chat.run(session);
    chat.screen.erase(session.output.buffer());
    // Before the terminal is given back.
    result.and(session.output.flush())
}

/// Whether there is a terminal that can be used: if so, whether it is to have colours.
fn check_terminal() -> Result<bool, Failure> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let said = "chat needs a terminal; scripts use broadcast -, listen or raw (--help)";
        return Err(Failure::Usage(said.to_owned()));
    }
    if !is_set("TERM") || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        let said =
            "chat needs a terminal that can move its cursor (TERM); raw needs nothing (--help)";
        return Err(Failure::Usage(said.to_owned()));
    }
    Ok(!is_set("NO_COLOR"))
}

impl Chat {
    /// Takes the terminal over, too.
    fn new(session: &Session, has_colour: bool) -> io::Result<Self> {
        const ENDS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];
        let registry = session.poll.registry();
        let was_heard = Arc::new(AtomicBool::new(false));
        for signal in ENDS {
            // When a first one was heard of, and yet another comes, the terminal may be stuck: that one
            // ends the program at once.
            flag::register_conditional_default(signal, Arc::clone(&was_heard))?;
            flag::register(signal, Arc::clone(&was_heard))?;
        }
        Ok(Self {
            ending: Signals::register(registry, ENDING, &ENDS)?,
            changed: Signals::register(registry, CHANGED, &[SIGWINCH, SIGCONT])?,
            terminal: Terminal::take()?,
            keys: Keys::default(),
            editor: Editor::default(),
            screen: Screen::new(has_colour, terminal::columns()),
            position: ResumeCursor::default(),
            stage: Stage::Talking,
            asked: VecDeque::new(),
            server: session.connection.server().to_string(),
        })
    }

    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.stage != Stage::Over {
            self.follow_server(session)?;
            self.take_signals(session)?;
            // In the background, the terminal is somebody else's.
            if self.terminal.is_ours() {
                self.take_keys(session)?;
                let prompt = prompt(session);
                self.screen.draw(&prompt, &self.editor, session.output.buffer());
            }
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
            let Session { connection, output, .. } = &mut *session;
            let out = output.buffer();
            match connection.next_event(Instant::now())? {
                Some(Event::Received(heard)) => {
                    if let Some(command) = self.hear(&heard, out) {
                        connection.send(&command, Owner::Connection);
                    }
                }
                Some(Event::Connected(welcome)) => self.arrive(welcome, session),
                Some(Event::Notice(text)) => self.notice(&text, out),
                Some(Event::NameRefused(why)) => self.error(&why, out),
                Some(Event::Disconnected { why, has_unconfirmed, .. }) => {
                    self.lose(&why, has_unconfirmed, out);
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
        let out = output.buffer();
        let arrival = self.position.on_welcome(welcome);
        if arrival.is_first {
            self.notice(&format!("connected to {}; {}; /help", self.server, HELP[0]), out);
        }
        for text in arrival.notices(&self.server) {
            self.notice(&text, out);
        }
        if let Some(command) = arrival.request {
            connection.send(&command, Owner::Connection);
        }
    }

    fn lose(&mut self, why: &str, has_unconfirmed: bool, out: &mut Vec<u8>) {
        self.asked.clear();
        if matches!(self.stage, Stage::Leaving { .. }) {
            self.stage = Stage::Over;
            return;
        }
        self.notice(&connection_lost(&self.server, why), out);
        if has_unconfirmed {
            self.error("whether what you said last has arrived is not known", out);
        }
    }

    /// What had to be known of the question that this is the answer to. What was asked before it has
    /// no answer of its own any more.
    fn asked(&mut self, heard: &Incoming<'_>) -> Option<Asked> {
        let number = heard.completed?.number;
        while let Some((first, asked)) = self.asked.pop_front() {
            if first == number {
                return Some(asked);
            }
            if first > number {
                self.asked.push_front((first, asked));
                break;
            }
        }
        None
    }

    /// Shows a line of the server's: what is to be asked because of it.
    fn hear(&mut self, heard: &Incoming<'_>, out: &mut Vec<u8>) -> Option<Command<'static>> {
        let reply = heard.reply?;
        let asked = self.asked(heard);
        if heard.completes(Verb::Resume) {
            let resumed = self.position.on_resume_reply(&reply);
            if let Some(notice) = resumed.notice() {
                self.notice(&notice, out);
            }
            return resumed.request();
        }
        if heard.completes_for(Owner::Connection) {
            return None;
        }
        match reply {
            // Lines that were seen before are shown again: they were asked for.
            Reply::Broadcast { seq, .. } if self.position.on_broadcast(seq) == LineState::Early => {
            }
            Reply::Broadcast { text, .. } if heard.completes(Verb::Broadcast) => {
                self.print(&Message::Own { text }, out);
            }
            Reply::Broadcast { from, text, .. } => self.print(&Message::Said { from, text }, out),
            Reply::Direct { from, text } => self.print(&Message::Direct { from, text }, out),
            Reply::Lagged(count) => self.error(&format!("{count} lines were missed here"), out),
            Reply::Error { code, explanation } => self.error(&explain(code, explanation), out),
            Reply::Pong(_) => {
                if let Some(Asked::Ping { at }) = asked {
                    let ms = at.elapsed().as_secs_f64() * 1000.0;
                    self.notice(&format!("the server has answered within {ms:.1} ms"), out);
                }
            }
            Reply::Client { id, name } => {
                self.notice(&format!("{id} {}", name.unwrap_or_default()), out);
            }
            Reply::Ok(OkReply::Send { .. }) => {
                if let Some(Asked::Send { to, text }) = &asked {
                    self.print(&Message::Sent { to, text }, out);
                }
            }
            Reply::Ok(OkReply::Clients { shown, total }) => {
                self.notice(&format!("{shown} of {total} clients"), out);
            }
            Reply::Ok(OkReply::Name { name }) => self.notice(&format!("you are {name} now"), out),
            Reply::Ok(OkReply::History { lines }) => {
                self.notice(&format!("the last {lines} lines:"), out);
            }
            Reply::Goodbye(_) if heard.completes(Verb::Quit) => self.stage = Stage::Over,
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
            self.screen.resize(terminal::columns(), session.output.buffer());
            // It may have been stopped, and others may have had the terminal.
            self.terminal.enter_again().map_err(|error| lost_terminal(&error))?;
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
                key => {
                    if !self.editor.edit(&key) {
                        self.error(TOO_LONG, session.output.buffer());
                    }
                }
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
            Typed::Commands(_) if !connection.has_room() || self.asked.len() >= MAX_ASKED => {
                return self
                    .error("not sent, since the server does not answer: Enter tries again", out);
            }
            Typed::Commands(commands) => {
                for command in commands {
                    if command == Command::Quit {
                        return self.leave(session);
                    }
                    let asked = match command {
                        Command::Ping { .. } => Some(Asked::Ping { at: Instant::now() }),
                        Command::Send { client, text } => {
                            Some(Asked::Send { to: client.as_str().into(), text: text.into() })
                        }
                        _ => None,
                    };
                    let number = connection.send(&command, Owner::Task);
                    self.asked.extend(number.zip(asked));
                }
            }
        }
        self.editor.submit();
    }

    /// Leaves, once the server has heard of it; at once, if that was said before.
    fn leave(&mut self, session: &mut Session) {
        let is_established = session.connection.requests().is_some();
        self.stage = match self.stage {
            Stage::Talking if is_established => {
                session.connection.send(&Command::Quit, Owner::Task);
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
    match session.connection.requests() {
        None => "(not connected) > ".to_owned(),
        Some(dialogue) => match dialogue.name() {
            Some(name) => format!("{name}> "),
            None => format!("{}> ", dialogue.id()),
        },
    }
}

fn lost_terminal(error: &io::Error) -> Failure {
    Failure::Error(format!("the terminal is gone: {error}"))
}
