//! The server's side of TLS: its certificate, and the authority that clients' certificates need.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::certificates::{fingerprint, provider, read_chain, read_key, read_roots};
use super::self_signed;
use super::stream::TlsStream;
use crate::net::stream::Socket;
use crate::net::tls_config::{Fingerprint, Identity, ServerTlsConfig};

/// What new connections are encrypted with.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    key_file: PathBuf,
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
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(read_roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
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
        // Resumption would cost memory per client, and outlive a replaced certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), fingerprint, key_file })
    }

    /// The fingerprint of the server's certificate, for clients to pin.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The file of the private key.
    pub(crate) fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// Encrypts an accepted connection. The handshake happens as it is read and written.
    pub(crate) fn accept<S: Socket>(&self, socket: S) -> io::Result<TlsStream<S>> {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        Ok(TlsStream::new(socket, connection.map_err(io::Error::other)?))
    }
}
