//! A hub, its clients and what befalls them, held against a simple model at each step.

use std::collections::BTreeMap;
use std::fmt;

use oyez::credentials::secret::Secret;
use oyez::hub::{AllowShutdown, Event, HubConfig, Origin, Reason, Secrets, SlowConsumerPolicy};
use oyez::limits::{FlushLimits, Limits};

use super::driver::{Driver, Heard, UNLIMITED};
use super::model::{ADMIN_SECRET, FEED, Model, Stage, USER_SECRET};

/// Where choices come from: a seed, or bytes that a fuzzer makes up.
pub enum Choices<'a> {
    Seed(u64),
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        match self {
            Self::Seed(state) => {
                // Any generator will do; this one is Knuth's.
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (*state >> 33) as usize % end
            }
            Self::Bytes(bytes) => {
                let (taken, rest) = bytes.split_at(bytes.len().min(if end > 256 { 2 } else { 1 }));
                *bytes = rest;
                taken.iter().fold(0, |number, byte| number * 256 + usize::from(*byte)) % end
            }
        }
    }

    fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    fn is_used_up(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    limits: Limits,
    slow_clients: SlowConsumerPolicy,
    has_user_secret: bool,
    has_admin_secret: bool,
    allow_shutdown: AllowShutdown,
}

/// Something that happens. Clients are numbered as they come, and counted round.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// A client comes, whose socket takes so many bytes. It may take its time until it can be spoken to.
    Connect { room: usize, is_local: bool, is_established: bool },
    /// One that has taken its time can be spoken to.
    ComeUp(usize),
    /// A client says this, so often.
    Say(usize, String, usize),
    /// It says bytes that may be anything.
    SayBytes(usize, Vec<u8>),
    /// It takes so many bytes more, at most so many at a time.
    Take(usize, usize, usize),
    /// It says no more.
    End(usize),
    /// Its connection breaks.
    Break(usize),
    /// Time passes, in milliseconds.
    Pass(u64),
    /// So many turns.
    Turn(usize),
    /// All that can be done is done.
    Settle,
    /// The server is told to end.
    ShutDown,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { room, is_local, is_established } => {
                let (local, up) = (["far", "local"], ["arriving", "up"]);
                let (local, up) = (local[usize::from(*is_local)], up[usize::from(*is_established)]);
                write!(f, "a client comes: {local}, {up}, takes {room} bytes")
            }
            Self::ComeUp(who) => write!(f, "{who} is up"),
            Self::Say(who, line, 1) => write!(f, "{who} says {line:?}"),
            Self::Say(who, line, times) => write!(f, "{who} says {line:?} {times} times"),
            Self::SayBytes(who, bytes) => {
                write!(f, "{who} says {:?}", String::from_utf8_lossy(bytes))
            }
            Self::Take(who, room, sip) => write!(f, "{who} takes {room} bytes, {sip} at a time"),
            Self::End(who) => write!(f, "{who} ends"),
            Self::Break(who) => write!(f, "{who} is cut off"),
            Self::Pass(ms) => write!(f, "{ms} ms pass"),
            Self::Turn(turns) => write!(f, "{turns} turns"),
            Self::Settle => write!(f, "all is done that can be"),
            Self::ShutDown => write!(f, "the server is told to end"),
        }
    }
}

/// A setup whose limits are so small that they are met all the time.
pub fn setup(choices: &mut Choices<'_>) -> Setup {
    let mut limits = Limits::default();
    limits.max_clients = 2 + choices.below(9);
    limits.max_line = 60 + choices.below(100);
    limits.feed_size = 1024 << choices.below(3);
    limits.max_outbox = limits.reply_room() + 200 + choices.below(4000);
    limits.drain_timeout_ms = 1 + choices.below(3000) as u64;
    limits.auth_timeout_ms = 1 + choices.below(3000) as u64;
    limits.stall_timeout_ms = 1 + choices.below(3000) as u64;
    limits.reader_grace_ms = choices.below(200) as u64;
    limits.idle_timeout_ms = choices.one_in(4).then(|| 500 + choices.below(3000) as u64);
    limits.rate_limit = choices.one_in(4).then(|| 1 + choices.below(50) as u32);
    limits.turn.read = 1 + choices.below(500);
    limits.turn.arrivals = 1 + choices.below(3);
    limits.turn.work = 1 + choices.below(2000);
    limits.turn.work_per_client = 1 + choices.below(500);
    let mut flush = || FlushLimits { bytes: 1 + choices.below(500), clients: 1 + choices.below(4) };
    (limits.turn.flush_first, limits.turn.flush_feed) = (flush(), flush());
    let policies =
        [SlowConsumerPolicy::Disconnect, SlowConsumerPolicy::Skip, SlowConsumerPolicy::Block];
    let shutdown = [AllowShutdown::Nobody, AllowShutdown::Local, AllowShutdown::Admin];
    Setup {
        limits,
        slow_clients: policies[choices.below(3)],
        has_user_secret: choices.one_in(4),
        has_admin_secret: choices.one_in(3),
        allow_shutdown: shutdown[choices.below(3)],
    }
}

/// What happens, one after the other.
pub fn schedule(choices: &mut Choices<'_>, most: usize) -> Vec<Op> {
    let mut ops = vec![];
    let length = 1 + choices.below(most);
    for _ in 0..length {
        if choices.is_used_up() {
            break;
        }
        ops.push(op(choices));
    }
    ops
}

fn op(choices: &mut Choices<'_>) -> Op {
    let room = |choices: &mut Choices<'_>| match choices.below(4) {
        0 => choices.below(300),
        1 => choices.below(3000),
        _ => UNLIMITED,
    };
    let who = choices.below(10);
    match choices.below(40) {
        0..4 => Op::Connect {
            room: room(choices),
            is_local: choices.one_in(2),
            is_established: !choices.one_in(6),
        },
        4 => Op::ComeUp(who),
        5..22 => {
            let times = match choices.below(12) {
                0 => 1 + choices.below(100),
                1..5 => 1 + choices.below(10),
                _ => 1,
            };
            Op::Say(who, line(choices), times)
        }
        22 => Op::SayBytes(who, bytes(choices)),
        23..29 => {
            let most = if choices.one_in(4) { 4 } else { 400 };
            Op::Take(who, room(choices), 1 + choices.below(most))
        }
        29 => Op::End(who),
        30 => Op::Break(who),
        31..33 => Op::Pass(choices.below(60) as u64),
        33 => Op::Pass(choices.below(4000) as u64),
        34..36 => Op::Settle,
        36 if choices.one_in(8) => Op::ShutDown,
        _ => Op::Turn(1 + choices.below(5)),
    }
}

fn line(choices: &mut Choices<'_>) -> String {
    let text = "x".repeat(1 + choices.below(70));
    let secret = [USER_SECRET, ADMIN_SECRET, "guess"][choices.below(3)];
    let number = choices.below(40);
    let name = ["al", "Bob", "AL", "c"][choices.below(4)];
    match choices.below(30) {
        0..10 => format!("say {text}"),
        10 => "broadcast ".to_owned(),
        11 | 12 => format!("ping {number}"),
        13 => "PING".to_owned(),
        14 => format!("send {} {text}", 1 + number % 8),
        15 => format!("send {name} {text}"),
        16 => format!("name {name}"),
        17 => ["clients".to_owned(), format!("clients {}", number % 8)][number % 2].clone(),
        18 => "quiet".to_owned(),
        19 => "listen".to_owned(),
        20 | 21 => format!("history {number}"),
        22 => format!("resume {number}"),
        23 => format!("resume {number} {FEED}"),
        24 => ["stats", "help", "resume 1 00000001", "nonsense"][number % 4].to_owned(),
        25 | 26 => format!("auth {secret}"),
        27 => ["quit", "shutdown"][usize::from(number < 8)].to_owned(),
        28 => ["", " \t", "quit now", "say \u{1b}[2J"][number % 4].to_owned(),
        _ => "y".repeat(100 + number),
    }
}

fn bytes(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(6) {
        0 => b"say cut of".to_vec(),
        1 => b"f\r\n".to_vec(),
        2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\nshutdown\n".to_vec(),
        3 => b"\x16\x03\x01\n".to_vec(),
        4 => vec![b'z'; choices.below(400)],
        _ => (0..choices.below(20)).map(|_| choices.below(256) as u8).collect(),
    }
}

/// A day that a fuzzer makes up.
pub fn day(data: &[u8]) {
    let mut choices = Choices::Bytes(data);
    let setup = setup(&mut choices);
    let ops = schedule(&mut choices, 200);
    play(&setup, &ops, |_| {});
}

/// The hub, and the model that it is held against.
struct World {
    driver: Driver,
    model: Model,
    max_clients: usize,
    /// The clients as they came: key and id. Keys are used again.
    clients: Vec<(usize, u64)>,
}

/// Plays the schedule, and then lets everything come to its end. Panics where something is not as the
/// model says; `step` is told of each step before it is taken.
pub fn play(setup: &Setup, ops: &[Op], mut step: impl FnMut(usize)) {
    let mut world = World::new(setup);
    for (nth, op) in ops.iter().enumerate() {
        step(nth);
        world.play(op);
    }
    step(ops.len());
    world.end();
}

impl World {
    fn new(setup: &Setup) -> Self {
        let secret = |is_there: bool, text| if is_there { Secret::new(text) } else { None };
        let rules = HubConfig {
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
            driver: Driver::with_rules(rules, FEED),
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
        }
    }

    /// The key of a client, if it is still there.
    fn key(&self, who: usize) -> Option<usize> {
        let nth = who.checked_rem(self.clients.len())?;
        let (key, id) = self.clients[nth];
        self.driver.ids.get(&key).is_some_and(|there| *there == id).then_some(key)
    }

    fn play(&mut self, op: &Op) {
        match op {
            Op::Connect { room, is_local, is_established } => {
                self.connect(*room, *is_local, *is_established);
            }
            Op::Pass(ms) => {
                self.driver.now_ms += ms;
                self.turn();
            }
            Op::Turn(turns) => {
                for _ in 0..*turns {
                    self.turn();
                }
            }
            Op::Settle => self.settle(),
            Op::ShutDown => self.shut_down(),
            Op::ComeUp(who)
            | Op::Say(who, ..)
            | Op::SayBytes(who, ..)
            | Op::Take(who, ..)
            | Op::End(who)
            | Op::Break(who) => {
                if let Some(key) = self.key(*who) {
                    self.befall(key, op);
                }
            }
        }
    }

    fn befall(&mut self, key: usize, op: &Op) {
        let id = self.driver.ids[&key];
        let socket = self.driver.socket(key);
        match op {
            Op::ComeUp(_) if !socket.is_broken => self.finish_handshake(key),
            Op::Say(_, line, times) if !socket.ended => {
                let line = format!("{line}\n");
                socket.input.extend_from_slice(line.repeat(*times).as_bytes());
                self.driver.hub.handle_readable(key);
            }
            Op::SayBytes(_, bytes) if !socket.ended => {
                socket.input.extend_from_slice(bytes);
                self.driver.hub.handle_readable(key);
            }
            Op::Take(_, room, sip) => {
                socket.room = socket.room.saturating_add(*room);
                socket.max_write = (*sip < 300).then_some(*sip);
                if socket.room > 0 {
                    self.driver.hub.handle_writable(key);
                }
            }
            Op::End(_) => {
                socket.ended = true;
                self.driver.hub.handle_readable(key);
            }
            Op::Break(_) => {
                (socket.ended, socket.is_broken) = (true, true);
                self.model.client(id).is_deaf = true;
                self.driver.hub.handle_readable(key);
                self.driver.hub.handle_writable(key);
                self.driver.hub.handle_hangup(key);
            }
            _ => {}
        }
    }

    fn connect(&mut self, room: usize, is_local: bool, is_established: bool) {
        let has_room = self.driver.ids.len() < self.max_clients && !self.model.is_shutting_down;
        assert_eq!(self.driver.hub.has_room(), has_room);
        if !has_room {
            return;
        }
        let key = self.driver.admit(Origin { is_local }, room);
        let id = self.driver.ids[&key];
        assert_eq!(id, self.clients.len() as u64 + 1, "ids count up");
        self.clients.push((key, id));
        self.model.connect(id, is_local);
        if is_established {
            self.finish_handshake(key);
        }
    }

    fn finish_handshake(&mut self, key: usize) {
        let id = self.driver.ids[&key];
        if self.model.client(id).stage == Stage::Arriving {
            self.driver.finish_handshake(key);
            self.model.finish_handshake(id);
        }
    }

    fn shut_down(&mut self) {
        if !std::mem::replace(&mut self.model.is_shutting_down, true) {
            self.driver.hub.begin_shutdown();
            self.hear_reports();
        }
    }

    /// One turn, after which the model must agree: whether anything came of it.
    fn turn(&mut self) -> bool {
        let oldest = self.driver.hub.feed().oldest_seq().max(1);
        self.driver.turn();
        self.model.oldest = oldest..=self.driver.hub.feed().oldest_seq().max(1);
        for (id, heard) in std::mem::take(&mut self.driver.heard) {
            match heard {
                Heard::Bytes(bytes) => self.model.hear(id, Some(&bytes)),
                Heard::End => self.model.hear(id, None),
            }
        }
        let mut is_eventful = self.hear_reports();
        for (id, bytes) in std::mem::take(&mut self.driver.told) {
            is_eventful |= !bytes.is_empty();
            self.model.tell(id, &bytes);
        }
        for departure in std::mem::take(&mut self.driver.departed) {
            let client = self.model.client(departure.id);
            let shown = format!("{departure:?}, and {}", client.outstanding());
            assert_eq!(client.stage, Stage::Leaving(departure.reason), "{shown}");
            assert!(departure.is_cut || client.is_told_all() || client.is_deaf, "{shown}");
            assert!(client.missed <= departure.missed, "{shown}");
        }
        if self.driver.hub.is_shutdown_requested() {
            self.shut_down();
        }
        is_eventful
    }

    /// Whether there were any.
    fn hear_reports(&mut self) -> bool {
        let mut are_some = false;
        while let Some(report) = self.driver.hub.poll_event() {
            are_some = true;
            match report {
                Event::Line(line) => self.model.execute(line.id, &line.answered),
                Event::Closing { id, reason } => {
                    if reason == Reason::TooSlow {
                        self.check_lapped(id);
                    }
                    self.model.leave(id, reason);
                }
                Event::Lagged { id, .. } => self.check_lapped(id),
                _ => {}
            }
        }
        are_some
    }

    /// Only who takes no bytes is lapped, or who has moved back.
    fn check_lapped(&mut self, id: u64) {
        let there = self.driver.ids.iter().find(|(_, there)| **there == id);
        // It may be gone already.
        let Some((&key, _)) = there else { return };
        let takes_bytes = self.driver.socket(key).room > 0;
        assert!(!takes_bytes || self.model.client(id).is_rewound, "client {id} takes bytes");
    }

    /// Takes turns until there is nothing left to do now.
    fn settle(&mut self) {
        let mut uneventful = 0;
        while uneventful == 0 || self.driver.hub.has_work() {
            uneventful = if self.turn() { 0 } else { uneventful + 1 };
            assert!(uneventful < 1000, "the hub has work, and does none: it would spin");
        }
    }

    /// Lets time pass, and everybody take what there is.
    fn end(&mut self) {
        let keys: Vec<usize> = self.driver.ids.keys().copied().collect();
        for key in keys {
            let socket = self.driver.socket(key);
            (socket.room, socket.max_write) = (UNLIMITED, None);
            self.driver.hub.handle_writable(key);
            self.come_up_late(key);
        }
        self.settle();
        // Those whose lines wait for others, or until they may say more, are heard in time.
        while let Some(deadline_ms) = self.driver.hub.next_deadline()
            && !self.is_all_said()
        {
            self.driver.now_ms = self.driver.now_ms.max(deadline_ms);
            self.settle();
        }
        for key in self.driver.ids.keys() {
            let id = self.driver.ids[key];
            let client = self.model.clients.get_mut(&id).expect("it has connected");
            let shown = client.outstanding();
            assert!(client.is_deaf || client.is_told_all(), "client {id} waits for {shown}");
            assert!(client.is_heard_out(), "client {id} is not heard out");
        }
        // All go, and nothing is left of them.
        let keys: Vec<usize> = self.driver.ids.keys().copied().collect();
        for key in keys {
            self.driver.socket(key).ended = true;
            self.driver.hub.handle_readable(key);
        }
        self.settle();
        // Who is told all and has ended is closed at once; others may wait until they may say more.
        let is_closed = self.driver.hub.is_empty() || self.model.has_rate_limit;
        assert!(is_closed, "somebody stays who has ended");
        while let Some(deadline_ms) = self.driver.hub.next_deadline() {
            self.driver.now_ms = self.driver.now_ms.max(deadline_ms);
            self.settle();
        }
        assert!(self.driver.hub.is_empty(), "somebody stays for ever");
        assert_eq!(self.driver.hub.counters().broadcasts, self.model.feed.len() as u64);
        let missed: u64 = self.model.clients.values().map(|client| client.missed).sum();
        assert!(missed <= self.driver.hub.counters().lagged);
    }

    fn come_up_late(&mut self, key: usize) {
        if !self.driver.socket(key).is_broken {
            self.finish_handshake(key);
        }
    }

    fn is_all_said(&mut self) -> bool {
        let ids: Vec<u64> = self.driver.ids.values().copied().collect();
        ids.into_iter().all(|id| self.model.client(id).is_heard_out())
    }
}
