//! A hub with a clock and sockets that are not real.

use std::collections::BTreeMap;
use std::io;

use oyez::hub::{
    AllowShutdown, CloseStep, Disconnect, Hub, HubConfig, Origin, Secrets, SlowConsumerPolicy, Span,
};
use oyez::limits::Limits;
use oyez::protocol::FeedId;
use oyez::read_outcome::ReadOutcome;

/// Drives a hub as the server does, with sockets that take as many bytes as they are given room for.
pub struct Driver {
    pub hub: Hub,
    pub now_ms: u64,
    pub sockets: BTreeMap<usize, Socket>,
    /// Who is there under which key.
    pub ids: BTreeMap<usize, u64>,
    /// What the hub has got of whom, in order.
    pub heard: Vec<(u64, Heard)>,
    /// What was sent to whom, in order.
    pub told: Vec<(u64, Vec<u8>)>,
    pub departed: Vec<Disconnect>,
}

/// What the hub gets of a client.
pub enum Heard {
    Bytes(Vec<u8>),
    End,
}

#[derive(Default)]
pub struct Socket {
    pub input: Vec<u8>,
    pub ended: bool,
    pub room: usize,
    /// So many bytes at a time, if it is a socket that takes little, and yet takes it.
    pub max_write: Option<usize>,
    pub received: Vec<u8>,
    /// Nothing can be said over it yet.
    pub is_arriving: bool,
    /// It cannot be written to, and when all is read it is seen to be lost.
    pub is_broken: bool,
    pub finished: bool,
}

/// Small, so that the edges are near: a feed of four chunks of 512 bytes.
pub fn small_limits() -> Limits {
    let limits = Limits { max_line: 200, feed_size: 2048, ..Limits::default() };
    Limits { reader_grace_ms: 10, ..limits }
}

impl Driver {
    pub fn new(limits: Limits) -> Self {
        Self::with_policy(limits, SlowConsumerPolicy::Disconnect)
    }

    pub fn with_policy(limits: Limits, slow_clients: SlowConsumerPolicy) -> Self {
        let secrets = Secrets::default();
        let rules = HubConfig {
            limits,
            secrets,
            allow_shutdown: AllowShutdown::Local,
            slow_clients,
            trace_lines: false,
        };
        Self::with_rules(rules, FeedId(1))
    }

    pub fn with_rules(rules: HubConfig, feed: FeedId) -> Self {
        Self {
            hub: Hub::new(rules, feed),
            now_ms: 0,
            sockets: BTreeMap::new(),
            ids: BTreeMap::new(),
            heard: vec![],
            told: vec![],
            departed: vec![],
        }
    }

    /// A client to whom nothing can be said yet, and whose socket will take so many bytes.
    pub fn admit(&mut self, origin: Origin, room: usize) -> usize {
        let key = self.hub.connect(origin);
        self.ids.insert(key, self.hub.id(key));
        self.sockets.insert(key, Socket { room, is_arriving: true, ..Socket::default() });
        key
    }

    /// It can be spoken to from now on.
    pub fn finish_handshake(&mut self, key: usize) {
        self.socket(key).is_arriving = false;
        self.hub.handle_handshake_done(key);
        self.hub.handle_readable(key);
    }

    /// A client whose socket takes so many bytes.
    pub fn connect(&mut self, room: usize) -> usize {
        let key = self.admit(Origin { is_local: true }, room);
        self.finish_handshake(key);
        self.run();
        key
    }

    pub fn socket(&mut self, key: usize) -> &mut Socket {
        self.sockets.get_mut(&key).unwrap()
    }

    pub fn send(&mut self, key: usize, text: &str) {
        self.socket(key).input.extend_from_slice(text.as_bytes());
        self.hub.handle_readable(key);
        self.run();
    }

    pub fn end(&mut self, key: usize) {
        self.socket(key).ended = true;
        self.hub.handle_readable(key);
        self.run();
    }

    /// The peer reads: its socket has room again.
    pub fn make_room(&mut self, key: usize, room: usize) {
        self.socket(key).room += room;
        self.hub.handle_writable(key);
        self.run();
    }

    /// What a client has got so far, as lines; the last one may be half a line.
    pub fn received(&self, key: usize) -> Vec<String> {
        let text = String::from_utf8(self.sockets[&key].received.clone()).unwrap();
        text.split_inclusive('\n').map(|line| line.trim_end_matches('\n').to_owned()).collect()
    }

    /// Takes turns until there is nothing left to do now.
    pub fn run(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the hub always has work: it would spin");
            self.turn();
            if !self.hub.has_work() {
                match self.hub.next_deadline() {
                    // Broadcasts that are held go on after a while.
                    Some(deadline) if deadline <= self.now_ms + 50 => self.now_ms = deadline,
                    _ => break,
                }
            }
        }
    }

    pub fn turn(&mut self) {
        self.hub.begin_turn(self.now_ms);
        loop {
            self.read();
            self.hub.execute();
            if !self.hub.has_more_input() {
                break;
            }
        }
        self.write();
        self.close();
    }

    fn read(&mut self) {
        while let Some(key) = self.hub.poll_read() {
            let id = self.ids[&key];
            let socket = self.socket(key);
            let input = if socket.is_arriving { vec![] } else { std::mem::take(&mut socket.input) };
            let is_broken = socket.is_broken;
            match (input.is_empty(), socket.ended) {
                (false, _) => {
                    self.hub.handle_read(key, &ReadOutcome::Data(&input), 0);
                    self.heard.push((id, Heard::Bytes(input)));
                }
                (true, true) => {
                    self.heard.push((id, Heard::End));
                    let reset = || io::ErrorKind::ConnectionReset.into();
                    let outcome =
                        if is_broken { ReadOutcome::Failed(reset()) } else { ReadOutcome::Eof };
                    self.hub.handle_read(key, &outcome, 0);
                }
                (true, false) => self.hub.handle_read(key, &ReadOutcome::WouldBlock, 0),
            }
        }
    }

    fn write(&mut self) {
        while let Some(key) = self.hub.poll_flush() {
            let socket = &self.sockets[&key];
            let most = socket.room.min(socket.max_write.unwrap_or(usize::MAX));
            let mut owed = vec![];
            for span in self.hub.spans(key) {
                if owed.len() > most {
                    break;
                }
                match span {
                    Span::Own(bytes) => owed.extend_from_slice(bytes),
                    Span::Feed(range) => {
                        let before = owed.len();
                        let len = (range.end - range.start) as usize;
                        self.hub
                            .feed()
                            .slices(range)
                            .for_each(|slice| owed.extend_from_slice(slice));
                        assert_eq!(owed.len() - before, len, "the feed has what it owes");
                    }
                }
            }
            let socket = self.sockets.get_mut(&key).unwrap();
            if socket.is_broken {
                self.hub.handle_write_failed(key);
                continue;
            }
            let sent = owed.len().min(most);
            socket.room -= sent;
            socket.received.extend_from_slice(&owed[..sent]);
            self.told.push((self.ids[&key], owed[..sent].to_vec()));
            self.hub.consume(key, sent, socket.room == 0);
        }
    }

    fn close(&mut self) {
        while let Some((key, close)) = self.hub.poll_close() {
            match close {
                CloseStep::ShutdownWrite => {
                    self.socket(key).finished = true;
                    self.hub.handle_write_shutdown(key, true);
                }
                CloseStep::Close => {
                    self.departed.push(self.hub.remove(key));
                    self.ids.remove(&key);
                }
            }
        }
        self.hub.check_invariants();
    }
}

pub const UNLIMITED: usize = 1 << 30;

/// A line that takes 100 bytes in the feed while its seq has `digits` digits.
pub fn say(digits: usize) -> String {
    format!("say {}\n", "x".repeat(100 - "broadcast  1 \n".len() - digits))
}

/// The numbers of the broadcast lines among these.
pub fn seqs(lines: &[String]) -> Vec<u64> {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words[0] == "broadcast").map(|words| words[1].parse().unwrap()).collect()
}
