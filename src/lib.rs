//! # oyez: a line from one program to many
//!
//! `oyezd` is a line-broadcast server: one thread, one poll loop, and clients that are netcat,
//! scripts, devices and people. This is its bird's-eye view.
//!
//! ```text
//!  sockets ──► server ──► hub ──► protocol        bin/oyezd: arguments, log, run
//!     ▲          │         │                      config, limits, logging: one room each
//!     └──────────┘         └─ feed: the last broadcast lines, once for everybody
//!                             clients: each has a cursor into it, and an outbox for its own replies
//!
//!  a socket, a terminal or pipes ──► client ──► protocol      bin/oyez: arguments, run, exit status
//! ```
//!
//! What is read from a socket goes to [`hub::Hub::handle_read`]; a [`protocol::LineBuffer`] cuts it
//! into lines, a [`protocol::Command`] is made of each, and the hub carries it out: it appends a
//! broadcast to the [`hub::Feed`], once, and a reply to one client's outbox. Whoever is
//! owed something gets it in one vectored write of slices of the feed and of its outbox, as much as
//! has come together since the last one. So a broadcast costs one append, whatever the number of
//! clients, and ten thousand stalled clients share one backlog.
//!
//! ## Code map
//!
//! - [`protocol`]: the wire, and nothing else. Lines, commands, replies; the one table of commands.
//! - [`hub`]: what commands mean. Clients, names, the feed, who is served next, who is too slow, how
//!   everybody leaves. Start at the call order in its module documentation.
//! - [`server`]: the one thread. The poll loop, listening, accepting, signals, descriptors.
//! - [`client`]: what `oyez` does, for people and for scripts. Its own module documentation has a map.
//! - `transport`, `tls`: the one seam at which a connection may be encrypted, and what is behind it.
//! - [`stream`], [`printable`], [`secret`], [`trust`], and the rooms for signals, arguments and small
//!   files: what both programs need.
//! - [`config`], [`limits`], [`logging`]: the server's command line; every bound in one place; a log that
//!   neither blocks nor ends the process.
//!
//! ## Architecture invariants
//!
//! 1. Arrows run one way: `bin → server → hub → protocol` and `bin → client → protocol`. `protocol`
//!    and `hub` do no I/O, read no clock and draw no randomness: times and the feed's id come in, what
//!    is to be logged goes out. `tests/house.rs` holds them to it.
//! 2. `handle_…` in; `poll_…`, `spans`, `consume`, `next_deadline` out; no callbacks. A command never
//!    writes to a socket. A span names the client's own bytes or a range of the feed; making a write
//!    of it is the server's business.
//! 3. The hub owns the clients in a slab. The server's connections live under the same keys, which
//!    are the poll's tokens. The ids that people see only count up, and are no keys.
//! 4. Every queue and buffer has a limit. The limits stand in [`limits`], and are held against each
//!    other at start; the log then says how much memory they allow.
//! 5. What one connection does wrong never reaches the loop's own result. Clients are closed after a
//!    batch of events, and accepted after that, so that no stale event meets a new client under an
//!    old key; queues and deadlines hold key and id, and drop what no longer matches.
//! 6. No turn of the loop is unbounded: there are budgets for reading, executing, appending, flushing
//!    and accepting, and a queue of who comes next. Who may not be read leaves the queue and is
//!    remembered as readable: nothing spins.
//! 7. Nothing ever begins inside a half-sent line.
//! 8. The crate forbids unsafe code; rustix serves the system calls that mio and the standard library
//!    lack.

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
