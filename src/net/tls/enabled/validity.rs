//! When a certificate is valid.

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use time::OffsetDateTime;
use time::macros::format_description;

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

/// A time for people, in UTC.
pub(super) fn date(seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let time = i64::try_from(seconds).ok().map(OffsetDateTime::from_unix_timestamp);
    match time {
        Some(Ok(time)) => time.format(format).unwrap_or_default(),
        _ => "a time after the year 9999".to_owned(),
    }
}
