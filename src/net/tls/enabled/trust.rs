//! The certificates that one side trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::certificates::read_chain;
use super::error::explain_own;
use super::stream::PeerVerifier;
use super::validity::check_dates;
use crate::credentials::file::Files;

/// Trusted certificates. Each is trusted itself and, as an authority, vouches for those that it
/// signed.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) authorities: Arc<RootCertStore>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Reads the trusted certificates from a file.
    pub(super) fn read(path: &Path, files: &mut Files) -> Result<Self, String> {
        let certificates = read_chain(path, files)?;
        let mut authorities = RootCertStore::empty();
        for certificate in &certificates {
            authorities.add(certificate.clone()).map_err(|error| {
                format!("certificate {} {}", path.display(), explain_own(&error))
            })?;
        }
        Ok(Self { authorities: Arc::new(authorities), certificates })
    }

    /// The certificates that the system trusts, without those that cannot be used. Returns `None` if
    /// there are none.
    pub(super) fn system() -> Option<Self> {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(certificates.iter().cloned());
        (!authorities.is_empty()).then(|| Self { authorities: Arc::new(authorities), certificates })
    }

    /// Returns whether this certificate itself is trusted. Many instructions create a CA
    /// certificate for a server, which the usual verification rejects.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|trusted| trusted == certificate)
    }
}

/// Verifies the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    trusted: Trusted,
    by_authority: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    pub(super) fn new(path: &Path, files: &mut Files) -> Result<Self, String> {
        let trusted = Trusted::read(path, files)?;
        let roots = Arc::clone(&trusted.authorities);
        let by_authority =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()))
                .build()
                .map_err(|error| format!("certificate {}: {error}", path.display()))?;
        Ok(Self { trusted, by_authority })
    }
}

impl PeerVerifier for ClientVerifier {
    fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (end_entity, intermediates) =
            chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.verify_client_cert(end_entity, intermediates, UnixTime::now()).map(|_| ())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trusted.contains(end_entity) {
            check_dates(end_entity, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        self.by_authority.verify_client_cert(end_entity, intermediates, now)
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

/// The algorithms that verify signatures.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}
