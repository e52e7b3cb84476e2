//! When a certificate is valid.

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;

/// The first and the last second at which a certificate is valid, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

impl Validity {
    /// Reads the dates of a certificate, or `None` if they are malformed.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let not_before = match check_dates(certificate, at(0)) {
            Err(CertificateError::NotValidYetContext { not_before, .. }) => not_before.as_secs(),
            // It was already valid in 1970.
            Ok(()) => 0,
            Err(_) => return None,
        };
        let not_after = match check_dates(certificate, at(u64::MAX)) {
            Err(CertificateError::ExpiredContext { not_after, .. }) => not_after.as_secs(),
            _ => return None,
        };
        Some(Self { not_before, not_after })
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// Checks whether the certificate is valid at this time. Checks nothing else.
///
/// The verifier checks the dates before it looks for an issuer. With no trusted issuer, any other
/// error means that the dates are right.
pub(super) fn check_dates(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let algorithms = default_provider().signature_verification_algorithms.all;
    let no_roots = RootCertStore::empty();
    let verified = ParsedCertificate::try_from(certificate).and_then(|parsed| {
        verify_server_cert_signed_by_trust_anchor(&parsed, &no_roots, &[], now, algorithms)
    });
    use CertificateError as E;
    match verified {
        Err(Error::InvalidCertificate(
            error @ (E::BadEncoding
            | E::Expired
            | E::ExpiredContext { .. }
            | E::NotValidYet
            | E::NotValidYetContext { .. }),
        )) => Err(error),
        _ => Ok(()),
    }
}

/// Formats a time for people, in UTC.
pub(super) fn date(seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let time = i64::try_from(seconds).ok().map(OffsetDateTime::from_unix_timestamp);
    match time {
        Some(Ok(time)) => time.format(format).unwrap_or_default(),
        _ => "a time after the year 9999".to_owned(),
    }
}
