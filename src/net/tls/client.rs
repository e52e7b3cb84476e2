//! Whom the client trusts, and what it shows of itself.

use std::sync::Arc;
use std::{error, io};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::{TlsStream, describe, files, fingerprint, provider};
use crate::net::stream::Stream;
use crate::net::tls_config::{ClientTrust, Fingerprint, ServerVerification};

/// What a connection is made with.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// For a server of this name or address. The error is one line that says what is wrong.
    pub(crate) fn new(host: &str, trust: &ClientTrust) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate could have"))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(&trust.trust)?));
        let config = match &trust.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(files::chain(certificate)?, files::key(key)?)
                .map_err(|error| format!("certificate {}: {error}", certificate.display()))?,
        };
        Ok(Self { config: Arc::new(config), name })
    }

    /// The connection, which has to shake hands first.
    pub(crate) fn connect(&self, stream: Stream) -> io::Result<TlsStream> {
        let config = Arc::clone(&self.config);
        let connection = rustls::ClientConnection::new(config, self.name.clone());
        Ok(TlsStream::new(stream, connection.map_err(io::Error::other)?))
    }
}

/// Checks a server's certificate; of one that is refused, it says which one it was.
#[derive(Debug)]
enum Verifier {
    Signed(Arc<WebPkiServerVerifier>),
    Pinned(Fingerprint),
}

impl Verifier {
    fn new(trust: &ServerVerification) -> Result<Self, String> {
        let roots = match trust {
            ServerVerification::Pinned(fingerprint) => return Ok(Self::Pinned(*fingerprint)),
            ServerVerification::Roots(path) => files::roots(path)?,
            ServerVerification::System => system_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        Ok(Self::Signed(verifier.build().map_err(|error| error.to_string())?))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this system has no certificates to trust; --tls-ca or --tls-fingerprint says whom to"
                .to_owned(),
        );
    }
    Ok(roots)
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
        let came = fingerprint(end_entity);
        let refused = match self {
            Self::Pinned(expected) if *expected == came => {
                return Ok(ServerCertVerified::assertion());
            }
            Self::Pinned(expected) => format!("expected the certificate {expected}"),
            Self::Signed(verifier) => {
                let verified = verifier.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                );
                match verified {
                    Ok(verified) => return Ok(verified),
                    Err(error) => describe(&error),
                }
            }
        };
        let refused: Box<dyn error::Error + Send + Sync> =
            format!("{refused}; what came is the certificate {came}").into();
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(refused.into()))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
