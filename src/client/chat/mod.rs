//! `oyez chat`: an interactive chat on a terminal.
//!
//! ```text
//!  keys ──► Editor ── typed line ──► Conversation ◄──► server
//!             │                            │
//!             └──────► Screen ◄─ messages ─┘
//! ```
//!
//! The available line-editing libraries do not fit into a poll loop: they block on input, or need a
//! thread or an async runtime. So oyez has its own editor, and leaves the hard parts to libraries:
//! vte parses escape sequences, unicode-segmentation finds grapheme clusters, and unicode-width
//! measures them.

mod completion;
mod conversation;
mod editor;
mod keys;
mod layout;
mod mention;
mod presence;
mod roster;
mod screen;
mod search;
mod slash_command;
mod terminal;

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use mio::Token;
use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;
use time::OffsetDateTime;

use crate::client::config::ChatOptions;
use crate::client::connection::Event;
use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::Owner;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::stdio::notice;
use crate::display;
use crate::net::signals::{Signals, is_ignored};
use completion::Completion;
use conversation::Conversation;
use editor::Editor;
use keys::{Key, Keys};
use screen::Screen;
use search::{Outcome, Search};
use terminal::Terminal;

const QUIT_SIGNALS: Token = Token(10);
const TERMINAL_SIGNALS: Token = Token(11);

/// The error for a text that would exceed [`keys::MAX_TEXT`].
const TOO_LONG: &str = "the text exceeds 64 KiB; to send a file, run: oyez broadcast - < FILE";

struct Chat {
    terminal: Terminal,
    /// SIGHUP, SIGINT and SIGTERM.
    quit_signals: Signals,
    /// SIGWINCH and SIGCONT: the terminal may have changed.
    terminal_signals: Signals,
    keys: Keys,
    editor: Editor,
    /// The completion that a further Tab continues.
    completion: Option<Completion>,
    /// The search in progress.
    search: Option<Search>,
    screen: Screen,
    conversation: Conversation,
}

/// Runs the chat until the user quits.
pub(super) fn chat(session: &mut Session, options: ChatOptions) -> Result<(), Failure> {
    check_terminal()?;
    // Until the client is connected and authenticated, the terminal stays in its normal mode, so
    // Ctrl-C ends the program.
    let mut connected = None;
    let welcome = loop {
        match session.connection.next_event(Instant::now())? {
            Some(Event::Connected(welcome)) => connected = Some(welcome),
            Some(Event::Notice(text)) => notice(&text),
            Some(_) => {}
            None => session.wait(None, false)?,
        }
        if let Some(welcome) = connected.filter(|_| session.connection.is_authenticated()) {
            break welcome;
        }
    };
    let mut chat = Chat::new(session, options, welcome).map_err(|error| terminal_failed(&error))?;
    let result = chat.run(session);
    // Dropping `chat` restores the terminal, so write all output first.
    chat.screen.erase();
    result.and(chat.flush(session))
}

/// Checks that standard input and output are terminals, and that the cursor can be moved.
fn check_terminal() -> Result<(), Failure> {
    let term = env::var_os("TERM").unwrap_or_default();
    let error = if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        "chat needs a terminal; scripts can use broadcast -, listen or raw (see oyez --help)".into()
    } else if display::is_dumb() {
        format!(
            "chat needs a terminal that can move its cursor, but TERM is {term:?}; use oyez raw"
        )
    } else {
        return Ok(());
    };
    Err(Failure::Usage(error))
}

impl Chat {
    /// Puts the terminal into raw mode and joins the conversation.
    fn new(session: &mut Session, options: ChatOptions, welcome: Welcome) -> io::Result<Self> {
        let mut quit = vec![SIGHUP, SIGINT, SIGTERM];
        quit.retain(|&signal| is_ignored(signal) != Some(true));
        let registry = session.poll.registry();
        let is_quitting = Arc::new(AtomicBool::new(false));
        for &signal in &quit {
            // A second signal kills the program immediately, in case the terminal accepts no output
            // and the program is blocked on it.
            flag::register_conditional_default(signal, Arc::clone(&is_quitting))?;
            flag::register(signal, Arc::clone(&is_quitting))?;
        }
        let has_color = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_utf8 = session.output.is_utf8;
        let mut screen = Screen::new(has_color, is_utf8, display::size(io::stdout()), time_of_day);
        let server = session.connection.server().to_string();
        let mut conversation = Conversation::new(server, options, welcome);
        if let Some(command) = conversation.on_event(Event::Connected(welcome), &mut screen) {
            session.connection.send(&command, Owner::Connection);
        }
        if !is_utf8 {
            screen.notice("the locale is not UTF-8: non-ASCII characters are shown escaped");
        }
        Ok(Self {
            quit_signals: Signals::register(registry, QUIT_SIGNALS, &quit)?,
            terminal_signals: Signals::register(registry, TERMINAL_SIGNALS, &[SIGWINCH, SIGCONT])?,
            terminal: Terminal::enter()?,
            keys: Keys::default(),
            editor: Editor::default(),
            completion: None,
            search: None,
            conversation,
            screen,
        })
    }

    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        while !self.conversation.is_over() {
            self.handle_server(session)?;
            self.handle_signals(session)?;
            // While this process is in the background, another program uses the terminal.
            if self.terminal.is_foreground() {
                self.handle_keys(session)?;
                let search = self.search.as_ref();
                let prompt = search.map_or_else(
                    || prompt(session),
                    |search| search.prompt(session.output.is_utf8),
                );
                self.screen.draw(&prompt, &self.editor);
            }
            self.flush(session)?;
            let deadlines = [self.conversation.next_deadline(), self.keys.next_deadline()];
            session.wait(deadlines.into_iter().flatten().min(), true)?;
        }
        Ok(())
    }

    fn handle_server(&mut self, session: &mut Session) -> Result<(), Failure> {
        while !self.conversation.is_over()
            && let Some(event) = session.connection.next_event(Instant::now())?
        {
            if let Some(command) = self.conversation.on_event(event, &mut self.screen) {
                session.connection.send(&command, Owner::Connection);
            }
        }
        self.conversation.send_due_request(&mut session.connection);
        Ok(())
    }

    fn handle_signals(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.quit_signals.take() > 0 {
            self.conversation.quit(&mut session.connection);
        }
        if self.terminal_signals.take() > 0 {
            self.screen.resize(display::size(io::stdout()));
            // Before SIGCONT, another program may have changed the terminal's mode.
            self.terminal.reenter().map_err(|error| terminal_failed(&error))?;
        }
        Ok(())
    }

    fn handle_keys(&mut self, session: &mut Session) -> Result<(), Failure> {
        let now = Instant::now();
        self.keys.expire(now);
        let len = session.read_input()?;
        for key in self.keys.decode(&session.buffer[..len], now) {
            self.handle_key(&key, session)?;
        }
        if session.input_has_ended() {
            self.conversation.end();
        }
        Ok(())
    }

    fn handle_key(&mut self, key: &Key, session: &mut Session) -> Result<(), Failure> {
        if let Some(search) = &mut self.search {
            match search.handle(key, &mut self.editor) {
                Outcome::Continues => return Ok(()),
                Outcome::Ended => {
                    self.search = None;
                    return Ok(());
                }
                Outcome::EndedBefore => self.search = None,
                Outcome::TooLong => {
                    self.screen.error(TOO_LONG);
                    return Ok(());
                }
            }
        }
        if !matches!(key, Key::Tab | Key::BackTab) {
            self.completion = None;
        }
        let connection = &mut session.connection;
        match key {
            Key::Tab | Key::BackTab => self.complete(*key == Key::BackTab),
            Key::Search => self.search = Some(Search::new(&self.editor)),
            Key::Interrupt if !self.editor.text().is_empty() => self.editor.clear(),
            Key::Interrupt => self.conversation.quit(connection),
            Key::EndOfInput if self.editor.text().is_empty() => self.conversation.quit(connection),
            Key::Enter => {
                if self.conversation.submit(self.editor.text(), connection, &mut self.screen) {
                    self.editor.submit();
                }
            }
            Key::ClearScreen => self.screen.clear(),
            Key::Suspend => {
                self.screen.erase();
                self.flush(session)?;
                self.terminal.suspend().map_err(|error| terminal_failed(&error))?;
            }
            key if self.editor.edit(key) => {
                if matches!(key, Key::Paste(_)) {
                    self.announce_lines();
                }
            }
            _ => self.screen.error(TOO_LONG),
        }
        Ok(())
    }

    /// Shows how many lines were pasted, because only the end of the text is visible.
    fn announce_lines(&mut self) {
        let count = slash_command::lines(self.editor.text()).len();
        if count > 1 {
            self.screen.notice(&format!("Enter sends these {count} lines; Ctrl-C clears them"));
        }
    }

    /// Replaces the word left of the cursor with the next candidate, or with the previous one.
    fn complete(&mut self, is_backward: bool) {
        if self.completion.is_none() {
            self.completion = Completion::find(&self.editor, &self.conversation.names());
        }
        if let Some(completion) = &mut self.completion
            && !completion.apply(&mut self.editor, is_backward)
        {
            self.screen.error(TOO_LONG);
        }
    }

    /// Writes the screen's output to the terminal.
    fn flush(&mut self, session: &mut Session) -> Result<(), Failure> {
        session.output.unwritten.extend(self.screen.take_output().into_bytes());
        session.output.flush()
    }
}

fn time_of_day() -> String {
    let time = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
    format!("{:02}:{:02}", time.hour(), time.minute())
}

fn prompt(session: &Session) -> String {
    let Some(requests) = session.connection.requests() else {
        return "(not connected) > ".to_owned();
    };
    requests.name().map_or_else(|| format!("{}> ", requests.id()), |name| format!("{name}> "))
}

fn terminal_failed(error: &io::Error) -> Failure {
    Failure::Error(format!("cannot use the terminal: {error}"))
}
