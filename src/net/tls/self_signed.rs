//! A certificate of one's own, for who has none: made once, and kept.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::credentials::file;

/// For how long a certificate is valid. Clients pin it, so that there is no use in a shorter time.
const YEARS: i64 = 20;

/// The files of a certificate and its key in a folder, which are made if they are not there.
pub(super) fn files(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !certificate.exists() {
        make(folder, &certificate, &key).map_err(|error| {
            format!("cannot make a certificate in {}: {error}", folder.display())
        })?;
    }
    Ok((certificate, key))
}

/// The key comes first, and is used again if it is there: whatever interrupts this, the next start
/// goes on with it.
fn make(folder: &Path, certificate: &Path, key: &Path) -> Result<(), String> {
    let system = |error: io::Error| error.to_string();
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(system)?;
    let pair = match file::read(key) {
        Ok(pem) => KeyPair::from_pem(&String::from_utf8_lossy(&pem))
            .map_err(|error| format!("key.pem: {error}"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pair = KeyPair::generate().map_err(|error| error.to_string())?;
            write(key, &pair.serialize_pem()).map_err(system)?;
            pair
        }
        Err(error) => return Err(system(error)),
    };
    let pem = parameters()
        .and_then(|parameters| parameters.self_signed(&pair))
        .map_err(|error| error.to_string())?
        .pem();
    write(certificate, &pem).map_err(system)
}

fn parameters() -> Result<CertificateParams, rcgen::Error> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // What is no name for a certificate is left out.
    if CertificateParams::new([host.clone()]).is_ok() {
        names.push(host);
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "oyezd");
    let now = OffsetDateTime::now_utc();
    // Clocks differ.
    parameters.not_before = now - Duration::days(1);
    parameters.not_after = now + Duration::days(YEARS * 365);
    Ok(parameters)
}

/// Writes a file that only its owner can read, as a whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
