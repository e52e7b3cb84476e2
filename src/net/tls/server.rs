//! What the server shows of itself, and whom it lets in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::{TlsStream, files, fingerprint, provider, self_signed};
use crate::net::stream::Stream;
use crate::net::tls_config::{Fingerprint, Identity, ServerTrust};

/// What new connections are accepted with.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    key_file: PathBuf,
}

impl ServerTls {
    /// Reads the files anew. The error is one line that says what is wrong with which of them.
    pub(crate) fn read(trust: &ServerTrust) -> Result<Self, String> {
        let (certificate, key_file) = match &trust.identity {
            Identity::Files { certificate, key } => (certificate.clone(), key.clone()),
            Identity::SelfSigned { folder } => self_signed::files(folder)?,
        };
        let chain = files::chain(&certificate)?;
        let fingerprint = fingerprint(&chain[0]);
        let key = files::key(&key_file)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &trust.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(files::roots(path)?);
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
                    format!("key {key} is not the one that belongs to certificate {certificate}")
                }
                error => format!("certificate {certificate} with key {key}: {error}"),
            }
        })?;
        // Sessions that can be resumed cost memory for each client, and would outlive a certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), fingerprint, key_file })
    }

    /// Which certificate is shown.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Where the key is.
    pub(crate) fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The connection, which has to shake hands first.
    pub(crate) fn accept(&self, stream: Stream) -> io::Result<TlsStream> {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        Ok(TlsStream::new(stream, connection.map_err(io::Error::other)?))
    }
}
