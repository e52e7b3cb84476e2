//! A hub and its clients under a random schedule, checked against the [model](super::model).
//!
//! # Grammar
//!
//! A run is a setup and a schedule. Both are generated from one stream of [choices](Choices): a
//! seed's random numbers, or the bytes of a fuzzer's input. `tests/simulation.rs` and the fuzz
//! target `hub` therefore share one grammar, one model and one set of checks.
//!
//! ```text
//! setup    = small limits, slow-consumer policy, secrets, who may shut down   (fn setup)
//! schedule = action, action, …                                                (ACTIONS)
//! action   = connect | finish a handshake | send lines | send bytes | read | half-close
//!          | cut off the input | break the connection | wait | run turns | run until idle
//!          | shut down
//! lines    = 1 to 100 copies of one request, valid or not                     (COPIES, LINES)
//! bytes    = partial lines, foreign protocols, overlong lines, Telnet commands,
//!            byte order marks, random bytes                                   (fn bytes)
//! ```
//!
//! An action refers to its client by number, modulo the number of connections so far. A schedule
//! therefore stays valid when other actions are removed. The constants on the right hold the
//! weights.
//!
//! # Checks
//!
//! During the schedule:
//! - the hub's own invariants hold: [`Hub::check_invariants`](oyez::hub::Hub::check_invariants);
//! - each client receives exactly what the model expects, in order, and no line that is too long;
//! - each close has a valid reason, and lost output is reported with the disconnect;
//! - when a reader is evicted as too slow, or skipped for the first time, it is replaying or its
//!   socket accepts no bytes;
//! - the hub has room for another client unless it is full or shutting down, and ids count up;
//! - the hub does not spin: while it has work, its turns make progress.
//!
//! At the end, every socket accepts everything and time passes. Then all input must have been
//! executed and all output delivered, every client that half-closes must be removed, and the
//! counters must agree with the model.

use std::collections::BTreeMap;
use std::fmt;

use oyez::credentials::secret::Secret;
use oyez::hub::{AllowShutdown, Event, HubConfig, Origin, Reason, Secrets, SlowConsumerPolicy};
use oyez::limits::{FlushLimits, Limits};

use super::driver::{Driver, UNLIMITED};
use super::model::{ADMIN_SECRET, FEED, Model, Stage, USER_SECRET};
use super::rng::Rng;

/// The source of choices.
pub enum Choices<'a> {
    Seed(Rng),
    /// A fuzzer's input. Once it is used up, every choice is 0.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// Returns a number in `0..end`.
    fn below(&mut self, end: usize) -> usize {
        match self {
            Self::Seed(rng) => rng.below(end),
            Self::Bytes(bytes) => {
                let (taken, rest) = bytes.split_at(bytes.len().min(if end > 256 { 2 } else { 1 }));
                *bytes = rest;
                taken.iter().fold(0, |number, byte| number * 256 + usize::from(*byte)) % end
            }
        }
    }

    /// Returns a number in `1..=max`.
    fn up_to(&mut self, max: usize) -> usize {
        1 + self.below(max)
    }

    /// Returns true with probability 1/`n`.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Returns one of the values, chosen by weight.
    fn weighted<T: Copy>(&mut self, values: &[(usize, T)]) -> T {
        let mut left = self.below(values.iter().map(|(weight, _)| weight).sum());
        for &(weight, value) in values {
            match left.checked_sub(weight) {
                None => return value,
                Some(rest) => left = rest,
            }
        }
        unreachable!("the choice is below the sum of the weights")
    }

    fn are_used_up(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }
}

/// The configuration of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    limits: Limits,
    slow_clients: SlowConsumerPolicy,
    has_user_secret: bool,
    has_admin_secret: bool,
    allow_shutdown: AllowShutdown,
}

/// One step of a schedule. `client` modulo the number of connections so far is the client's number.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    Connect {
        room: usize,
        is_local: bool,
        has_handshake: bool,
    },
    FinishHandshake {
        client: usize,
    },
    Send {
        client: usize,
        line: String,
        copies: usize,
    },
    SendBytes {
        client: usize,
        bytes: Vec<u8>,
    },
    /// The client's socket accepts `room` more bytes, and from now on at most `max_write` per
    /// write.
    Read {
        client: usize,
        room: usize,
        max_write: Option<usize>,
    },
    HalfClose {
        client: usize,
    },
    /// The client closes its side without the close_notify of TLS.
    Truncate {
        client: usize,
    },
    Break {
        client: usize,
    },
    Wait {
        ms: u64,
    },
    Turns {
        count: usize,
    },
    /// Runs turns until the hub has no work.
    Settle,
    Shutdown,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { room, is_local, has_handshake } => {
                let origin = if *is_local { "local" } else { "remote" };
                let handshake = if *has_handshake { ", with a handshake" } else { "" };
                write!(f, "connect: {origin}, room for {room} bytes{handshake}")
            }
            Self::FinishHandshake { client } => write!(f, "client {client} finishes its handshake"),
            Self::Send { client, line, copies: 1 } => write!(f, "client {client} sends {line:?}"),
            Self::Send { client, line, copies } => {
                write!(f, "client {client} sends {line:?} {copies} times")
            }
            Self::SendBytes { client, bytes } => {
                write!(f, "client {client} sends the bytes \"{}\"", bytes.escape_ascii())
            }
            Self::Read { client, room, max_write: None } => {
                write!(f, "client {client} reads {room} bytes")
            }
            Self::Read { client, room, max_write: Some(max) } => {
                write!(f, "client {client} reads {room} bytes, at most {max} at a time")
            }
            Self::HalfClose { client } => write!(f, "client {client} half-closes"),
            Self::Truncate { client } => write!(f, "the input of client {client} is cut off"),
            Self::Break { client } => write!(f, "client {client} loses its connection"),
            Self::Wait { ms } => write!(f, "{ms} ms pass"),
            Self::Turns { count } => write!(f, "{count} turns"),
            Self::Settle => write!(f, "turns until the hub has no work"),
            Self::Shutdown => write!(f, "the server shuts down"),
        }
    }
}

impl Setup {
    /// A server with the smallest feed of [`setup`], without secrets and a rate limit, for a fixed
    /// schedule. Only a reader that refuses bytes is evicted.
    pub fn fixed() -> Self {
        let limits = Limits::default();
        let max_outbox = 2 * limits.reply_room();
        Self {
            limits: Limits {
                max_line: 100,
                feed_size: 1024,
                max_outbox,
                reader_grace_ms: 0,
                ..limits
            },
            slow_clients: SlowConsumerPolicy::Disconnect,
            has_user_secret: false,
            has_admin_secret: false,
            allow_shutdown: AllowShutdown::Nobody,
        }
    }
}

/// Generates a setup whose limits are so small that schedules often reach them.
pub fn setup(choices: &mut Choices<'_>) -> Setup {
    let mut limits = Limits::default();
    limits.max_clients = 1 + choices.up_to(9);
    limits.max_line = 60 + choices.below(100);
    limits.feed_size = 1024 << choices.below(3);
    limits.replays_per_source = 2 * limits.feed_size as u64;
    limits.max_outbox = limits.reply_room() + 200 + choices.below(4000);
    limits.drain_timeout_ms = choices.up_to(3000) as u64;
    limits.auth_timeout_ms = choices.up_to(3000) as u64;
    limits.stall_timeout_ms = choices.up_to(3000) as u64;
    limits.reader_grace_ms = choices.below(200) as u64;
    limits.idle_timeout_ms = choices.one_in(4).then(|| 500 + choices.below(3000) as u64);
    limits.rate_limit = choices.one_in(4).then(|| choices.up_to(50) as u32);
    limits.turn.read = choices.up_to(500);
    limits.turn.handshake_reads = choices.up_to(3);
    limits.turn.work = choices.up_to(2000);
    limits.turn.work_per_client = choices.up_to(500);
    let mut flush = || FlushLimits { bytes: choices.up_to(500), clients: choices.up_to(4) };
    (limits.turn.flush_priority, limits.turn.flush_bulk) = (flush(), flush());
    limits.turn.flush_replay = flush();
    Setup {
        limits,
        slow_clients: choices.one_of(&[
            SlowConsumerPolicy::Disconnect,
            SlowConsumerPolicy::Skip,
            SlowConsumerPolicy::Block,
        ]),
        has_user_secret: choices.one_in(4),
        has_admin_secret: choices.one_in(3),
        allow_shutdown: choices.one_of(&[
            AllowShutdown::Nobody,
            AllowShutdown::Local,
            AllowShutdown::Admin,
        ]),
    }
}

/// Generates a schedule of at most `max_len` steps.
pub fn schedule(choices: &mut Choices<'_>, max_len: usize) -> Vec<Op> {
    let len = choices.up_to(max_len);
    let mut ops = vec![];
    while ops.len() < len && !choices.are_used_up() {
        ops.push(op(choices));
    }
    ops
}

#[derive(Clone, Copy)]
enum Action {
    Connect,
    FinishHandshake,
    Send,
    SendBytes,
    Read,
    HalfClose,
    Truncate,
    Break,
    ShortWait,
    LongWait,
    Settle,
    Shutdown,
    Turns,
}

/// The weight of each action.
const ACTIONS: [(usize, Action); 13] = [
    (4, Action::Connect),
    (1, Action::FinishHandshake),
    (17, Action::Send),
    (2, Action::SendBytes),
    (6, Action::Read),
    (1, Action::HalfClose),
    (1, Action::Truncate),
    (1, Action::Break),
    (2, Action::ShortWait),
    (1, Action::LongWait),
    (2, Action::Settle),
    (1, Action::Shutdown),
    (3, Action::Turns),
];

/// One in this many shutdown actions shuts the server down. The others run turns instead.
const SHUTDOWN_ONE_IN: usize = 8;

fn op(choices: &mut Choices<'_>) -> Op {
    let client = choices.below(10);
    match choices.weighted(&ACTIONS) {
        Action::Connect => Op::Connect {
            room: room(choices),
            is_local: choices.one_in(2),
            has_handshake: choices.one_in(6),
        },
        Action::FinishHandshake => Op::FinishHandshake { client },
        Action::Send => {
            let copies = match choices.weighted(&COPIES) {
                Copies::Flood => choices.up_to(100),
                Copies::Few => choices.up_to(10),
                Copies::One => 1,
            };
            Op::Send { client, line: line(choices), copies }
        }
        Action::SendBytes => Op::SendBytes { client, bytes: bytes(choices) },
        Action::Read => {
            let max = if choices.one_in(4) { 4 } else { 400 };
            let room = room(choices);
            let max_write = Some(choices.up_to(max)).filter(|max_write| *max_write < 300);
            Op::Read { client, room, max_write }
        }
        Action::HalfClose => Op::HalfClose { client },
        Action::Truncate => Op::Truncate { client },
        Action::Break => Op::Break { client },
        Action::ShortWait => Op::Wait { ms: choices.below(60) as u64 },
        Action::LongWait => Op::Wait { ms: choices.below(4000) as u64 },
        Action::Settle => Op::Settle,
        Action::Shutdown if choices.one_in(SHUTDOWN_ONE_IN) => Op::Shutdown,
        Action::Shutdown | Action::Turns => Op::Turns { count: choices.up_to(5) },
    }
}

/// Returns how many bytes a socket accepts before it blocks: a few, many, or all.
fn room(choices: &mut Choices<'_>) -> usize {
    match choices.weighted(&[(1, Some(300)), (1, Some(3000)), (2, None)]) {
        Some(end) => choices.below(end),
        None => UNLIMITED,
    }
}

#[derive(Clone, Copy)]
enum Copies {
    Flood,
    Few,
    One,
}

/// The weights of sending a line many times, a few times or once.
const COPIES: [(usize, Copies); 3] = [(1, Copies::Flood), (4, Copies::Few), (7, Copies::One)];

#[derive(Clone, Copy)]
enum Kind {
    Say,
    EmptyBroadcast,
    Ping,
    UpperCasePing,
    SendToId,
    SendToName,
    Name,
    Clients,
    Quiet,
    Listen,
    History,
    Resume,
    ResumeThisFeed,
    LongRepliesAndErrors,
    Auth,
    QuitOrShutdown,
    BlankOrMalformed,
    TooLong,
}

/// The weight of each kind of request.
const LINES: [(usize, Kind); 18] = [
    (10, Kind::Say),
    (1, Kind::EmptyBroadcast),
    (2, Kind::Ping),
    (1, Kind::UpperCasePing),
    (1, Kind::SendToId),
    (1, Kind::SendToName),
    (1, Kind::Name),
    (1, Kind::Clients),
    (1, Kind::Quiet),
    (1, Kind::Listen),
    (2, Kind::History),
    (1, Kind::Resume),
    (1, Kind::ResumeThisFeed),
    (1, Kind::LongRepliesAndErrors),
    (2, Kind::Auth),
    (1, Kind::QuitOrShutdown),
    (1, Kind::BlankOrMalformed),
    (1, Kind::TooLong),
];

fn line(choices: &mut Choices<'_>) -> String {
    let text = "x".repeat(choices.up_to(70));
    let secret = choices.one_of(&[USER_SECRET, ADMIN_SECRET, "guess"]);
    let number = choices.below(40);
    let name = choices.one_of(&["al", "Bob", "AL", "c"]);
    match choices.weighted(&LINES) {
        Kind::Say => format!("say {text}"),
        Kind::EmptyBroadcast => "broadcast ".to_owned(),
        Kind::Ping => format!("ping {number}"),
        Kind::UpperCasePing => "PING".to_owned(),
        Kind::SendToId => format!("send {} {text}", 1 + number % 8),
        Kind::SendToName => format!("send {name} {text}"),
        Kind::Name => format!("name {name}"),
        Kind::Clients if number.is_multiple_of(2) => "clients".to_owned(),
        Kind::Clients => format!("clients {}", number % 8),
        Kind::Quiet => "quiet".to_owned(),
        Kind::Listen => "listen".to_owned(),
        Kind::History => format!("history {number}"),
        Kind::Resume => format!("resume {number}"),
        Kind::ResumeThisFeed => format!("resume {number} {FEED}"),
        Kind::LongRepliesAndErrors => {
            ["stats", "help", "resume 1 00000001", "nonsense"][number % 4].to_owned()
        }
        Kind::Auth => format!("auth {secret}"),
        // `shutdown` for 8 of the 40 numbers.
        Kind::QuitOrShutdown => if number < 8 { "shutdown" } else { "quit" }.to_owned(),
        Kind::BlankOrMalformed => ["", " \t", "quit now", "say \u{1b}[2J"][number % 4].to_owned(),
        Kind::TooLong => "y".repeat(100 + number),
    }
}

/// Telnet commands, parts of some, and lines with some.
const TELNET: [&[u8]; 12] = [
    b"\xff\xf4\xff\xfd\x06",
    b"\xff\xfb\x1f\xff\xfb\x20ping 1\r\n",
    b"say in\xff\xfd\x06side\n",
    b"\xff\xfd\x03",
    b"\xff\xfc\x01\xff\xfe\x01\xff\xf1\xff\xf6",
    b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0",
    b"\xff\xfa\x18",
    b"\xff\xf0",
    b"\xff\xfd",
    b"\xff",
    b"\xff\xfd\n",
    b"\n",
];

fn bytes(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(9) {
        0 => b"say cut of".to_vec(),
        1 => b"f\r\n".to_vec(),
        2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\nshutdown\n".to_vec(),
        3 => b"\x16\x03\x01\n".to_vec(),
        4 => vec![b'z'; choices.below(400)],
        5 => "\u{feff}".as_bytes()[..choices.up_to(3)].to_vec(),
        6 | 7 => choices.one_of(&TELNET).repeat(choices.up_to(4)),
        _ => (0..choices.below(20)).map(|_| choices.below(256) as u8).collect(),
    }
}

/// The maximum length of a schedule from a fuzzer's input, in steps.
const MAX_FUZZED_LEN: usize = 200;

/// Runs the schedule that a fuzzer's input encodes. If it fails, prints the schedule.
pub fn run_bytes(data: &[u8]) {
    struct PrintOnPanic<'a>(&'a Setup, &'a [Op]);
    impl Drop for PrintOnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{:?}\n{}", self.0, format_schedule(self.1));
            }
        }
    }
    let mut choices = Choices::Bytes(data);
    let setup = setup(&mut choices);
    let ops = schedule(&mut choices, MAX_FUZZED_LEN);
    let _print = PrintOnPanic(&setup, &ops);
    run(&setup, &ops, |_| {});
}

/// Formats a schedule, one step per line.
pub fn format_schedule(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("  {op:?}\n")).collect()
}

/// Runs a schedule, then closes every client. Panics if a check fails. Before each step, calls
/// `on_step` with its index.
pub fn run(setup: &Setup, ops: &[Op], on_step: impl FnMut(usize)) {
    World::new(setup).run(ops, on_step);
}

/// Runs a schedule and returns everything that happened: steps, events, output and disconnects.
pub fn trace(setup: &Setup, ops: &[Op]) -> String {
    let mut world = World::new(setup);
    world.trace = Some(String::new());
    world.run(ops, |_| {});
    world.trace.unwrap_or_default()
}

/// A hub with simulated clients, and the model that it is checked against.
struct World {
    driver: Driver,
    model: Model,
    max_clients: usize,
    /// The key and id of every client so far, in order. A later client may have the same key.
    clients: Vec<(usize, u64)>,
    trace: Option<String>,
}

impl World {
    fn new(setup: &Setup) -> Self {
        let secret = |is_set: bool, text| if is_set { Secret::new(text) } else { None };
        let config = HubConfig {
            limits: setup.limits,
            secrets: Secrets {
                user: secret(setup.has_user_secret, USER_SECRET),
                admin: secret(setup.has_admin_secret, ADMIN_SECRET),
            },
            allow_shutdown: setup.allow_shutdown,
            slow_clients: setup.slow_clients,
            trace_lines: true,
        };
        Self {
            driver: Driver::with_config(config, FEED),
            model: Model {
                max_line: setup.limits.max_line,
                slow_clients: setup.slow_clients,
                has_user_secret: setup.has_user_secret,
                has_admin_secret: setup.has_admin_secret,
                allow_shutdown: setup.allow_shutdown,
                has_rate_limit: setup.limits.rate_limit.is_some(),
                feed: vec![],
                oldest: 1..=1,
                clients: BTreeMap::new(),
                is_shutting_down: false,
            },
            max_clients: setup.limits.max_clients,
            clients: vec![],
            trace: None,
        }
    }

    fn run(&mut self, ops: &[Op], mut on_step: impl FnMut(usize)) {
        for (step, op) in ops.iter().enumerate() {
            on_step(step);
            self.record(|| format!("{op:?}"));
            self.apply(op);
        }
        on_step(ops.len());
        self.finish();
    }

    fn record(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(&line());
            trace.push('\n');
        }
    }

    /// Returns the key of a client, if it is still connected.
    fn key(&self, client: usize) -> Option<usize> {
        let (key, id) = self.clients[client.checked_rem(self.clients.len())?];
        (self.driver.ids.get(&key) == Some(&id)).then_some(key)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Connect { room, is_local, has_handshake } => {
                self.connect(*room, *is_local, *has_handshake);
            }
            Op::Wait { ms } => {
                self.driver.now_ms += ms;
                self.turn();
            }
            Op::Turns { count } => {
                for _ in 0..*count {
                    self.turn();
                }
            }
            Op::Settle => self.settle(),
            Op::Shutdown => self.shut_down(),
            Op::FinishHandshake { client }
            | Op::Send { client, .. }
            | Op::SendBytes { client, .. }
            | Op::Read { client, .. }
            | Op::HalfClose { client }
            | Op::Truncate { client }
            | Op::Break { client } => {
                if let Some(key) = self.key(*client) {
                    self.apply_to_client(key, op);
                }
            }
        }
    }

    fn apply_to_client(&mut self, key: usize, op: &Op) {
        let id = self.driver.ids[&key];
        let socket = self.driver.socket(key);
        match op {
            Op::FinishHandshake { .. } if !socket.is_broken => self.finish_handshake(key),
            Op::Send { line, copies, .. } if !socket.eof => {
                self.driver.queue(key, &format!("{line}\n").repeat(*copies));
            }
            Op::SendBytes { bytes, .. } if !socket.eof => {
                socket.input.extend_from_slice(bytes);
                self.driver.hub.handle_readable(key);
            }
            Op::Read { room, max_write, .. } => {
                socket.room = socket.room.saturating_add(*room);
                socket.max_write = *max_write;
                if socket.room > 0 {
                    self.driver.hub.handle_writable(key);
                }
            }
            Op::HalfClose { .. } => {
                socket.eof = true;
                self.driver.hub.handle_readable(key);
            }
            Op::Truncate { .. } if !socket.eof => {
                (socket.eof, socket.is_truncated) = (true, true);
                self.driver.hub.handle_readable(key);
            }
            Op::Break { .. } => {
                (socket.eof, socket.is_broken) = (true, true);
                self.model.client(id).write_closed = true;
                self.driver.hub.handle_readable(key);
                self.driver.hub.handle_writable(key);
                self.driver.hub.handle_hangup(key);
            }
            // A half-closed client sends nothing, and a broken connection completes no handshake.
            _ => {}
        }
    }

    fn connect(&mut self, room: usize, is_local: bool, has_handshake: bool) {
        let has_room = self.driver.ids.len() < self.max_clients && !self.model.is_shutting_down;
        assert_eq!(
            self.driver.hub.has_room(),
            has_room,
            "whether there is room for another client"
        );
        if !has_room {
            return;
        }
        let source = self.clients.len() as u16 % 2;
        let key = self.driver.accept(Origin { is_local, source }, room);
        let id = self.driver.ids[&key];
        assert_eq!(id, self.clients.len() as u64 + 1, "ids must count up");
        self.clients.push((key, id));
        self.model.connect(id, is_local);
        if !has_handshake {
            self.finish_handshake(key);
        }
    }

    fn finish_handshake(&mut self, key: usize) {
        let id = self.driver.ids[&key];
        if self.model.client(id).stage == Stage::Handshaking {
            self.driver.finish_handshake(key);
            self.model.finish_handshake(id);
        }
    }

    fn shut_down(&mut self) {
        if !std::mem::replace(&mut self.model.is_shutting_down, true) {
            self.driver.hub.begin_shutdown();
            self.take_events();
        }
    }

    /// Runs one turn and checks it against the model. Returns whether anything happened.
    fn turn(&mut self) -> bool {
        let oldest = self.driver.hub.feed().oldest_seq().max(1);
        self.driver.turn();
        self.model.oldest = oldest..=self.driver.hub.feed().oldest_seq().max(1);
        for (id, input) in std::mem::take(&mut self.driver.inputs) {
            self.model.handle_input(id, &input);
        }
        let mut is_eventful = self.take_events();
        for (id, bytes) in std::mem::take(&mut self.driver.outputs) {
            self.record(|| format!("    output of client {id}: \"{}\"", bytes.escape_ascii()));
            is_eventful |= !bytes.is_empty();
            self.model.handle_output(id, &bytes);
        }
        for disconnect in std::mem::take(&mut self.driver.disconnects) {
            self.record(|| format!("    {disconnect:?}"));
            let client = self.model.client(disconnect.id);
            let context = format!("{disconnect:?}; outstanding: {}", client.outstanding());
            assert_eq!(client.stage, Stage::Closing(disconnect.reason), "{context}");
            let may_close = disconnect.is_cut || client.has_received_all() || client.write_closed;
            assert!(may_close, "lost output is not reported: {context}");
            assert!(
                client.missed <= disconnect.missed,
                "the client missed {} lines: {context}",
                client.missed
            );
        }
        if self.driver.hub.is_shutdown_requested() {
            self.shut_down();
        }
        is_eventful
    }

    /// Passes the hub's events to the model. Returns whether there were any.
    fn take_events(&mut self) -> bool {
        let events = self.driver.events();
        for event in &events {
            self.record(|| format!("    {event:?}"));
            match event {
                Event::Line(line) => self.model.execute(line.id, &line.answered),
                Event::Closing { id, reason } => {
                    if *reason == Reason::TooSlow {
                        self.check_overrun(*id);
                    }
                    self.model.begin_close(*id, *reason);
                }
                Event::Lagged { id, .. } => self.check_overrun(*id),
                _ => {}
            }
        }
        !events.is_empty()
    }

    /// Checks that an overrun reader is replaying, or that its socket accepts no bytes.
    fn check_overrun(&mut self, id: u64) {
        let connected = self.driver.ids.iter().find(|(_, connected)| **connected == id);
        // The client may have been removed already.
        let Some((&key, _)) = connected else { return };
        let accepts_bytes = self.driver.socket(key).room > 0;
        let is_replaying = self.model.client(id).is_replaying;
        assert!(
            !accepts_bytes || is_replaying,
            "client {id} was overrun, but its socket accepts bytes"
        );
    }

    /// Runs turns until the hub has no work.
    fn settle(&mut self) {
        let mut idle_turns = 0;
        while idle_turns == 0 || self.driver.hub.has_work() {
            idle_turns = if self.turn() { 0 } else { idle_turns + 1 };
            assert!(idle_turns < 1000, "the hub spins: it has work, but does nothing");
        }
    }

    /// Makes every socket accept everything, and lets time pass. Then closes every client.
    fn finish(&mut self) {
        self.record(|| "every client reads everything".to_owned());
        for key in self.keys() {
            let socket = self.driver.socket(key);
            (socket.room, socket.max_write) = (UNLIMITED, None);
            let is_broken = socket.is_broken;
            self.driver.hub.handle_writable(key);
            if !is_broken {
                self.finish_handshake(key);
            }
        }
        self.settle();
        // Held broadcasts and rate-limited lines wait for a deadline.
        while let Some(deadline_ms) = self.driver.hub.next_deadline()
            && !self.is_all_input_done()
        {
            self.driver.now_ms = self.driver.now_ms.max(deadline_ms);
            self.settle();
        }
        for id in self.driver.ids.values() {
            let client = self.model.client(*id);
            let outstanding = client.outstanding();
            let is_served = client.write_closed || client.has_received_all();
            assert!(is_served, "client {id} still expects {outstanding}");
            assert!(client.is_input_done(), "client {id} has lines that were not executed");
        }
        self.close_all();
        assert_eq!(self.driver.hub.counters().broadcasts, self.model.feed.len() as u64);
        let missed: u64 = self.model.clients.values().map(|client| client.missed).sum();
        assert!(missed <= self.driver.hub.counters().lagged, "clients missed {missed} lines");
    }

    fn close_all(&mut self) {
        self.record(|| "every client half-closes".to_owned());
        for key in self.keys() {
            self.driver.socket(key).eof = true;
            self.driver.hub.handle_readable(key);
        }
        self.settle();
        // A rate-limited client is not read, so the hub may not have read its end of input yet.
        let is_empty = self.driver.hub.is_empty() || self.model.has_rate_limit;
        assert!(is_empty, "a half-closed client is still connected");
        while let Some(deadline_ms) = self.driver.hub.next_deadline() {
            self.driver.now_ms = self.driver.now_ms.max(deadline_ms);
            self.settle();
        }
        assert!(self.driver.hub.is_empty(), "a client stays connected forever");
    }

    fn keys(&self) -> Vec<usize> {
        self.driver.ids.keys().copied().collect()
    }

    fn is_all_input_done(&mut self) -> bool {
        let model = &mut self.model;
        self.driver.ids.values().all(|id| model.client(*id).is_input_done())
    }
}
