//! # oyez: a line from one program to many
//!
//! `oyezd` is a line-broadcast server: one thread, one poll loop, and clients that are netcat,
//! scripts, devices and people. `oyez` is its client. This is the bird's-eye view.
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
//! A request's way through the server: the server reads a socket and passes the bytes to
//! [`hub::Hub::handle_read`]. A [`protocol::LineBuffer`] splits them into lines, each line is
//! parsed as a [`protocol::Command`], and the hub executes it: a broadcast is appended once to the
//! [`hub::Feed`], a reply to the client's outbox. Pending output is flushed in one vectored write
//! of slices of the feed and the outbox: everything queued since the last flush. So a broadcast
//! costs one append, whatever the number of clients, and ten thousand stalled clients share one
//! backlog.
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
//! - [`read_outcome`]: what reading a connection gives: returned by `net`, taken by the hub and the
//!   client.
//! - [`credentials`]: secrets, and the small files that hold secrets, keys and certificates.
//! - [`limits`]: every limit, its default, and how limits depend on each other.
//! - [`cli`], [`escape`]: the tables of command-line options, and text from outside made safe to
//!   print.
//!
//! ## Architecture invariants
//!
//! 1. Dependencies point one way: `bin → server → hub → protocol` and `bin → client → protocol`.
//!    `protocol` and `hub` do no I/O, read no clock and draw no randomness: times and the feed's id
//!    are passed in, log events come out. `tests/house.rs` enforces this, and allows no import
//!    cycle.
//! 2. `handle_…` in; `poll_…`, `spans`, `consume`, `next_deadline` out; no callbacks. A command
//!    never writes to a socket. A span is a client's own bytes or a range of the feed; the server
//!    turns spans into a write.
//! 3. The hub owns the clients in a slab. The server's connections live under the same keys, which
//!    are the poll's tokens. The ids that people see only count up, and are not keys.
//! 4. Every queue and buffer has a limit. [`limits`] defines them all and validates them together
//!    at startup; the log then says how much memory they allow.
//! 5. A connection's failure never propagates to the event loop. Clients are closed after a batch
//!    of events, and accepted after that, so that no stale event reaches a new client under a
//!    reused key. Queues and deadlines hold key and id, and drop what no longer matches.
//! 6. No turn of the loop is unbounded: reading, executing, appending, flushing and accepting each
//!    have a budget and a queue of who is next. A client that must not be read leaves the queue but
//!    keeps its readiness flag: nothing spins.
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
