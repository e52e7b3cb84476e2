//! Classifies rustls errors, and explains them to people.

use std::fmt;
use std::io;

use rustls::{
    AlertDescription as Alert, CertificateError, Error, InvalidMessage, PeerIncompatible,
};

use super::certificate_error::explain;
use super::wording::{Peer, words};
use crate::read_outcome::TlsFailure;

/// The TLS settings that oyez can negotiate.
const NEGOTIABLE: &str = "TLS 1.2 and 1.3 with AES-GCM or ChaCha20-Poly1305, ECDHE with X25519, \
                          P-256 or P-384, and certificates with RSA, ECDSA or Ed25519 keys";

/// An explanation from the client's verifier.
#[derive(Debug)]
pub(super) struct Explained(pub(super) String);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Explained {}

/// Explains why a connection failed. Distinguishes certificates that one side does not trust from
/// protocol violations.
pub(super) fn classify(error: &Error, peer: Peer, is_handshaking: bool) -> TlsFailure {
    use TlsFailure::{Protocol, Untrusted};
    match error {
        Error::InvalidCertificate(error) => Untrusted(explain_certificate(error, peer)),
        Error::NoCertificatesPresented => Untrusted(match peer {
            Peer::Client => "the client sent no certificate, but --tls-client-ca requires one; \
                             use oyez --tls-cert and --tls-key"
                .to_owned(),
            Peer::Server => "the server sent no certificate; give it one".to_owned(),
        }),
        Error::AlertReceived(alert) => classify_alert(*alert, peer),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) if is_handshaking => Protocol(
            match peer {
                Peer::Client => {
                    "the client does not speak TLS; it must use TLS here, as in ncat --ssl"
                }
                Peer::Server => {
                    "the server does not speak TLS on this port; use its TLS port, or connect \
                     without TLS"
                }
            }
            .to_owned(),
        ),
        error => Protocol(explain_protocol(error, peer)),
    }
}

fn explain_certificate(error: &CertificateError, peer: Peer) -> String {
    if let CertificateError::Other(other) = error
        && let Some(Explained(text)) = other.0.downcast_ref()
    {
        return text.clone();
    }
    format!("the certificate {}", explain(error, Some(peer)))
}

fn explain_protocol(error: &Error, peer: Peer) -> String {
    match error {
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => format!(
            "the {peer} sent a handshake message of more than 64 KiB; shorten its certificate chain"
        ),
        Error::DecryptError | Error::PeerSentOversizedRecord => format!(
            "cannot decrypt what the {peer} sent: it was modified in transit, or the {peer} is \
             faulty; connect again without a proxy in between"
        ),
        Error::PeerIncompatible(reason) => incompatible(reason, peer),
        Error::PeerMisbehaved(reason) => violation(peer, &words(reason)),
        Error::InvalidMessage(reason) => {
            violation(peer, &format!("malformed message, {}", words(reason)))
        }
        Error::InappropriateMessage { got_type, .. } => {
            violation(peer, &format!("{} out of order", words(got_type)))
        }
        Error::InappropriateHandshakeMessage { got_type, .. } => {
            violation(peer, &format!("{} out of order", words(got_type)))
        }
        Error::NoApplicationProtocol => {
            format!("the {peer} wants to speak another protocol over TLS; use oyez or ncat --ssl")
        }
        error => explain_internal(error),
    }
}

fn violation(peer: Peer, what: &str) -> String {
    format!("the {peer} violated the TLS protocol ({what}); update its TLS software")
}

/// Explains errors of this program or its system.
fn explain_internal(error: &Error) -> String {
    match error {
        Error::FailedToGetCurrentTime => "the clock of this host shows a time before 1970; set it",
        Error::FailedToGetRandomBytes => {
            "the system provides no random bytes; check that the process may call getrandom"
        }
        // Wrong uses of the rustls API, and features that oyez does not use.
        _ => "TLS failed because of a fault in this program; please report how it happened",
    }
    .to_owned()
}

fn incompatible(reason: &PeerIncompatible, peer: Peer) -> String {
    use PeerIncompatible as E;
    match reason {
        E::ServerDoesNotSupportTls12Or13
        | E::ServerTlsVersionIsDisabledByOurConfig
        | E::SupportedVersionsExtensionRequired
        | E::Tls12NotOffered
        | E::Tls12NotOfferedOrEnabled => {
            format!("the {peer} supports neither TLS 1.2 nor TLS 1.3; update its TLS software")
        }
        E::NoCertificateRequestSignatureSchemesInCommon | E::NoSignatureSchemesInCommon => format!(
            "the {peer} supports no signature algorithm for the certificate of this side; use a \
             certificate with an ECDSA P-256 or RSA key"
        ),
        reason => format!(
            "no TLS settings in common with the {peer} ({}); oyez supports {NEGOTIABLE}",
            words(reason)
        ),
    }
}

fn classify_alert(alert: Alert, peer: Peer) -> TlsFailure {
    use TlsFailure::{Protocol, Untrusted};
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => Untrusted(match peer {
            Peer::Server => {
                "the server requires a client certificate; use --tls-cert and --tls-key".to_owned()
            }
            Peer::Client => "the client requires a certificate; use --tls-cert".to_owned(),
        }),
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::CertificateUnobtainable
        | Alert::BadCertificateStatusResponse
        | Alert::BadCertificateHashValue
        | Alert::DecryptError
        | Alert::AccessDenied => Untrusted(rejected(alert, peer)),
        Alert::CloseNotify | Alert::UserCanceled => Protocol(format!(
            "the {peer} closed the connection during the TLS handshake; its log may \
             show why"
        )),
        Alert::HandshakeFailure
        | Alert::ProtocolVersion
        | Alert::InsufficientSecurity
        | Alert::InappropriateFallback
        | Alert::NoApplicationProtocol => Protocol(format!(
            "the {peer} found no TLS settings in common ({}); oyez supports {NEGOTIABLE}",
            words(&alert)
        )),
        Alert::UnrecognisedName => Protocol(format!(
            "the {peer} does not serve this host name; use the name in its certificate"
        )),
        Alert::InternalError => {
            Protocol(format!("the {peer} reported an internal error; see its log"))
        }
        Alert::Unknown(number) => {
            Protocol(format!("the {peer} reported the unknown TLS error {number}; see its log"))
        }
        alert => Protocol(format!(
            "the {peer} reported a TLS error ({}): what this side sent was modified in \
             transit, or one side is faulty; see its log",
            words(&alert)
        )),
    }
}

/// Explains an alert with which the peer rejects the certificate of this side.
fn rejected(alert: Alert, peer: Peer) -> String {
    let advice = match (alert, peer) {
        (Alert::CertificateExpired, _) => "renew it, or correct the clocks",
        (Alert::CertificateRevoked, _) => "get a new one",
        (Alert::UnknownCA, Peer::Client) => "trust it there with --tls-ca or --tls-fingerprint",
        (Alert::UnknownCA, Peer::Server) => "its authority must be in the server's --tls-client-ca",
        (_, Peer::Client) => "the client reports the reason",
        (_, Peer::Server) => "the server's log has the reason",
    };
    let side = match peer {
        Peer::Client => "server",
        Peer::Server => "client",
    };
    format!("the {peer} rejected the certificate of this {side} ({}); {advice}", words(&alert))
}

/// Explains an error in a certificate or key of this side. The text continues a sentence that
/// begins with the certificate or key.
pub(super) fn explain_own(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => explain(error, None),
        error => format!("cannot be used: {}", explain_internal(error)),
    }
}

/// Converts a rustls error into an `io::Error`.
pub(super) fn to_io(error: &Error) -> io::Error {
    io::Error::other(explain_internal(error))
}

#[cfg(test)]
pub(crate) use tests::every_failure;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{
        CertRevocationListError, ContentType, EncryptedClientHelloError, ExtendedKeyPurpose,
        HandshakeType, InconsistentKeys, OtherError, PeerMisbehaved,
    };
    use webpki::Error as WebPkiError;

    use super::*;

    fn time(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[expect(deprecated, reason = "old variants of errors may still occur")]
    fn certificate_errors() -> Vec<CertificateError> {
        use CertificateError as E;
        let other = |error: WebPkiError| E::Other(OtherError(Arc::new(error)));
        vec![
            E::BadEncoding,
            E::Expired,
            E::ExpiredContext { time: time(1_800_000_000), not_after: time(1_700_000_000) },
            E::NotValidYet,
            E::NotValidYetContext { time: time(0), not_before: time(1_700_000_000) },
            E::Revoked,
            E::UnhandledCriticalExtension,
            E::UnknownIssuer,
            E::UnknownRevocationStatus,
            E::ExpiredRevocationList,
            E::ExpiredRevocationListContext { time: time(1), next_update: time(0) },
            E::BadSignature,
            E::UnsupportedSignatureAlgorithm,
            E::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5],
                supported_algorithms: vec![],
            },
            E::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: vec![1, 2, 3],
                public_key_algorithm_id: vec![6, 5, 0x2b, 0x81, 4, 0, 0x23],
            },
            E::NotValidForName,
            E::NotValidForNameContext {
                expected: ServerName::try_from("localhost").expect("a name"),
                presented: vec![],
            },
            E::NotValidForNameContext {
                expected: ServerName::try_from("localhost").expect("a name"),
                presented: (0..9).map(|i| format!("DnsName(\"host{i}\")")).collect(),
            },
            E::InvalidPurpose,
            E::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ServerAuth,
                presented: vec![
                    ExtendedKeyPurpose::ClientAuth,
                    ExtendedKeyPurpose::Other(vec![1, 2, 3]),
                ],
            },
            E::InvalidOcspResponse,
            E::ApplicationVerificationFailure,
            E::Other(OtherError(Arc::new(io::Error::other("NotForPeople")))),
            other(WebPkiError::BadDer),
            other(WebPkiError::CaUsedAsEndEntity),
            other(WebPkiError::CertDistrusted),
            other(WebPkiError::EmptyEkuExtension),
            other(WebPkiError::EndEntityUsedAsCa),
            other(WebPkiError::ExtensionValueInvalid),
            other(WebPkiError::InvalidNetworkMaskConstraint),
            other(WebPkiError::InvalidSerialNumber),
            other(WebPkiError::MalformedDnsIdentifier),
            other(WebPkiError::MalformedExtensions),
            other(WebPkiError::MalformedNameConstraint),
            other(WebPkiError::MaximumNameConstraintComparisonsExceeded),
            other(WebPkiError::MaximumPathBuildCallsExceeded),
            other(WebPkiError::MaximumPathDepthExceeded),
            other(WebPkiError::MaximumSignatureChecksExceeded),
            other(WebPkiError::NameConstraintViolation),
            other(WebPkiError::PathLenConstraintViolated),
            other(WebPkiError::SignatureAlgorithmMismatch),
            other(WebPkiError::UnsupportedCertVersion),
            other(WebPkiError::UnsupportedCriticalExtension),
            other(WebPkiError::UnsupportedNameType),
        ]
    }

    fn errors() -> Vec<Error> {
        let mut errors = vec![
            Error::InappropriateMessage {
                expect_types: vec![ContentType::Handshake],
                got_type: ContentType::ApplicationData,
            },
            Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::Finished],
                got_type: HandshakeType::ClientHello,
            },
            EncryptedClientHelloError::InvalidConfigList.into(),
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
            Error::EncryptError,
            CertRevocationListError::BadSignature.into(),
            Error::General("NotForPeople".to_owned()),
            Error::FailedToGetCurrentTime,
            Error::FailedToGetRandomBytes,
            Error::HandshakeNotComplete,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
            Error::BadMaxFragmentSize,
            InconsistentKeys::KeyMismatch.into(),
            Error::Other(OtherError(Arc::new(io::Error::other("NotForPeople")))),
            InvalidMessage::InvalidContentType.into(),
            InvalidMessage::HandshakePayloadTooLarge.into(),
            InvalidMessage::MissingData("ClientHello").into(),
            InvalidMessage::DuplicateExtension(7).into(),
            PeerMisbehaved::IllegalTlsInnerPlaintext.into(),
            PeerMisbehaved::TooManyWarningAlertsReceived.into(),
            PeerIncompatible::NoCipherSuitesInCommon.into(),
            PeerIncompatible::NoSignatureSchemesInCommon.into(),
            PeerIncompatible::Tls12NotOffered.into(),
            PeerIncompatible::ServerRejectedEncryptedClientHello(None).into(),
        ];
        errors.extend((0..=255).map(|code| Error::AlertReceived(Alert::from(code))));
        errors.extend(certificate_errors().into_iter().map(Error::InvalidCertificate));
        errors
    }

    /// Every explanation that a client can show.
    pub(crate) fn every_failure() -> Vec<TlsFailure> {
        errors().iter().map(|error| classify(error, Peer::Server, true)).collect()
    }

    /// Names of types and variants mix cases within a word, as in `NotForPeople`.
    fn is_raw(word: &str) -> bool {
        const NAMES: [&str; 5] =
            ["ChaCha20-Poly1305", "subjectAltName", "basicConstraints", "extendedKeyUsage", "KiB"];
        let is_name = NAMES.iter().any(|name| word.contains(name));
        let has_two_cases = word
            .as_bytes()
            .windows(2)
            .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        word.contains(['{', '}', '[', ']']) || has_two_cases && !is_name
    }

    #[test]
    fn every_error_is_a_sentence_without_names_from_the_code() {
        for error in errors() {
            for peer in [Peer::Client, Peer::Server] {
                let text = classify(&error, peer, true).to_string();
                assert!(!text.split(' ').any(is_raw), "{error:?}: {text}");
                assert!(text.len() > 30 && !text.ends_with('.'), "{error:?}: {text}");
                assert!(text.contains([';', ':']), "no advice: {error:?}: {text}");
                let mut parts: Vec<&str> = text.split([';', ':', ',']).map(str::trim).collect();
                parts.sort_unstable();
                assert!(parts.windows(2).all(|pair| pair[0] != pair[1]), "{error:?}: {text}");
            }
        }
    }

    #[test]
    fn certificate_errors_name_dates_names_and_algorithms() {
        for (error, part) in [
            (2, "the certificate expired on 2023-11-14 22:13 UTC; renew it"),
            (4, "is not valid before 2023-11-14 22:13 UTC; check the clocks of both hosts"),
            (13, "is signed with RSA with SHA-1, which is not supported"),
            (14, "an unknown algorithm, which does not fit the key of its authority (ECDSA P-521)"),
            (16, "has no subjectAltName, so it is valid for no server"),
            (17, "only for host0, host1, host2, host3, host4 and 4 more; connect to one of"),
            (19, "is not meant for a server, but for clients and 1.2.3; issue it with"),
        ] {
            let error = certificate_errors().swap_remove(error);
            let text = classify(&error.into(), Peer::Server, true).to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
