//! Runs a hub with a simulated clock and simulated sockets, in the call order of the server.

use std::collections::BTreeMap;
use std::io;

use oyez::hub::{
    AllowShutdown, CloseStep, Disconnect, Event, Hub, HubConfig, Origin, Secrets,
    SlowConsumerPolicy, Span,
};
use oyez::limits::Limits;
use oyez::protocol::FeedId;
use oyez::read_outcome::ReadOutcome;

/// Room for any amount of output: the socket never blocks.
pub const UNLIMITED: usize = 1 << 30;

/// The size of a [`filler`](Driver::filler) line in the feed, in bytes, including its LF.
pub const LINE: usize = 100;
/// How many filler lines fit into one chunk of a feed with [`small_limits`].
pub const CHUNK_LINES: usize = 5;
/// How many filler lines fit into a feed with [`small_limits`]. The next one drops the oldest
/// chunk.
pub const FEED_LINES: usize = 4 * CHUNK_LINES;

/// Limits that tests reach with a few lines: the feed has four chunks of 512 bytes.
pub fn small_limits() -> Limits {
    Limits {
        max_line: 200,
        feed_size: 2048,
        reader_grace_ms: 10,
        replays_per_source: 8 * 2048,
        ..Limits::default()
    }
}

pub struct Driver {
    pub hub: Hub,
    pub now_ms: u64,
    /// The sockets by key. A closed socket stays until its key is reused.
    pub sockets: BTreeMap<usize, Socket>,
    /// The ids of the connected clients, by key.
    pub ids: BTreeMap<usize, u64>,
    /// The key and id of each client that a transcript has connected, by name.
    pub names: BTreeMap<String, (usize, u64)>,
    /// Everything the hub has read, in order, with the client's id.
    pub inputs: Vec<(u64, Input)>,
    /// Everything the hub has written, in order, with the client's id.
    pub outputs: Vec<(u64, Vec<u8>)>,
    pub disconnects: Vec<Disconnect>,
}

pub enum Input {
    Bytes(Vec<u8>),
    /// The end of input.
    End,
    /// The connection was cut.
    Cut,
}

#[derive(Default)]
pub struct Socket {
    /// Bytes that the peer has sent and the hub has not read.
    pub input: Vec<u8>,
    /// The end of input follows the last byte of `input`.
    pub eof: bool,
    /// With `eof`: TLS ends without a close_notify.
    pub is_truncated: bool,
    /// How many more bytes the socket accepts before it blocks.
    pub room: usize,
    /// The maximum size of one write, if limited. A write of this size does not block the socket.
    pub max_write: Option<usize>,
    /// All bytes that the hub has written.
    pub received: Vec<u8>,
    /// How many bytes of `received` a transcript has checked.
    pub checked: usize,
    pub is_handshaking: bool,
    /// Writes fail. With `eof`, so does the read after the last byte of `input`, instead of
    /// returning the end of input.
    pub is_broken: bool,
    /// The hub has shut down the write side.
    pub write_shutdown: bool,
}

impl Driver {
    pub fn new(limits: Limits) -> Self {
        Self::with_policy(limits, SlowConsumerPolicy::Disconnect)
    }

    pub fn with_policy(limits: Limits, slow_clients: SlowConsumerPolicy) -> Self {
        let config = HubConfig {
            limits,
            secrets: Secrets::default(),
            allow_shutdown: AllowShutdown::Local,
            slow_clients,
            trace_lines: false,
        };
        Self::with_config(config, FeedId(1))
    }

    pub fn with_config(config: HubConfig, feed: FeedId) -> Self {
        Self {
            hub: Hub::new(config, feed),
            now_ms: 0,
            sockets: BTreeMap::new(),
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            inputs: vec![],
            outputs: vec![],
            disconnects: vec![],
        }
    }

    /// Connects a client that has not completed its handshake. Its socket accepts `room` bytes.
    pub fn accept(&mut self, origin: Origin, room: usize) -> usize {
        let key = self.hub.connect(origin);
        self.ids.insert(key, self.hub.id(key));
        self.sockets.insert(key, Socket { room, is_handshaking: true, ..Socket::default() });
        key
    }

    pub fn finish_handshake(&mut self, key: usize) {
        self.socket(key).is_handshaking = false;
        self.hub.handle_handshake_done(key);
        self.hub.handle_readable(key);
    }

    /// Connects a client, completes its handshake and runs the hub. The socket accepts `room`
    /// bytes.
    pub fn connect(&mut self, room: usize) -> usize {
        let key = self.accept(Origin { is_local: true, source: 0 }, room);
        self.finish_handshake(key);
        self.run();
        key
    }

    pub fn socket(&mut self, key: usize) -> &mut Socket {
        self.sockets.get_mut(&key).unwrap()
    }

    /// Sends bytes. The hub reads them when it runs.
    pub fn queue(&mut self, key: usize, text: &str) {
        self.socket(key).input.extend_from_slice(text.as_bytes());
        self.hub.handle_readable(key);
    }

    /// Sends bytes and runs the hub.
    pub fn send(&mut self, key: usize, text: &str) {
        self.queue(key, text);
        self.run();
    }

    /// Half-closes the connection from the peer's side and runs the hub.
    pub fn half_close(&mut self, key: usize) {
        self.socket(key).eof = true;
        self.hub.handle_readable(key);
        self.run();
    }

    /// Cuts off the peer's input, as if TLS had ended without a close_notify, and runs the hub.
    pub fn truncate(&mut self, key: usize) {
        self.socket(key).is_truncated = true;
        self.half_close(key);
    }

    /// Makes the socket accept `room` more bytes, as if the peer had read, and runs the hub.
    pub fn add_room(&mut self, key: usize, room: usize) {
        self.socket(key).room += room;
        self.hub.handle_writable(key);
        self.run();
    }

    /// Returns `count` broadcast requests for this client to send. Each appends [`LINE`] bytes to
    /// the feed if the client has no name and no other client broadcasts first.
    pub fn filler(&self, key: usize, count: usize) -> String {
        let first = self.hub.feed().newest_seq() + 1;
        let line = |seq| {
            let broadcast = pad(&format!("broadcast {seq} {} ", self.ids[&key]));
            let text = broadcast.splitn(4, ' ').last().unwrap_or_default();
            format!("say {text}\n")
        };
        (first..first + count as u64).map(line).collect()
    }

    /// Fills an empty feed: the next filler line drops the oldest chunk.
    pub fn fill_feed(&mut self, sender: usize) {
        let lines = self.filler(sender, FEED_LINES);
        self.send(sender, &lines);
        assert_eq!(self.hub.feed().oldest_seq(), 1);
    }

    /// Returns the lines that a client has received. The last one may be partial.
    pub fn received(&self, key: usize) -> Vec<String> {
        let text = String::from_utf8(self.sockets[&key].received.clone()).unwrap();
        text.split_inclusive('\n').map(|line| line.trim_end_matches('\n').to_owned()).collect()
    }

    /// Returns the last line that a client has received, or an empty string.
    pub fn last_line(&self, key: usize) -> String {
        self.received(key).pop().unwrap_or_default()
    }

    /// Returns the hub's events since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.hub.poll_event()).collect()
    }

    /// Sets the clock and runs the hub.
    pub fn run_at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.run();
    }

    /// Runs turns until the hub has no work and no deadline within 50 ms. Advances the clock to
    /// each closer deadline, such as the next check of held broadcasts.
    pub fn run(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the hub spins: it has work after 10,000 turns");
            self.turn();
            if !self.hub.has_work() {
                match self.hub.next_deadline() {
                    Some(deadline_ms) if deadline_ms <= self.now_ms + 50 => {
                        self.now_ms = deadline_ms;
                    }
                    _ => break,
                }
            }
        }
    }

    /// Runs one turn, then checks the hub's invariants.
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
        self.hub.check_invariants();
    }

    fn read(&mut self) {
        while let Some(key) = self.hub.poll_read() {
            let id = self.ids[&key];
            let socket = self.socket(key);
            let input =
                if socket.is_handshaking { vec![] } else { std::mem::take(&mut socket.input) };
            if !input.is_empty() {
                self.hub.handle_read(key, &ReadOutcome::Data(&input), 0);
                self.inputs.push((id, Input::Bytes(input)));
            } else if socket.eof {
                let (outcome, input) = match (socket.is_broken, socket.is_truncated) {
                    (true, _) => {
                        (ReadOutcome::Failed(io::ErrorKind::ConnectionReset.into()), Input::Cut)
                    }
                    (false, true) => (ReadOutcome::Truncated, Input::Cut),
                    (false, false) => (ReadOutcome::Eof, Input::End),
                };
                self.hub.handle_read(key, &outcome, 0);
                self.inputs.push((id, input));
            } else {
                self.hub.handle_read(key, &ReadOutcome::WouldBlock, 0);
            }
        }
    }

    fn write(&mut self) {
        while let Some(key) = self.hub.poll_flush() {
            let socket = self.sockets.get_mut(&key).unwrap();
            if socket.is_broken {
                self.hub.handle_write_failed(key);
                continue;
            }
            let max = socket.room.min(socket.max_write.unwrap_or(usize::MAX));
            let mut bytes = pending(&self.hub, key, max);
            bytes.truncate(max);
            socket.room -= bytes.len();
            socket.received.extend_from_slice(&bytes);
            self.hub.consume(key, bytes.len(), socket.room == 0);
            self.outputs.push((self.ids[&key], bytes));
        }
    }

    fn close(&mut self) {
        while let Some((key, step)) = self.hub.poll_close() {
            match step {
                CloseStep::ShutdownWrite => {
                    self.socket(key).write_shutdown = true;
                    self.hub.handle_write_shutdown(key, true);
                }
                CloseStep::Close => {
                    self.disconnects.push(self.hub.remove(key));
                    self.ids.remove(&key);
                }
            }
        }
    }
}

/// Returns the first `max` bytes of a client's pending output, and possibly more.
fn pending(hub: &Hub, key: usize, max: usize) -> Vec<u8> {
    let mut bytes = vec![];
    for span in hub.spans(key) {
        if bytes.len() > max {
            break;
        }
        match span {
            Span::Own(reply) => bytes.extend_from_slice(reply),
            Span::Feed(range) => {
                let end = bytes.len() + (range.end - range.start) as usize;
                hub.feed().slices(range).for_each(|slice| bytes.extend_from_slice(slice));
                assert_eq!(bytes.len(), end, "the feed no longer has all pending lines");
            }
        }
    }
    bytes
}

/// Pads the beginning of a broadcast line to [`LINE`] bytes, counting the LF that follows.
pub fn pad(beginning: &str) -> String {
    format!("{beginning:x<width$}", width = LINE - 1)
}

/// Returns the sequence numbers of the broadcasts among these lines.
pub fn seqs(lines: &[String]) -> Vec<u64> {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words[0] == "broadcast").map(|words| words[1].parse().unwrap()).collect()
}
