//! Certificates and keys in files, as PEM.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::credentials::file;
use crate::credentials::secret::wipe;

/// Reads a certificate, and those that lead from it to a root.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &str| format!("certificate {}: {error}", path.display());
    let pem = file::read(path).map_err(|error| wrong(&error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| wrong(&describe(&error)))?;
    if chain.is_empty() {
        return Err(wrong(&describe(&pem::Error::NoItemsFound)));
    }
    Ok(chain)
}

/// Reads a private key.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let wrong = |error: &str| format!("key {}: {error}", path.display());
    let mut pem = file::read(path).map_err(|error| wrong(&error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| wrong(&describe(&error)));
    wipe(&mut pem);
    key
}

/// Reads certificates that are to be trusted.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("certificate {}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is none in it, in PEM form".to_owned(),
        error => error.to_string(),
    }
}
