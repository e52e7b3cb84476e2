//! The wire, and nothing else: what bytes mean, in both directions.
//!
//! - [`LineBuffer`]: bytes in, lines out, bounded.
//! - [`Command`]: what a client may ask; [`COMMANDS`] is the one table of them.
//! - [`Reply`]: what a server says.
//!
//! This module performs **no I/O**, reads no clock and keeps no state beyond a connection's
//! unfinished line. Server and client share it.

mod command;
mod error_code;
mod feed_id;
mod fields;
mod foreign;
mod line;
mod name;
mod reply;
mod text;

pub use command::{COMMANDS, Command, CommandError, CommandSpec, Recipient, Verb};
pub use error_code::ErrorCode;
pub use feed_id::FeedId;
pub use foreign::ForeignProtocol;
pub use line::{Line, LineBuffer};
pub use name::Name;
pub use reply::{OkReply, Reply};
pub use text::{DecimalBuf, validate_text};

/// How much longer than the longest request a line of the server's may be, in bytes: the words
/// that it puts before a client's text (`broadcast`, a sequence number of up to 20 digits, a name
/// of up to 32 characters, the spaces between them), and the LF.
pub const REPLY_OVERHEAD: usize = 64;
