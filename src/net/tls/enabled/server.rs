//! The server side of TLS: presents its certificate, and verifies client certificates.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;

use super::alerts;
use super::certificates::{fingerprint, read_identity};
use super::error::to_io;
use super::expiry::Expiry;
use super::self_signed::{SelfSigned, create_or_reuse};
use super::stream::{PeerVerifier, TlsStream};
use super::trust::ClientVerifier;
use super::validity::Validity;
use crate::credentials::file::Files;
use crate::net::stream::Socket;
use crate::net::tls_config::{Fingerprint, Identity, ServerTlsConfig};
use crate::net::transport::Transport;

/// The number of tickets per connection. One is enough, because a resumed connection brings another
/// one.
const TICKETS: usize = 1;

/// The maximum size of the session in a ticket, in bytes.
const MAX_SESSION: usize = 8 * 1024;

/// The TLS configuration for new connections.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    /// Verifies the certificates of clients, if they need any.
    verifier: Option<Arc<ClientVerifier>>,
    /// The fingerprint of the server's certificate, for clients to pin.
    pub(crate) fingerprint: Fingerprint,
    /// The file of the private key.
    pub(crate) key_file: PathBuf,
    /// For the log: whether a self-signed certificate that was not valid could be replaced.
    pub(crate) renewal: Option<String>,
    expiry: Expiry,
}

impl ServerTls {
    /// Reads the files, at start and on every reload. The error is one line that names the file.
    pub(crate) fn read(settings: &ServerTlsConfig, files: &mut Files) -> Result<Self, String> {
        let now = SystemTime::now();
        let SelfSigned { certificate, key: key_file, is_renewable, renewal } =
            match &settings.identity {
                Identity::Files { certificate, key } => {
                    let (certificate, key) = (certificate.clone(), key.clone());
                    SelfSigned { certificate, key, is_renewable: false, renewal: None }
                }
                Identity::SelfSigned { folder } => create_or_reuse(folder, seconds(now))?,
            };
        let advice = match is_renewable {
            true => "SIGHUP or a restart replaces an expired one",
            false => "replace it, then send SIGHUP to this process",
        };
        let identity = read_identity(&certificate, &key_file, files)?;
        let own = identity.end_entity_cert().expect("a chain is not empty");
        let fingerprint = fingerprint(own);
        let not_after = Validity::of(own).map_or(u64::MAX, |dates| dates.not_after);
        let expiry = Expiry::new(&certificate, &identity.cert, advice);
        let client_ca = settings.client_ca.as_deref();
        let verifier = client_ca.map(|path| ClientVerifier::new(path, files)).transpose()?;
        let verifier = verifier.map(Arc::new);
        let builder = ServerConfig::builder_with_provider(alerts::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| to_io(&error).to_string())?;
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        // Clients resume sessions with tickets, which cost no memory here. The keys of the tickets
        // belong to this configuration: a reload replaces them, so no session outlives the
        // certificates and authorities that it began with.
        let tickets = Ticketer::new().map_err(|error| to_io(&error).to_string())?;
        config.ticketer = Arc::new(Tickets { tickets, not_after });
        config.send_tls13_tickets = TICKETS;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), verifier, fingerprint, key_file, renewal, expiry })
    }

    /// Returns a line for each of the server's certificates that is not valid now or will soon
    /// expire.
    pub(crate) fn warnings(&self, now: SystemTime) -> Vec<String> {
        self.expiry.warnings(seconds(now))
    }

    /// Encrypts an accepted connection. The handshake happens as the connection is read and
    /// written.
    pub(crate) fn accept<S: Socket>(&self, socket: S) -> io::Result<Box<dyn Transport<S>>> {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        let connection = connection.map_err(|error| to_io(&error))?;
        let verifier = self.verifier.clone().map(|verifier| verifier as Arc<dyn PeerVerifier>);
        Ok(Box::new(TlsStream::new(socket, connection, verifier)))
    }
}

/// The tickets of one configuration.
#[derive(Debug)]
struct Tickets {
    tickets: Arc<dyn ProducesTickets>,
    /// When the server's certificate expires, in seconds since 1970. Most clients do not check the
    /// certificate when they resume a session.
    not_after: u64,
}

impl Tickets {
    fn is_valid(&self) -> bool {
        seconds(SystemTime::now()) <= self.not_after
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    /// A session holds the client's certificates. A client that has many could not send the ticket
    /// back, because its ClientHello would be too long.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let is_wanted = session.len() <= MAX_SESSION && self.is_valid();
        is_wanted.then(|| self.tickets.encrypt(session)).flatten()
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.is_valid().then(|| self.tickets.decrypt(ticket)).flatten()
    }
}

/// Seconds since 1970. A clock that shows an earlier time counts as 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_end_with_the_certificate_and_have_a_maximum_size() {
        let now = seconds(SystemTime::now());
        let new = |not_after| Tickets { tickets: Ticketer::new().expect("keys"), not_after };
        let mut tickets = new(now + 1000);
        let ticket = tickets.encrypt(b"a session").expect("a ticket");
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(tickets.encrypt(&[0; MAX_SESSION + 1]), None);
        assert_eq!(new(now + 1000).decrypt(&ticket), None, "other keys");
        tickets.not_after = now - 1;
        assert_eq!((tickets.decrypt(&ticket), tickets.encrypt(b"a session")), (None, None));
    }
}
