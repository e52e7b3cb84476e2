//! # oyez: a line from one program to many
//!
//! `oyezd` is a line-broadcast server with one thread and one poll loop. Its clients are netcat,
//! scripts, devices and people. `oyez` is the client that comes with it. This is the bird's-eye
//! view.
//!
//! ```text
//!  sockets ◄──► net ◄──► server ──► hub ──► protocol
//!                                    ├── registry   clients, ids, names, roles, rate limits
//!                                    ├── channel    the feed, its readers, backpressure
//!                                    ├── delivery   what each client will be sent
//!                                    └── schedule   who is served next
//!
//!  sockets ◄──► net ◄──► client::connection ──► client::tasks, client::chat ◄──► terminal, pipes
//! ```
//!
//! The path of a request: the server reads a socket and passes the bytes to
//! [`hub::Hub::handle_read`]. A [`protocol::LineBuffer`] splits them into lines, each line is
//! parsed as a [`protocol::Command`], and the hub executes it: a broadcast is appended once to the
//! [`hub::Feed`], a reply to the client's outbox. A flush sends everything pending for a client in
//! one vectored write of slices of the feed and the outbox. A broadcast therefore costs one append,
//! whatever the number of clients, and ten thousand stalled clients share one backlog.
//!
//! ## Code map
//!
//! - [`protocol`]: the wire format: lines, commands, replies. One table of all commands.
//! - [`hub`]: command semantics and client state: names, the feed, scheduling, backpressure, slow
//!   consumers, graceful shutdown. Start at the call order in its module documentation.
//! - [`server`]: the poll loop: listeners, sockets, signals, descriptors, configuration, logging.
//! - [`client`]: the tasks of `oyez`, and the connection that they share. Its module documentation
//!   has a map.
//! - [`net`]: sockets, the TLS handshake and encryption, and signals as poll events, for both
//!   programs.
//! - [`read_outcome`]: the outcome of one read of a connection. `net` returns it; the hub and the
//!   client handle it.
//! - [`credentials`]: secrets, and the small files that hold secrets, keys and certificates.
//! - [`limits`]: every limit, its default, and how limits depend on each other.
//! - [`cli`]: the tables of command-line options, and their parser.
//! - [`escape`]: makes text from outside safe to print.
//!
//! ## Architecture invariants
//!
//! 1. Dependencies point one way: `bin → server → hub → protocol` and `bin → client → protocol`.
//!    `protocol` and `hub` do no I/O, read no clock and draw no randomness: the caller passes in
//!    the time and the feed's id, and log events come out. `tests/house.rs` enforces this, and
//!    allows no import cycle.
//! 2. The caller reports to the hub with `handle_…` and `consume`, and asks it for work with
//!    `poll_…`, `spans` and `next_deadline`. There are no callbacks. A command never writes to a
//!    socket. A span is a client's own bytes or a range of the feed; the server turns spans into a
//!    write.
//! 3. The hub owns the clients in a slab. The server keeps each connection under the same key,
//!    which is also its poll token. The ids that people see count up and are never reused. They are
//!    not keys.
//! 4. Every queue and buffer has a limit. [`limits`] defines them all and validates them together
//!    at startup; the log then says how much memory they allow.
//! 5. A connection's failure never propagates to the event loop. The server closes connections
//!    after each batch of events, and accepts new ones after that, so that no stale event reaches a
//!    new client under a reused key. Queues hold both key and id, and skip clients that are gone.
//! 6. Every turn of the loop is bounded: reading, executing, appending, flushing and accepting each
//!    have a budget, and what exceeds it waits for the next turn. A client that must not be read
//!    leaves the read queue but keeps its readiness flag, so the loop never spins.
//! 7. Nothing is ever inserted into a partial line.
//! 8. The crate forbids unsafe code; rustix provides the system calls that mio and the standard
//!    library lack.

pub mod cli;
pub mod client;
pub mod credentials;
pub mod escape;
pub mod hub;
pub mod limits;
pub mod net;
pub mod protocol;
pub mod read_outcome;
pub mod server;
#[cfg(any(test, fuzzing))]
pub mod testing;
