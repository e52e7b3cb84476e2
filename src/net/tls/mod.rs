//! Encryption: TLS 1.2 and 1.3 by rustls, for both programs.
//!
//! Certificates and keys are read here, and made here if there are none; [`TlsStream`] is what a
//! connection is over TLS. Nothing outside of this room and [`transport`](crate::net::transport) knows of
//! rustls.

mod client;
mod files;
mod self_signed;
mod server;
mod stream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

pub(crate) use client::ClientTls;
pub(crate) use server::ServerTls;
pub(crate) use stream::TlsStream;

use crate::net::tls_config::Fingerprint;
use crate::read_outcome::TlsFailure;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Tells failures of trust from failures of the protocol.
fn failure(error: &Error) -> TlsFailure {
    match error {
        Error::NoCertificatesPresented
        | Error::InvalidCertificate(_)
        | Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => TlsFailure::Untrusted(describe(error)),
        _ => TlsFailure::Protocol(describe(error)),
    }
}

/// What went wrong, in words for people.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS there".to_owned()
        }
        Error::NoCertificatesPresented => "it has shown no certificate".to_owned(),
        Error::InvalidCertificate(CertificateError::Other(refused)) => refused.to_string(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "nobody who is trusted has signed its certificate".to_owned()
        }
        Error::InvalidCertificate(error) => error.to_string(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a certificate (--tls-cert and --tls-key show one)".to_owned()
        }
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!("it does not take the certificate that it was shown ({alert:?})"),
        error => error.to_string(),
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Fingerprint(bytes)
}
