//! Classifies rustls errors, and explains them to people.

use rustls::{AlertDescription as Alert, CertificateError, Error, InvalidMessage};

use crate::read_outcome::TlsFailure;

/// Distinguishes certificates that one side does not trust from protocol violations.
pub(super) fn classify(error: &Error) -> TlsFailure {
    use TlsFailure::{Protocol, Untrusted};
    match error {
        Error::NoCertificatesPresented => Untrusted("the peer sent no certificate".to_owned()),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Untrusted("the certificate is not signed by a trusted authority".to_owned())
        }
        // The client's own verifier has already explained the error.
        Error::InvalidCertificate(CertificateError::Other(explained)) => {
            Untrusted(explained.to_string())
        }
        Error::InvalidCertificate(error) => Untrusted(error.to_string()),
        Error::AlertReceived(Alert::CertificateRequired) => Untrusted(
            "the server requires a client certificate; use --tls-cert and --tls-key".to_owned(),
        ),
        Error::AlertReceived(
            alert @ (Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::AccessDenied),
        ) => Untrusted(format!("the peer rejected our certificate ({alert:?})")),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Protocol("the peer does not speak TLS".to_owned())
        }
        error => Protocol(error.to_string()),
    }
}
