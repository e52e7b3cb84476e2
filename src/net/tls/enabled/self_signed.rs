//! A self-signed certificate, created on the first start and reused after that.

use std::error::Error;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::credentials::file;

/// The validity period of a certificate. Clients pin it, so a shorter period would not make it
/// safer.
const VALIDITY: Duration = Duration::days(20 * 365);

/// Returns the paths of a directory's certificate and key. Creates them if they do not exist.
pub(super) fn create_or_reuse(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !certificate.exists() {
        create(folder, &certificate, &key).map_err(|error| {
            format!("cannot create a certificate in {}: {error}", folder.display())
        })?;
    }
    Ok((certificate, key))
}

/// Writes the key first, and reuses an existing one, so that an interrupted start can be repeated.
fn create(folder: &Path, certificate: &Path, key: &Path) -> Result<(), Box<dyn Error>> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let pair = match file::read(key) {
        Ok(pem) => KeyPair::from_pem(&String::from_utf8_lossy(&pem))
            .map_err(|error| format!("key.pem: {error}"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pair = KeyPair::generate()?;
            write(key, &pair.serialize_pem())?;
            pair
        }
        Err(error) => return Err(error.into()),
    };
    write(certificate, &parameters()?.self_signed(&pair)?.pem())?;
    Ok(())
}

fn parameters() -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Not every host name is valid in a certificate.
    if CertificateParams::new([host.clone()]).is_ok() {
        names.push(host);
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "oyezd");
    let now = OffsetDateTime::now_utc();
    // Allow for clients whose clocks are behind.
    parameters.not_before = now - Duration::days(1);
    parameters.not_after = now + VALIDITY;
    Ok(parameters)
}

/// Writes a file atomically, readable only by its owner.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // An interrupted start may have left the file behind. If it cannot be removed, creating it
    // fails.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
