//! The server's side of TLS: presenting its certificate, and verifying client certificates.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;

use super::certificates::{fingerprint, read_identity};
use super::error::to_io;
use super::self_signed;
use super::stream::TlsStream;
use super::trust::ClientVerifier;
use crate::net::stream::Socket;
use crate::net::tls_config::{Fingerprint, Identity, ServerTlsConfig};
use crate::net::transport::Transport;

/// The TLS configuration for new connections.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    /// The fingerprint of the server's certificate, for clients to pin.
    pub(crate) fingerprint: Fingerprint,
    /// The file of the private key.
    pub(crate) key_file: PathBuf,
}

impl ServerTls {
    /// Reads the files, at start and on every reload. The error is one line that names the file.
    pub(crate) fn read(settings: &ServerTlsConfig) -> Result<Self, String> {
        let (certificate, key_file) = match &settings.identity {
            Identity::Files { certificate, key } => (certificate.clone(), key.clone()),
            Identity::SelfSigned { folder } => self_signed::create_or_reuse(folder)?,
        };
        let identity = read_identity(&certificate, &key_file)?;
        let fingerprint = fingerprint(identity.end_entity_cert().expect("a chain is not empty"));
        let builder = ServerConfig::builder();
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(path)?)),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        // Session resumption would cost memory per client, and outlive a replaced certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), fingerprint, key_file })
    }

    /// Encrypts an accepted connection. The handshake happens as it is read and written.
    pub(crate) fn accept<S: Socket>(&self, socket: S) -> io::Result<Box<dyn Transport<S>>> {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        Ok(Box::new(TlsStream::new(socket, connection.map_err(|error| to_io(&error))?)))
    }
}
