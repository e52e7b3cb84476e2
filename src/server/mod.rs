//! The one thread: a poll loop that moves bytes between sockets and the [`Hub`].

mod acceptor;
mod addresses;
pub mod config;
mod descriptors;
mod flush;
mod listener;
pub mod logging;
mod peer;
mod refused;
mod report;
mod secrets;

use std::hash::BuildHasher;
use std::io;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::{Events, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::hub::{CloseStep, Hub, HubConfig, Origin, Secrets};
use crate::limits::{Limits, READ_CHUNK};
use crate::net::signals::Signals;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::net::transport::{Sent, Transport};
use crate::protocol::FeedId;
use crate::read_outcome::{ReadOutcome, TlsFailure};
use acceptor::Acceptor;
use addresses::Addresses;
use config::Config;
use peer::Peer;

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everybody was served or given up in time.
    Graceful,
    /// A second signal came, and nothing was waited for.
    Forced,
}

/// The keys of clients are tokens, too, and count from 0.
const SIGNALS: Token = Token(usize::MAX);
const RELOAD: Token = Token(usize::MAX - 1);

/// How many events are taken from the poll at once, at most. All that there are should fit: what is
/// not seen this turn, a turn's broadcasts do not wait for.
const MAX_EVENTS: usize = 64 * 1024;

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
    /// There are files to be read anew.
    reload: Option<Signals>,
    acceptor: Acceptor,
    connections: Vec<Option<Connection>>,
    addresses: Addresses,
    hub: Hub,
    /// What new connections are encrypted with, where they are.
    tls: Option<ServerTls>,
    config: Config,
    limits: Limits,
    started: Instant,
    input: Box<[u8]>,
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Connection {
    transport: Transport,
    peer: Peer,
    /// What was wrong with its encryption.
    failure: Option<TlsFailure>,
}

/// What became of the clients that were there at the server's end.
#[derive(Clone, Copy, Debug, Default)]
struct Farewell {
    drained: usize,
    cut: usize,
}

impl Server {
    /// Listens on all addresses. The error is one line that says what is wrong, and what to do.
    pub fn bind(config: Config) -> Result<Self, String> {
        let system = |error: io::Error| format!("cannot start: {error}");
        let mut limits = config.limits;
        descriptors::fit(&mut limits, config.listen.len() + config.listen_tls.len())?;
        let poll = Poll::new().map_err(system)?;
        let signals =
            Signals::register(poll.registry(), SIGNALS, &[SIGINT, SIGTERM]).map_err(system)?;
        // Without such files, the signal keeps its usual meaning.
        let has_files = config.secret_file.is_some()
            || config.admin_secret_file.is_some()
            || config.trust.is_some();
        let reload = has_files.then(|| Signals::register(poll.registry(), RELOAD, &[SIGHUP]));
        let reload = reload.transpose().map_err(system)?;
        let (secrets, tls) = read_files(&config)?;
        let acceptor = Acceptor::bind(&config, poll.registry())?;
        secrets::warn_of_plain_addresses(&secrets, acceptor.addresses());
        let rules = HubConfig {
            limits,
            secrets,
            allow_shutdown: config.allow_shutdown,
            slow_clients: config.slow_clients,
            trace_lines: config.log_level >= log::LevelFilter::Debug,
        };
        report::started(acceptor.addresses(), tls.as_ref(), &limits);
        Ok(Self {
            poll,
            signals,
            reload,
            acceptor,
            connections: Vec::new(),
            addresses: Addresses::new(limits.max_per_address),
            hub: Hub::new(rules, new_feed_id()),
            tls,
            config,
            limits,
            started: Instant::now(),
            input: vec![0; READ_CHUNK].into(),
            farewell: None,
        })
    }

    /// Serves until the end. The error is one that leaves nothing to serve with.
    pub fn run(mut self) -> io::Result<End> {
        let mut events = Events::with_capacity(self.limits.max_clients.clamp(64, MAX_EVENTS));
        let mut signals = 0;
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                // It was stopped, perhaps for long. Nothing is too late before it is seen what has come
                // meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let now_ms = self.now_ms();
            self.hub.begin_turn(now_ms);
            let signals_before = signals;
            for event in &events {
                match event.token() {
                    SIGNALS => signals += self.signals.take(),
                    RELOAD => self.reload(),
                    token => self.note(token, event),
                }
            }
            self.read_and_execute();
            self.write();
            if signals > 1 {
                report::forced(self.hub.len());
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
                report::shut_down(farewell.drained, farewell.cut);
                return Ok(End::Graceful);
            }
        }
    }

    fn note(&mut self, token: Token, event: &Event) {
        if self.acceptor.note(token) {
            return;
        }
        // What went wrong, reading and writing will tell.
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.hub.handle_readable(token.0);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            self.note_writable(token.0);
        }
        if event.is_error() {
            self.hub.handle_hangup(token.0);
        }
    }

    fn note_writable(&mut self, key: usize) {
        let Some(Some(connection)) = self.connections.get_mut(key) else { return };
        match connection.transport.flush() {
            Ok(true) => self.hub.handle_writable(key),
            Ok(false) => {}
            Err(error) => self.note_write_failed(key, &error),
        }
    }

    fn note_write_failed(&mut self, key: usize, error: &io::Error) {
        debug!("client {}: {error}", self.hub.id(key));
        self.hub.handle_write_failed(key);
    }

    /// Reads certificates and secrets anew, for those who come after it. Where one of them is wrong, all
    /// stay as they are.
    fn reload(&mut self) {
        if self.reload.as_mut().is_none_or(|signals| signals.take() == 0) {
            return;
        }
        match read_files(&self.config) {
            Ok((secrets, tls)) => {
                info!("read anew: {}", report::files(&self.config));
                if let Some(tls) = &tls {
                    report::identity(tls);
                }
                self.hub.set_secrets(secrets);
                self.tls = tls;
            }
            Err(error) => warn!("nothing was read anew, and all stays as it is: {error}"),
        }
    }

    fn read_and_execute(&mut self) {
        loop {
            self.read();
            self.hub.execute();
            if !self.hub.has_more_input() {
                break;
            }
        }
    }

    fn read(&mut self) {
        while let Some(key) = self.hub.poll_read() {
            let connection = connected(&mut self.connections, key);
            let (outcome, overhead) = connection.transport.read(&mut self.input);
            if connection.transport.is_handshake_complete() {
                self.hub.handle_handshake_done(key);
            }
            match &outcome {
                ReadOutcome::TlsFailed(failure) => connection.failure = Some(failure.clone()),
                ReadOutcome::Failed(error) => debug!("client {}: {error}", self.hub.id(key)),
                _ => {}
            }
            self.hub.handle_read(key, &outcome, overhead);
        }
    }

    fn write(&mut self) {
        while let Some(key) = self.hub.poll_flush() {
            let transport = &mut connected(&mut self.connections, key).transport;
            let most = self.limits.turn.flush_per_client;
            match flush::flush(&self.hub, key, most, transport) {
                Ok(Sent { bytes, is_full }) => self.hub.consume(key, bytes, is_full),
                Err(error) => self.note_write_failed(key, &error),
            }
        }
    }

    fn close(&mut self) {
        while let Some((key, close)) = self.hub.poll_close() {
            match close {
                CloseStep::ShutdownWrite => {
                    let finished = connected(&mut self.connections, key).transport.shutdown_write();
                    match finished {
                        Ok(is_done) => self.hub.handle_write_shutdown(key, is_done),
                        // All that it was owed was sent before.
                        Err(error) => {
                            self.hub.handle_write_shutdown(key, true);
                            self.note_write_failed(key, &error);
                        }
                    }
                }
                CloseStep::Close => self.close_connection(key),
            }
        }
    }

    fn close_connection(&mut self, key: usize) {
        let Some(connection) = self.connections[key].take() else { return };
        let departure = self.hub.remove(key);
        if let Some(farewell) = &mut self.farewell {
            if departure.is_cut {
                farewell.cut += 1;
            } else {
                farewell.drained += 1;
            }
        }
        report::departure(&departure, connection.peer, connection.failure.as_ref());
        self.addresses.leave(connection.peer);
        self.acceptor.resume();
    }

    /// Lets in who waits, as many as a turn may.
    fn accept(&mut self, now_ms: u64) {
        self.acceptor.close_overdue(now_ms);
        for _ in 0..self.limits.turn.accept {
            let Some((stream, peer, is_tls)) = self.acceptor.accept(now_ms) else { break };
            self.admit(stream, peer, is_tls, now_ms);
        }
    }

    fn admit(&mut self, stream: Stream, peer: Peer, is_tls: bool, now_ms: u64) {
        if !self.addresses.enter(peer) {
            info!("refused {peer}: it has as many connections as --max-per-address says");
            self.hub.count_refused();
            let explanation = "there are too many connections from your address; close one";
            return self.acceptor.refuse(stream, is_tls, explanation, now_ms);
        }
        if !self.hub.has_room() {
            info!("refused {peer}: all {} places are taken", self.limits.max_clients);
            self.hub.count_refused();
            self.addresses.leave(peer);
            let explanation = "the server has as many clients as it takes; try again later";
            return self.acceptor.refuse(stream, is_tls, explanation, now_ms);
        }
        let mut transport = match self.transport(stream, is_tls) {
            Ok(transport) => transport,
            Err(error) => {
                self.hub.count_refused();
                self.addresses.leave(peer);
                return warn!("refused {peer}: {error}");
            }
        };
        let key = self.hub.connect(Origin { is_local: peer.is_local() });
        let registered = transport.socket_mut().register(self.poll.registry(), Token(key));
        if self.connections.len() <= key {
            self.connections.resize_with(key + 1, || None);
        }
        info!("client {} connected from {peer}", self.hub.id(key));
        if transport.is_handshake_complete() {
            self.hub.handle_handshake_done(key);
        }
        self.connections[key] = Some(Connection { transport, peer, failure: None });
        if let Err(error) = registered {
            warn!("client {}: cannot be polled: {error}", self.hub.id(key));
            self.hub.handle_read(key, &ReadOutcome::Failed(error), 0);
        }
    }

    fn transport(&self, stream: Stream, is_tls: bool) -> io::Result<Transport> {
        match (is_tls, &self.tls) {
            (false, _) => Ok(Transport::Plain(stream)),
            (true, Some(tls)) => Ok(Transport::Tls(Box::new(tls.accept(stream)?))),
            (true, None) => Err(io::Error::other("there is no certificate to show")),
        }
    }

    fn begin_shutdown(&mut self, cause: &str) {
        if self.farewell.is_some() {
            return;
        }
        self.farewell = Some(Farewell::default());
        self.acceptor.stop();
        // Who reads this finds nobody listening.
        report::shutting_down(cause, self.hub.len(), self.limits.drain_timeout_ms);
        self.hub.begin_shutdown();
    }

    /// How long the poll may wait.
    fn timeout(&mut self) -> Option<Duration> {
        if self.hub.has_work() || self.acceptor.has_work() {
            return Some(Duration::ZERO);
        }
        let deadlines = [self.hub.next_deadline(), self.acceptor.next_deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(self.now_ms())))
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn log_turn(&mut self) {
        while let Some(event) = self.hub.poll_event() {
            report::event(event);
        }
        logging::report_dropped();
        self.hub.set_log_dropped(logging::dropped());
    }
}

/// What clients have to show, and what is shown to them.
fn read_files(config: &Config) -> Result<(Secrets, Option<ServerTls>), String> {
    let secrets = secrets::read(config)?;
    let tls = config.trust.as_ref().map(ServerTls::read).transpose()?;
    Ok((secrets, tls))
}

fn connected(connections: &mut [Option<Connection>], key: usize) -> &mut Connection {
    connections[key].as_mut().expect("the hub names only clients that are connected")
}

/// A number that differs from run to run: the standard library seeds its hash maps with one.
fn new_feed_id() -> FeedId {
    FeedId(std::hash::RandomState::new().hash_one(std::process::id()) as u32)
}
