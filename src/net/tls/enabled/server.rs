//! The server side of TLS: presents its certificate, and verifies client certificates.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::certificates::{fingerprint, read_chain, read_key, read_roots};
use super::self_signed;
use super::stream::TlsStream;
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
        let chain = read_chain(&certificate)?;
        let fingerprint = fingerprint(&chain[0]);
        let key = read_key(&key_file)?;
        let builder = ServerConfig::builder();
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier =
                    WebPkiClientVerifier::builder(Arc::new(read_roots(path)?))
                        .build()
                        .map_err(|error| format!("certificate {}: {error}", path.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let (certificate, key) = (certificate.display(), key_file.display());
            match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("key {key} does not belong to certificate {certificate}")
                }
                error => format!("certificate {certificate} with key {key}: {error}"),
            }
        })?;
        // Session resumption would cost memory per client, and outlive a replaced certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), fingerprint, key_file })
    }

    /// Encrypts an accepted connection. The handshake happens as the connection is read and
    /// written.
    pub(crate) fn accept<S: Socket>(&self, socket: S) -> io::Result<Box<dyn Transport<S>>> {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        Ok(Box::new(TlsStream::new(socket, connection.map_err(io::Error::other)?)))
    }
}
