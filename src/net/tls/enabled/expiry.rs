//! Warnings about certificates that expire.

use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::validity::{Validity, date};

const DAY: u64 = 24 * 60 * 60;

/// The time between the first warning and the expiry, in seconds.
const NOTICE: u64 = 14 * DAY;

/// When the server's certificate and its intermediates expire.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    /// The certificates' names in warnings, and their dates.
    certificates: Vec<(String, Validity)>,
    /// What to do about it.
    advice: &'static str,
}

impl Expiry {
    /// `chain` is from the file at `path`.
    pub(super) fn new(path: &Path, chain: &[CertificateDer<'_>], advice: &'static str) -> Self {
        let name = |i| match i {
            0 => format!("certificate {}", path.display()),
            i => format!("certificate {}: number {} in the file", path.display(), i + 1),
        };
        let dates = chain.iter().map(Validity::of).enumerate();
        let certificates = dates.filter_map(|(i, dates)| Some((name(i), dates?))).collect();
        Self { certificates, advice }
    }

    /// Returns a line for each certificate that is not valid at `now`, or will soon expire. `now`
    /// is in seconds since 1970.
    pub(super) fn warnings(&self, now: u64) -> Vec<String> {
        let warnings = self.certificates.iter().filter_map(|(name, dates)| {
            let advice = self.advice;
            let Validity { not_before, not_after } = *dates;
            if now < not_before {
                let (from, now) = (date(not_before), date(now));
                Some(format!("{name} is not valid before {from}; this host's clock shows {now}"))
            } else if now > not_after {
                Some(format!(
                    "{name} expired on {}, so clients refuse it; {advice}",
                    date(not_after)
                ))
            } else if not_after - now <= NOTICE {
                let left = match (not_after - now) / DAY {
                    0 => "in less than a day".to_owned(),
                    1 => "in 1 day".to_owned(),
                    days => format!("in {days} days"),
                };
                Some(format!("{name} expires on {}, {left}; {advice}", date(not_after)))
            } else {
                None
            }
        });
        warnings.collect()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn warnings_begin_14_days_before_a_certificate_expires() {
        const START: u64 = 1_700_000_000;
        const END: u64 = START + 100 * DAY;
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds as i64).expect("a time");
        let key = KeyPair::generate().expect("a key");
        let issue = |end| {
            let mut parameters = CertificateParams::new(["x".to_owned()]).expect("a valid name");
            (parameters.not_before, parameters.not_after) = (at(START), at(end));
            parameters.self_signed(&key).expect("a certificate").der().clone()
        };
        let chain = [issue(END), issue(END + 1)];
        let expiry = Expiry::new(Path::new("x.pem"), &chain, "renew it");
        for (now, expected) in [
            (START - 1, "certificate x.pem is not valid before 2023-11-14 22:13 UTC; this host's"),
            (START, ""),
            (END - 14 * DAY - 2, ""),
            (
                END - 14 * DAY,
                "certificate x.pem expires on 2024-02-22 22:13 UTC, in 14 days; renew",
            ),
            (END - DAY, "certificate x.pem expires on 2024-02-22 22:13 UTC, in 1 day; renew it"),
            (END, "certificate x.pem expires on 2024-02-22 22:13 UTC, in less than a day; renew"),
            (END + 1, "certificate x.pem expired on 2024-02-22 22:13 UTC, so clients refuse it; "),
        ] {
            let warnings = expiry.warnings(now);
            assert_eq!(warnings.is_empty(), expected.is_empty(), "{now}: {warnings:?}");
            assert!(warnings.first().is_none_or(|text| text.starts_with(expected)), "{warnings:?}");
        }
        let last = expiry.warnings(END + 2).pop().expect("a warning");
        assert!(last.starts_with("certificate x.pem: number 2 in the file expired on"), "{last}");
    }
}
