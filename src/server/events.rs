//! The server's log lines: what happened, to which client, and what to do about it.

use std::path::Path;
use std::time::SystemTime;

use log::{Level, debug, info, log, warn};

use super::config::Config;
use super::connect_log::{ConnectLog, NewClient};
use super::connection::Connection;
use super::listener::Listener;
use super::logging::CLIENT;
use super::peer::Peer;
use crate::credentials::file::exposures;
use crate::hub::{Disconnect, Event, Hub, LineTrace, RateLimit, Reason, Secrets};
use crate::limits::{Limits, STALL_BYTES};
use crate::net::stream::Endpoint;
use crate::net::tls::ServerTls;
use crate::protocol::ForeignProtocol;
use crate::read_outcome::TlsFailure;

pub(super) fn started(
    listeners: &[Listener],
    tls: Option<&ServerTls>,
    secrets: &Secrets,
    limits: &Limits,
) {
    for Listener { address, is_tls, .. } in listeners {
        let (encrypted, option, netcat) = match is_tls {
            true => (" (encrypted)", "--listen-tls", "ncat --ssl"),
            false => ("", "--listen", "nc"),
        };
        match address {
            Endpoint::Tcp(tcp) if tcp.ip().is_loopback() => {
                let (ip, port) = (tcp.ip(), tcp.port());
                info!(
                    "listening on {tcp}{encrypted}, for this host only; for other hosts, use \
                     {option} 0.0.0.0:{port}; try: {netcat} {ip} {port}"
                );
            }
            _ => info!("listening on {address}{encrypted}"),
        }
        if address.is_remote() && !is_tls && !secrets.is_empty() {
            warn!(
                "clients of {address} send their secrets unencrypted over the network; \
                 use --listen-tls {address}"
            );
        }
    }
    log_certificate(tls);
    let [process, kernel] = limits.max_memory(tls.is_some()).map(|bytes| bytes >> 20);
    info!(
        "memory: little while clients keep reading; worst case with {}: {process} MiB, and {kernel} \
         MiB of kernel send buffers; lower it with --max-clients",
        client_count(limits.max_clients),
    );
}

/// Logs the certificate, if any. Warns if it has expired or soon will, or if other users can read
/// or replace its key.
fn log_certificate(tls: Option<&ServerTls>) {
    let Some(tls) = tls else { return };
    let ServerTls { fingerprint, key_file: key, renewal, .. } = tls;
    if let Some(renewal) = renewal {
        warn!("{renewal}");
    }
    info!(
        "certificate {fingerprint}; to pin it: oyez -s HOST:PORT --tls-fingerprint {fingerprint}"
    );
    expiring(tls);
    exposures("key", key).iter().for_each(|warning| warn!("{warning}"));
}

/// Warns about certificates that are not valid now or will soon expire.
pub(super) fn expiring(tls: &ServerTls) {
    for warning in tls.warnings(SystemTime::now()) {
        warn!("{warning}");
    }
}

/// Logs a reload. `pipes` are the files that were not read again, because they are pipes.
pub(super) fn reloaded(config: &Config, tls: Option<&ServerTls>, pipes: &[&Path]) {
    let secrets = [&config.secret_file, &config.admin_secret_file].into_iter().flatten();
    let mut files: Vec<String> = secrets.map(|path| path.display().to_string()).collect();
    files.extend(tls.map(|_| "the certificate".to_owned()));
    let kept = match pipes {
        [] => String::new(),
        pipes => {
            let pipes: Vec<String> = pipes.iter().map(|path| path.display().to_string()).collect();
            format!("; kept the contents of the pipe {}", pipes.join(" and "))
        }
    };
    info!("reloaded {}, for new connections{kept}", files.join(", "));
    log_certificate(tls);
}

/// Logs the client's connection, unless it has been logged or the client is gone.
pub(super) fn connected(hub: &Hub, connections: &mut [Option<Connection>], client: NewClient) {
    let NewClient { key, id } = client;
    if let Some(Some(Connection { visit, peer, .. })) = connections.get_mut(key)
        && hub.id(key) == id
    {
        visit.log(id, *peer);
    }
}

/// Logs what the hub reports. A client's connection comes first, even if its own line is not due.
pub(super) fn hub_events(
    hub: &mut Hub,
    connect_log: &ConnectLog,
    connections: &mut [Option<Connection>],
) {
    while let Some(event) = hub.poll_event() {
        if let Some(client) = affected(&event).and_then(|id| connect_log.find(id)) {
            connected(hub, connections, client);
        }
        hub_event(event);
    }
}

/// Returns the client that the event happened to, if it may have sent nothing so far. For the end
/// of a health check there is none: its connection is not logged.
fn affected(event: &Event) -> Option<u64> {
    match event {
        Event::Lagged { id, .. } | Event::PublishersBlocked { id, .. } => Some(*id),
        Event::Closing { id, reason } if reason.goodbye().is_some() => Some(*id),
        _ => None,
    }
}

fn hub_event(event: Event) {
    match event {
        Event::Line(LineTrace { id, received, answered }) => {
            debug!("client {id}: {:?} -> {:?}", shorten(received), shorten(answered));
        }
        Event::Authenticated { id, role } => {
            info!(target: CLIENT, "client {id}: authenticated as {}", role.as_str());
        }
        Event::WrongSecret { id, tries } => {
            warn!(target: CLIENT, "client {id}: wrong secret (attempt {tries})");
        }
        Event::Closing { id, reason } => debug!("client {id}: closing: {}", describe(reason, None)),
        Event::Lagged { id, lines } => {
            info!(
                target: CLIENT,
                "client {id}: slow consumer, skipped {lines} lines (logged once per client)"
            );
        }
        Event::PublishersBlocked { id, readers } => {
            let others = match readers {
                1 => String::new(),
                _ => format!(" and {} more", readers - 1),
            };
            info!(
                "slow consumers: broadcasts wait for client {id}{others} (logged at most once a \
                 minute; 'held' in stats counts every delay)"
            );
        }
        Event::RateLimited { id, limit } => {
            let limit = match limit {
                RateLimit::Lines => "over --rate-limit",
                RateLimit::Replays => "over the replay limit",
            };
            info!(
                target: CLIENT,
                "client {id}: {limit}, reading more slowly (logged once per client)"
            );
        }
    }
}

/// Logs a finished connection. `failure` is why TLS failed, if it did. Unless `is_shown`, the
/// connection was only a health check, and its line has level `debug`.
pub(super) fn disconnected(
    client: &Disconnect,
    peer: Peer,
    failure: Option<&TlsFailure>,
    is_shown: bool,
) {
    let Disconnect { id, name, reason, is_cut, missed, connected_ms, bytes_in, bytes_out } = client;
    let name = name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    let reason = describe(*reason, failure);
    let cut = if *is_cut { ", closed before everything was sent" } else { "" };
    let missed = match missed {
        0 => String::new(),
        lines => format!(", missed {lines} lines"),
    };
    let seconds = *connected_ms as f64 / 1000.0;
    log!(
        target: CLIENT,
        if is_shown { Level::Info } else { Level::Debug },
        "client {id}{name} from {peer} disconnected: {reason}{cut}{missed}; \
         {seconds:.1} s, {bytes_in} bytes in, {bytes_out} out"
    );
}

fn describe(reason: Reason, failure: Option<&TlsFailure>) -> String {
    let lost = || failure.map_or_else(|| "connection lost".to_owned(), ToString::to_string);
    match reason {
        Reason::Quit => "quit".to_owned(),
        Reason::Shutdown => "shutdown".to_owned(),
        Reason::TooSlow => "too slow: fell more than --feed-size behind".to_owned(),
        Reason::Stalled => format!(
            "too slow: read less than {} KiB in --stall-timeout while broadcasts waited for it",
            STALL_BYTES >> 10
        ),
        Reason::Idle => "idle for --idle-timeout".to_owned(),
        Reason::AuthTimeout => "authentication timed out".to_owned(),
        Reason::AuthFailed => "too many wrong secrets".to_owned(),
        Reason::HandshakeFailed => format!("TLS handshake failed: {}", lost()),
        Reason::EndOfInput => "end of input".to_owned(),
        Reason::Truncated => "connection cut: TLS ended without a close_notify".to_owned(),
        Reason::Lost => lost(),
        Reason::Foreign(protocol @ ForeignProtocol::Proxy) => {
            format!("foreign protocol: {}; turn it off in the proxy", protocol.as_str())
        }
        Reason::Foreign(protocol) => format!("foreign protocol: {}", protocol.as_str()),
    }
}

pub(super) fn client_count(count: usize) -> String {
    format!("{count} client{}", if count == 1 { "" } else { "s" })
}

/// Shortens a text so that two of them fit into a log line.
fn shorten(text: String) -> String {
    const MAX: usize = 1000;
    match text.len() {
        0..=MAX => text,
        len => format!("{}… ({len} bytes)", &text[..text.floor_char_boundary(MAX)]),
    }
}
