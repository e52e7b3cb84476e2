//! The server: one thread with a poll loop that moves bytes between sockets and the [`Hub`].
//!
//! The hub performs no I/O. This module owns the sockets, TLS handshakes, signals, files, the clock
//! and the log. A graceful shutdown closes the listeners, drains clients for at most
//! `--drain-timeout`, and logs how many were drained and how many were cut off.

mod acceptor;
mod address_limit;
pub mod config;
mod connect_log;
mod connection;
mod credential_files;
mod descriptors;
mod events;
mod expiry;
mod flush;
mod listener;
pub mod logging;
mod peer;
mod refused;
mod secrets;

use std::hash::BuildHasher as _;
use std::io;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::credentials::file::Files;
use crate::hub::{CloseStep, Hub, HubConfig, Origin};
use crate::limits::READ_CHUNK;
use crate::net::signals::{Signals, is_ignored};
use crate::net::tls::ServerTls;
use crate::net::transport::Sent;
use crate::protocol::FeedId;
use crate::read_outcome::ReadOutcome;
use acceptor::Acceptor;
use address_limit::AddressLimit;
use config::Config;
use connect_log::{ConnectLog, NewClient};
use connection::Connection;
use expiry::ExpiryCheck;
use listener::Accepted;
use logging::CLIENT;
use refused::Refused;

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a graceful shutdown: every client was drained, or cut off at the drain timeout.
    Graceful,
    /// By a second signal, without waiting for clients.
    Forced,
}

// These tokens count down from the top. A client's token is its key; keys count up from 0.
const SIGNALS: Token = Token(usize::MAX);
const RELOAD: Token = Token(usize::MAX - 1);

/// The maximum number of events per poll. It is large, because one poll should report every ready
/// client: backpressure relies on the readiness reported so far.
const MAX_EVENTS: usize = 64 * 1024;

/// Signals within this time of the first one count as the same signal: `timeout` and many service
/// managers signal the process, and then its whole process group.
const SAME_SIGNAL_MS: u64 = 500;

/// The server: its sockets, and the hub that decides what to do with them.
///
/// **Invariants**
/// - A client's connection is at the client's key in `connections`. The key is also its token.
/// - Connections are closed after a batch of events, and accepted after that, so that no event for
///   a closed connection reaches a new client under the same key.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    signals: Signals,
    /// SIGHUP, if there are files to reload.
    reload: Option<Signals>,
    acceptor: Acceptor,
    refused: Refused,
    connections: Vec<Option<Connection>>,
    address_limit: AddressLimit,
    connect_log: ConnectLog,
    hub: Hub,
    /// The TLS configuration for new connections to the TLS listeners.
    tls: Option<ServerTls>,
    expiry: ExpiryCheck,
    files: Files,
    config: Config,
    started: Instant,
    read_buffer: Box<[u8]>,
    /// When the first SIGINT or SIGTERM arrived.
    signaled_at_ms: Option<u64>,
    /// Set once a graceful shutdown has begun.
    shutdown: Option<ShutdownSummary>,
}

/// How many clients were drained and how many were cut off during shutdown.
#[derive(Clone, Copy, Debug, Default)]
struct ShutdownSummary {
    drained: usize,
    cut: usize,
}

impl Server {
    /// Listens on all addresses. The error is one line that names the problem and the fix.
    pub fn bind(mut config: Config) -> Result<Self, String> {
        let fail = |error: io::Error| format!("cannot start: {error}");
        let listeners = config.listen.len() + config.listen_tls.len();
        descriptors::cap_clients(&mut config.limits, listeners)?;
        // Read the files before handling signals, so that Ctrl-C ends a process that waits for a
        // pipe.
        let mut files = Files::default();
        let (secrets, tls) = credential_files::read(&config, &mut files)?;
        let poll = Poll::new().map_err(fail)?;
        // A script starts its background jobs with SIGINT ignored, so that Ctrl-C ends only the
        // script.
        let stop = match is_ignored(SIGINT) {
            Some(true) => &[SIGTERM][..],
            _ => &[SIGTERM, SIGINT],
        };
        let signals = Signals::register(poll.registry(), SIGNALS, stop).map_err(fail)?;
        // With nothing to reload, SIGHUP keeps its default action, which ends the server, or stays
        // ignored after `nohup`.
        let has_files = config.secret_file.is_some()
            || config.admin_secret_file.is_some()
            || config.tls.is_some();
        let reload = has_files.then(|| Signals::register(poll.registry(), RELOAD, &[SIGHUP]));
        let reload = reload.transpose().map_err(fail)?;
        let acceptor = Acceptor::bind(&config, poll.registry())?;
        events::started(&acceptor.listeners, tls.as_ref(), &secrets, &config.limits);
        let hub_config = HubConfig {
            limits: config.limits,
            secrets,
            allow_shutdown: config.allow_shutdown,
            slow_clients: config.slow_clients,
            trace_lines: config.log_level >= log::LevelFilter::Debug,
        };
        Ok(Self {
            poll,
            signals,
            reload,
            acceptor,
            refused: Refused::default(),
            connections: Vec::new(),
            address_limit: AddressLimit::new(config.limits.max_per_address),
            connect_log: ConnectLog::new(config.limits.max_clients),
            hub: Hub::new(hub_config, random_feed_id()),
            expiry: ExpiryCheck::new(tls.is_some(), 0),
            tls,
            files,
            config,
            started: Instant::now(),
            read_buffer: vec![0; READ_CHUNK].into(),
            signaled_at_ms: None,
            shutdown: None,
        })
    }

    /// Serves until shutdown. Fails only if polling fails.
    pub fn run(mut self) -> io::Result<End> {
        let max_events = self.config.limits.max_clients.clamp(64, MAX_EVENTS);
        let mut events = Events::with_capacity(max_events);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                // The process may have been stopped for a long time. Poll again, so that input that
                // arrived meanwhile is read before deadlines expire.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let now_ms = self.now_ms();
            self.hub.begin_turn(now_ms);
            let mut is_signaled = false;
            for event in &events {
                match event.token() {
                    SIGNALS => is_signaled |= self.signals.take() > 0,
                    RELOAD => self.reload(),
                    token => self.handle_event(token, event),
                }
            }
            loop {
                self.read();
                self.hub.execute();
                if !self.hub.has_more_input() {
                    break;
                }
            }
            self.write();
            self.log_events();
            if is_signaled {
                let first_ms = *self.signaled_at_ms.get_or_insert(now_ms);
                if now_ms >= first_ms + SAME_SIGNAL_MS {
                    let cut = events::client_count(self.hub.len());
                    logging::finish();
                    warn!("second signal: exiting now, {cut} cut off");
                    return Ok(End::Forced);
                }
                self.begin_shutdown("signal");
            } else if self.hub.is_shutdown_requested() {
                self.begin_shutdown("shutdown command");
            }
            self.close();
            self.accept(now_ms);
            if self.expiry.is_due(now_ms) {
                self.tls.iter().for_each(events::expiring);
            }
            self.log_connected(now_ms);
            self.log_events();
            if let Some(ShutdownSummary { drained, cut }) = self.shutdown
                && self.hub.is_empty()
            {
                logging::finish();
                info!("shut down: {} drained, {cut} cut off", events::client_count(drained));
                return Ok(End::Graceful);
            }
        }
    }

    fn handle_event(&mut self, token: Token, event: &Event) {
        if self.acceptor.handle_event(token) {
            return;
        }
        // After an error, reading or writing reports its cause.
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.hub.handle_readable(token.0);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            self.handle_writable(token.0);
        }
        if event.is_error() {
            self.hub.handle_hangup(token.0);
        }
    }

    fn handle_writable(&mut self, key: usize) {
        let Some(Some(connection)) = self.connections.get_mut(key) else { return };
        match connection.transport().flush() {
            Ok(true) => self.hub.handle_writable(key),
            Ok(false) => {}
            Err(error) => self.handle_write_failed(key, &error),
        }
    }

    fn handle_write_failed(&mut self, key: usize, error: &io::Error) {
        self.log_events();
        debug!("client {}: write failed: {error}", self.hub.id(key));
        self.hub.handle_write_failed(key);
    }

    /// Reloads certificates and secrets, for new connections. If any file is invalid, nothing
    /// changes.
    fn reload(&mut self) {
        if self.reload.as_mut().is_none_or(|signals| signals.take() == 0) {
            return;
        }
        match credential_files::read(&self.config, &mut self.files) {
            Ok((secrets, tls)) => {
                events::reloaded(&self.config, tls.as_ref(), &self.files.pipes());
                self.hub.set_secrets(secrets);
                self.tls = tls;
                self.expiry = ExpiryCheck::new(self.tls.is_some(), self.now_ms());
            }
            Err(error) => {
                warn!("reload failed, keeping the current certificates and secrets: {error}");
            }
        }
    }

    fn read(&mut self) {
        while let Some(key) = self.hub.poll_read() {
            let connection = connection(&mut self.connections, key);
            let (outcome, overhead) = connection.transport().read(&mut self.read_buffer);
            if connection.transport().is_handshake_complete() {
                self.hub.handle_handshake_done(key);
            }
            connection.visit.handle_read(&outcome, overhead, self.hub.id(key), connection.peer);
            match &outcome {
                ReadOutcome::TlsFailed(failure) => {
                    connection.tls_failure = Some(Box::new(failure.clone()));
                }
                ReadOutcome::Failed(error) => {
                    events::hub_events(&mut self.hub, &self.connect_log, &mut self.connections);
                    debug!("client {}: read failed: {error}", self.hub.id(key));
                }
                _ => {}
            }
            self.hub.handle_read(key, &outcome, overhead);
        }
    }

    fn write(&mut self) {
        let max = self.config.limits.turn.flush_per_client;
        while let Some(key) = self.hub.poll_flush() {
            let transport = connection(&mut self.connections, key).transport();
            match flush::flush(&self.hub, key, max, transport) {
                Ok(Sent { bytes, is_full }) => self.hub.consume(key, bytes, is_full),
                Err(error) => self.handle_write_failed(key, &error),
            }
        }
    }

    fn close(&mut self) {
        while let Some((key, step)) = self.hub.poll_close() {
            match step {
                CloseStep::ShutdownWrite => {
                    let transport = connection(&mut self.connections, key).transport();
                    let result = transport.shutdown_write();
                    // If this fails, nothing more can be sent, so the shutdown counts as done.
                    self.hub.handle_write_shutdown(key, *result.as_ref().unwrap_or(&true));
                    if let Err(error) = result {
                        self.handle_write_failed(key, &error);
                    }
                }
                CloseStep::Close => self.close_connection(key),
            }
        }
    }

    fn close_connection(&mut self, key: usize) {
        self.log_events();
        let Some(mut connection) = self.connections[key].take() else { return };
        if connection.tls_failure.is_some() {
            connection.discard_input(&mut self.read_buffer);
        }
        let disconnect = self.hub.remove(key);
        if let Some(summary) = &mut self.shutdown {
            summary.drained += usize::from(!disconnect.is_cut);
            summary.cut += usize::from(disconnect.is_cut);
        }
        let Connection { peer, tls_failure, visit, .. } = &mut connection;
        let is_shown = visit.end(disconnect.reason, disconnect.id, *peer);
        events::disconnected(&disconnect, *peer, tls_failure.as_deref(), is_shown);
        self.address_limit.remove(*peer);
        self.acceptor.resume();
    }

    /// Accepts waiting connections, up to the turn's budget.
    fn accept(&mut self, now_ms: u64) {
        self.refused.close_overdue(now_ms);
        for _ in 0..self.config.limits.turn.accept {
            let Some(accepted) = self.acceptor.accept(now_ms) else { break };
            let (problem, option) = if !self.address_limit.has_room(accepted.peer) {
                ("too many connections from this address", "--max-per-address")
            } else if !self.hub.has_room() {
                ("too many clients", "--max-clients")
            } else {
                self.connect(accepted, now_ms);
                continue;
            };
            info!(target: CLIENT, "refused {}: {problem} ({option})", accepted.peer);
            self.hub.count_refused();
            self.refused.refuse(accepted, &format!("{problem}; try again later"), now_ms);
        }
    }

    fn connect(&mut self, accepted: Accepted, now_ms: u64) {
        let peer = accepted.peer;
        let mut connection = match Connection::new(accepted, self.tls.as_ref()) {
            Ok(connection) => connection,
            Err(error) => {
                self.hub.count_refused();
                return warn!(target: CLIENT, "refused {peer}: {error}");
            }
        };
        self.address_limit.add(peer);
        let source = self.address_limit.source(peer);
        let key = self.hub.connect(Origin { is_local: peer.is_local(), source });
        let id = self.hub.id(key);
        self.connect_log.add(NewClient { key, id }, now_ms);
        if connection.transport().is_handshake_complete() {
            self.hub.handle_handshake_done(key);
        }
        let socket = connection.transport().socket_mut();
        let interests = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(socket, Token(key), interests) {
            warn!(target: CLIENT, "client {id}: cannot poll its socket: {error}");
            self.hub.handle_read(key, &ReadOutcome::Failed(error), 0);
        }
        if self.connections.len() <= key {
            self.connections.resize_with(key + 1, || None);
        }
        self.connections[key] = Some(connection);
    }

    fn begin_shutdown(&mut self, cause: &str) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some(ShutdownSummary::default());
        // Close the listeners before logging this, so that nobody who sees the line can still
        // connect.
        self.acceptor.stop();
        let draining = events::client_count(self.hub.len());
        let seconds = self.config.limits.drain_timeout_ms / 1000;
        info!("shutting down ({cause}): draining {draining}, at most {seconds} s");
        self.hub.begin_shutdown();
    }

    /// The timeout of the next poll. `None` waits for an event without a timeout.
    fn timeout(&mut self) -> Option<Duration> {
        if self.hub.has_work() || self.acceptor.has_work() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.hub.next_deadline(),
            self.acceptor.next_deadline(),
            self.refused.next_deadline(),
            self.expiry.next_deadline(),
            self.connect_log.next_deadline(),
            logging::report_due_in_ms().map(|ms| self.now_ms() + ms),
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(self.now_ms())))
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Logs the clients whose connections are due in the log, up to the turn's budget for
    /// accepting.
    fn log_connected(&mut self, now_ms: u64) {
        for _ in 0..self.config.limits.turn.accept {
            let Some(client) = self.connect_log.poll(now_ms) else { break };
            events::connected(&self.hub, &mut self.connections, client);
        }
    }

    /// Logs what the clients did since the last call. Call it before logging the end of a
    /// connection or of the server, so that the end comes last.
    fn log_events(&mut self) {
        events::hub_events(&mut self.hub, &self.connect_log, &mut self.connections);
        self.hub.set_log_dropped(logging::report_missing());
    }
}

fn connection(connections: &mut [Option<Connection>], key: usize) -> &mut Connection {
    connections[key].as_mut().expect("the hub returns only keys of connected clients")
}

/// Returns an id that differs from run to run: the standard library seeds its hash maps at random.
fn random_feed_id() -> FeedId {
    FeedId(std::hash::RandomState::new().hash_one(std::process::id()) as u32)
}
