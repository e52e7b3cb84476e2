//! Certificates and private keys from PEM files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::credentials::file;
use crate::credentials::secret::wipe;
use crate::net::tls_config::Fingerprint;

/// Reads a certificate and its intermediates, the certificate first.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |error: &str| format!("certificate {}: {error}", path.display());
    let pem = file::read(path).map_err(|error| fail(&error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| fail(&error.to_string()))?;
    if chain.is_empty() {
        return Err(fail("no PEM certificate found"));
    }
    Ok(chain)
}

/// Reads a private key.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let fail = |error: &str| format!("key {}: {error}", path.display());
    let mut pem = file::read(path).map_err(|error| fail(&error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    wipe(&mut pem);
    key.map_err(|error| match error {
        pem::Error::NoItemsFound => fail("no PEM private key found"),
        error => fail(&error.to_string()),
    })
}

/// Reads the certificates of trusted authorities.
pub(super) fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("certificate {}: {error}", path.display()))?;
    }
    Ok(roots)
}

pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    Fingerprint(digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes"))
}
