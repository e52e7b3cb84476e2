//! A self-signed certificate, created on the first start and reused after that.

use std::error::Error;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use super::certificates::read_chain;
use super::validity::{Validity, date};
use crate::credentials::file::{self, Files};

/// The validity period of a certificate. Clients pin it, so a shorter period would not make it
/// safer.
const VALIDITY: Duration = Duration::days(20 * 365);

/// The beginning of 2026, in seconds since 1970. A clock that shows an earlier time is wrong: a
/// host without a battery for its clock may not have synchronized it yet.
const EARLIEST: u64 = 1_767_225_600;

/// Returns the paths of a directory's certificate and key. Creates them if they do not exist, and
/// replaces a certificate that is not valid at `now`, in seconds since 1970. If it was replaced,
/// also returns why.
pub(super) fn create_or_reuse(
    folder: &Path,
    now: u64,
) -> Result<(PathBuf, PathBuf, Option<String>), String> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let problem = match certificate.exists() {
        true => read_chain(&certificate, &mut Files::default())?
            .first()
            .and_then(|first| problem(first, now)),
        false => None,
    };
    if problem.is_some() || !certificate.exists() {
        create(folder, &certificate, &key, now).map_err(|error| {
            format!("cannot create a certificate in {}: {error}", folder.display())
        })?;
    }
    let replaced = problem.map(|problem| {
        format!(
            "created a new certificate in {}, because the old one {problem}; clients need the new \
             fingerprint or certificate",
            folder.display()
        )
    });
    Ok((certificate, key, replaced))
}

/// Returns why the certificate must be replaced, or `None`. While the clock is wrong, no
/// certificate is replaced, because clients may have pinned it.
fn problem(certificate: &CertificateDer<'_>, now: u64) -> Option<String> {
    match Validity::of(certificate) {
        _ if now < EARLIEST => None,
        None => Some("has no valid dates".to_owned()),
        Some(dates) if now < dates.not_before => {
            Some(format!("is not valid before {}", date(dates.not_before)))
        }
        Some(dates) if now > dates.not_after => {
            Some(format!("expired on {}", date(dates.not_after)))
        }
        Some(_) => None,
    }
}

/// Writes the key first, and reuses an existing one, so that an interrupted start can be repeated.
fn create(folder: &Path, certificate: &Path, key: &Path, now: u64) -> Result<(), Box<dyn Error>> {
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
    write(certificate, &parameters(now)?.self_signed(&pair)?.pem())?;
    Ok(())
}

fn parameters(now: u64) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Not every host name is valid in a certificate.
    if CertificateParams::new([host.clone()]).is_ok() {
        names.push(host);
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "oyezd");
    // Allow for clients whose clocks are behind, and for a wrong clock of this host.
    let start = Duration::seconds(now as i64) - Duration::days(1);
    let end = Duration::seconds(now.max(EARLIEST) as i64) + VALIDITY;
    parameters.not_before = OffsetDateTime::UNIX_EPOCH + start.max(Duration::ZERO);
    parameters.not_after = OffsetDateTime::UNIX_EPOCH + end;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = EARLIEST + 1_000_000;

    #[test]
    fn certificate_created_while_the_clock_is_wrong_is_valid_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, _, replaced) = create_or_reuse(folder.path(), 60).expect("it works");
        assert_eq!(replaced, None);
        let chain = read_chain(&certificate, &mut Files::default()).expect("a certificate");
        let dates = Validity::of(&chain[0]).expect("valid dates");
        assert!(dates.not_before == 0 && dates.not_after > LATER, "{dates:?}");
        assert_eq!(create_or_reuse(folder.path(), LATER).expect("it works").2, None);
        assert_eq!(read_chain(&certificate, &mut Files::default()), Ok(chain));
    }

    #[test]
    fn certificate_that_is_not_valid_now_is_replaced_with_the_same_key() {
        for (old, part) in [
            (LATER + 40 * 365 * 86_400, "because the old one is not valid before 20"),
            (LATER - 21 * 365 * 86_400, "because the old one expired on 20"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let (certificate, key) =
                (folder.path().join("cert.pem"), folder.path().join("key.pem"));
            create(folder.path(), &certificate, &key, old.max(EARLIEST)).expect("it works");
            let pair = KeyPair::from_pem(&fs::read_to_string(&key).expect("a key")).expect("a key");
            let mut dates = parameters(old).expect("valid parameters");
            dates.not_after = dates.not_before + VALIDITY;
            let pem = dates.self_signed(&pair).expect("a certificate").pem();
            write(&certificate, &pem).expect("it can be written");
            // A wrong clock replaces nothing.
            assert_eq!(create_or_reuse(folder.path(), 60).expect("it works").2, None);
            let replaced = create_or_reuse(folder.path(), LATER).expect("it works").2;
            assert!(replaced.as_ref().is_some_and(|text| text.contains(part)), "{replaced:?}");
            assert_eq!(fs::read_to_string(&key).ok(), Some(pair.serialize_pem()));
            assert_eq!(create_or_reuse(folder.path(), LATER).expect("it works").2, None);
        }
    }

    /// Dates before 1970 cannot be verified.
    #[test]
    fn certificate_with_dates_before_1970_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key, _) = create_or_reuse(folder.path(), LATER).expect("it works");
        let pair = KeyPair::from_pem(&fs::read_to_string(key).expect("a key")).expect("a key");
        let mut old = parameters(0).expect("valid parameters");
        old.not_before = OffsetDateTime::UNIX_EPOCH - Duration::days(1);
        write(&certificate, &old.self_signed(&pair).expect("a certificate").pem()).expect("a file");
        let replaced = create_or_reuse(folder.path(), LATER).expect("it works").2;
        assert!(replaced.is_some_and(|text| text.contains("has no valid dates")));
    }
}
