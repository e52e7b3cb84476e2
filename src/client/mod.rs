//! `oyez`, the client for people and scripts.
//!
//! ```text
//!  tasks: broadcast -, listen, ask, raw; chat        one module per kind of command
//!            │
//!         Session                                    the poll, standard input and output
//!            │
//!        Connection ── Dialer, Backoff, NameClaim    sign in, keep alive, reconnect
//!         │      │
//!       Link   RequestTracker ── protocol            bytes and lines; requests and replies
//! ```
//!
//! A task is a loop that handles events from `Connection::next_event`, sends commands, and calls
//! `Session::wait`. Besides that call, only resolving a host name and writing to standard output
//! block.
//!
//! The server is not trusted. Its input cannot use unbounded memory. A line that no server would
//! send, such as one with escape sequences, ends the connection, and only the error shows it,
//! escaped.

#[cfg(feature = "chat")]
mod chat;
pub mod config;
mod connection;
mod failure;
mod input;
mod interrupt;
mod messages;
mod session;
mod stdio;
mod tasks;
#[cfg(any(test, fuzzing))]
pub mod testing;

pub use connection::address::ServerAddress;
pub use connection::options::ConnectOptions;
pub use failure::Failure;

use config::{Config, Task};
use session::Session;
use tasks::{ask, broadcast, listen, raw};

/// Runs the configured command until it is done.
pub fn run(config: Config) -> Result<(), Failure> {
    let task = config.task;
    let inputs = match &task {
        Task::Chat(_) | Task::Raw => vec!["-".into()],
        Task::BroadcastInput(input) => input.files.clone(),
        _ => vec![],
    };
    let watches_output = matches!(task, Task::Chat(_) | Task::Listen(_) | Task::Raw);
    let mut session = Session::new(config.route, &inputs, watches_output)?;
    // The other tasks send a request at once, and the server answers that it requires a secret.
    session.connection.needs_auth =
        matches!(task, Task::Chat(_) | Task::BroadcastInput(_) | Task::Listen(_));
    let result = match task {
        #[cfg(feature = "chat")]
        Task::Chat(options) => chat::chat(&mut session, options),
        #[cfg(not(feature = "chat"))]
        Task::Chat(_) => {
            let error = "this oyez was built without chat; use oyez raw instead";
            Err(Failure::Usage(error.to_owned()))
        }
        Task::Broadcast { text, format } => ask::broadcast(&mut session, &text, format),
        Task::BroadcastInput(input) => broadcast::broadcast(&mut session, &input),
        Task::Listen(listen) => listen::listen(&mut session, listen),
        Task::Send { client, text } => ask::send(&mut session, &client, &text),
        Task::Clients { format } => ask::clients(&mut session, format),
        Task::Ping { text } => ask::ping(&mut session, text.as_deref()),
        Task::Stats { format } => ask::stats(&mut session, format),
        Task::Shutdown => ask::shutdown(&mut session),
        Task::Raw => raw::raw(&mut session),
    };
    // Flush even after a failure: the output until then is valid.
    result.and(session.output.flush())
}
