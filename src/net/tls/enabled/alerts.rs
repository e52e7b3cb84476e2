//! Fatal alerts for errors that rustls does not report to the peer.
//!
//! rustls sends most fatal alerts by itself. For some errors it sends none, and it has no function
//! that sends one: it can only send a close_notify, which would look like a regular end to the
//! peer. The encrypters of this provider replace the contents of that close_notify.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use rustls::crypto::cipher::{
    AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{
    AlertDescription as Alert, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error,
    PeerMisbehaved, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

/// The level of an alert that ends the connection.
const FATAL: u8 = 2;

/// A close_notify that is not encrypted: the header of its record, and its contents.
const PLAIN_CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

thread_local! {
    /// Replaces the next alert that is encrypted.
    static REPLACEMENT: Cell<Option<Alert>> = const { Cell::new(None) };
}

/// Returns the alert that reports this error to the peer, or `None` if the error is the peer's own
/// alert.
pub(super) fn for_error(error: &Error) -> Option<Alert> {
    use PeerMisbehaved as E;
    Some(match error {
        Error::AlertReceived(_) => return None,
        Error::InvalidCertificate(error) => error.clone().into(),
        Error::InvalidMessage(error) => (*error).into(),
        Error::NoCertificatesPresented => Alert::CertificateRequired,
        Error::NoApplicationProtocol => Alert::NoApplicationProtocol,
        Error::DecryptError => Alert::BadRecordMac,
        Error::PeerSentOversizedRecord => Alert::RecordOverflow,
        Error::PeerIncompatible(_) => Alert::HandshakeFailure,
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(
            E::IllegalMiddleboxChangeCipherSpec
            | E::IllegalTlsInnerPlaintext
            | E::KeyEpochWithPendingFragment
            | E::MessageInterleavedWithHandshakeMessage
            | E::RejectedEarlyDataInterleavedWithHandshakeMessage
            | E::TooManyEmptyFragments
            | E::TooManyKeyUpdateRequests
            | E::TooManyRenegotiationRequests
            | E::TooManyWarningAlertsReceived,
        ) => Alert::UnexpectedMessage,
        Error::PeerMisbehaved(_) => Alert::IllegalParameter,
        _ => Alert::InternalError,
    })
}

/// Replaces the alert that `send_close_notify` encrypts, if it encrypts one.
pub(super) fn replace_encrypted(alert: Alert, send_close_notify: impl FnOnce()) {
    REPLACEMENT.set(Some(alert));
    send_close_notify();
    REPLACEMENT.set(None);
}

/// Replaces the close_notify at the end of the output, if there is one that is not encrypted.
pub(super) fn replace_plain(alert: Alert, output: &mut Vec<u8>) {
    if output.ends_with(&PLAIN_CLOSE_NOTIFY) {
        output.truncate(output.len() - 2);
        output.extend([FATAL, alert.into()]);
    }
}

/// The cryptography of ring, with encrypters that can replace an alert.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        let mut provider = ring::default_provider();
        for suite in &mut provider.cipher_suites {
            *suite = wrap(*suite);
        }
        Arc::new(provider)
    });
    Arc::clone(provider)
}

/// Wraps the algorithm of a cipher suite. Leaks the new suite, because rustls requires `'static`
/// references.
fn wrap(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: Box::leak(Box::new(Aead(suite.aead_alg))),
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: Box::leak(Box::new(Aead(suite.aead_alg))),
                quic: suite.quic,
            })))
        }
    }
}

/// An algorithm whose encrypters can replace an alert.
struct Aead<T: ?Sized + 'static>(&'static T);

impl Tls12AeadAlgorithm for Aead<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypter(self.0.encrypter(key, iv, extra)))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }
}

impl Tls13AeadAlgorithm for Aead<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypter(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

struct Encrypter(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Encrypter {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        match REPLACEMENT.get() {
            Some(alert) if message.typ == ContentType::Alert => {
                let contents = [FATAL, alert.into()];
                self.0
                    .encrypt(OutboundPlainMessage { payload: contents[..].into(), ..message }, seq)
            }
            _ => self.0.encrypt(message, seq),
        }
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.0.encrypted_payload_len(payload_len)
    }
}
