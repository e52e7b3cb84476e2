//! The one thread: a poll loop that moves bytes between sockets and the [`Hub`].

mod listener;
mod refused;
mod signals;
mod stream;

use std::hash::BuildHasher;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::{Config, ListenAddress};
use crate::hub::{Close, Departure, Hub, Origin, Reason, Rules, Span};
use crate::limits::{Limits, READ_CHUNK, RESERVED_DESCRIPTORS};
use crate::logging;
use crate::protocol::FeedId;
use listener::Listener;
use refused::Refused;
use signals::Signals;
use stream::{Peer, Stream};

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everybody was served or given up in time.
    Graceful,
    /// A second signal came, and nothing was waited for.
    Forced,
}

/// Keys of clients are tokens, too. Those of others come from the other end.
const SIGNALS: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - 1;

/// How many events are taken from the poll at once.
const EVENTS: usize = 1024;

/// The most slices in one write.
const MAX_SLICES: usize = 64;

/// How long accepting pauses when the system has no descriptor or no memory left for another
/// connection, in milliseconds. The poll would not wake the server when there is again.
const ACCEPT_PAUSE_MS: u64 = 100;

/// The server: its sockets, and the hub that says what to do with them.
///
/// **Invariants**
/// - A client's connection is at its key in `connections`, and its token is that key.
/// - Connections are closed after a batch of events is dealt with, and accepted after that, so that
///   no event meets a new client under an old key.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    signals: Signals,
    listeners: Vec<Listener>,
    connections: Vec<Option<Connection>>,
    refused: Refused,
    hub: Hub,
    limits: Limits,
    started: Instant,
    /// Nothing is accepted before this time, in milliseconds since the start.
    accept_again_at: Option<u64>,
    /// The last attempt failed, which was logged.
    cannot_accept: bool,
    input: Box<[u8]>,
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    peer: Peer,
}

/// What became of the clients that were there at the server's end.
#[derive(Clone, Copy, Debug, Default)]
struct Farewell {
    drained: usize,
    cut: usize,
}

impl Server {
    /// Listens on all addresses. The error is one line that says what is wrong, and what to do.
    pub fn bind(config: &Config) -> Result<Self, String> {
        let system = |error: io::Error| format!("cannot start: {error}");
        let mut limits = config.limits;
        fit_descriptors(&mut limits, config.listen.len())?;
        let poll = Poll::new().map_err(system)?;
        let signals = Signals::register(poll.registry(), SIGNALS).map_err(system)?;
        let mut listeners = Vec::new();
        for address in &config.listen {
            let mut listener = Listener::bind(address, config.unix_mode, limits.send_buffer)?;
            let token = Token(FIRST_LISTENER - listeners.len());
            listener.register(poll.registry(), token).map_err(system)?;
            listeners.push(listener);
        }
        let rules = Rules {
            limits,
            allow_shutdown: config.allow_shutdown,
            report_lines: config.log_level >= log::LevelFilter::Debug,
        };
        let server = Self {
            poll,
            signals,
            listeners,
            connections: Vec::new(),
            refused: Refused::default(),
            hub: Hub::new(rules, new_feed_id()),
            limits,
            started: Instant::now(),
            accept_again_at: None,
            cannot_accept: false,
            input: vec![0; READ_CHUNK].into(),
            farewell: None,
        };
        server.log_start();
        Ok(server)
    }

    /// Serves until the end. The error is one that leaves nothing to serve with.
    pub fn run(mut self) -> io::Result<End> {
        let mut events = Events::with_capacity(EVENTS);
        let mut signals = 0;
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now_ms = self.now_ms();
            self.hub.begin_turn(now_ms);
            let signals_before = signals;
            for event in &events {
                match event.token() {
                    SIGNALS => signals += self.signals.take(),
                    token => self.note(token, event),
                }
            }
            self.read();
            self.hub.execute();
            self.write();
            if signals > 1 {
                warn!("a second signal: ending at once, {} clients are cut", self.hub.len());
                return Ok(End::Forced);
            }
            if signals > signals_before {
                self.begin_shutdown("a signal");
            } else if self.hub.is_shutdown_requested() {
                self.begin_shutdown("a client's command");
            }
            self.close();
            self.accept(now_ms);
            self.log_turn();
            if let Some(farewell) = self.farewell
                && self.hub.is_empty()
            {
                info!("shut down: {} clients drained, {} cut", farewell.drained, farewell.cut);
                return Ok(End::Graceful);
            }
        }
    }

    fn note(&mut self, token: Token, event: &Event) {
        let nth_listener = FIRST_LISTENER - token.0;
        if let Some(listener) = self.listeners.get_mut(nth_listener) {
            listener.is_ready = true;
            return;
        }
        // What went wrong, reading and writing will tell.
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.hub.handle_readable(token.0);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            self.hub.handle_writable(token.0);
        }
    }

    fn read(&mut self) {
        while let Some(key) = self.hub.poll_read() {
            let Some(connection) = &mut self.connections[key] else { continue };
            match connection.stream.read(&mut self.input) {
                Ok(0) => self.hub.handle_end(key),
                Ok(len) => self.hub.handle_input(key, &self.input[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.hub.handle_read_blocked(key);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.hub.handle_readable(key);
                }
                Err(error) => {
                    debug!("client {}: {error}", self.hub.id(key));
                    self.hub.handle_lost(key);
                }
            }
        }
    }

    fn write(&mut self) {
        while let Some(key) = self.hub.poll_flush() {
            let Some(connection) = &mut self.connections[key] else { continue };
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let (count, len) =
                gather(&self.hub, key, self.limits.turn.flush_per_client, &mut slices);
            match connection.stream.write_vectored(&slices[..count]) {
                // A short write means that the socket is full, and the poll will say when it is not.
                Ok(sent) => self.hub.consume(key, sent, sent < len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.hub.consume(key, 0, true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.hub.consume(key, 0, false);
                }
                Err(error) => {
                    debug!("client {}: {error}", self.hub.id(key));
                    self.hub.handle_write_failed(key);
                }
            }
        }
    }

    fn close(&mut self) {
        while let Some((key, close)) = self.hub.poll_close() {
            let Some(connection) = &self.connections[key] else { continue };
            match close {
                Close::Finish => {
                    if connection.stream.shutdown_write().is_err() {
                        self.hub.handle_write_failed(key);
                    }
                }
                Close::Drop => self.drop_connection(key),
            }
        }
    }

    fn drop_connection(&mut self, key: usize) {
        let Some(connection) = self.connections[key].take() else { return };
        let departure = self.hub.remove(key);
        if let Some(farewell) = &mut self.farewell {
            if departure.is_cut {
                farewell.cut += 1;
            } else {
                farewell.drained += 1;
            }
        }
        log_departure(&departure, connection.peer);
        // A descriptor is free now, which is what accepting may be waiting for.
        self.accept_again_at = None;
    }

    /// Accepts who waits, as many as a turn may.
    fn accept(&mut self, now_ms: u64) {
        self.refused.close_overdue(now_ms);
        if self.accept_again_at.is_some_and(|time| now_ms < time) {
            return;
        }
        self.accept_again_at = None;
        for nth in 0..self.listeners.len() {
            let mut left = self.limits.turn.accept;
            while left > 0 && self.listeners[nth].is_ready {
                left -= 1;
                match self.listeners[nth].accept() {
                    Ok((stream, peer)) => {
                        self.cannot_accept = false;
                        self.welcome(stream, peer, now_ms);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.listeners[nth].is_ready = false;
                    }
                    Err(error) if concerns_one_connection(&error) => {}
                    Err(error) => {
                        if !mem::replace(&mut self.cannot_accept, true) {
                            warn!("cannot accept: {error}; trying again until it works");
                        }
                        self.accept_again_at = Some(now_ms + ACCEPT_PAUSE_MS);
                        return;
                    }
                }
            }
        }
    }

    fn welcome(&mut self, mut stream: Stream, peer: Peer, now_ms: u64) {
        let Some(key) = self.hub.connect(Origin { is_local: peer.is_local() }) else {
            info!("refused {peer}: all {} places are taken", self.limits.max_clients);
            self.refused.refuse(stream, now_ms);
            return;
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, Token(key), both);
        if self.connections.len() <= key {
            self.connections.resize_with(key + 1, || None);
        }
        self.connections[key] = Some(Connection { stream, peer });
        info!("client {} connected from {peer}", self.hub.id(key));
        if let Err(error) = registered {
            warn!("client {}: cannot be polled: {error}", self.hub.id(key));
            self.hub.handle_lost(key);
        }
    }

    fn begin_shutdown(&mut self, cause: &str) {
        if self.farewell.is_some() {
            return;
        }
        let timeout = self.limits.drain_timeout_ms / 1000;
        let clients = self.hub.len();
        info!(
            "shutting down on {cause}: {clients} clients have {timeout} s to take what they are owed"
        );
        self.farewell = Some(Farewell::default());
        self.listeners.clear();
        self.hub.begin_shutdown();
    }

    /// How long the poll may wait.
    fn timeout(&mut self) -> Option<Duration> {
        let may_accept = self.accept_again_at.is_none();
        if self.hub.has_work()
            || (may_accept && self.listeners.iter().any(|listener| listener.is_ready))
        {
            return Some(Duration::ZERO);
        }
        let deadlines =
            [self.hub.next_deadline(), self.accept_again_at, self.refused.next_deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(self.now_ms())))
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn log_start(&self) {
        for listener in &self.listeners {
            match &listener.address {
                ListenAddress::Tcp(address) if address.ip().is_loopback() => info!(
                    "listening on {address}, for this host only (--listen 0.0.0.0:{} lets others in); try: nc {} {}",
                    address.port(),
                    address.ip(),
                    address.port()
                ),
                address => info!("listening on {address}"),
            }
        }
        let (process, kernel) = self.limits.most_memory();
        info!(
            "{} clients at most; the limits allow {} MiB in the process and {} MiB in the kernel's send buffers",
            self.limits.max_clients,
            process >> 20,
            kernel >> 20
        );
    }

    fn log_turn(&mut self) {
        while let Some(line) = self.hub.poll_line() {
            let (received, answered) = (shorten(line.received), shorten(line.answered));
            debug!("client {}: {received:?} -> {answered:?}", line.id);
        }
        logging::report_dropped();
        self.hub.set_log_dropped(logging::dropped());
    }
}

/// The client's next bytes, as slices for one write: how many slices, and how many bytes.
fn gather<'a>(
    hub: &'a Hub,
    key: usize,
    most: usize,
    slices: &mut [IoSlice<'a>; MAX_SLICES],
) -> (usize, usize) {
    let (mut count, mut len) = (0, 0);
    let mut add = |bytes: &'a [u8]| {
        let bytes = &bytes[..bytes.len().min(most - len)];
        slices[count] = IoSlice::new(bytes);
        count += 1;
        len += bytes.len();
        count < MAX_SLICES && len < most
    };
    for span in hub.spans(key) {
        let goes_on = match span {
            Span::Own(bytes) => add(bytes),
            Span::Feed(range) => hub.feed().slices(range).all(&mut add),
        };
        if !goes_on {
            break;
        }
    }
    (count, len)
}

/// Raises the soft limit on descriptors to the hard one, and keeps the clients under it.
fn fit_descriptors(limits: &mut Limits, listeners: usize) -> Result<(), String> {
    let mut nofile = getrlimit(Resource::Nofile);
    if nofile.current != nofile.maximum {
        let raised = rustix::process::Rlimit { current: nofile.maximum, ..nofile };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => nofile = raised,
            Err(error) => warn!("cannot raise the limit on descriptors: {error}"),
        }
    }
    let Some(most) = nofile.current else { return Ok(()) };
    let for_clients = (most as usize).saturating_sub(RESERVED_DESCRIPTORS + listeners);
    if for_clients == 0 {
        return Err(format!("cannot start: {most} descriptors are too few; raise ulimit -n"));
    }
    if for_clients < limits.max_clients {
        warn!(
            "--max-clients {} is lowered to {for_clients}: there are {most} descriptors (ulimit -n)",
            limits.max_clients
        );
        limits.max_clients = for_clients;
    }
    Ok(())
}

/// Whether accepting can go on at once with the next connection.
fn concerns_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let out_of_something =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL, Errno::BADF];
    !Errno::from_io_error(error).is_none_or(|error| out_of_something.contains(&error))
}

/// A number that differs from run to run: the standard library seeds its hash maps with one.
fn new_feed_id() -> FeedId {
    FeedId(std::hash::RandomState::new().hash_one(std::process::id()) as u32)
}

/// The text, if it is not too long for two of it to stand in a line of the log.
fn shorten(mut text: String) -> String {
    const MOST: usize = 1000;
    if text.len() > MOST {
        let len = text.len();
        text.truncate(text.floor_char_boundary(MOST));
        text.push_str(&format!("… ({len} bytes)"));
    }
    text
}

fn log_departure(departure: &Departure, peer: Peer) {
    let Departure { id, name, reason, is_cut, connected_ms, bytes_in, bytes_out } = departure;
    let name = name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    let reason = match reason {
        Reason::Quit => "quit".to_owned(),
        Reason::Shutdown => "shutdown".to_owned(),
        Reason::TooSlow => "too slow: the feed has lapped it".to_owned(),
        Reason::EndOfInput => "end of input".to_owned(),
        Reason::Lost => "connection lost".to_owned(),
        Reason::Foreign(protocol) => format!("it speaks {}", protocol.as_str()),
    };
    let cut = if *is_cut { ", cut before it had all it was owed" } else { "" };
    let seconds = *connected_ms as f64 / 1000.0;
    info!(
        "client {id}{name} from {peer} disconnected: {reason}{cut}; {seconds:.1} s, {bytes_in} bytes in, {bytes_out} out"
    );
}
