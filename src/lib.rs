//! # oyez: broadcast lines to many programs
//!
//! `oyezd` is a line-broadcast server for netcat, scripts, devices and people, with one thread and
//! one poll loop. `oyez` is its command-line client. This page is a bird's-eye view of the code.
//!
//! ```text
//!  sockets ◄──► net ◄──► server ──► hub ──► protocol
//!                                    ├── registry   clients, ids, names, roles, rate limits
//!                                    ├── channel    the feed, its readers, backpressure
//!                                    ├── delivery   each client's pending output
//!                                    └── schedule   which client is next
//!
//!  sockets ◄──► net ◄──► client::connection ──► client::tasks, client::chat ◄──► terminal, pipes
//! ```
//!
//! The path of a request: the server reads from a socket and passes the bytes to
//! [`hub::Hub::handle_read`]. A [`protocol::LineBuffer`] splits them into lines, each line is
//! parsed as a [`protocol::Command`], and the hub executes it. It appends a broadcast to the
//! [`hub::Feed`], and a reply to the client's outbox. A flush sends a client's pending output with
//! one vectored write of slices from the feed and the outbox. A broadcast is therefore stored only
//! once, and ten thousand stalled clients share one backlog.
//!
//! ## Code map
//!
//! - [`protocol`]: the wire format (lines, commands and replies), and the table of all commands.
//! - [`hub`]: command semantics and client state: names, the feed, scheduling, backpressure, slow
//!   consumers, graceful shutdown. Start with the call order in its module documentation.
//! - [`server`]: the poll loop: listeners, sockets, signals, file descriptors, configuration,
//!   logging.
//! - [`client`]: the tasks of `oyez`, and the connection that they share. See the map in its module
//!   documentation.
//! - [`net`]: addresses, sockets, TLS, and signals as poll events. Both programs use it.
//! - [`read_outcome`]: the outcome of one read from a connection. `net` returns it; the hub and the
//!   client handle it.
//! - [`credentials`]: secrets, and the small files that hold secrets, keys and certificates.
//! - [`limits`]: every limit with its default, and their validation.
//! - [`cli`]: the command-line parser, and the text of `--help`.
//! - [`escape`]: escapes untrusted text before it is printed.
//! - [`display`]: which characters a terminal can display, and where lines wrap.
//!
//! ## Architecture invariants
//!
//! 1. Dependencies point one way: `bin → server → hub → protocol` and `bin → client → protocol`.
//!    `protocol` and `hub` do no I/O, read no clock and draw no randomness: the caller passes in
//!    the time and the feed's id, and polls for log events. `tests/house.rs` enforces this and
//!    rejects import cycles.
//! 2. The caller reports to the hub with `handle_…` and `consume`, and polls it for work with
//!    `poll_…`, `spans` and `next_deadline`. There are no callbacks. A command never writes to a
//!    socket. A span is a client's own bytes or a range of the feed; the server turns spans into a
//!    write.
//! 3. The hub owns the clients in a slab. The server keeps each connection under the same key,
//!    which is also its poll token. Client ids, which users see, are not keys: they count up and
//!    are never reused.
//! 4. Every queue and buffer has a limit. [`limits`] defines the limits and validates them together
//!    at startup; the server then logs the worst-case memory use.
//! 5. A connection's failure never propagates to the event loop. The server closes connections
//!    after each batch of events, and accepts new ones after that, so that no stale event reaches a
//!    new client under a reused key. Queues hold both key and id, and skip clients that are gone.
//! 6. Every turn of the loop is bounded: reading, executing, appending, flushing and accepting each
//!    have a budget, and work beyond it waits for the next turn. A client that must not be read
//!    leaves the read queue but keeps its readiness flag, so the loop never spins.
//! 7. Output is never inserted into a partially sent line.
//! 8. The crate forbids unsafe code; rustix provides the system calls that mio and the standard
//!    library lack.

pub mod cli;
pub mod client;
pub mod credentials;
pub mod display;
pub mod escape;
pub mod hub;
pub mod limits;
pub mod net;
pub mod protocol;
pub mod read_outcome;
pub mod server;
#[cfg(any(test, fuzzing))]
pub mod testing;
