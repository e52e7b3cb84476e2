//! The client side of TLS: verifies the server, and presents the client's certificate.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};
use webpki::EndEntityCert;

use super::alerts;
use super::certificates::{fingerprint, read_identity};
use super::error::{Explained, to_io};
use super::stream::{PeerVerifier, Refused, TlsStream};
use super::trust::{Trusted, algorithms};
use super::validity::check_dates;
use crate::credentials::file::Files;
use crate::net::stream::Socket;
use crate::net::tls_config::{ClientTlsConfig, Fingerprint, ServerVerification};
use crate::net::transport::Transport;

/// The TLS configuration for connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

impl ClientTls {
    /// Reads the files. `host` is the server's name, or its IP address without a zone. A
    /// certificate that is not pinned must be valid for it. The error is one line for the user.
    pub(crate) fn new(
        host: &str,
        settings: &ClientTlsConfig,
        files: &mut Files,
    ) -> Result<Self, String> {
        let trust = Trust::new(&settings.verification, files)?;
        let name = match (ServerName::try_from(host.to_owned()), &trust) {
            (Ok(name), _) => name,
            // A placeholder: TLS sends only names to the server, not addresses.
            (Err(_), Trust::Pinned(_)) => IpAddr::from(Ipv4Addr::UNSPECIFIED).into(),
            (Err(_), _) => {
                return Err(format!(
                    "no certificate can be valid for {host:?}; use the server's DNS name or its \
                     whole IP address, or --tls-fingerprint"
                ));
            }
        };
        let verifier = Verifier::new(name, trust);
        let builder = ClientConfig::builder_with_provider(alerts::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| to_io(&error).to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
        let config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let identity = read_identity(certificate, key, files)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// From now on, trusts only the certificate with this fingerprint.
    pub(crate) fn pin(&mut self, fingerprint: Fingerprint) {
        self.verifier = Verifier::new(self.verifier.name.clone(), Trust::Pinned(fingerprint));
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::clone(&self.verifier) as _);
        self.config = Arc::new(config);
    }

    /// Encrypts a connection. The handshake happens as the connection is read and written.
    pub(crate) fn connect<S: Socket>(&self, socket: S) -> io::Result<Box<dyn Transport<S>>> {
        let config = Arc::clone(&self.config);
        let connection = rustls::ClientConnection::new(config, self.verifier.name.clone());
        let connection = connection.map_err(|error| to_io(&error))?;
        Ok(Box::new(TlsStream::new(socket, connection, Some(Arc::clone(&self.verifier) as _))))
    }
}

/// Verifies the certificate of one server.
#[derive(Debug)]
struct Verifier {
    name: ServerName<'static>,
    trust: Trust,
    /// The certificate that was refused last, for the error message.
    refused: Mutex<Option<Refused>>,
}

impl Verifier {
    fn new(name: ServerName<'static>, trust: Trust) -> Arc<Self> {
        Arc::new(Self { name, trust, refused: Mutex::new(None) })
    }
}

/// Which certificates a client trusts.
#[derive(Debug)]
enum Trust {
    Trusted {
        trusted: Trusted,
        by_authority: Arc<WebPkiServerVerifier>,
    },
    /// No certificate, because this system trusts none.
    Nothing,
    Pinned(Fingerprint),
}

impl Trust {
    fn new(verification: &ServerVerification, files: &mut Files) -> Result<Self, String> {
        let trusted = match verification {
            ServerVerification::Pinned(fingerprint) => return Ok(Self::Pinned(*fingerprint)),
            ServerVerification::Roots(path) => Trusted::read(path, files)?,
            ServerVerification::System => match Trusted::system() {
                Some(trusted) => trusted,
                None => return Ok(Self::Nothing),
            },
        };
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::clone(&trusted.authorities);
        let by_authority = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let by_authority = by_authority.map_err(|error| error.to_string())?;
        Ok(Self::Trusted { trusted, by_authority })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        match self {
            Self::Pinned(expected) if *expected == fingerprint(end_entity) => Ok(()),
            Self::Pinned(expected) => Err(explained(format!("expected certificate {expected}"))),
            Self::Nothing => Err(explained(
                "found no trusted certificates on this system; use --tls-ca or --tls-fingerprint"
                    .to_owned(),
            )),
            Self::Trusted { trusted, .. } if trusted.contains(end_entity) => {
                check_dates(end_entity, now)?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
            }
            Self::Trusted { by_authority, .. } => by_authority
                .verify_server_cert(end_entity, intermediates, server_name, &[], now)
                .map(|_| ()),
        }
    }

    /// Returns whether the certificate was refused only because no trusted authority has signed
    /// it. The verifier returns a different error for a self-signed CA certificate.
    fn is_unknown(&self, end_entity: &CertificateDer<'_>, error: &Error) -> bool {
        let Self::Trusted { .. } = self else { return true };
        match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                let is_authority = other.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity);
                is_authority
                    && EndEntityCert::try_from(end_entity)
                        .is_ok_and(|parsed| parsed.subject() == parsed.issuer())
            }
            _ => false,
        }
    }
}

fn explained(text: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(Explained(text)))).into()
}

impl PeerVerifier for Verifier {
    fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (end_entity, intermediates) =
            chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.verify_server_cert(end_entity, intermediates, &self.name, &[], UnixTime::now())?;
        Ok(())
    }

    fn refused(&self) -> Option<Refused> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.trust.verify(end_entity, intermediates, server_name, now);
        let refused = verified.as_ref().err().map(|error| Refused {
            fingerprint: fingerprint(end_entity),
            is_unknown: self.trust.is_unknown(end_entity, error),
        });
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        verified.map(|()| ServerCertVerified::assertion())
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
