//! Explains why a certificate is not accepted.

use rustls::{CertificateError, ExtendedKeyPurpose};
use webpki::Error as WebPkiError;

use super::oid;
use super::validity::date;
use super::wording::{Peer, words};

/// The signature algorithms that certificates may use.
const ALGORITHMS: &str = "RSA or ECDSA with SHA-256, SHA-384 or SHA-512, or Ed25519";

/// Says what is wrong with a certificate, and what to do. The text continues a sentence that begins
/// with the certificate. `peer` is the side that presented it, or `None` if it is from a file.
#[expect(deprecated, reason = "old variants of errors may still occur")]
pub(super) fn explain(error: &CertificateError, peer: Option<Peer>) -> String {
    use CertificateError as E;
    match error {
        E::Expired => "has expired, or its dates are wrong; renew it".to_owned(),
        E::ExpiredContext { time, not_after } => format!(
            "expired on {}; renew it, or correct the clock of this host, which shows {}",
            date(not_after.as_secs()),
            date(time.as_secs())
        ),
        E::NotValidYet => "is not valid yet; check the clocks of both hosts".to_owned(),
        E::NotValidYetContext { time, not_before } => format!(
            "is not valid before {}; check the clocks of both hosts (this one shows {})",
            date(not_before.as_secs()),
            date(time.as_secs())
        ),
        E::UnknownIssuer => format!(
            "is not signed by a trusted authority; {}",
            match peer {
                Some(Peer::Client) => "--tls-client-ca needs the certificate of its authority",
                _ => "trust it with --tls-ca or --tls-fingerprint",
            }
        ),
        E::NotValidForName => {
            "is not valid for the server's name; use --tls-fingerprint".to_owned()
        }
        E::NotValidForNameContext { expected, presented } => {
            not_valid_for_name(&expected.to_str(), presented)
        }
        E::BadSignature => "has a signature that does not match its authority's key: it was \
                            damaged, or a trusted certificate has the same name and another key; \
                            get a new copy of both"
            .to_owned(),
        E::UnsupportedSignatureAlgorithm => {
            format!("is signed with an algorithm that is not supported; sign it with {ALGORITHMS}")
        }
        E::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => format!(
            "is signed with {}, which is not supported; sign it with {ALGORITHMS}",
            oid::find(signature_algorithm_id).unwrap_or("an unknown algorithm")
        ),
        E::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => format!(
            "is signed with {}, which does not fit the key of its authority ({}); trust the right \
             authority, or sign it with {ALGORITHMS}",
            oid::find(signature_algorithm_id).unwrap_or("an unknown algorithm"),
            oid::find(public_key_algorithm_id).unwrap_or("unknown algorithm"),
        ),
        E::InvalidPurpose => wrong_purpose(peer, "another purpose"),
        E::InvalidPurposeContext { presented, .. } => wrong_purpose(peer, &purposes(presented)),
        E::Revoked => "was revoked by its authority; get a new one".to_owned(),
        E::UnhandledCriticalExtension => {
            "has a critical extension that oyez does not know; issue it without that extension"
                .to_owned()
        }
        E::UnknownRevocationStatus
        | E::ExpiredRevocationList
        | E::ExpiredRevocationListContext { .. }
        | E::InvalidOcspResponse => {
            "has an unknown revocation status; use --tls-fingerprint, which \
                                     does not check it"
                .to_owned()
        }
        E::ApplicationVerificationFailure => {
            "was rejected by this program; use another one".to_owned()
        }
        E::Other(other) => match other.0.downcast_ref() {
            Some(error) => explain_webpki(error, peer),
            None => "could not be verified; issue it again".to_owned(),
        },
        // `BadEncoding`, and what a later version of rustls may add.
        _ => "is damaged or not a valid X.509 certificate; issue it again".to_owned(),
    }
}

/// Explains the errors that rustls passes on from webpki.
fn explain_webpki(error: &WebPkiError, peer: Option<Peer>) -> String {
    use WebPkiError as E;
    match error {
        E::CaUsedAsEndEntity => format!(
            "is an authority's certificate; {}, or issue one with basicConstraints=CA:FALSE",
            match peer {
                Some(Peer::Client) =>
                    "put this certificate itself into the file of --tls-client-ca",
                _ => "pass this certificate itself to --tls-ca",
            }
        ),
        E::EndEntityUsedAsCa => "is signed by a certificate that is not an authority's; issue the \
                                 signer's certificate with basicConstraints=CA:TRUE"
            .to_owned(),
        E::UnsupportedCertVersion => {
            "has X.509 version 1, which is not supported; create a version 3 certificate with: \
             openssl req -x509 -addext subjectAltName=DNS:NAME"
                .to_owned()
        }
        E::UnsupportedCriticalExtension => {
            "has a critical extension that oyez does not know; issue it without that extension"
                .to_owned()
        }
        E::NameConstraintViolation | E::MaximumNameConstraintComparisonsExceeded => {
            "has a name that its authority may not issue certificates for; get it from another \
             authority"
                .to_owned()
        }
        E::PathLenConstraintViolated
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => {
            "has too many intermediate certificates; present only those that lead to a trusted \
             authority"
                .to_owned()
        }
        E::EmptyEkuExtension => wrong_purpose(peer, "no purpose at all"),
        E::CertDistrusted => "has a key that is no longer trusted; get a new one".to_owned(),
        // Extensions, names, numbers and lists that are encoded wrongly.
        error => format!("is malformed ({}); issue it again", words(error)),
    }
}

fn wrong_purpose(peer: Option<Peer>, purposes: &str) -> String {
    let (wanted, usage) = match peer {
        Some(Peer::Client) => ("client", "clientAuth"),
        _ => ("server", "serverAuth"),
    };
    format!(
        "is not meant for a {wanted}, but for {purposes}; issue it with extendedKeyUsage={usage}"
    )
}

fn purposes(purposes: &[ExtendedKeyPurpose]) -> String {
    let name = |purpose: &ExtendedKeyPurpose| match purpose {
        ExtendedKeyPurpose::ClientAuth => "clients".to_owned(),
        ExtendedKeyPurpose::ServerAuth => "servers".to_owned(),
        ExtendedKeyPurpose::Other(numbers) => {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
        }
    };
    match purposes {
        [] => "another purpose".to_owned(),
        purposes => purposes.iter().map(name).collect::<Vec<_>>().join(" and "),
    }
}

/// `presented` are the certificate's names, as in `DnsName("localhost")`.
fn not_valid_for_name(expected: &str, presented: &[String]) -> String {
    const MAX_NAMES: usize = 5;
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let names: Vec<String> = presented.iter().take(MAX_NAMES).map(plain).collect();
    if names.is_empty() {
        let kind = if expected.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        return format!(
            "has no subjectAltName, so it is valid for no server; create it with \
             subjectAltName={kind}:{expected}, or use --tls-fingerprint"
        );
    }
    let more = match presented.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "is not valid for {expected}, only for {}{more}; connect to one of these names, or use \
         --tls-fingerprint",
        names.join(", ")
    )
}
