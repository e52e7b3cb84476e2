//! What the log says of the server's life.

use log::{debug, info, warn};

use super::peer::Peer;
use crate::credentials::file::{is_readable_by_others, is_writable_by_others};
use crate::hub::{Disconnect, Event, LineTrace, Reason};
use crate::limits::Limits;
use crate::net::stream::Endpoint;
use crate::net::tls::ServerTls;
use crate::read_outcome::TlsFailure;
use crate::server::config::Config;

pub(super) fn started<'a>(
    addresses: impl Iterator<Item = (&'a Endpoint, bool)>,
    tls: Option<&ServerTls>,
    limits: &Limits,
) {
    for address in addresses {
        match address {
            (Endpoint::Tcp(tcp), is_tls) if tcp.ip().is_loopback() => {
                let (ip, port) = (tcp.ip(), tcp.port());
                let (option, ssl) =
                    if is_tls { ("--listen-tls", "ncat --ssl") } else { ("--listen", "nc") };
                info!(
                    "listening on {tcp}, for this host only ({option} 0.0.0.0:{port} lets others in); try: {ssl} {ip} {port}"
                );
            }
            (address, true) => info!("listening on {address}, encrypted"),
            (address, false) => info!("listening on {address}"),
        }
    }
    if let Some(tls) = tls {
        identity(tls);
    }
    let [process, kernel] = limits.max_memory(tls.is_some()).map(|bytes| bytes >> 20);
    info!(
        "{} at most; the limits allow {process} MiB in the process and {kernel} MiB in the kernel's send buffers",
        counted(limits.max_clients),
    );
}

/// Which files can be read anew.
pub(super) fn files(config: &Config) -> String {
    let secrets = [&config.secret_file, &config.admin_secret_file].into_iter().flatten();
    let mut files: Vec<String> = secrets.map(|path| path.display().to_string()).collect();
    files.extend(config.trust.is_some().then(|| "the certificate".to_owned()));
    files.join(", ")
}

/// Says which certificate is shown, and warns of a key that is not kept.
pub(super) fn identity(tls: &ServerTls) {
    let fingerprint = tls.fingerprint();
    info!(
        "the certificate is {fingerprint}; clients can pin it: oyez --tls-fingerprint {fingerprint}"
    );
    let key = tls.key_file();
    if is_readable_by_others(key) {
        let key = key.display();
        warn!("key {key}: others can read it; mend that with: chmod 600 {key}");
    }
    if let Some(folder) = tls.key_file().parent().filter(|folder| is_writable_by_others(folder)) {
        let folder = folder.display();
        warn!("folder {folder}: others can put keys there; mend that with: chmod go-w {folder}");
    }
}

pub(super) fn shutting_down(cause: &str, clients: usize, timeout_ms: u64) {
    let (clients, seconds) = (counted(clients), timeout_ms / 1000);
    info!("shutting down on {cause}: {seconds} s for {clients} to take what is owed, and to close");
}

pub(super) fn shut_down(drained: usize, cut: usize) {
    info!("shut down: {} drained, {cut} cut", counted(drained));
}

pub(super) fn forced(clients: usize) {
    warn!("a second signal: ending at once, with {} cut", counted(clients));
}

pub(super) fn event(event: Event) {
    match event {
        Event::Line(report) => line(report),
        Event::Authenticated { id, role } => info!("client {id}: let in as {}", role.as_str()),
        Event::WrongSecret { id, tries } => warn!("client {id}: a wrong secret, try {tries}"),
        Event::Closing { id, reason } => debug!("client {id} leaves: {}", describe(reason, None)),
        Event::Lagged { id, lines } => info!(
            "client {id}: too slow: it misses {lines} lines, and goes on with newer ones (said once for each client)"
        ),
        Event::PublishersBlocked { id, readers: clients } => {
            let who = match clients {
                1 => format!("client {id}, which is"),
                _ => format!("{clients} clients, {id} among them, which are"),
            };
            info!(
                "broadcasts wait for {who} too slow (said once a minute at most; 'stats' counts all that are held)"
            );
        }
        Event::RateLimited { id } => {
            info!("client {id}: says more than --rate-limit, and is read on more slowly");
        }
    }
}

fn line(line: LineTrace) {
    let (received, answered) = (shorten(line.received), shorten(line.answered));
    debug!("client {}: {received:?} -> {answered:?}", line.id);
}

/// `failure` is what was wrong with the encryption, if something was.
pub(super) fn departure(departure: &Disconnect, peer: Peer, failure: Option<&TlsFailure>) {
    let Disconnect { id, name, reason, is_cut, missed, connected_ms, bytes_in, bytes_out } =
        departure;
    let name = name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    let reason = describe(*reason, failure);
    let cut = if *is_cut { ", cut before it had all it was owed" } else { "" };
    let missed = match missed {
        0 => String::new(),
        lines => format!(", it missed {lines} lines"),
    };
    let seconds = *connected_ms as f64 / 1000.0;
    info!(
        "client {id}{name} from {peer} disconnected: {reason}{cut}{missed}; {seconds:.1} s, {bytes_in} bytes in, {bytes_out} out"
    );
}

/// `failure` is what was wrong with the encryption, if something was.
fn describe(reason: Reason, failure: Option<&TlsFailure>) -> String {
    match reason {
        Reason::Quit => "quit".to_owned(),
        Reason::Shutdown => "shutdown".to_owned(),
        Reason::TooSlow => "too slow: the feed has lapped it".to_owned(),
        Reason::Stalled => {
            "too slow: it took next to nothing for --stall-timeout, while broadcasts waited for it"
                .to_owned()
        }
        Reason::Idle => "idle for --idle-timeout".to_owned(),
        Reason::AuthTimeout => "it did not come in within --auth-timeout".to_owned(),
        Reason::AuthFailed => "it tried too many wrong secrets".to_owned(),
        Reason::HandshakeFailed => {
            let why =
                failure.map_or_else(|| "the connection was lost".to_owned(), ToString::to_string);
            format!("the handshake failed: {why}")
        }
        Reason::EndOfInput => "end of input".to_owned(),
        Reason::Lost => failure.map_or_else(|| "connection lost".to_owned(), ToString::to_string),
        Reason::Foreign(protocol) => format!("it speaks {}", protocol.as_str()),
    }
}

fn counted(clients: usize) -> String {
    format!("{clients} client{}", if clients == 1 { "" } else { "s" })
}

/// The text, if it is not too long for two of it to stand in a line of the log.
fn shorten(mut text: String) -> String {
    const MAX: usize = 1000;
    if text.len() > MAX {
        let len = text.len();
        text.truncate(text.floor_char_boundary(MAX));
        text.push_str(&format!("… ({len} bytes)"));
    }
    text
}
