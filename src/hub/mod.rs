//! What commands mean: the clients, what each of them is owed, and whose turn it is.
//!
//! The hub performs **no I/O**, reads no clock and draws no randomness: there is no socket and no
//! `Instant::now()` in here. What happens is told to it, and what it wants done is asked of it, so
//! the same code runs under the poll loop, a simulation and a fuzzer.
//!
//! One turn of whoever drives it:
//! 1. [`begin_turn`](Hub::begin_turn) with the time, then [`handle_readable`](Hub::handle_readable)
//!    and [`handle_writable`](Hub::handle_writable) for what the sockets report;
//! 2. while [`poll_read`](Hub::poll_read) names a client, read from it once, and say what came: first
//!    [`handle_handshake_done`](Hub::handle_handshake_done), if it can be spoken to from now on, then
//!    [`handle_read`](Hub::handle_read);
//! 3. [`execute`](Hub::execute); and both again while it [`has_more_input`](Hub::has_more_input), so that
//!    what comes in at once goes out at once;
//! 4. while [`poll_flush`](Hub::poll_flush) names a client, write its [`spans`](Hub::spans) once, and
//!    say how that went: [`consume`](Hub::consume) or [`handle_write_failed`](Hub::handle_write_failed);
//! 5. while [`poll_close`](Hub::poll_close) names one, do that, and say so:
//!    [`handle_write_shutdown`](Hub::handle_write_shutdown), or [`remove`](Hub::remove) for those closed;
//! 6. [`connect`](Hub::connect) those that have come, and [`handle_handshake_done`](Hub::handle_handshake_done) those that can
//!    be spoken to at once; take what is for the log from [`poll_event`](Hub::poll_event);
//! 7. wait for sockets, not at all if the hub [`has_work`](Hub::has_work), else until its
//!    [`next_deadline`](Hub::next_deadline).

mod access;
mod client;
mod commands;
mod counters;
mod directory;
mod feed;
mod input;
mod leaving;
mod outbox;
mod output;
mod pacing;
mod report;
mod slow;
mod throttle;

use std::collections::{BTreeSet, VecDeque};

use slab::Slab;

pub use access::{AllowShutdown, Role, Secrets};
pub use client::{Origin, Reason};
pub use counters::Counters;
pub use feed::{Feed, Offset};
pub use leaving::{CloseStep, Disconnect};
pub use outbox::Span;
pub use report::{Event, LineTrace};
pub use slow::SlowConsumerPolicy;

use crate::limits::{FlushLimits, Limits};
use crate::protocol::{FeedId, Reply};
use client::{Client, Handle, Queued, Stage};
use directory::Directory;
use output::Lane;
use pacing::Pace;
use slow::Awaited;

/// What the hub is started with.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// See [`Limits`].
    pub limits: Limits,
    /// What clients have to know to come in, or to be admins.
    pub secrets: Secrets,
    /// Who may end the server by command.
    pub allow_shutdown: AllowShutdown,
    /// What becomes of clients that the feed would lap.
    pub slow_clients: SlowConsumerPolicy,
    /// Whether [`Hub::poll_event`] tells what was received and answered.
    pub trace_lines: bool,
}

/// The clients and the feed.
///
/// **Invariants** (see [`check_invariants`](Self::check_invariants))
/// - A client that is owed something which its socket would take is in a queue to be flushed, or
///   will be when the queue is next filled.
/// - A client is in each queue at most once, and in the directory exactly while it is inside.
/// - No outbox is larger than `max-outbox`.
#[derive(Debug)]
pub struct Hub {
    rules: HubConfig,
    now_ms: u64,
    left: Left,
    clients: Slab<Client>,
    directory: Directory,
    feed: Feed,
    counters: Counters,
    last_id: u64,
    is_shutting_down: bool,
    shutdown_requested: bool,
    /// Clients from which may be read.
    to_read: VecDeque<Handle>,
    /// The same, as long as nothing can be said to them.
    arriving: VecDeque<Handle>,
    /// Clients with lines to execute.
    to_run: VecDeque<Handle>,
    /// Clients whose next line is a broadcast that waits for the readers.
    held: VecDeque<Handle>,
    pace: Pace,
    /// For whom they wait, where they wait for whoever is slow.
    awaited: Option<Awaited>,
    /// Clients with a reply due, or far behind.
    to_flush_first: VecDeque<Handle>,
    /// The same, after their visit this turn.
    to_flush_next_turn: VecDeque<Handle>,
    /// This round's clients that are owed feed.
    to_flush: VecDeque<Handle>,
    /// Clients that are owed feed still, or again.
    to_flush_next_round: VecDeque<Handle>,
    /// The feed's head when the round began.
    round_head: Offset,
    /// Which of the two the client is from that is written to now.
    lane: Lane,
    to_close: VecDeque<(Handle, CloseStep)>,
    /// When a client's stage is over at the latest, in order.
    deadlines: BTreeSet<(u64, Handle)>,
    /// Until when those are not heard who have said too much, in order.
    throttled: BTreeSet<(u64, Handle)>,
    reports: VecDeque<Event>,
    /// The reply that is being encoded.
    line: Vec<u8>,
}

/// What the turn may still do: see [`TurnLimits`](crate::limits::TurnLimits).
#[derive(Debug)]
struct Left {
    passes: usize,
    read: usize,
    arrivals: usize,
    work: usize,
    append: usize,
    flush_first: FlushLimits,
    flush_feed: FlushLimits,
}

impl Left {
    fn of(limits: &Limits) -> Self {
        let turn = &limits.turn;
        Self {
            passes: turn.passes,
            read: turn.read,
            arrivals: turn.arrivals,
            work: turn.work,
            append: limits.append_per_turn(),
            flush_first: turn.flush_first,
            flush_feed: turn.flush_feed,
        }
    }
}

impl Hub {
    /// An empty hub. `feed` should differ from run to run.
    pub fn new(rules: HubConfig, feed: FeedId) -> Self {
        let limits = rules.limits;
        Self {
            rules,
            now_ms: 0,
            left: Left::of(&limits),
            clients: Slab::new(),
            directory: Directory::default(),
            feed: Feed::new(feed, limits.feed_size, limits.feed_chunk()),
            counters: Counters::default(),
            last_id: 0,
            is_shutting_down: false,
            shutdown_requested: false,
            to_read: VecDeque::new(),
            arriving: VecDeque::new(),
            to_run: VecDeque::new(),
            held: VecDeque::new(),
            pace: Pace::default(),
            awaited: None,
            to_flush_first: VecDeque::new(),
            to_flush_next_turn: VecDeque::new(),
            to_flush: VecDeque::new(),
            to_flush_next_round: VecDeque::new(),
            round_head: 0,
            lane: Lane::Feed,
            to_close: VecDeque::new(),
            deadlines: BTreeSet::new(),
            throttled: BTreeSet::new(),
            reports: VecDeque::new(),
            line: Vec::new(),
        }
    }

    /// Begins a turn, at so many milliseconds since the server's start.
    pub fn begin_turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.left = Left::of(&self.rules.limits);
        self.to_flush_first.append(&mut self.to_flush_next_turn);
        self.release_throttled();
        self.release_held();
    }

    /// Whether the next turn has something to do without waiting for a socket.
    pub fn has_work(&self) -> bool {
        let idle = self.to_read.is_empty()
            && self.arriving.is_empty()
            && self.to_run.is_empty()
            && self.to_flush_first.is_empty()
            && self.to_flush_next_turn.is_empty()
            && self.to_flush.is_empty()
            && self.to_flush_next_round.is_empty()
            && self.to_close.is_empty()
            && self.round_head == self.feed.head();
        !idle
    }

    /// Whether another connection may be let in: the server is neither full nor about to end.
    pub fn has_room(&self) -> bool {
        self.clients.len() < self.rules.limits.max_clients && !self.is_shutting_down
    }

    /// A connection was accepted, for which there was [room](Self::has_room): the key it goes by from
    /// now on. Nothing is said to it before [`handle_handshake_done`](Self::handle_handshake_done).
    pub fn connect(&mut self, origin: Origin) -> usize {
        debug_assert!(self.has_room(), "it was asked whether there is room");
        self.last_id += 1;
        self.counters.clients_total += 1;
        let id = self.last_id;
        let max_line = self.rules.limits.max_line;
        let client = Client::new(id, origin, self.now_ms, max_line, self.feed.head());
        let key = self.clients.insert(client);
        self.set_deadline(key, Some(self.now_ms + self.rules.limits.auth_timeout_ms));
        key
    }

    /// The client can be spoken to from now on.
    pub fn handle_handshake_done(&mut self, key: usize) {
        let closes_the_door = self.rules.secrets.closes_the_door();
        let client = &mut self.clients[key];
        if client.stage != Stage::Arriving {
            return;
        }
        client.stage = Stage::Outside;
        let welcome = Reply::Welcome {
            id: client.id,
            feed: self.feed.id(),
            seq: self.feed.newest_seq(),
            server: SERVER,
            hint: if closes_the_door { "auth <secret> first" } else { "help lists the commands" },
        };
        self.reply(key, welcome);
        if !closes_the_door {
            self.let_in(key);
        }
    }

    /// The client is here from now on, and gets what is broadcast.
    fn let_in(&mut self, key: usize) {
        let head = self.feed.head();
        let client = &mut self.clients[key];
        client.stage = Stage::Inside;
        client.outbox.follow(head);
        self.directory.enter(client.id, key);
        let idle_timeout_ms = self.rules.limits.idle_timeout_ms;
        self.set_deadline(key, idle_timeout_ms.map(|timeout_ms| self.now_ms + timeout_ms));
    }

    /// The id that people see for the client with this key.
    pub fn id(&self, key: usize) -> u64 {
        self.clients[key].id
    }

    /// How many connections there are, those that are leaving included.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is no connection left.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The feed that the spans speak of.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says how many lines of the log were dropped so far, for `stats`.
    pub fn set_log_dropped(&mut self, lines: u64) {
        self.counters.log_dropped = lines;
    }

    /// A connection was refused without being told of here.
    pub fn count_refused(&mut self) {
        self.counters.refused += 1;
    }

    /// Whether a client has asked for the server's end, and may.
    pub fn is_shutdown_requested(&self) -> bool {
        self.shutdown_requested
    }

    /// Panics if an invariant does not hold. For tests: it looks at everything.
    pub fn check_invariants(&self) {
        let head = self.feed.head();
        self.feed.check_invariants();
        let mut inside = 0;
        for (key, client) in &self.clients {
            client.outbox.check_invariants(head);
            assert!(client.outbox.size() <= self.rules.limits.max_outbox);
            assert!(
                client.outbox.oldest_needed(head).is_none_or(|needed| needed >= self.feed.oldest()),
                "client {} needs what the feed no longer has",
                client.id
            );
            let queued = client.queued;
            let flushed_soon = queued.to_flush_first || queued.to_flush;
            assert!(
                !client.can_be_flushed(head) || flushed_soon || self.round_head != head,
                "client {} is owed something and not queued",
                client.id
            );
            let executable = client.is_heard() && client.has_lines && self.has_reply_room(client);
            assert!(
                !executable || queued.to_run || queued.held || queued.throttled_until_ms.is_some(),
                "client {} has lines and is not queued",
                client.id
            );
            assert!(!client.wants_input() || queued.to_read, "client {} is not read", client.id);
            if let Some(deadline_ms) = client.deadline_ms {
                assert!(self.deadlines.contains(&(deadline_ms, Handle { key, id: client.id })));
            }
            if client.is_inside() {
                inside += 1;
                assert_eq!(self.directory.after(client.id - 1).next(), Some(key));
            }
        }
        assert_eq!(self.directory.len(), inside);
        self.check_queue(|queued| queued.to_read, &[&self.to_read, &self.arriving]);
        self.check_queue(|queued| queued.to_run, &[&self.to_run]);
        self.check_queue(|queued| queued.held, &[&self.held]);
        let throttled: VecDeque<Handle> =
            self.throttled.iter().map(|(_, handle)| *handle).collect();
        self.check_queue(|queued| queued.throttled_until_ms.is_some(), &[&throttled]);
        let with_deadline = self.clients.iter().filter(|(_, client)| client.deadline_ms.is_some());
        assert_eq!(self.deadlines.len(), with_deadline.count());
        let first = [&self.to_flush_first, &self.to_flush_next_turn];
        self.check_queue(|queued| queued.to_flush_first, &first);
        let feed = [&self.to_flush, &self.to_flush_next_round];
        self.check_queue(|queued| queued.to_flush, &feed);
    }

    /// Those who are marked as queued are in the queue, once, and so is nobody else who is there.
    fn check_queue(&self, is_queued: impl Fn(&Queued) -> bool, queues: &[&VecDeque<Handle>]) {
        let handles = queues.iter().flat_map(|queue| queue.iter());
        let is_current = |handle: &&Handle| {
            self.clients.get(handle.key).is_some_and(|client| client.id == handle.id)
        };
        let mut waiting: Vec<usize> = handles.filter(is_current).map(|handle| handle.key).collect();
        waiting.sort_unstable();
        let marked = self.clients.iter().filter(|(_, client)| is_queued(&client.queued));
        assert!(waiting.into_iter().eq(marked.map(|(key, _)| key)));
    }

    /// Says something to one client, behind all that it is owed so far.
    fn reply(&mut self, key: usize, reply: Reply<'_>) {
        let head = self.feed.head();
        let client = &mut self.clients[key];
        let before = client.outbox.size();
        self.line.clear();
        reply.encode(&mut self.line);
        client.outbox.reply(head, &self.line);
        let cost = client.outbox.size() - before;
        self.left.work = self.left.work.saturating_sub(cost);
        self.queue_flush(key);
    }

    /// So many bytes of the feed or of an outbox were looked at: that is work, too.
    fn charge_look(&mut self, bytes: usize) {
        self.left.work = self.left.work.saturating_sub(1 + bytes / LOOKED_AT_PER_WORK);
    }

    /// The client that a queue holds, if it is still the same one.
    fn client(&mut self, handle: Handle) -> Option<&mut Client> {
        self.clients.get_mut(handle.key).filter(|client| client.id == handle.id)
    }

    fn handle(&self, key: usize) -> Handle {
        Handle { key, id: self.clients[key].id }
    }
}

/// So many bytes that are looked at are as much work as one byte of a request.
const LOOKED_AT_PER_WORK: usize = 16;

/// What the server calls itself on the wire.
const SERVER: &str = concat!("oyezd/", env!("CARGO_PKG_VERSION"));
