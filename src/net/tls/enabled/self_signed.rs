//! A self-signed certificate, created on the first start and reused after that.

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use webpki::EndEntityCert;

use super::certificates::{read_chain, read_key};
use super::key;
use super::validity::{Validity, date};
use crate::credentials::file::{Files, write};

/// The validity period of a certificate. Clients pin it, so a shorter period would not make it
/// safer.
const VALIDITY: Duration = Duration::days(20 * 365);

/// The beginning of 2026, in seconds since 1970. A clock that shows an earlier time is wrong: a
/// host without a battery for its clock may not have synchronized it yet.
const EARLIEST: u64 = 1_767_225_600;

/// The subject and issuer of the certificates that this program creates, in DER: CN=oyezd.
const NAME: &[u8] = b"\x31\x0e\x30\x0c\x06\x03\x55\x04\x03\x0c\x05oyezd";

/// A directory's certificate.
#[derive(Debug)]
pub(super) struct SelfSigned {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Whether this program will replace the certificate once it has expired.
    pub(super) is_renewable: bool,
    /// For the log: whether a certificate that was not valid could be replaced.
    pub(super) renewal: Option<String>,
}

/// Returns a directory's certificate and key. Creates them if they do not exist. Replaces a
/// certificate that this program created and that is not valid at `now`, in seconds since 1970. If
/// that fails, keeps the old one.
pub(super) fn create_or_reuse(folder: &Path, now: u64) -> Result<SelfSigned, String> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let shown = folder.display();
    let create = || create(folder, &certificate, &key, now);
    if !certificate.exists() {
        create().map_err(|error| format!("cannot create a certificate in {shown}: {error}"))?;
        return Ok(SelfSigned { certificate, key, is_renewable: true, renewal: None });
    }
    let chain = read_chain(&certificate, &mut Files::default())?;
    let is_own = is_own(&chain[0]);
    let (is_renewable, renewal) = match problem(&chain[0], now).filter(|_| is_own) {
        None => (is_own, None),
        Some(problem) => match create() {
            Ok(()) => {
                let renewal = format!(
                    "created a new certificate in {shown}, because the old one {problem}; clients \
                     need the new fingerprint or certificate"
                );
                (true, Some(renewal))
            }
            Err(error) => {
                let renewal = format!(
                    "keeping the certificate in {shown}, which {problem} but cannot be replaced: \
                     {error}"
                );
                (false, Some(renewal))
            }
        },
    };
    Ok(SelfSigned { certificate, key, is_renewable, renewal })
}

/// Returns whether this program created the certificate.
fn is_own(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate)
        .is_ok_and(|parsed| parsed.subject() == NAME && parsed.issuer() == NAME)
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
    let pair = if key.exists() {
        read_pair(key)?
    } else {
        let pair = KeyPair::generate()?;
        write(key, &pair.serialize_pem())?;
        pair
    };
    write(certificate, &parameters(now)?.self_signed(&pair)?.pem())?;
    Ok(())
}

fn read_pair(path: &Path) -> Result<KeyPair, String> {
    let key = read_key(path, &mut Files::default())?;
    KeyPair::try_from(&key).map_err(|_| {
        let path = path.display();
        match key::load(&key) {
            Ok(_) => format!(
                "key {path}: to create a certificate, the key must be in PKCS#8 format; convert \
                 it: openssl pkey -in {path} -out {path}.new && mv {path}.new {path}"
            ),
            Err(error) => format!("key {path}: {error}"),
        }
    })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LATER: u64 = EARLIEST + 1_000_000;

    #[test]
    fn certificate_created_while_the_clock_is_wrong_is_valid_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let created = create_or_reuse(folder.path(), 60).expect("it works");
        assert!(created.is_renewable && created.renewal.is_none(), "{created:?}");
        let certificate = created.certificate;
        let chain = read_chain(&certificate, &mut Files::default()).expect("a certificate");
        let dates = Validity::of(&chain[0]).expect("valid dates");
        assert!(dates.not_before == 0 && dates.not_after > LATER, "{dates:?}");
        assert_eq!(create_or_reuse(folder.path(), LATER).expect("it works").renewal, None);
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
            assert_eq!(create_or_reuse(folder.path(), 60).expect("it works").renewal, None);
            let replaced = create_or_reuse(folder.path(), LATER).expect("it works").renewal;
            assert!(replaced.as_ref().is_some_and(|text| text.contains(part)), "{replaced:?}");
            assert_eq!(fs::read_to_string(&key).ok(), Some(pair.serialize_pem()));
            assert_eq!(create_or_reuse(folder.path(), LATER).expect("it works").renewal, None);
        }
    }

    /// Dates before 1970 cannot be verified.
    #[test]
    fn certificate_with_dates_before_1970_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let SelfSigned { certificate, key, .. } =
            create_or_reuse(folder.path(), LATER).expect("it works");
        let pair = KeyPair::from_pem(&fs::read_to_string(key).expect("a key")).expect("a key");
        let mut old = parameters(0).expect("valid parameters");
        old.not_before = OffsetDateTime::UNIX_EPOCH - Duration::days(1);
        write(&certificate, &old.self_signed(&pair).expect("a certificate").pem()).expect("a file");
        let replaced = create_or_reuse(folder.path(), LATER).expect("it works").renewal;
        assert!(replaced.is_some_and(|text| text.contains("has no valid dates")));
    }
}
