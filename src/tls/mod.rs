//! Encryption: TLS 1.2 and 1.3 by rustls, for both programs.
//!
//! Certificates and keys are read here, and made here if there are none; [`TlsStream`] is what a
//! connection is over TLS. Nothing outside of this room and [`transport`](crate::transport) knows of
//! rustls.

mod client;
mod files;
mod self_signed;
mod server;
mod stream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

pub(crate) use client::ClientTls;
pub(crate) use server::ServerTls;
pub(crate) use stream::TlsStream;

use crate::trust::Fingerprint;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Fingerprint(bytes)
}
