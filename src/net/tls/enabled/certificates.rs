//! Certificates and private keys from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::error::explain_own;
use super::file_kind::{self, Wanted};
use super::key;
use crate::credentials::file::Files;
use crate::credentials::secret::wipe;
use crate::net::tls_config::Fingerprint;

/// Reads certificates: one to present, followed by its intermediates, or trusted ones. Returns at
/// least one.
pub(super) fn read_chain(
    path: &Path,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |error: &str| format!("certificate {}: {error}", path.display());
    let pem = files.read(path).map_err(|error| fail(&error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| fail(explain_pem(&error, &pem)))?;
    if chain.is_empty() {
        let found = file_kind::describe(&pem, Wanted::Certificate, path);
        return Err(fail(&format!("no PEM certificate found; {found}")));
    }
    Ok(chain)
}

/// Reads a certificate with its intermediates and its private key.
pub(super) fn read_identity(
    certificate: &Path,
    key: &Path,
    files: &mut Files,
) -> Result<Arc<CertifiedKey>, String> {
    let chain = read_chain(certificate, files)?;
    for (i, parsed) in chain.iter().map(ParsedCertificate::try_from).enumerate() {
        if let Err(error) = parsed {
            let number = match chain.len() {
                1 => String::new(),
                _ => format!(": number {} in the file", i + 1),
            };
            let (path, error) = (certificate.display(), explain_own(&error));
            return Err(format!("certificate {path}{number} {error}"));
        }
    }
    let signing_key = key::load(&read_key(key, files)?)
        .map_err(|error| format!("key {}: {error}", key.display()))?;
    let mut identity = CertifiedKey::new(chain, signing_key);
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            return Ok(Arc::new(identity));
        }
        Err(_) => {}
    }
    // The intermediates may come first in the file.
    let belongs = (1..identity.cert.len()).any(|_| {
        identity.cert.rotate_left(1);
        identity.keys_match().is_ok()
    });
    let (certificate, key) = (certificate.display(), key.display());
    Err(if belongs {
        format!(
            "certificate {certificate}: the certificate that belongs to key {key} must come first \
             in the file, before its intermediates"
        )
    } else {
        format!("key {key} does not belong to certificate {certificate}")
    })
}

/// Reads a private key.
pub(super) fn read_key(path: &Path, files: &mut Files) -> Result<PrivateKeyDer<'static>, String> {
    let fail = |error: &str| format!("key {}: {error}", path.display());
    let mut pem = files.read(path).map_err(|error| fail(&error.to_string()))?;
    let key = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(_) if file_kind::has_encrypted_section(&pem) => {
            Err(fail(&file_kind::encrypted_key(path)))
        }
        Err(pem::Error::NoItemsFound) => {
            let found = file_kind::describe(&pem, Wanted::Key, path);
            Err(fail(&format!("no PEM private key found; {found}")))
        }
        Err(error) => Err(fail(explain_pem(&error, &pem))),
    };
    wipe(&mut pem);
    key
}

fn explain_pem(error: &pem::Error, bytes: &[u8]) -> &'static str {
    match error {
        _ if file_kind::has_section_on_one_line(bytes) => {
            "the file has lost its line breaks; get a new copy"
        }
        pem::Error::MissingSectionEnd { .. } => {
            "the file is cut off: a PEM section has no -----END line; get a new copy"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a -----BEGIN line does not end with five dashes; get a new copy of the file"
        }
        // The text between the -----BEGIN and -----END lines is not base64.
        _ => "a PEM section is damaged; get a new copy of the file",
    }
}

pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    Fingerprint(digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes"))
}
