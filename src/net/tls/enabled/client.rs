//! The client side of TLS: verifies the server, and presents the client's certificate.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificates::{fingerprint, read_chain, read_key, read_roots};
use super::error::classify;
use super::stream::TlsStream;
use crate::net::stream::Socket;
use crate::net::tls_config::{ClientTlsConfig, Fingerprint, ServerVerification};
use crate::net::transport::Transport;

/// The TLS configuration for connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the files. `host` is the server's name or IP address, which its certificate must cover
    /// unless it is pinned. The error is one line for the user.
    pub(crate) fn new(host: &str, settings: &ClientTlsConfig) -> Result<Self, String> {
        let server_name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is not a valid server name for TLS"))?;
        let builder = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(&settings.verification)?));
        let config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(read_chain(certificate)?, read_key(key)?)
                .map_err(|error| format!("certificate {}: {error}", certificate.display()))?,
        };
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// Encrypts a connection. The handshake happens as the connection is read and written.
    pub(crate) fn connect<S: Socket>(&self, socket: S) -> io::Result<Box<dyn Transport<S>>> {
        let config = Arc::clone(&self.config);
        let connection = rustls::ClientConnection::new(config, self.server_name.clone());
        Ok(Box::new(TlsStream::new(socket, connection.map_err(io::Error::other)?)))
    }
}

/// Verifies a server's certificate. Errors include the fingerprint of the received certificate.
#[derive(Debug)]
enum Verifier {
    Authority(Arc<WebPkiServerVerifier>),
    Pinned(Fingerprint),
}

impl Verifier {
    fn new(verification: &ServerVerification) -> Result<Self, String> {
        let roots = match verification {
            ServerVerification::Pinned(fingerprint) => return Ok(Self::Pinned(*fingerprint)),
            ServerVerification::Roots(path) => read_roots(path)?,
            ServerVerification::System => system_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build();
        Ok(Self::Authority(verifier.map_err(|error| error.to_string())?))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("found no trusted certificates on this system; use --tls-ca or \
                    --tls-fingerprint"
            .to_owned());
    }
    Ok(roots)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let received = fingerprint(end_entity);
        let verified = match self {
            Self::Pinned(expected) if *expected == received => Ok(ServerCertVerified::assertion()),
            Self::Pinned(expected) => Err(format!("expected certificate {expected}")),
            Self::Authority(verifier) => verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| classify(&error).to_string()),
        };
        verified.map_err(|problem| {
            let error = io::Error::other(format!("{problem}; received certificate {received}"));
            CertificateError::Other(OtherError(Arc::new(error))).into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
