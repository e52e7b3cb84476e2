//! The wire protocol: parses bytes into lines, commands and replies, and encodes them as bytes.
//!
//! - [`LineBuffer`] splits input into lines, in bounded memory. It detects foreign protocols, and
//!   removes Telnet commands.
//! - [`Command`] is a request from a client; [`COMMANDS`] is the table of all commands.
//! - [`Reply`] is a line from the server.
//!
//! Server and client share this module. It performs **no I/O**, reads no clock, and keeps no state
//! except in a [`LineBuffer`].

mod command;
mod error_code;
mod feed_id;
mod feed_position;
mod fields;
mod foreign;
mod input;
mod line;
mod name;
mod reply;
mod telnet;
mod text;

pub use command::{COMMANDS, Command, CommandError, CommandSpec, Recipient, Verb};
pub use error_code::{ErrorClass, ErrorCode};
pub use feed_id::FeedId;
pub use feed_position::FeedPosition;
pub use foreign::ForeignProtocol;
pub(crate) use input::wipe;
pub use line::{Line, LineBuffer};
pub use name::Name;
pub use reply::{OkReply, Reply};
pub use telnet::TelnetCommand;
pub use text::{DecimalBuf, validate_text};

/// The number of bytes by which a line from the server may exceed the longest request.
///
/// This leaves room for the words that the server puts before a client's text (`broadcast`, a
/// sequence number of up to 20 digits, a name of up to 32 characters, and the spaces between them)
/// and for the LF.
pub const REPLY_OVERHEAD: usize = 64;
