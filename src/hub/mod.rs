//! Command semantics and client state: names, the feed, scheduling, slow consumers, shutdown.
//!
//! The hub performs **no I/O**, reads no clock and draws no randomness: there is no socket and no
//! `Instant::now()` here. The caller passes in time and input, and polls for work, so the same code
//! runs under the poll loop, a simulation and a fuzzer.
//!
//! Each turn, the caller must:
//! 1. call [`begin_turn`](Hub::begin_turn) with the time, then
//!    [`handle_readable`](Hub::handle_readable), [`handle_writable`](Hub::handle_writable) and
//!    [`handle_hangup`](Hub::handle_hangup) for the events that the poll reported;
//! 2. while [`poll_read`](Hub::poll_read) returns a client, read from its connection once; call
//!    [`handle_handshake_done`](Hub::handle_handshake_done) if that completed its handshake, then
//!    [`handle_read`](Hub::handle_read);
//! 3. call [`execute`](Hub::execute), and repeat from 2 while the hub
//!    [`has_more_input`](Hub::has_more_input), so that replies to pipelined requests are sent
//!    together;
//! 4. while [`poll_flush`](Hub::poll_flush) returns a client, write its [`spans`](Hub::spans) once,
//!    then call [`consume`](Hub::consume) or [`handle_write_failed`](Hub::handle_write_failed);
//! 5. while [`poll_close`](Hub::poll_close) returns a client, take the returned step, then call
//!    [`handle_write_shutdown`](Hub::handle_write_shutdown) or [`remove`](Hub::remove);
//! 6. [`connect`](Hub::connect) new connections, and call
//!    [`handle_handshake_done`](Hub::handle_handshake_done) for those without TLS; log the events
//!    that [`poll_event`](Hub::poll_event) returns;
//! 7. wait for socket events until [`next_deadline`](Hub::next_deadline), or not at all if the hub
//!    [`has_work`](Hub::has_work).
//!
//! Files with an `impl Hub` coordinate the hub's parts. The parts are in directories, and do not
//! import `Hub`: `registry` (the clients), `channel` (the feed and backpressure), `delivery`
//! (pending output) and `schedule` (which client is next).

mod access;
mod append;
mod channel;
mod closing;
mod commands;
mod counters;
mod delivery;
mod event;
mod execute;
mod flush;
mod handle;
mod invariants;
mod rate_limiting;
mod registry;
mod schedule;
mod trace;

use std::collections::VecDeque;

use slab::Slab;

pub use channel::backpressure::SlowConsumerPolicy;
pub use channel::feed::{Feed, Offset};
pub use counters::Counters;
pub use delivery::outbox::Span;
pub use event::{CloseStep, Disconnect, Event, LineTrace, RateLimit, Reason};
pub use registry::client::Origin;
pub use registry::role::{AllowShutdown, Role, Secrets};

use crate::limits::{Limits, REPLAY_SOURCES};
use crate::protocol::{FeedId, Reply};
use channel::Channel;
use channel::backpressure::Backpressure;
use handle::Handle;
use registry::client::{Client, Stage};
use registry::directory::Directory;
use registry::rate_limit::ReplayWindow;
use schedule::budget::TurnBudget;
use schedule::flush_schedule::FlushSchedule;
use schedule::ready_queue::ReadyQueue;
use schedule::timers::Timers;

/// How the server identifies itself in `welcome`.
const SERVER: &str = concat!("oyezd/", env!("CARGO_PKG_VERSION"));

/// The configuration of a hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The server's limits.
    pub limits: Limits,
    /// The secrets that clients authenticate with.
    pub secrets: Secrets,
    /// Who may use the `shutdown` command.
    pub allow_shutdown: AllowShutdown,
    /// The policy for slow consumers.
    pub slow_clients: SlowConsumerPolicy,
    /// Whether [`Hub::poll_event`] returns a [`LineTrace`] for every line that is not blank.
    pub trace_lines: bool,
}

/// The server's clients, and the feed that they share.
///
/// **Invariants** (see [`check_invariants`](Self::check_invariants))
/// - Every client with pending output and a writable socket is in a flush queue, or joins one when
///   the next pass begins.
/// - The directory contains exactly the active clients.
/// - A client is in each queue at most once, except in `to_close`.
/// - No outbox is larger than [`max_outbox`](Limits::max_outbox).
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    now_ms: u64,
    budget: TurnBudget,
    clients: Slab<Client>,
    last_id: u64,
    directory: Directory,
    channel: Channel,
    counters: Counters,
    shutdown: Shutdown,
    /// Clients to read from, except those in `handshakes`.
    to_read: ReadyQueue,
    /// Clients to read from whose TLS handshake is not complete. Handshakes are expensive, so they
    /// have a separate budget.
    handshakes: ReadyQueue,
    /// Clients in [`InputState::Runnable`](registry::client::InputState::Runnable), in FIFO order.
    runnable: VecDeque<Handle>,
    /// Clients in [`InputState::AwaitingReaders`](registry::client::InputState::AwaitingReaders),
    /// in FIFO order.
    blocked_publishers: VecDeque<Handle>,
    flush: FlushSchedule,
    to_close: VecDeque<(Handle, CloseStep)>,
    /// The deadline of each client's current stage.
    deadlines: Timers,
    /// Clients in [`InputState::RateLimited`](registry::client::InputState::RateLimited).
    rate_limited: Timers,
    /// What each source has replayed. Indexed by [`Origin::source`], modulo the length.
    sources: Box<[ReplayWindow]>,
    events: VecDeque<Event>,
    /// The reply being encoded.
    line: Vec<u8>,
    turns: u64,
}

/// The progress of a graceful shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    /// A client with permission sent `shutdown`.
    Requested,
    /// Every client is closing, and new connections are refused.
    Begun,
}

impl Hub {
    /// Creates an empty hub. `feed` identifies the feed, and should differ from run to run.
    pub fn new(config: HubConfig, feed: FeedId) -> Self {
        let limits = config.limits;
        let feed = Feed::new(feed, limits.feed_size, limits.feed_chunk());
        let backpressure = Backpressure::new(config.slow_clients, &limits);
        Self {
            config,
            now_ms: 0,
            budget: TurnBudget::new(&limits),
            clients: Slab::new(),
            last_id: 0,
            directory: Directory::default(),
            channel: Channel::new(feed, backpressure),
            counters: Counters::default(),
            shutdown: Shutdown::No,
            to_read: ReadyQueue::default(),
            handshakes: ReadyQueue::default(),
            runnable: VecDeque::new(),
            blocked_publishers: VecDeque::new(),
            flush: FlushSchedule::default(),
            to_close: VecDeque::new(),
            deadlines: Timers::default(),
            rate_limited: Timers::default(),
            sources: Box::new([ReplayWindow::default(); REPLAY_SOURCES]),
            events: VecDeque::new(),
            line: Vec::new(),
            turns: 0,
        }
    }

    /// Begins a turn. `now_ms` is the time in milliseconds since the server started.
    pub fn begin_turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.budget = TurnBudget::new(&self.config.limits);
        self.flush.begin_turn();
        self.release_rate_limited();
        self.release_blocked_publishers();
        self.debug_check_turn();
    }

    /// Returns whether the next turn has work to do without waiting for a socket event.
    pub fn has_work(&self) -> bool {
        let is_idle = self.to_read.is_empty()
            && self.handshakes.is_empty()
            && self.runnable.is_empty()
            && self.to_close.is_empty()
            && self.flush.is_idle(self.head());
        !is_idle
    }

    /// The time by which [`begin_turn`](Self::begin_turn) must run next, in milliseconds since the
    /// server started, if there is a deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        let backpressure = (!self.blocked_publishers.is_empty())
            .then(|| self.channel.backpressure.next_deadline(self.clients.len()));
        [self.deadlines.next_ms(), self.rate_limited.next_ms(), backpressure]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns whether another connection may be accepted: the server is neither full nor shutting
    /// down.
    pub fn has_room(&self) -> bool {
        self.clients.len() < self.config.limits.max_clients && self.shutdown != Shutdown::Begun
    }

    /// Adds an accepted connection and returns its key. The caller must check
    /// [`has_room`](Self::has_room) first. Nothing is sent before
    /// [`handle_handshake_done`](Self::handle_handshake_done).
    pub fn connect(&mut self, origin: Origin) -> usize {
        debug_assert!(self.has_room(), "the caller checks has_room");
        self.counters.clients_total += 1;
        let limits = &self.config.limits;
        let timeout_ms = limits.auth_timeout_ms;
        self.last_id += 1;
        let entry = self.clients.vacant_entry();
        let handle = Handle { id: self.last_id, key: entry.key() };
        entry.insert(Client::new(handle, origin, self.now_ms, limits.max_line));
        self.set_deadline(handle.key, Some(self.now_ms + timeout_ms));
        handle.key
    }

    /// Records that the client's TLS handshake is complete, or that it needs none. Calling this
    /// again does nothing.
    pub fn handle_handshake_done(&mut self, key: usize) {
        let requires_auth = self.config.secrets.requires_auth();
        let client = &mut self.clients[key];
        if client.stage != Stage::Handshaking {
            return;
        }
        client.stage = Stage::Unauthenticated;
        let welcome = Reply::Welcome {
            id: client.id,
            feed: self.channel.feed.id(),
            seq: self.channel.feed.newest_seq(),
            server: SERVER,
            hint: if requires_auth { "auth <secret> first" } else { "help lists the commands" },
        };
        self.reply(key, welcome);
        if !requires_auth {
            self.activate(key);
        }
    }

    /// Activates the client: it then receives broadcasts, is listed and can choose a name.
    fn activate(&mut self, key: usize) {
        let head = self.head();
        let client = &mut self.clients[key];
        client.stage = Stage::Active;
        client.outbox.follow(head);
        self.directory.insert(client.id, key);
        self.channel.members.insert(key);
        let idle_timeout_ms = self.config.limits.idle_timeout_ms;
        self.set_deadline(key, idle_timeout_ms.map(|timeout_ms| self.now_ms + timeout_ms));
    }

    /// The id of the client with this key.
    pub fn id(&self, key: usize) -> u64 {
        self.clients[key].id
    }

    /// The number of connections, including closing ones.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Returns whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The feed that [`Span::Feed`] refers to.
    pub fn feed(&self) -> &Feed {
        &self.channel.feed
    }

    /// The counters for `stats`.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sets the number of dropped log lines, for `stats`.
    pub fn set_log_dropped(&mut self, lines: u64) {
        self.counters.log_dropped = lines;
    }

    /// Counts a connection that the server refused.
    pub fn count_refused(&mut self) {
        self.counters.refused += 1;
    }

    /// Returns whether a client with permission has sent `shutdown`, and the shutdown has not
    /// begun.
    pub fn is_shutdown_requested(&self) -> bool {
        self.shutdown == Shutdown::Requested
    }

    /// Returns the next event for the log, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues a reply to one client, behind its pending output.
    fn reply(&mut self, key: usize, reply: Reply<'_>) {
        self.queue_output(key, |line| reply.encode(line));
    }

    /// Queues the bytes that `encode` appends to a buffer, in order with the replies.
    fn queue_output(&mut self, key: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let head = self.head();
        let outbox = &mut self.clients[key].outbox;
        let size_before = outbox.size();
        self.line.clear();
        encode(&mut self.line);
        outbox.reply(head, &self.line);
        self.budget.charge_work(outbox.size() - size_before);
        self.queue_flush(key);
    }

    fn head(&self) -> Offset {
        self.channel.feed.head()
    }
}
