//! What `oyez` does: a client for people and for scripts.
//!
//! ```text
//!  chat, listen, raw, broadcast -, ask      one room a task: what it is for
//!            │
//!         Session                            the poll, standard input and output
//!            │
//!        Connection ── Dial, Backoff         found, kept, and found again
//!         │      │
//!       Link   RequestTracker ── protocol          bytes and lines; which line answers what
//! ```
//!
//! A task is a loop: it takes what has happened from `Connection::next_event`, says what it has to
//! say, and waits in `Session::wait` for more. Nothing else waits, but for names to be looked up
//! and for standard output to be taken.
//!
//! A server is not trusted. What it may make this program hold is bounded, and lines that no server
//! would send, such as those with escape sequences, end the connection before anybody sees them.

#[cfg(feature = "chat")]
mod chat;
pub mod config;
mod connection;
mod messages;
mod stdio;
mod tasks;
#[cfg(any(test, fuzzing))]
pub mod testing;

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

pub use connection::address::ServerAddress;
pub use connection::options::ConnectOptions;

use crate::limits::READ_CHUNK;
use config::{Config, Task};
use connection::Connection;
use stdio::{Input, Output};
use tasks::{ask, broadcast, listen, raw};

const SERVER: Token = Token(0);
const INPUT: Token = Token(1);
const OUTPUT: Token = Token(2);

/// Why a task was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// What happened, and what to do, in one line.
    Error(String),
    /// It was asked for what cannot be: wrong arguments.
    Usage(String),
    /// Nobody reads standard output any more, who could be told.
    OutputClosed,
}

impl From<String> for Failure {
    fn from(said: String) -> Self {
        Self::Error(said)
    }
}

/// Does what the configuration says.
pub fn run(config: Config) -> Result<(), Failure> {
    let mut session = Session::new(config.route, &config.task)?;
    let result = match config.task {
        #[cfg(feature = "chat")]
        Task::Chat => chat::chat(&mut session),
        #[cfg(not(feature = "chat"))]
        Task::Chat => {
            let error = "this oyez was built without chat; oyez raw speaks the protocol";
            Err(Failure::Usage(error.to_owned()))
        }
        Task::Broadcast { text } => ask::broadcast(&mut session, &text),
        Task::BroadcastInput { skip_bad } => broadcast::broadcast(&mut session, skip_bad),
        Task::Listen(listen) => listen::listen(&mut session, listen),
        Task::Send { client, text } => ask::send(&mut session, &client, &text),
        Task::Clients => ask::clients(&mut session),
        Task::Ping { text } => ask::ping(&mut session, text.as_deref(), 1),
        Task::Stats => ask::stats(&mut session),
        Task::Shutdown => ask::shutdown(&mut session),
        Task::Raw => raw::raw(&mut session),
    };
    // What came before a failure was no failure.
    result.and(session.output.flush())
}

/// What all tasks work with.
struct Session {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    connection: Connection,
    /// Standard input, if the task takes any.
    input: Option<Input>,
    output: Output,
}

impl Session {
    fn new(route: ConnectOptions, task: &Task) -> Result<Self, Failure> {
        let takes_input = matches!(task, Task::Chat | Task::BroadcastInput { .. } | Task::Raw);
        let is_for_output = matches!(task, Task::Chat | Task::Listen(_) | Task::Raw);
        let system = |error: io::Error| format!("cannot start: {error}");
        let poll = Poll::new().map_err(system)?;
        let input = if takes_input {
            Some(Input::register(poll.registry(), INPUT).map_err(system)?)
        } else {
            None
        };
        Ok(Self {
            connection: Connection::new(
                route,
                poll.registry().try_clone().map_err(system)?,
                SERVER,
            )?,
            input,
            output: if is_for_output {
                Output::register(poll.registry(), OUTPUT)
            } else {
                Output::default()
            },
            poll,
            events: Events::with_capacity(16),
            buffer: vec![0; READ_CHUNK].into(),
        })
    }

    /// Writes what there is to write, and waits until something may have happened, or until the
    /// deadline. Input counts only if it is wanted.
    fn wait(&mut self, deadline: Option<Instant>, wants_input: bool) -> Result<(), Failure> {
        self.output.flush()?;
        // What the task has said goes out before anything is waited for.
        self.connection.flush();
        let has_input = wants_input && self.input.as_ref().is_some_and(Input::is_ready);
        let deadline = [deadline, self.connection.next_deadline()].into_iter().flatten().min();
        let timeout = if has_input || self.connection.has_work() {
            Some(Duration::ZERO)
        } else {
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Failure::Error(format!("cannot go on: {error}")));
            }
            _ => {}
        }
        for event in &self.events {
            match event.token() {
                SERVER => self.connection.note(event),
                INPUT => {
                    if let Some(input) = &mut self.input {
                        input.note();
                    }
                }
                OUTPUT => self.output.note(event),
                // Signals are asked for by who takes them.
                _ => {}
            }
        }
        self.connection.turn(&mut self.buffer, Instant::now());
        Ok(())
    }

    /// Reads standard input, as far as there is any, into `buffer`: how many bytes.
    fn read_input(&mut self) -> Result<usize, Failure> {
        self.input.as_mut().map_or(Ok(0), |input| input.read(&mut self.buffer))
    }

    /// Whether standard input has come to its end.
    fn input_has_ended(&self) -> bool {
        self.input.as_ref().is_some_and(Input::is_ended)
    }
}
